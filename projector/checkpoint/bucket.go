package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events/eventlog"
)

// OpenBucket opens the bucket of checkpoints, or creates it.
func OpenBucket(ctx context.Context, log *eventlog.Log) (jetstream.KeyValue, error) {
	return log.Bucket(ctx, Bucket)
}

// record is what the bucket has of a stream.
type record struct {
	// Checkpoint is the newest, as a signed note.
	Checkpoint string `json:"checkpoint,omitempty"`
	// Failed is why the stream has failed, for all processes.
	Failed string `json:"failed,omitempty"`
}

// MarkFailed is a record of the bucket, changed so that the stream has failed for all
// processes, until somebody accepts the loss.
func MarkFailed(value []byte, why string) ([]byte, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("mark a stream as failed: %w", err)
	}
	r.Failed = why
	return json.Marshal(r)
}

// read reads what the bucket has of a stream.
func (k *Keeper) read(ctx context.Context, stream string) (r record, revision uint64, err error) {
	entry, err := k.kv.Get(ctx, stream)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, 0, nil
	}
	if err == nil {
		revision = entry.Revision()
		err = json.Unmarshal(entry.Value(), &r)
	}
	if err != nil {
		return record{}, 0, fmt.Errorf("read the bucket of checkpoints: %w", err)
	}
	return r, revision, nil
}

// errRaced is returned for a record that somebody else has written since it was read.
// It is to be read again.
var errRaced = errors.New("another process has written the checkpoint")

// write replaces what was read.
func (k *Keeper) write(ctx context.Context, stream string, r record, revision uint64) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if revision == 0 {
		_, err = k.kv.Create(ctx, stream, text)
	} else {
		_, err = k.kv.Update(ctx, stream, text, revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return errRaced
	}
	if err != nil {
		return fmt.Errorf("write the bucket of checkpoints: %w", err)
	}
	return nil
}
