package events_test

import (
	"testing"

	"github.com/chancery-authority/chancery/events"
)

// benchmarked are the facts that a log has most of.
var benchmarked = []string{"grant.opened.v1", "refresh_token.rotated.v1", "access_token.issued.v1"}

// BenchmarkEncode encodes events.
func BenchmarkEncode(b *testing.B) {
	for _, typ := range benchmarked {
		b.Run(typ, func(b *testing.B) {
			e := sampleEvent(typ, samples()[typ])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := events.Encode(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode decodes messages.
func BenchmarkDecode(b *testing.B) {
	for _, typ := range benchmarked {
		b.Run(typ, func(b *testing.B) {
			m := mustEncode(b, sampleEvent(typ, samples()[typ]))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := events.Decode(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNext chains the hash of a message to that of those before it.
func BenchmarkNext(b *testing.B) {
	const typ = "refresh_token.rotated.v1"
	m := mustEncode(b, sampleEvent(typ, samples()[typ]))
	var h events.Hash
	b.ReportAllocs()
	for b.Loop() {
		h = h.Next(1, m)
	}
}
