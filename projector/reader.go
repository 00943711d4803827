package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// ErrUnavailable is returned when no read model can answer now: it is being
// built, has stopped, or cannot be reached. It says nothing about what was
// asked for; the request is answered 503.
var ErrUnavailable = errors.New("read model is not available")

// A Reader reads what was folded. It is Local where the projector runs in the
// same process and Remote where it does not.
type Reader interface {
	// Grant reads the row of a grant, with the sequence it was folded to. It is
	// zero if there is no row, which is no proof that there is no grant: the row
	// may be behind the log, and the rows of finished grants are deleted. The
	// only error, besides that of ctx, is ErrUnavailable.
	Grant(ctx context.Context, id events.GrantID) (fold.Grant, error)
	// Session is the same of a session, with whether it has ended.
	Session(ctx context.Context, id events.SessionID) (fold.Session, error)
	// Held is what a partition has of a user, at one client or, if that is empty,
	// at all. It is zero for what is no id.
	Held(ctx context.Context, p events.Partition, user, client string) (Held, error)
	// Consents are what a user was asked for, those that were withdrawn too.
	Consents(ctx context.Context, user string) (Consents, error)
	// Audit is what the audit of a stream has for a query, from behind a place on:
	// that of the page before, or 0. It gives at most limit rows, no more than
	// MaxAuditPage, and possibly none although there are more behind its Place.
	Audit(ctx context.Context, stream string, q AuditQuery, place uint64, limit int) (AuditPage, error)
	// Hashes are those of the Merkle tree of a stream, by the indexes that package
	// tlog gives them, no more than MaxHashes.
	Hashes(ctx context.Context, stream string, indexes []int64) (Hashes, error)
	// Participants are the clients that got grants of a partition in a session of
	// any, and UserParticipants those of all of a user's sessions, from behind a
	// sequence on.
	Participants(ctx context.Context, p events.Partition, id events.SessionID, after uint64) (Participants, error)
	UserParticipants(ctx context.Context, p events.Partition, user string, after uint64) (Participants, error)
	// Rendered counts, of the next grants and sessions of a partition behind a place
	// on, those that end with a MAC key.
	Rendered(ctx context.Context, p events.Partition, macKey uint8, after RenderedPlace) (Rendered, error)
}

// Rendered are grants that are not revoked whose code or present refresh token,
// and sessions whose cookie, a MAC key authenticates. Next is where to count on;
// it is Done when all were looked at.
type Rendered struct {
	Grants   int64         `json:"grants"`
	Sessions int64         `json:"sessions"`
	Next     RenderedPlace `json:"next"`
	Done     bool          `json:"done"`
}

// A RenderedPlace is how far Rendered has come. The zero value is the start.
type RenderedPlace struct {
	Grant   uint64 `json:"grant"`
	Session uint64 `json:"session"`
}

// MaxParticipants is how many Participants has at most.
const MaxParticipants = 500

// Participants are clients that took part in sessions, ordered by sequence, no
// more than MaxParticipants of them. Logouts are who was told of the ends of such
// sessions of the partition, the newest 2,000. What was folded up to Position is
// in both.
type Participants struct {
	Position     uint64             `json:"position"`
	Participants []fold.Participant `json:"participants"`
	Logouts      []fold.Logout      `json:"logouts"`
}

// MaxHeld is how many sessions, and how many grants, Held has at most. There may
// be fewer of large ones: each list ends at 256 KiB of JSON, so that an answer
// fits into a message.
const MaxHeld = 200

// Held is what a partition has of one user, the newest first and no more than
// MaxHeld of each. What was folded up to Position is in it, and no longer what
// was revoked or ended by then.
type Held struct {
	Position uint64         `json:"position"`
	Sessions []fold.Session `json:"sessions"`
	Grants   []fold.Grant   `json:"grants"`
}

// Consents are those of one user, ordered by client, the first 1,000 of them and
// no more than 512 KiB of JSON. What was folded up to Position is in them.
type Consents struct {
	Position uint64         `json:"position"`
	Consents []fold.Consent `json:"consents"`
}

// What can be read, as the names of queries and subjects.
const (
	readGrant    = "grant"
	readSession  = "session"
	readHeld     = "held"
	readConsents = "consents"

	readParticipants     = "participants"
	readUserParticipants = "user_participants"

	readRendered = "rendered"

	// readOldest is asked in the projector's own process only.
	readOldest = "oldest"

	readAudit  = "audit"
	readHashes = "hashes"
)

// A source reads what was folded from a stream as JSON, null or nil if there is
// no row. The key is ids, separated by dots.
type source interface {
	read(ctx context.Context, from place, what, key string) ([]byte, error)
}

// A place is a stream as reads name it: a partition's number, or registryPlace.
type place string

const registryPlace place = "registry"

func partitionPlace(p events.Partition) place { return place(strconv.Itoa(int(p))) }

// auditPlace is where the audit of a stream is asked for.
func auditPlace(stream string) place { return place(stream) }

