package projector

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// partitionModel is the read model of a stream of grants.
func partitionModel() model {
	return model{
		version: modelVersion,
		linger:  10 * time.Millisecond, // a request that is faster finds the event in the log
		schema:  partitionSchema,
		// Rows and indexes are written all over the file, and read all over it.
		cache:  cache{write: 32 << 10, read: 8 << 10, build: 128 << 10},
		tables: []string{"grants", "sessions", "issued", "revocations", "participants", "logouts"},
		reads: map[string]string{
			readGrant: selectGrant, readSession: selectEndedSession, readHeld: selectHeld,
			readParticipants: selectParticipants("session"), readUserParticipants: selectParticipants("user"),
			readRendered: selectRendered,
		},
		queries: map[string]query{readOldest: answerOldest},
		begin:   func(w *writer) changes { return newPartitionChanges(w) },
	}
}

const (
	selectGrant   = `SELECT state FROM grants WHERE id = ?`
	selectSession = `SELECT state FROM sessions WHERE id = ?`

	selectEndedSession = `SELECT CASE
	  WHEN EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'session' AND r.id = s.id)
	  THEN json_set(s.state, '$.ended', json('true')) ELSE s.state END
	  FROM sessions s WHERE s.id = ?`

	// One statement is one snapshot, so position and rows belong together.
	selectHeld = `SELECT json_object(
	  'position', (SELECT position FROM meta),
	  'sessions', json((` + heldRows + `SELECT rowid AS n, state FROM sessions s WHERE user = ?1
	    AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'session' AND r.id = s.id)` + newestHeld + `)),
	  'grants', json((` + heldRows + `SELECT rowid AS n, state FROM grants WHERE user = ?1
	    AND (?2 = '' OR client = ?2) AND revoked_reason IS NULL` + newestHeld + `)))`
	heldRows = `SELECT json_group_array(json(state) ORDER BY n DESC) FROM (
	  SELECT n, state, sum(length(state)) OVER (ORDER BY n DESC) AS size FROM (`
	newestHeld = ` ORDER BY rowid DESC LIMIT 200)) WHERE size <= 262144`
)

// selectRendered looks at 250 rows of each at a time, so that an answer takes
// some milliseconds however many there are. What authenticates a grant is its
// refresh token or, before there is one, its code.
const selectRendered = `WITH
  g AS MATERIALIZED (SELECT rowid AS n, revoked_reason,
    json_extract(state, iif(generation = 0, '$.code.mac', '$.current.mac')) AS mac
    FROM grants WHERE rowid > CAST(?2 AS INTEGER) ORDER BY rowid LIMIT 250),
  s AS MATERIALIZED (SELECT rowid AS n, json_extract(state, '$.mac') AS mac,
    EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'session' AND r.id = sessions.id) AS ended
    FROM sessions WHERE rowid > CAST(?3 AS INTEGER) ORDER BY rowid LIMIT 250)
  SELECT json_object(
    'grants', (SELECT count(*) FROM g WHERE mac = CAST(?1 AS INTEGER) AND revoked_reason IS NULL),
    'sessions', (SELECT count(*) FROM s WHERE mac = CAST(?1 AS INTEGER) AND NOT ended),
    'next', json_object('grant', coalesce((SELECT max(n) FROM g), CAST(?2 AS INTEGER)),
      'session', coalesce((SELECT max(n) FROM s), CAST(?3 AS INTEGER))),
    'done', json(iif((SELECT count(*) FROM g) + (SELECT count(*) FROM s) = 0, 'true', 'false')))`

// Rows come in the order of what they are about.
const selectOldest = `SELECT
  (SELECT clock FROM meta),
  (SELECT opened_at FROM grants ORDER BY rowid LIMIT 1),
  (SELECT json_extract(state, '$.opened_at') FROM sessions ORDER BY rowid LIMIT 1),
  (SELECT issued_at FROM issued ORDER BY rowid LIMIT 1)`

