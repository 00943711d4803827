package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/chancery-authority/chancery/events"
)

// Claims are those of an access token (RFC 9068 §2.2). Times are Unix seconds.
type Claims struct {
	Issuer    string   // iss
	Subject   string   // sub
	Audience  []string // aud, always an array
	Expires   int64    // exp
	IssuedAt  int64    // iat
	NotBefore int64    // nbf, which Chancery's own tokens lack
	JTI       string   // jti
	ClientID  string   // client_id
	Scope     Scope    // scope
	AuthTime  int64    // auth_time
	AMR       []string // amr
	// Session is the one that the grant was opened in (sid), if any.
	Session events.SessionID

	// Grant is the grant the token comes from (grant), also by exchanges; none
	// for client credentials.
	Grant events.GrantID
	// Partition is where the token's event and revocations are (part).
	Partition events.Partition
	// ClientEpoch (cep) and UserEpoch (uep) are those it was issued under; the
	// token dies when either is raised.
	ClientEpoch uint64
	UserEpoch   uint64

	// Act is who acts for the subject (act), MayAct who alone may exchange the
	// token, as claims that must all hold of the party (may_act; RFC 8693 §4).
	Act    *events.Actor
	MayAct map[string]string
	// Chain is what an exchanged token was made from (chain), the root first.
	Chain []events.Ancestor

	// SealedUser is the resource owner's id, encrypted (usr), where Subject is
	// pairwise. User is that id in the clear, which is no claim: who signs and who
	// verifies keeps it here.
	SealedUser string
	User       string

	// Extra are further claims. They may not replace those above.
	Extra map[string]any
}

// MaxLifetime is the longest an access token lives. Replicas remember
// revocations that long, so a longer one could outlive its revocation.
const MaxLifetime = 24 * time.Hour

// Scope is a list of scope values; a claim holds it as one text with spaces
// (RFC 8693 §4.2).
type Scope []string

// MarshalText joins the values.
func (s Scope) MarshalText() ([]byte, error) { return []byte(strings.Join(s, " ")), nil }

// UnmarshalText splits the text.
func (s *Scope) UnmarshalText(text []byte) error {
	*s = strings.Fields(string(text))
	return nil
}

type need int

const (
	optional need = iota // left out when zero
	present              // zero is a value
	required             // present and not zero
)

// A claim ties a name to a field of Claims.
type claim struct {
	name  string
	field any // pointer
	need  need
}

func (c *Claims) table() []claim {
	return []claim{
		{"iss", &c.Issuer, required},
		{"sub", &c.Subject, required},
		{"aud", &c.Audience, required},
		{"exp", &c.Expires, required},
		{"iat", &c.IssuedAt, required},
		{"nbf", &c.NotBefore, optional},
		{"jti", &c.JTI, required},
		{"client_id", &c.ClientID, required},
		{"scope", &c.Scope, optional},
		{"auth_time", &c.AuthTime, optional},
		{"amr", &c.AMR, optional},
		{"sid", &c.Session, optional},
		{"grant", &c.Grant, optional},
		{"part", &c.Partition, present},
		{"cep", &c.ClientEpoch, optional},
		{"uep", &c.UserEpoch, optional},
		{"act", &c.Act, optional},
		{"may_act", &c.MayAct, optional},
		{"chain", &c.Chain, optional},
		{"usr", &c.SealedUser, optional},
	}
}

func (c claim) isZero() bool {
	v := reflect.ValueOf(c.field).Elem()
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// Sign makes the access token (RFC 9068 §2). The error says which claim no token
// may have or lack, or that signing failed.
func Sign(k SigningKey, c Claims) (string, error) {
	payload, err := c.encode()
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	text, err := k.sign("at+jwt", payload)
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	return text, nil
}

// payloadSize is what most payloads take, so that they are made in one piece.
const payloadSize = 768

// encode makes the payload.
func (c *Claims) encode() (payload []byte, err error) {
	table := c.table()
	if err := c.check(table); err != nil {
		return nil, err
	}
	payload = append(make([]byte, 0, payloadSize), '{')
	for _, cl := range table {
		if _, ok := c.Extra[cl.name]; ok {
			return nil, fmt.Errorf("%s is no extra claim", cl.name)
		}
		if cl.need == optional && cl.isZero() {
			continue
		}
		payload = append(append(append(payload, '"'), cl.name...), `":`...)
		if payload, err = appendJSON(payload, cl.field); err != nil {
			return nil, fmt.Errorf("claim %s: %w", cl.name, err)
		}
		payload = append(payload, ',')
	}
	if len(c.Extra) > 0 {
		extra, err := json.Marshal(c.Extra)
		if err != nil {
			return nil, fmt.Errorf("extra claims: %w", err)
		}
		return append(payload, extra[1:]...), nil
	}
	payload[len(payload)-1] = '}' // for the last comma: some claims are required
	return payload, nil
}

// parseClaims reads the payload of a token whose signature is right.
func parseClaims(payload []byte) (Claims, error) {
	var c Claims
	m, err := parseObject(payload)
	if err != nil {
		return Claims{}, invalid("claims: " + err.Error())
	}
	table := c.table()
	for _, cl := range table {
		if _, ok := m[cl.name]; !ok && cl.need == present {
			return Claims{}, invalid("claims: no " + cl.name)
		}
		if err := m.get(cl.name, cl.field); err != nil {
			return Claims{}, invalid("claims: " + err.Error())
		}
		delete(m, cl.name)
	}
	if c.Extra, err = m.rest(); err != nil {
		return Claims{}, invalid("claims: " + err.Error())
	}
	if err := c.check(table); err != nil {
		return Claims{}, invalid("claims: " + err.Error())
	}
	return c, nil
}

// rest decodes what members are left.
func (m object) rest() (map[string]any, error) {
	if len(m) == 0 {
		return nil, nil
	}
	rest := make(map[string]any, len(m))
	for name, raw := range m {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("member %s: not JSON", name)
		}
		rest[name] = v
	}
	return rest, nil
}

// check is what holds for every token, whatever the time. The table is that of c.
func (c *Claims) check(table []claim) error {
	for _, cl := range table {
		if cl.need == required && cl.isZero() {
			return errors.New("no " + cl.name)
		}
	}
	switch {
	case slices.Contains(c.Audience, ""):
		return errors.New("an empty aud")
	case slices.ContainsFunc(c.Chain, func(a events.Ancestor) bool { return a.JTI == "" || a.Client == "" }):
		return errors.New("an ancestor without jti or client")
	case c.Act != nil && len(c.Chain) == 0:
		return errors.New("an act without an exchange")
	case c.IssuedAt < 0 || c.Expires <= c.IssuedAt:
		return errors.New("exp is not after iat")
	case c.Expires-c.IssuedAt > int64(MaxLifetime/time.Second):
		return errors.New("it lives longer than 24 hours")
	}
	return nil
}
