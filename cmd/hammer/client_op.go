package hammer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
)

// A client is an OAuth client with its secret.
type client struct{ id, secret string }

// PKCE of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	// wrongVerifier is as long, and another.
	wrongVerifier = "eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	redirect      = "http://127.0.0.1:9999/callback"
)

// do sends a request and records it as o with what became of it.
func (w *worker) do(ctx context.Context, o Op, r request) (Op, answer) {
	o.Worker, o.Aimed = w.name, r.only
	o.Call = w.recorder.now()
	a, err := w.balancer.send(ctx, r)
	o.Return = w.recorder.now()
	o.Replica, o.Status, o.Error = a.replica, a.status, a.text("error")
	if a.header != nil {
		o.Request = a.header.Get("X-Request-Id")
	}
	switch {
	case errors.Is(err, errNotSent):
		o.Outcome = NotSent
	case err != nil:
		o.Outcome, o.Error = Unknown, err.Error()
		o.Dropped = o.Dropped && ctx.Err() != nil
	case a.status == http.StatusOK:
		o.Outcome = OK
		o.take(a)
	case a.status >= 400 && a.status < 500 && a.status != http.StatusTeapot && a.status != http.StatusTooManyRequests:
		o.Outcome = Refused
	default: // a server error, or the Login API's way to say come again
		o.Outcome = Unknown
	}
	if err == nil {
		o.Dropped = false
	}
	w.recorder.add(o)
	return o, a
}

// take notes what an answer brought.
func (o *Op) take(a answer) {
	o.Got = fingerprint(a.text("refresh_token"))
	o.Active, _ = a.body["active"].(bool)
	if token := a.text("access_token"); token != "" {
		// One that cannot be read is found missing in the log.
		if c, err := claims(token); err == nil {
			o.JTI, o.GrantID = c.JTI, c.Grant
		}
	}
}

// codeQuery is the query of a Login API call for a code.
func codeQuery() string {
	return url.Values{
		"client_id": {webClient}, "response_type": {"code"}, "state": {"hammer-state-0001"}, "scope": {"read offline_access"},
		"redirect_uri": {redirect}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode()
}

func (w *worker) tokenRequest(c *client, replica int, pairs ...string) request {
	form := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		form.Set(pair[0], pair[1])
	}
	return request{method: http.MethodPost, path: "/oauth2/token", form: form.Encode(), basic: c, preferred: replica}
}

func (w *worker) redeemRequest(c *client, replica int, code, verifier string) request {
	return w.tokenRequest(c, replica, "grant_type", "authorization_code", "code", code, "redirect_uri", redirect, "code_verifier", verifier)
}

func (w *worker) refreshRequest(c *client, replica int, token string) request {
	return w.tokenRequest(c, replica, "grant_type", "refresh_token", "refresh_token", token)
}

// introspect asks one replica about an access token.
func (w *worker) introspect(ctx context.Context, g *grant, replica int) Op {
	r := request{
		method: http.MethodPost, path: "/oauth2/introspect", form: url.Values{"token": {g.access}}.Encode(),
		basic: w.clients.service, preferred: replica, only: true,
	}
	o, _ := w.do(ctx, Op{Kind: Introspect, Grant: g.number, Generation: g.generation, Presented: fingerprint(g.access)}, r)
	return o
}
