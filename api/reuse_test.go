package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
)

// between is how long after the event of one type the last event of a grant
// was stored, by the log's own clock.
func between(t testing.TB, r *apitest.Replica, grant, from string) time.Duration {
	t.Helper()
	var start, last time.Time
	for line := range bytes.Lines(r.WholeEvents(t, "grant", grant)) {
		var e struct {
			Type   string
			Stored time.Time
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if last = e.Stored; e.Type == from {
			start = e.Stored
		}
	}
	return last.Sub(start)
}

// TestReuseOutsideTheWindow is RFC 9700 §4.14.2 and I3, with a client whose
// window is a second: inside it the retry is answered, then it is refused, and
// after two seconds of slack it is reuse, which ends the grant.
func TestReuseOutsideTheWindow(t *testing.T) {
	t.Parallel()
	r := single(t)
	var done sync.WaitGroup
	for _, window := range []int{0, 1} {
		// Not as parallel subtests, of which only a few run at a time.
		done.Go(func() { wantReuse(t, r, window) })
	}
	done.Wait()
}

func wantReuse(t *testing.T, r *apitest.Replica, window int) {
	t.Helper()
	c := register(t, r, map[string]any{"refresh_token_retry_window": window})
	first := r.Tokens(t, c, "read offline_access")
	grant := grantOf(t, first)
	second := wantOK(t, r.Refresh(t, c, first.Text("refresh_token")))
	if window == 0 {
		wantError(t, r.Refresh(t, c, first.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	}
	embeddedtest.Eventually(t, "the grant to be revoked", func() bool {
		a := r.Refresh(t, c, first.Text("refresh_token"))
		if a.Status != http.StatusOK {
			wantError(t, a, http.StatusBadRequest, "invalid_grant")
		}
		return r.Admin(t, http.MethodGet, "/grants/"+grant, nil).Text("revoked_reason") == "refresh_token_reuse"
	})
	if took, want := between(t, r, grant, rotated), time.Duration(window+2)*time.Second; took <= want {
		t.Errorf("revoked %v after the rotation, want more than %v", took, want)
	}
	wantError(t, r.Refresh(t, c, second.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	wantDead(t, r, second.Text("access_token"), time.Now())
}

// TestCodeReplay is RFC 6749 §4.1.2 and I3: whose replay ends the grant, and
// when.
func TestCodeReplay(t *testing.T) {
	t.Parallel()
	r := single(t)
	refused := func(t *testing.T, code string, pairs ...string) {
		t.Helper()
		wantError(t, r.Token(t, apitest.DemoWeb, exchange(code, pairs...)...), http.StatusBadRequest, "invalid_grant")
	}
	t.Run("at once", func(t *testing.T) {
		code := r.Login(t, apitest.DemoWeb, "read offline_access")
		first := wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
		refused(t, code)
		wantOK(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")))
		wantEvents(t, r, grantOf(t, first), opened, redeemed, rotated)
	})
	t.Run("after its refresh token was used", func(t *testing.T) {
		code := r.Login(t, apitest.DemoWeb, "read offline_access")
		first := wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
		second := wantOK(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")))
		refused(t, code)
		wantEvents(t, r, grantOf(t, first), opened, redeemed, rotated, revoked)
		wantError(t, r.Refresh(t, apitest.DemoWeb, second.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("without PKCE", func(t *testing.T) {
		q := apitest.CodeQuery("demo-web", "read offline_access")
		q.Del("code_challenge")
		q.Del("code_challenge_method")
		code := apitest.CodeOf(t, r.JSON(t, loginPath+"?"+q.Encode(), alice))
		first := wantOK(t, r.Token(t, apitest.DemoWeb, exchange(code, "code_verifier", "")...))
		refused(t, code, "code_verifier", "")
		wantEvents(t, r, grantOf(t, first), opened, redeemed, revoked)
		wantError(t, r.Refresh(t, apitest.DemoWeb, first.Text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("after ten seconds", func(t *testing.T) {
		code := r.Login(t, apitest.DemoWeb, "read offline_access")
		first := wantOK(t, r.Exchange(t, apitest.DemoWeb, code))
		grant, start := grantOf(t, first), time.Now()
		embeddedtest.Eventually(t, "the grant to be revoked", func() bool {
			if time.Since(start) < 9*time.Second {
				return false
			}
			refused(t, code)
			return r.Admin(t, http.MethodGet, "/grants/"+grant, nil).Text("revoked_reason") == "code_reuse"
		})
		if took := between(t, r, grant, redeemed); took <= 10*time.Second {
			t.Errorf("revoked %v after the redemption", took)
		}
	})
}

// TestReuseIsSeenThroughLag replays what a read model that is behind would
// tolerate. The log knows better, and the grant ends.
func TestReuseIsSeenThroughLag(t *testing.T) {
	t.Parallel()
	var gate apitest.Gate
	r := apitest.Single(t, apitest.Options{Settings: patient, Gate: gate.Pass})
	c := register(t, r, map[string]any{"refresh_token_retry_window": 0})
	for name, replay := range map[string]func(code string, first apitest.Answer) apitest.Answer{
		"a code": func(code string, _ apitest.Answer) apitest.Answer { return r.Exchange(t, c, code) },
		"a refresh token": func(_ string, first apitest.Answer) apitest.Answer {
			return r.Refresh(t, c, first.Text("refresh_token"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			code := r.Login(t, c, "read offline_access")
			first := wantOK(t, r.Exchange(t, c, code))
			want := []string{opened, redeemed, rotated, revoked}
			current := first
			if name == "a refresh token" {
				current = wantOK(t, r.Refresh(t, c, first.Text("refresh_token")))
				want = []string{opened, redeemed, rotated, rotated, revoked}
			}
			r.WaitFolded(t)
			gate.Shut()
			defer gate.Open()
			wantOK(t, r.Refresh(t, c, current.Text("refresh_token")))
			wantError(t, replay(code, first), http.StatusBadRequest, "invalid_grant")
			wantEvents(t, r, grantOf(t, first), want...)
		})
	}
}
