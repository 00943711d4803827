package projector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// ids makes event ids that are unique in a test run.
func ids() func() string {
	var n atomic.Uint64
	prefix := time.Now().UnixNano()
	return func() string { return fmt.Sprintf("id-%d-%d", prefix, n.Add(1)) }
}

func openFeed(t testing.TB, log *eventlog.Log, cfg FeedConfig) *Feed {
	t.Helper()
	cfg.Source, cfg.NewID = "test", ids()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	f, err := OpenFeed(ctx, log, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// put appends one event and returns its sequence.
func put(t testing.TB, log *eventlog.Log, s events.Subject, expect uint64, f events.Fact) uint64 {
	t.Helper()
	r, err := log.Append(t.Context(), eventlog.Unit{Expect: expect, Event: events.Event{
		ID: fmt.Sprintf("put-%d", time.Now().UnixNano()), Source: "test", Subject: s, Fact: f,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func waitFed(t testing.TB, f *Feed, stream string, seq uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	defer cancel()
	if err := f.Wait(ctx, stream, seq); err != nil {
		t.Fatal(err)
	}
}

func TestFeedKnowsTheRegistry(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	seq := put(t, log, realm.ClientSubject("web"), 0, events.ClientRegistered{})
	put(t, log, realm.UserSubject("alice"), 0, events.UserRegistered{})
	f := openFeed(t, log, FeedConfig{})

	if c, ok := f.Client("web"); !ok || c.Epoch != 0 || c.Seq != seq {
		t.Errorf("client from before: %+v, %v", c, ok)
	}
	if _, ok := f.Client("other"); ok {
		t.Error("a client nobody registered")
	}
	if u, ok := f.User("alice"); !ok || u.Disabled {
		t.Errorf("user from before: %+v, %v", u, ok)
	}
	changed := f.KeysChanged()
	seq = put(t, log, realm.ClientSubject("web"), seq, events.ClientDisabled{})
	waitFed(t, f, realm.RegistryStream(), seq)
	if c, _ := f.Client("web"); !c.Disabled || c.Epoch != 1 {
		t.Errorf("after Wait: %+v", c)
	}
	select {
	case <-changed:
		t.Error("no key has changed")
	default:
	}
	seq = put(t, log, realm.KeySubject("k1"), 0, events.KeyAnnounced{Use: events.KeyUseMAC, MACKey: 1})
	waitFed(t, f, realm.RegistryStream(), seq)
	select {
	case <-changed:
	default:
		t.Error("the change of a key was not told")
	}
	if keys := f.Keys(); len(keys) != 1 || keys[0].ID != "k1" {
		t.Errorf("keys: %+v", keys)
	}
}

func TestFeedKnowsRevocations(t *testing.T) {
	log := openLog(t, embeddedtest.Single(t).Conn(), 1)
	until := time.Now().Unix() + 3600
	put(t, log, realm.RevokedSubject(0), 0, events.GrantRevocationMarked{Grant: grantID(1), Until: until})
	f := openFeed(t, log, FeedConfig{})
	if !f.GrantRevoked(grantID(1)) || f.GrantRevoked(grantID(2)) || f.TokenRevoked("j") {
		t.Error("not what was revoked before")
	}
	seq := openGrant(t, log, grantID(2))
	marker := events.Event{
		ID: "m", Source: "test", Subject: realm.RevokedSubject(0),
		Fact: events.GrantRevocationMarked{Grant: grantID(2), Until: until},
	}
	r, err := log.Append(t.Context(), eventlog.Unit{Expect: seq, Marker: &marker, Event: events.Event{
		ID: "r", Source: "test", Subject: realm.GrantSubject(grantID(2)), Fact: events.GrantRevoked{Reason: "x"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	waitFed(t, f, realm.PartitionStream(0), r.Seq)
	if !f.GrantRevoked(grantID(2)) {
		t.Error("not known after Wait")
	}
	seq = put(t, log, realm.RevokedSubject(0), 0, events.AccessTokenRevoked{JTI: "j", Until: until})
	waitFed(t, f, realm.PartitionStream(0), seq)
	if !f.TokenRevoked("j") {
		t.Error("the token's revocation is not known after Wait")
	}
	// Wait for an event that is not followed itself.
	waitFed(t, f, realm.PartitionStream(0), openGrant(t, log, grantID(3)))
}

func TestFeedUnknownStream(t *testing.T) {
	f := openFeed(t, openLog(t, embeddedtest.Single(t).Conn(), 1), FeedConfig{})
	if err := f.PartitionFresh(t.Context(), 9); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
	if err := f.Wait(t.Context(), "MAIN_EVENTS_9", 1); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
}
