package projector

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// restoredRows is how many grants are held in memory at a time while a loss ends
// all of them.
const restoredRows = 1000

// endSessions is the end of every session that is of before a loss, as if each had
// been ended by itself.
const endSessions = `INSERT INTO revocations (kind, id, seq, until)
	SELECT 'session', id, ?, expires FROM sessions WHERE seq <= ?
	ON CONFLICT DO UPDATE SET seq = excluded.seq, until = max(until, excluded.until)`

// applyRestored ends what is of before a loss that was accepted. That can be every
// row, so the rows are changed in the file, some at a time, with what the batch has
// changed so far written before.
func (c *partitionChanges) applyRestored(ctx context.Context, r events.Recorded, clock time.Time) error {
	x, err := fold.PartitionRestored(r)
	if err != nil {
		return err
	}
	if err := c.flush(ctx, clock); err != nil {
		return err
	}
	*c = *newPartitionChanges(c.w)
	for from := int64(0); ; {
		grants, last, err := c.grantsFrom(ctx, from)
		if err != nil {
			return fmt.Errorf("read the grants that a loss ends: %w", err)
		}
		if len(grants) == 0 {
			break
		}
		for _, g := range grants {
			if err := c.writeRestored(ctx, x.Grant(g)); err != nil {
				return err
			}
		}
		from = last
	}
	if err := c.w.exec(ctx, endSessions, sequence(r.Seq), sequence(x.Size)); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

// grantsFrom are the next grants, in the order of the file, that are not revoked.
func (c *partitionChanges) grantsFrom(ctx context.Context, from int64) (grants []fold.Grant, last int64, err error) {
	stmt, err := c.w.statement(ctx, `SELECT rowid, state FROM grants WHERE rowid > ? AND revoked_reason IS NULL ORDER BY rowid LIMIT ?`) //nolint:sqlclosecheck // closed with the writer
	if err != nil {
		return nil, 0, err
	}
	rows, err := stmt.QueryContext(ctx, from, restoredRows)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var state sql.RawBytes
		if err := rows.Scan(&last, &state); err != nil {
			return nil, 0, err
		}
		var g fold.Grant
		if err := jsonv2.Unmarshal(state, &g); err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errDisposable, err)
		}
		grants = append(grants, g)
	}
	return grants, last, rows.Err()
}

// writeRestored writes a grant if the loss has ended it.
func (c *partitionChanges) writeRestored(ctx context.Context, g fold.Grant) error {
	if !g.Revoked() {
		return nil
	}
	state, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode grant %s: %w", g.ID, err)
	}
	return c.writeGrant(ctx, &grantRow{id: g.ID.String(), state: g, stored: true}, state)
}
