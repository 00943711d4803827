package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"hash/maphash"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/chancery-authority/chancery/events"
)

const (
	// renewBefore is how long an access token must live to be used once more.
	renewBefore = 10 * time.Second
	// failurePause is after a failure: a server that is down is not flooded.
	failurePause = 50 * time.Millisecond
	// maxSpare bounds the grants that are kept to be revoked.
	maxSpare = 64

	// PKCE of RFC 7636 appendix B, and where a code is sent: nothing listens there.
	pkceVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	pkceChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	redirectURI   = "http://127.0.0.1:9999/callback"
	codeScope     = "read offline_access"
)

// A person can sign in. The zero value is nobody.
type person struct{ username, password string }

// held is what a client holds of one grant, or, without a refresh token, of its own.
type held struct {
	refresh string
	access  string
	expires time.Time
	// seen are hashes of all refresh tokens of the grant that were held.
	seen map[uint64]struct{}
	// dead says that the refresh token was refused.
	dead bool
}

// A worker asks, waits for the answer, checks it and asks again.
type worker struct {
	*conn
	client   Client
	person   person
	cookie   string
	targets  string
	at       Endpoints
	verifier *verifier
	every    int
	chancery bool
	tally    *tally
	recorder *recorder
	rng      *mathrand.Rand
	hash     maphash.Seed

	form []byte
	// issued and codes are how many access tokens and codes it got.
	issued, codes int
	// held are used in turn, and spare, which codes of Mixed opened, are revoked. Of many that were given the
	// first grants are enough for access tokens.
	held   []*held
	grants int
	turn   int
	spare  []*held
}

// beside is a sample of what failed before the request that is measured.
func beside(o Operation, f *failure) sample { return sample{operation: o, failure: f, beside: true} }

// run does operations until ctx ends, or there is nothing to do them with.
func (w *worker) run(ctx context.Context, o Operation) {
	for ctx.Err() == nil {
		s, more := w.do(ctx, o)
		if !more {
			return
		}
		w.recorder.add(s)
		if s.failure != nil {
			select {
			case <-time.After(failurePause):
			case <-ctx.Done():
			}
		}
	}
}

// do does an operation once; false means that there is nothing left to do it with.
func (w *worker) do(ctx context.Context, o Operation) (s sample, more bool) {
	switch o {
	case Mixed:
		return w.do(ctx, w.draw())
	case ClientCredentials:
		_, took, f := w.clientCredentials(ctx)
		return sample{operation: o, took: took, failure: f}, true
	case Refresh:
		return w.refreshOne(ctx)
	case Code:
		return w.redeemOne(ctx), true
	case Introspection:
		return w.introspectOne(ctx), true
	case Exchange:
		return w.exchangeOne(ctx), true
	case Revocation:
		return w.revokeOne(ctx), true
	}
	return s, false
}

// draw draws an operation of Mixed.
func (w *worker) draw() Operation {
	n := w.rng.IntN(100)
	all := weights()
	for _, of := range all {
		if n -= of.percent; n < 0 {
			return of.operation
		}
	}
	return all[0].operation
}

// post sends a form. A success leaves an event of the type fact, if that is not empty.
func (w *worker) post(to, fact string) (answer, time.Duration, *failure) {
	a, took, err := w.conn.post(to, w.form)
	return a, took, w.settle(a, err, fact)
}

// settle counts what became of a request.
func (w *worker) settle(a answer, err error, fact string) *failure {
	w.recorder.sent()
	switch {
	case err != nil:
		w.tally.add(w.tally.unknown, fact)
		return &failure{failedTransport, transportError(err)}
	case a.status >= http.StatusInternalServerError:
		w.tally.add(w.tally.unknown, fact)
	case a.status < http.StatusBadRequest:
		w.tally.add(w.tally.acknowledged, fact)
	}
	return nil
}

// begin starts a form, whose text is escaped already.
func (w *worker) begin(text string) { w.form = append(w.form[:0], text...) }

// set adds a parameter.
func (w *worker) set(name, value string) {
	w.form = append(append(append(w.form, '&'), name...), '=')
	w.form = fasthttp.AppendQuotedArg(w.form, []byte(value))
}

// tokens sends the form to the token endpoint and checks the answer.
func (w *worker) tokens(ctx context.Context, fact string) (t tokenAnswer, took time.Duration, f *failure) {
	a, took, f := w.post(w.at.Token, fact)
	if f != nil {
		return t, took, f
	}
	if t, f = a.tokens(); f != nil {
		return t, took, f
	}
	return t, took, w.verify(ctx, t)
}

// verify verifies one of so many access tokens, the first one included.
func (w *worker) verify(ctx context.Context, t tokenAnswer) *failure {
	w.issued++
	if w.verifier == nil || w.every == 0 || (w.issued-1)%w.every != 0 || !isJWT(t.AccessToken) {
		return nil
	}
	w.recorder.verifiedOne()
	return w.verifier.verify(context.WithoutCancel(ctx), t, time.Now())
}