// oldestRows is since when there are rows, zero for none, and the time of the log
// that they are of.
type oldestRows struct {
	Oldest time.Time `json:"oldest,omitzero"`
	Clock  time.Time `json:"clock"`
}

// answerOldest looks at grants, sessions and tokens.
func answerOldest(ctx context.Context, db *sql.DB, _ string) ([]byte, error) {
	var clock string
	var grant, session sql.NullString
	var issued sql.NullInt64
	if err := db.QueryRowContext(ctx, selectOldest).Scan(&clock, &grant, &session, &issued); err != nil {
		return nil, fmt.Errorf("read the oldest rows: %w", err)
	}
	var found oldestRows
	var err error
	if found.Clock, err = time.Parse(timeLayout, clock); err != nil {
		return nil, fmt.Errorf("read the oldest rows: %w: %w", errDisposable, err)
	}
	older := func(t time.Time) {
		if found.Oldest.IsZero() || t.Before(found.Oldest) {
			found.Oldest = t
		}
	}
	for _, text := range []sql.NullString{grant, session} {
		if !text.Valid {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, text.String)
		if err != nil {
			return nil, fmt.Errorf("read the oldest rows: %w: %w", errDisposable, err)
		}
		older(t)
	}
	if issued.Valid {
		older(time.Unix(issued.Int64, 0))
	}
	return json.Marshal(found)
}

// selectParticipants is of one session, or of one user. Its second id is the
// sequence to read on from.
func selectParticipants(column string) string {
	return `SELECT json_object(
	  'position', (SELECT position FROM meta),
	  'participants', json((SELECT json_group_array(json_object('seq', seq, 'session', session, 'client', client,
	    'user', user, 'sub', subject, 'user_epoch', user_epoch, 'exp', expires))
	    FROM (SELECT * FROM participants WHERE ` + column + ` = ?1 AND seq > ?2 ORDER BY seq LIMIT 500))),
	  'logouts', json((SELECT json_group_array(json_object('seq', seq, 'session', session, 'client', client,
	    'user', user, 'attempts', attempts, 'status', status, 'until', until, 'delivered', json(iif(delivered, 'true', 'false'))))
	    FROM (SELECT * FROM logouts WHERE ` + column + ` = ?1 ORDER BY seq DESC LIMIT 2000))))`
}

// partitionChanges are those of one batch.
//
// Rows that are finished are deleted once, at the end, but the result is that
// of deleting them at every event: a grant that is finished by the time of an
// event counts as gone, and what is written to the other tables does not
// depend on rows that are due to go.
type partitionChanges struct {
	w        *writer
	grants   overlay[fold.Grant]
	sessions overlay[fold.Session]
	issued   []fold.AccessToken
	revoked  []fold.Revocation
	// took is who took part in sessions, and told who was told of their ends.
	took []fold.Participant
	told []fold.Logout
}

func newPartitionChanges(w *writer) *partitionChanges {
	return &partitionChanges{
		w: w, grants: newOverlay[fold.Grant](w, selectGrant), sessions: newOverlay[fold.Session](w, selectSession),
	}
}

func (c *partitionChanges) apply(ctx context.Context, e eventlog.Entry, clock time.Time) error {
	r, err := recorded(e)
	if err != nil {
		return err
	}
	switch r.Subject.Kind() {
	case "grant":
		return c.applyGrant(ctx, r, clock)
	case "session":
		return c.applySession(ctx, r)
	case "issued":
		token, err := fold.IssuedAccessToken(r)
		if err != nil {
			return err
		}
		c.issued = append(c.issued, token)
		return nil
	case "revoked":
		if _, ok := r.Fact.(events.LogRestored); ok {
			return c.applyRestored(ctx, r, clock)
		}
		revocation, ok, err := fold.Revoked(r)
		if ok {
			c.revoked = append(c.revoked, revocation)
		}
		return err
	case "logout":
		told, err := fold.LoggedOut(r)
		if err != nil {
			return err
		}
		c.told = append(c.told, told)
		return nil
	case "refused":
		// A refusal changes nothing. It is for the audit.
		if _, ok := r.Fact.(events.RequestRefused); ok {
			return nil
		}
	}
	return fmt.Errorf("%w: sequence %d, %s: no event of a partition", fold.ErrPoison, r.Seq, r.Fact.Type())
}

