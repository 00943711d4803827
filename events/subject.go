package events

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
)

// DefaultRealm is the realm of an installation that names none.
const DefaultRealm Realm = "main"

// A Realm is one token authority in a NATS account. It is the first token of
// every subject and, in upper case, the prefix of every stream.
type Realm string

// MaxPartitions is how many partitions a realm can have: the first byte of a
// grant id names one.
const MaxPartitions = 256

// A Partition is one stream of grants. Grants stay in the partition they were
// opened in, so partitions can be added at any time.
type Partition uint8

// A GrantID identifies one grant. Its first byte is the grant's partition, the
// other 15 are random. The zero value is no grant.
type GrantID [16]byte

// A SessionID identifies one session. It is made as a grant's id is, and its
// first byte names the session's partition.
type SessionID = GrantID

// NewGrantID places random bytes in partition p. Only the last 15 bytes of
// random are used.
func NewGrantID(p Partition, random [16]byte) GrantID {
	random[0] = byte(p)
	return random
}

// ParseGrantID reads the text form: 32 lower-case hexadecimal digits.
func ParseGrantID(s string) (GrantID, error) {
	var id GrantID
	if len(s) != 2*len(id) || s != strings.ToLower(s) {
		return id, errors.New("a grant id is 32 lower-case hexadecimal digits")
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return GrantID{}, errors.New("a grant id is 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// Partition is the partition the grant was opened in.
func (id GrantID) Partition() Partition { return Partition(id[0]) }

// IsZero reports whether id names no grant.
func (id GrantID) IsZero() bool { return id == GrantID{} }

// String is the text form that ParseGrantID reads.
func (id GrantID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText is String.
func (id GrantID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseGrantID.
func (id *GrantID) UnmarshalText(b []byte) error {
	parsed, err := ParseGrantID(string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// A Subject is where an event is stored: one aggregate is one exact subject.
type Subject string

// GrantSubject holds everything that happens to one grant.
func (r Realm) GrantSubject(id GrantID) Subject {
	return Subject(string(r) + ".grant." + strconv.Itoa(int(id.Partition())) + "." + id.String())
}

// SessionSubject holds the opening of one session.
func (r Realm) SessionSubject(id SessionID) Subject {
	return Subject(string(r) + ".session." + strconv.Itoa(int(id.Partition())) + "." + id.String())
}

// IssuedSubject holds the access tokens issued to a client outside a grant's
// rotation: client credentials and token exchange.
func (r Realm) IssuedSubject(p Partition, client string) Subject {
	return Subject(string(r) + ".issued." + strconv.Itoa(int(p)) + "." + client)
}

// RevokedSubject holds the revocation markers and the ticks of a partition.
func (r Realm) RevokedSubject(p Partition) Subject {
	return Subject(string(r) + ".revoked." + strconv.Itoa(int(p)))
}

// RefusedSubject holds the refusals of a partition. They are beside the grants,
// never on a grant's subject.
func (r Realm) RefusedSubject(p Partition) Subject {
	return Subject(string(r) + ".refused." + strconv.Itoa(int(p)))
}

// LogoutSubject holds how it went to tell clients of the ends of a partition's
// sessions.
func (r Realm) LogoutSubject(p Partition) Subject {
	return Subject(string(r) + ".logout." + strconv.Itoa(int(p)))
}

// ClientSubject holds the registration of one client.
func (r Realm) ClientSubject(client string) Subject { return Subject(string(r) + ".client." + client) }

// UserSubject holds the account state of one user.
func (r Realm) UserSubject(user string) Subject { return Subject(string(r) + ".user." + user) }

// ConsentSubject holds what one user agreed that one client may have.
func (r Realm) ConsentSubject(user, client string) Subject {
	return Subject(string(r) + ".consent." + user + "." + client)
}

// KeySubject holds the life of one signing or MAC key.
func (r Realm) KeySubject(kid string) Subject { return Subject(string(r) + ".key." + kid) }

// PartitionSubject holds when a partition was added.
func (r Realm) PartitionSubject(p Partition) Subject {
	return Subject(string(r) + ".partition." + strconv.Itoa(int(p)))
}

// RegistryTickSubject holds the ticks with which replicas prove that their
// registry is fresh.
func (r Realm) RegistryTickSubject() Subject { return Subject(string(r) + ".tick") }

// RestoredSubject holds, in the registry, the losses of the log that were accepted.
func (r Realm) RestoredSubject() Subject { return Subject(string(r) + ".restored") }

// PartitionStream names the stream of a partition.
func (r Realm) PartitionStream(p Partition) string {
	return strings.ToUpper(string(r)) + "_EVENTS_" + strconv.Itoa(int(p))
}

// PartitionOf is the partition whose stream has that name.
func (r Realm) PartitionOf(stream string) (Partition, bool) {
	p, ok := ParsePartition(strings.TrimPrefix(stream, strings.ToUpper(string(r))+"_EVENTS_"))
	return p, ok && stream == r.PartitionStream(p)
}

// ParsePartition reads a partition's number, as subjects and streams have it.
func ParsePartition(s string) (Partition, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	return Partition(n), err == nil && s == strconv.FormatUint(n, 10)
}

// RegistryStream names the stream of clients, users, keys and partitions.
func (r Realm) RegistryStream() string { return strings.ToUpper(string(r)) + "_REGISTRY" }

// PartitionSubjects are the subjects a partition's stream listens on.
func (r Realm) PartitionSubjects(p Partition) []string {
	n := strconv.Itoa(int(p))
	return []string{
		string(r) + ".grant." + n + ".*",
		string(r) + ".session." + n + ".*",
		string(r) + ".issued." + n + ".*",
		string(r) + ".revoked." + n,
		string(r) + ".refused." + n,
		string(r) + ".logout." + n,
	}
}

// RegistrySubjects are the subjects the registry's stream listens on.
func (r Realm) RegistrySubjects() []string {
	return []string{
		string(r) + ".client.*",
		string(r) + ".user.*",
		string(r) + ".consent.*.*",
		string(r) + ".key.*",
		string(r) + ".partition.*",
		string(r) + ".tick",
		string(r) + ".restored",
	}
}

var (
	realmPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	idPattern    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Validate reports whether r can be the first token of a subject.
func (r Realm) Validate() error {
	if !realmPattern.MatchString(string(r)) {
		return fmt.Errorf("realm %q: want a lower-case letter and up to 31 lower-case letters, digits or dashes", string(r))
	}
	return nil
}

// ValidID reports whether s can be the last token of a subject: 1 to 64
// letters, digits, dashes and underscores. Client, user and key ids are.
func ValidID(s string) bool { return idPattern.MatchString(s) }

// SpreadPartition is the one of some partitions, at least one, that the
// grant-less tokens of a client go to. It is stable for a client while they are
// the same.
func SpreadPartition(client string, among []Partition) Partition {
	h := fnv.New32a()
	_, _ = h.Write([]byte(client))
	return among[int(h.Sum32()%uint32(len(among)))] //nolint:gosec // at most 256
}

// Realm is the first token of the subject.
func (s Subject) Realm() Realm {
	realm, _, _ := strings.Cut(string(s), ".")
	return Realm(realm)
}

// Kind is the second token of the subject: grant, session, issued, revoked,
// refused, logout, client, user, consent, key, partition, tick or restored. It is empty for a text that
// is no subject of ours.
func (s Subject) Kind() string {
	_, rest, _ := strings.Cut(string(s), ".")
	kind, _, _ := strings.Cut(rest, ".")
	return kind
}

// ID is the last token of the subject: the aggregate's id.
func (s Subject) ID() string {
	return string(s[strings.LastIndexByte(string(s), '.')+1:])
}

// IsGrant reports whether s is the subject of grant id in some realm.
func (s Subject) IsGrant(id GrantID) bool {
	var room [128]byte // not from the heap
	b := append(room[:0], s.Realm()...)
	b = append(b, ".grant."...)
	b = strconv.AppendUint(b, uint64(id.Partition()), 10)
	b = append(b, '.')
	return string(hex.AppendEncode(b, id[:])) == string(s)
}

// Guarded reports whether every append to s must state the sequence it was
// decided on. Nothing is decided on what issued, revoked, refused, logout,
// tick and restored hold, so they take plain appends.
func (s Subject) Guarded() bool {
	switch s.Kind() {
	case "grant", "session", "client", "user", "consent", "key", "partition":
		return true
	}
	return false
}
