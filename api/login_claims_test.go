package api_test

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// loginClaims are those that only clients of the Login API get.
var loginClaims = []string{"scp", "groups", "type", "project_id", "username", "email"}

// wantLoginClaims expects exactly these of them in the token of an answer.
func wantLoginClaims(t testing.TB, a apitest.Answer, want map[string]any) {
	t.Helper()
	got := apitest.Claims(t, wantOK(t, a).Text("access_token"))
	maps.DeleteFunc(got, func(name string, _ any) bool { return !slices.Contains(loginClaims, name) })
	if !reflect.DeepEqual(got, want) {
		t.Errorf("claims %v, want %v", got, want)
	}
}

func list(values ...any) []any { return append([]any{}, values...) }

// alices are the claims of a token of alice's.
func alices(client string, scope ...any) map[string]any {
	return map[string]any{
		"scp": list(scope...), "groups": list(), "type": "user", "project_id": client, "username": "alice", "email": "alice@example.com",
	}
}

func servers(client string, scope ...any) map[string]any {
	return map[string]any{"scp": list(scope...), "groups": list(), "type": "server", "project_id": client}
}

// loginExchange redeems a code of the demonstration user at the Login API.
func loginExchange(t testing.TB, r *apitest.Replica, c apitest.Client, code string) apitest.Answer {
	t.Helper()
	return loginIssue(t, r, c,
		"grant_type", "authorization_code", "code", code, "redirect_uri", authority.DemoRedirect, "code_verifier", apitest.Verifier)
}

func loginRefresh(t testing.TB, r *apitest.Replica, c apitest.Client, token string, pairs ...string) apitest.Answer {
	t.Helper()
	return loginIssue(t, r, c, append([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs...)...)
}

// TestLoginClaims are in every token that is asked for at the Login API, and in
// no other.
func TestLoginClaims(t *testing.T) {
	t.Parallel()
	r := single(t)
	web, spa := apitest.DemoWeb, apitest.DemoSPA
	c := exchanger(t, r, nil, nil)
	bare := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}, "scope": []string{}})
	user := r.Tokens(t, web, "read").Text("access_token")
	t.Run("code and refresh", func(t *testing.T) {
		first := loginExchange(t, r, web, r.Login(t, web, "read offline"))
		wantLoginClaims(t, first, alices("demo-web", "read", "offline"))
		second := loginRefresh(t, r, web, first.Text("refresh_token"), "scope", "read")
		wantLoginClaims(t, second, alices("demo-web", "read"))
		wantLoginClaims(t, r.Refresh(t, web, second.Text("refresh_token")), map[string]any{})
	})
	t.Run("password", func(t *testing.T) {
		first := r.JSON(t, passwordPath+"?client_id=demo-spa&scope=read+offline", alice)
		wantLoginClaims(t, first, alices("demo-spa", "read", "offline"))
		wantLoginClaims(t, loginRefresh(t, r, spa, first.Text("refresh_token")), alices("demo-spa", "read", "offline"))
	})
	t.Run("client credentials", func(t *testing.T) {
		wantLoginClaims(t, loginIssue(t, r, apitest.DemoService, "grant_type", "client_credentials"), servers("demo-service", "read", "write"))
		wantLoginClaims(t, loginIssue(t, r, bare, "grant_type", "client_credentials"), servers(bare.ID))
	})
	t.Run("token exchange", func(t *testing.T) {
		wantLoginClaims(t, loginIssue(t, r, c, exchangeForm(user)...), alices(c.ID, "read"))
		wantLoginClaims(t, loginIssue(t, r, c, exchangeForm(own(t, r, c))...), servers(c.ID, "read", "write"))
		// It is what is asked for that counts, not what is exchanged.
		login := loginExchange(t, r, web, r.Login(t, web, "read")).Text("access_token")
		wantLoginClaims(t, swap(t, r, c, login), map[string]any{})
	})
	t.Run("not at the RFCs' endpoint", func(t *testing.T) {
		first := r.Exchange(t, web, r.Login(t, web, "read offline"))
		wantLoginClaims(t, first, map[string]any{})
		wantLoginClaims(t, r.Refresh(t, web, first.Text("refresh_token")), map[string]any{})
		wantLoginClaims(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"), map[string]any{})
		wantLoginClaims(t, swap(t, r, c, user), map[string]any{})
	})
}

// TestLoginClaimsRepeat is a lost answer whose retry comes in either dialect: it
// is answered with what was issued, not with what the retry would have got.
func TestLoginClaimsRepeat(t *testing.T) {
	t.Parallel()
	r := single(t)
	web := apitest.DemoWeb
	login := func(token string) apitest.Answer { return loginRefresh(t, r, web, token) }
	oauth := func(token string) apitest.Answer { return r.Refresh(t, web, token) }
	for name, test := range map[string]struct {
		first func(string) apitest.Answer
		want  map[string]any
	}{
		"issued by the Login API": {login, alices("demo-web", "read", "offline")},
		"issued by the RFCs'":     {oauth, map[string]any{}},
	} {
		t.Run(name, func(t *testing.T) {
			spent := r.Tokens(t, web, "read offline").Text("refresh_token")
			lost := test.first(spent)
			wantLoginClaims(t, lost, test.want)
			for _, again := range []func(string) apitest.Answer{login, oauth, login} {
				a := again(spent)
				wantLoginClaims(t, a, test.want)
				if a.Text("refresh_token") != lost.Text("refresh_token") ||
					!reflect.DeepEqual(apitest.Claims(t, a.Text("access_token")), apitest.Claims(t, lost.Text("access_token"))) {
					t.Errorf("another token: %s", a.Body)
				}
			}
		})
	}
}

