package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	typePrefix    = "urn:ietf:params:oauth:token-type:"
	accessType    = typePrefix + "access_token"
)

// exchanger registers a client that may exchange tokens, as policy says beyond
// impersonation and delegation.
func exchanger(t testing.TB, r *apitest.Replica, settings, policy map[string]any) apitest.Client {
	t.Helper()
	all := map[string]any{"impersonation": true, "delegation": true, "max_depth": 3}
	maps.Copy(all, policy)
	body := map[string]any{"grant_types": []string{exchangeGrant, "client_credentials"}, "token_exchange": all, "first_party": true}
	maps.Copy(body, settings)
	return register(t, r, body)
}

func exchangeForm(subject string, pairs ...string) []string {
	return replace([]string{"grant_type", exchangeGrant, "subject_token", subject, "subject_token_type", accessType}, pairs)
}

// swap exchanges an access token for another one.
func swap(t testing.TB, r *apitest.Replica, c apitest.Client, subject string, pairs ...string) apitest.Answer {
	t.Helper()
	return apitest.Settled(t, func() apitest.Answer { return r.Token(t, c, exchangeForm(subject, pairs...)...) })
}

// actingBy are the parameters of an actor token.
func actingBy(token string) []string {
	return []string{"actor_token", token, "actor_token_type", accessType}
}

// own is a client's own access token.
func own(t testing.TB, r *apitest.Replica, c apitest.Client) string {
	t.Helper()
	a := apitest.Settled(t, func() apitest.Answer { return r.Token(t, c, "grant_type", "client_credentials") })
	return wantOK(t, a).Text("access_token")
}

// TestExchangeResponse is RFC 8693 §2.2.1, in both spellings of everything.
func TestExchangeResponse(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	alices := r.Tokens(t, apitest.DemoWeb, "read write offline_access").Text("access_token")
	root := apitest.Claims(t, alices)
	for name, pairs := range map[string][]string{
		"URN":             nil,
		"the Login API's": {"grant_type", "urn:ietf:params:oauth:grant-type:token_exchange"},
		"short types":     {"subject_token_type", "access_token", "requested_token_type", "access_token"},
		"requested":       {"requested_token_type", accessType},
		"an empty actor":  {"actor_token", "", "actor_token_type", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := wantOK(t, swap(t, r, c, alices, pairs...))
			wantNoStore(t, a)
			want := []string{"access_token", "expires_in", "issued_token_type", "scope", "token_type"}
			if got := slices.Sorted(maps.Keys(a.JSON)); !slices.Equal(got, want) {
				t.Errorf("members %q, want %q", got, want)
			}
			if a.Text("issued_token_type") != accessType || a.Text("token_type") != "Bearer" || a.Text("scope") != "read write" {
				t.Errorf("answer %s", a.Body)
			}
			claims := apitest.Claims(t, a.Text("access_token"))
			if claims["sub"] != root["sub"] || claims["grant"] != root["grant"] || claims["client_id"] != c.ID || claims["act"] != nil {
				t.Errorf("claims %v", claims)
			}
			if claims["jti"] == root["jti"] || claims["exp"].(float64) > root["exp"].(float64) {
				t.Errorf("jti %v, exp %v of %v", claims["jti"], claims["exp"], root)
			}
			if !r.Active(t, a.Text("access_token")) {
				t.Error("not active")
			}
		})
	}
	t.Run("another grant names no token type", func(t *testing.T) {
		if a := wantOK(t, r.Token(t, c, "grant_type", "client_credentials")); a.JSON["issued_token_type"] != nil {
			t.Errorf("answer %s", a.Body)
		}
	})
}

