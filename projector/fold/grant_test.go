package fold_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

var (
	epoch   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	grantID = events.NewGrantID(3, [16]byte{1, 2, 3, 4, 5, 6, 7, 8})
)

// record places facts on one subject, ten sequences and a second apart, as
// they would be between those of others.
func record(s events.Subject, facts ...events.Fact) []events.Recorded {
	rs := make([]events.Recorded, len(facts))
	for i, f := range facts {
		rs[i] = events.Recorded{
			Event:  events.Event{ID: "e", Subject: s, Fact: f},
			Seq:    uint64(10 * (i + 1)),
			Stored: epoch.Add(time.Duration(i) * time.Second),
		}
	}
	return rs
}

func onGrant(facts ...events.Fact) []events.Recorded {
	return record(events.DefaultRealm.GrantSubject(grantID), facts...)
}

// apply folds rs into s, up to the first that cannot be.
func apply[S interface {
	Apply(events.Recorded) (S, error)
}](s S, rs []events.Recorded) (S, error) {
	for _, r := range rs {
		var err error
		if s, err = s.Apply(r); err != nil {
			return s, err
		}
	}
	return s, nil
}

func withCode() events.GrantOpened {
	return events.GrantOpened{
		Client: "web", User: "alice", Scope: []string{"read"}, Expires: epoch.Unix() + 3600,
		Refreshable: true, Code: &events.Code{MACKey: 1, Expires: epoch.Unix() + 60},
	}
}

func withTokens() events.GrantOpened {
	o := withCode()
	issued := issuance(1)
	o.Code, o.Issued = nil, &issued
	return o
}

func issuance(generation uint32) events.Issuance {
	return events.Issuance{Generation: generation, JTI: "jti", KID: "k", MACKey: 1, Expires: epoch.Unix() + 300}
}

func redeemed() events.Fact           { return events.CodeRedeemed{Issuance: issuance(1)} }
func rotated(gen uint32) events.Fact  { return events.RefreshTokenRotated{Issuance: issuance(gen)} }
func repeated(gen uint32) events.Fact { return events.RefreshTokenRepeated{Generation: gen} }
func revoked() events.Fact            { return events.GrantRevoked{Reason: events.ReasonUserRequest} }

func TestGrant(t *testing.T) {
	tests := []struct {
		name  string
		given []events.Fact
		then  func(g fold.Grant) bool
	}{
		{"an opened grant waits for its code", []events.Fact{withCode()}, func(g fold.Grant) bool {
			return g.Exists() && !g.Redeemed() && g.Seq == 10 && g.ID == grantID && g.OpenedAt.Equal(epoch)
		}},
		{"a grant opened without a code has generation 1", []events.Fact{withTokens()}, func(g fold.Grant) bool {
			return g.Redeemed() && g.Current.Generation == 1 && g.IssuedAt.Equal(epoch) && g.RedeemedAt.Equal(epoch)
		}},
		{"a redeemed code issues generation 1", []events.Fact{withCode(), redeemed()}, func(g fold.Grant) bool {
			return g.Redeemed() && g.Current.Generation == 1 && g.RedeemedAt.Equal(epoch.Add(time.Second))
		}},
		{
			"a rotation moves on and keeps when the code was redeemed",
			[]events.Fact{withCode(), redeemed(), rotated(2)},
			func(g fold.Grant) bool {
				return g.Current.Generation == 2 && g.IssuedAt.Equal(epoch.Add(2*time.Second)) &&
					g.RedeemedAt.Equal(epoch.Add(time.Second)) && g.Seq == 30
			},
		},
		{
			"a repeat is noted, and moves the expectation but not the window",
			[]events.Fact{withTokens(), rotated(2), repeated(2)},
			func(g fold.Grant) bool {
				return g.Repeated && g.Seq == 30 && g.Current.Generation == 2 && g.IssuedAt.Equal(epoch.Add(time.Second))
			},
		},
		{"a rotation ends the repeat", []events.Fact{withTokens(), rotated(2), repeated(2), rotated(3)}, func(g fold.Grant) bool {
			return !g.Repeated && g.Current.Generation == 3
		}},
		{"a revoked grant says why and when", []events.Fact{withCode(), revoked()}, func(g fold.Grant) bool {
			return g.Revoked() && g.RevokedReason == events.ReasonUserRequest && g.RevokedAt.Equal(epoch.Add(time.Second))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := apply(fold.Grant{}, onGrant(tt.given...))
			if err != nil {
				t.Fatal(err)
			}
			if !tt.then(g) {
				t.Errorf("got %+v", g)
			}
			if back := throughJSON(t, g); !reflect.DeepEqual(back, g) {
				t.Errorf("stored and read back:\n got %+v\nwant %+v", back, g)
			}
		})
	}
}

