package projector

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"

	"github.com/chancery-authority/chancery/events"
)

// MaxDifferences is how many rows a Diff names at most.
const MaxDifferences = 20

// compareChunk is how many rows are compared before the next look at the limit.
const compareChunk = 200

// A Difference is a row that two read models do not have alike.
type Difference struct {
	Table string
	// ID is the row's primary key, its columns separated by dots.
	ID string
	// In says which of the two has it: "live", "beside" or, where the rows differ,
	// "both".
	In string
}

// A comparison goes through two snapshots of one position at the same time, so
// that it has hashes of both and what differs in one pass and in no memory.
type comparison struct {
	live, beside *snapshot
	tables       []string
	// pace is called behind every so many rows.
	pace func(rows int) error

	rows        int
	hashes      [2]events.Hash
	differences []Difference
}

func (c *comparison) run(ctx context.Context) error {
	hashes := [2]hash.Hash{sha256.New(), sha256.New()}
	for _, table := range c.tables {
		a, err := c.live.table(ctx, hashes[0], table)
		if err != nil {
			return fmt.Errorf("compare %s: %w", table, err)
		}
		b, err := c.beside.table(ctx, hashes[1], table)
		if err == nil {
			err = c.compare(ctx, table, a, b)
			_ = b.rows.Close() // next has told
		}
		_ = a.rows.Close() // next has told
		if err != nil {
			return fmt.Errorf("compare %s: %w", table, err)
		}
	}
	for i, h := range hashes {
		c.hashes[i] = events.Hash(h.Sum(nil))
	}
	return c.pace(c.rows % compareChunk)
}

// compare goes through both tables as one merges sorted lists.
func (c *comparison) compare(ctx context.Context, table string, a, b *tableReader) error {
	keys, err := c.live.keyColumns(ctx, table)
	if err != nil {
		return err
	}
	moreA, err := a.next()
	if err != nil {
		return err
	}
	moreB, err := b.next()
	for err == nil && (moreA || moreB) {
		var order int
		switch {
		case !moreA:
			order = 1
		case !moreB:
			order = -1
		default:
			order = compareValues(a.values[:keys], b.values[:keys])
		}
		switch {
		case order < 0:
			c.note(table, a.values[:keys], "live")
		case order > 0:
			c.note(table, b.values[:keys], "beside")
		case compareValues(a.values, b.values) != 0:
			c.note(table, a.values[:keys], "both")
		}
		if order <= 0 {
			moreA, err = a.next()
		}
		if order >= 0 && err == nil {
			moreB, err = b.next()
		}
		if c.rows++; err == nil && c.rows%compareChunk == 0 {
			err = c.pace(compareChunk)
		}
	}
	return err
}

func (c *comparison) note(table string, key []any, in string) {
	if len(c.differences) == MaxDifferences {
		return
	}
	id := make([]string, len(key))
	for i, v := range key {
		id[i] = fmt.Sprint(v)
	}
	c.differences = append(c.differences, Difference{Table: table, ID: strings.Join(id, "."), In: in})
}

// keyColumns is how many columns the primary key has.
func (s *snapshot) keyColumns(ctx context.Context, table string) (n int, err error) {
	err = s.tx.QueryRowContext(ctx, `SELECT count(*) FROM pragma_table_info(?) WHERE pk > 0`, table).Scan(&n)
	return max(1, n), err
}

// compareValues compares rows or their keys as SQLite sorts them. What a column
// of a strict table holds is of one type, or null, which comes first.
func compareValues(a, b []any) int {
	for i := range a {
		if order := compareValue(a[i], b[i]); order != 0 {
			return order
		}
	}
	return 0
}

func compareValue(a, b any) int {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	case []byte:
		if b, ok := b.([]byte); ok {
			return bytes.Compare(a, b)
		}
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b)
		}
	case nil:
		if b == nil {
			return 0
		}
		return -1
	}
	return 1
}
