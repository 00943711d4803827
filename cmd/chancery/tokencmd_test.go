package main

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

const someExplanation = `{"active":false,"reason":"grant_revoked","kind":"refresh_token","since":"2026-11-22T10:00:02Z",
	"as_of":{"time":"2026-11-22T11:00:00Z","positions":{"MAIN_EVENTS_0":18}},
	"token":{"client":"web","user":"u1","grant":"00000000000000000000000000000abc","generation":2,"exp":1803149788,"scope":["read","write"]},
	"decided_by":{"stream":"MAIN_EVENTS_0","seq":17,"time":"2026-11-22T10:00:02Z","id":"e2","type":"grant.revoked.v1",
		"reason":"refresh_token_reuse","actor":"client:web","request":"R1","text":"its grant was revoked"},
	"events":[{"stream":"MAIN_EVENTS_0","seq":12,"time":"2026-11-22T10:00:00Z","id":"e1","type":"refresh_token.rotated.v1","text":"it was issued by a refresh"},
		{"stream":"MAIN_EVENTS_0","seq":17,"time":"2026-11-22T10:00:02Z","id":"e2","type":"grant.revoked.v1",
		"reason":"refresh_token_reuse","actor":"client:web","request":"R1","text":"its grant was revoked"}],
	"refusals":[{"stream":"MAIN_EVENTS_0","seq":18,"time":"2026-11-22T10:00:03Z","id":"e3","what":"refresh_token","reason":"invalid_refresh_token",
		"detail":"reuse of a spent refresh token","client":"w\u001beb","request":"R1","count":3}]}`

func TestTokenExplain(t *testing.T) {
	f := &fakeAdmin{status: http.StatusOK, answer: someExplanation}
	out, errs, status := f.ask(t, "token", "explain", "00000000000000000000000000000abc", "--at", "2026-11-22T12:00:00+01:00")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	want := []call{{"POST /admin/v1/introspect", map[string]any{"grant": "00000000000000000000000000000abc", "at": "2026-11-22T11:00:00Z"}}}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("called %v, want %v", f.calls, want)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{
		"NOT ACTIVE since 2026-11-22T10:00:02.000Z: its grant was revoked, by event MAIN_EVENTS_0 17 (grant_revoked, reason refresh_token_reuse)",
		"refresh token, as of 2026-11-22T11:00:00.000Z client=web user=u1 grant=00000000000000000000000000000abc generation=2 expires=2027-02-20T18:56:28Z scope=read,write",
		"  2026-11-22T10:00:00.000Z  MAIN_EVENTS_0     12  refresh_token.rotated.v1   it was issued by a refresh",
		"> 2026-11-22T10:00:02.000Z  MAIN_EVENTS_0     17  grant.revoked.v1           its grant was revoked reason=refresh_token_reuse actor=client:web request=R1",
		"",
		"Refused for the grant, the newest first:",
		`  2026-11-22T10:00:03.000Z  MAIN_EVENTS_0     18  refresh_token x3: invalid_refresh_token detail=reuse of a spent refresh token client=w\x1beb request=R1`,
		"",
	} {
		if i >= len(lines) || lines[i] != want {
			t.Errorf("line %d of\n%s\nwant %q", i, out, want)
		}
	}
}

// TestTokenExplainVerdicts are first lines.
func TestTokenExplainVerdicts(t *testing.T) {
	for answer, want := range map[string]string{
		`{"active":false,"reason":"not_ours"}`:                                "NOT ACTIVE (not_ours)\n",
		`{"active":false,"reason":"expired","since":"2026-11-22T10:00:00Z"}`:  "NOT ACTIVE since 2026-11-22T10:00:00.000Z (expired)\n",
		`{"active":true,"reason":"active","since":"2026-11-22T10:00:00.25Z"}`: "ACTIVE since 2026-11-22T10:00:00.250Z\n",
		`{"active":false,"reason":"ancestor_revoked","ancestor":{"jti":"J","client":"svc"},"decided_by":{"stream":"S","seq":3,"text":"its actor's token was revoked alone"}}`: "NOT ACTIVE: its actor's token was revoked alone, by event S 3 (ancestor_revoked, of token J of client svc)\n",
	} {
		f := &fakeAdmin{status: http.StatusOK, answer: answer}
		if out, errs, status := f.ask(t, "token", "explain", "J1"); status != exitOK || out != want {
			t.Errorf("status %d, %q, %s; want %q", status, out, errs, want)
		}
	}
}

// TestTokenExplainAsks sends what was given as what it is, and reads a token from
// standard input without showing it.
func TestTokenExplainAsks(t *testing.T) {
	for name, test := range map[string]struct {
		stdin string
		args  []string
		want  map[string]any
	}{
		"jti":           {"", []string{"HZB7FVUVPZ3DOGJWA2VNNC6MEN", "--seq", "17"}, map[string]any{"jti": "HZB7FVUVPZ3DOGJWA2VNNC6MEN", "seq": 17.0}},
		"access token":  {"e30.e30.AAAA\n", []string{"-"}, map[string]any{"token": "e30.e30.AAAA"}},
		"refresh token": {"chr_planted", []string{"-", "--json"}, map[string]any{"token": "chr_planted"}},
		"code":          {" chc_planted \r\nmore", []string{"-"}, map[string]any{"token": "chc_planted"}},
		"as argument":   {"", []string{"chr_planted"}, map[string]any{"token": "chr_planted"}},
		"sequence 0":    {"", []string{"J", "--seq", "0"}, map[string]any{"jti": "J", "seq": 0.0}},
		"no input":      {"", []string{"-"}, nil},
		"no time":       {"", []string{"J", "--at", "yesterday"}, nil},
		"two moments":   {"", []string{"J", "--at", "1h", "--seq", "3"}, nil},
	} {
		f := &fakeAdmin{status: http.StatusOK, answer: someExplanation}
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		t.Setenv("CHANCERY_ADMIN_URL", server.URL)
		t.Setenv("CHANCERY_ADMIN_KEY_FILE", writeFile(t, "admin-key", adminKey+"\n"))
		stdout, stderr, status := chanceryReading(t, test.stdin, append([]string{"token", "explain"}, test.args...)...)
		if test.want == nil {
			if status == exitOK || len(f.calls) > 0 {
				t.Errorf("%s: status %d, calls %v", name, status, f.calls)
			}
			continue
		}
		if status != exitOK || len(f.calls) != 1 || !reflect.DeepEqual(f.calls[0].Body, test.want) {
			t.Errorf("%s: status %d, calls %v, want %v: %s", name, status, f.calls, test.want, stderr)
		}
		if strings.Contains(stdout+stderr, "planted") {
			t.Errorf("%s is printed: %s%s", name, stdout, stderr)
		}
	}
	f := &fakeAdmin{status: http.StatusOK, answer: someExplanation}
	if _, errs, status := f.ask(t, "token", "explain", "J", "--at", "90m"); status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	text, _ := f.calls[0].Body["at"].(string)
	at, err := time.Parse(time.RFC3339, text)
	if ago := time.Since(at); err != nil || ago < 90*time.Minute || ago > 91*time.Minute {
		t.Errorf("90m is %q, %v ago", text, ago)
	}
}
