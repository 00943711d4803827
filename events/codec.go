package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	// What encoding/json/v2 will be. Encoding stays with encoding/json, whose bytes
	// are what logs have.
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Names of the headers, CloudEvents attributes in binary mode. Extension
// attributes are lower-case letters only, as CloudEvents asks.
const (
	headerSpecVersion = "ce-specversion"
	headerID          = "ce-id"
	headerType        = "ce-type"
	headerSource      = "ce-source"
	headerTime        = "ce-time"
	headerSubject     = "ce-subject"
	headerSchema      = "ce-dataschema"
	headerRequest     = "ce-requestid"
	headerTrace       = "ce-traceparent"
	headerActor       = "ce-actor"
	headerOrigin      = "ce-origin"

	specVersion  = "1.0"
	schemaPrefix = "urn:chancery:event:"
	headerPrefix = "ce-"
	// timeLayout keeps milliseconds and always the same width.
	timeLayout = "2006-01-02T15:04:05.000Z"
)

// ErrUnknownType is returned for a type or version this program does not know.
// A reader stops there: an event is never skipped.
var ErrUnknownType = errors.New("unknown event type or version")

// decoders has one entry for every type and version that was ever written.
// When a version is superseded its entry stays and upcasts.
var decoders = map[string]func([]byte) (Fact, error){
	GrantOpened{}.Type():           decode[GrantOpened],
	CodeRedeemed{}.Type():          decode[CodeRedeemed],
	RefreshTokenRotated{}.Type():   decode[RefreshTokenRotated],
	RefreshTokenRepeated{}.Type():  decode[RefreshTokenRepeated],
	GrantRevoked{}.Type():          decode[GrantRevoked],
	SessionOpened{}.Type():         decode[SessionOpened],
	SessionEnded{}.Type():          decode[SessionEnded],
	LogoutDelivered{}.Type():       decode[LogoutDelivered],
	LogoutFailed{}.Type():          decode[LogoutFailed],
	AccessTokenIssued{}.Type():     decode[AccessTokenIssued],
	TokenExchanged{}.Type():        decode[TokenExchanged],
	AccessTokenRevoked{}.Type():    decode[AccessTokenRevoked],
	GrantRevocationMarked{}.Type(): decode[GrantRevocationMarked],
	RequestRefused{}.Type():        decode[RequestRefused],
	FeedTicked{}.Type():            decode[FeedTicked],
	LogRestored{}.Type():           decode[LogRestored],
	ClientRegistered{}.Type():      decode[ClientRegistered],
	ClientUpdated{}.Type():         decode[ClientUpdated],
	ClientDisabled{}.Type():        decode[ClientDisabled],
	ClientEnabled{}.Type():         decode[ClientEnabled],
	ClientCutOff{}.Type():          decode[ClientCutOff],
	ClientSecretAdded{}.Type():     decode[ClientSecretAdded],
	ClientSecretDropped{}.Type():   decode[ClientSecretDropped],
	UserRegistered{}.Type():        decode[UserRegistered],
	UserDisabled{}.Type():          decode[UserDisabled],
	UserEnabled{}.Type():           decode[UserEnabled],
	UserCutOff{}.Type():            decode[UserCutOff],
	UserDeleted{}.Type():           decode[UserDeleted],
	UserErased{}.Type():            decode[UserErased],
	ConsentGiven{}.Type():          decode[ConsentGiven],
	ConsentWithdrawn{}.Type():      decode[ConsentWithdrawn],
	KeyAnnounced{}.Type():          decode[KeyAnnounced],
	KeyActivated{}.Type():          decode[KeyActivated],
	KeyRetired{}.Type():            decode[KeyRetired],
	KeyDropped{}.Type():            decode[KeyDropped],
	PartitionAdded{}.Type():        decode[PartitionAdded],
}

// Types lists every event type and version, sorted.
func Types() []string {
	types := make([]string, 0, len(decoders))
	for t := range decoders {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

// decode takes names as they are written, and refuses those that it does not know
// or that are there twice.
func decode[F Fact](data []byte) (Fact, error) {
	var f F
	if err := jsonv2.Unmarshal(data, &f, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, withoutData(err)
	}
	return f, nil
}

// withoutData says what is wrong with a JSON text and where, but not what it
// holds.
func withoutData(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("no JSON at offset %d", syntax.ByteOffset)
	}
	if errors.Is(err, jsonv2.ErrUnknownName) {
		return errors.New("a field that this version does not have")
	}
	if typ, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		return fmt.Errorf("wrong type at offset %d", typ.ByteOffset)
	}
	return errors.New("a value that this version does not have")
}

