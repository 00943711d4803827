package projector

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	// MaxAuditPage is how many rows one read of an audit gives at most: an answer
	// over NATS is one message.
	MaxAuditPage = 500
	// maxAuditKey bounds the text of a query, in bytes.
	maxAuditKey = 16 << 10
	// auditPatience is how long one read looks for rows before it says how far it
	// came.
	auditPatience = 25 * time.Millisecond
)

// An AuditQuery says which events of a stream are asked for. What is empty is
// not asked about, and everything else must hold.
type AuditQuery struct {
	// Types are event types with their versions, of which one must hold. Without
	// any, ticks are left out.
	Types []string `json:"types,omitempty"`
	// The others are as in fold.Audit.
	Client  string `json:"client,omitempty"`
	User    string `json:"user,omitempty"`
	Grant   string `json:"grant,omitempty"`
	Session string `json:"session,omitempty"`
	JTI     string `json:"jti,omitempty"`
	KID     string `json:"kid,omitempty"`
	Actor   string `json:"actor,omitempty"`
	Request string `json:"request,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Ancestor is the jti of a token that the event's was made from, at any depth.
	Ancestor string `json:"ancestor,omitempty"`
	// Since and Until bound the log's time, Until exclusively.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Newest asks for the newest first.
	Newest bool `json:"newest,omitempty"`
}

// An AuditPage is what one read of a stream's audit found.
type AuditPage struct {
	// Position is the sequence up to which the stream is indexed.
	Position uint64 `json:"position"`
	// Rows are in the order that was asked for.
	Rows []fold.Audit `json:"rows,omitempty"`
	// Place is the last sequence that was looked at, with which to go on, and Done
	// says that there is no more behind it for now.
	Place uint64 `json:"place"`
	Done  bool   `json:"done,omitempty"`
}

// auditKey is the key of a read: a query, where to go on, and how many rows.
type auditKey struct {
	AuditQuery
	// Place is that of the page before. For the newest first, 0 is the end of
	// the log.
	Place uint64 `json:"place,omitempty"`
	Limit int    `json:"limit"`
}

func parseAuditKey(text string) (k auditKey, err error) {
	if len(text) > maxAuditKey {
		return k, errors.New("too long")
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return k, errors.New("no query")
	}
	if k.Limit < 1 || k.Limit > MaxAuditPage || k.Place > 1<<62 {
		return k, errors.New("out of range")
	}
	return k, nil
}

// A condition is what rows must meet, and the index that finds those that do.
type condition struct {
	index string
	where string
	args  []any
}

// conditions are those of the query, the one that most likely leaves the least
// first.
func (q AuditQuery) conditions() []condition {
	var all []condition
	if q.Ancestor != "" {
		// ?1 is the segment. The sequence is the row's key, which needs no index.
		all = append(all, condition{
			"", "seq IN (SELECT a.seq FROM ancestors AS a WHERE a.segment = ?1 AND a.jti = ?)", []any{q.Ancestor},
		})
	}
	for _, c := range []struct{ index, column, value string }{
		{"audit_by_jti", "jti", q.JTI},
		{"audit_by_request", "request", q.Request},
		{"audit_by_grant", "grant_id", q.Grant},
		{"audit_by_session", "session", q.Session},
		{"audit_by_user", "user", q.User},
		{"audit_by_reason", "reason", q.Reason},
	} {
		if c.value != "" {
			all = append(all, condition{c.index, c.column + " = ?", []any{c.value}})
		}
	}
	switch q.Outcome {
	case "":
	case fold.OutcomeDone:
		all = append(all, condition{"", "outcome = 'done'", nil})
	default:
		all = append(all, condition{"audit_by_outcome", "outcome = ? AND outcome <> 'done'", []any{q.Outcome}})
	}
	if len(q.Types) > 0 {
		args := make([]any, len(q.Types))
		for i, t := range q.Types {
			args[i] = t
		}
		all = append(all, condition{"audit_by_type", "type IN (?" + strings.Repeat(", ?", len(args)-1) + ")", args})
	}
	for _, c := range []struct{ index, column, value string }{
		{"audit_by_client", "client", q.Client},
		{"audit_by_actor", "actor", q.Actor},
		{"audit_by_kid", "kid", q.KID},
	} {
		if c.value != "" {
			all = append(all, condition{c.index, c.column + " = ?", []any{c.value}})
		}
	}
	if len(q.Types) == 0 {
		all = append(all, condition{"", "type <> ?", []any{events.FeedTicked{}.Type()}})
	}
	return all
}

// statement selects from a part of one segment: its arguments are the segment,
// the first and the last sequence of the part, those of the conditions, and how
// many rows.
func (q AuditQuery) statement() (text string, args []any) {
	hint, where := "NOT INDEXED", ""
	for i, c := range q.conditions() {
		if i == 0 && c.index != "" {
			hint = "INDEXED BY " + c.index
		}
		where += " AND " + c.where
		args = append(args, c.args...)
	}
	order := "ASC"
	if q.Newest {
		order = "DESC"
	}
	part := "segment = ? AND seq BETWEEN ? AND ?"
	return `SELECT seq, time, type, outcome, reason, count, actor, request, client, user, grant_id, session, jti, kid, origin, expires, parent
		FROM audit ` + hint + ` WHERE ` + part + where + ` ORDER BY seq ` + order + ` LIMIT ?`, args
}

// answerAudit answers one read. All of it is of one moment.
func answerAudit(ctx context.Context, db *sql.DB, key string) ([]byte, error) {
	k, err := parseAuditKey(key)
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read audit: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	page, err := readAuditPage(ctx, tx, k)
	if err != nil {
		return nil, fmt.Errorf("read audit: %w", err)
	}
	return json.Marshal(page)
}

func readAuditPage(ctx context.Context, tx *sql.Tx, k auditKey) (page AuditPage, err error) {
	if err := tx.QueryRowContext(ctx, `SELECT position FROM meta`).Scan(&page.Position); err != nil {
		return page, err
	}
	from, to, err := k.span(ctx, tx)
	if err != nil {
		return page, err
	}
	page.Place = k.Place
	if from > to {
		page.Done = true
		return page, nil
	}
	text, args := k.statement()
	stmt, err := tx.PrepareContext(ctx, text)
	if err != nil {
		return page, err
	}
	defer stmt.Close() //nolint:errcheck // nothing was written
	started := time.Now()
	for from <= to && len(page.Rows) < k.Limit && time.Since(started) < auditPatience {
		first, last := k.part(from, to)
		found, err := readRows(ctx, stmt, first, last, args, k.Limit-len(page.Rows))
		if err != nil {
			return page, err
		}
		page.Rows = append(page.Rows, found...)
		if from, to = k.rest(from, to, first, last); k.Newest {
			page.Place = first
		} else {
			page.Place = last
		}
	}
	page.Done = from > to
	if len(page.Rows) == k.Limit {
		// There may be more in the segment of the last one.
		page.Place, page.Done = page.Rows[len(page.Rows)-1].Seq, false
	}
	return page, nil
}

// part is the next part of a span to look at: as much as is in one segment.
func (k auditKey) part(from, to uint64) (first, last uint64) {
	if k.Newest {
		return max(from, to>>segmentBits<<segmentBits), to
	}
	return from, min(to, from>>segmentBits<<segmentBits+1<<segmentBits-1)
}

// rest is the span without the part.
func (k auditKey) rest(from, to, first, last uint64) (uint64, uint64) {
	if k.Newest {
		return from, first - 1
	}
	return last + 1, to
}

// span is what there is to look at, from the first to the last sequence. Place
// is left out.
func (k auditKey) span(ctx context.Context, tx *sql.Tx) (from, to uint64, err error) {
	var first, last sql.NullInt64
	err = tx.QueryRowContext(ctx, `SELECT (SELECT seq FROM audit ORDER BY seq LIMIT 1), (SELECT seq FROM audit ORDER BY seq DESC LIMIT 1)`).
		Scan(&first, &last)
	if err != nil || !first.Valid {
		return 1, 0, err
	}
	from, to = uint64(first.Int64), uint64(last.Int64) //nolint:gosec // they were sequences
	if !k.Since.IsZero() {
		if from, err = seqAt(ctx, tx, from, to, k.Since); err != nil {
			return 1, 0, err
		}
	}
	if !k.Until.IsZero() && from <= to {
		end, err := seqAt(ctx, tx, from, to, k.Until)
		if err != nil {
			return 1, 0, err
		}
		to = end - 1
	}
	switch {
	case k.Place == 0:
	case k.Newest:
		to = min(to, k.Place-1)
	default:
		from = max(from, k.Place+1)
	}
	return from, to, nil
}

// seqAt is the first sequence between from and to that is of a time or later,
// and to + 1 if there is none. The log's time never goes back.
func seqAt(ctx context.Context, tx *sql.Tx, from, to uint64, at time.Time) (uint64, error) {
	var failed error
	n := sort.Search(int(to-from)+1, func(i int) bool { //nolint:gosec // sequences are far below 2^63
		var ns int64
		err := tx.QueryRowContext(ctx, `SELECT time FROM audit WHERE seq >= ? ORDER BY seq LIMIT 1`,
			sequence(from+uint64(i))).Scan(&ns) //nolint:gosec // not negative
		failed = errors.Join(failed, err)
		return !time.Unix(0, ns).Before(at)
	})
	return from + uint64(n), failed //nolint:gosec // not negative
}

func readRows(ctx context.Context, stmt *sql.Stmt, first, last uint64, where []any, limit int) ([]fold.Audit, error) {
	args := append([]any{sequence(first >> segmentBits), sequence(first), sequence(last)}, where...)
	rows, err := stmt.QueryContext(ctx, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells
	var found []fold.Audit
	for rows.Next() {
		a, err := scanAudit(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, a)
	}
	return found, rows.Err()
}

func scanAudit(rows *sql.Rows) (a fold.Audit, err error) {
	var ns int64
	var count, expires sql.NullInt64
	var texts [10]sql.NullString
	var parent sql.NullString
	into := []any{&a.Seq, &ns, &a.Type, &a.Outcome, &texts[0], &count}
	for i := 1; i < len(texts); i++ {
		into = append(into, &texts[i])
	}
	into = append(into, &expires, &parent)
	if err := rows.Scan(into...); err != nil {
		return a, err
	}
	a.Time, a.Count, a.Expires, a.Parent = time.Unix(0, ns).UTC(), count.Int64, expires.Int64, parent.String
	for i, to := range []*string{
		&a.Reason, &a.Actor, &a.Request, &a.Client, &a.User, &a.Grant, &a.Session, &a.JTI, &a.KID, &a.Origin,
	} {
		*to = texts[i].String
	}
	return a, nil
}
