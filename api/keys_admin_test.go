package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// keyRefusals are those about keys.
func keyRefusals(t testing.TB, r *apitest.Replica) map[rules.Reason]told {
	t.Helper()
	do := func(path string) func() apitest.Answer {
		return func() apitest.Answer { return r.Admin(t, http.MethodPost, "/keys/"+path, nil) }
	}
	young := r.Admin(t, http.MethodPost, "/keys", map[string]any{"use": "sig", "alg": "ES256"}).Text("id")
	return map[rules.Reason]told{
		"no_such_key":      {404, "not_found", 404, "003-061", "", do(planted + "/retire"), nil, ""},
		"wrong_key_state":  {409, "conflict", 422, "0", "", do("mac-1/retire"), nil, ""},
		"key_too_young":    {409, "conflict", 422, "0", "", do(young + "/activate"), nil, ""},
		"no_mac_keys_left": {409, "conflict", 422, "0", "", nil, nil, ""}, // TestMACKeysRunOut
	}
}

// quick is settings under which a new key is known everywhere soon.
func quick(s *config.Settings) { s.FreshnessBound = time.Second }

func twoReplicas(t *testing.T, o apitest.Options) [2]*apitest.Replica {
	t.Helper()
	nc := embeddedtest.Single(t).Conn()
	apitest.Start(t, nc, apitest.Options{Settings: patient, KeyPolicy: o.KeyPolicy}).Seed(t)
	return [2]*apitest.Replica{apitest.Start(t, nc, o), apitest.Start(t, nc, o)}
}

// A signing key that was stolen: its tokens die on all replicas within the bound,
// a new key is there first, and refresh goes on.
func TestDropSigningKey(t *testing.T) {
	t.Parallel()
	replicas := twoReplicas(t, apitest.Options{Settings: quick, KeyPolicy: &keys.Policy{Announce: time.Hour, Keep: time.Hour, KeepMAC: time.Hour}})
	first, second := replicas[0], replicas[1]
	tokens := first.Tokens(t, apitest.DemoWeb, "read offline_access")
	stolen := tokens.Text("access_token")
	kid := kidOf(t, stolen)
	retried := wantOK(t, settled(t, func() apitest.Answer {
		return second.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token"))
	}))
	first.WaitFolded(t)
	count := wantOK(t, settled(t, func() apitest.Answer {
		return first.Admin(t, http.MethodPost, "/keys/"+kid+"/drop", map[string]any{"dry_run": true})
	}))
	if n, _ := count.JSON["access_tokens"].(float64); n != 2 || count.Text("state") != "active" {
		t.Errorf("counted %s", count.Body)
	}
	wantOK(t, first.Admin(t, http.MethodPost, "/keys/"+kid+"/drop", nil))
	for i, r := range replicas {
		dropped := settled(t, func() apitest.Answer { return r.Post(t, "/oauth2/introspect", apitest.DemoService, "token", stolen) })
		if i == 0 && dropped.JSON["active"] != false {
			t.Errorf("here the token is %s", dropped.Body)
		}
	}
	embeddedtest.Eventually(t, "the token dies elsewhere", func() bool { return !second.Active(t, stolen) })
	if body := string(apitest.Do(t, getRequest(t, second.URL+"/oauth2/jwks")).Body); strings.Contains(body, kid) {
		t.Errorf("the dropped key is published: %s", body)
	}
	// What was answered before is rendered anew, by the key that took its place.
	again := wantOK(t, settled(t, func() apitest.Answer {
		return second.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token"))
	}))
	if again.Text("refresh_token") != retried.Text("refresh_token") || kidOf(t, again.Text("access_token")) == kid {
		t.Errorf("the retry gives %s, before %s", again.Body, retried.Body)
	}
	if !first.Active(t, again.Text("access_token")) {
		t.Error("the token of the new key is not active")
	}
}

// With a MAC key end the grants and sessions that it authenticates, which are
// counted before, and no others.
func TestDropMACKey(t *testing.T) {
	t.Parallel()
	replicas := twoReplicas(t, apitest.Options{Settings: quick, KeyPolicy: &keys.Policy{Announce: time.Hour, Keep: time.Hour, KeepMAC: time.Hour}})
	first, second := replicas[0], replicas[1]
	dead := first.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	other := first.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	made := first.Admin(t, http.MethodPost, "/keys", map[string]any{"use": "mac", "now": true})
	if made.Status != http.StatusCreated || made.Text("id") != "mac-2" || made.Text("state") != "active" {
		t.Fatalf("got %d %s", made.Status, made.Body)
	}
	alive := wantOK(t, settled(t, func() apitest.Answer { return second.Refresh(t, apitest.DemoWeb, other) })).Text("refresh_token")
	first.WaitFolded(t)
	count := wantOK(t, settled(t, func() apitest.Answer {
		return first.Admin(t, http.MethodPost, "/keys/mac-1/drop", map[string]any{"dry_run": true})
	}))
	if count.JSON["grants"] != 1.0 {
		t.Errorf("counted %s", count.Body)
	}
	wantOK(t, first.Admin(t, http.MethodPost, "/keys/mac-1/drop", nil))
	embeddedtest.Eventually(t, "the key is dropped elsewhere", func() bool {
		return second.Refresh(t, apitest.DemoWeb, dead).Text("error") == "invalid_grant"
	})
	wantOK(t, settled(t, func() apitest.Answer { return second.Refresh(t, apitest.DemoWeb, alive) }))
}