// TestExchangeRequests is RFC 8693 §2.1 and §2.2.2: what is wrong with the
// request, and by which name it is told.
func TestExchangeRequests(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, map[string]any{"audience": []string{api1}}, nil)
	alices := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	actor := own(t, r, c)
	for _, test := range []struct {
		name      string
		pairs     []string
		code      string
		parameter string
	}{
		{"no subject_token", []string{"subject_token", ""}, "invalid_request", "subject_token"},
		{"no subject_token_type", []string{"subject_token_type", ""}, "invalid_request", "subject_token_type"},
		{"a refresh token's type", []string{"subject_token_type", typePrefix + "refresh_token"}, "invalid_request", "subject_token_type"},
		{"an ID token's type", []string{"subject_token_type", typePrefix + "id_token"}, "invalid_request", "subject_token_type"},
		{"a type in another case", []string{"subject_token_type", "ACCESS_TOKEN"}, "invalid_request", "subject_token_type"},
		{"asks for a refresh token", []string{"requested_token_type", typePrefix + "refresh_token"}, "invalid_request", "requested_token_type"},
		{"asks for SAML, which is N_A", []string{"requested_token_type", typePrefix + "saml2"}, "invalid_request", "requested_token_type"},
		{"actor_token without its type", []string{"actor_token", actor}, "invalid_request", "actor_token_type"},
		{"actor_token_type without a token", []string{"actor_token_type", accessType}, "invalid_request", "actor_token_type"},
		{"an actor of a wrong type", []string{"actor_token", actor, "actor_token_type", typePrefix + "id_token"}, "invalid_request", "actor_token_type"},
		{"a user for a server token", []string{"actor_token", alices, "actor_token_type", "server_token"}, "invalid_request", "actor_token"},
		{"a relative resource", []string{"resource", "/x"}, "invalid_target", "resource"},
		{"a resource with a fragment", []string{"resource", api1 + "#"}, "invalid_target", "resource"},
		{"a resource not the client's", []string{"resource", api2}, "invalid_target", "resource"},
		{"an audience not the client's", []string{"audience", "api-3"}, "invalid_target", "audience"},
		{"scope beyond the subject token's", []string{"scope", "write"}, "invalid_scope", "scope"},
		{"scope of nobody", []string{"scope", "admin"}, "invalid_scope", "scope"},
		{"scope to refresh", []string{"scope", "offline_access"}, "invalid_scope", "scope"},
		{"scope outside the charset", []string{"scope", "re\"ad"}, "invalid_scope", "scope"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := swap(t, r, c, alices, test.pairs...)
			wantError(t, a, http.StatusBadRequest, test.code)
			if got, _, _ := strings.Cut(a.Text("error_description"), ":"); got != test.parameter {
				t.Errorf("parameter %q, want %q", got, test.parameter)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		body := form(exchangeForm(alices)...) + "&" + form("subject_token", alices)
		a := request{body: body, header: []string{"Authorization", basic(c)}}.send(t, r.URL)
		wantError(t, a, http.StatusBadRequest, "invalid_request")
	})
	t.Run("in the query", func(t *testing.T) {
		q := request{path: tokenPath + "?" + form("subject_token", alices), header: []string{"Authorization", basic(c)}}
		q.body = form(exchangeForm("")...)
		wantError(t, q.send(t, r.URL), http.StatusBadRequest, "invalid_request")
	})
}

// TestExchangeTargets is RFC 8693 §2.1 and RFC 8707: targets are repeatable, and
// policy decides about them.
func TestExchangeTargets(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, map[string]any{"audience": []string{api1, "api-3"}}, map[string]any{"audiences": []string{api2}})
	alices := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	for name, test := range map[string]struct{ pairs, want []string }{
		"none asked for":      {nil, []string{api1, "api-3"}},
		"one":                 {[]string{"resource", api1}, []string{api1}},
		"two, one by policy":  {[]string{"resource", api2, "resource", api1}, []string{api2, api1}},
		"by name and address": {[]string{"audience", "api-3", "resource", api2}, []string{api2, "api-3"}},
		"names, repeated":     {[]string{"audience", "api-3", "audience", api1}, []string{"api-3", api1}},
	} {
		t.Run(name, func(t *testing.T) {
			a := wantOK(t, r.Token(t, c, append(exchangeForm(alices), test.pairs...)...))
			if got := audienceOf(t, r, a); !slices.Equal(got, test.want) {
				t.Errorf("aud = %q, want %q", got, test.want)
			}
		})
	}
	t.Run("policy is for exchanges only", func(t *testing.T) {
		wantError(t, r.Token(t, c, "grant_type", "client_credentials", "resource", api2), http.StatusBadRequest, "invalid_target")
	})
}

