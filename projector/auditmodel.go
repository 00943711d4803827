package projector

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// auditVersion is that of the tables and the fold of the audit.
	auditVersion = 2
	// segmentBits of a sequence are what the events of a segment differ in.
	segmentBits = 12
)

// Ids are random. Kept in their own order, every event would write a page of
// its own in each index, and the more events the slower. So every index begins
// with the segment of the log: what is written stays within a few pages,
// however long the log, and a query looks into one segment after another.
const auditSchema = metaSchema + `
CREATE TABLE audit (
  seq     INTEGER PRIMARY KEY,
  segment INTEGER NOT NULL, -- seq / 4096
  time    INTEGER NOT NULL, -- Unix nanoseconds by the log: newest of the timestamps up to here
  type    TEXT NOT NULL,
  outcome TEXT NOT NULL,    -- done, refused or failed
  reason  TEXT,
  count   INTEGER,          -- requests that a refusal stands for
  actor   TEXT,             -- client:<id>, user:<id>, admin or system
  request TEXT,             -- id of the HTTP request
  client  TEXT,
  user    TEXT,
  grant_id TEXT,
  session TEXT,
  jti     TEXT,
  kid     TEXT,
  origin  TEXT,             -- keyed hash of the address
  expires INTEGER,          -- of the access token that it issued, Unix seconds
  parent  TEXT              -- jti that its token was exchanged for
) STRICT;
CREATE INDEX audit_by_type ON audit (segment, type);
CREATE INDEX audit_by_reason ON audit (segment, reason) WHERE reason IS NOT NULL;
CREATE INDEX audit_by_outcome ON audit (segment, outcome) WHERE outcome <> 'done';
CREATE INDEX audit_by_actor ON audit (segment, actor) WHERE actor IS NOT NULL;
CREATE INDEX audit_by_request ON audit (segment, request) WHERE request IS NOT NULL;
CREATE INDEX audit_by_client ON audit (segment, client) WHERE client IS NOT NULL;
CREATE INDEX audit_by_user ON audit (segment, user) WHERE user IS NOT NULL;
CREATE INDEX audit_by_grant ON audit (segment, grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX audit_by_session ON audit (segment, session) WHERE session IS NOT NULL;
CREATE INDEX audit_by_jti ON audit (segment, jti) WHERE jti IS NOT NULL;
CREATE INDEX audit_by_kid ON audit (segment, kid) WHERE kid IS NOT NULL;

-- tokens that the exchanged one of an event was made from, at any depth
CREATE TABLE ancestors (
  segment INTEGER NOT NULL,
  jti     TEXT NOT NULL,
  seq     INTEGER NOT NULL,
  PRIMARY KEY (segment, jti, seq)
) STRICT, WITHOUT ROWID;

-- where each grant was opened, which says whose it is
CREATE TABLE openings (
  grant_id TEXT PRIMARY KEY,
  seq      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;`

// auditModel is the read model of what events are found by. It is the same for
// every stream, and nothing in it expires.
func auditModel() model {
	return model{
		version: auditVersion,
		linger:  100 * time.Millisecond,
		suffix:  ".audit",
		schema:  auditSchema,
		// Openings are written all over the file, and queries are an operator's.
		cache:   cache{write: 32 << 10, read: 2 << 10, build: 128 << 10},
		tables:  []string{"audit", "ancestors", "openings"},
		queries: map[string]query{readAudit: answerAudit},
		begin:   func(w *writer) changes { return &auditChanges{w: w, opened: map[string]fold.Audit{}} },
	}
}

const (
	insertAudit = `INSERT INTO audit
		(seq, segment, time, type, outcome, reason, count, actor, request, client, user, grant_id, session, jti, kid, origin, expires, parent)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	insertAncestor = `INSERT INTO ancestors (segment, jti, seq) VALUES (?, ?, ?)`

	selectOpening = `SELECT client, user, session FROM audit WHERE seq = (SELECT seq FROM openings WHERE grant_id = ?)`
)

// auditChanges are the rows of one batch.
type auditChanges struct {
	w    *writer
	rows []fold.Audit
	// opened has what is known of the openings of grants that the batch names.
	opened map[string]fold.Audit
	// openings are those of the batch.
	openings []fold.Audit
	// made are the exchanged tokens of the batch.
	made []descent
}

// A descent is what the token of an event was made from.
type descent struct {
	seq       uint64
	ancestors []string
}

func (c *auditChanges) apply(ctx context.Context, e eventlog.Entry, clock time.Time) error {
	r, err := recorded(e)
	if err != nil {
		return err
	}
	a, err := fold.AuditOf(r)
	if err != nil {
		return err
	}
	a.Time = clock
	if _, ok := r.Fact.(events.GrantOpened); ok {
		c.opened[a.Grant] = a
		c.openings = append(c.openings, a)
	} else if a.Grant != "" {
		opening, err := c.opening(ctx, a.Grant)
		if err != nil {
			return err
		}
		a = a.Within(opening)
	}
	c.rows = append(c.rows, a)
	if ancestors := fold.Ancestors(r); ancestors != nil {
		c.made = append(c.made, descent{r.Seq, ancestors})
	}
	return nil
}

// opening is that of a grant, or zero where the log does not have it.
func (c *auditChanges) opening(ctx context.Context, grant string) (fold.Audit, error) {
	if a, ok := c.opened[grant]; ok {
		return a, nil
	}
	stmt, err := c.w.statement(ctx, selectOpening) //nolint:sqlclosecheck // closed with the writer
	if err != nil {
		return fold.Audit{}, err
	}
	var client, user, session sql.NullString
	err = stmt.QueryRowContext(ctx, grant).Scan(&client, &user, &session)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fold.Audit{}, fmt.Errorf("read opening of %s: %w", grant, err)
	}
	a := fold.Audit{Client: client.String, User: user.String, Session: session.String}
	c.opened[grant] = a
	return a, nil
}

func (c *auditChanges) flush(ctx context.Context, _ time.Time) error {
	for _, a := range c.rows {
		if err := c.insert(ctx, a); err != nil {
			return fmt.Errorf("write sequence %d: %w", a.Seq, err)
		}
	}
	for _, a := range c.openings {
		if err := c.w.exec(ctx, `INSERT OR REPLACE INTO openings (grant_id, seq) VALUES (?, ?)`, a.Grant, sequence(a.Seq)); err != nil {
			return fmt.Errorf("write opening at sequence %d: %w", a.Seq, err)
		}
	}
	for _, d := range c.made {
		for _, jti := range d.ancestors {
			if err := c.w.exec(ctx, insertAncestor, sequence(d.seq>>segmentBits), jti, sequence(d.seq)); err != nil {
				return fmt.Errorf("write ancestors at sequence %d: %w", d.seq, err)
			}
		}
	}
	return nil
}

func (c *auditChanges) insert(ctx context.Context, a fold.Audit) error {
	return c.w.exec(ctx, insertAudit, sequence(a.Seq), sequence(a.Seq>>segmentBits), a.Time.UnixNano(), a.Type, a.Outcome,
		orNull(a.Reason), zeroOrNull(a.Count), orNull(a.Actor), orNull(a.Request), orNull(a.Client), orNull(a.User),
		orNull(a.Grant), orNull(a.Session), orNull(a.JTI), orNull(a.KID), orNull(a.Origin), zeroOrNull(a.Expires), orNull(a.Parent))
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func zeroOrNull(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
