package rules_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

const (
	rotated  = "refresh_token.rotated.v1"
	repeated = "refresh_token.repeated.v1"
	revoked  = "grant.revoked.v1"
)

func TestRefreshByGenerationAndTime(t *testing.T) {
	issued := t0.Add(time.Hour)
	for _, test := range []struct {
		name       string
		generation uint32
		after      time.Duration
		event      string
		reason     rules.Reason
	}{
		{"the current one rotates", 3, time.Minute, rotated, ""},
		{"the current one, idle for too long", 3, 30 * 24 * time.Hour, "", rules.InvalidRefreshToken},
		{"the current one, just in time", 3, 30*24*time.Hour - time.Second, rotated, ""},
		{"the spent one at once", 2, 0, repeated, ""},
		{"the spent one at the end of the window", 2, 30 * time.Second, repeated, ""},
		{"the spent one just outside", 2, 31 * time.Second, "", rules.InvalidRefreshToken},
		{"the spent one within the slack of clocks", 2, 32 * time.Second, "", rules.InvalidRefreshToken},
		{"the spent one after it", 2, 33 * time.Second, revoked, rules.InvalidRefreshToken},
		{"the spent one, by a clock that is behind", 2, -time.Hour, repeated, ""},
		{"an older one inside the window", 1, time.Second, revoked, rules.InvalidRefreshToken},
		{"one that the reader has not seen", 4, time.Second, "", rules.BehindTheToken},
		{"the current one after the absolute end", 3, 90 * 24 * time.Hour, "", rules.InvalidRefreshToken},
		{"reuse after the absolute end", 1, 90 * 24 * time.Hour, "", rules.InvalidRefreshToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := at(t, web(), 3, issued)
			out := rules.RefreshToken(g, refresh(web(), test.generation, issued.Add(test.after)), mint())
			want(t, out, test.event, test.reason)
			// A newer event makes the spent one an older one, and ends the grant.
			tolerated := test.event == "" && test.after < 89*24*time.Hour // before the end of the grant
			if out.Refusal != nil && out.Refusal.Overturnable != (test.reason == rules.BehindTheToken || tolerated) {
				t.Errorf("overturnable = %v", out.Refusal.Overturnable)
			}
			if out.Fact != nil {
				apply(t, g, out.Fact, issued.Add(test.after))
			}
		})
	}
}

func TestRepeatIsTheSameIssuance(t *testing.T) {
	now := t0.Add(time.Hour)
	g := at(t, spa(), 2, now)
	first := rules.RefreshToken(g, refresh(spa(), 1, now.Add(time.Second)), rules.Minting{JTI: "other", KID: "other", MACKey: 2})
	want(t, first, repeated, "")
	again := applied(t, g, first, now.Add(time.Second))
	second := rules.RefreshToken(again, refresh(spa(), 1, now.Add(2*time.Second)), mint())
	want(t, second, "", "")
	if !second.ConfirmLast {
		t.Error("a repeat that writes nothing must be confirmed on the log")
	}
	for _, out := range []rules.Outcome{first, second} {
		if out.Issuance.JTI != g.Current.JTI || out.Issuance.Generation != 2 || out.Issuance.MACKey != g.Current.MACKey {
			t.Errorf("repeat gives %+v, want %+v", out.Issuance, g.Current)
		}
	}
}

func TestRepeatOfAPublicClientFromAnotherAddress(t *testing.T) {
	now := t0.Add(time.Hour)
	for _, c := range []fold.Client{web(), spa()} {
		x := refresh(c, 1, now.Add(time.Second))
		x.SameOrigin = false
		out := rules.RefreshToken(at(t, c, 2, now), x, mint())
		if c.Public {
			want(t, out, "", rules.InvalidRefreshToken)
		} else {
			want(t, out, repeated, "")
		}
	}
}

// TestUserBehindTheToken has a grant whose user this replica does not see. The
// grant proves that there is one.
func TestUserBehindTheToken(t *testing.T) {
	x := refresh(web(), 1, t0.Add(time.Minute))
	x.User = fold.User{}
	out := rules.RefreshToken(at(t, web(), 1, t0), x, mint())
	want(t, out, "", rules.BehindTheToken)
	if !out.Refusal.Overturnable {
		t.Error("final, though the user may only be late")
	}
}