// TestWhoMayExchange: nobody whom no policy names.
func TestWhoMayExchange(t *testing.T) {
	t.Parallel()
	r := single(t)
	alices := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	actor := own(t, r, apitest.DemoService)
	public := map[string]any{"public": true, "grant_types": []string{exchangeGrant}}
	for _, test := range []struct {
		name                  string
		client                apitest.Client
		impersonate, delegate int
	}{
		{"no grant type", apitest.DemoService, http.StatusBadRequest, http.StatusBadRequest},
		{"no policy", register(t, r, map[string]any{"grant_types": []string{exchangeGrant}}), http.StatusBadRequest, http.StatusBadRequest},
		{"impersonation", exchanger(t, r, nil, map[string]any{"delegation": false}), http.StatusOK, http.StatusBadRequest},
		{"delegation", exchanger(t, r, nil, map[string]any{"impersonation": false}), http.StatusBadRequest, http.StatusOK},
		{"public, by name", exchanger(t, r, public, map[string]any{"public": true}), http.StatusOK, http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			for want, a := range map[*int]apitest.Answer{
				&test.impersonate: swap(t, r, test.client, alices),
				&test.delegate:    swap(t, r, test.client, alices, actingBy(actor)...),
			} {
				if *want == http.StatusOK {
					wantOK(t, a)
				} else {
					wantError(t, a, *want, "unauthorized_client")
				}
			}
		})
	}
	t.Run("public, not by name", func(t *testing.T) {
		body := map[string]any{"token_exchange": map[string]any{"impersonation": true}}
		maps.Copy(body, public)
		wantError(t, r.Admin(t, http.MethodPost, "/clients", body), http.StatusBadRequest, "invalid_request")
	})
	t.Run("depth", func(t *testing.T) {
		deep, shallow := exchanger(t, r, nil, nil), exchanger(t, r, nil, map[string]any{"max_depth": 0})
		once := wantOK(t, swap(t, r, shallow, alices)).Text("access_token")
		wantError(t, swap(t, r, shallow, once), http.StatusBadRequest, "invalid_request")
		twice := wantOK(t, swap(t, r, deep, once)).Text("access_token")
		thrice := wantOK(t, swap(t, r, deep, twice)).Text("access_token")
		wantError(t, swap(t, r, deep, thrice), http.StatusBadRequest, "invalid_request")
	})
}

// TestAct is RFC 8693 §4.1: who acts is outermost and decides, who acted before
// is inside, and none of it is more than a name. Introspection shows it.
func TestAct(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := exchanger(t, r, nil, nil)
	first, second := registerService(t, r), registerService(t, r)
	once := wantOK(t, swap(t, r, c, r.Tokens(t, apitest.DemoWeb, "read").Text("access_token"),
		"actor_token", own(t, r, first), "actor_token_type", "server_token"))
	twice := wantOK(t, swap(t, r, c, once.Text("access_token"), actingBy(own(t, r, second))...))
	party := func(c apitest.Client) map[string]any { return map[string]any{"sub": c.ID, "client_id": c.ID} }
	outer, inner := party(second), party(first)
	for name, test := range map[string]struct {
		answer apitest.Answer
		want   map[string]any
	}{
		"one":               {once, inner},
		"two":               {twice, with(outer, map[string]any{"act": inner})},
		"kept by narrowing": {wantOK(t, swap(t, r, c, twice.Text("access_token"))), with(outer, map[string]any{"act": inner})},
	} {
		t.Run(name, func(t *testing.T) {
			token := test.answer.Text("access_token")
			told := wantOK(t, r.Post(t, introspectPath, apitest.DemoService, "token", token)).JSON
			for where, got := range map[string]any{"claim": apitest.Claims(t, token)["act"], "introspection": told["act"]} {
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("%s: act = %v, want %v", where, got, test.want)
				}
			}
		})
	}
	t.Run("a user acts", func(t *testing.T) {
		user := r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")
		a := wantOK(t, swap(t, r, c, own(t, r, first), actingBy(user)...))
		want := map[string]any{"sub": apitest.Claims(t, user)["sub"], "client_id": "demo-spa"}
		if got := apitest.Claims(t, a.Text("access_token")); !reflect.DeepEqual(got["act"], want) || got["sub"] != first.ID {
			t.Errorf("claims %v, want act %v", got, want)
		}
	})
	t.Run("an exchanged token cannot act", func(t *testing.T) {
		a := swap(t, r, c, own(t, r, first), actingBy(once.Text("access_token"))...)
		wantError(t, a, http.StatusBadRequest, "invalid_request")
	})
}

