package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/fold"
)

// TestPublicClientRacesItself is CVE-2026-1035 for the client that is easiest
// taken for a thief: one successor, for everybody. (Confidential clients, three
// replicas and codes are in replicas_test.go.)
func TestPublicClientRacesItself(t *testing.T) {
	t.Parallel()
	r := single(t)
	first := r.Tokens(t, apitest.DemoSPA, "read offline_access")
	successors, ids := map[string]bool{}, map[string]bool{}
	for _, a := range apitest.Race(racers, func(int) apitest.Answer { return r.Refresh(t, apitest.DemoSPA, first.Text("refresh_token")) }) {
		wantOK(t, a)
		successors[a.Text("refresh_token")], ids[claim(t, a, "jti")] = true, true
	}
	if len(successors) != 1 || len(ids) != 1 {
		t.Errorf("%d successors, %d access tokens", len(successors), len(ids))
	}
	wantEvents(t, r, grantOf(t, first), opened, redeemed, rotated, repeated)
}

// claim is a text in an access token.
func claim(t testing.TB, a apitest.Answer, name string) string {
	t.Helper()
	text, _ := apitest.Claims(t, a.Text("access_token"))[name].(string)
	return text
}

// subject is the sub of an access token.
func subject(t testing.TB, a apitest.Answer) string {
	t.Helper()
	return claim(t, a, "sub")
}

// TestParallelRegistrations gives a user name once.
func TestParallelRegistrations(t *testing.T) {
	t.Parallel()
	r := single(t)
	path := registerPath + "?" + apitest.CodeQuery("demo-spa", "read").Encode()
	body := map[string]string{"username": "twins", "password": "a-good-password", "email": "twins@example.com"}
	won := 0
	for _, a := range apitest.Race(racers, func(int) apitest.Answer { return r.JSON(t, path, body) }) {
		switch a.Status {
		case http.StatusOK:
			won++
		case http.StatusTooManyRequests:
		default:
			wantLoginError(t, a, http.StatusUnprocessableEntity, "003-003")
		}
	}
	if won != 1 {
		t.Errorf("%d of %d registrations got the name", won, racers)
	}
}

// A readModel is a projector that can be taken away and put back, and that
// counts what is read from it.
type readModel struct {
	*testing.T
	log   *eventlog.Log
	dir   string
	local atomic.Pointer[projector.Local]
	reads atomic.Int64
}

func (m *readModel) Grant(ctx context.Context, id events.GrantID) (fold.Grant, error) {
	m.reads.Add(1)
	local := m.local.Load()
	if local == nil {
		return fold.Grant{}, projector.ErrUnavailable
	}
	return local.Grant(ctx, id)
}

func (m *readModel) Session(ctx context.Context, id events.SessionID) (fold.Session, error) {
	m.reads.Add(1)
	local := m.local.Load()
	if local == nil {
		return fold.Session{}, projector.ErrUnavailable
	}
	return local.Session(ctx, id)
}

func (m *readModel) Held(ctx context.Context, p events.Partition, user, client string) (projector.Held, error) {
	m.reads.Add(1)
	local := m.local.Load()
	if local == nil {
		return projector.Held{}, projector.ErrUnavailable
	}
	return local.Held(ctx, p, user, client)
}

func (m *readModel) Consents(ctx context.Context, user string) (projector.Consents, error) {
	m.reads.Add(1)
	local := m.local.Load()
	if local == nil {
		return projector.Consents{}, projector.ErrUnavailable
	}
	return local.Consents(ctx, user)
}

// Participants and UserParticipants are not counted: no request reads them.
func (m *readModel) Participants(ctx context.Context, p events.Partition, id events.SessionID, after uint64) (projector.Participants, error) {
	local := m.local.Load()
	if local == nil {
		return projector.Participants{}, projector.ErrUnavailable
	}
	return local.Participants(ctx, p, id, after)
}

func (m *readModel) UserParticipants(ctx context.Context, p events.Partition, user string, after uint64) (projector.Participants, error) {
	local := m.local.Load()
	if local == nil {
		return projector.Participants{}, projector.ErrUnavailable
	}
	return local.UserParticipants(ctx, p, user, after)
}

func (m *readModel) Rendered(ctx context.Context, p events.Partition, macKey uint8, after projector.RenderedPlace) (projector.Rendered, error) {
	local := m.local.Load()
	if local == nil {
		return projector.Rendered{}, projector.ErrUnavailable
	}
	return local.Rendered(ctx, p, macKey, after)
}

func (m *readModel) Audit(ctx context.Context, stream string, q projector.AuditQuery, place uint64, limit int) (projector.AuditPage, error) {
	m.reads.Add(1)
	local := m.local.Load()
	if local == nil {
		return projector.AuditPage{}, projector.ErrUnavailable
	}
	return local.Audit(ctx, stream, q, place, limit)
}

