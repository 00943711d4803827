package resource_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/resource"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// start is an authority that is found by its issuer, and that answers also when the
// machine is busy.
func start(t testing.TB, change ...func(*apitest.Options)) *apitest.Replica {
	t.Helper()
	o := apitest.Options{OwnIssuer: true, Settings: func(s *config.Settings) { s.FreshnessBound = 20 * time.Second }}
	for _, c := range change {
		c(&o)
	}
	return apitest.Single(t, o)
}

// open is a verifier of an authority's tokens that is ready.
func open(t testing.TB, r *apitest.Replica, change ...func(*resource.Config)) *resource.Verifier {
	t.Helper()
	v := begin(t, r, change...)
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	if err := v.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return v
}

func begin(t testing.TB, r *apitest.Replica, change ...func(*resource.Config)) *resource.Verifier {
	t.Helper()
	cfg := resource.Config{
		Issuer: r.URL, Audience: []string{r.URL}, ClientID: apitest.DemoService.ID, ClientSecret: apitest.DemoService.Secret,
		MaxAge: 20 * time.Second, // a busy machine proves nothing for a while
	}
	for _, c := range change {
		c(&cfg)
	}
	v, err := resource.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// knows waits until a verifier knows all that was acknowledged before now.
func knows(t testing.TB, v *resource.Verifier) {
	t.Helper()
	acknowledged := time.Now()
	embeddedtest.Eventually(t, "the feed to be as of now", func() bool {
		age, ok := v.Freshness(t.Context())
		return ok && age < time.Since(acknowledged)
	})
}

func accepts(t testing.TB, v *resource.Verifier, token string) bool {
	t.Helper()
	_, err := v.Verify(t.Context(), token)
	if err != nil && !errors.Is(err, resource.ErrInvalid) {
		t.Fatal(err)
	}
	return err == nil
}

// via sends everything through a proxy.
func via(p *embeddedtest.Proxy) func(*resource.Config) {
	return func(c *resource.Config) {
		c.HTTPClient = &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", p.Addr())
			},
		}}
	}
}

func proxy(t testing.TB, r *apitest.Replica) *embeddedtest.Proxy {
	t.Helper()
	return embeddedtest.NewProxy(t, strings.TrimPrefix(r.URL, "http://"))
}

