package bench

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Kinds of failures.
const (
	// failedStatus is an answer that says no: its status and OAuth error code.
	failedStatus = "status"
	// failedTransport is no answer. Whether the request was done is not known, unless
	// it was not sent.
	failedTransport = "transport"
	// failedAnswer is one that says yes and is not what it has to be.
	failedAnswer = "answer"
)

// A failure is why a request did not do what it was for. It holds nothing that was
// sent or told but error codes.
type failure struct{ kind, what string }

func wrong(what string) *failure { return &failure{failedAnswer, what} }

// tokenAnswer is RFC 6749 §5.1's, and RFC 8693 §2.2.1's.
type tokenAnswer struct {
	AccessToken     string `json:"access_token"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	RefreshToken    string `json:"refresh_token"`
	Scope           string `json:"scope"`
	IssuedTokenType string `json:"issued_token_type"`

	// from is the answer that it was read from.
	from answer
}

// expiry is when its access token ends.
func (t tokenAnswer) expiry() expiry {
	if t.ExpiresIn == 0 {
		return expiry{}
	}
	return expiry{t.from.sent.Unix() + t.ExpiresIn - clockSlack, t.from.received.Unix() + t.ExpiresIn + clockSlack}
}

// clockSlack is how far clocks may be apart, and a second that was rounded, in
// seconds.
const clockSlack = 3

// An expiry is when a token ends, in Unix seconds. It was issued at some time between
// request and answer. The zero value says that it was not told.
type expiry struct{ earliest, latest int64 }

// holds reports whether exp is what was told.
func (e expiry) holds(exp int64) bool {
	return e == expiry{} || exp >= e.earliest && exp <= e.latest
}

// after reports whether a token lives longer than until then, as far as is known.
func (e expiry) after(t time.Time) bool { return e == expiry{} || e.earliest > t.Unix() }

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
	if code, ok := told.Error.(string); ok {
		what += " " + errorCode(code)
	}
	return &failure{failedStatus, what}
}

// errorCode is an error code as it may be shown: of the characters of RFC 6749 §5.2.
func errorCode(code string) string {
	odd := func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
	if code == "" || len(code) > 64 || strings.ContainsFunc(code, odd) {
		return "an odd error code"
	}
	return code
}

// doubtful reports whether the server itself does not say whether it was done.
func (a answer) doubtful() bool {
	code := a.redirected().Get("error") // a browser shows no status (RFC 6749 §4.1.2.1)
	return a.status >= http.StatusInternalServerError || code == "server_error" || code == "temporarily_unavailable"
}

// redirected are the parameters of the redirect that it is; none if it is none.
func (a answer) redirected() url.Values {
	if a.status != http.StatusFound && a.status != http.StatusSeeOther {
		return nil
	}
	to, err := url.Parse(string(a.location))
	if err != nil {
		return nil
	}
	return to.Query()
}

// readJSON reads a successful answer, also one of which something else is wrong.
func (a answer) readJSON(into any, noStore bool) *failure {
	if a.status != http.StatusOK {
		return a.refused()
	}
	err := json.Unmarshal(a.body, into)
	mediaType, _, _ := bytes.Cut(a.contentType, []byte(";"))
	switch {
	case !bytes.EqualFold(bytes.TrimSpace(mediaType), []byte("application/json")):
		return wrong("the content type is not application/json")
	case noStore && !bytes.Contains(bytes.ToLower(a.cacheControl), []byte("no-store")):
		return wrong("it may be stored: no Cache-Control of no-store")
	case err != nil:
		return wrong("it is not a JSON object of its kind")
	}
	return nil
}

// tokens reads an answer of the token endpoint, as far as it can be read. Strict is
// what Chancery always has, and RFC 6749 §5.1 recommends.
func (a answer) tokens(strict bool) (t tokenAnswer, f *failure) {
	f = a.readJSON(&t, true)
	t.from = a
	switch {
	case f != nil:
		return t, f
	case t.AccessToken == "":
		return t, wrong("no access_token")
	case !strings.EqualFold(t.TokenType, "Bearer"):
		return t, wrong("token_type is not Bearer")
	case t.ExpiresIn < 0, t.ExpiresIn == 0 && strict:
		return t, wrong("expires_in is not a time to come")
	}
	return t, nil
}

// active reads an answer about a token that is active. Strict is what Chancery always
// has; RFC 7662 §2.2 leaves all but active to the server.
func (a answer) active(client string, e expiry, strict bool) *failure {
	var t introspectionAnswer
	if f := a.readJSON(&t, strict); f != nil {
		return f
	}
	switch {
	case !t.Active:
		return wrong("an active token is told to be inactive")
	case t.ClientID != client && (t.ClientID != "" || strict):
		return wrong("client_id is not the client's")
	case !e.holds(t.Expires) && (t.Expires != 0 || strict):
		return wrong("exp is not what the token was issued with")
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
	q := a.redirected()
	switch {
	case q == nil || !strings.HasPrefix(string(a.location), redirect):
		return "", wrong("a redirect that is not to the client")
	case q.Has("error"):
		return "", &failure{failedStatus, strconv.Itoa(a.status) + " " + errorCode(q.Get("error"))}
	case q.Get("state") != state:
		return "", wrong("a redirect with another state")
	case q.Get("code") == "":
		return "", wrong("a redirect without a code")
	}
	return q.Get("code"), nil
}