func (m *readModel) Hashes(ctx context.Context, stream string, indexes []int64) (projector.Hashes, error) {
	m.reads.Add(1)
	local := m.local.Load()
	if local == nil {
		return projector.Hashes{}, projector.ErrUnavailable
	}
	return local.Hashes(ctx, stream, indexes)
}

func newReadModel(t *testing.T, node *embeddedtest.Node) *readModel {
	t.Helper()
	log, err := eventlog.Open(t.Context(), node.Conn(), eventlog.Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	m := &readModel{T: t, log: log, dir: t.TempDir()}
	m.open()
	t.Cleanup(m.close)
	return m
}

func (m *readModel) open() {
	m.Helper()
	local, err := projector.OpenLocal(m.Context(), m.log, projector.LocalConfig{Dir: m.dir})
	if err != nil {
		m.Fatal(err)
	}
	m.local.Store(local)
}

func (m *readModel) close() {
	if local := m.local.Swap(nil); local != nil {
		if err := local.Close(); err != nil {
			m.Error(err)
		}
	}
}

// lose deletes every file of the read model.
func (m *readModel) lose() {
	m.Helper()
	files, err := filepath.Glob(filepath.Join(m.dir, "*"))
	if err != nil || len(files) == 0 {
		m.Fatalf("nothing to lose: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			m.Fatal(err)
		}
	}
}

// TestSpentTokensStaySpentAfterARebuild is CVE-2026-9802: what was rotated,
// redeemed or revoked is so in every read model that is ever built.
func TestSpentTokensStaySpentAfterARebuild(t *testing.T) {
	t.Parallel()
	node := embeddedtest.Single(t)
	m := newReadModel(t, node)
	r := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient, Reader: m})
	r.Seed(t)
	// All of it at another replica: what this one wrote itself it would not read.
	other := apitest.Start(t, node.Conn(), apitest.Options{Settings: patient})
	waitKnown(t, other, apitest.DemoWeb)
	code := other.Login(t, apitest.DemoWeb, "read offline_access")
	first := wantOK(t, other.Exchange(t, apitest.DemoWeb, code))
	second := wantOK(t, other.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")))
	third := wantOK(t, other.Refresh(t, apitest.DemoWeb, second.Text("refresh_token")))
	ended := other.Tokens(t, apitest.DemoWeb, "read offline_access")
	wantOK(t, other.Post(t, revokePath, apitest.DemoWeb, "token", ended.Text("refresh_token")))

	m.close()
	a := r.Refresh(t, apitest.DemoWeb, third.Text("refresh_token"))
	wantError(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
	if a.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	m.lose()
	m.open()
	embeddedtest.Eventually(t, "the current token to be rotated after the rebuild", func() bool {
		return r.Refresh(t, apitest.DemoWeb, third.Text("refresh_token")).Status == http.StatusOK
	})
	wantError(t, r.Refresh(t, apitest.DemoWeb, ended.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantError(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantError(t, r.Exchange(t, apitest.DemoWeb, code), http.StatusBadRequest, "invalid_grant")
	wantEvents(t, r, grantOf(t, first), opened, redeemed, rotated, rotated, rotated, revoked)
}

// TestSameSecondRotation: generations order the tokens, and no clock of whole
// seconds does. Three rotations within one second leave one token alive, and
// the oldest is reuse.
func TestSameSecondRotation(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := []apitest.Answer{r.Tokens(t, apitest.DemoWeb, "read offline_access")}
	grant, ids := r.GrantOf(t, tokens[0].Text("access_token")), map[string]bool{}
	for range 3 {
		tokens = append(tokens, wantOK(t, r.Refresh(t, apitest.DemoWeb, tokens[len(tokens)-1].Text("refresh_token"))))
	}
	for _, a := range tokens {
		ids[claim(t, a, "jti")], ids[a.Text("refresh_token")] = true, true
	}
	if len(ids) != 2*len(tokens) {
		t.Error("a token was issued twice")
	}
	wantError(t, r.Refresh(t, apitest.DemoWeb, tokens[1].Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantError(t, r.Refresh(t, apitest.DemoWeb, tokens[3].Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantEvents(t, r, grant, opened, redeemed, rotated, rotated, rotated, revoked)
}

// TestDenylistIsNotByText: a revoked access token stays revoked in every other
// spelling of itself, and of one that lives no other spelling passes.
func TestDenylistIsNotByText(t *testing.T) {
	t.Parallel()
	r := single(t)
	a := wantOK(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials"))
	token := a.Text("access_token")
	for range 2 {
		for i, spelling := range spellings(t, token) {
			if r.Active(t, spelling) {
				t.Errorf("spelling %d is active: %s", i, spelling)
			}
		}
		wantOK(t, r.Post(t, revokePath, apitest.DemoService, "token", token))
		embeddedtest.Eventually(t, "the token to be inactive", func() bool { return !r.Active(t, token) })
	}
}

// spellings are texts that a lax decoder reads as the same token.
func spellings(t testing.TB, token string) []string {
	t.Helper()
	parts := strings.Split(token, ".")
	found := []string{token + "=", token + "==", token + ".", " " + token, token + " "}
	for i, part := range parts {
		raw := decoded(t, part)
		other := append([]string(nil), parts...)
		other[i] = base64.URLEncoding.EncodeToString(raw)
		if other[i] != part {
			found = append(found, strings.Join(other, "."))
		}
		if len(raw)%3 == 0 {
			continue
		}
		// The spare bits of the last character say nothing.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, part[len(part)-1])
		other[i] = part[:len(part)-1] + string(alphabet[last+1])
		found = append(found, strings.Join(other, "."))
	}
	return found
}

// TestSecretsInAQuery is CVE-2026-9689 at every endpoint: what belongs in the
// body is refused in the query, also where the body has it too.
func TestSecretsInAQuery(t *testing.T) {
	t.Parallel()
	r := single(t)
	tokens := r.Tokens(t, apitest.DemoWeb, "read offline_access")
	refresh := tokens.Text("refresh_token")
	body := form("grant_type", "refresh_token", "refresh_token", refresh, "token", refresh)
	for _, name := range []string{
		"client_id", "client_secret", "code", "code_verifier", "refresh_token", "token", "grant_type", "username", "password",
		"client_assertion", "subject_token", "actor_token", "access_token", "scope", "redirect_uri",
	} {
		for _, path := range []string{tokenPath, introspectPath, revokePath} {
			for _, value := range []string{"x", ""} {
				a := request{path: path + "?" + form(name, value), body: body, header: []string{"Authorization", basic(apitest.DemoWeb)}}.send(t, r.URL)
				wantError(t, a, http.StatusBadRequest, "invalid_request")
			}
		}
	}
	wantEvents(t, r, r.GrantOf(t, tokens.Text("access_token")), opened, redeemed)
}

// TestMarkupNeverComesBack is CVE-2019-8400 and CVE-2025-67495: in whatever
// field it is sent, and in its name.
func TestMarkupNeverComesBack(t *testing.T) {
	t.Parallel()
	r := single(t)
	const markup = `"><img/src=x/onerror=alert(1)>`
	safe := func(a apitest.Answer) {
		t.Helper()
		if text := string(a.Body) + fmt.Sprint(a.Header); strings.Contains(text, "alert") || strings.Contains(text, "onerror") {
			t.Errorf("it came back: %s", text)
		}
	}
	for _, name := range []string{
		"grant_type", "client_id", "client_secret", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "resource",
		"audience", "token", "token_type_hint", markup,
	} {
		for _, path := range []string{tokenPath, introspectPath, revokePath} {
			pairs := replace([]string{"grant_type", "refresh_token", "client_id", "demo-spa"}, []string{name, markup})
			safe(request{path: path, body: form(pairs...)}.send(t, r.URL))
			safe(request{path: path, body: form(append(pairs, name, markup)...)}.send(t, r.URL))
			safe(request{path: path + "?" + form(name, markup), body: form(pairs...)}.send(t, r.URL))
		}
	}
	for _, name := range []string{
		"client_id", "response_type", "redirect_uri", "scope", "audience", "resource", "code_challenge", "code_challenge_method", markup,
	} {
		q := apitest.CodeQuery("demo-spa", "read")
		q.Set(name, markup)
		if name == markup {
			q.Del("response_type")
		}
		safe(r.JSON(t, loginPath+"?"+q.Encode(), alice))
		safe(r.JSON(t, registerPath+"?"+q.Encode(), alice))
	}
	q := "?" + apitest.CodeQuery("demo-spa", "read").Encode()
	for _, name := range []string{"username", "password", "email", markup} {
		body := map[string]any{"username": "someone", "password": "wonderland", "email": "none", name: markup}
		safe(r.JSON(t, loginPath+q, body))
		safe(r.JSON(t, registerPath+q, body))
	}
	safe(request{method: http.MethodGet, path: "/" + markup}.send(t, r.URL))
	safe(request{contentType: markup, header: []string{"X-Request-Id", markup, "Traceparent", markup, "Authorization", markup}}.send(t, r.URL))
	safe(r.Admin(t, http.MethodPost, "/clients", map[string]any{"client_id": markup, markup: 1}))
	safe(r.Admin(t, http.MethodGet, "/grants/"+markup, nil))
	if a := r.JSON(t, loginPath+q+"&x="+markup, alice); a.Status != http.StatusOK {
		t.Errorf("an unknown parameter is not ignored: %d %s", a.Status, a.Body)
	}
}
