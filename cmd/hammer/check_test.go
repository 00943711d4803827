package hammer

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

const ms = time.Millisecond

// story makes a history of one grant: operations that follow each other, a
// millisecond each, unless they say when they were.
func story(ops ...Op) []Op {
	for i := range ops {
		o := &ops[i]
		o.ID, o.Grant = i+1, 1
		if o.Return == 0 {
			o.Call, o.Return = time.Duration(2*i)*ms, time.Duration(2*i+1)*ms
		}
	}
	return ops
}

// redeemed, rotated and refused are what happens most.
func redeemed() Op { return Op{Kind: Redeem, Outcome: OK, Presented: "code", Got: "1"} }

func rotated(n int) Op {
	names := "0123456789"
	return Op{Kind: Refresh, Generation: n, Outcome: OK, Presented: names[n : n+1], Got: names[n+1 : n+2]}
}

func refused(o Op) Op {
	o.Outcome, o.Got = Refused, ""
	return o
}

func unknown(o Op) Op {
	o.Outcome, o.Got = Unknown, ""
	return o
}

func wrong(o Op) Op {
	o.Wrong = true
	return o
}

// at says when an operation was.
func at(o Op, call, ret time.Duration) Op {
	o.Call, o.Return = call, ret
	return o
}

var (
	revoked  = Op{Kind: Revoke, Outcome: OK}
	accepted = Op{Kind: Introspect, Outcome: OK, Active: true, Replica: "api-0"}
)

