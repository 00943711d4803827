package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/durable"
	"github.com/chancery-authority/chancery/events/embedded/snapshot"
)

// A line of a bucket is one of its members: how the bucket is configured, a record,
// or, last, how many records there are.
type line struct {
	Config *jetstream.StreamConfig `json:"config,omitempty"`
	Record *record                 `json:"record,omitempty"`
	End    *end                    `json:"end,omitempty"`
}

type record struct {
	Seq     uint64              `json:"seq"`
	Stored  time.Time           `json:"stored"`
	Subject string              `json:"subject"`
	Header  map[string][]string `json:"headers,omitempty"`
	Data    []byte              `json:"data"`
}

type end struct {
	Records uint64 `json:"records"`
}

// A BucketWriter writes a bucket, line by line. End says that it is whole.
type BucketWriter struct {
	to      *json.Encoder
	records uint64
}

// NewBucketWriter writes to a stream of lines.
func NewBucketWriter(to io.Writer) *BucketWriter { return &BucketWriter{to: json.NewEncoder(to)} }

// Config comes first.
func (w *BucketWriter) Config(c jetstream.StreamConfig) error { return w.to.Encode(line{Config: &c}) }

// Record writes a record.
func (w *BucketWriter) Record(m snapshot.Message) error {
	w.records++
	r := record{Seq: m.Seq, Stored: m.Stored, Subject: m.Subject, Header: m.Header, Data: m.Data}
	return w.to.Encode(line{Record: &r})
}

// End comes last.
func (w *BucketWriter) End() error { return w.to.Encode(line{End: &end{w.records}}) }

// readBucket reads the lines of a bucket, and fails if it does not end.
func readBucket(from io.Reader, each func(snapshot.Message) error) (c jetstream.StreamConfig, records uint64, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 64<<10), archive.MaxLine)
	configured, ended := false, false
	for lines.Scan() {
		var l line
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		if err := d.Decode(&l); err != nil || ended {
			return c, records, fmt.Errorf("%w: a line of it cannot be read", ErrBackup)
		}
		switch {
		case l.Config != nil && !configured:
			c, configured = *l.Config, true
		case l.Record != nil && configured:
			r := l.Record
			records++
			err := each(snapshot.Message{Seq: r.Seq, Stored: r.Stored, Subject: r.Subject, Header: r.Header, Data: r.Data})
			if err != nil {
				return c, records, err
			}
		case l.End != nil && l.End.Records == records:
			ended = true
		default:
			return c, records, fmt.Errorf("%w: its lines are not in order", ErrBackup)
		}
	}
	if err := lines.Err(); err != nil {
		return c, records, fmt.Errorf("%w: it cannot be read further: %w", ErrBackup, err)
	}
	if !ended {
		return c, records, fmt.Errorf("%w: it was cut short", ErrBackup)
	}
	return c, records, nil
}

func bucketPath(dir, bucket string) string {
	return filepath.Join(dir, bucketDir, bucket+".ndjson.zst")
}

// CopyBucket keeps the lines of a bucket in the directory, and reads them back.
func CopyBucket(dir, bucket string, from io.Reader) (b Bucket, err error) {
	path := bucketPath(dir, bucket)
	err = durable.Write(path, func(f *os.File) error {
		z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		_, err = io.Copy(z, from)
		return errors.Join(err, z.Close())
	}, func(written string) error {
		b, _, err = openBucket(written, bucket, func(snapshot.Message) error { return nil })
		return err
	})
	return b, err
}

// openBucket reads a bucket's file.
func openBucket(path, bucket string, each func(snapshot.Message) error) (b Bucket, c jetstream.StreamConfig, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return b, c, fmt.Errorf("%w: bucket %s is missing", ErrBackup, bucket)
	}
	if err != nil {
		return b, c, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	hash := sha256.New()
	z, err := zstd.NewReader(io.TeeReader(f, hash), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return b, c, err
	}
	defer z.Close()
	b = Bucket{Bucket: bucket}
	if c, b.Records, err = readBucket(z, each); err != nil {
		return b, c, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	if c.Name != "KV_"+bucket {
		return b, c, fmt.Errorf("bucket %s: %w: it holds %.64q", bucket, ErrBackup, c.Name)
	}
	if _, err := io.Copy(hash, f); err != nil { // what is behind the compressed stream
		return b, c, err
	}
	b.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return b, c, nil
}
