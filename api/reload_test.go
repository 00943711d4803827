package api_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/config"
	"github.com/chancery-authority/chancery/api/limit"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// TestReload changes what can be changed of a replica that serves, and tries to
// change what cannot.
func TestReload(t *testing.T) {
	t.Parallel()
	was := config.Default()
	r := apitest.Single(t, apitest.Options{Settings: func(s *config.Settings) { was = *s }})
	lifetime := func() float64 {
		t.Helper()
		resp := r.Token(t, apitest.DemoService, "grant_type", "client_credentials")
		return resp.JSON["expires_in"].(float64)
	}
	if got := lifetime(); got != 3600 {
		t.Fatalf("tokens live %v s at first", got)
	}
	now := was
	now.AccessTokenLifetime, now.Registration = 5*time.Minute, false
	now.Issuer, now.FreshnessBound = "https://elsewhere.example", time.Minute
	now.ClientLimit = limit.Rate{N: 1, Per: time.Hour, Burst: 2}
	now.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	r.Server.Reload(now)
	if got := lifetime(); got != 300 {
		t.Errorf("tokens live %v s after the reload", got)
	}
	lifetime()
	if resp := r.Token(t, apitest.DemoService, "grant_type", "client_credentials"); resp.Status != http.StatusTooManyRequests {
		t.Errorf("the third request within the new limit: %d", resp.Status)
	}
	r.Server.Reload(was)
	if got := lifetime(); got != 3600 {
		t.Errorf("tokens live %v s after going back", got)
	}
	now.ClientLimit = was.ClientLimit
	r.Server.Reload(now)
	if got := apitest.Claims(t, r.Token(t, apitest.DemoService, "grant_type", "client_credentials").Text("access_token"))["iss"]; got != was.Issuer {
		t.Errorf("the issuer was reloaded: %v", got)
	}
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	levels := func(a apitest.Answer) [2]string { return [2]string{a.Text("level"), a.Text("then")} }
	steps := []struct {
		body any
		want [2]string
	}{
		{nil, [2]string{"INFO", ""}},
		{map[string]any{"level": "debug", "for_seconds": 600}, [2]string{"DEBUG", "INFO"}},
		{map[string]any{"level": "warn", "for_seconds": 1}, [2]string{"WARN", "INFO"}},
	}
	for _, step := range steps {
		method := http.MethodPut
		if step.body == nil {
			method = http.MethodGet
		}
		if got := levels(r.Admin(t, method, "/log-level", step.body)); got != step.want {
			t.Errorf("%v: %v, want %v", step.body, got, step.want)
		}
	}
	embeddedtest.Eventually(t, "the level before comes back", func() bool {
		return levels(r.Admin(t, http.MethodGet, "/log-level", nil)) == [2]string{"INFO", ""}
	})
	for _, bad := range []any{map[string]any{"level": "loud"}, map[string]any{"level": "info", "for_seconds": 86401}, map[string]any{"level": "info", "for_seconds": -1}} {
		if a := r.Admin(t, http.MethodPut, "/log-level", bad); a.Status != http.StatusBadRequest {
			t.Errorf("%v: %d", bad, a.Status)
		}
	}
}
