package api_test

import (
	"testing"
	"time"

	"github.com/chancery-authority/chancery/api/apitest"
)

// BenchmarkRevocation opens grants, counts them by a dry run and revokes them.
func BenchmarkRevocation(b *testing.B) {
	r := apitest.Single(b, apitest.Options{})
	selection := map[string]any{"client": "demo-spa", "since": "2020-01-01T00:00:00Z"}
	var grants, revoking, examined, counting float64
	for b.Loop() {
		manyGrants(b, r, 2000)
		start := time.Now()
		counts := dryRun(b, r, selection)
		counting += time.Since(start).Seconds()
		examined += float64(counts.Examined)
		start = time.Now()
		job := begin(b, r, selection)
		job = finished(b, r, job.ID)
		revoking += time.Since(start).Seconds()
		grants += float64(job.GrantsRevoked)
	}
	b.ReportMetric(grants/revoking, "grants/s")
	b.ReportMetric(examined/counting, "examined/s")
}