// TestLoginAudience has the issuer in every user's token of the Login API, and
// nothing else that the grant, the client and the request do not give.
func TestLoginAudience(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := register(t, r, map[string]any{"audience": []string{api1, api2}, "first_party": true})
	x := exchanger(t, r, map[string]any{"audience": []string{api1}}, nil)
	want := func(a apitest.Answer, audience ...string) apitest.Answer {
		t.Helper()
		if got := audienceOf(t, r, wantOK(t, a)); !slices.Equal(got, audience) {
			t.Errorf("aud %q, want %q", got, audience)
		}
		return a
	}
	whole := loginExchange(t, r, c, r.Login(t, c, "read offline"))
	want(whole, api1, api2, apitest.Issuer)
	wantOK(t, me(t, r, whole.Text("access_token")))
	narrow := want(loginRefresh(t, r, c, whole.Text("refresh_token"), "audience", api2), api2, apitest.Issuer)
	plain := want(r.Refresh(t, c, narrow.Text("refresh_token")), api1, api2)
	wantLoginError(t, me(t, r, plain.Text("access_token")), http.StatusUnauthorized, "002-016")
	for _, target := range []string{apitest.Issuer, "https://other.example"} {
		wantLoginError(t, loginRefresh(t, r, c, plain.Text("refresh_token"), "resource", target), http.StatusUnprocessableEntity, "0")
	}
	// What is made from it is for what its client may have, and not for us.
	want(loginIssue(t, r, x, exchangeForm(whole.Text("access_token"))...), api1)
	own := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}, "audience": []string{api1}})
	want(loginIssue(t, r, own, "grant_type", "client_credentials"), api1)

	password := register(t, r, map[string]any{"public": true, "password_login": true, "audience": []string{api1, api2}})
	query := "?scope=read&client_id=" + password.ID
	want(r.JSON(t, passwordPath+query, alice), api1, api2, apitest.Issuer)
	want(r.JSON(t, passwordPath+query+"&audience="+api1, alice), api1, apitest.Issuer)
}

// TestLoginClaimsOfTheErased tell nothing of the person.
func TestLoginClaimsOfTheErased(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := registerUser(t, r, apitest.DemoWeb, "march-hare")
	erase(t, r, subject(t, tokens))
	wantLoginClaims(t, loginRefresh(t, r, apitest.DemoWeb, tokens.Text("refresh_token")), map[string]any{
		"scp": list("read", "offline_access"), "groups": list(), "type": "user", "project_id": "demo-web",
	})
}

// TestLoginClaimsWithoutRecords spends nothing while what is told of a person
// cannot be read. Whoever does not ask for it does not notice.
func TestLoginClaimsWithoutRecords(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	r.Seed(t)
	web := apitest.DemoWeb
	x := exchanger(t, r, nil, nil)
	code, refresh := r.Login(t, web, "read offline"), r.Tokens(t, web, "read offline").Text("refresh_token")
	other := r.Tokens(t, web, "read offline")
	user := other.Text("access_token")

	restore := loseRecords(t, node)
	for name, ask := range map[string]func() apitest.Answer{
		"code":     func() apitest.Answer { return loginExchange(t, r, web, code) },
		"refresh":  func() apitest.Answer { return loginRefresh(t, r, web, refresh) },
		"exchange": func() apitest.Answer { return loginIssue(t, r, x, exchangeForm(user)...) },
		"profile":  func() apitest.Answer { return me(t, r, user) },
	} {
		t.Run(name, func(t *testing.T) { wantLoginError(t, ask(), http.StatusTeapot, "004-001") })
	}
	wantOK(t, r.Refresh(t, web, other.Text("refresh_token")))
	wantOK(t, swap(t, r, x, user))
	wantLoginClaims(t, loginIssue(t, r, apitest.DemoService, "grant_type", "client_credentials"), servers("demo-service", "read", "write"))
	restore()

	wantLoginClaims(t, loginExchange(t, r, web, code), alices("demo-web", "read", "offline"))
	a := loginRefresh(t, r, web, refresh)
	wantLoginClaims(t, a, alices("demo-web", "read", "offline"))
	wantEvents(t, r, grantOf(t, a), opened, redeemed, rotated)
}

// loseRecords takes the persons' bucket away, until it is told to bring it back.
func loseRecords(t testing.TB, node *embeddedtest.Node) (restore func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	t.Cleanup(cancel)
	js, err := jetstream.New(node.Conn())
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const name = "KV_MAIN_RECORDS"
	stream, err := js.Stream(ctx, name)
	must(err)
	info, err := stream.Info(ctx)
	must(err)
	var kept []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		must(err)
		kept = append(kept, m)
	}
	must(js.DeleteStream(ctx, name))
	return func() {
		t.Helper()
		_, err := js.CreateStream(ctx, info.Config)
		must(err)
		for _, m := range kept {
			_, err := js.Publish(ctx, m.Subject, m.Data)
			must(err)
		}
	}
}
