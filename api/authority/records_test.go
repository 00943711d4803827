package authority

import (
	"context"
	"testing"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

func newRecords(t *testing.T) (*records, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), embeddedtest.Patience)
	t.Cleanup(cancel)
	log, err := eventlog.Open(ctx, embeddedtest.Single(t).Conn(), eventlog.Config{Realm: events.DefaultRealm, Partitions: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := log.ErasableBucket(ctx, "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	return &records{bucket: bucket}, ctx
}

// TestUpdateLosesNobodysChange has somebody else write between every read and
// its write, for a while.
func TestUpdateLosesNobodysChange(t *testing.T) {
	r, ctx := newRecords(t)
	if err := r.create(ctx, "u", person{Username: "alice", Password: "old"}); err != nil {
		t.Fatal(err)
	}
	if err := r.create(ctx, "u", person{Username: "mallory"}); err == nil {
		t.Error("a record was created over another")
	}
	calls := 0
	got, err := r.update(ctx, "u", func(p *person) {
		if calls++; calls == 1 {
			if _, err := r.update(ctx, "u", func(p *person) { p.Password = "new" }); err != nil {
				t.Error(err)
			}
		}
		p.Nickname = "Al"
	})
	want := person{Username: "alice", Password: "new", Nickname: "Al"}
	stored, found, errGet := r.person(ctx, "u")
	for what, p := range map[string]person{"told": got, "stored": stored} {
		if p.Username != want.Username || p.Password != want.Password || p.Nickname != want.Nickname {
			t.Errorf("%s %+v, want %+v", what, p, want)
		}
	}
	if err != nil || errGet != nil || !found || calls != 2 {
		t.Errorf("%v, %v, found %v after %d calls", err, errGet, found, calls)
	}
	calls = 0
	_, err = r.update(ctx, "u", func(p *person) {
		calls++
		if _, err := r.update(ctx, "u", func(p *person) { p.LastName += "x" }); err != nil {
			t.Error(err)
		}
		p.Nickname = "never"
	})
	if !isRefusal(err, Unavailable) || calls != maxDecisions {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// TestUpdateRevivesNobody whose record is erased while it is changed.
func TestUpdateRevivesNobody(t *testing.T) {
	r, ctx := newRecords(t)
	if err := r.create(ctx, "u", person{Username: "alice"}); err != nil {
		t.Fatal(err)
	}
	_, err := r.update(ctx, "u", func(p *person) {
		if err := r.bucket.Purge(ctx, personKey("u")); err != nil {
			t.Error(err)
		}
		p.Nickname = "Al"
	})
	if !isRefusal(err, NoSuchUser) {
		t.Errorf("got %v", err)
	}
	if p, found, err := r.person(ctx, "u"); found || err != nil {
		t.Errorf("%+v is back, %v", p, err)
	}
}
