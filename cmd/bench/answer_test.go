package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// TestWrongAnswers are each found and told by their kind.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tests := []struct {
		operation Operation
		wrong     string
		want      ErrorCount
	}{
		{ClientCredentials, "status", ErrorCount{Kind: "status", What: "500 server_error"}},
		{ClientCredentials, "refused", ErrorCount{Kind: "status", What: "401 invalid_client"}},
		{ClientCredentials, "odd code", ErrorCount{Kind: "status", What: "400 an odd error code"}},
		{ClientCredentials, "large header", ErrorCount{Kind: "transport", What: "answer too large"}},
		{ClientCredentials, "unreadable header", ErrorCount{Kind: "transport", What: "other"}},
		{ClientCredentials, "closed", ErrorCount{Kind: "transport", What: "connection closed"}},
		{ClientCredentials, "silent", ErrorCount{Kind: "transport", What: "timeout"}},
		{ClientCredentials, "content type", ErrorCount{Kind: "answer", What: "content type"}},
		{ClientCredentials, "cacheable", ErrorCount{Kind: "answer", What: "may be stored"}},
		{ClientCredentials, "no object", ErrorCount{Kind: "answer", What: "not a JSON object"}},
		{ClientCredentials, "access_token", ErrorCount{Kind: "answer", What: "no access_token"}},
		{ClientCredentials, "token_type", ErrorCount{Kind: "answer", What: "token_type"}},
		{ClientCredentials, "refresh token", ErrorCount{Kind: "answer", What: "a refresh token for client credentials"}},
		{ClientCredentials, "signature", ErrorCount{Kind: "answer", What: "signature"}},
		{ClientCredentials, "no keys", ErrorCount{Kind: "answer", What: "JWK Set cannot be fetched"}},
		{ClientCredentials, "large keys", ErrorCount{Kind: "answer", What: "JWK Set cannot be fetched"}},
		{ClientCredentials, "iss", ErrorCount{Kind: "answer", What: "iss of"}},
		{ClientCredentials, "aud", ErrorCount{Kind: "answer", What: "aud of"}},
		{ClientCredentials, "exp", ErrorCount{Kind: "answer", What: "exp of"}},
		{ClientCredentials, "client_id", ErrorCount{Kind: "answer", What: "client_id of"}},
		{ClientCredentials, "scope", ErrorCount{Kind: "answer", What: "scope of"}},
		{Refresh, "token_type", ErrorCount{Kind: "answer", What: "token_type"}},
		{Refresh, "status", ErrorCount{Kind: "status", What: "500 server_error"}},
		{Exchange, "issued_token_type", ErrorCount{Kind: "answer", What: "no issued_token_type"}},
		{Introspection, "introspection: inactive", ErrorCount{Kind: "answer", What: "told to be inactive"}},
		{Introspection, "introspection: another client", ErrorCount{Kind: "answer", What: "client_id"}},
		{Introspection, "introspection: another end", ErrorCount{Kind: "answer", What: "exp is"}},
		{Introspection, "introspection: content type", ErrorCount{Kind: "answer", What: "content type"}},
		{Revocation, "revocation: status", ErrorCount{Kind: "status", What: "500 server_error"}},
		{Revocation, "revocation: closed", ErrorCount{Kind: "transport", What: "connection closed"}},
	}
	for _, tt := range tests {
		report := f.run(t, tt.wrong, tt.operation, false)
		got := report.Runs[0].Errors
		found := slices.ContainsFunc(got, func(e ErrorCount) bool {
			return e.Kind == tt.want.Kind && strings.Contains(e.What, tt.want.What) && e.Count > 0
		})
		if failed, _ := report.Problems(); !found || failed == 0 || len(got) != 1 {
			t.Errorf("%s, %s: got %+v, want %s", tt.operation, tt.wrong, got, tt.want.What)
		}
		// What went wrong has no time, and nothing that was sent or told is shown.
		if report.Runs[0].done() != 0 && tt.wrong != "" {
			t.Errorf("%s, %s: %d are done", tt.operation, tt.wrong, report.Runs[0].done())
		}
		if report.Runs[0].Verified != 0 && tt.operation == ClientCredentials && tt.wrong != "refresh token" {
			t.Errorf("%s, %s: %d are verified", tt.operation, tt.wrong, report.Runs[0].Verified)
		}
		if text := fmt.Sprintf("%+v", report); strings.Contains(text, "secret-detail") || strings.Contains(text, "planted") {
			t.Errorf("%s, %s: a secret is shown: %s", tt.operation, tt.wrong, text)
		}
	}
}

