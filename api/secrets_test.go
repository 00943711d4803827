package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// A lockedBuffer takes the log of many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) copy() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// A haul is every secret of a run, and every answer that told none.
type haul struct {
	*testing.T
	r       *apitest.Replica
	secrets map[string][]byte
	errors  bytes.Buffer
}

func (h *haul) plant(name, secret string) {
	h.Helper()
	if len(secret) < 6 {
		h.Fatalf("%s is no secret: %q", name, secret)
	}
	h.secrets[fmt.Sprintf("%s %d", name, len(h.secrets))] = []byte(secret)
}

// took plants what an answer gave.
func (h *haul) took(a apitest.Answer) apitest.Answer {
	h.Helper()
	wantOK(h, a)
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if token := a.Text(name); token != "" {
			h.plant(name, token)
			// What proves it, without what may be told of it.
			h.plant(name+" proof", token[len(token)-40:])
		}
	}
	return a
}

// failed keeps the answer to a request that should have told nothing.
func (h *haul) failed(a apitest.Answer) {
	h.Helper()
	if a.Status < http.StatusBadRequest {
		h.Errorf("answer %d %s, want an error", a.Status, a.Body)
	}
	fmt.Fprintf(&h.errors, "%s\n%v\n", a.Body, a.Header)
}

func (h *haul) code(c apitest.Client) string {
	h.Helper()
	code := h.r.Login(h, c, "read offline_access")
	h.plant("code", code)
	h.plant("code proof", code[len(code)-40:])
	return code
}

// succeed goes every way that there is.
func (h *haul) succeed() {
	h.Helper()
	r := h.r
	for _, c := range []apitest.Client{apitest.DemoWeb, apitest.DemoSPA} {
		code := h.code(c)
		first := h.took(r.Exchange(h, c, code))
		second := h.took(r.Refresh(h, c, first.Text("refresh_token")))
		h.took(r.Refresh(h, c, first.Text("refresh_token")))
		for _, token := range []string{first.Text("access_token"), second.Text("refresh_token"), code} {
			wantOK(h, r.Post(h, introspectPath, apitest.DemoService, "token", token))
		}
		wantOK(h, r.Post(h, revokePath, c, "token", second.Text("access_token")))
		wantOK(h, r.Post(h, revokePath, c, "token", second.Text("refresh_token")))
	}
	acting := h.took(r.Token(h, apitest.DemoService, "grant_type", "client_credentials")).Text("access_token")
	alices := h.took(r.JSON(h, passwordPath+"?client_id=demo-spa&scope=read", alice)).Text("access_token")
	h.took(swap(h, r, exchanger(h, r, nil, nil), alices, actingBy(acting)...))
	wantOK(h, patchMe(h, r, alices, map[string]any{"nickname": "planted-user, called so"}))
	wantValid(h, request{
		path: validatePath, contentType: "application/json", body: `{"token":"` + alices + `"}`,
		header: []string{"X-Server-Authorization", acting},
	}.send(h, r.URL))
	h.took(r.JSON(h, passwordPath+"?client_id=demo-spa&scope=read+offline", alice))
	bob := map[string]string{"username": "planted-user", "password": "planted-password", "email": "planted-mail@example.com"}
	registered := r.JSON(h, registerPath+"?"+apitest.CodeQuery("demo-spa", "read").Encode(), bob)
	h.plant("code", apitest.CodeOf(h, registered))
	h.device()
	cookie := sessionCookie(h, registered)
	h.plant("session", cookie.Value)
	h.plant("session proof", cookie.Value[len(cookie.Value)-40:])
	h.plant("code", apitest.CodeOf(h, ssoAt(h, r, cookie)))
	h.failed(ssoAt(h, r, cookie, cookie))
	h.failed(ssoAt(h, r, &http.Cookie{Name: cookie.Name, Value: cookie.Value + "A"}))
	h.plant("password", bob["password"])
	h.signIn()
	made := register(h, r, map[string]any{"client_id": "planted"})
	h.plant("client secret", made.Secret)
	h.plant("client secret", r.Admin(h, http.MethodPost, "/clients/planted/secrets", nil).Text("secret"))
}

