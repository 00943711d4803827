package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxSize is how long a token may be, in bytes. Anything longer is refused
// before it is looked at.
const MaxSize = 16 << 10

// ErrInvalid is returned for a token that is malformed, of another issuer, not
// an access token, or not signed by a key that may.
var ErrInvalid = errors.New("invalid token")

func invalid(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }

// A header is the JOSE header, as far as anything of it is used.
type header struct{ alg, kid, typ string }

// A jws is a token in compact serialization (RFC 7515 §7.1), taken apart.
type jws struct {
	header    header
	input     string // what is signed: header and payload as they came
	payload   string // base64url
	signature []byte
}

func parseJWS(text string) (jws, error) {
	if len(text) > MaxSize {
		return jws{}, invalid("too long")
	}
	// Go's base64 decoder skips line breaks.
	if strings.Count(text, ".") != 2 || strings.ContainsAny(text, "\r\n") {
		return jws{}, invalid("not three parts")
	}
	last := strings.LastIndexByte(text, '.')
	input := text[:last]
	head, payload, _ := strings.Cut(input, ".")
	h, err := parseHeader(head)
	if err != nil {
		return jws{}, err
	}
	signature, err := decode(text[last+1:])
	if err != nil {
		return jws{}, invalid("signature is not base64url")
	}
	return jws{header: h, input: input, payload: payload, signature: signature}, nil
}

func parseHeader(text string) (header, error) {
	b, err := decode(text)
	if err != nil {
		return header{}, invalid("header is not base64url")
	}
	m, err := parseObject(b)
	if err != nil {
		return header{}, invalid("header: " + err.Error())
	}
	// No extension is understood, so any crit is one that is not (RFC 7515
	// §4.1.11). A key or a way to one comes from configuration, never from the
	// token (RFC 8725 §3.10).
	for _, name := range [...]string{"crit", "b64", "jwk", "jku", "x5c", "x5u"} {
		if _, ok := m[name]; ok {
			return header{}, invalid("header has " + name)
		}
	}
	var h header
	if err := errors.Join(m.get("alg", &h.alg), m.get("kid", &h.kid), m.get("typ", &h.typ)); err != nil {
		return header{}, invalid("header: " + err.Error())
	}
	return h, nil
}

// verify checks the signature, by own if that is not nil, and gives the payload. The
// algorithm is the key's; the header may only agree (RFC 8725 §3.1).
func (k PublicKey) verify(t jws, own *ownES256) ([]byte, error) {
	if t.header.alg != string(k.Alg) {
		return nil, invalid("alg is not the key's")
	}
	var right bool
	if method := k.Alg.method(); own != nil {
		right = own.verifies(t.input, t.signature)
	} else if method != nil {
		right = method.Verify(t.input, t.signature, k.key) == nil
	}
	if !right {
		return nil, invalid("wrong signature")
	}
	payload, err := decode(t.payload)
	if err != nil {
		return nil, invalid("payload is not base64url")
	}
	return payload, nil
}

// sign makes a JWT. Its typ keeps one kind of token from passing for another
// (RFC 8725 §3.11). No key id and no typ has anything to escape in JSON.
func (k SigningKey) sign(typ string, payload []byte) (string, error) {
	method := k.public.Alg.method()
	if method == nil {
		return "", errors.New("no key")
	}
	head := `{"alg":"` + string(k.public.Alg) + `","kid":"` + k.public.ID + `","typ":"` + typ + `"}`
	input := encode([]byte(head)) + "." + encode(payload)
	signature, err := method.Sign(input, k.private)
	if err != nil {
		return "", err
	}
	text := input + "." + encode(signature)
	if len(text) > MaxSize {
		return "", fmt.Errorf("over %d bytes", MaxSize)
	}
	return text, nil
}

// signObject is sign for a payload of a few claims.
func (k SigningKey) signObject(typ string, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return k.sign(typ, payload)
}