func registerService(t testing.TB, r *apitest.Replica) apitest.Client {
	t.Helper()
	return register(t, r, map[string]any{"grant_types": []string{"client_credentials"}})
}

// TestMayAct is RFC 8693 §4.4, of a token that policy restricts to one party.
func TestMayAct(t *testing.T) {
	t.Parallel()
	r := single(t)
	named, other := registerService(t, r), registerService(t, r)
	c := exchanger(t, r, nil, map[string]any{"may_act": named.ID})
	self := exchanger(t, r, map[string]any{"client_id": "self"}, map[string]any{"may_act": "self"})
	alices := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	bound := wantOK(t, swap(t, r, c, alices)).Text("access_token")
	told := wantOK(t, r.Post(t, introspectPath, apitest.DemoService, "token", bound)).JSON
	if want := map[string]any{"sub": named.ID}; !reflect.DeepEqual(told["may_act"], want) {
		t.Errorf("may_act = %v, want %v", told["may_act"], want)
	}
	wantError(t, swap(t, r, c, bound), http.StatusBadRequest, "invalid_request")
	wantError(t, swap(t, r, self, bound), http.StatusBadRequest, "invalid_request")
	wantError(t, swap(t, r, c, bound, actingBy(own(t, r, other))...), http.StatusBadRequest, "invalid_request")
	further := wantOK(t, swap(t, r, c, bound, actingBy(own(t, r, named))...)).Text("access_token")
	wantError(t, swap(t, r, self, further), http.StatusBadRequest, "invalid_request") // it stays
	impersonated := wantOK(t, swap(t, r, self, alices)).Text("access_token")
	wantOK(t, swap(t, r, self, impersonated))
	wantError(t, swap(t, r, c, impersonated), http.StatusBadRequest, "invalid_request")
}

// TestExchangeNeverOutlives: no longer than subject and actor token (RFC 8693
// §2.2.1), and no later than the client's own tokens.
func TestExchangeNeverOutlives(t *testing.T) {
	t.Parallel()
	r := single(t)
	long, short := exchanger(t, r, nil, nil), exchanger(t, r, map[string]any{"access_token_lifetime": 60}, nil)
	brief := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}, "access_token_lifetime": 100})
	alices := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	end := func(token string) float64 { return apitest.Claims(t, token)["exp"].(float64) }
	byBrief := own(t, r, brief)
	for name, test := range map[string]struct {
		answer apitest.Answer
		most   float64
	}{
		"the subject token's": {swap(t, r, long, byBrief), end(byBrief)},
		"the actor token's":   {swap(t, r, long, alices, actingBy(byBrief)...), end(byBrief)},
		"the client's":        {swap(t, r, short, alices), float64(time.Now().Unix() + 60)},
	} {
		if got := end(wantOK(t, test.answer).Text("access_token")); got > test.most || got < test.most-30 {
			t.Errorf("%s: ends at %v, want %v", name, got, test.most)
		}
	}
}