func settled(t testing.TB, send func() apitest.Answer) apitest.Answer {
	t.Helper()
	return apitest.Settled(t, send)
}

// Everything that is encrypted is encrypted anew while two replicas run; then the
// old key-encryption key can go, but for client secrets that are hashed with it.
func TestRewrap(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	one, two := secret.NewRingLine("one").Reveal(), secret.NewRingLine("two").Reveal()
	start := func(ring string) *apitest.Replica {
		return apitest.Start(t, nc, apitest.Options{Settings: patient, KeyRing: ring})
	}
	old := start(one)
	old.Seed(t)
	tokens := old.Tokens(t, apitest.DemoWeb, "read offline_access")
	wantOK(t, old.Admin(t, http.MethodPost, "/revocations", map[string]any{"id": "job", "user": "nobody", "dry_run": true}))
	created := old.Admin(t, http.MethodPost, "/revocations", map[string]any{"id": "job", "client": "demo-web", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"})
	if created.Status != http.StatusAccepted {
		t.Fatalf("got %d %s", created.Status, created.Body)
	}
	embeddedtest.Eventually(t, "the revocation is done", func() bool {
		return old.Admin(t, http.MethodGet, "/revocations/job", nil).Text("state") == "done"
	})
	both := start(one + two)
	walk := func(dry bool) map[string]float64 {
		t.Helper()
		found := map[string]float64{}
		for _, store := range []string{"keys", "records", "revocations"} {
			next := map[string]any{}
			for done := false; !done; {
				body := map[string]any{"store": store, "dry_run": dry, "after": next["after"], "until": next["until"]}
				if next["after"] == nil {
					body = map[string]any{"store": store, "dry_run": dry}
				}
				page := wantOK(t, both.Admin(t, http.MethodPost, "/keys/rewrap", body))
				done, _ = page.JSON["done"].(bool)
				next, _ = page.JSON["next"].(map[string]any)
				counts, _ := page.JSON["found"].(map[string]any)
				for id, n := range counts {
					count, _ := n.(float64)
					found[store+" "+id] += count
				}
			}
		}
		return found
	}
	before := walk(true)
	for _, store := range []string{"keys one", "records one", "revocations one"} {
		if before[store] == 0 {
			t.Errorf("nothing is encrypted in %s: %v", store, before)
		}
	}
	walk(false)
	after := walk(true)
	for what, n := range before {
		store := strings.TrimSuffix(what, " one")
		if after[store+" two"] != n || after[what] != 0 {
			t.Errorf("%s: had %v, has %v", store, before, after)
		}
	}
	// Whoever runs without the new key goes on, and one that has only the new key
	// starts, and has all that there was.
	if !old.Active(t, tokens.Text("access_token")) {
		t.Error("the replica with the old key does not go on")
	}
	only := start(two)
	if !slices.Equal(only.Events(t, old.GrantOf(t, tokens.Text("access_token"))), old.Events(t, old.GrantOf(t, tokens.Text("access_token")))) {
		t.Error("other events")
	}
	refreshed := settled(t, func() apitest.Answer { return only.Refresh(t, apitest.DemoSPA, tokens.Text("refresh_token")) })
	if refreshed.Text("error") != "invalid_grant" {
		t.Errorf("another client's token: %d %s", refreshed.Status, refreshed.Body)
	}
	list := wantOK(t, only.Admin(t, http.MethodGet, "/keys", nil))
	if !strings.Contains(string(list.Body), `"client_secrets":{"one":`) || strings.Contains(string(list.Body), `"encrypted_with":"one"`) {
		t.Errorf("got %s", list.Body)
	}
	if a := only.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")); a.Text("error") != "invalid_client" {
		t.Errorf("a secret whose key is gone: %d %s", a.Status, a.Body)
	}
	both.Seed(t) // the demonstration is as it was
	wantOK(t, settled(t, func() apitest.Answer { return both.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")) }))
}

// The status says early that MAC keys run out.
func TestFewMACKeysAreTold(t *testing.T) {
	t.Parallel()
	r := single(t)
	if a := wantOK(t, r.Admin(t, http.MethodGet, "/status", nil)); a.JSON["warnings"] != nil {
		t.Errorf("warned: %s", a.Body)
	}
	subject := r.Log.Realm().KeySubject("mac-230")
	var seq uint64
	for _, fact := range []events.Fact{events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 230}, events.KeyDropped{}} {
		e := events.Event{ID: fact.Type(), Source: apitest.Issuer, Time: time.Now(), Subject: subject, Fact: fact}
		receipt, err := r.Log.Append(t.Context(), eventlog.Unit{Event: e, Expect: seq})
		if err != nil {
			t.Fatal(err)
		}
		seq = receipt.Seq
	}
	embeddedtest.Eventually(t, "the warning", func() bool {
		return strings.Contains(string(r.Admin(t, http.MethodGet, "/status", nil).Body), "only 25 of the 255 MAC keys")
	})
}
