package projector

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// A store is the read model of one stream in one SQLite file. Its worker is
// the only writer; anybody may read.
type store struct {
	path, stream string
	// created is when the stream was created that this was folded from. It is
	// the worker's.
	created time.Time
	model   model
	writer  *writer
	reader  *sql.DB              // a pool that cannot write
	reads   map[string]*sql.Stmt // by the names of model.reads
	at      atomic.Pointer[position]
	// reading is held by everybody who reads a state, and closed is set when the
	// last of them is done.
	reading sync.RWMutex
	closed  bool
}

// errClosed is returned for a read of a store that is not there any more.
var errClosed = errors.New("read model is closed")

// A model is the tables of one kind of file and the fold that fills them.
type model struct {
	// version changes whenever a table or a fold does. A file of another version
	// is built again.
	version int
	// linger is the least time between two transactions of a steady stream of
	// events. One costs as much as folding some ten of them.
	linger time.Duration
	// suffix comes after the stream's name in that of the file.
	suffix string
	schema string
	// tables are those that are folded.
	tables []string
	// reads are the queries of requests by what they read: each takes the ids of
	// a key and gives one text of JSON.
	reads map[string]string
	// queries are reads that take more than one statement.
	queries map[string]query
	// cache is what the connections may hold of the file.
	cache cache
	begin func(*writer) changes
}

// A cache is how much of a file its connections may hold in memory each, in KiB: the one that writes, and each of those
// that read. What has been held is not given back, so this is what a read model costs however few grants there are.
// While much is folded at once the connection that writes has another, which is given back.
type cache struct{ write, read, build int }

// A query answers a key with JSON from what a store's readers see.
type query func(ctx context.Context, db *sql.DB, key string) ([]byte, error)

// names are those of all reads.
func (m model) names() []string {
	return slices.Concat(slices.Collect(maps.Keys(m.reads)), slices.Collect(maps.Keys(m.queries)))
}

// changes are what a batch does to the rows of a model. They are kept in
// memory until the batch ends.
type changes interface {
	// apply folds one entry at clock, the newest timestamp up to its own. It
	// returns fold.ErrPoison for one that cannot be folded.
	apply(ctx context.Context, e eventlog.Entry, clock time.Time) error
	// flush writes the rows and deletes those that are finished at clock.
	flush(ctx context.Context, clock time.Time) error
}

func (s *store) position() position { return *s.at.Load() }

// fold folds a batch and moves the position, in one transaction. What was
// folded before is left out, so a batch may be delivered again, whole or in
// part. The events in front of a poisoned one are folded.
func (s *store) fold(ctx context.Context, batch []eventlog.Entry) error {
	at := s.position()
	entries, err := at.unfolded(batch)
	if err != nil || len(entries) == 0 {
		return err
	}
	// The transaction is short, or of what takes much longer to be folded in short ones.
	// Stopping in the middle would gain nothing.
	ctx = context.WithoutCancel(ctx)
	cache := s.model.cache.write
	if len(entries) > gathering/2 {
		cache = s.model.cache.build
	}
	if err := s.writer.resize(ctx, cache); err != nil {
		return err
	}
	var poison error
	reached := at
	err = s.writer.transact(ctx, func() (err error) {
		reached, poison, err = s.foldRows(ctx, entries)
		return err
	})
	if err != nil {
		return err
	}
	s.at.Store(&reached)
	return poison
}

// foldRows folds as many of entries as it can. It returns the position it
// reached and, if that is not the end of them, the poison that stopped it.
func (s *store) foldRows(ctx context.Context, entries []eventlog.Entry) (reached position, poison, err error) {
	f, err := s.folding(ctx)
	if err != nil {
		return reached, nil, err
	}
	for _, e := range entries {
		if poison, err = f.add(ctx, e); poison != nil || err != nil {
			break
		}
	}
	if err != nil {
		return reached, nil, err
	}
	return f.reached, poison, f.end(ctx)
}

// A folding is what a transaction folds.
type folding struct {
	s    *store
	rows changes
	// reached is the position behind what was added.
	reached position
}

// folding begins at the store's position.
func (s *store) folding(ctx context.Context) (*folding, error) {
	at := s.position()
	if err := s.writer.isAt(ctx, at); err != nil {
		return nil, err
	}
	return &folding{s: s, rows: s.model.begin(s.writer), reached: at}, nil
}

// add folds the next entry. Poison is what cannot be folded: it is not added, and
// what was added before can still be ended with.
func (f *folding) add(ctx context.Context, e eventlog.Entry) (poison, err error) {
	next := f.reached.next(e)
	err = f.rows.apply(ctx, e, next.clock)
	if errors.Is(err, fold.ErrPoison) {
		return err, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fold sequence %d: %w", e.Seq, err)
	}
	f.reached = next
	return nil, nil
}

// end writes the rows and the position.
func (f *folding) end(ctx context.Context) error {
	if err := f.rows.flush(ctx, f.reached.clock); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	if err := f.s.writer.move(ctx, f.reached); err != nil {
		return fmt.Errorf("write position: %w", err)
	}
	return nil
}

// recorded is the event of an entry. One that cannot be decoded is poison.
func recorded(e eventlog.Entry) (events.Recorded, error) {
	r, err := e.Recorded()
	if err != nil {
		return r, fmt.Errorf("%w: %w", fold.ErrPoison, err)
	}
	r.Stored = r.Stored.UTC()
	return r, nil
}

// bind notes, the first time, which stream is folded. After that a stream that
// was created at another time is another one: errDiverged.
func (s *store) bind(ctx context.Context, created time.Time) error {
	created = created.UTC()
	if !s.created.IsZero() {
		if !s.created.Equal(created) {
			return fmt.Errorf("%w: the stream was created at %v, the one that was folded at %v", errDiverged, created, s.created)
		}
		return nil
	}
	if err := s.writer.exec(ctx, `UPDATE meta SET created = ?`, timeText(created)); err != nil {
		return fmt.Errorf("write stream identity: %w", err)
	}
	s.created = created
	return nil
}

// read reads a state as JSON. It is nil if there is no row.
func (s *store) read(ctx context.Context, what, key string) ([]byte, error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.closed {
		return nil, errClosed
	}
	if q, ok := s.model.queries[what]; ok {
		return q(ctx, s.reader, key)
	}
	var ids []any
	for id := range strings.SplitSeq(key, ".") {
		ids = append(ids, id)
	}
	var state []byte
	err := s.reads[what].QueryRowContext(ctx, ids...).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return state, err
}

// close ends reading and writing, when the reads in flight are done. What was
// committed stays. Closing again does nothing.
func (s *store) close() (err error) {
	s.reading.Lock()
	again := s.closed
	s.closed = true
	s.reading.Unlock()
	if again {
		return nil
	}
	if s.reader != nil {
		err = s.reader.Close()
	}
	// The writer last: SQLite tidies up with the last connection, and only
	// one that may write can.
	return errors.Join(err, s.writer.close())
}
