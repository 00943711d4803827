package projector

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/projector/fold"
)

// revokeToken marks an access token revoked and returns the marker's sequence.
func revokeToken(t *testing.T, f *Feed, jti string) {
	t.Helper()
	log := f.registryFed.log
	seq := put(t, log, realm.RevokedSubject(0), 0, events.AccessTokenRevoked{JTI: jti, Until: time.Now().Unix() + 3600})
	waitFed(t, f, realm.PartitionStream(0), seq)
}

func TestEndingsGoOnWhereTheyEnded(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f, other := openFeed(t, log, FeedConfig{}), openFeed(t, log, FeedConfig{})
	revokeToken(t, f, "first")
	all, place := f.Endings(nil)
	if !slices.ContainsFunc(all, func(e Ending) bool { return e.JTI == "first" }) {
		t.Fatalf("not what was revoked before: %+v", all)
	}
	revokeToken(t, f, "second")
	if newer, _ := f.Endings(place); len(newer) != 1 || newer[0].JTI != "second" {
		t.Errorf("after the first: %+v", newer)
	}
	head, err := log.Head(t.Context(), realm.PartitionStream(0))
	if err != nil {
		t.Fatal(err)
	}
	waitFed(t, other, realm.PartitionStream(0), head.Seq)
	if newer, _ := other.Endings(place); len(newer) != 1 || newer[0].JTI != "second" {
		t.Errorf("after the first, at another replica: %+v", newer)
	}
	// A log that was restored gives a sequence to another message.
	for stream, p := range place {
		place[stream] = Place{p.Seq, p.Stored + 1}
	}
	if again, _ := f.Endings(place); len(again) != 2 {
		t.Errorf("after what is not in this log: %+v, want all", again)
	}
}

func TestEndingsOfTheRegistry(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f := openFeed(t, log, FeedConfig{})
	pairwise := func(host string) events.ClientSettings {
		return events.ClientSettings{SubjectType: fold.SubjectPairwise, RedirectURIs: []string{"https://" + host + "/callback"}}
	}
	client := put(t, log, realm.ClientSubject("web"), 0, events.ClientRegistered{ClientSettings: pairwise("old.example")})
	client = put(t, log, realm.ClientSubject("web"), client, events.ClientUpdated{ClientSettings: pairwise("new.example")})
	client = put(t, log, realm.ClientSubject("web"), client, events.ClientCutOff{Reason: "x"})
	put(t, log, realm.ClientSubject("web"), client, events.ClientDisabled{})
	user := put(t, log, realm.UserSubject("alice"), 0, events.UserRegistered{})
	user = put(t, log, realm.UserSubject("alice"), user, events.UserDisabled{})
	put(t, log, realm.UserSubject("alice"), user, events.UserEnabled{})
	for _, use := range []string{events.KeyUseSignature, events.KeyUseMAC} {
		key := realm.KeySubject("of-" + use)
		announced := events.KeyAnnounced{Use: use}
		if use == events.KeyUseMAC {
			announced.MACKey = 1
		}
		waitFed(t, f, realm.RegistryStream(), put(t, log, key, put(t, log, key, 0, announced), events.KeyDropped{}))
	}
	ended, _ := f.Endings(nil)
	var got []string
	for _, e := range ended {
		if left := time.Until(time.Unix(e.Until, 0)); left < 24*time.Hour || left > revocationReach {
			t.Errorf("%+v matters for %v", e, left)
		}
		got = append(got, fmt.Sprintf("%s%s%s %d", e.Client, e.User, e.Key, e.Epoch))
	}
	slices.Sort(got)
	if want := []string{"alice 1", "of-" + events.KeyUseSignature + " 0", "web 2"}; !slices.Equal(got, want) {
		t.Errorf("ended %q, want %q", got, want)
	}
	if got, want := f.Sectors(), []string{"new.example", "old.example"}; !slices.Equal(got, want) {
		t.Errorf("sectors %q, want %q", got, want)
	}
}

// TestProvedEndings has everything that was acknowledged before what is proved.
func TestProvedEndings(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	f := openFeed(t, log, FeedConfig{})
	for i := range 20 {
		jti := fmt.Sprint("token-", i)
		put(t, log, realm.RevokedSubject(0), 0, events.AccessTokenRevoked{JTI: jti, Until: time.Now().Unix() + 3600})
		acknowledged := time.Now()
		embeddedtest.Eventually(t, "a proof of after the acknowledgement", func() bool {
			f.Prove(0)
			at, _, ok := f.Proved()
			return ok && at.After(acknowledged)
		})
		if ended, _ := f.Endings(nil); !slices.ContainsFunc(ended, func(e Ending) bool { return e.JTI == jti }) {
			t.Fatalf("%s is not among %d endings", jti, len(ended))
		}
	}
}

// TestJournalForgets goes far back, to where all has to be told.
func TestJournalForgets(t *testing.T) {
	var j journal
	at := func(i int) Place { return Place{uint64(i), int64(i)} }
	for i := 1; i <= 3*maxJournal; i++ {
		j.add(events.Recorded{Seq: uint64(i), Stored: time.Unix(0, int64(i))}, Ending{JTI: fmt.Sprint(i)})
	}
	if len(j.passed) > 2*maxJournal {
		t.Errorf("remembers %d", len(j.passed))
	}
	if _, _, ok := j.after(at(1)); ok {
		t.Error("goes back to the first")
	}
	newer, last, ok := j.after(at(3*maxJournal - 2))
	if !ok || last != at(3*maxJournal) || len(newer) != 2 || newer[0].JTI != fmt.Sprint(3*maxJournal-1) {
		t.Errorf("got %v, %v, %v", newer, last, ok)
	}
}

// TestEndingsAreForgotten lets a day go by in the log.
func TestEndingsAreForgotten(t *testing.T) {
	r, now := newRegistry(), time.Unix(1_800_000_000, 0)
	seq := uint64(0)
	apply := func(s events.Subject, f events.Fact) {
		seq++
		if err := r.apply(events.Recorded{Event: events.Event{Subject: s, Fact: f}, Seq: seq, Stored: now}, now); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b"} {
		apply(realm.UserSubject(id), events.UserRegistered{})
		apply(realm.UserSubject(id), events.UserCutOff{Reason: "x"})
		now = now.Add(revocationReach + time.Second)
	}
	if ended := r.endings(); len(ended) != 1 || ended[0].User != "b" {
		t.Errorf("got %+v", ended)
	}
}