// TestExchangeOfBadTokens is CVE-2026-9094: a subject and an actor are checked
// for issuer, type, expiry, revocation and for who was disabled, and the answers
// do not differ.
func TestExchangeOfBadTokens(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	r := apitest.Start(t, nc, apitest.Options{Settings: patient})
	r.Seed(t)
	c := exchanger(t, r, nil, nil)
	good := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	f := newForger(t, nc, good)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	tokens := map[string]string{
		"garbage":        "garbage",
		"a code":         r.Login(t, apitest.DemoWeb, "read"),
		"refresh token":  r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token"),
		"another issuer": f.sign(t, nil, map[string]any{"iss": "https://evil.example"}),
		"another key":    forger{stranger, f.header, f.claims}.sign(t, nil, nil),
		"an ID token":    f.sign(t, map[string]any{"typ": "JWT"}, nil),
		"expired":        f.sign(t, nil, map[string]any{"iat": now - 60, "exp": now - 1}),
		"alg none":       f.sign(t, map[string]any{"alg": "none"}, nil),
	}
	for name, end := range ends {
		client := register(t, r, map[string]any{"grant_types": []string{"authorization_code", "refresh_token", "client_credentials"}})
		bob := registerUser(t, r, client, strings.ReplaceAll(name, " ", "-"))
		end(t, r, client, bob)
		tokens[name] = bob.Text("access_token")
	}
	var answers []string
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			for parameter, a := range map[string]apitest.Answer{
				"subject_token": swap(t, r, c, token),
				"actor_token":   swap(t, r, c, good, actingBy(token)...),
			} {
				wantError(t, a, http.StatusBadRequest, "invalid_request")
				if got, _, _ := strings.Cut(a.Text("error_description"), ":"); got != parameter {
					t.Errorf("parameter %q, want %q", got, parameter)
				}
				answers = append(answers, strings.TrimPrefix(a.Text("error_description"), parameter))
			}
		})
	}
	if slices.Sort(answers); len(slices.Compact(answers)) != 1 {
		t.Errorf("the answers differ: %q", answers)
	}
	wantOK(t, swap(t, r, c, good, actingBy(good)...)) // nothing of it touched the good one
}

// ends are ways in which a good token ends before its time.
var ends = map[string]func(t *testing.T, r *apitest.Replica, c apitest.Client, tokens apitest.Answer){
	"revoked": func(t *testing.T, r *apitest.Replica, c apitest.Client, tokens apitest.Answer) {
		revoke(t, r, c, tokens.Text("access_token"))
	},
	"revoked grant": func(t *testing.T, r *apitest.Replica, _ apitest.Client, tokens apitest.Answer) {
		administer(t, r, "/grants/"+grantOf(t, tokens)+"/revoke")
	},
	"disabled client": func(t *testing.T, r *apitest.Replica, c apitest.Client, _ apitest.Answer) {
		administer(t, r, "/clients/"+c.ID+"/disable")
	},
	"client enabled again": func(t *testing.T, r *apitest.Replica, c apitest.Client, _ apitest.Answer) {
		administer(t, r, "/clients/"+c.ID+"/disable")
		administer(t, r, "/clients/"+c.ID+"/enable")
	},
	"disabled user": func(t *testing.T, r *apitest.Replica, _ apitest.Client, tokens apitest.Answer) {
		administer(t, r, "/users/"+subject(t, tokens)+"/disable")
	},
	"user enabled again": func(t *testing.T, r *apitest.Replica, _ apitest.Client, tokens apitest.Answer) {
		administer(t, r, "/users/"+subject(t, tokens)+"/disable")
		administer(t, r, "/users/"+subject(t, tokens)+"/enable")
	},
}

// registerUser registers a person at a client, and gives their tokens.
func registerUser(t testing.TB, r *apitest.Replica, c apitest.Client, name string) apitest.Answer {
	t.Helper()
	person := map[string]string{"username": name, "password": "a-password", "email": name + "@example.com"}
	a := r.JSON(t, registerPath+"?"+apitest.CodeQuery(c.ID, "read offline_access").Encode(), person)
	return wantOK(t, r.Token(t, c, exchange(apitest.CodeOf(t, a))...))
}
