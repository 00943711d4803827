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
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return events.Hash{}, 0, fmt.Errorf("hash read model: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	var seq uint64
	if err := tx.QueryRowContext(ctx, `SELECT position FROM meta`).Scan(&seq); err != nil {
		return events.Hash{}, 0, fmt.Errorf("hash read model: %w", err)
	}
	h := sha256.New()
	for _, table := range s.model.tables {
		if err := hashTable(ctx, tx, h, table); err != nil {
			return events.Hash{}, 0, fmt.Errorf("hash table %s: %w", table, err)
		}
	}
	return events.Hash(h.Sum(nil)), seq, nil
}

// hashTable hashes the rows of a table in the order of its primary key, which
// is the first column or the first two.
func hashTable(ctx context.Context, tx *sql.Tx, h hash.Hash, table string) error {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM `+table+` ORDER BY 1, 2`) //nolint:gosec // a table of the model
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	var length [4]byte
	field := func(text []byte) {
		binary.BigEndian.PutUint32(length[:], uint32(len(text))) //nolint:gosec // rows are small
		_, _ = h.Write(length[:])
		_, _ = h.Write(text)
	}
	field([]byte(table))
	var text []byte
	values := make([]any, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for _, v := range values {
			text = appendValue(text[:0], v)
			field(text)
		}
	}
	return rows.Err()
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
