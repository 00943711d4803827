package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// patchMe changes the profile of a token's user. The body is JSON, or text as it
// is.
func patchMe(t testing.TB, r *apitest.Replica, token string, body any) apitest.Answer {
	t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	return request{method: http.MethodPatch, path: mePath, contentType: "application/json", body: text, header: bearer(token)}.send(t, r.URL)
}

// wantProfile expects members of a profile beside those that it always has.
func wantProfile(t testing.TB, a apitest.Answer, want map[string]any) {
	t.Helper()
	wantNoStore(t, a)
	got := maps.Clone(wantOK(t, a).JSON)
	for _, name := range []string{"id", "username", "email", "registered"} {
		if text, _ := got[name].(string); text == "" {
			t.Errorf("no %s: %s", name, a.Body)
		}
		delete(got, name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("profile %v, want %v", got, want)
	}
}

// TestChangeProfile changes what is named and leaves the rest.
func TestChangeProfile(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := loginExchange(t, r, apitest.DemoSPA, r.Login(t, apitest.DemoSPA, "read")).Text("access_token")
	long := strings.Repeat("é", 255)
	today := time.Now().UTC().Add(-time.Minute).Format(time.DateOnly)
	for _, step := range []struct {
		body any
		want map[string]any
	}{
		{`{}`, map[string]any{}},
		{map[string]any{"nickname": "Al", "birthday": "1852-05-04"}, map[string]any{"nickname": "Al", "birthday": "1852-05-04"}},
		{map[string]any{"first_name": "Alice <b>", "last_name": long}, map[string]any{"nickname": "Al", "birthday": "1852-05-04", "first_name": "Alice <b>", "last_name": long}},
		{map[string]any{"nickname": nil, "last_name": nil, "birthday": today}, map[string]any{"birthday": today, "first_name": "Alice <b>"}},
		{map[string]any{"nickname": nil}, map[string]any{"birthday": today, "first_name": "Alice <b>"}},
		{map[string]any{"birthday": "2024-02-29", "first_name": nil}, map[string]any{"birthday": "2024-02-29"}},
		{map[string]any{"birthday": nil}, map[string]any{}},
	} {
		wantProfile(t, patchMe(t, r, token, step.body), step.want)
		wantProfile(t, me(t, r, token), step.want)
	}
	// The password and what tokens tell are in the same record.
	wantLoginClaims(t, r.JSON(t, passwordPath+"?client_id=demo-spa&scope=read", alice), alices("demo-spa", "read"))
}

// TestChangeProfileRefused names what is wrong, and changes nothing.
func TestChangeProfileRefused(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := r.Tokens(t, apitest.DemoSPA, "read").Text("access_token")
	wantOK(t, patchMe(t, r, token, map[string]any{"nickname": "Al"}))
	for _, test := range []struct {
		body      string
		parameter string
	}{
		{`{"nickname":"x","username":"bob"}`, "username"},
		{`{"nickname":"x","email":"b@example.com"}`, "email"},
		{`{"nickname":"x","password":null}`, "password"},
		{`{"nickname":"x","Last_name":"y"}`, ""},
		{`{"nickname":"x","<b>":"y"}`, ""},
		{`{"nickname":"x","nickname":"y"}`, "nickname"},
		{`{"nickname":"x","NICKNAME":"y"}`, ""},
		{`{"nickname":""}`, "nickname"},
		{`{"nickname":1}`, "nickname"},
		{`{"nickname":["x"]}`, "nickname"},
		{`{"nickname":"x","first_name":"a\u0000b"}`, "first_name"},
		{`{"nickname":"x","first_name":"a\nb"}`, "first_name"},
		{`{"nickname":"x","last_name":"a\u0085b"}`, "last_name"},
		{`{"nickname":"x","last_name":"` + strings.Repeat("é", 256) + `"}`, "last_name"},
		{`{"nickname":"x","birthday":""}`, "birthday"},
		{`{"nickname":"x","birthday":"2023-02-29"}`, "birthday"},
		{`{"nickname":"x","birthday":"1852-5-4"}`, "birthday"},
		{`{"nickname":"x","birthday":"1852-05-04T00:00:00Z"}`, "birthday"},
		{`{"nickname":"x","birthday":"` + time.Now().Add(48*time.Hour).Format(time.DateOnly) + `"}`, "birthday"},
		{`{"nickname":"x","birthday":18520504}`, "birthday"},
		{`["nickname"]`, ""},
		{`null`, ""},
		{`{"nickname":"x"`, ""},
		{``, ""},
	} {
		t.Run(test.body[:min(len(test.body), 40)], func(t *testing.T) {
			a := patchMe(t, r, token, test.body)
			wantLoginError(t, a, http.StatusBadRequest, "0")
			if got := parameterOf(a); got != test.parameter {
				t.Errorf("names %q: %s", got, a.Body)
			}
		})
	}
	form := request{method: http.MethodPatch, path: mePath, body: "nickname=x", header: bearer(token)}.send(t, r.URL)
	wantLoginError(t, form, http.StatusBadRequest, "0")
	wantLoginError(t, patchMe(t, r, "none", `{"nickname":"x"}`), http.StatusUnauthorized, "002-016")
	wantLoginError(t, patchMe(t, r, own(t, r, apitest.DemoService), `{"nickname":"x"}`), http.StatusUnauthorized, "002-016")
	wantProfile(t, me(t, r, token), map[string]any{"nickname": "Al"})

	tokens := registerUser(t, r, apitest.DemoSPA, "dormouse")
	erase(t, r, subject(t, tokens))
	wantLoginError(t, patchMe(t, r, tokens.Text("access_token"), `{"nickname":"x"}`), http.StatusNotFound, "003-002")
	wantLoginError(t, me(t, r, tokens.Text("access_token")), http.StatusNotFound, "003-002")
}

// TestChangesOfAProfileRace changes different members at different replicas at
// once. Who is told that a change was made finds it made.
func TestChangesOfAProfileRace(t *testing.T) {
	t.Parallel()
	c := apitest.NewCluster(t, 3)
	token := newTokens(t, c.Replicas[0], apitest.DemoWeb).Text("access_token")
	members := []string{"nickname", "first_name", "last_name"}
	for round := range 10 {
		want := map[string]any{}
		for _, name := range members {
			want[name] = fmt.Sprintf("%s %d", name, round)
		}
		for _, a := range apitest.Race(len(members), func(i int) apitest.Answer {
			name := members[i]
			return apitest.Settled(t, func() apitest.Answer {
				return patchMe(t, c.Replicas[i], token, map[string]any{name: want[name]})
			})
		}) {
			wantOK(t, a)
		}
		wantProfile(t, apitest.Settled(t, func() apitest.Answer { return me(t, c.Replicas[round%3], token) }), want)
	}
}

// TestRehashRacesAProfile changes the profile while a login stores the password
// anew, under the cost of the other of two replicas each time.
func TestRehashRacesAProfile(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	start := func(memory uint32) *apitest.Replica {
		return apitest.Start(t, node.Conn(), apitest.Options{
			Settings:  func(s *config.Settings) { patient(s) },
			Passwords: secret.PasswordConfig{Cost: secret.PasswordCost{Memory: memory, Time: 1, Threads: 1}},
		})
	}
	replicas := []*apitest.Replica{start(64), start(128)}
	replicas[0].Seed(t)
	tokens := replicas[0].Tokens(t, apitest.DemoSPA, "read")
	for round := range 20 {
		at, memory := replicas[(round+1)%2], 64<<((round+1)%2)
		nickname := fmt.Sprintf("round %d", round)
		answers := apitest.Race(2, func(i int) apitest.Answer {
			if i == 0 {
				return at.JSON(t, passwordPath+"?client_id=demo-spa", alice)
			}
			return patchMe(t, replicas[0], tokens.Text("access_token"), map[string]any{"nickname": nickname})
		})
		for _, a := range answers {
			wantOK(t, a)
		}
		wantProfile(t, me(t, at, tokens.Text("access_token")), map[string]any{"nickname": nickname})
		if hash := recordOf(t, at, subject(t, tokens))["password"].(string); !strings.Contains(hash, fmt.Sprintf("m=%d,", memory)) {
			t.Errorf("round %d: the password keeps its old hash", round)
		}
	}
}

// recordOf is a person's record as it is stored.
func recordOf(t testing.TB, r *apitest.Replica, user string) (record map[string]any) {
	t.Helper()
	bucket, err := r.Log.ErasableBucket(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), "person."+user)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(entry.Value(), &record); err != nil {
		t.Fatal(err)
	}
	return record
}
