package projector

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"

	"github.com/chancery-authority/chancery/events"
)

// stateHash is the canonical hash of all rows in order, and the position it is
// of. Two read models at one position have the same (I6 of the design).
func (s *store) stateHash(ctx context.Context) (events.Hash, uint64, error) {
	snap, err := s.snapshot(ctx)
	if err != nil {
		return events.Hash{}, 0, fmt.Errorf("hash read model: %w", err)
	}
	defer snap.close()
	h := sha256.New()
	for _, table := range s.model.tables {
		if err := snap.hashTable(ctx, h, table); err != nil {
			return events.Hash{}, 0, fmt.Errorf("hash table %s: %w", table, err)
		}
	}
	return events.Hash(h.Sum(nil)), snap.seq, nil
}

// A snapshot is what a store had at one position, whatever is folded meanwhile.
type snapshot struct {
	tx  *sql.Tx
	seq uint64
	// chain is the hash over every message up to seq.
	chain string
}

// snapshot is what the store has now, until it is closed. SQLite keeps every
// page that is written meanwhile in the write-ahead log for as long.
func (s *store) snapshot(ctx context.Context) (*snapshot, error) {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	snap := &snapshot{tx: tx}
	if err := tx.QueryRowContext(ctx, `SELECT position, hash FROM meta`).Scan(&snap.seq, &snap.chain); err != nil {
		snap.close()
		return nil, fmt.Errorf("read position: %w", err)
	}
	return snap, nil
}

func (s *snapshot) close() { _ = s.tx.Rollback() } // nothing was written

func (s *snapshot) hashTable(ctx context.Context, h hash.Hash, table string) error {
	t, err := s.table(ctx, h, table)
	if err != nil {
		return err
	}
	defer t.rows.Close() //nolint:errcheck // next tells
	for {
		if more, err := t.next(); !more {
			return err
		}
	}
}

// A tableReader goes through the rows of a table in the order of its primary key,
// which is the first column or the first two, and hashes them.
type tableReader struct {
	rows *sql.Rows
	hash hash.Hash
	// values are those of the row, and text is that of one, used again.
	values, into []any
	text         []byte
}

func (s *snapshot) table(ctx context.Context, h hash.Hash, table string) (*tableReader, error) {
	rows, err := s.tx.QueryContext(ctx, `SELECT * FROM `+table+` ORDER BY 1, 2`) //nolint:gosec,rowserrcheck // a table of the model; next tells
	if err != nil {
		return nil, err
	}
	t := &tableReader{rows: rows, hash: h}
	t.field([]byte(table))
	return t, nil
}

// prepare makes room for a row.
func (t *tableReader) prepare() error {
	columns, err := t.rows.Columns()
	if err != nil {
		return err
	}
	t.values, t.into = make([]any, len(columns)), make([]any, len(columns))
	for i := range t.values {
		t.into[i] = &t.values[i]
	}
	return nil
}

// next reads and hashes a row. It is false, with the error if there is one, when
// there is none.
func (t *tableReader) next() (bool, error) {
	if !t.rows.Next() {
		return false, t.rows.Err()
	}
	if t.values == nil {
		if err := t.prepare(); err != nil {
			return false, err
		}
	}
	if err := t.rows.Scan(t.into...); err != nil {
		return false, err
	}
	for _, v := range t.values {
		t.text = appendValue(t.text[:0], v)
		t.field(t.text)
	}
	return true, nil
}

func (t *tableReader) field(text []byte) {
	length := [4]byte{}
	binary.BigEndian.PutUint32(length[:], uint32(len(text))) //nolint:gosec // rows are small
	_, _ = t.hash.Write(length[:])
	_, _ = t.hash.Write(text)
}

// appendValue appends what fmt makes of a value's type and the value.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(append(b, "int64 "...), v, 10)
	case string:
		return append(append(b, "string "...), v...)
	}
	return fmt.Appendf(b, "%T %v", v, v)
}
