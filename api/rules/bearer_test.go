package rules_test

import (
	"testing"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

func TestCheckBearer(t *testing.T) {
	good := func() rules.Presented {
		return rules.Presented{Subject: alice().ID, Audience: []string{"https://api.example", issuer}, Grant: events.NewGrantID(0, [16]byte{1: 1})}
	}
	for name, test := range map[string]struct {
		change func(*rules.Presented)
		reason rules.Reason
	}{
		"a user's":            {func(*rules.Presented) {}, ""},
		"for others only":     {func(p *rules.Presented) { p.Audience = p.Audience[:1] }, rules.InvalidBearer},
		"for nobody":          {func(p *rules.Presented) { p.Audience = nil }, rules.InvalidBearer},
		"a client's own":      {func(p *rules.Presented) { p.Grant = events.GrantID{} }, rules.InvalidBearer},
		"somebody acts":       {func(p *rules.Presented) { p.Act = &events.Actor{Subject: "service"} }, rules.InvalidBearer},
		"somebody in place":   {func(p *rules.Presented) { p.Chain = []events.Ancestor{{JTI: "root", Client: "web"}} }, rules.InvalidBearer},
		"an issuer like ours": {func(p *rules.Presented) { p.Audience = []string{issuer + "/"} }, rules.InvalidBearer},
	} {
		t.Run(name, func(t *testing.T) {
			p := good()
			test.change(&p)
			wantRefusal(t, rules.CheckBearer(p, issuer), test.reason)
		})
	}
}

func TestCheckServerToken(t *testing.T) {
	own := rules.Presented{Subject: "web", Client: "web"}
	wantRefusal(t, rules.CheckServerToken(own), "")
	users, passed := own, own
	users.Grant, users.Subject = events.NewGrantID(0, [16]byte{1: 1}), alice().ID
	passed.Chain = []events.Ancestor{{JTI: "root", Client: "web"}}
	wantRefusal(t, rules.CheckServerToken(users), rules.InvalidBearer)
	wantRefusal(t, rules.CheckServerToken(passed), rules.InvalidBearer)
}