func (w *worker) clientCredentials(ctx context.Context) (t tokenAnswer, took time.Duration, f *failure) {
	w.begin("grant_type=client_credentials")
	w.form = append(w.form, w.targets...)
	t, took, f = w.tokens(ctx, events.AccessTokenIssued{}.Type())
	if f == nil && t.RefreshToken != "" { // RFC 6749 §4.4.3
		f = wrong("a refresh token for client credentials")
	}
	return t, took, f
}

// rotate presents the refresh token, and holds what came of it.
func (w *worker) rotate(ctx context.Context, h *held) (took time.Duration, f *failure) {
	w.begin("grant_type=refresh_token")
	w.set("refresh_token", h.refresh)
	t, took, f := w.tokens(ctx, events.RefreshTokenRotated{}.Type())
	if f != nil {
		// Of anything else it is not known whether it counts.
		h.dead = f.kind == failedStatus && f.what == strconv.Itoa(http.StatusBadRequest)+" invalid_grant"
		return took, f
	}
	return took, w.take(h, t)
}

// take holds the tokens of an answer. A refresh token must be another than all
// before it.
func (w *worker) take(h *held, t tokenAnswer) *failure {
	h.access, h.expires = t.AccessToken, time.Now().Add(time.Duration(t.ExpiresIn)*time.Second)
	if h.seen == nil {
		h.seen = map[uint64]struct{}{}
		if h.refresh != "" {
			h.seen[maphash.String(w.hash, h.refresh)] = struct{}{}
		}
	}
	if t.RefreshToken == "" {
		if h.refresh != "" && !w.chancery { // RFC 6749 §6 leaves it to the server
			return nil
		}
		return wrong("no refresh_token")
	}
	is := maphash.String(w.hash, t.RefreshToken)
	if _, ok := h.seen[is]; ok {
		return wrong("a refresh token that was there before")
	}
	h.seen[is] = struct{}{}
	h.refresh = t.RefreshToken
	return nil
}

// signIn signs the person in by the Login API, for the cookie of the session. The code
// that comes with it is left alone.
func (w *worker) signIn() *failure {
	body, err := json.Marshal(map[string]string{"username": w.person.username, "password": w.person.password})
	if err != nil {
		return wrong("%v", err)
	}
	a, _, err := w.postJSON(w.at.login+"?"+w.codeQuery("sign-in-"+rand.Text()), body)
	if f := w.settle(a, err, events.GrantOpened{}.Type()); f != nil {
		return f
	}
	if a.status != http.StatusOK {
		return a.refused()
	}
	if w.cookie = w.cookies(); w.cookie == "" {
		return wrong("no cookie for who signed in")
	}
	return nil
}

func (w *worker) codeQuery(state string) string {
	return url.Values{
		"client_id": {w.client.ID}, "response_type": {"code"}, "state": {state}, "scope": {codeScope},
		"redirect_uri": {redirectURI}, "code_challenge": {pkceChallenge}, "code_challenge_method": {"S256"},
	}.Encode()
}

// authorize gets a code for who is signed in.
func (w *worker) authorize() (code string, f *failure) {
	if w.cookie == "" {
		if f := w.signIn(); f != nil {
			return "", f
		}
	}
	w.codes++
	state := "state-" + strconv.Itoa(w.codes)
	a, _, err := w.get(w.at.Authorization+"?"+w.codeQuery(state), w.cookie)
	fact := events.GrantOpened{}.Type()
	if err == nil && (a.status < 300 || len(a.location) == 0) { // a page, which opens nothing
		fact = ""
	}
	if f := w.settle(a, err, fact); f != nil {
		return "", f
	}
	return a.code(redirectURI, state)
}

// redeem redeems a code (RFC 6749 §4.1.3).
func (w *worker) redeem(ctx context.Context, code string) (h *held, took time.Duration, f *failure) {
	w.begin("grant_type=authorization_code")
	w.set("code", code)
	w.set("redirect_uri", redirectURI)
	w.set("code_verifier", pkceVerifier)
	t, took, f := w.tokens(ctx, events.CodeRedeemed{}.Type())
	if f != nil {
		return nil, took, f
	}
	h = &held{}
	return h, took, w.take(h, t)
}

// obtain gets tokens: those of a new grant of the person or, where there is none, of the
// client itself.
func (w *worker) obtain(ctx context.Context) (*held, *failure) {
	if w.person.username == "" {
		t, _, f := w.clientCredentials(ctx)
		return &held{access: t.AccessToken, expires: time.Now().Add(time.Duration(t.ExpiresIn) * time.Second)}, f
	}
	code, f := w.authorize()
	if f != nil {
		return nil, f
	}
	h, _, f := w.redeem(ctx, code)
	return h, f
}
