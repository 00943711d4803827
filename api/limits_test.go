package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestHugeInputs is CVE-2025-30204 and CVE-2025-22868: what is too large is
// refused before it is looked at.
func TestHugeInputs(t *testing.T) {
	t.Parallel()
	r := single(t)
	const kib64 = 64 << 10
	header := []string{"Authorization", basic(apitest.DemoService)}
	padded := func(size int) string {
		const start = "grant_type=client_credentials&x="
		return start + strings.Repeat("a", size-len(start))
	}
	for _, test := range []struct {
		name, path, body string
		status           int
	}{
		{"64 KiB", tokenPath, padded(kib64), 200},
		{"64 KiB and a byte", tokenPath, padded(kib64 + 1), 413},
		{"1 MB of dots", introspectPath, "token=" + strings.Repeat(".", 1<<20), 413},
		{"60 KB of dots", introspectPath, "token=" + strings.Repeat(".", 60_000), 200},
		{"60 KB of a header", introspectPath, "token=eyJ" + strings.Repeat("A", 60_000) + ".e30.AAAA", 200},
		{"60 KB of a refresh token", introspectPath, "token=chr_" + strings.Repeat("A", 60_000), 200},
		{"a million parameters", tokenPath, strings.Repeat("a&", 1_000_000), 413},
		{"30,000 parameters", tokenPath, strings.Repeat("a&", 30_000), 400},
		{"30,000 resources", tokenPath, "grant_type=client_credentials" + strings.Repeat("&resource=", 5_000), 200},
		{"a scope of 60 KB", tokenPath, "grant_type=client_credentials&scope=" + strings.Repeat("read+", 12_000), 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Not over the network: a client may see the connection reset while
			// it still sends.
			w := httptest.NewRecorder()
			r.Server.Public().ServeHTTP(w, request{path: test.path, body: test.body, header: header}.build(t, r.URL))
			if w.Code != test.status || strings.Contains(w.Body.String(), `"active":true`) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("answer %d %.200s, want %d", w.Code, w.Body, test.status)
			}
		})
	}
	t.Run("JSON of 64 KiB and more", func(t *testing.T) {
		body := map[string]string{"username": strings.Repeat("a", kib64), "password": "wonderland"}
		wantLoginError(t, r.JSON(t, passwordPath+"?client_id=demo-spa", body), http.StatusBadRequest, "0")
	})
	t.Run("deep JSON", func(t *testing.T) {
		body := `{"username":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}`
		a := request{path: passwordPath + "?client_id=demo-spa", contentType: "application/json", body: body}.send(t, r.URL)
		wantLoginError(t, a, http.StatusBadRequest, "0")
	})
}

// TestSlowBody does not hold a request for ever: the deadline that the listener
// sets on reading ends it, and it changes nothing.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	r := single(t)
	body, hold := io.Pipe()
	defer hold.Close()
	q := request{header: []string{"Authorization", basic(apitest.DemoService)}}.build(t, r.URL)
	q.Body, q.ContentLength = body, -1
	server := httptest.NewUnstartedServer(r.Server.Public())
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	defer server.Close()
	q.URL.Host = strings.TrimPrefix(server.URL, "http://")
	go func() { _, _ = hold.Write([]byte("grant_type=client_credentials")) }()
	wantError(t, apitest.Do(t, q), http.StatusBadRequest, "invalid_request")
}

// A tap counts what is asked of the log, by anybody on its server.
type tap struct {
	*testing.T
	nc   *nats.Conn
	subs []*nats.Subscription
}

func newTap(t *testing.T, node *embeddedtest.Node) tap {
	t.Helper()
	p := tap{T: t, nc: node.Conn()}
	for _, subject := range []string{"$JS.API.STREAM.MSG.GET.>", "$JS.API.DIRECT.GET.>", "main.grant.>", "main.issued.>", "$KV.>"} {
		sub, err := p.nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		p.subs = append(p.subs, sub)
	}
	p.count()
	return p
}

// count is how many messages came since the beginning.
func (p tap) count() (n int) {
	p.Helper()
	if err := p.nc.Flush(); err != nil {
		p.Fatal(err)
	}
	for _, sub := range p.subs {
		pending, _, err := sub.Pending()
		if err != nil {
			p.Fatal(err)
		}
		n += pending
	}
	return n
}

// TestGarbageIsReadNowhere is CVE-2026-27840, and that garbage costs no I/O:
// of a refresh token and of a code bytes are dropped, added and changed, and
// neither the log nor a read model hears of any. (All bytes at all places are
// in package credential.)
func TestGarbageIsReadNowhere(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	m := newReadModel(t, node)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, Reader: m, NoCheckpoints: true})
	r.Seed(t)
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	refresh, code := tokens.Text("refresh_token"), r.Login(t, apitest.DemoWeb, "read offline_access")
	p := newTap(t, node)
	reads, messages := m.reads.Load(), p.count()
	for _, text := range damaged(refresh) {
		wantError(t, r.Refresh(t, apitest.DemoWeb, text), http.StatusBadRequest, "invalid_grant")
		wantInactive(t, r, apitest.DemoWeb, text)
		wantOK(t, r.Post(t, revokePath, apitest.DemoWeb, "token", text))
	}
	for _, text := range damaged(code) {
		wantError(t, r.Exchange(t, apitest.DemoWeb, text), http.StatusBadRequest, "invalid_grant")
	}
	for _, text := range []string{code, "chr_" + code[4:], "null", "undefined", "0", strings.Repeat("A", 200)} {
		wantError(t, r.Refresh(t, apitest.DemoWeb, text), http.StatusBadRequest, "invalid_grant")
	}
	for _, text := range []string{refresh, "chc_" + refresh[4:]} {
		wantError(t, r.Exchange(t, apitest.DemoWeb, text), http.StatusBadRequest, "invalid_grant")
	}
	if m.reads.Load() != reads || p.count() != messages {
		t.Errorf("garbage cost %d reads and %d messages", m.reads.Load()-reads, p.count()-messages)
	}
	// Both are counted, and neither token was harmed.
	wantOK(t, r.Refresh(t, apitest.DemoWeb, refresh))
	wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
	wantOK(t, r.Post(t, introspectPath, apitest.DemoWeb, "token", refresh))
	if m.reads.Load() == reads || p.count() < messages+3 {
		t.Errorf("no garbage: %d reads and %d messages", m.reads.Load()-reads, p.count()-messages)
	}
}

// damaged is a sample of texts that are a byte away from one that is right.
func damaged(text string) []string {
	found := []string{text + "A", text + "=", "A" + text, text[:len(text)/2], strings.ToUpper(text), text + text}
	for i := 0; i < len(text); i += 7 {
		other := byte('A')
		if text[i] == other {
			other = 'B'
		}
		found = append(found, text[:i]+text[i+1:], text[:i]+"A"+text[i:], text[:i]+string(other)+text[i+1:])
	}
	return append(found, text[:len(text)-1])
}