// TestRightAnswers are those of the same server with nothing wrong.
func TestRightAnswers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, o := range []Operation{ClientCredentials, Refresh, Exchange, Introspection, Revocation} {
		report := f.run(t, "", o, false)
		if failed, _ := report.Problems(); failed != 0 || report.Runs[0].done() == 0 {
			t.Errorf("%s: %+v", o, report.Runs)
		}
	}
	// The audience is not asked for by a refresh.
	report := f.run(t, "aud", Refresh, false)
	if failed, _ := report.Problems(); failed != 0 || report.Runs[0].Verified == 0 {
		t.Errorf("a refresh without an audience: %+v", report.Runs)
	}
}

// TestLeftToServers is what other servers may leave out, and Chancery has.
func TestLeftToServers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		operation   Operation
		wrong, want string
	}{
		{ClientCredentials, "expires_in", "expires_in"},
		{Refresh, "same", "a refresh token that was there before"},
		{Refresh, "no refresh token", "no refresh_token"},
		{Introspection, "introspection: no exp", "exp is"},
		{Introspection, "introspection: no client_id", "client_id"},
	}
	for _, tt := range tests {
		report := newFake(t).run(t, tt.wrong, tt.operation, false)
		if failed, _ := report.Problems(); failed != 0 || report.Runs[0].done() == 0 || report.TokensRefused != 0 {
			t.Errorf("%s, %s at another server: %+v", tt.operation, tt.wrong, report)
		}
		f := newFake(t)
		report = f.run(t, tt.wrong, tt.operation, true)
		if got := report.Runs[0].Errors; len(got) != 1 || !strings.Contains(got[0].What, tt.want) {
			t.Errorf("%s, %s at a Chancery: %+v", tt.operation, tt.wrong, got)
		}
		for token, times := range f.presented {
			if times != 1 {
				t.Errorf("%s: a refresh token was presented %d times: %s", tt.wrong, times, token)
			}
		}
	}
}

// TestRefreshTokensAreKept whatever becomes of an answer: none is presented again once
// there was one.
func TestRefreshTokensAreKept(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		presented, refused, ended int
	}{
		"lost once":    {presented: 2},
		"token_type":   {presented: 1},
		"cacheable":    {presented: 1},
		"content type": {presented: 1, refused: 3, ended: 2},
		"refused":      {},                                   // who the client is was not accepted: the token is as it was
		"status":       {presented: 1 + repeats, refused: 2}, // by each worker, and meanwhile time is over
	}
	for wrong, want := range tests {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			report := f.run(t, wrong, Refresh, true)
			for token, times := range f.presented {
				if times != want.presented && want.presented > 0 {
					t.Errorf("%s was presented %d times, want %d", token, times, want.presented)
				}
			}
			if report.TokensRefused != want.refused || report.Runs[0].WorkersEnded != want.ended || len(report.RefreshTokens) != 3-want.refused {
				t.Errorf("%+v", report)
			}
			if len(f.presented) < 2 {
				t.Errorf("%d tokens were presented", len(f.presented))
			}
		})
	}
}

// TestNobodyListens leaves refresh tokens as they are: nothing was sent.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	tokens := []string{"a", "b"}
	var kept []string
	cfg := short(Target{Endpoints: Endpoints{Token: s.URL}, Client: Client{ID: "client"}, RefreshTokens: tokens, Admin: noEvents}, Refresh)
	cfg.KeepTokens = func(tokens []string) error {
		kept = slices.Clone(tokens)
		return nil
	}
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Runs[0]; len(got.Errors) != 1 || got.Errors[0].What != "connection refused" || got.Requests != 0 {
		t.Errorf("%+v", got)
	}
	if !slices.Equal(kept, tokens) || len(report.Events) != 0 || report.NotVerified == "" {
		t.Errorf("%q, %+v", kept, report)
	}
}

