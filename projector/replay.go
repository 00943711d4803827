package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const (
	// replayChunk is how many messages a replay passes on at once.
	replayChunk = 5000
	// replayRows is how many messages are folded before rows are written, which
	// bounds its memory. The more, the fewer rows are written more than once.
	replayRows = 2_000_000
)

// Until is where a replay ends: behind a sequence, before the first message of a
// later time, or, if it is zero, where the messages end.
type Until struct {
	Seq  uint64
	Time time.Time
}

// cut gives what of a batch is before the end. More says that there may be more.
func (u Until) cut(batch []eventlog.Entry, clock *time.Time) (_ []eventlog.Entry, more bool) {
	for i, e := range batch {
		if e.Stored.After(*clock) {
			*clock = e.Stored
		}
		if u.Seq > 0 && e.Seq > u.Seq || !u.Time.IsZero() && clock.After(u.Time) {
			return batch[:i], false
		}
	}
	return batch, true
}

// A Replayed stream is what was true at a moment of its past.
type Replayed struct {
	Stream string `json:"stream"`
	// Position is the last sequence that was folded, Time the log's time there and
	// Hash the chain over every message up to it.
	Position uint64      `json:"position"`
	Time     time.Time   `json:"time"`
	Hash     events.Hash `json:"-"`
	// State is the canonical hash of all rows, the same as of a read model that is
	// at the position (Local.StateHash), and Rows how many there are by tables.
	State events.Hash    `json:"-"`
	Rows  map[string]int `json:"rows"`
	// File is the read model, to be asked with SQL.
	File string `json:"file"`
}

// errReplayed ends a source that has given enough.
var errReplayed = errors.New("replayed")

// Replay folds a stream from its first message on into a new file in dir, which
// nothing else has. The source hands over messages in order, as
// eventlog.Archive.Read does. Progress, if not nil, is told how far it came.
func Replay(
	ctx context.Context, dir string, realm events.Realm, stream string, until Until,
	source func(each func([]eventlog.Entry) error) error, progress func(seq uint64),
) (r Replayed, err error) {
	m := partitionModel()
	if stream == realm.RegistryStream() {
		m = registryModel()
	}
	path := filepath.Join(dir, stream+".db")
	s, err := openStore(ctx, path, stream, m, slog.New(slog.DiscardHandler))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if s.position().seq > 0 {
		return r, fmt.Errorf("replay %s: there is a read model in %s already", stream, dir)
	}
	if err := s.writer.unsynced(ctx); err != nil {
		return r, fmt.Errorf("prepare to replay: %w", err)
	}
	if err := s.foldAll(ctx, until, source, progress); err != nil {
		return r, fmt.Errorf("replay %s: %w", stream, err)
	}
	at := s.position()
	r = Replayed{
		Stream: stream, Position: at.seq, Time: at.clock, Hash: at.hash,
		File: path, Rows: map[string]int{},
	}
	for _, table := range m.tables {
		if r.Rows[table], err = s.count(ctx, table); err != nil {
			return r, err
		}
	}
	r.State, _, err = s.stateHash(ctx)
	return r, err
}

func (s *store) count(ctx context.Context, table string) (n int, err error) {
	err = s.reader.QueryRowContext(ctx, `SELECT count(*) FROM `+table).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", table, err)
	}
	return n, nil
}

// foldAll folds what the source gives: one reads, one decodes, and one folds.
func (s *store) foldAll(ctx context.Context, until Until, source func(func([]eventlog.Entry) error) error, progress func(uint64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	read, decoded := make(chan []eventlog.Entry, 1), make(chan []eventlog.Entry, 1)
	var working sync.WaitGroup
	working.Go(func() {
		defer close(read)
		if err := gather(ctx, until, source, read); err != nil {
			cancel(err)
		}
	})
	working.Go(func() {
		defer close(decoded)
		for chunk := range read {
			for i := range chunk {
				chunk[i].Decode()
			}
			select {
			case decoded <- chunk:
			case <-ctx.Done():
			}
		}
	})
	for more := true; more; {
		var err error
		if more, err = s.foldChunks(ctx, decoded, progress); err != nil {
			cancel(err)
			break
		}
	}
	working.Wait()
	return context.Cause(ctx)
}

// foldChunks folds as many chunks as are written at once. More is false at the
// end of them.
func (s *store) foldChunks(ctx context.Context, chunks <-chan []eventlog.Entry, progress func(uint64)) (more bool, err error) {
	var reached position
	err = s.writer.transact(ctx, func() error {
		f, err := s.folding(ctx)
		if err != nil {
			return err
		}
		reached = f.reached
		for n := 0; n < replayRows; {
			var chunk []eventlog.Entry
			if chunk, more = <-chunks; !more {
				break
			}
			if err := contiguous(f.reached.seq, chunk); err != nil {
				return err
			}
			for _, e := range chunk {
				if poison, err := f.add(ctx, e); poison != nil || err != nil {
					return errors.Join(poison, err)
				}
			}
			n += len(chunk)
			if progress != nil {
				progress(f.reached.seq)
			}
		}
		reached = f.reached
		return f.end(ctx)
	})
	if err == nil {
		s.at.Store(&reached)
	}
	return more, err
}

// gather puts what a source gives together to chunks.
func gather(ctx context.Context, until Until, source func(func([]eventlog.Entry) error) error, chunks chan<- []eventlog.Entry) error {
	var chunk []eventlog.Entry
	send := func() error {
		if len(chunk) == 0 {
			return nil
		}
		select {
		case chunks <- chunk:
			chunk = make([]eventlog.Entry, 0, replayChunk+500)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var clock time.Time
	err := source(func(some []eventlog.Entry) error {
		some, more := until.cut(some, &clock)
		chunk = append(chunk, some...)
		if !more {
			return errReplayed
		}
		if len(chunk) < replayChunk {
			return nil
		}
		return send()
	})
	if err != nil && !errors.Is(err, errReplayed) {
		return err
	}
	return send()
}
