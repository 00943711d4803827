package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
)

const (
	api1 = "https://api.example/one"
	api2 = "https://api.example/two"
)

// audienceOf is the aud of an access token, which is always an array.
func audienceOf(t testing.TB, r *apitest.Replica, a apitest.Answer) []string {
	t.Helper()
	list, _ := wantOK(t, r.Post(t, introspectPath, apitest.DemoService, "token", a.Text("access_token"))).JSON["aud"].([]any)
	var audience []string
	for _, v := range list {
		audience = append(audience, fmt.Sprint(v))
	}
	return audience
}

// TestResource is RFC 8707 §2 at the token endpoint.
func TestResource(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}, "audience": []string{api1, api2, "api-3"}})
	none := register(t, r, map[string]any{"grant_types": []string{"client_credentials"}})
	for _, test := range []struct {
		name   string
		client apitest.Client
		pairs  []string
		want   []string
	}{
		{"none asked for", c, nil, []string{api1, api2, "api-3"}},
		{"none there is", none, nil, []string{apitest.Issuer}},
		{"one", c, []string{"resource", api1}, []string{api1}},
		{"two", c, []string{"resource", api2, "resource", api1}, []string{api2, api1}},
		{"twice the same", c, []string{"resource", api1, "resource", api1}, []string{api1}},
		{"an empty one is none", c, []string{"resource", "", "resource", api1}, []string{api1}},
		{"by name", c, []string{"audience", "api-3 " + api1}, []string{"api-3", api1}},
		{"by name, repeated", c, []string{"audience", "api-3", "audience", api1}, []string{"api-3", api1}},
		{"both", c, []string{"resource", api1, "audience", "api-3"}, []string{api1, "api-3"}},
		{"not the client's", c, []string{"resource", "https://other.example"}, nil},
		{"one of two not the client's", c, []string{"resource", api1, "resource", "https://other.example"}, nil},
		{"of a client that has none", none, []string{"resource", api1}, nil},
		{"in another case", c, []string{"resource", "https://API.example/one"}, nil},
		{"a part of one", c, []string{"resource", "https://api.example/"}, nil},
		{"relative", c, []string{"resource", "/one"}, nil},
		{"not a URI", c, []string{"resource", "api-3"}, nil},
		{"with a fragment", c, []string{"resource", api1 + "#x"}, nil},
		{"with an empty fragment", c, []string{"resource", api1 + "#"}, nil},
		{"a name not the client's", c, []string{"audience", "api-4"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := r.Token(t, test.client, append([]string{"grant_type", "client_credentials"}, test.pairs...)...)
			if test.want == nil {
				wantError(t, a, http.StatusBadRequest, "invalid_target")
				return
			}
			if got := audienceOf(t, r, wantOK(t, a)); !slices.Equal(got, test.want) {
				t.Errorf("aud = %q, want %q", got, test.want)
			}
		})
	}
}

// TestResourceOfAGrant is RFC 8707 §2.2: what the authorization was for bounds
// every token of it.
func TestResourceOfAGrant(t *testing.T) {
	t.Parallel()
	r := single(t)
	c := register(t, r, map[string]any{"audience": []string{api1, api2, "api-3"}})
	q := apitest.CodeQuery(c.ID, "read offline_access")
	q.Add("resource", api1)
	q.Add("resource", api2)
	code := apitest.CodeOf(t, r.JSON(t, loginPath+"?"+q.Encode(), alice))
	wantError(t, r.Token(t, c, exchange(code, "audience", "api-3")...), http.StatusBadRequest, "invalid_target")
	first := wantOK(t, r.Token(t, c, exchange(code, "resource", api1)...))
	if got := audienceOf(t, r, first); !slices.Equal(got, []string{api1}) {
		t.Errorf("after the exchange: %q", got)
	}
	wantError(t, r.Refresh(t, c, first.Text("refresh_token"), "audience", "api-3"), http.StatusBadRequest, "invalid_target")
	second := wantOK(t, r.Refresh(t, c, first.Text("refresh_token")))
	if got := audienceOf(t, r, second); !slices.Equal(got, []string{api1, api2}) {
		t.Errorf("after the refresh: %q, want all that the grant is for", got)
	}
	for _, test := range []struct{ name, resource string }{
		{"relative", "one"}, {"with a fragment", api1 + "#x"}, {"not the client's", "https://other.example"},
	} {
		q.Set("resource", test.resource)
		a := r.JSON(t, loginPath+"?"+q.Encode(), alice)
		t.Run(test.name, func(t *testing.T) { wantLoginError(t, a, http.StatusUnprocessableEntity, "0") })
	}
}
