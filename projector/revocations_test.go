package projector

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
)

// TestRevocationsLastUntilTheirEnd holds the feed's sets against a plain list
// of markers: nothing is forgotten before its end, and little after it.
func TestRevocationsLastUntilTheirEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		known, clock := newRevocations(), start
		ends := map[string]int64{}
		for seq := range uint64(rapid.IntRange(1, 60).Draw(rt, "markers")) {
			stored := clock.Add(time.Duration(rapid.IntRange(-10, 400).Draw(rt, "seconds")) * time.Second)
			if stored.After(clock) {
				clock = stored
			}
			name := fmt.Sprint(rapid.IntRange(1, 4).Draw(rt, "token"))
			until := clock.Unix() + rapid.Int64Range(0, 1200).Draw(rt, "until")
			ends[name] = max(ends[name], until)
			r := events.Recorded{Seq: seq + 1, Stored: stored, Event: events.Event{Subject: realm.RevokedSubject(0)}}
			switch name {
			case "1":
				r.Fact = events.GrantRevocationMarked{Grant: grantID(1), Until: until}
			case "2":
				r.Fact = events.SessionEnded{Session: grantID(1), Until: until}
			default:
				r.Fact = events.AccessTokenRevoked{JTI: name, Until: until}
			}
			if err := known.apply(r, clock); err != nil {
				rt.Fatal(err)
			}
			for name, end := range ends {
				is := has(known, known.tokens, name)
				switch name {
				case "1":
					is = has(known, known.grants, grantID(1))
				case "2":
					is = has(known, known.sessions, grantID(1))
				}
				if !is && !fold.Finished(end, clock) {
					rt.Fatalf("%s was forgotten %d s before its end", name, end-clock.Unix())
				}
				if is && fold.Finished(end+120, clock) {
					rt.Fatalf("%s is still known %d s after its end", name, clock.Unix()-end)
				}
			}
		}
	})
}
