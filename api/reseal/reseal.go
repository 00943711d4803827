// Package reseal seals records anew when the key-encryption key has changed.
package reseal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/projector"
)

// Bounds of one call: how many records it writes, and how many it looks at.
const (
	maxWritten = 50
	maxRead    = 1000
)

// A Store is a bucket with sealed records.
type Store struct {
	Name   string
	Bucket jetstream.KeyValue
	// Reseal gives a record with whatever is sealed in it sealed under the active
	// key, and the id of the key that it was sealed with before. The id is empty for
	// a record with nothing sealed, and for one that is to stay as it is.
	Reseal func(name string, value []byte) (anew []byte, by string, err error)
}

// From is where to go on in a store. The zero value is the start.
type From struct {
	After uint64 `json:"after"`
	// Until is where the store ended at the start, so that what is sealed anew, and
	// is stored at the end, is not met again.
	Until uint64 `json:"until"`
}

// A Page is what was found in some records, and done about them.
type Page struct {
	Store string `json:"store"`
	// Found is the number of records by the id of the key that they were sealed
	// with.
	Found map[string]int `json:"found"`
	// Resealed were sealed anew. Raced were written by somebody else meanwhile: they
	// are to be looked at again.
	Resealed int `json:"resealed"`
	Raced    int `json:"raced"`
	// Broken are names of records that could not be opened.
	Broken []string `json:"broken,omitempty"`
	Next   From     `json:"next"`
	Done   bool     `json:"done"`
}

// Page looks at the next records, and seals anew those that are not under the
// active key, unless it is a dry run. It writes a record only over what it has
// read, so that nobody's change is lost and nothing that was erased comes back;
// whatever ends it, it can be called again.
func (s Store) Page(ctx context.Context, from From, dryRun bool) (Page, error) {
	p := Page{Store: s.Name, Found: map[string]int{}, Next: from}
	if from.Until == 0 {
		until, err := s.end(ctx)
		if err != nil {
			return p, s.unavailable("find the end", err)
		}
		p.Next.Until = until
	}
	entries, last, err := s.read(ctx, p.Next)
	if err != nil {
		return p, s.unavailable("read", err)
	}
	for _, e := range entries {
		if err := s.look(ctx, e, dryRun, &p); err != nil {
			return p, s.unavailable("write "+e.Key(), err)
		}
		p.Next.After = e.Revision()
		if p.Resealed+p.Raced >= maxWritten {
			return p, nil
		}
	}
	p.Done = last
	return p, nil
}

// end is the sequence of the newest record.
func (s Store) end(ctx context.Context) (uint64, error) {
	status, err := s.Bucket.Status(ctx)
	if err != nil {
		return 0, err
	}
	of, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, errors.New("no stream behind the bucket")
	}
	return of.StreamInfo().State.LastSeq, nil
}

// read gives the next records, and whether they are the last ones.
func (s Store) read(ctx context.Context, from From) (entries []jetstream.KeyValueEntry, last bool, err error) {
	if from.After >= from.Until {
		return nil, true, nil
	}
	w, err := s.Bucket.WatchAll(ctx, jetstream.ResumeFromRevision(from.After+1))
	if err != nil {
		return nil, false, err
	}
	defer w.Stop() //nolint:errcheck // nothing is expected of it any more
	for len(entries) < maxRead {
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, false, errors.New("cut short")
			case e == nil || e.Revision() > from.Until: // the end of what there was
				return entries, true, nil
			}
			entries = append(entries, e)
			if e.Revision() == from.Until {
				return entries, true, nil
			}
		}
	}
	return entries, false, nil
}

// look does what is to be done about one record.
func (s Store) look(ctx context.Context, e jetstream.KeyValueEntry, dryRun bool, p *Page) error {
	if e.Operation() != jetstream.KeyValuePut {
		return nil
	}
	anew, by, err := s.Reseal(e.Key(), e.Value())
	if by != "" {
		p.Found[by]++
	}
	switch {
	case err != nil:
		p.Broken = append(p.Broken, e.Key())
		return nil //nolint:nilerr // it is told, and the others go on
	case by == "" || dryRun || string(anew) == string(e.Value()):
		return nil
	}
	switch _, err = s.Bucket.Update(ctx, e.Key(), anew, e.Revision()); {
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		p.Raced++
	case err != nil:
		return err
	default:
		p.Resealed++
	}
	return nil
}

func (s Store) unavailable(doing string, err error) error {
	return fmt.Errorf("%s in store %s: %w: %w", doing, s.Name, projector.ErrUnavailable, err)
}