func (c *partitionChanges) applyGrant(ctx context.Context, r events.Recorded, clock time.Time) error {
	row, err := c.grants.get(ctx, r.Subject.ID())
	if err != nil {
		return err
	}
	before := *row
	if before.state.Exists() && fold.Finished(before.state.Expires, clock) {
		before = grantRow{id: row.id, touched: row.touched}
	}
	if !before.state.Exists() && isLate(r.Fact, clock) {
		return nil
	}
	// Only now is the row touched: in front of a poisoned event it stays.
	next, err := before.state.Apply(r)
	if err != nil {
		return err
	}
	*row = before
	row.put(next)
	if p, ok := fold.Participates(r); ok {
		c.took = append(c.took, p)
	}
	return nil
}

func (c *partitionChanges) applySession(ctx context.Context, r events.Recorded) error {
	row, err := c.sessions.get(ctx, r.Subject.ID())
	if err != nil {
		return err
	}
	next, err := row.state.Apply(r)
	if err != nil {
		return err
	}
	row.put(next)
	return nil
}

type grantRow = row[fold.Grant]

// isLate reports whether an event on a grant without a row may belong to one
// that is finished: somebody revoked it after its time, say. Such an event
// changes nothing. One that issued a token proves the opposite while that token
// would be kept, because no token outlives its grant: its opening is missing.
func isLate(f events.Fact, clock time.Time) bool {
	switch f := f.(type) {
	case events.CodeRedeemed:
		return fold.Finished(f.Expires, clock)
	case events.RefreshTokenRotated:
		return fold.Finished(f.Expires, clock)
	case events.RefreshTokenRepeated, events.GrantRevoked:
		return true
	}
	return false
}

func (c *partitionChanges) flush(ctx context.Context, clock time.Time) error {
	return errors.Join(
		c.grants.flush(func(r *grantRow, state []byte) error { return c.writeGrant(ctx, r, state) }),
		c.sessions.flush(func(r *row[fold.Session], state []byte) error { return c.writeSession(ctx, r.state, state) }),
		c.writeIssued(ctx, clock),
		c.writeRevoked(ctx),
		c.writeParticipants(ctx),
		c.writeLogouts(ctx),
		c.deleteFinished(ctx, clock),
	)
}

