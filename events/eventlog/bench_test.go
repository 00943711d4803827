package eventlog_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// BenchmarkAppend appends to one partition of a server that syncs always.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("guarded/writers=%d", writers), func(b *testing.B) {
			benchmarkAppend(b, writers, func() eventlog.Unit { return eventlog.Unit{Event: opened(newGrant())} })
		})
	}
	b.Run("with marker/writers=16", func(b *testing.B) {
		benchmarkAppend(b, 16, func() eventlog.Unit {
			g := newGrant()
			return eventlog.Unit{Event: revoked(g), Marker: marker(g)}
		})
	})
	b.Run("plain/writers=16", func(b *testing.B) {
		benchmarkAppend(b, 16, func() eventlog.Unit { return eventlog.Unit{Event: tick()} })
	})
}

func benchmarkAppend(b *testing.B, writers int, unit func() eventlog.Unit) {
	l := open(b, embeddedtest.Single(b).Conn(), eventlog.Config{})
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				u := unit()
				begun := time.Now()
				if _, err := l.Append(b.Context(), u); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(begun)
			}
		})
	}
	writing.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "µs-p99")
}

// BenchmarkReplay reads a partition of 100,000 events from its start.
func BenchmarkReplay(b *testing.B) {
	const total = 100_000
	nc := embeddedtest.Single(b).Conn()
	l := open(b, nc, eventlog.Config{})
	fill(b, nc, total)
	for b.Loop() {
		n := 0
		err := l.Replay(b.Context(), partition, eventlog.From{}, func(entries []eventlog.Entry) error {
			n += len(entries)
			return nil
		})
		if err != nil || n != total {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(total*b.N)/b.Elapsed().Seconds(), "events/s")
}

// fill stores n events, a multiple of 500, as fast as can be.
func fill(b *testing.B, nc *nats.Conn, n int) {
	b.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	for range n / 500 {
		msgs := make([]*nats.Msg, 500)
		for i := range msgs {
			msgs[i] = encoded(b, opened(newGrant()))
		}
		if _, err := jetstreamext.PublishMsgBatch(b.Context(), js, msgs); err != nil {
			b.Fatal(err)
		}
	}
}

func encoded(b *testing.B, e events.Event) *nats.Msg {
	b.Helper()
	m, err := events.Encode(e)
	if err != nil {
		b.Fatal(err)
	}
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Data
	msg.Header = m.Header.Wire()
	return msg
}

// BenchmarkAfter reads the three events of one grant from the leader.
func BenchmarkAfter(b *testing.B) {
	l, g := open(b, embeddedtest.Single(b).Conn(), eventlog.Config{}), newGrant()
	seq := uint64(0)
	for gen := range uint32(3) {
		seq = mustAppend(b, l, eventlog.Unit{Event: rotated(g, gen), Expect: seq})
	}
	for b.Loop() {
		if rs, err := l.After(b.Context(), g, 0); err != nil || len(rs) != 3 {
			b.Fatal(rs, err)
		}
	}
}
