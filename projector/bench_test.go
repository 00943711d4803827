package projector

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// BenchmarkFold folds a log in batches of 500, as a rebuild does.
func BenchmarkFold(b *testing.B) {
	for _, batch := range []int{1, 50, 500} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			entries := partitionLog(1, max(b.N, batch))
			s := openTest(b, b.TempDir())
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				if err := s.fold(b.Context(), entries[n:min(n+batch, b.N)]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkRotate folds rotations of random grants out of many, 500 in a
// batch.
func BenchmarkRotate(b *testing.B) {
	const batch = 500
	s, ids := manyGrants(b, 200_000)
	seq := uint64(len(ids))
	h := newHistory(1)
	h.clock = start.Add(time.Minute)
	next := map[int]uint32{}
	for b.Loop() {
		b.StopTimer()
		h.entries = h.entries[:0]
		for range batch {
			i := rand.IntN(len(ids))
			next[i] = max(next[i], 1) + 1
			h.write(realm.GrantSubject(ids[i]), events.RefreshTokenRotated{Issuance: h.issuance(next[i], 1<<40)})
			seq++
			h.entries[len(h.entries)-1].Seq = seq
		}
		b.StartTimer()
		if err := s.fold(b.Context(), h.entries); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "events/s")
}

// manyGrants is a store with n open grants.
func manyGrants(b *testing.B, n int) (*store, []events.GrantID) {
	b.Helper()
	s := openTest(b, b.TempDir())
	h := newHistory(1)
	ids := make([]events.GrantID, 0, n)
	for len(ids) < n {
		h.entries = h.entries[:0]
		for range min(500, n-len(ids)) {
			var random [16]byte
			for i := range random {
				random[i] = byte(h.rnd.Uint32())
			}
			id := events.NewGrantID(0, random)
			ids = append(ids, id)
			issued := h.issuance(1, 1<<40)
			h.write(realm.GrantSubject(id), events.GrantOpened{
				Client: fmt.Sprint("client-", len(ids)%20), User: fmt.Sprint("user-", len(ids)%(n/4)),
				Scope: []string{"read", "write"}, Expires: 1 << 40, Refreshable: true, Issued: &issued,
			})
			h.entries[len(h.entries)-1].Seq = uint64(len(ids))
		}
		if err := s.fold(b.Context(), h.entries); err != nil {
			b.Fatal(err)
		}
	}
	return s, ids
}

// BenchmarkRead reads random grants out of many.
func BenchmarkRead(b *testing.B) {
	s, ids := manyGrants(b, 200_000)
	l := &Local{}
	l.models.Store(&models{places: map[place]*projection{"0": {}}})
	l.states = states{l}
	w := &worker{log: openLog(b, embeddedtest.Single(b).Conn(), 1), stream: stream, caughtUp: true}
	w.store.Store(s)
	l.models.Load().places["0"].live.Store(w)
	b.Run("row", func(b *testing.B) {
		for b.Loop() {
			if state, err := s.read(b.Context(), readGrant, ids[rand.IntN(len(ids))].String()); err != nil || state == nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("local", func(b *testing.B) {
		for b.Loop() {
			if g, err := l.Grant(b.Context(), ids[rand.IntN(len(ids))]); err != nil || !g.Exists() {
				b.Fatal(err)
			}
		}
	})
	b.Run("local/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if g, err := l.Grant(b.Context(), ids[rand.IntN(len(ids))]); err != nil || !g.Exists() {
					b.Error(err)
				}
			}
		})
	})
	b.Run("missing", func(b *testing.B) {
		for b.Loop() {
			if g, err := l.Grant(b.Context(), grantID(1)); err != nil || g.Exists() {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRemoteRead asks over an in-process connection.
func BenchmarkRemoteRead(b *testing.B) {
	node := embeddedtest.Single(b)
	log := openLog(b, node.Conn(), 1)
	l := openLocal(b, log, LocalConfig{})
	s := Serve(node.Conn(), l)
	b.Cleanup(s.Close)
	r := NewRemote(node.Conn(), realm)
	waitGrant(b, r, grantID(1), openGrant(b, log, grantID(1)))
	for _, readers := range []int{1, 16} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			var reading sync.WaitGroup
			for range readers {
				reading.Go(func() {
					for range b.N / readers {
						if _, err := r.Grant(b.Context(), grantID(1)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			reading.Wait()
		})
	}
}

// BenchmarkRebuild folds a log of 50,000 events from the server, decoding and
// delivery included.
func BenchmarkRebuild(b *testing.B) {
	const length = 50_000
	node := embeddedtest.Single(b)
	log := openLog(b, node.Conn(), 1)
	appendFast(b, log, partitionLog(1, length))
	for b.Loop() {
		l := openLocal(b, log, LocalConfig{Dir: b.TempDir()})
		if err := l.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(length*b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFeedLookup is what introspection asks of the feed.
func BenchmarkFeedLookup(b *testing.B) {
	log := openLog(b, embeddedtest.Single(b).Conn(), 1)
	f := openFeed(b, log, FeedConfig{})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f.PartitionFresh(b.Context(), 0); err != nil || f.GrantRevoked(grantID(1)) || f.TokenRevoked("j") {
				b.Error("revoked or stale")
			}
		}
	})
}

// appendFast appends with many at once: one after the other would wait for the
// disk each time.
func appendFast(b *testing.B, log *eventlog.Log, entries []eventlog.Entry) {
	b.Helper()
	bySubject := map[string][]eventlog.Entry{}
	for _, e := range entries {
		bySubject[e.Message.Subject] = append(bySubject[e.Message.Subject], e)
	}
	room := make(chan struct{}, 64)
	var appending sync.WaitGroup
	for _, own := range bySubject {
		room <- struct{}{}
		appending.Go(func() {
			appendAll(b, log, own)
			<-room
		})
	}
	appending.Wait()
}