func revoke(t testing.TB, r *apitest.Replica, c apitest.Client, token string) {
	t.Helper()
	if a := r.Post(t, "/oauth2/revoke", c, "token", token); a.Status != http.StatusOK {
		t.Fatalf("revoke: %d %s", a.Status, a.Body)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	r := start(t)
	v := open(t, r)
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	claims, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if told := apitest.Claims(t, token); claims.Subject != told["sub"] || claims.ClientID != "demo-web" || !resource.HasScope(claims, "read") {
		t.Errorf("claims %+v, want those of %v", claims, told)
	}
	for name, not := range map[string]string{
		"changed":       token[:len(token)-8] + "AAAAAAAA",
		"half":          token[:len(token)/2],
		"an ID token":   r.Tokens(t, apitest.DemoWeb, "openid").Text("id_token"),
		"refresh token": r.Tokens(t, apitest.DemoWeb, "read offline_access").Text("refresh_token"),
		"empty":         "",
	} {
		if accepts(t, v, not) {
			t.Errorf("%s: accepted", name)
		}
	}
	other := open(t, r, func(c *resource.Config) { c.Audience = []string{"https://api.example"} })
	if accepts(t, other, token) {
		t.Error("accepted for another audience")
	}
	// Nobody's keys are left by the algorithm: nobody can tell.
	rsa := begin(t, r, func(c *resource.Config) { c.Algs = []string{"RS256"} })
	if _, err := rsa.Verify(t.Context(), token); !errors.Is(err, resource.ErrUnavailable) {
		t.Errorf("without keys: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := resource.Config{Issuer: "https://auth.example", Audience: []string{"a"}, ClientID: "c", ClientSecret: "s"}
	for name, spoil := range map[string]func(*resource.Config){
		"no issuer":      func(c *resource.Config) { c.Issuer = "" },
		"plain http":     func(c *resource.Config) { c.Issuer = "http://auth.example" },
		"no audience":    func(c *resource.Config) { c.Audience = nil },
		"empty audience": func(c *resource.Config) { c.Audience = []string{""} },
		"no secret":      func(c *resource.Config) { c.ClientSecret = "" },
		"a shared key":   func(c *resource.Config) { c.Algs = []string{"HS256"} },
		"negative":       func(c *resource.Config) { c.MaxAge = -1 },
	} {
		bad := good
		spoil(&bad)
		if v, err := resource.Open(t.Context(), bad); err == nil {
			v.Close()
			t.Errorf("%s: taken", name)
		}
	}
}

// TestCut cuts the feed: knowledge ages until nothing is accepted, and what was
// revoked meanwhile is refused by the time that anything is accepted again.
func TestCut(t *testing.T) {
	t.Parallel()
	const maxAge = 3 * time.Second
	r := start(t)
	p := proxy(t, r)
	v := open(t, r, via(p), func(c *resource.Config) { c.MaxAge = maxAge })
	kept, lost := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token"), r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	if !accepts(t, v, kept) || !accepts(t, v, lost) {
		t.Fatal("not accepted at first")
	}
	revoke(t, r, apitest.DemoWeb, r.Tokens(t, apitest.DemoWeb, "read").Text("access_token"))
	cut := time.Now()
	before, _ := v.Freshness(t.Context())
	p.Cut()
	revoke(t, r, apitest.DemoWeb, lost)
	acknowledged := time.Now()
	unavailable := func(token string) bool {
		_, err := v.Verify(t.Context(), token)
		switch late := time.Since(acknowledged); {
		case err == nil && token == lost && late > maxAge:
			t.Errorf("accepted %v after its revocation", late)
		case errors.Is(err, resource.ErrInvalid):
			t.Errorf("refused for good by what cannot be known: %v", err)
		}
		return errors.Is(err, resource.ErrUnavailable)
	}
	embeddedtest.Eventually(t, "to fail closed", func() bool { return unavailable(kept) && unavailable(lost) })
	if age, _ := v.Freshness(t.Context()); age < maxAge || age > before+time.Since(cut) {
		t.Errorf("freshness %v, %v after the cut", age, time.Since(cut))
	}
	if v.Ready(t.Context()) == nil {
		t.Error("ready")
	}
	p.Heal()
	embeddedtest.Eventually(t, "to be fresh again", func() bool {
		_, err := v.Verify(t.Context(), kept)
		if _, err := v.Verify(t.Context(), lost); err == nil {
			t.Fatal("what was revoked during the cut is accepted")
		}
		return err == nil
	})
	if accepts(t, v, lost) {
		t.Error("what was revoked is accepted")
	}
}

// without fails requests of a path while it is set.
type without struct {
	path  string
	fails atomic.Bool
	asked atomic.Int64
}

func (w *without) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == w.path {
		w.asked.Add(1)
		if w.fails.Load() {
			return nil, errors.New("cut off")
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

func (w *without) use(c *resource.Config) { c.HTTPClient = &http.Client{Transport: w} }

// TestWhenStale does what the caller chose.
func TestWhenStale(t *testing.T) {
	t.Parallel()
	r := start(t)
	good, ended := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token"), r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	revoke(t, r, apitest.DemoWeb, ended)

	t.Run("introspect", func(t *testing.T) {
		noFeed := &without{path: "/oauth2/revocations"}
		noFeed.fails.Store(true)
		v := begin(t, r, noFeed.use, func(c *resource.Config) { c.Introspect = true })
		if _, err := v.Verify(t.Context(), good); err != nil {
			t.Error(err)
		}
		if _, err := v.Verify(t.Context(), ended); !errors.Is(err, resource.ErrInvalid) {
			t.Errorf("a revoked one: %v", err)
		}
	})
	t.Run("grace", func(t *testing.T) {
		p := proxy(t, r)
		v := open(t, r, via(p), func(c *resource.Config) { c.MaxAge, c.Grace = 3*time.Second, time.Hour })
		knows(t, v)
		p.Cut()
		embeddedtest.Eventually(t, "to be too old", func() bool { return v.Ready(t.Context()) != nil })
		if !accepts(t, v, good) || accepts(t, v, ended) {
			t.Error("what is known does not count within the grace")
		}
	})
	t.Run("fail closed from the beginning", func(t *testing.T) {
		noFeed := &without{path: "/oauth2/revocations"}
		noFeed.fails.Store(true)
		v := begin(t, r, noFeed.use)
		if _, err := v.Verify(t.Context(), good); !errors.Is(err, resource.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		noFeed.fails.Store(false)
		embeddedtest.Eventually(t, "to be accepted", func() bool {
			_, err := v.Verify(t.Context(), good)
			return err == nil
		})
	})
}

// TestUnprovenAuthority holds the authority's own feed back: it is alive, and
// proves nothing.
func TestUnprovenAuthority(t *testing.T) {
	t.Parallel()
	gate := &apitest.Gate{}
	r := start(t, func(o *apitest.Options) { o.FeedGate = gate.Pass })
	v := open(t, r, func(c *resource.Config) { c.MaxAge = 3 * time.Second })
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	gate.Shut()
	t.Cleanup(gate.Open)
	embeddedtest.Eventually(t, "to fail closed", func() bool {
		_, err := v.Verify(t.Context(), token)
		return errors.Is(err, resource.ErrUnavailable)
	})
	gate.Open()
	embeddedtest.Eventually(t, "to be accepted", func() bool {
		_, err := v.Verify(t.Context(), token)
		return err == nil
	})
}

// TestInventedKeys sends tokens with kids that nobody has.
func TestInventedKeys(t *testing.T) {
	t.Parallel()
	r := start(t)
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	_, rest, _ := strings.Cut(token, ".")
	invented := func() string {
		return header(t, map[string]string{"alg": "ES256", "typ": "at+jwt", "kid": time.Now().Format("150405.000000000")[7:]}) + "." + rest
	}
	for name, feed := range map[string]bool{"told of the keys in force": true, "with no feed": false} {
		asked := &without{path: "/oauth2/jwks"}
		v := begin(t, r, asked.use, func(c *resource.Config) {
			if !feed {
				c.Revocations = nothing{}
			}
		})
		embeddedtest.Eventually(t, "ready", func() bool { return v.Ready(t.Context()) == nil })
		before := asked.asked.Load()
		for range 500 {
			if accepts(t, v, invented()) {
				t.Fatal("accepted")
			}
		}
		if n := asked.asked.Load() - before; n > 1 {
			t.Errorf("%s: asked for keys %d times", name, n)
		}
		if !accepts(t, v, token) {
			t.Errorf("%s: a good token is refused", name)
		}
	}
}

// TestDroppedKey refuses what a key has signed as soon as it is dropped, long before
// the cached keys are over.
func TestDroppedKey(t *testing.T) {
	t.Parallel()
	r := start(t)
	v := open(t, r)
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	if !accepts(t, v, token) {
		t.Fatal("not accepted at first")
	}
	dropKey(t, r, kidOf(t, token))
	knows(t, v)
	if accepts(t, v, token) {
		t.Error("accepted under a key that was dropped")
	}
}

// dropKey appends what drops a key.
func dropKey(t testing.TB, r *apitest.Replica, kid string) {
	t.Helper()
	subject := r.Log.Realm().KeySubject(kid)
	recorded, err := r.Log.After(t.Context(), subject, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Log.Append(t.Context(), eventlog.Unit{Expect: recorded[len(recorded)-1].Seq, Event: events.Event{
		ID: "drop-" + kid, Source: r.URL, Time: time.Now(), Subject: subject, Meta: events.Meta{Actor: "system"}, Fact: events.KeyDropped{},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnotherIssuersMetadata(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{}) // its issuer is elsewhere
	u, _ := url.Parse(r.URL)
	v := begin(t, r, func(c *resource.Config) {
		c.Issuer, c.Audience = "http://localhost:"+u.Port(), []string{"a"}
	})
	if _, err := v.Verify(t.Context(), r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")); !errors.Is(err, resource.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