// device goes the way of a device.
func (h *haul) device() {
	h.Helper()
	begun := beginDevice(h, h.r, apitest.DemoCLI)
	code, userCode := begun.Text("device_code"), begun.Text("user_code")
	h.plant("device code", code)
	h.plant("device code proof", code[len(code)-40:])
	h.plant("user code", userCode)
	h.plant("user code", strings.ReplaceAll(userCode, "-", ""))
	h.failed(pollDevice(h, h.r, apitest.DemoCLI, begun))
	h.failed(h.r.Token(h, apitest.DemoCLI, pollWith(code+"A")...))
	h.failed(h.r.Post(h, tokenPath+"?device_code="+code, apitest.DemoCLI))
	h.failed(h.r.Token(h, apitest.DemoCLI, "grant_type", rules.GrantDeviceCode, "device_code", userCode))
	allowDevice(h, signedIn(h, h.r), begun)
	h.took(pollDevice(h, h.r, apitest.DemoCLI, begun))
	h.failed(pollDevice(h, h.r, apitest.DemoCLI, begun))
}

// signIn goes by the pages, first with a wrong password.
func (h *haul) signIn() {
	h.Helper()
	v := h.r.NewVisitor(h)
	p := v.Open(authorizeURL(apitest.DemoPartner, "scope", "openid offline_access"))
	h.plant("pending request", p.Fields.Get("request"))
	h.plant("form token", p.Fields.Get("csrf"))
	p = v.Submit(p, "username", "alice", "password", "planted-page-password")
	h.plant("wrong password", "planted-page-password")
	p = signIn(h, v, apitest.Page{Answer: apitest.Answer{Status: http.StatusOK, Header: p.Header, Body: p.Body}, URL: p.URL, Action: p.Action, Fields: p.Fields})
	h.plant("pending request", p.Fields.Get("request"))
	for _, c := range v.Cookies() {
		h.plant(c.Name, c.Value)
	}
	code := wantCode(h, v.Submit(p, "decision", "allow"))
	h.plant("code", code)
	h.took(h.r.Exchange(h, apitest.DemoPartner, code))
}

