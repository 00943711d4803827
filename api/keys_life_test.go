package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/keys"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// kidOf is the key that signed a JWT.
func kidOf(t testing.TB, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var header struct{ Kid string }
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil {
		t.Error(err)
	}
	return header.Kid
}

// A listedKey is what the admin API says of a key.
type listedKey struct {
	ID        string
	State     string
	ChangedAt time.Time `json:"changed_at"`
}

func listedKeys(t testing.TB, r *apitest.Replica) []listedKey {
	t.Helper()
	a := wantOK(t, apitest.Settled(t, func() apitest.Answer { return r.Admin(t, http.MethodGet, "/keys", nil) }))
	var list struct{ Keys []listedKey }
	if err := json.Unmarshal(a.Body, &list); err != nil {
		t.Fatal(err)
	}
	return list.Keys
}

// keyStates are the states of all keys, by their ids.
func keyStates(t testing.TB, r *apitest.Replica) map[string]string {
	t.Helper()
	states := map[string]string{}
	for _, k := range listedKeys(t, r) {
		states[k.ID] = k.State
	}
	return states
}

// keyInUse is the one that makes tokens: the MAC key for the prefix mac-, or else one
// that signs. It is the last that became active: the one before it may not have
// retired yet.
func keyInUse(t testing.TB, r *apitest.Replica, prefix string) string {
	t.Helper()
	var newest listedKey
	for _, k := range listedKeys(t, r) {
		if k.State == "active" && strings.HasPrefix(k.ID, "mac-") == (prefix == "mac-") && k.ChangedAt.After(newest.ChangedAt) {
			newest = k
		}
	}
	if newest.ID == "" {
		t.Fatal("no key is in use")
	}
	return newest.ID
}

// A cachedJWKS is what a resource server keeps of the keys, for as long as it is
// told that it may.
type cachedJWKS struct {
	r     *apitest.Replica
	until time.Time
	kids  []string
	reads int
}

func (c *cachedJWKS) has(t testing.TB, kid string) bool {
	t.Helper()
	if time.Now().After(c.until) {
		a := apitest.Do(t, getRequest(t, c.r.URL+"/oauth2/jwks"))
		var set struct{ Keys []struct{ Kid string } }
		if err := json.Unmarshal(a.Body, &set); err != nil {
			t.Error(err)
		}
		var seconds int
		_, _ = fmt.Sscanf(a.Header.Get("Cache-Control"), "public, max-age=%d", &seconds) // none is no time
		c.until, c.kids, c.reads = time.Now().Add(time.Duration(seconds)*time.Second), nil, c.reads+1
		for _, k := range set.Keys {
			c.kids = append(c.kids, k.Kid)
		}
	}
	return slices.Contains(c.kids, kid)
}

func getRequest(t testing.TB, address string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// Keys of all kinds come and go under load on two replicas. Nothing that is in
// force is refused by any of them, or by a resource server that keeps a JWK Set
// for as long as it may.
func TestKeysRotateUnnoticed(t *testing.T) {
	t.Parallel()
	const life, grantLife = 6 * time.Second, 12 * time.Second
	settings := func(s *config.Settings) {
		s.FreshnessBound, s.AccessTokenLifetime = time.Second, life
		s.RefreshIdle, s.RefreshAbsolute, s.RetryWindow = grantLife, grantLife, time.Second
	}
	policy := &keys.Policy{
		Rotate: 5 * time.Second, RotateMAC: 5 * time.Second, Announce: 4 * time.Second,
		Keep: life + time.Second, KeepMAC: grantLife + time.Second,
	}
	nc := embeddedtest.Single(t).Conn()
	replicas := []*apitest.Replica{
		apitest.Start(t, nc, apitest.Options{Settings: settings, KeyPolicy: policy}),
		apitest.Start(t, nc, apitest.Options{Settings: settings, KeyPolicy: policy}),
	}
	apitest.Start(t, nc, apitest.Options{Settings: patient}).Seed(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	for n, pause := range []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second} {
		load.Go(func() {
			w := keyLoad{TB: t, replicas: replicas, turn: n, life: life, grant: grantLife, jwks: cachedJWKS{r: replicas[n%2]}}
			for ctx.Err() == nil {
				w.useGrant(ctx, pause)
			}
			if w.accepted == 0 {
				t.Errorf("the load with a pause of %v did nothing", pause)
			}
		})
	}
	// Two lives of signing keys, and one of a MAC key, from end to end.
	var looked time.Time
	embeddedtest.Eventually(t, "keys to be dropped", func() bool {
		if time.Since(looked) < 200*time.Millisecond { // the load is what matters
			return false
		}
		looked = time.Now()
		signing, mac := 0, 0
		for id, state := range keyStates(t, replicas[1]) {
			if dropped := state == "dropped"; dropped && strings.HasPrefix(id, "mac-") {
				mac++
			} else if dropped {
				signing++
			}
		}
		return signing >= 2 && mac >= 1 || t.Failed()
	})
	stop()
	load.Wait()
}

// keyLoad is a client that uses one grant after the other, each request at another
// replica.
type keyLoad struct {
	testing.TB
	replicas    []*apitest.Replica
	turn        int
	life, grant time.Duration
	jwks        cachedJWKS
	accepted    int
}

func (w *keyLoad) next() *apitest.Replica {
	w.turn++
	return w.replicas[w.turn%len(w.replicas)]
}

// useGrant opens a grant and refreshes it until it is about to end.
func (w *keyLoad) useGrant(ctx context.Context, pause time.Duration) {
	opened := time.Now()
	login := w.next().LoginAnswer(w, apitest.DemoWeb, "read offline_access")
	if login.Status != http.StatusOK {
		w.judge("login", login, opened, w.grant)
		return
	}
	sent := time.Now()
	last := w.next().Exchange(w, apitest.DemoWeb, apitest.CodeOf(w, login))
	w.judge("exchange", last, opened, w.grant)
	for ctx.Err() == nil && last.Status == http.StatusOK && time.Since(opened) < w.grant/2 {
		w.verify(last.Text("access_token"), sent)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			w.verify(last.Text("access_token"), sent)
		}
		sent = time.Now()
		last = w.next().Refresh(w, apitest.DemoWeb, last.Text("refresh_token"))
		w.judge("refresh", last, opened, w.grant)
	}
}

// verify has an access token verified, if it is in force for a while yet.
func (w *keyLoad) verify(token string, issued time.Time) {
	if time.Since(issued) > w.life/2 {
		return
	}
	if kid := kidOf(w, token); !w.jwks.has(w, kid) {
		w.Errorf("the JWK Set that may still be kept lacks %s", kid)
	}
	a := w.next().Post(w, "/oauth2/introspect", apitest.DemoService, "token", token)
	if active, _ := a.JSON["active"].(bool); a.Status == http.StatusOK && !active && time.Since(issued) < w.life-2*time.Second {
		w.Errorf("a token of %v ago is not active", time.Since(issued))
	}
	w.judge("introspect", a, issued, w.life)
}

// judge counts what was accepted. What may be tried again is no refusal, nor is
// what a slow machine took too long for.
func (w *keyLoad) judge(what string, a apitest.Answer, since time.Time, within time.Duration) {
	switch {
	case a.Status == http.StatusOK:
		w.accepted++
	case a.Status != http.StatusServiceUnavailable && a.Status != http.StatusTeapot && time.Since(since) < within-2*time.Second:
		w.Errorf("%s: %d %s", what, a.Status, a.Body)
	}
}
