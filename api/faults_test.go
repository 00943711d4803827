package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A loss is one of the two ways in which a write fails.
type loss struct {
	name   string
	stored bool
	begin  func(*embeddedtest.Proxy)
}

var losses = []loss{
	{"not stored", false, (*embeddedtest.Proxy).StallRequests},
	{"stored", true, (*embeddedtest.Proxy).StallReplies},
}

// faulty is a replica whose connection to the log can be lost.
type faulty struct {
	*apitest.Replica
	proxy *embeddedtest.Proxy
}

func newFaulty(t *testing.T) faulty {
	t.Helper()
	node := embeddedtest.Single(t)
	proxy := embeddedtest.NewProxy(t, strings.TrimPrefix(node.URL(), "nats://"))
	nc, err := nats.Connect("nats://"+proxy.Addr(), append(
		embeddedtest.Reconnecting(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := apitest.Start(t, nc, apitest.Options{
		RequestTimeout: time.Second,
		// Long enough that a request comes as far as its append.
		Settings: func(s *config.Settings) { s.FreshnessBound = config.MaxFreshnessBound },
	})
	r.Seed(t)
	return faulty{r, proxy}
}

// lose makes a request while its write is lost one way, expects that neither
// success nor failure is told, and brings the log back.
func (f faulty) lose(t *testing.T, l loss, request func() apitest.Answer) apitest.Answer {
	t.Helper()
	f.WaitFolded(t)
	l.begin(f.proxy)
	a := request()
	if a.Status != http.StatusServiceUnavailable {
		t.Errorf("lost, and %s: %d %s", l.name, a.Status, a.Body)
	}
	f.proxy.Drop()
	f.proxy.Heal()
	return a
}

func TestLostRefresh(t *testing.T) {
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			tokens := f.Tokens(t, apitest.DemoWeb, "read offline_access")
			request := func() apitest.Answer { return f.Refresh(t, apitest.DemoWeb, tokens.Text("refresh_token")) }
			if a := f.lose(t, l, request); a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			first, second := apitest.Settled(t, request), request()
			if first.Status != http.StatusOK || second.Text("refresh_token") != first.Text("refresh_token") {
				t.Errorf("two successors: %s and %s", first.Body, second.Body)
			}
			got := f.Events(t, f.GrantOf(t, first.Text("access_token")))
			want := []string{"grant.opened.v1", "code.redeemed.v1", "refresh_token.rotated.v1", "refresh_token.repeated.v1"}
			if !slices.Equal(got, want) {
				t.Errorf("events = %q, want %q", got, want)
			}
		})
	}
}

func TestLostCodeExchange(t *testing.T) {
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			code := f.Login(t, apitest.DemoWeb, "read offline_access")
			request := func() apitest.Answer { return f.Exchange(t, apitest.DemoWeb, code) }
			if a := f.lose(t, l, request); a.Header.Get("Retry-After") != "" {
				t.Error("a code exchange must not be told to come again")
			}
			a := apitest.Settled(t, request)
			if want := map[bool]int{false: http.StatusOK, true: http.StatusBadRequest}[l.stored]; a.Status != want {
				t.Errorf("again: %d %s, want %d", a.Status, a.Body, want)
			}
		})
	}
}

func TestLostRevocation(t *testing.T) {
	for _, l := range losses {
		for _, kind := range []string{"refresh_token", "access_token"} {
			t.Run(l.name+" "+kind, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t)
				tokens := f.Tokens(t, apitest.DemoWeb, "read offline_access")
				request := func() apitest.Answer {
					return f.Post(t, "/oauth2/revoke", apitest.DemoWeb, "token", tokens.Text(kind))
				}
				f.lose(t, l, request)
				if a := apitest.Settled(t, request); a.Status != http.StatusOK {
					t.Errorf("again: %d %s", a.Status, a.Body)
				}
				if f.Active(t, tokens.Text("access_token")) {
					t.Error("active after an acknowledged revocation")
				}
				grant := f.Admin(t, http.MethodGet, "/grants/"+grantOf(t, tokens), nil)
				if ended := grant.Text("revoked_reason") != ""; ended != (kind == "refresh_token") {
					t.Errorf("grant: %s", grant.Body)
				}
			})
		}
	}
}

func TestLostClientCredentials(t *testing.T) {
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			request := func() apitest.Answer {
				return f.Token(t, apitest.DemoService, "grant_type", "client_credentials")
			}
			f.lose(t, l, request)
			if a := apitest.Settled(t, request); a.Status != http.StatusOK {
				t.Errorf("again: %d %s", a.Status, a.Body)
			}
		})
	}
}

// TestLostRegistration loses the first of a registration's writes, the claim of
// the name. Without the user's event nobody is registered; a claim that was
// stored keeps the name for a minute, so that two cannot get it.
func TestLostRegistration(t *testing.T) {
	for _, l := range losses {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			query := apitest.CodeQuery("demo-web", "read").Encode()
			request := func() apitest.Answer {
				return f.JSON(t, "/api/oauth2/user?"+query, map[string]string{
					"username": "hatter", "password": "tea-time", "email": "hatter@example.com",
				})
			}
			f.WaitFolded(t)
			l.begin(f.proxy)
			if a := request(); a.Status != http.StatusTeapot {
				t.Errorf("lost, and %s: %d %s", l.name, a.Status, a.Body)
			}
			f.proxy.Drop()
			f.proxy.Heal()
			login := func() apitest.Answer {
				return f.JSON(t, "/api/oauth2/login?"+query, map[string]string{"username": "hatter", "password": "tea-time"})
			}
			if a := apitest.Settled(t, login); a.Status != http.StatusUnauthorized {
				t.Errorf("a lost registration lets in: %d %s", a.Status, a.Body)
			}
			want := map[bool]int{false: http.StatusOK, true: http.StatusUnprocessableEntity}[l.stored]
			if a := apitest.Settled(t, request); a.Status != want {
				t.Errorf("again: %d %s, want %d", a.Status, a.Body, want)
			}
		})
	}
}

// grantOf reads the grant from an access token without asking the server.
func grantOf(t *testing.T, a apitest.Answer) string {
	t.Helper()
	return apitest.Claims(t, a.Text("access_token"))["grant"].(string)
}