func TestNoRetryWindow(t *testing.T) {
	c := web()
	c.RetryWindow = new(int64)
	for _, since := range []time.Duration{0, -500 * time.Millisecond} { // another replica's clock is ahead
		x := refresh(c, 1, t0.Add(time.Hour+since))
		x.Policy = rules.DefaultPolicy().For(c.ClientSettings)
		want(t, rules.RefreshToken(at(t, c, 2, t0.Add(time.Hour)), x, mint()), "", rules.InvalidRefreshToken)
	}
	x := refresh(c, 1, t0.Add(time.Hour+time.Second))
	x.Policy = rules.DefaultPolicy().For(c.ClientSettings)
	want(t, rules.RefreshToken(at(t, c, 2, t0.Add(time.Hour)), x, mint()), "", rules.InvalidRefreshToken)
	x.Now = x.Now.Add(2 * time.Second)
	want(t, rules.RefreshToken(at(t, c, 2, t0.Add(time.Hour)), x, mint()), revoked, rules.InvalidRefreshToken)
}

func TestRefreshOfAGrantThatIsOver(t *testing.T) {
	now := t0.Add(time.Hour)
	change := map[string]func(*fold.Grant, *rules.Refresh){
		"another client":       func(_ *fold.Grant, x *rules.Refresh) { x.Client.ID = "other" },
		"revoked":              func(g *fold.Grant, _ *rules.Refresh) { g.RevokedReason = events.ReasonAdminRequest },
		"client disabled once": func(_ *fold.Grant, x *rules.Refresh) { x.Client.Epoch++ },
		"user disabled":        func(_ *fold.Grant, x *rules.Refresh) { x.User.Disabled = true },
		"user disabled once":   func(_ *fold.Grant, x *rules.Refresh) { x.User.Epoch++ },
		"policy made shorter":  func(_ *fold.Grant, x *rules.Refresh) { x.Policy.RefreshAbsolute = time.Minute },
	}
	for name, change := range change {
		// The current one, the spent one and an old one: none may pass, and
		// none may revoke what is over, or belongs to somebody else.
		for generation := uint32(1); generation <= 3; generation++ {
			g := at(t, web(), 3, now)
			x := refresh(web(), generation, now.Add(time.Second))
			change(&g, &x)
			t.Run(name, func(t *testing.T) {
				out := rules.RefreshToken(g, x, mint())
				want(t, out, "", rules.InvalidRefreshToken)
				if out.Refusal.Overturnable {
					t.Error("final refusals cost no read of the log")
				}
			})
		}
	}
	out := rules.RefreshToken(fold.Grant{}, refresh(web(), 1, now), mint())
	want(t, out, "", rules.BehindTheToken)
	if !out.Refusal.Overturnable {
		t.Error("a grant that is not there must be confirmed on the log")
	}
}

func TestRefreshNarrowsAndNeverWidens(t *testing.T) {
	now := t0.Add(time.Hour)
	for _, test := range []struct {
		name      string
		client    func(*fold.Client)
		scope     []string
		audience  []string
		reason    rules.Reason
		gotScope  []string
		gotTarget []string
	}{
		{"everything", nil, nil, nil, "", []string{"read", "write", "offline_access"}, []string{"https://api.example", "https://files.example"}},
		{"narrower", nil, []string{"read"}, []string{"https://api.example"}, "", []string{"read"}, []string{"https://api.example"}},
		{"a scope the grant has not", nil, []string{"read", "admin"}, nil, rules.InvalidScope, nil, nil},
		{"a target the grant has not", nil, nil, []string{"https://other.example"}, rules.InvalidTarget, nil, nil},
		{"the client lost a scope", func(c *fold.Client) { c.Scope = []string{"read"} }, nil, nil, "", []string{"read", "offline_access"}, []string{"https://api.example", "https://files.example"}},
		{"the client lost the scope asked for", func(c *fold.Client) { c.Scope = []string{"read"} }, []string{"write"}, nil, rules.InvalidScope, nil, nil},
		{"the client lost every target", func(c *fold.Client) { c.Audience = nil }, nil, nil, rules.InvalidTarget, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := web()
			g := at(t, c, 1, now)
			if test.client != nil {
				test.client(&c)
			}
			x := refresh(c, 1, now)
			x.Scope, x.Audience = test.scope, test.audience
			out := rules.RefreshToken(g, x, mint())
			wantRefusal(t, out.Refusal, test.reason)
			if out.Issuance == nil {
				return
			}
			wantEqual(t, "scope", out.Issuance.Scope, test.gotScope)
			wantEqual(t, "audience", out.Issuance.Audience, test.gotTarget)
			// Narrowing one token does not narrow the grant.
			if next := applied(t, g, out, now); len(next.Scope) != 3 {
				t.Errorf("grant's scope = %q", next.Scope)
			}
		})
	}
}

