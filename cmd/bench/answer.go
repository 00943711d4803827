package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Kinds of failures.
const (
	// failedStatus is an answer that says no: its status and OAuth error code.
	failedStatus = "status"
	// failedTransport is no answer. Whether the request was done is not known.
	failedTransport = "transport"
	// failedAnswer is one that says yes and is not what it has to be.
	failedAnswer = "answer"
)

// A failure is why a request did not do what it was for. It holds nothing that was
// sent or told but error codes.
type failure struct{ kind, what string }

func wrong(format string, args ...any) *failure {
	return &failure{failedAnswer, fmt.Sprintf(format, args...)}
}

// tokenAnswer is RFC 6749 §5.1's, and RFC 8693 §2.2.1's.
type tokenAnswer struct {
	AccessToken     string `json:"access_token"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	RefreshToken    string `json:"refresh_token"`
	Scope           string `json:"scope"`
	IssuedTokenType string `json:"issued_token_type"`
}

// introspectionAnswer is RFC 7662 §2.2's, of what is looked at.
type introspectionAnswer struct {
	Active   bool   `json:"active"`
	ClientID string `json:"client_id"`
	Expires  int64  `json:"exp"`
}

// refused is the failure of an answer with another status than it has to have.
func (a answer) refused() *failure {
	var told struct {
		// The Login API's errors are objects.
		Error any `json:"error"`
	}
	_ = json.Unmarshal(a.body, &told)
	what := strconv.Itoa(a.status)
	if code, ok := told.Error.(string); ok && len(code) <= 64 {
		what += " " + code
	}
	return &failure{failedStatus, what}
}

// readJSON reads a successful answer.
func (a answer) readJSON(into any, noStore bool) *failure {
	mediaType, _, _ := bytes.Cut(a.contentType, []byte(";"))
	switch {
	case a.status != http.StatusOK:
		return a.refused()
	case !bytes.EqualFold(bytes.TrimSpace(mediaType), []byte("application/json")):
		return wrong("the content type is %.60q", a.contentType)
	case noStore && !bytes.Contains(bytes.ToLower(a.cacheControl), []byte("no-store")):
		return wrong("it may be stored: no Cache-Control of no-store")
	case json.Unmarshal(a.body, into) != nil:
		return wrong("it is not a JSON object of its kind")
	}
	return nil
}

// tokens reads an answer of the token endpoint.
func (a answer) tokens() (t tokenAnswer, f *failure) {
	if f := a.readJSON(&t, true); f != nil {
		return t, f
	}
	switch {
	case t.AccessToken == "":
		return t, wrong("no access_token")
	case !strings.EqualFold(t.TokenType, "Bearer"):
		return t, wrong("token_type is %.20q", t.TokenType)
	case t.ExpiresIn <= 0:
		return t, wrong("expires_in is %d", t.ExpiresIn)
	}
	return t, nil
}

// active reads an answer about a token that is active.
func (a answer) active(client string, expires int64, noStore bool) *failure {
	var t introspectionAnswer
	if f := a.readJSON(&t, noStore); f != nil {
		return f
	}
	switch {
	case !t.Active:
		return wrong("an active token is told to be inactive")
	case t.ClientID != client:
		return wrong("client_id is not the client's")
	case t.Expires < expires-clockSlack || t.Expires > expires+clockSlack:
		return wrong("exp is %d s off what the token was issued with", t.Expires-expires)
	}
	return nil
}

// revoked reads an answer of the revocation endpoint (RFC 7009 §2.2).
func (a answer) revoked() *failure {
	if a.status != http.StatusOK {
		return a.refused()
	}
	return nil
}

// code reads a redirect with an authorization code (RFC 6749 §4.1.2).
func (a answer) code(redirect, state string) (string, *failure) {
	if a.status != http.StatusFound && a.status != http.StatusSeeOther {
		return "", a.refused()
	}
	to, err := url.Parse(string(a.location))
	if err != nil || !strings.HasPrefix(string(a.location), redirect) {
		return "", wrong("a redirect that is not to the client")
	}
	q := to.Query()
	switch {
	case q.Get("error") != "":
		return "", &failure{failedStatus, strconv.Itoa(a.status) + " " + q.Get("error")}
	case q.Get("state") != state:
		return "", wrong("a redirect with another state")
	case q.Get("code") == "":
		return "", wrong("a redirect without a code")
	}
	return q.Get("code"), nil
}
