package reseal

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

func parse(t *testing.T, lines string) *secret.Ring {
	t.Helper()
	r, err := secret.ParseRing(secret.New(lines))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPages seals all of a bucket anew that is changed meanwhile, in which records
// are erased, and that was interrupted.
func TestPages(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	log, err := eventlog.Open(ctx, embeddedtest.Single(t).Conn(), eventlog.Config{Realm: events.DefaultRealm})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := log.ErasableBucket(ctx, "TEST")
	if err != nil {
		t.Fatal(err)
	}
	one, two := secret.NewRingLine("1").Reveal(), secret.NewRingLine("2").Reveal()
	old, both, only := parse(t, one).Sealer("x"), parse(t, one+two).Sealer("x"), parse(t, two).Sealer("x")
	const many = 2*maxWritten + 10
	name := func(n int) string { return fmt.Sprint("record.", n) }
	for n := range many {
		if _, err := bucket.Create(ctx, name(n), old.Seal([]byte(name(n)), []byte(name(n)))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bucket.Create(ctx, "broken", []byte{1, 1, '9', 0}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	var raced bool
	store := Store{Name: "test", Bucket: bucket, Reseal: func(key string, value []byte) ([]byte, string, error) {
		switch {
		case key == name(7) && !raced: // somebody else writes it between read and write
			raced = true
			entry, err := bucket.Get(ctx, key)
			if err == nil {
				_, err = bucket.Update(ctx, key, old.Seal([]byte("changed"), []byte(key)), entry.Revision())
			}
			if err != nil {
				t.Error(err)
			}
		case key == name(8):
			if err := bucket.Erase(ctx, key, func([]byte) bool { return true }); err != nil {
				t.Error(err)
			}
		}
		return both.Reseal(value, []byte(key))
	}}
	run := func(dry bool, pages int) (sum Page, err error) {
		sum.Found = map[string]int{}
		for !sum.Done {
			p, err := store.Page(ctx, sum.Next, dry)
			if err != nil {
				return sum, err
			}
			for id, n := range p.Found {
				sum.Found[id] += n
			}
			sum.Resealed, sum.Raced, sum.Broken = sum.Resealed+p.Resealed, sum.Raced+p.Raced, append(sum.Broken, p.Broken...)
			sum.Next, sum.Done = p.Next, p.Done
			if pages--; pages == 0 {
				return sum, stop
			}
		}
		return sum, nil
	}
	if p, err := run(false, 1); !errors.Is(err, stop) || p.Resealed != maxWritten-2 || p.Raced != 2 {
		t.Fatalf("the first page: %+v, %v", p, err)
	}
	if p, err := run(false, 0); err != nil || p.Raced != 0 || p.Found["2"] != maxWritten-2 || p.Found["1"] != many-maxWritten+1 || len(p.Broken) != 1 {
		t.Errorf("after an interruption: %+v, %v", p, err)
	}
	if p, err := run(true, 0); err != nil || p.Resealed != 0 || !maps.Equal(p.Found, map[string]int{"2": many - 1, "9": 1}) {
		t.Errorf("in the end: %+v, %v", p, err)
	}
	for n := range many {
		entry, err := bucket.Get(ctx, name(n))
		if n == 8 {
			if err == nil {
				t.Error("what was erased is back")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want := name(n)
		if n == 7 {
			want = "changed"
		}
		if got, err := only.Open(entry.Value(), []byte(name(n))); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name(n), got, err)
		}
	}
}
