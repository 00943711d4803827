package rules_test

import (
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

func TestParsePrompt(t *testing.T) {
	for _, good := range []string{"", "none", "login", "consent", "select_account", "login consent"} {
		if _, refusal := rules.ParsePrompt(good); refusal != nil {
			t.Errorf("%q: %v", good, refusal)
		}
	}
	for _, bad := range []string{"None", "create", "none login", "consent none"} {
		if _, refusal := rules.ParsePrompt(bad); refusal == nil || refusal.Parameter != "prompt" {
			t.Errorf("%q: %v", bad, refusal)
		}
	}
}

// TestVisit has for each visit what is asked for, and what prompt=none is told
// instead.
func TestVisit(t *testing.T) {
	at := time.Unix(10_000, 0)
	session := func(ago int64) fold.Session {
		return fold.Session{Seq: 1, SessionOpened: events.SessionOpened{User: "alice", AuthTime: at.Unix() - ago}}
	}
	age := func(seconds int64) *int64 { return &seconds }
	for _, test := range []struct {
		name  string
		visit rules.Visit
		want  rules.Interaction
		none  rules.Reason
	}{
		{"nobody", rules.Visit{Consented: true}, rules.AskLogin, rules.LoginRequired},
		{"signed in", rules.Visit{Session: session(9), Consented: true}, "", ""},
		{"not consented", rules.Visit{Session: session(9)}, rules.AskConsent, rules.ConsentRequired},
		{"another", rules.Visit{Session: session(9), Consented: true, Another: true}, rules.AskLogin, rules.LoginRequired},
		{"another, chosen", rules.Visit{Session: session(9), Consented: true, Settled: true, Another: true}, rules.AskLogin, rules.LoginRequired},
		{"young enough", rules.Visit{Session: session(9), Consented: true, MaxAge: age(9)}, "", ""},
		{"too old", rules.Visit{Session: session(10), Consented: true, MaxAge: age(9)}, rules.AskLogin, rules.LoginRequired},
		{"just signed in", rules.Visit{Session: session(1), Consented: true, MaxAge: age(0), Settled: true, SignedIn: true}, "", ""},
		{"chosen, not signed in", rules.Visit{Session: session(10), Consented: true, MaxAge: age(9), Settled: true}, rules.AskLogin, rules.LoginRequired},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.visit.Now = at
			if got, refusal := test.visit.Next(); got != test.want || refusal != nil {
				t.Errorf("asks for %q, %v, want %q", got, refusal, test.want)
			}
			test.visit.Prompt = []string{"none"}
			got, refusal := test.visit.Next()
			if got != "" || (refusal == nil) != (test.none == "") || refusal != nil && refusal.Reason != test.none {
				t.Errorf("prompt=none asks for %q, %v, want %q", got, refusal, test.none)
			}
		})
	}
	for _, test := range []struct {
		prompt  []string
		settled bool
		want    rules.Interaction
	}{
		{[]string{"login"}, false, rules.AskLogin},
		{[]string{"login"}, true, ""},
		{[]string{"select_account"}, false, rules.AskAccount},
		{[]string{"select_account"}, true, ""},
		{[]string{"consent"}, true, rules.AskConsent},
		{[]string{"login", "consent"}, false, rules.AskLogin},
		{[]string{"select_account", "consent"}, true, rules.AskConsent},
	} {
		v := rules.Visit{Prompt: test.prompt, Session: session(9), Settled: test.settled, SignedIn: test.settled, Consented: true, Now: at}
		if got, refusal := v.Next(); got != test.want || refusal != nil {
			t.Errorf("prompt %v, settled %t: asks for %q, %v, want %q", test.prompt, test.settled, got, refusal, test.want)
		}
	}
}

func TestConsent(t *testing.T) {
	given := func(scope ...string) fold.Consent {
		return fold.Consent{Seq: 3, ConsentGiven: events.ConsentGiven{Scope: scope, Audience: []string{"https://api.example"}}}
	}
	withdrawn := given()
	withdrawn.Withdrawn = true
	api := []string{"https://api.example"}
	for _, test := range []struct {
		name     string
		client   bool
		given    fold.Consent
		scope    []string
		audience []string
		want     bool
	}{
		{"first party", true, fold.Consent{}, []string{"read"}, nil, true},
		{"never asked", false, fold.Consent{}, nil, nil, false},
		{"agreed", false, given("read", "write"), []string{"write"}, api, true},
		{"more", false, given("read"), []string{"read", "write"}, nil, false},
		{"elsewhere", false, given("read"), []string{"read"}, []string{"https://b.example"}, false},
		{"withdrawn", false, withdrawn, nil, nil, false},
	} {
		c := fold.Client{ClientSettings: events.ClientSettings{FirstParty: test.client}}
		if got := rules.Consented(c, test.given, test.scope, test.audience); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
	more, ok := rules.GiveConsent(given("write"), []string{"read", "write"}, api).(events.ConsentGiven)
	if !ok || !slices.Equal(more.Scope, []string{"read", "write"}) || !slices.Equal(more.Audience, api) {
		t.Errorf("more: %+v", more)
	}
	again, ok := rules.GiveConsent(withdrawn, []string{"read"}, nil).(events.ConsentGiven)
	if !ok || !slices.Equal(again.Scope, []string{"read"}) || again.Audience != nil {
		t.Errorf("after withdrawing: %+v", again)
	}
	if f := rules.GiveConsent(given("read", "write"), []string{"read"}, api); f != nil {
		t.Errorf("nothing new: %+v", f)
	}
	if rules.WithdrawConsent(fold.Consent{}) != nil || rules.WithdrawConsent(withdrawn) != nil || rules.WithdrawConsent(given("read")) == nil {
		t.Error("withdrawing")
	}
}