func TestGrantPoison(t *testing.T) {
	notRefreshable := withTokens()
	notRefreshable.Issued.MACKey = 0
	both := withTokens()
	both.Code = withCode().Code
	neither := withCode()
	neither.Code = nil
	second := withTokens()
	second.Issued.Generation = 2
	bare := events.RefreshTokenRotated{Issuance: issuance(2)}
	bare.MACKey = 0

	tests := []struct {
		name  string
		given []events.Fact
		when  events.Fact
	}{
		{"nothing opened it", nil, redeemed()},
		{"revocation of nothing", nil, revoked()},
		{"opened twice", []events.Fact{withCode()}, withCode()},
		{"neither code nor tokens", nil, neither},
		{"both code and tokens", nil, both},
		{"first issuance of generation 2", nil, second},
		{"code redeemed twice", []events.Fact{withCode(), redeemed()}, redeemed()},
		{"code redeemed after a rotation", []events.Fact{withCode(), redeemed(), rotated(2)}, redeemed()},
		{"redeemed without a code", []events.Fact{withTokens()}, redeemed()},
		{"redeemed into generation 2", []events.Fact{withCode()}, events.CodeRedeemed{Issuance: issuance(2)}},
		{"rotated before the code", []events.Fact{withCode()}, rotated(1)},
		{"same generation twice", []events.Fact{withTokens(), rotated(2)}, rotated(2)},
		{"generation back", []events.Fact{withTokens(), rotated(2), rotated(3)}, rotated(2)},
		{"generation skipped", []events.Fact{withTokens()}, rotated(3)},
		{"rotated without a refresh token", []events.Fact{notRefreshable}, rotated(2)},
		{"rotation without a successor", []events.Fact{withTokens()}, bare},
		{"repeat of generation 1", []events.Fact{withTokens()}, repeated(1)},
		{"repeat of an older generation", []events.Fact{withTokens(), rotated(2), rotated(3)}, repeated(2)},
		{"second first repeat", []events.Fact{withTokens(), rotated(2), repeated(2)}, repeated(2)},
		{"revoked twice", []events.Fact{withTokens(), revoked()}, revoked()},
		{"rotated after the revocation", []events.Fact{withTokens(), revoked()}, rotated(2)},
		{"revoked without a reason", []events.Fact{withTokens()}, events.GrantRevoked{}},
		{"a client's event", []events.Fact{withTokens()}, events.ClientDisabled{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs := onGrant(append(tt.given, tt.when)...)
			before, err := apply(fold.Grant{}, rs[:len(tt.given)])
			if err != nil {
				t.Fatal(err)
			}
			after, err := before.Apply(rs[len(tt.given)])
			wantPoison(t, err)
			if !reflect.DeepEqual(after, before) {
				t.Errorf("poison changed the grant to %+v", after)
			}
		})
	}
}

func TestGrantMisplaced(t *testing.T) {
	open := onGrant(withTokens())[0]
	opened, err := fold.Grant{}.Apply(open)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]events.Subject{
		"another partition": "main.grant.4." + events.Subject(grantID.String()),
		"no grant id":       "main.grant.3.alice",
		"another kind":      "main.issued.3." + events.Subject(grantID.String()),
	} {
		r := open
		r.Subject = s
		_, err := fold.Grant{}.Apply(r)
		wantPoison(t, err)
		r = onGrant(withTokens(), rotated(2))[1]
		r.Subject = s
		if _, err := opened.Apply(r); !errors.Is(err, fold.ErrPoison) {
			t.Errorf("rotation on %s: got %v, want ErrPoison", name, err)
		}
	}
	open.Seq = 0
	_, err = fold.Grant{}.Apply(open)
	wantPoison(t, err)
	again := onGrant(withTokens(), rotated(2))[1]
	again.Seq = opened.Seq
	_, err = opened.Apply(again)
	wantPoison(t, err)
}

func TestFinished(t *testing.T) {
	for _, tt := range []struct {
		clock time.Time
		want  bool
	}{
		{epoch, false},
		{epoch.Add(fold.Slack*time.Second - time.Nanosecond), false},
		{epoch.Add(fold.Slack * time.Second), true},
	} {
		if got := fold.Finished(epoch.Unix(), tt.clock); got != tt.want {
			t.Errorf("Finished at %v: got %v", tt.clock, got)
		}
	}
}

func wantPoison(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, fold.ErrPoison) {
		t.Errorf("got %v, want ErrPoison", err)
	}
}

func throughJSON[S any](t *testing.T, s S) S {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back S
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	return back
}
