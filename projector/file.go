package projector

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chancery-authority/chancery/events"
)

// errDisposable is returned for a file that is of no use: damaged, of another
// version or of another stream. It is deleted and built again.
var errDisposable = errors.New("read model is not usable")

// openStore opens the read model of a stream in a file, an empty one if there is
// none or the one there is of no use.
func openStore(ctx context.Context, path, stream string, m model, logger *slog.Logger) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { //nolint:gosec // the operator's directory
		return nil, fmt.Errorf("open read model of %s: %w", stream, err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 { //nolint:gosec // the operator's directory
		// What may still lie beside it belongs to a file that is gone.
		if err := removeFile(path); err != nil {
			return nil, fmt.Errorf("open read model of %s: %w", stream, err)
		}
	}
	s, err := openFile(ctx, path, stream, m)
	if disposable(err) {
		logger.Warn("read model is built again from the log", "stream", stream, "file", path, "reason", err.Error())
		if err := removeFile(path); err != nil {
			return nil, fmt.Errorf("rebuild read model of %s: %w", stream, err)
		}
		s, err = openFile(ctx, path, stream, m)
	}
	if err != nil {
		return nil, fmt.Errorf("open read model of %s: %w", stream, err)
	}
	return s, nil
}

// removeFile deletes a read model with what SQLite keeps beside it.
func removeFile(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Remove(path + suffix) //nolint:gosec // the operator's directory
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func openFile(ctx context.Context, path, stream string, m model) (_ *store, err error) {
	inOrder := closedInOrder(path)
	w, err := openWriter(ctx, path, m.cache)
	if err != nil {
		return nil, err
	}
	s := &store{path: path, stream: stream, model: m, writer: w}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.prepareFile(ctx, inOrder); err != nil {
		return nil, err
	}
	return s, s.openReader(ctx, path)
}

// openWriter opens the writing connection. The file is the operator's alone:
// it holds who authorized what.
func openWriter(ctx context.Context, path string, c cache) (*writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator's directory
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(path,
		"journal_mode(WAL)",
		// A power cut may take the newest transactions, whole. They are in the log.
		"synchronous(NORMAL)",
		// A checkpoint every 16 MiB: updates are all over the file, and the more of
		// them meet on a page, the fewer pages are written.
		cacheSize(c.write), "wal_autocheckpoint(4096)",
		// What a build has made it, it stays otherwise.
		"journal_size_limit(33554432)"))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &writer{db: db, conn: conn, prepared: map[string]*sql.Stmt{}, cache: c.write}, nil
}

// openReader opens the pool that requests read through.
func (s *store) openReader(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", dataSource(path, "query_only(1)", cacheSize(s.model.cache.read)))
	if err != nil {
		return err
	}
	s.reader = db
	conns := max(4, 2*runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	s.reads = make(map[string]*sql.Stmt, len(s.model.reads))
	for what, query := range s.model.reads {
		read, err := db.PrepareContext(ctx, query) //nolint:sqlclosecheck // closed with the pool
		if err != nil {
			return fmt.Errorf("prepare to read a %s: %w", what, err)
		}
		s.reads[what] = read
	}
	return nil
}

func cacheSize(kib int) string { return fmt.Sprintf("cache_size(-%d)", kib) }

func dataSource(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()
}

// closedInOrder reports whether a file was: SQLite deletes what is beside it when the
// last connection is closed.
func closedInOrder(path string) bool {
	_, err := os.Stat(path + "-wal") //nolint:gosec // the operator's directory
	return errors.Is(err, os.ErrNotExist)
}

// prepareFile gives a new file its tables, or reads the position of an existing one
// and checks it. All of one that was closed in order is not checked, since that takes
// minutes of what has millions of grants: if the disk has damaged it since, SQLite
// finds that where it is read, and then it is built again.
func (s *store) prepareFile(ctx context.Context, inOrder bool) error {
	var tables int
	err := s.writer.conn.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&tables)
	if err != nil {
		return err
	}
	if tables == 0 {
		s.at.Store(&position{})
		return s.writer.transact(ctx, func() error { return s.createTables(ctx) })
	}
	if err := s.readMeta(ctx); err != nil || inOrder {
		return err
	}
	return s.checkFile(ctx)
}

func (s *store) createTables(ctx context.Context) error {
	if _, err := s.writer.conn.ExecContext(ctx, s.model.schema); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	_, err := s.writer.conn.ExecContext(ctx,
		`INSERT INTO meta (stream, created, version, position, hash, previous_hash, clock) VALUES (?, '', ?, 0, ?, ?, ?)`,
		s.stream, s.model.version, hashText(events.Hash{}), hashText(events.Hash{}), timeText(time.Time{}))
	return err
}

func (s *store) readMeta(ctx context.Context) error {
	var stream, created, hash, previous, clock string
	var version int
	var at position
	err := s.writer.conn.QueryRowContext(ctx,
		`SELECT stream, created, version, position, hash, previous_hash, clock FROM meta`).
		Scan(&stream, &created, &version, &at.seq, &hash, &previous, &clock)
	switch {
	case errors.Is(err, sql.ErrNoRows) || sqliteCode(err) == sqlite3.SQLITE_ERROR:
		return fmt.Errorf("%w: no position: %w", errDisposable, err)
	case err != nil:
		return fmt.Errorf("read position: %w", err)
	case version != s.model.version:
		return fmt.Errorf("%w: version %d, want %d", errDisposable, version, s.model.version)
	case stream != s.stream:
		return fmt.Errorf("%w: it is of stream %.64q", errDisposable, stream)
	}
	if created != "" {
		if s.created, err = time.Parse(timeLayout, created); err != nil {
			return fmt.Errorf("%w: %w", errDisposable, err)
		}
	}
	at.clock, err = time.Parse(timeLayout, clock)
	if err = errors.Join(err, parseHash(&at.hash, hash), parseHash(&at.previous, previous)); err != nil {
		return fmt.Errorf("%w: %w", errDisposable, err)
	}
	s.at.Store(&at)
	return nil
}

func parseHash(h *events.Hash, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return errors.New("bad hash")
	}
	copy(h[:], b)
	return nil
}

// checkFile looks for damage that a read would otherwise run into later. What it has read is let go: much of it is not
// read again, and would be held for good.
func (s *store) checkFile(ctx context.Context) error {
	var result string
	if err := s.writer.conn.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: %s", errDisposable, result)
	}
	_, err := s.writer.conn.ExecContext(ctx, `PRAGMA shrink_memory`)
	return err
}

// disposable reports whether err is about what is in the file. Everything
// else, such as a full disk or a missing permission, is no reason to delete it.
func disposable(err error) bool {
	code := sqliteCode(err)
	return errors.Is(err, errDisposable) || code == sqlite3.SQLITE_IOERR_SHORT_READ ||
		code&0xff == sqlite3.SQLITE_CORRUPT || code&0xff == sqlite3.SQLITE_NOTADB
}

// sqliteCode is SQLite's extended result code, or 0 if err is not SQLite's.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sqlite3.SQLITE_OK
	}
	return e.Code()
}