// writeGrant leaves the indexed columns of an existing row alone: they never
// change, and writing them would write three indexes too.
func (c *partitionChanges) writeGrant(ctx context.Context, r *grantRow, state []byte) error {
	g := r.state
	var reason, at any
	if g.Revoked() {
		reason, at = g.RevokedReason, timeText(g.RevokedAt)
	}
	if r.stored {
		return c.w.exec(ctx,
			`UPDATE grants SET seq = ?, generation = ?, revoked_reason = ?, revoked_at = ?, state = ? WHERE id = ?`,
			sequence(g.Seq), g.Current.Generation, reason, at, string(state), g.ID.String())
	}
	return c.w.exec(ctx,
		`INSERT OR REPLACE INTO grants
		 (id, seq, client, user, opened_at, expires, generation, revoked_reason, revoked_at, state)
		 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		g.ID.String(), sequence(g.Seq), g.Client, g.User, timeText(g.OpenedAt), g.Expires,
		g.Current.Generation, reason, at, string(state))
}

func (c *partitionChanges) writeSession(ctx context.Context, s fold.Session, state []byte) error {
	return c.w.exec(ctx, `INSERT INTO sessions (id, seq, user, expires, state) VALUES (?, ?, ?, ?, ?)`,
		s.ID.String(), sequence(s.Seq), s.User, s.Expires, string(state))
}

// writeIssued leaves out what is finished already, as nearly all is where a long
// past is folded at once.
func (c *partitionChanges) writeIssued(ctx context.Context, clock time.Time) error {
	for _, t := range c.issued {
		if fold.Finished(t.Expires, clock) {
			continue
		}
		grant := ""
		if !t.Grant.IsZero() {
			grant = t.Grant.String()
		}
		err := c.w.exec(ctx,
			`INSERT OR REPLACE INTO issued (jti, seq, client, subject, issued_at, expires, scope, audience, kid, grant_id, parent, actor)
			 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), nullif(?, ''), nullif(?, ''))`,
			t.JTI, sequence(t.Seq), t.Client, t.Subject, t.IssuedAt, t.Expires,
			strings.Join(t.Scope, " "), strings.Join(t.Audience, " "), t.KID, grant, t.Parent, t.Actor)
		if err != nil {
			return fmt.Errorf("write token at sequence %d: %w", t.Seq, err)
		}
	}
	return nil
}

// writeRevoked keeps the latest end: markers may repeat.
func (c *partitionChanges) writeRevoked(ctx context.Context) error {
	for _, r := range c.revoked {
		kind, id := "token", r.JTI
		switch {
		case !r.Grant.IsZero():
			kind, id = "grant", r.Grant.String()
		case !r.Session.IsZero():
			kind, id = "session", r.Session.String()
		}
		err := c.w.exec(ctx,
			`INSERT INTO revocations (kind, id, seq, until) VALUES (?, ?, ?, ?)
			 ON CONFLICT DO UPDATE SET seq = excluded.seq, until = max(until, excluded.until)`,
			kind, id, sequence(r.Seq), r.Until)
		if err != nil {
			return fmt.Errorf("write revocation at sequence %d: %w", r.Seq, err)
		}
	}
	return nil
}

// writeParticipants keeps the newest of each.
func (c *partitionChanges) writeParticipants(ctx context.Context) error {
	for _, p := range c.took {
		err := c.w.exec(ctx,
			`INSERT OR REPLACE INTO participants (session, client, seq, user, subject, user_epoch, expires) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			p.Session.String(), p.Client, sequence(p.Seq), p.User, p.Subject, sequence(p.UserEpoch), p.Expires)
		if err != nil {
			return fmt.Errorf("write participant at sequence %d: %w", p.Seq, err)
		}
	}
	return nil
}

// writeLogouts keeps the newest of each.
func (c *partitionChanges) writeLogouts(ctx context.Context) error {
	for _, l := range c.told {
		err := c.w.exec(ctx,
			`INSERT OR REPLACE INTO logouts (session, client, seq, user, delivered, attempts, status, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			l.Session.String(), l.Client, sequence(l.Seq), l.User, l.Delivered, sequence(l.Attempts), l.Status, l.Until)
		if err != nil {
			return fmt.Errorf("write logout at sequence %d: %w", l.Seq, err)
		}
	}
	return nil
}

func (c *partitionChanges) deleteFinished(ctx context.Context, clock time.Time) error {
	// The same as fold.Finished.
	over := clock.Unix() - fold.Slack
	for _, query := range []string{
		`DELETE FROM grants WHERE expires <= ?`,
		`DELETE FROM sessions WHERE expires <= ?`,
		`DELETE FROM issued WHERE expires <= ?`,
		`DELETE FROM revocations WHERE until <= ?`,
	} {
		if err := c.w.exec(ctx, query, over); err != nil {
			return fmt.Errorf("delete finished rows: %w", err)
		}
	}
	for _, query := range []string{
		`DELETE FROM participants WHERE expires <= ?`,
		`DELETE FROM logouts WHERE until <= ?`,
	} {
		if err := c.w.exec(ctx, query, over-fold.LogoutReach); err != nil {
			return fmt.Errorf("delete finished rows: %w", err)
		}
	}
	return nil
}

// sequence is a sequence as SQLite keeps integers. Real ones are far below
// 2^63.
func sequence(seq uint64) int64 { return int64(seq) } //nolint:gosec // see above
