package rules_test

import (
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestGrantInForce(t *testing.T) {
	now := time.Unix(1000, 0)
	type state struct {
		g fold.Grant
		c fold.Client
		u fold.User
	}
	for name, test := range map[string]struct {
		change func(*state)
		want   bool
	}{
		"redeemed":               {func(*state) {}, true},
		"code still good":        {func(s *state) { s.g.Current.Generation = 0 }, true},
		"code expired":           {func(s *state) { s.g.Current.Generation, s.g.Code.Expires = 0, 1000 }, false},
		"old code, redeemed":     {func(s *state) { s.g.Code.Expires = 1000 }, true},
		"expired":                {func(s *state) { s.g.Expires = 1000 }, false},
		"revoked":                {func(s *state) { s.g.RevokedReason = "user_request" }, false},
		"never opened":           {func(s *state) { s.g.Seq = 0 }, false},
		"client disabled":        {func(s *state) { s.c.Disabled = true }, false},
		"client disabled before": {func(s *state) { s.c.Epoch = 3 }, false},
		"client unknown":         {func(s *state) { s.c = fold.Client{} }, false},
		"user cut off":           {func(s *state) { s.u.Epoch = 6 }, false},
		"user disabled":          {func(s *state) { s.u.Disabled = true }, false},
	} {
		s := state{
			fold.Grant{
				Seq: 1, Client: "web", ClientEpoch: 2, User: "alice", UserEpoch: 5, Expires: 1001,
				Code: &events.Code{Expires: 1001}, Current: events.Issuance{Generation: 1},
			},
			fold.Client{ID: "web", Seq: 1, Epoch: 2},
			fold.User{ID: "alice", Seq: 1, Epoch: 5},
		}
		test.change(&s)
		if got := rules.GrantInForce(s.g, s.c, s.u, now); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRevokeGrant(t *testing.T) {
	out := rules.RevokeGrant(fold.Grant{Seq: 1}, events.ReasonUserRequest)
	if out.Fact != (events.GrantRevoked{Reason: events.ReasonUserRequest}) || out.Refusal != nil {
		t.Errorf("in force: %+v", out)
	}
	if out := rules.RevokeGrant(fold.Grant{Seq: 1, RevokedReason: "client_request"}, events.ReasonUserRequest); out.Fact != nil || out.Refusal != nil {
		t.Errorf("revoked: %+v", out)
	}
	if out := rules.RevokeGrant(fold.Grant{}, events.ReasonUserRequest); out.Fact != nil || out.Refusal == nil || out.Refusal.Reason != rules.BehindTheToken {
		t.Errorf("not there: %+v", out)
	}
}