// TestTransportError has few kinds, and quotes nothing.
func TestTransportError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err    error
		want   string
		unsent bool
	}{
		{fasthttp.ErrDialTimeout, "timeout", true},
		{fasthttp.ErrTimeout, "timeout", false},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "connection refused", true},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "auth.example"}}, "host not found", true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "connection reset", false},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, "connection reset", false},
		{io.EOF, "connection closed", false},
		{fasthttp.ErrBodyTooLarge, "answer too large", false},
		{errors.New("cannot read this header"), "other", false},
	}
	for _, tt := range tests {
		err := fmt.Errorf("doing it: %w", tt.err)
		if got := transportError(err); got != tt.want || unsent(err) != tt.unsent {
			t.Errorf("%v: %q, unsent: %v", tt.err, got, unsent(err))
		}
	}
}

// TestExpiry is held against the times of the request, however long the answer took.
func TestExpiry(t *testing.T) {
	t.Parallel()
	sent := time.Unix(1_000_000, 0)
	answer := tokenAnswer{ExpiresIn: 300, from: answer{span: span{sent, sent.Add(20 * time.Second)}}}
	for exp, want := range map[int64]bool{1_000_296: false, 1_000_297: true, 1_000_310: true, 1_000_323: true, 1_000_324: false} {
		if got := answer.expiry().holds(exp); got != want {
			t.Errorf("%d: %v", exp, got)
		}
	}
	if e := answer.expiry(); !e.after(sent.Add(296*time.Second)) || e.after(sent.Add(297*time.Second)) {
		t.Error("it lives longer than is known")
	}
	if e := (tokenAnswer{}).expiry(); !e.holds(1) || !e.after(sent) {
		t.Error("an end that was not told is held against something")
	}
}

// TestRedirects opened a grant, may have, or have not.
func TestRedirects(t *testing.T) {
	t.Parallel()
	const fact = "grant.opened.v1"
	tests := []struct {
		status                int
		to                    string
		acknowledged, unknown int64
	}{
		{http.StatusFound, redirectURI + "?code=x&state=state-1", 1, 0},
		{http.StatusFound, redirectURI + "?error=access_denied", 0, 0},
		{http.StatusFound, redirectURI + "?error=server_error", 0, 1},
		{http.StatusSeeOther, redirectURI + "?error=temporarily_unavailable", 0, 1},
		{http.StatusFound, "/login", 0, 0},
		{http.StatusOK, "", 0, 0},
		{http.StatusServiceUnavailable, "", 0, 1},
		{http.StatusTooManyRequests, "", 0, 0},
	}
	for _, tt := range tests {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", tt.to)
			w.WriteHeader(tt.status)
		}))
		w := &worker{
			conn: newConn(Client{ID: "client"}, nil, time.Minute), cookie: "session=x", at: Endpoints{Authorization: s.URL},
			tally: newTally(), recorder: newRecorder(),
		}
		_, f := w.authorize()
		w.close()
		s.Close()
		if got := w.tally; got.acknowledged[fact] != tt.acknowledged || got.unknown[fact] != tt.unknown || (f == nil) != (tt.acknowledged == 1) {
			t.Errorf("%d to %q: %v, %v, %v", tt.status, tt.to, got.acknowledged, got.unknown, f)
		}
	}
}

// TestRefusedChain is left out of what is kept, and measuring ends with the last
// one.
func TestRefusedChain(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}))
	t.Cleanup(s.Close)
	cfg := short(Target{Endpoints: Endpoints{Token: s.URL}, Client: Client{ID: "client"}, RefreshTokens: []string{"a", "b", "c"}}, Refresh)
	cfg.Duration, cfg.Warmup = time.Hour, time.Hour
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := ErrorCount{"status", "400 invalid_grant", 3}
	if got := report.Runs[0].Errors; len(got) != 1 || got[0] != want || report.TokensRefused != 3 || len(report.RefreshTokens) != 0 {
		t.Errorf("got %+v", report)
	}
}
