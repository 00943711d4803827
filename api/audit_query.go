package api

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// Forms in which events are told.
const (
	formatJSON   = "json"   // one page
	formatNDJSON = "ndjson" // all of them, a line each
	formatCSV    = "csv"    // the same
	formatSSE    = "sse"    // those to come
)

const (
	defaultAuditPage = 100
	// maxAuditText bounds a filter that is no id of ours, in bytes.
	maxAuditText = 128
)

// An auditQuery is what is asked of the audit. Its filter is what a cursor
// belongs to.
type auditQuery struct {
	auditFilter
	format string
	limit  int
	cursor string
	// data asks for the whole events too, and follow for those to come.
	data   bool
	follow bool
}

type auditFilter struct {
	projector.AuditQuery
	// Address is one that tokens were issued to.
	Address netip.Addr `json:"address,omitzero"`
}

// parseAuditQuery reads a query. What it does not know it refuses: a filter
// that is misspelt would find everything.
func parseAuditQuery(values url.Values) (auditQuery, *rules.Refusal) {
	q := auditQuery{format: formatJSON, limit: defaultAuditPage}
	if refusal := checkValues(values); refusal != nil {
		return q, refusal
	}
	q.Newest = values.Get("format") == "" || values.Get("format") == formatJSON
	fields := q.fields()
	for name := range values {
		set, ok := fields[name]
		if !ok {
			return q, &rules.Refusal{Reason: unknownMember, Parameter: known(name)}
		}
		if text := values.Get(name); text == "" || !set(text) {
			return q, &rules.Refusal{Reason: rules.BadParameter, Parameter: name}
		}
	}
	return q, q.check()
}

// fields are what sets each parameter; false means that it cannot be that.
func (q *auditQuery) fields() map[string]func(string) bool {
	return map[string]func(string) bool{
		"type":    q.setTypes,
		"client":  textField(&q.Client, events.ValidID),
		"user":    textField(&q.User, events.ValidID),
		"kid":     textField(&q.KID, events.ValidID),
		"grant":   textField(&q.Grant, isGrantID),
		"session": textField(&q.Session, isGrantID),
		"jti":     textField(&q.JTI, isShort),

		"ancestor": textField(&q.Ancestor, isShort),

		"actor":   textField(&q.Actor, isShort),
		"request": textField(&q.Request, isShort),
		"reason":  textField(&q.Reason, isShort),
		"outcome": textField(&q.Outcome, oneOf(fold.OutcomeDone, fold.OutcomeRefused, fold.OutcomeFailed)),
		"since":   timeField(&q.Since),
		"until":   timeField(&q.Until),
		"address": addressField(&q.Address),
		"order": func(s string) bool {
			q.Newest = s == "newest"
			return q.Newest || s == "oldest"
		},
		"format": textField(&q.format, oneOf(formatJSON, formatNDJSON, formatCSV, formatSSE)),
		"limit": func(s string) (ok bool) {
			var err error
			q.limit, err = strconv.Atoi(s)
			return err == nil && q.limit > 0 && q.limit <= projector.MaxAuditPage
		},
		"cursor": textField(&q.cursor, func(string) bool { return true }),
		"data":   boolField(&q.data),
		"follow": boolField(&q.follow),
	}
}

// check refuses what does not go together.
func (q *auditQuery) check() *rules.Refusal {
	bad := func(parameter, cause string) *rules.Refusal {
		return &rules.Refusal{Reason: rules.BadParameter, Parameter: parameter, Cause: cause}
	}
	q.follow = q.follow || q.format == formatSSE
	narrow := q.Grant != "" || q.Client != "" || q.User != "" || q.Session != "" || q.JTI != "" || q.Ancestor != "" || q.Request != "" || !q.Since.IsZero()
	switch {
	case q.follow && (q.format == formatJSON || q.format == formatCSV):
		return bad("format", "neither a page nor CSV can be followed")
	case q.follow && q.Newest:
		return bad("order", "what is followed comes oldest first")
	case q.data && q.format == formatCSV:
		return bad("data", "CSV has no place for it")
	case q.Address.IsValid() && !narrow:
		// Each grant has its own hash of an address, so it takes a look at each.
		return bad("address", "needs one of grant, client, user, session, jti, ancestor, request or since")
	}
	return nil
}

// setTypes takes types and beginnings of them, separated by commas:
// refresh_token.rotated.v1, refresh_token.rotated, refresh_token.*.
func (q *auditQuery) setTypes(text string) bool {
	for one := range strings.SplitSeq(text, ",") {
		beginning := strings.TrimSuffix(one, ".*")
		before := len(q.Types)
		for _, typ := range events.Types() {
			if (typ == one || strings.HasPrefix(typ, beginning+".")) && !slices.Contains(q.Types, typ) {
				q.Types = append(q.Types, typ)
			}
		}
		if len(q.Types) == before {
			return false
		}
	}
	slices.Sort(q.Types)
	return true
}

func textField(to *string, valid func(string) bool) func(string) bool {
	return func(s string) bool {
		*to = s
		return valid(s)
	}
}

func timeField(to *time.Time) func(string) bool {
	return func(s string) bool {
		at, err := time.Parse(time.RFC3339, s)
		*to = at.UTC()
		return err == nil
	}
}

func boolField(to *bool) func(string) bool {
	return func(s string) bool {
		*to = s == "true"
		return *to || s == "false"
	}
}

func oneOf(texts ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(texts, s) }
}

func isGrantID(s string) bool {
	_, err := events.ParseGrantID(s)
	return err == nil
}

func isShort(s string) bool { return len(s) <= maxAuditText }
