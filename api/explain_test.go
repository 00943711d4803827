package api_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// explain asks for an explanation. Names and values are in turn.
func explain(t testing.TB, r *apitest.Replica, pairs ...any) authority.Explanation {
	t.Helper()
	body := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		body[pairs[i].(string)] = pairs[i+1]
	}
	a := apitest.Settled(t, func() apitest.Answer { return r.Admin(t, http.MethodPost, "/introspect", body) })
	var e authority.Explanation
	if err := json.Unmarshal(wantOK(t, a).Body, &e); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
	return e
}

// A phase is what an explanation is from a sequence on: the reason, and the
// sequence of what decided.
type phase struct {
	from   int
	reason string
	by     int
}

// TestExplainAtEverySequence asks about everything of one grant, and what was
// exchanged for its token, at each position of the log.
func TestExplainAtEverySequence(t *testing.T) {
	t.Parallel()
	r := single(t)
	c, gateway := register(t, r, retryWindow(0)), exchanger(t, r, nil, nil)
	code := r.Login(t, c, "read offline_access")
	first := wantOK(t, r.Exchange(t, c, code))
	second := wantOK(t, refreshed(t, r, c, first.Text("refresh_token")))
	exchanged := wantOK(t, swap(t, r, gateway, first.Text("access_token"), actingBy(own(t, r, gateway))...)).Text("access_token")
	third := wantOK(t, refreshed(t, r, c, second.Text("refresh_token")))
	revoke(t, r, c, second.Text("access_token"))
	wantError(t, refreshed(t, r, c, first.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	grant, jti := apitest.Claims(t, exchanged)["grant"].(string), apitest.Claims(t, second.Text("access_token"))["jti"].(string)
	r.Refusals(t, 1)
	at := map[string][]int{}
	for _, row := range append(exported(t, r, "grant", grant), exported(t, r, "jti", jti, "type", "access_token")...) {
		at[row.Type] = append(at[row.Type], int(row.Seq))
	}
	opened, one, two, three, over := at["grant.opened.v1"][0], at["code.redeemed.v1"][0], at["refresh_token.rotated.v1"][0], at["refresh_token.rotated.v1"][1], at["grant.revoked.v1"][0]
	swapped, alone := at["token.exchanged.v1"][0], at["access_token.revoked.v1"][0]
	for name, test := range map[string]struct {
		ask    []any
		phases []phase
	}{
		"code":            {[]any{"token", code}, []phase{{opened, "active", opened}, {one, "redeemed", one}}},
		"grant":           {[]any{"grant", grant}, []phase{{opened, "active", opened}, {over, "grant_revoked", over}}},
		"refresh token 1": {[]any{"token", first.Text("refresh_token")}, []phase{{one, "active", one}, {two, "superseded", two}}},
		"refresh token 2": {[]any{"token", second.Text("refresh_token")}, []phase{{two, "active", two}, {three, "superseded", three}}},
		"refresh token 3": {[]any{"token", third.Text("refresh_token")}, []phase{{three, "active", three}, {over, "grant_revoked", over}}},
		"access token 1":  {[]any{"token", first.Text("access_token")}, []phase{{one, "active", one}, {over, "grant_revoked", over}}},
		"access token 2":  {[]any{"token", second.Text("access_token")}, []phase{{two, "active", two}, {alone, "revoked", alone}}},
		"its jti":         {[]any{"jti", jti}, []phase{{two, "active", two}, {alone, "revoked", alone}}},
		"exchanged":       {[]any{"token", exchanged}, []phase{{swapped, "active", swapped}, {over, "grant_revoked", over}}},
	} {
		for seq := opened - 1; seq <= over+1; seq++ {
			want := phase{reason: "not_issued_yet"}
			for _, p := range test.phases {
				if seq >= p.from {
					want = p
				}
			}
			e := explain(t, r, append(test.ask, "seq", seq)...)
			wantPhase(t, name, seq, e, want)
			if e.Token.Grant.String() != grant || e.Token.User == "" || e.Token.Client == "" {
				t.Errorf("%s: %+v", name, e.Token)
			}
			if got := e.AsOf.Positions["MAIN_EVENTS_0"]; got != uint64(seq) {
				t.Errorf("%s at %d counted up to %d", name, seq, got)
			}
		}
		now := explain(t, r, test.ask...)
		wantPhase(t, name, 0, now, test.phases[len(test.phases)-1])
		if len(now.Refusals) != 1 || now.Refusals[0].Detail != "reuse of a spent refresh token" || now.Refusals[0].Count != 1 {
			t.Errorf("%s: refusals %+v", name, now.Refusals)
		}
	}
	if e := explain(t, r, "token", third.Text("refresh_token")); e.DecidedBy.Reason != events.ReasonRefreshTokenReuse || e.DecidedBy.Request == "" {
		t.Errorf("decided by %+v", e.DecidedBy)
	}
}

func wantPhase(t *testing.T, name string, seq int, e authority.Explanation, want phase) {
	t.Helper()
	by := 0
	if e.DecidedBy != nil {
		by = int(e.DecidedBy.Seq)
	}
	if string(e.Reason) != want.reason || by != want.by || e.Active != (want.reason == "active") {
		t.Errorf("%s at %d: active is %v, %s by %d, want %s by %d", name, seq, e.Active, e.Reason, by, want.reason, want.by)
	}
}

// TestExplainAgreesWithIntrospection ends lines of exchanged tokens in every way
// there is: an explanation of now says what introspection does, and names what
// ended it, before which it was active.
func TestExplainAgreesWithIntrospection(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{Settings: patient, Partitions: 2})
	for name, test := range lineEnds() {
		l := newLine(t, r)
		test.end(t, r, l)
		for i, token := range append([]string{l.root.Text("access_token"), l.actorToken}, l.tokens...) {
			e := explain(t, r, "token", token)
			if active(t, r, token) != e.Active {
				t.Errorf("%s, token %d: introspection says the contrary of %+v", name, i, e)
			}
			wantEnd(t, r, e, "jti", apitest.Claims(t, token)["jti"])
		}
		refresh := l.root.Text("refresh_token")
		e := explain(t, r, "token", refresh)
		live := wantOK(t, apitest.Settled(t, func() apitest.Answer { // only its client is told, and it may be disabled
			a := r.Post(t, introspectPath, l.rootClient, "token", refresh)
			if a.Status == http.StatusUnauthorized {
				a.Status = http.StatusOK
			}
			return a
		}))
		if isActive(live) != e.Active {
			t.Errorf("%s, refresh token: introspection says the contrary of %+v", name, e)
		}
		wantEnd(t, r, e, "token", refresh)
	}
}

// wantEnd wants an explanation to hold at the moment of what decided, and another
// one just before it, asked for the same by what may be another name.
func wantEnd(t *testing.T, r *apitest.Replica, e authority.Explanation, asked string, value any) {
	t.Helper()
	if e.DecidedBy == nil || e.DecidedBy.Text == "" || strings.HasPrefix(string(e.Reason), "ancestor_") != (e.Ancestor != nil) {
		t.Fatalf("got %+v", e)
	}
	moment := e.DecidedBy.Time
	before := explain(t, r, asked, value, "at", moment.Add(-1).Format(time.RFC3339Nano))
	at := explain(t, r, asked, value, "at", moment.Format(time.RFC3339Nano))
	if before.Active == e.Active || at.Active != e.Active || at.Reason != e.Reason || !at.Since.Equal(moment) || !e.Since.Equal(moment) {
		t.Errorf("%+v before, %+v at, of %+v", before, at, e)
	}
}

// TestExplainDroppedKey verifies what a dropped key has signed, and says so. What
// nobody issued is not believed, whoever has got hold of that key.
func TestExplainDroppedKey(t *testing.T) {
	t.Parallel()
	r := single(t)
	token := newTokens(t, r, apitest.DemoWeb).Text("access_token")
	kid := explain(t, r, "token", token).Token.KID
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(key.Public().JWK())
	if err != nil {
		t.Fatal(err)
	}
	stolen := key.Public().ID
	appendToKey(t, r, stolen, events.KeyAnnounced{Use: events.KeyUseSignature, Alg: "ES256", PublicJWK: jwk}, events.KeyDropped{})
	appendToKey(t, r, kid, events.KeyDropped{})
	embeddedtest.Eventually(t, "the key to be dropped", func() bool { return !active(t, r, token) })
	if e := explain(t, r, "token", token); e.Active || e.Reason != "key_dropped" || e.DecidedBy.Type != "key.dropped.v1" || e.DecidedBy.Stream != "MAIN_REGISTRY" {
		t.Errorf("got %+v", e)
	}
	now := time.Now().Unix()
	forged, err := jose.Sign(key, jose.Claims{
		Issuer: apitest.Issuer, Subject: "admin", Audience: []string{"api"}, JTI: "forged", ClientID: "demo-web", IssuedAt: now, Expires: now + 60,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"forged": forged, "tampered": token[:len(token)-8] + "AAAAAAAA", "garbage": "x", "no code": "chc_AAAA", "a session": "chb_AAAA",
	} {
		body := wantOK(t, r.Admin(t, http.MethodPost, "/introspect", map[string]any{"token": text})).Body
		if got := strings.TrimSpace(string(body)); got != `{"active":false,"reason":"not_ours"}` {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func appendToKey(t *testing.T, r *apitest.Replica, kid string, facts ...events.Fact) {
	t.Helper()
	s := r.Log.Realm().KeySubject(kid)
	for _, f := range facts {
		last, _, err := r.Log.Last(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		e := events.Event{ID: kid + f.Type(), Source: apitest.Issuer, Time: time.Now().UTC(), Subject: s, Fact: f}
		receipt, err := r.Log.Append(t.Context(), eventlog.Unit{Event: e, Expect: last.Seq})
		if err != nil || receipt.Seq == 0 {
			t.Fatal(err)
		}
	}
}

// TestExplainRefuses what cannot be asked.
func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	r := single(t)
	grant := apitest.Claims(t, newTokens(t, r, apitest.DemoWeb).Text("access_token"))["grant"].(string)
	for name, test := range map[string]struct {
		body      map[string]any
		status    int
		parameter string
	}{
		"nothing":            {map[string]any{}, 400, "token"},
		"two":                {map[string]any{"token": "x", "jti": "y"}, 400, "jti"},
		"two others":         {map[string]any{"grant": grant, "jti": "y"}, 400, "grant"},
		"no grant id":        {map[string]any{"grant": "nobody"}, 400, "grant"},
		"the zero grant":     {map[string]any{"grant": strings.Repeat("0", 32)}, 400, "grant"},
		"a long jti":         {map[string]any{"jti": strings.Repeat("j", 129)}, 400, "jti"},
		"two moments":        {map[string]any{"grant": grant, "at": "2026-01-01T00:00:00Z", "seq": 1}, 400, "seq"},
		"no time":            {map[string]any{"grant": grant, "at": "yesterday"}, 400, "at"},
		"a time without end": {map[string]any{"grant": grant, "at": "9999-01-01T00:00:00Z"}, 400, "at"},
		"sequence 0":         {map[string]any{"grant": grant, "seq": 0}, 400, "seq"},
		"a sequence to come": {map[string]any{"grant": grant, "seq": 99999}, 404, "seq"},
		"an unknown grant":   {map[string]any{"grant": unknownGrant(grant)}, 404, "grant"},
		"another partition":  {map[string]any{"grant": "ff" + grant[2:]}, 404, "grant"},
		"an unknown jti":     {map[string]any{"jti": "nobody's"}, 404, "jti"},
		"an unknown member":  {map[string]any{"grant": grant, "as_of": "now"}, 400, ""},
		"another type":       {map[string]any{"grant": 7}, 400, "grant"},
	} {
		a := r.Admin(t, http.MethodPost, "/introspect", test.body)
		if got, _, _ := strings.Cut(a.Text("error_description"), ":"); a.Status != test.status || test.parameter != "" && got != test.parameter {
			t.Errorf("%s: %d %s, want %d about %q", name, a.Status, a.Body, test.status, test.parameter)
		}
	}
}

// TestExplainKeepsTokens has no token in an answer or in the process's log, be it
// good, dead, forged or not asked for properly.
func TestExplainKeepsTokens(t *testing.T) {
	t.Parallel()
	var logged lockedBuffer
	r := apitest.Single(t, apitest.Options{
		Settings: patient, Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	code := r.Login(t, apitest.DemoWeb, "read offline_access")
	tokens := wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
	exchanged := wantOK(t, swap(t, r, exchanger(t, r, nil, nil), tokens.Text("access_token"))).Text("access_token")
	revoke(t, r, apitest.DemoWeb, tokens.Text("refresh_token"))
	var answers []byte
	secrets := []string{code, tokens.Text("access_token"), tokens.Text("refresh_token"), exchanged}
	for _, secret := range secrets {
		for _, body := range []map[string]any{
			{"token": secret},
			{"token": secret, "seq": 1},
			{"token": secret[:len(secret)-4] + "AAAA"},
			{"token": secret, "at": secret},
			{"jti": secret},
			{"grant": secret},
			{"token": secret, "grant": secret},
			{secret: secret},
			{"token": []string{secret}},
		} {
			answers = append(answers, r.Admin(t, http.MethodPost, "/introspect", body).Body...)
		}
	}
	for _, secret := range secrets {
		for name, text := range map[string]string{"the answers": string(answers), "the log": string(logged.copy())} {
			if strings.Contains(text, secret[len(secret)-40:]) || strings.Contains(text, secret[len(secret)-44:len(secret)-4]) {
				t.Errorf("%s have a token", name)
			}
		}
	}
	if !strings.Contains(string(logged.copy()), "request refused") {
		t.Error("nothing was logged")
	}
}