// treePlace is where the tree of a stream is asked for.
func treePlace(stream string) place { return place(stream + "-tree") }

// validKey reports whether a key is one that a read takes at a place.
func validKey(at place, what, key string) bool {
	switch what {
	case readGrant, readSession:
		id, err := events.ParseGrantID(key)
		return err == nil && partitionPlace(id.Partition()) == at
	case readAudit:
		_, err := parseAuditKey(key)
		return err == nil
	case readHashes:
		_, err := parseIndexes(key)
		return err == nil
	case readHeld:
		user, client, _ := strings.Cut(key, ".")
		return events.ValidID(user) && (client == "" || events.ValidID(client))
	case readRendered:
		numbers := strings.Split(key, ".")
		return len(numbers) == 3 && !slices.ContainsFunc(numbers, func(n string) bool {
			_, err := strconv.ParseUint(n, 10, 63)
			return err != nil
		})
	case readParticipants, readUserParticipants:
		id, after, _ := strings.Cut(key, ".")
		_, err := strconv.ParseUint(after, 10, 63)
		return events.ValidID(id) && err == nil
	}
	return events.ValidID(key)
}

// states reads what a source has as what it is.
type states struct{ source source }

// Grant is described at Reader.
func (s states) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	return readState(ctx, s.source, readGrant, id, func(g fold.Grant) events.GrantID { return g.ID })
}

// Session is described at Reader.
func (s states) Session(ctx context.Context, id events.SessionID) (fold.Session, error) {
	return readState(ctx, s.source, readSession, id, func(s fold.Session) events.SessionID { return s.ID })
}

// Held is described at Reader.
func (s states) Held(ctx context.Context, p events.Partition, user, client string) (held Held, err error) {
	return readAll[Held](ctx, s.source, partitionPlace(p), readHeld, user+"."+client)
}

// Consents is described at Reader.
func (s states) Consents(ctx context.Context, user string) (Consents, error) {
	return readAll[Consents](ctx, s.source, registryPlace, readConsents, user)
}

// Participants is described at Reader.
func (s states) Participants(ctx context.Context, p events.Partition, id events.SessionID, after uint64) (Participants, error) {
	return s.participants(ctx, p, readParticipants, id.String(), after)
}

// UserParticipants is described at Reader.
func (s states) UserParticipants(ctx context.Context, p events.Partition, user string, after uint64) (Participants, error) {
	return s.participants(ctx, p, readUserParticipants, user, after)
}

func (s states) participants(ctx context.Context, p events.Partition, what, id string, after uint64) (Participants, error) {
	return readAll[Participants](ctx, s.source, partitionPlace(p), what, id+"."+strconv.FormatUint(after, 10))
}

// Rendered is described at Reader.
func (s states) Rendered(ctx context.Context, p events.Partition, macKey uint8, after RenderedPlace) (Rendered, error) {
	key := fmt.Sprintf("%d.%d.%d", macKey, after.Grant, after.Session)
	return readAll[Rendered](ctx, s.source, partitionPlace(p), readRendered, key)
}

// Audit is described at Reader.
func (s states) Audit(ctx context.Context, stream string, q AuditQuery, place uint64, limit int) (AuditPage, error) {
	key, err := json.Marshal(auditKey{AuditQuery: q, Place: place, Limit: min(limit, MaxAuditPage)})
	if err != nil {
		return AuditPage{}, fmt.Errorf("read audit: %w", err)
	}
	return readAll[AuditPage](ctx, s.source, auditPlace(stream), readAudit, string(key))
}

// Hashes is described at Reader.
func (s states) Hashes(ctx context.Context, stream string, indexes []int64) (Hashes, error) {
	key, err := json.Marshal(indexes)
	if err != nil {
		return Hashes{}, fmt.Errorf("read hashes: %w", err)
	}
	return readAll[Hashes](ctx, s.source, treePlace(stream), readHashes, string(key))
}

func readAll[S any](ctx context.Context, from source, at place, what, key string) (all S, err error) {
	if !validKey(at, what, key) {
		return all, nil
	}
	raw, err := from.read(ctx, at, what, key)
	if err != nil {
		return all, err
	}
	if err := jsonv2.Unmarshal(raw, &all); err != nil {
		return all, fmt.Errorf("%w: read %s: %w", ErrUnavailable, what, err)
	}
	return all, nil
}

func readState[S any](ctx context.Context, from source, what string, id events.GrantID, idOf func(S) events.GrantID) (S, error) {
	var state S
	raw, err := from.read(ctx, partitionPlace(id.Partition()), what, id.String())
	if err != nil || raw == nil {
		return state, err
	}
	if err := jsonv2.Unmarshal(raw, &state); err != nil {
		return state, fmt.Errorf("%w: read %s: %w", ErrUnavailable, what, err)
	}
	if got := idOf(state); !got.IsZero() && got != id {
		return state, fmt.Errorf("%w: read %s: it is another one's", ErrUnavailable, what)
	}
	return state, nil
}