// fail sends secrets to where they are wrong.
func (h *haul) fail() {
	h.Helper()
	r := h.r
	code := h.code(apitest.DemoWeb)
	tokens := h.took(r.Exchange(h, apitest.DemoWeb, code))
	refresh, access := tokens.Text("refresh_token"), tokens.Text("access_token")
	spent := h.took(r.Refresh(h, apitest.DemoWeb, refresh))
	h.took(r.Refresh(h, apitest.DemoWeb, spent.Text("refresh_token")))
	wrong := apitest.Client{ID: "demo-web", Secret: "planted-wrong-secret"}
	h.plant("wrong secret", wrong.Secret)
	h.plant("wrong password", "planted-wrong-password")
	everything := url.Values{
		"code": {code}, "refresh_token": {refresh}, "token": {refresh}, "client_secret": {apitest.DemoWeb.Secret},
		"code_verifier": {apitest.Verifier}, "password": {"wonderland"}, "access_token": {access},
	}
	for _, path := range []string{tokenPath, introspectPath, revokePath} {
		h.failed(r.Post(h, path, wrong, "token", refresh, "grant_type", "refresh_token", "refresh_token", refresh))
		h.failed(request{path: path + "?" + everything.Encode(), body: everything.Encode()}.send(h, r.URL))
		h.failed(request{path: path, body: everything.Encode() + "&token=" + refresh + "&code=%zz" + code}.send(h, r.URL))
		h.failed(request{path: path, contentType: "application/json", body: `{"token":"` + refresh + `"}`}.send(h, r.URL))
		h.failed(request{path: path, body: everything.Encode(), header: []string{"Authorization", "Bearer " + access}}.send(h, r.URL))
		h.failed(request{path: path + "/" + refresh, body: everything.Encode()}.send(h, r.URL))
	}
	h.failed(r.Exchange(h, apitest.DemoWeb, code))
	h.failed(r.Exchange(h, apitest.DemoSPA, h.code(apitest.DemoWeb)))
	h.failed(r.Token(h, apitest.DemoWeb, exchange(h.code(apitest.DemoWeb), "code_verifier", strings.Repeat("v", 43))...))
	h.failed(r.Refresh(h, apitest.DemoSPA, refresh))
	h.failed(r.Refresh(h, apitest.DemoWeb, refresh)) // reuse
	h.failed(r.Refresh(h, apitest.DemoWeb, refresh+"A"))
	h.failed(r.Post(h, revokePath, apitest.DemoSPA, "token", access))
	exchanges := exchanger(h, r, nil, nil)
	h.plant("client secret", exchanges.Secret)
	h.failed(swap(h, r, exchanges, refresh))
	h.failed(swap(h, r, exchanges, access, actingBy(access)...)) // revoked by the reuse
	h.failed(swap(h, r, exchanges, access, "actor_token", refresh))
	h.failed(me(h, r, access))
	h.failed(request{
		path: validatePath, contentType: "application/json", body: `{"token":"` + access + `"}`,
		header: []string{"X-Server-Authorization", access},
	}.send(h, r.URL))
	// Where the audit could take what was sent for what it is not.
	h.failed(r.Post(h, tokenPath, apitest.Client{ID: refresh, Secret: wrong.Secret}, "grant_type", "client_credentials"))
	h.failed(r.Post(h, tokenPath, apitest.DemoService, "grant_type", refresh))
	h.failed(r.Post(h, tokenPath, apitest.DemoService, "grant_type", "client_credentials", "scope", refresh))
	h.failed(r.Post(h, revokePath, apitest.DemoSPA, "token", spent.Text("access_token"), "token_type_hint", access))
	q := "?" + apitest.CodeQuery("demo-spa", "read").Encode()
	h.failed(r.JSON(h, loginPath+q, map[string]string{"username": refresh, "password": "planted-wrong-password"}))
	for _, path := range []string{loginPath + q, registerPath + q, passwordPath + "?client_id=demo-spa"} {
		h.failed(r.JSON(h, path, map[string]string{"username": "alice", "password": "planted-wrong-password", "email": "alice@example.com"}))
		h.failed(r.JSON(h, path+"&password=planted-wrong-password", alice))
		h.failed(r.JSON(h, path, []string{"planted-wrong-password"}))
		h.failed(request{path: path, contentType: "application/json", body: `{"password":"planted-wrong-password`}.send(h, r.URL))
	}
	h.failed(request{path: adminPath + "/clients", header: bearer(refresh)}.send(h, r.AdminURL))
	h.failed(request{path: adminPath + "/clients?access_token=" + apitest.AdminKey, header: bearer(apitest.AdminKey + "x")}.send(h, r.AdminURL))
	h.failed(r.Admin(h, http.MethodPost, "/clients", map[string]string{"client_secret": "planted-wrong-secret"}))
	h.failed(r.Admin(h, http.MethodGet, "/grants/"+refresh, nil))
}