func TestHistoriesThatAreRight(t *testing.T) {
	for name, ops := range map[string][]Op{
		"a life":                        story(refused(wrong(redeemed())), redeemed(), refused(redeemed()), rotated(1), rotated(2), revoked, refused(rotated(3))),
		"a lost answer":                 story(unknown(redeemed()), refused(redeemed())),
		"a lost request":                story(unknown(redeemed()), redeemed()),
		"a retry":                       story(redeemed(), rotated(1), rotated(1), rotated(2)),
		"a retry of what was lost":      story(redeemed(), unknown(rotated(1)), rotated(1), rotated(2)),
		"a race":                        story(redeemed(), at(rotated(1), 10*ms, 20*ms), at(rotated(1), 11*ms, 19*ms), at(refused(wrong(rotated(1))), 9*ms, 21*ms)),
		"a race with a revocation":      story(redeemed(), at(revoked, 10*ms, 20*ms), at(rotated(1), 11*ms, 19*ms), at(refused(rotated(1)), 12*ms, 19*ms)),
		"reuse":                         story(redeemed(), rotated(1), rotated(2), refused(rotated(1)), refused(rotated(3))),
		"a request that arrives late":   story(redeemed(), unknown(rotated(1)), rotated(1), rotated(2), refused(rotated(3))),
		"a replay of the code":          story(redeemed(), rotated(1), refused(redeemed()), refused(rotated(2))),
		"an expired code":               story(Op{Kind: Redeem, Outcome: Refused, Late: true}),
		"a revocation that was unknown": story(redeemed(), Op{Kind: Revoke, Outcome: Unknown}, rotated(1), refused(rotated(2))),
		"accepted within the bound":     story(redeemed(), revoked, at(accepted, 900*ms, 5*time.Second)),
		"nothing was sent":              story(redeemed(), Op{Kind: Refresh, Generation: 7, Outcome: NotSent}),
	} {
		if v := CheckHistory(ops); len(v) > 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestHistoriesThatAreWrong(t *testing.T) {
	fork := rotated(1)
	fork.Got = "another"
	merged := rotated(2)
	merged.Got = "2"
	for name, tt := range map[string]struct {
		ops  []Op
		want string
	}{
		"a code spent twice":                  {story(redeemed(), redeemed()), CodeSpentTwice},
		"a code spent twice at once":          {story(at(redeemed(), ms, 9*ms), at(redeemed(), 2*ms, 8*ms)), CodeSpentTwice},
		"a forked successor":                  {story(redeemed(), rotated(1), fork), ForkedSuccessor},
		"one successor of two":                {story(redeemed(), rotated(1), merged), ForkedSuccessor},
		"no successor":                        {story(redeemed(), Op{Kind: Refresh, Generation: 1, Outcome: OK, Presented: "1"}), ForkedSuccessor},
		"a wrong verifier accepted":           {story(wrong(redeemed())), NotLinearizable},
		"a wrong client accepted":             {story(redeemed(), wrong(rotated(1))), NotLinearizable},
		"a wrong verifier burns the code":     {story(refused(wrong(redeemed())), refused(redeemed())), NotLinearizable},
		"a code refused for nothing":          {story(refused(redeemed())), NotLinearizable},
		"a refresh refused for nothing":       {story(redeemed(), refused(rotated(1))), NotLinearizable},
		"a retry refused":                     {story(redeemed(), rotated(1), refused(rotated(1))), NotLinearizable},
		"a retry of what was superseded":      {story(redeemed(), rotated(1), rotated(2), rotated(1)), NotLinearizable},
		"reuse that ends nothing":             {story(redeemed(), rotated(1), rotated(2), refused(rotated(1)), rotated(3)), NotLinearizable},
		"a refresh after a revocation":        {story(redeemed(), revoked, rotated(1)), NotLinearizable},
		"a code after a revocation":           {story(revoked, redeemed()), NotLinearizable},
		"a refresh that went back":            {story(redeemed(), rotated(1), at(rotated(3), 10*ms, 11*ms)), NotLinearizable},
		"accepted too late":                   {story(redeemed(), revoked, at(accepted, 1100*ms, 1101*ms)), StaleAcceptance},
		"accepted too late, whoever asked it": {story(redeemed(), revoked, at(accepted, 1004*ms, 5*time.Second)), StaleAcceptance},
	} {
		if v := CheckHistory(tt.ops); !has(v, tt.want) {
			t.Errorf("%s: %v, want %s", name, v, tt.want)
		}
	}
}

func has(all []Violation, name string) bool {
	return slices.ContainsFunc(all, func(v Violation) bool { return v.Name == name })
}

// grantID is that of the grant in the logs below.
var grantID = events.NewGrantID(0, [16]byte{1, 2, 3})

// A written event is a fact with the request that caused it and when, in seconds.
type written struct {
	fact    events.Fact
	request string
	second  int
}

func logOf(all ...written) Log {
	var recorded []events.Recorded
	for i, w := range all {
		subject := events.DefaultRealm.GrantSubject(grantID)
		if _, ok := w.fact.(events.AccessTokenIssued); ok {
			subject = events.DefaultRealm.IssuedSubject(0, "hammer-service")
		}
		recorded = append(recorded, events.Recorded{
			Event: events.Event{Subject: subject, Meta: events.Meta{Request: w.request}, Fact: w.fact},
			Seq:   uint64(i + 1), Stored: time.Unix(int64(1000+w.second), 0),
		})
	}
	return Log{"MAIN_EVENTS_0": recorded}
}

func opened() written { return written{fact: events.GrantOpened{}, request: "r0"} }

func firstIssued() written {
	return written{fact: events.CodeRedeemed{Issuance: events.Issuance{Generation: 1, JTI: "j1"}}, request: "r1"}
}

func nextIssued(n uint32, request, jti string) written {
	return written{fact: events.RefreshTokenRotated{Issuance: events.Issuance{Generation: n, JTI: jti}}, request: request}
}

func ended(reason string, n uint32, second int) written {
	return written{events.GrantRevoked{Reason: reason, Generation: n}, "r9", second}
}

// answered is an operation with what its answer said.
func answered(o Op, request, jti string) Op {
	o.Request, o.JTI, o.GrantID = request, jti, grantID.String()
	return o
}

func TestLogsThatAreRight(t *testing.T) {
	token := answered(Op{Kind: Issue, Outcome: OK}, "r5", "t1")
	token.GrantID = ""
	ops := story(
		answered(Op{Kind: Login, Outcome: OK}, "r0", ""), answered(redeemed(), "r1", "j1"), answered(refused(wrong(rotated(1))), "r2", ""),
		answered(rotated(1), "r3", "j2"), answered(rotated(1), "r4", "j2"), unknown(rotated(2)), token, answered(rotated(3), "r6", "j4"),
		answered(accepted, "r7", ""), answered(refused(rotated(1)), "r9", ""), answered(Op{Kind: Introspect, Outcome: OK}, "r10", ""))
	log := logOf(
		opened(), firstIssued(), nextIssued(2, "r3", "j2"), written{fact: events.RefreshTokenRepeated{}, request: "r4"},
		nextIssued(3, "of the one without an answer", "j3"), written{fact: events.AccessTokenIssued{JTI: "t1"}, request: "r5"},
		nextIssued(4, "r6", "j4"), ended(events.ReasonRefreshTokenReuse, 1, 3))
	if v := CheckLog(ops, log); len(v) > 0 {
		t.Errorf("%v", v)
	}
	late := logOf(opened(), firstIssued(), ended(events.ReasonCodeReuse, 0, 11))
	if v := CheckLog(story(answered(redeemed(), "r1", "j1")), late); len(v) > 0 {
		t.Errorf("a code that came again after its grace: %v", v)
	}
}

func TestLogsThatAreWrong(t *testing.T) {
	login, code := answered(Op{Kind: Login, Outcome: OK}, "r0", ""), answered(redeemed(), "r1", "j1")
	for name, tt := range map[string]struct {
		ops  []Op
		log  Log
		want string
	}{
		"a lost token":          {story(login, code), logOf(opened()), LostEvent},
		"a lost grant":          {story(login), logOf(), LostEvent},
		"a lost revocation":     {story(code, answered(revoked, "r2", "")), logOf(opened(), firstIssued()), LostEvent},
		"a token without a jti": {story(answered(redeemed(), "r1", "")), logOf(opened(), firstIssued()), LostEvent},
		"a token twice": {
			story(code), logOf(opened(), firstIssued(), nextIssued(2, "r2", "j1")), DuplicatedEvent,
		},
		"a grant twice": {story(login), logOf(opened(), opened()), DuplicatedEvent},
		"a lost client credentials token": {
			story(answered(Op{Kind: Issue, Outcome: OK}, "r5", "t1")), logOf(opened()), LostEvent,
		},
		"events in another order": {
			story(code, answered(rotated(1), "r2", "j2")), logOf(opened(), nextIssued(2, "r2", "j2"), firstIssued()), ReorderedEvents,
		},
		"a wrong client that rotates": {
			story(code, answered(refused(wrong(rotated(1))), "r2", "")), logOf(opened(), firstIssued(), nextIssued(2, "r2", "j2")), WrongRequestActed,
		},
		"a generation twice": {
			story(code), logOf(opened(), firstIssued(), nextIssued(2, "r2", "j2"), nextIssued(2, "r3", "j3")), BrokenGrant,
		},
		"a generation left out":       {story(code), logOf(opened(), firstIssued(), nextIssued(3, "r2", "j2")), BrokenGrant},
		"a token after a revocation":  {story(code), logOf(opened(), firstIssued(), ended(events.ReasonClientRequest, 0, 1), nextIssued(2, "r2", "j2")), BrokenGrant},
		"a grant that was not opened": {story(code), logOf(firstIssued()), BrokenGrant},
		"revoked for a retry": {
			story(code), logOf(opened(), firstIssued(), nextIssued(2, "r2", "j2"), ended(events.ReasonRefreshTokenReuse, 1, 1)), InnocentRevoked,
		},
		"revoked for a racing code": {
			story(code), logOf(opened(), firstIssued(), ended(events.ReasonCodeReuse, 0, 9)), InnocentRevoked,
		},
		"not active for nothing": {
			story(code, answered(Op{Kind: Introspect, Outcome: OK}, "r2", "")), logOf(opened(), firstIssued()), InnocentRefused,
		},
		"not active before it is revoked": {
			story(code, answered(Op{Kind: Introspect, Outcome: OK}, "r2", ""), answered(revoked, "r3", "")),
			logOf(opened(), firstIssued(), written{fact: events.GrantRevoked{Reason: events.ReasonClientRequest}, request: "r3"}), InnocentRefused,
		},
		"a token that nobody asked for": {
			story(code), logOf(opened(), firstIssued(), nextIssued(2, "r2", "j2")), UnaskedEvent,
		},
	} {
		if v := CheckLog(tt.ops, tt.log); !has(v, tt.want) {
			t.Errorf("%s: %v, want %s", name, v, tt.want)
		}
	}
}

func TestSecretsAreFound(t *testing.T) {
	token := "chr_" + strings.Repeat("Ab3_", 19)
	jwt := "eyJ" + strings.Repeat("a", 20) + "." + strings.Repeat("b", 40) + "." + strings.Repeat("c", 40)
	for text, want := range map[string]bool{
		"level=INFO msg=serving": false, "reason=" + token: true, "token " + jwt + " refused": true,
		"password=the-planted-password ": true, "chr_short": false,
		"sealed=xyz" + token + "xyz": false,
	} {
		s := newSearcher([]string{"the-planted-password", "short", token})
		s.look("a log", []byte(text))
		if has(s.found, SecretExposed) != want {
			t.Errorf("%q: %v", text, s.found)
		}
	}
	s := newSearcher(nil)
	s.message("MAIN_EVENTS_0", eventlog.Entry{Seq: 7, Message: events.Message{Header: events.Header{{"ce-x", token}}}})
	if !has(s.found, SecretExposed) {
		t.Error("a token in a header is not found")
	}
}

func TestReadModelsThatDiffer(t *testing.T) {
	fresh := map[string]folded{"A": {5, "aa"}, "B": {7, "bb"}}
	for name, left := range map[string]map[string]folded{
		"another state": {"A": {5, "ab"}, "B": {7, "bb"}}, "behind": {"A": {4, "aa"}, "B": {7, "bb"}}, "not there": {"A": {5, "aa"}},
	} {
		var v violations
		if v.differ("projector-0", left, fresh); !has(v, ReadModelDiffers) || len(v) != 1 {
			t.Errorf("%s: %v", name, v)
		}
	}
	var v violations
	if v.differ("projector-0", fresh, fresh); len(v) > 0 {
		t.Errorf("the same: %v", v)
	}
}

func TestLogThatIsNotVerified(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*ms)
	defer cancel()
	c := &Cluster{cfg: Config{Program: "/does/not/exist", Dir: t.TempDir()}, APIs: []*Service{{}}}
	if v := c.verifyLog(ctx); !has(v, NotVerified) {
		t.Errorf("%v", v)
	}
}

func TestPanicsAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		"level=INFO msg=serving\n": false, "level=INFO msg=serving\npanic: index out of range\n": true, "level=ERROR msg=panic request=r1": true,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "api-0.log"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSearcher(nil)
		if err := s.files(dir); err != nil || has(s.found, Panicked) != want {
			t.Errorf("%q: %v %v", text, s.found, err)
		}
	}
}

