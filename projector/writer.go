package projector

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// A writer is the only connection that writes a store's file. It is not safe
// for concurrent use.
type writer struct {
	db   *sql.DB
	conn *sql.Conn
	// prepared has its statements by their text.
	prepared map[string]*sql.Stmt
	// cache is how much of the file it may hold in memory, in KiB.
	cache int
}

// resize changes the cache. What one that becomes smaller holds too much is let go.
func (w *writer) resize(ctx context.Context, cache int) error {
	if w.cache == cache {
		return nil
	}
	if _, err := w.conn.ExecContext(ctx, "PRAGMA "+cacheSize(cache)); err != nil {
		return fmt.Errorf("resize cache: %w", err)
	}
	w.cache = cache
	return nil
}

// transact runs do in a transaction, which is dropped if do fails.
func (w *writer) transact(ctx context.Context, do func() error) error {
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := do()
	if err == nil {
		_, err = w.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, rollback := w.conn.ExecContext(ctx, "ROLLBACK")
		return errors.Join(err, rollback)
	}
	return nil
}

// unsynced has nothing synced to the disk, until synced. A power cut may then leave
// a damaged file: it is for one that would be deleted anyway.
func (w *writer) unsynced(ctx context.Context) error {
	_, err := w.conn.ExecContext(ctx, `PRAGMA synchronous = OFF`)
	return err
}

// synced syncs what is there, and from now on what SQLite has to.
func (w *writer) synced(ctx context.Context) error {
	for _, do := range []string{
		`PRAGMA synchronous = NORMAL`,
		// A checkpoint syncs the whole file, if there is anything to move into it.
		`UPDATE meta SET position = position`,
		`PRAGMA wal_checkpoint(PASSIVE)`,
	} {
		if _, err := w.conn.ExecContext(ctx, do); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	return nil
}

// uninterrupted is ctx for one short statement, unless ctx has ended. For a context
// that can end, the driver starts a goroutine for each statement, which takes as
// long as the statement.
func uninterrupted(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), context.Cause(ctx)
}

// exec runs a statement that is prepared once for the life of the writer.
func (w *writer) exec(ctx context.Context, query string, args ...any) error {
	ctx, err := uninterrupted(ctx)
	if err != nil {
		return err
	}
	stmt, err := w.statement(ctx, query) //nolint:sqlclosecheck // closed with the writer
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, args...)
	return err
}

// state reads the state column of the row with that id, nil if there is none.
func (w *writer) state(ctx context.Context, query, id string) ([]byte, error) {
	ctx, err := uninterrupted(ctx)
	if err != nil {
		return nil, err
	}
	stmt, err := w.statement(ctx, query) //nolint:sqlclosecheck // closed with the writer
	if err != nil {
		return nil, err
	}
	var state []byte
	err = stmt.QueryRowContext(ctx, id).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return state, err
}

// texts reads the one column of a query.
func (w *writer) texts(ctx context.Context, query string) (all []string, err error) {
	rows, err := w.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

func (w *writer) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := w.prepared[query]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	w.prepared[query] = stmt
	return stmt, nil
}

// isAt fails if the file is not where this writer left it, which means that
// somebody else writes it too.
func (w *writer) isAt(ctx context.Context, at position) error {
	stmt, err := w.statement(ctx, `SELECT position FROM meta`) //nolint:sqlclosecheck // closed with the writer
	if err != nil {
		return err
	}
	var seq uint64
	if err := stmt.QueryRowContext(ctx).Scan(&seq); err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	if seq != at.seq {
		return fmt.Errorf("another process writes the same file: it is at %d, this one at %d", seq, at.seq)
	}
	return nil
}

// move writes the position.
func (w *writer) move(ctx context.Context, to position) error {
	return w.exec(ctx, `UPDATE meta SET position = ?, hash = ?, previous_hash = ?, clock = ?`,
		sequence(to.seq), hashText(to.hash), hashText(to.previous), timeText(to.clock))
}

func (w *writer) close() error {
	var err error
	for _, stmt := range w.prepared {
		// Statements of a connection are not closed with it, and would keep
		// SQLite from closing the file.
		err = errors.Join(err, stmt.Close())
	}
	return errors.Join(err, w.conn.Close(), w.db.Close())
}

// timeLayout is how times are kept: UTC, of one width so that they sort, and
// understood by SQLite's own functions.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func timeText(t time.Time) string { return t.UTC().Format(timeLayout) }

func hashText(h events.Hash) string { return fmt.Sprintf("%x", h[:]) }
