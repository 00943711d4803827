package eventlog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events/embedded/snapshot"
)

const (
	restoreSubject = "$JS.API.STREAM.RESTORE."
	// restoreChunk is how much is sent at a time, in bytes, and restoreTimeout how
	// long the server may take for one.
	restoreChunk   = 128 << 10
	restoreTimeout = time.Minute
)

// ErrNotEmpty is returned for a realm that has something already.
var ErrNotEmpty = errors.New("the realm is not empty")

// A Restorer makes the streams and buckets of a realm that has none.
type Restorer struct {
	log *Log
	// made are the streams that were made.
	made []string
}

// NewRestorer looks whether the realm is empty. Of cfg, Realm and Replicas count.
func NewRestorer(ctx context.Context, nc *nats.Conn, cfg Config) (*Restorer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	r := &Restorer{log: &Log{cfg: cfg, nc: nc, js: js}}
	names, err := streamNames(ctx, js)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	var ours []string
	for _, name := range names {
		if r.isOurs(name) {
			ours = append(ours, name)
		}
	}
	if len(ours) > 0 {
		return nil, fmt.Errorf("restore: %w: it has %s", ErrNotEmpty, strings.Join(ours, ", "))
	}
	return r, nil
}

func (r *Restorer) isOurs(stream string) bool {
	_, partition := r.log.cfg.Realm.PartitionOf(stream)
	return partition || stream == r.log.cfg.Realm.RegistryStream() || strings.HasPrefix(stream, bucketPrefix+r.log.bucketName(""))
}

// Stream makes a stream of events of what fill writes, with the configuration that
// such a stream has.
func (r *Restorer) Stream(ctx context.Context, stream string, s snapshot.State, fill func(*snapshot.Writer) error) error {
	if p, ok := r.log.cfg.Realm.PartitionOf(stream); ok {
		return r.restore(ctx, r.log.partitionConfig(p), s, fill)
	}
	if stream == r.log.cfg.Realm.RegistryStream() {
		return r.restore(ctx, r.log.registryConfig(), s, fill)
	}
	return fmt.Errorf("restore %.64q: realm %s has no such stream", stream, r.log.cfg.Realm)
}

// Bucket makes a bucket of what fill writes, with the configuration it had.
func (r *Restorer) Bucket(ctx context.Context, c jetstream.StreamConfig, s snapshot.State, fill func(*snapshot.Writer) error) error {
	if !strings.HasPrefix(c.Name, bucketPrefix+r.log.bucketName("")) {
		return fmt.Errorf("restore %.64q: it is no bucket of realm %s", c.Name, r.log.cfg.Realm)
	}
	c.Replicas, c.Placement = r.log.cfg.Replicas, nil
	return r.restore(ctx, c, s, fill)
}

// Undo deletes what was made, the newest first.
func (r *Restorer) Undo(ctx context.Context) error {
	var errs []error
	for _, stream := range slices.Backward(r.made) {
		err := retry(ctx, func(ctx context.Context) error { return r.log.js.DeleteStream(ctx, stream) })
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			errs = append(errs, fmt.Errorf("delete %s: %w", stream, err))
		}
	}
	return errors.Join(errs...)
}

// restore has the server make a stream, of which it stores each message under its
// own sequence and time. It is there once the server has all of it. One that the
// server refuses may be there too, and then it is another's, who was faster.
func (r *Restorer) restore(ctx context.Context, c jetstream.StreamConfig, s snapshot.State, fill func(*snapshot.Writer) error) error {
	to, err := r.begin(ctx, c, s)
	if err == nil {
		err = r.send(ctx, to, s, fill)
	}
	if err == nil {
		err = r.request(ctx, to, nil, nil)
		if refused := new(jetstream.APIError); !errors.As(err, &refused) {
			r.made = append(r.made, c.Name) // or its answer is lost
		}
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", c.Name, err)
	}
	return nil
}

// begin says where to send the stream.
func (r *Restorer) begin(ctx context.Context, c jetstream.StreamConfig, s snapshot.State) (to string, err error) {
	body, err := json.Marshal(map[string]any{"config": c, "state": s})
	if err != nil {
		return "", err
	}
	var answer struct {
		DeliverSubject string `json:"deliver_subject"`
	}
	if err := r.request(ctx, restoreSubject+c.Name, body, &answer); err != nil {
		return "", err
	}
	if answer.DeliverSubject == "" {
		return "", errors.New("the server does not say where to")
	}
	return answer.DeliverSubject, nil
}

func (r *Restorer) send(ctx context.Context, to string, s snapshot.State, fill func(*snapshot.Writer) error) error {
	chunks := bufio.NewWriterSize(chunkWriter(func(chunk []byte) error { return r.request(ctx, to, chunk, nil) }), restoreChunk)
	w, err := snapshot.NewWriter(chunks, s)
	if err == nil {
		err = fill(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = chunks.Flush()
	}
	return err
}

// chunkWriter sends what is written, a chunk at most at a time.
type chunkWriter func([]byte) error

func (w chunkWriter) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		end := min(n+restoreChunk, len(p))
		if err = w(p[n:end]); err == nil {
			n = end
		}
	}
	return n, err
}

var _ io.Writer = chunkWriter(nil)

// request waits for an answer, which is empty or JSON.
func (r *Restorer) request(ctx context.Context, subject string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	m, err := r.log.nc.RequestWithContext(ctx, subject, body)
	if err != nil || len(m.Data) == 0 {
		return err
	}
	var failure struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failure); err != nil {
		return fmt.Errorf("the server answers with something else: %w", err)
	}
	if failure.Error != nil {
		return failure.Error
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(m.Data, into)
}