// TestNoSecretIsKept is I9: it makes everything happen that there is, and then
// looks for every secret of it in every stream and bucket, in the server's
// files, in the read models, in the log at its most talkative, in metrics and traces,
// and in every error.
func TestNoSecretIsKept(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	node, dir := embeddedtest.Single(t), t.TempDir()
	nc := node.Conn()
	var spans spanList
	seen := telemetry.New(telemetry.Config{Metrics: true, Exporter: &spans, Ratio: 1})
	r := apitest.Start(t, nc, apitest.Options{
		Settings: patient, Dir: dir, Telemetry: seen, AccessLog: slog.LevelDebug,
		Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	r.Seed(t)
	h := &haul{T: t, r: r, secrets: map[string][]byte{
		"service's secret": []byte(apitest.DemoService.Secret), "web's secret": []byte(apitest.DemoWeb.Secret),
		"password": []byte(alice["password"]), "verifier": []byte(apitest.Verifier), "admin key": []byte(apitest.AdminKey),
	}}
	_, kek, _ := strings.Cut(apitest.KeyRing, ":")
	h.plant("key-encryption key", string(decoded(t, kek)))
	for name, value := range openVault(t, nc) {
		if strings.HasPrefix(name, "mac.") || strings.HasPrefix(name, "sig.") {
			h.plant(name, string(value))
		}
	}
	h.plant("private scalar", string(newForger(t, nc, h.took(r.Token(t, apitest.DemoService, "grant_type", "client_credentials")).Text("access_token")).scalar(t)))
	h.succeed()
	h.fail()
	r.Server.Close() // which writes the refusals
	r.WaitFolded(t)

	kept := map[string][]byte{"the log": out.copy(), "errors": h.errors.Bytes(), "metrics": scraped(t, seen), "traces": spans.dump(t, seen)}
	readStreams(t, nc, kept)
	readFiles(t, dir, kept)
	readFiles(t, node.Dir, kept)
	h.wantFound(kept)
	for where, text := range kept {
		for name, secret := range h.secrets {
			if form, found := spotted(text, secret); found {
				t.Errorf("%s is in %s, %s", name, where, form)
			}
		}
	}
	// Nothing personal either, where nothing can be erased.
	for where, text := range kept {
		if strings.Contains(where, "MAIN_EVENTS") || strings.Contains(where, "MAIN_REGISTRY") || slices.Contains([]string{"the log", "errors", "metrics", "traces"}, where) {
			for _, personal := range []string{"planted-user", "planted-mail", "alice@example.com"} {
				if bytes.Contains(text, []byte(personal)) {
					t.Errorf("%s is in %s", personal, where)
				}
			}
		}
	}
}

// wantFound looks for what is no secret where it must be, so that nothing is
// not found for having looked in the wrong places.
func (h *haul) wantFound(kept map[string][]byte) {
	h.Helper()
	for _, there := range []struct{ where, text string }{
		{"the log", "refused"},
		{"errors", "invalid_grant"},
		{"the log", "msg=request method=POST route=/oauth2/token status=400"},
		{"metrics", `chancery_token_requests_total{grant_type="refresh_token",outcome="invalid_grant"}`},
		{"metrics", `chancery_refusals_total{reason="wrong_credentials"}`},
		{"traces", "append refresh_token.rotated.v1"},
		{"traces", "/oauth2/introspect"},
		{"traces", "wrong_credentials"},
		{"stream MAIN_EVENTS_0", apitest.Challenge},
		{"stream MAIN_EVENTS_0", "already redeemed"},
		{"stream MAIN_EVENTS_0", "wrong_credentials"},
		{"stream MAIN_REGISTRY", "demo-web"},
		{"stream KV_MAIN_SECRETS", "mac.1"},
		{"stream KV_MAIN_", "planted-user"},
		{".blk", apitest.Challenge},
		{".db", apitest.Challenge},
	} {
		found := false
		for where, text := range kept {
			found = found || strings.Contains(where, there.where) && bytes.Contains(text, []byte(there.text))
		}
		if !found {
			h.Errorf("%q is not in %s", there.text, there.where)
		}
	}
}

// scalar is the forger's private key, bare.
func (f forger) scalar(t testing.TB) []byte {
	t.Helper()
	b, err := f.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spotted looks for a secret in the forms that it could have leaked in.
func spotted(text, secret []byte) (form string, found bool) {
	for form, needle := range map[string]string{
		"as it is":         string(secret),
		"in hex":           hex.EncodeToString(secret),
		"in HEX":           strings.ToUpper(hex.EncodeToString(secret)),
		"in base64":        base64.RawStdEncoding.EncodeToString(secret),
		"in base64url":     base64.RawURLEncoding.EncodeToString(secret),
		"form-encoded":     url.QueryEscape(string(secret)),
		"as Go prints it":  strings.Trim(fmt.Sprintf("%q", secret), `"`),
		"as a list":        strings.Trim(fmt.Sprintf("%d", secret), "[]"),
		"turned around":    reversed(secret),
		"without its head": string(secret[len(secret)/2:]),
	} {
		// Half of a short secret is a word that may be anywhere.
		if len(needle) >= 6 && (form != "without its head" || len(secret) >= 32) && bytes.Contains(text, []byte(needle)) {
			return form, true
		}
	}
	return "", false
}

func reversed(b []byte) string {
	r := bytes.Clone(b)
	slices.Reverse(r)
	return string(r)
}

// readStreams adds every message of every stream, with its subject and headers.
func readStreams(t *testing.T, nc *nats.Conn, kept map[string][]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for info := range js.ListStreams(ctx).Info() {
		stream, err := js.Stream(ctx, info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		name := "stream " + info.Config.Name
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := stream.GetMsg(ctx, seq)
			if err != nil { // replaced, in a bucket
				continue
			}
			kept[name] = fmt.Appendf(kept[name], "%s %v\n", m.Subject, m.Header)
			kept[name] = append(append(kept[name], m.Data...), '\n')
		}
	}
}

// readFiles adds every file below dir.
func readFiles(t *testing.T, dir string, kept map[string][]byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		kept["file "+path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
