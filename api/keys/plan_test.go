package keys

import (
	"slices"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/jose"
	"github.com/chancery-authority/chancery/projector/fold"
)

var t0 = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// at is a state since so many days after t0. Sequences are as the days are.
func at(id string, f Family, state fold.KeyState, days int, mac uint8) fold.Key {
	seq := uint64(1000 + days)
	k := fold.Key{ID: id, Seq: seq, Use: f.Use, Alg: string(f.Alg), MACKey: mac, State: state, ChangedAt: t0.Add(time.Duration(days) * day)}
	if state != fold.KeyAnnounced {
		k.ActivatedSeq = seq
	}
	return k
}

func TestPlan(t *testing.T) {
	es, ed, mac := signingFamily(jose.ES256), signingFamily(jose.EdDSA), macFamily()
	policy := Policy{Rotate: 30 * day, RotateMAC: 60 * day, Announce: 2 * day, Keep: 1 * day, KeepMAC: 90 * day}
	type step struct {
		action Action
		id     string
		days   int
	}
	tests := map[string]struct {
		states []fold.Key
		change func(*Policy)
		want   []step
	}{
		"nothing": {},
		"a signing key is followed in time": {
			states: []fold.Key{at("a", es, fold.KeyActive, 0, 0)},
			want:   []step{{Announce, "", 28}},
		},
		"and a MAC key in its own": {
			states: []fold.Key{at("m1", mac, fold.KeyActive, 0, 1)},
			want:   []step{{Announce, "", 58}},
		},
		"never, if so configured": {
			states: []fold.Key{at("a", es, fold.KeyActive, 0, 0), at("m1", mac, fold.KeyActive, 0, 1)},
			change: func(p *Policy) { p.Rotate, p.RotateMAC = 0, 0 },
		},
		"at once, if rotation is shorter than announcement": {
			states: []fold.Key{at("a", es, fold.KeyActive, 0, 0)},
			change: func(p *Policy) { p.Rotate = day },
			want:   []step{{Announce, "", 0}},
		},
		"an announced key becomes active, and none other is announced": {
			states: []fold.Key{at("a", es, fold.KeyActive, 0, 0), at("b", es, fold.KeyAnnounced, 40, 0)},
			want:   []step{{Activate, "b", 42}},
		},
		"the older of two active keys retires": {
			states: []fold.Key{at("a", es, fold.KeyActive, 0, 0), at("b", es, fold.KeyActive, 30, 0)},
			want:   []step{{Retire, "a", 30}, {Announce, "", 58}},
		},
		"a retired signing key is dropped with its last token": {
			states: []fold.Key{at("a", es, fold.KeyRetired, 30, 0), at("b", es, fold.KeyActive, 30, 0)},
			want:   []step{{Drop, "a", 31}, {Announce, "", 58}},
		},
		"and a MAC key with its last grant": {
			states: []fold.Key{at("m1", mac, fold.KeyRetired, 30, 1), at("m2", mac, fold.KeyActive, 30, 2)},
			want:   []step{{Announce, "", 88}, {Drop, "m1", 120}},
		},
		"dropped is the end": {
			states: []fold.Key{at("a", es, fold.KeyDropped, 30, 0), at("b", es, fold.KeyActive, 30, 0)},
			want:   []step{{Announce, "", 58}},
		},
		"families do not mix": {
			states: []fold.Key{
				at("a", es, fold.KeyActive, 0, 0), at("m1", mac, fold.KeyActive, 10, 1), at("b", es, fold.KeyAnnounced, 20, 0),
			},
			want: []step{{Activate, "b", 22}, {Announce, "", 68}},
		},
		"of an algorithm that is not configured none follows and none becomes active": {
			states: []fold.Key{
				at("a", ed, fold.KeyActive, 0, 0), at("b", ed, fold.KeyAnnounced, 5, 0), at("c", ed, fold.KeyRetired, 6, 0),
			},
			want: []step{{Drop, "c", 7}},
		},
		"no id of a MAC key is used twice": {
			states: []fold.Key{at("m254", mac, fold.KeyRetired, 60, 254), at("m255", mac, fold.KeyActive, 60, 255)},
			want:   []step{{Drop, "m254", 150}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := policy
			if tt.change != nil {
				tt.change(&p)
			}
			want := tt.want
			for range 2 { // in whatever order the states come
				var got []step
				for _, s := range Plan(tt.states, []Family{es, mac}, p) {
					got = append(got, step{s.Action, s.Key.ID, int(s.At.Sub(t0) / day)})
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				slices.Reverse(tt.states)
			}
		})
	}
}