func TestPlanComesAgain(t *testing.T) {
	first, again, other := plan(7, AllFaults()), plan(7, AllFaults()), plan(8, AllFaults())
	seen, same := map[string]bool{}, true
	for range AllFaults() {
		p := first()
		if q := again(); p != q {
			t.Fatalf("%v, then %v", p, q)
		}
		same = same && p == other()
		seen[p.name] = true
	}
	if same || len(seen) != len(AllFaults()) {
		t.Errorf("the same for another seed: %v; %d of %d faults in the first round", same, len(seen), len(AllFaults()))
	}
}

func TestSteppedClock(t *testing.T) {
	file := t.TempDir() + "/clock"
	now := SteppedClock(file)
	if off := time.Since(now()); off.Abs() > time.Minute {
		t.Errorf("off by %v without a file", off)
	}
	for _, want := range []time.Duration{-24 * time.Hour, time.Hour, 0} {
		if err := stepClock(file, want); err != nil {
			t.Fatal(err)
		}
		if off := now().Sub(time.Now().Round(0)); (off - want).Abs() > time.Minute {
			t.Errorf("off by %v, want %v", off, want)
		}
	}
}

func TestReportMeasures(t *testing.T) {
	issue := Op{Kind: Issue, Outcome: OK}
	failed := Op{Kind: Issue, Outcome: Unknown, Status: 503}
	dropped := Op{Kind: Refresh, Outcome: Unknown, Dropped: true}
	ops := []Op{at(issue, 0, 10*ms), at(issue, 90*ms, 110*ms), at(failed, 120*ms, 200*ms), at(dropped, 120*ms, 200*ms), at(issue, 600*ms, 700*ms)}
	f := Fault{At: 100 * ms, Recovered: 800 * ms}
	f.measure(ops)
	if f.WriteGap != 590*ms || f.Requests != 4 || f.Failed != 1 {
		t.Errorf("%+v", f)
	}
	inactive := Op{Kind: Introspect, Outcome: OK, Replica: "api-0"}
	took := refusals([]Op{at(revoked, 0, 10*ms), at(accepted, 11*ms, 12*ms), at(inactive, 12*ms, 15*ms), at(inactive, 16*ms, 17*ms)})
	if len(took) != 1 || took[0].took != 5*ms {
		t.Errorf("%v", took)
	}
}
