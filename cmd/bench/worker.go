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
)

// A person can sign in. The zero value is nobody.
type person struct{ username, password string }

// held is what a client holds of one grant, or, without a refresh token, of its own.
type held struct {
	refresh string
	access  string
	expiry  expiry
	// seen are hashes of all refresh tokens of the grant that were held.
	seen map[uint64]struct{}
	// dead says that the refresh token was refused, or what became of it is not
	// known. To present it again could be taken for a theft of it.
	dead bool
}

// A worker asks, waits for the answer, checks it and asks again.
type worker struct {
	*conn
	client Client
	person person
	cookie string
	// targets narrow what the client asks for, and scope is what a person's grant is of.
	targets  string
	scope    string
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

// failed is a sample of what failed before the request that is measured.
func failed(o Operation, f *failure) sample { return sample{operation: o, failure: f} }

// run does operations until ctx ends, or there is nothing to do them with.
func (w *worker) run(ctx context.Context, o Operation) {
	for ctx.Err() == nil {
		s, more := w.do(ctx, o)
		if !more {
			w.recorder.leave()
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
		t, f := w.clientCredentials(ctx)
		return sample{o, t.from.span, f}, true
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
func (w *worker) post(to, fact string) (answer, *failure) {
	a, err := w.conn.post(to, w.form)
	return a, w.settle(a, err, fact, a.status == http.StatusOK)
}

// settle counts what became of a request.
func (w *worker) settle(a answer, err error, fact string, done bool) *failure {
	if !a.unsent {
		w.recorder.requested(a.sent)
	}
	switch {
	case a.unsent: // nobody has heard of it
	case err != nil || a.doubtful():
		w.tally.add(w.tally.unknown, fact)
	case done:
		w.tally.add(w.tally.acknowledged, fact)
	}
	if err != nil {
		return &failure{failedTransport, transportError(err)}
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

// tokens sends the form to the token endpoint and checks the answer. It is read as far
// as it can be if something in it is wrong. Asked says that the form asks for scope and
// audience of the target.
func (w *worker) tokens(ctx context.Context, fact string, asked bool) (t tokenAnswer, f *failure) {
	a, f := w.post(w.at.Token, fact)
	if f != nil {
		return tokenAnswer{from: a}, f
	}
	if t, f = a.tokens(w.chancery); f != nil {
		return t, f
	}
	return t, w.verify(ctx, t, asked)
}

// verify verifies one of so many access tokens, the first one included.
func (w *worker) verify(ctx context.Context, t tokenAnswer, asked bool) *failure {
	w.issued++
	if w.verifier == nil || w.every == 0 || (w.issued-1)%w.every != 0 || !isJWT(t.AccessToken) {
		return nil
	}
	f := w.verifier.verify(context.WithoutCancel(ctx), t, asked)
	if f == nil {
		w.recorder.verifiedOne()
	}
	return f
}

func (w *worker) clientCredentials(ctx context.Context) (tokenAnswer, *failure) {
	w.begin("grant_type=client_credentials" + w.targets)
	t, f := w.tokens(ctx, events.AccessTokenIssued{}.Type(), true)
	if f == nil && t.RefreshToken != "" { // RFC 6749 §4.4.3
		f = wrong("a refresh token for client credentials")
	}
	return t, f
}

// signIn signs the person in by the Login API, for the cookie of the session. The code
// that comes with it is left alone.
func (w *worker) signIn() *failure {
	body, err := json.Marshal(map[string]string{"username": w.person.username, "password": w.person.password})
	if err != nil {
		return wrong("the person cannot be told as JSON")
	}
	a, err := w.postJSON(w.at.login+"?"+w.codeQuery("sign-in-"+rand.Text()), body)
	if f := w.settle(a, err, events.GrantOpened{}.Type(), a.status == http.StatusOK); f != nil {
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
		"client_id": {w.client.ID}, "response_type": {"code"}, "state": {state}, "scope": {w.scope + " offline_access"},
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
	a, err := w.get(w.at.Authorization+"?"+w.codeQuery(state), w.cookie)
	// A page, or a redirect with an error, opens nothing.
	if f := w.settle(a, err, events.GrantOpened{}.Type(), a.redirected().Has("code")); f != nil {
		return "", f
	}
	return a.code(redirectURI, state)
}

// redeem redeems a code (RFC 6749 §4.1.3).
func (w *worker) redeem(ctx context.Context, code string) (*held, span, *failure) {
	w.begin("grant_type=authorization_code")
	w.set("code", code)
	w.set("redirect_uri", redirectURI)
	w.set("code_verifier", pkceVerifier)
	t, f := w.tokens(ctx, events.CodeRedeemed{}.Type(), false)
	if f != nil {
		return nil, t.from.span, f
	}
	h := &held{}
	return h, t.from.span, w.take(h, t)
}

// obtain gets tokens: those of a new grant of the person or, where there is none, of the
// client itself.
func (w *worker) obtain(ctx context.Context) (*held, *failure) {
	if w.person.username == "" {
		t, f := w.clientCredentials(ctx)
		return &held{access: t.AccessToken, expiry: t.expiry()}, f
	}
	code, f := w.authorize()
	if f != nil {
		return nil, f
	}
	h, _, f := w.redeem(ctx, code)
	return h, f
}