func TestAccessTokenNeverOutlivesTheGrant(t *testing.T) {
	g := at(t, web(), 1, t0)
	now := time.Unix(g.Expires, 0).Add(-10 * time.Minute)
	x := refresh(web(), 1, now)
	x.Policy.RefreshIdle = 365 * 24 * time.Hour
	out := rules.RefreshToken(g, x, mint())
	want(t, out, rotated, "")
	if out.Issuance.Expires != g.Expires {
		t.Errorf("access token expires at %d, grant at %d", out.Issuance.Expires, g.Expires)
	}
}

// TestOneSuccessor plays any sequence of presentations: whatever comes, a
// generation is issued once, every answer for a spent token is its successor,
// and nothing is answered after a revocation.
func TestOneSuccessor(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		now := t0.Add(time.Hour)
		g := at(t, web(), 1, t0)
		successor := map[uint32]string{}
		for step := range rapid.IntRange(1, 40).Draw(r, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(r, "seconds")) * time.Second)
			n := uint32(rapid.IntRange(1, int(g.Current.Generation)).Draw(r, "generation"))
			before := g
			out := rules.RefreshToken(g, refresh(web(), n, now), rules.Minting{JTI: string(rune('a' + step)), KID: "k", MACKey: 1})
			if out.Fact != nil {
				g = apply(t, g, out.Fact, now)
			}
			if out.Issuance == nil {
				continue
			}
			if before.Revoked() {
				r.Fatalf("answered after the revocation")
			}
			if have, ok := successor[n]; ok && have != out.Issuance.JTI || out.Issuance.Generation != n+1 {
				r.Fatalf("generation %d got a second successor", n)
			}
			successor[n] = out.Issuance.JTI
		}
	})
}

// TestLostGeneration has tokens of generations that were lost with the log and issued
// once more since, under another key. They give nothing, and end nothing.
func TestLostGeneration(t *testing.T) {
	now := t0.Add(time.Hour)
	restored := rules.Minting{JTI: "new", KID: "kid", MACKey: 2}
	g := at(t, web(), 1, t0.Add(time.Minute))
	g = applied(t, g, rules.RefreshToken(g, refresh(web(), 1, now), restored), now)
	lost := refresh(web(), 2, now.Add(time.Second))
	want(t, rules.RefreshToken(g, lost, restored), "", rules.InvalidRefreshToken)
	issued := lost
	issued.MACKey = 2
	if active, refusal := rules.RefreshTokenActive(g, issued.Holder, 2, 2, now); !active || refusal != nil {
		t.Errorf("the one that was issued is not active: %v", refusal)
	}
	if active, refusal := rules.RefreshTokenActive(g, lost.Holder, 2, 1, now); active || refusal != nil {
		t.Errorf("the one that was lost is active, or %v", refusal)
	}
	retry := refresh(web(), 1, now.Add(time.Second)) // which the log has
	want(t, rules.RefreshToken(g, retry, restored), "refresh_token.repeated.v1", "")
	g = applied(t, g, rules.RefreshToken(g, issued, restored), now.Add(time.Second))
	want(t, rules.RefreshToken(g, lost, restored), "", rules.InvalidRefreshToken) // not a retry of the one before
	want(t, rules.RefreshToken(g, issued, restored), "refresh_token.repeated.v1", "")
	code := exchange(web(), t0.Add(time.Second))
	code.MACKey = 2
	want(t, rules.RedeemCode(opened(t, web(), "read"), code, mint()), "", rules.InvalidCode)
}
