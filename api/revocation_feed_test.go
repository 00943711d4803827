package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api"
	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	wire "github.com/chancery-authority/chancery/api/endings"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A follower reads a revocation feed.
type follower struct {
	*wire.Decoder
	body io.Closer
	// entries are those that came before the last mark.
	entries []wire.Entry
}

// follow opens a feed behind an id.
func follow(t *testing.T, r *apitest.Replica, id string) *follower {
	t.Helper()
	response := askForFeed(t, r, basic(apitest.DemoService), id)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("answer %d", response.StatusCode)
	}
	return &follower{Decoder: wire.NewDecoder(response.Body), body: response.Body}
}

func askForFeed(t *testing.T, r *apitest.Replica, authorization, id string) *http.Response {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/oauth2/revocations", nil)
	if err != nil {
		t.Fatal(err)
	}
	if q.Header.Set("Authorization", authorization); id != "" {
		q.Header.Set("Last-Event-ID", id)
	}
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// until reads to a mark that is as of a moment, and forgets what came before.
func (f *follower) until(t *testing.T, opened, moment time.Time) {
	t.Helper()
	f.entries = nil
	for {
		e, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		var mark wire.Mark
		var entries []wire.Entry
		switch e.Name {
		case wire.Ended:
			err = json.Unmarshal(e.Data, &entries)
		case wire.Fresh:
			err = json.Unmarshal(e.Data, &mark)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.entries = append(f.entries, entries...)
		if asOf := opened.Add(time.Duration(mark.AsOf) * time.Millisecond); e.Name == wire.Fresh && asOf.After(moment) {
			return
		}
	}
}

func (f *follower) has(k wire.Kind, id string) bool {
	return slices.ContainsFunc(f.entries, func(e wire.Entry) bool { return e.Kind == k && e.ID == wire.DigestOf(k, id) })
}

func jtiOf(t *testing.T, token string) string {
	t.Helper()
	jti, _ := apitest.Claims(t, token)["jti"].(string)
	return jti
}

// TestRevocationFeedGoesOnAtAnotherReplica has nothing told twice, and nothing left
// out.
func TestRevocationFeedGoesOnAtAnotherReplica(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	first := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	first.Seed(t)
	second := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	var jtis [3]string
	end := func(i int) {
		token := first.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
		jtis[i] = jtiOf(t, token)
		revoke(t, first, apitest.DemoWeb, token)
	}
	end(0)
	opened := time.Now()
	f := follow(t, first, "")
	if f.until(t, opened, opened); !f.has(wire.Token, jtis[0]) {
		t.Errorf("what was revoked before is not among %d", len(f.entries))
	}
	end(1)
	if f.until(t, opened, time.Now()); !f.has(wire.Token, jtis[1]) || f.has(wire.Token, jtis[0]) {
		t.Errorf("what was revoked while it was read: %+v", f.entries)
	}
	f.body.Close()
	end(2)
	opened = time.Now()
	g := follow(t, second, f.LastID)
	if g.until(t, opened, opened); !g.has(wire.Token, jtis[2]) || len(g.entries) != 1 {
		t.Errorf("what was revoked between: %+v", g.entries)
	}
	for _, id := range []string{"x", "AAAA", strings.Repeat("A", 20_000)} {
		h := follow(t, second, id)
		if h.until(t, opened, opened); !h.has(wire.Token, jtis[0]) || !h.has(wire.Token, jtis[2]) {
			t.Errorf("behind an id that was never given: %+v", h.entries)
		}
		h.body.Close()
	}
}

// TestRevocationFeedTellsNoID searches the feed for what only holders of tokens may
// know.
func TestRevocationFeedTellsNoID(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	claims := apitest.Claims(t, tokens.Text("access_token"))
	revoke(t, r, apitest.DemoWeb, tokens.Text("access_token"))
	revoke(t, r, apitest.DemoWeb, tokens.Text("refresh_token"))
	administer(t, r, "/users/"+claims["sub"].(string)+"/cut-off")
	acknowledged := time.Now()
	response := askForFeed(t, r, basic(apitest.DemoService), "")
	var read strings.Builder
	f := &follower{Decoder: wire.NewDecoder(io.TeeReader(response.Body, &read))}
	f.until(t, acknowledged, acknowledged)
	for _, name := range []string{"jti", "grant", "sub"} {
		id, _ := claims[name].(string)
		if strings.Contains(read.String(), id) {
			t.Errorf("the feed tells a token's %s", name)
		}
		kind := map[string]wire.Kind{"jti": wire.Token, "grant": wire.Grant, "sub": wire.User}[name]
		if !f.has(kind, id) {
			t.Errorf("the feed does not tell that a token's %s has ended", name)
		}
	}
}

func TestRevocationFeedIsForResourceServers(t *testing.T) {
	t.Parallel()
	r := single(t)
	named := register(t, r, map[string]any{"client_name": "an API"})
	for name, test := range map[string]struct {
		authorization string
		status        int
		code          string
	}{
		"nobody":          {"", http.StatusUnauthorized, "invalid_client"},
		"a wrong secret":  {basic(apitest.Client{ID: "demo-service", Secret: "x"}), http.StatusUnauthorized, "invalid_client"},
		"a public client": {basic(apitest.DemoSPA), http.StatusUnauthorized, "invalid_client"}, // it has no secret
		"another client":  {basic(apitest.DemoWeb), http.StatusBadRequest, "unauthorized_client"},
		"not named":       {basic(named), http.StatusBadRequest, "unauthorized_client"},
	} {
		a := request{method: http.MethodGet, path: "/oauth2/revocations", header: []string{"Authorization", test.authorization}}.send(t, r.URL)
		t.Run(name, func(t *testing.T) { wantError(t, a, test.status, test.code) })
	}
	wantError(t, request{method: http.MethodGet, path: "/oauth2/revocations?client_id=demo-service"}.send(t, r.URL), http.StatusBadRequest, "invalid_request")
	register(t, r, map[string]any{"client_name": "its caller", "audience": []string{named.ID}})
	embeddedtest.Eventually(t, "to be let in", func() bool {
		response := askForFeed(t, r, basic(named), "")
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

func TestRevocationFeedsAreLimited(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { s.RevocationFeeds = 4 }})
	first := askForFeed(t, r, basic(apitest.DemoService), "")
	second := askForFeed(t, r, basic(apitest.DemoService), "")
	if second.StatusCode != http.StatusTooManyRequests || second.Header.Get("Retry-After") == "" {
		t.Errorf("a second feed of four to one client: %d", second.StatusCode)
	}
	first.Body.Close()
	embeddedtest.Eventually(t, "the place of one that has gone", func() bool {
		response := askForFeed(t, r, basic(apitest.DemoService), "")
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// TestRevocationFeedsEnd has readers sent elsewhere: at the end of the server, and of
// what lets the client in.
func TestRevocationFeedsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*apitest.Replica){
		"drained":  func(r *apitest.Replica) { r.Server.EndFeeds() },
		"disabled": func(r *apitest.Replica) { administer(t, r, "/clients/demo-service/disable") },
		"cut off":  func(r *apitest.Replica) { administer(t, r, "/clients/demo-service/cut-off") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := single(t)
			f := follow(t, r, "")
			opened := time.Now()
			f.until(t, opened, opened)
			end(r)
			for {
				_, err := f.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if f.Retry <= 0 || f.Retry > time.Second {
				t.Errorf("come back in %v", f.Retry)
			}
		})
	}
}

// pipes is a listener of connections that hold nothing: what nobody reads is not
// written.
type pipes struct {
	net.Listener
	made chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p.made; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { return nil }

// TestRevocationFeedWaitsForNobody gives up a reader that does not read, while
// another is told everything.
func TestRevocationFeedWaitsForNobody(t *testing.T) {
	t.Parallel()
	r := single(t)
	api.SetFeedPatience(r.Server, 500*time.Millisecond)
	p := pipes{made: make(chan net.Conn)}
	server := &http.Server{Handler: r.Server.Public(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(p) }()
	t.Cleanup(func() { close(p.made); server.Close() })
	reader, served := net.Pipe()
	defer reader.Close()
	p.made <- served
	text := "GET /oauth2/revocations HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic(apitest.DemoService) + "\r\n\r\n"
	if _, err := io.WriteString(reader, text); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Eventually(t, "the feed to be served", func() bool { return api.OpenFeeds(r.Server) == 1 })
	opened := time.Now()
	f := follow(t, r, "")
	token := r.Tokens(t, apitest.DemoWeb, "read").Text("access_token")
	revoke(t, r, apitest.DemoWeb, token)
	if f.until(t, opened, time.Now()); !f.has(wire.Token, jtiOf(t, token)) {
		t.Error("the other reader is not told")
	}
	embeddedtest.Eventually(t, "the one that does not read to be given up", func() bool { return api.OpenFeeds(r.Server) == 1 })
	f.body.Close()
	embeddedtest.Eventually(t, "the other to have gone", func() bool { return api.OpenFeeds(r.Server) == 0 })
}

// TestRevocationFeedProvesWhatItSays holds the replica's feed back: it tells what it
// has, and says of nothing that it is fresh.
func TestRevocationFeedProvesWhatItSays(t *testing.T) {
	t.Parallel()
	gate := &apitest.Gate{}
	r := apitest.Single(t, apitest.Options{FeedGate: gate.Pass})
	opened := time.Now()
	f := follow(t, r, "")
	f.until(t, opened, opened)
	gate.Shut()
	t.Cleanup(gate.Open)
	shut := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { f.body.Close() })
	defer stop()
	for {
		e, err := f.Next()
		if err != nil {
			return // nothing more was proved
		}
		var mark wire.Mark
		if err := json.Unmarshal(e.Data, &mark); err != nil || e.Name != wire.Fresh {
			continue
		}
		// A batch may have passed the gate just before.
		if asOf := opened.Add(time.Duration(mark.AsOf) * time.Millisecond); asOf.After(shut.Add(500 * time.Millisecond)) {
			t.Fatalf("as of %v after nothing came in any more", asOf.Sub(shut))
		}
	}
}