// Encode renders an event as a message. The same event always gives the same
// bytes.
func Encode(e Event) (Message, error) {
	if e.ID == "" || e.Subject == "" || e.Fact == nil {
		return Message{}, errors.New("encode event: id, subject and fact are required")
	}
	data, err := json.Marshal(e.Fact)
	if err != nil {
		return Message{}, fmt.Errorf("encode %s: %w", e.Fact.Type(), err)
	}
	h := header(e)
	for _, pair := range h {
		// A header is one line, and is trimmed on its way.
		if v := pair[1]; strings.ContainsAny(v, "\r\n\x00") || strings.Trim(v, " \t") != v {
			return Message{}, fmt.Errorf("encode %s: %s does not fit in a header", e.Fact.Type(), pair[0])
		}
	}
	return Message{Subject: string(e.Subject), Header: h, Data: data}, nil
}

// header is the envelope of an event. Of who asked, what is not known is left out.
func header(e Event) Header {
	typ := e.Fact.Type()
	h := Header{
		{headerActor, e.Meta.Actor},
		{headerSchema, schemaPrefix + typ},
		{headerID, e.ID},
		{headerOrigin, e.Meta.Origin},
		{headerRequest, e.Meta.Request},
		{headerSource, e.Source},
		{headerSpecVersion, specVersion},
		{headerSubject, e.Subject.ID()},
		{headerTime, e.Time.UTC().Format(timeLayout)},
		{headerTrace, e.Meta.Trace},
		{headerType, typ},
	}
	return slices.DeleteFunc(h, func(pair [2]string) bool {
		switch pair[0] {
		case headerActor, headerOrigin, headerRequest, headerTrace:
			return pair[1] == ""
		}
		return false
	})
}

// Decode reads a message. The error is ErrUnknownType for a type or version
// that is not known, and says what is wrong otherwise; it never holds data of
// the message.
func Decode(m Message) (Event, error) {
	if v := m.Header.Get(headerSpecVersion); v != specVersion {
		return Event{}, errors.New("decode event: not a CloudEvents 1.0 message")
	}
	typ := m.Header.Get(headerType)
	dec, ok := decoders[typ]
	if !ok {
		return Event{}, fmt.Errorf("decode event: %w: %.64q", ErrUnknownType, typ)
	}
	if m.Header.Get(headerID) == "" {
		return Event{}, fmt.Errorf("decode %s: no ce-id", typ)
	}
	if m.Header.Get(headerSubject) != Subject(m.Subject).ID() {
		return Event{}, fmt.Errorf("decode %s: ce-subject is not the subject it is stored on", typ)
	}
	at, err := time.Parse(timeLayout, m.Header.Get(headerTime))
	if err != nil {
		return Event{}, fmt.Errorf("decode %s: bad ce-time", typ)
	}
	fact, err := dec(m.Data)
	if err != nil {
		return Event{}, fmt.Errorf("decode %s: bad data: %w", typ, err)
	}
	return Event{
		ID:      m.Header.Get(headerID),
		Source:  m.Header.Get(headerSource),
		Time:    at,
		Subject: Subject(m.Subject),
		Fact:    fact,
		Meta: Meta{
			Request: m.Header.Get(headerRequest),
			Trace:   m.Header.Get(headerTrace),
			Actor:   m.Header.Get(headerActor),
			Origin:  m.Header.Get(headerOrigin),
		},
	}, nil
}

// Hash is a running or canonical SHA-256 hash.
type Hash [sha256.Size]byte

// Canonical is the form of a stored message that hashes are made of: its
// sequence, subject, headers and data, each with its length.
func Canonical(seq uint64, m Message) []byte {
	return AppendCanonical(make([]byte, 0, canonicalSize+len(m.Data)), seq, m.Subject, m.Header, m.Data)
}

// canonicalSize is what a canonical form takes, but for large data.
const canonicalSize = 1024

// AppendCanonical appends the canonical form of a message, whose headers must be
// sorted, as those of a Header are.
func AppendCanonical(b []byte, seq uint64, subject string, headers Header, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, seq)
	b = appendField(b, subject)
	b = binary.BigEndian.AppendUint32(b, uint32(len(headers))) //nolint:gosec // a dozen headers
	for _, h := range headers {
		b = appendField(b, h[0])
		b = appendField(b, h[1])
	}
	return appendField(b, data)
}

func appendField[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // messages are below 1 MiB
	return append(b, s...)
}

// Next chains the canonical form of the next message to h. The zero Hash
// starts a chain.
func (h Hash) Next(seq uint64, m Message) Hash {
	var room [canonicalSize]byte // not from the heap
	var both [2 * sha256.Size]byte
	leaf := sha256.Sum256(AppendCanonical(room[:0], seq, m.Subject, m.Header, m.Data))
	copy(both[copy(both[:], h[:]):], leaf[:])
	return sha256.Sum256(both[:])
}
