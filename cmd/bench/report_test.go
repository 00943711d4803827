package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestReportJSON has the names that are documented, which stay.
func TestReportJSON(t *testing.T) {
	of := &row{times: hdrhistogram.New(1, longest, digits), max: 3 * time.Millisecond, failed: 1}
	for _, micros := range []int64{1000, 2000, 3000} {
		if err := of.times.RecordValue(micros); err != nil {
			t.Fatal(err)
		}
	}
	own := newProcessUse("generator", 0, usage{}, usage{cpu: 30 * time.Millisecond, rss: 1 << 20}, 3)
	r := Report{
		Issuer: "https://auth.example", Authority: &Layout{2, 1, 4, 3}, Workers: 16, Grants: 4, VerifyEvery: 100, Timeout: 30, Version: "chancery v1", MaxProcs: 2,
		Runs: []Result{{
			Operation: Refresh, Seconds: 2, WarmupSeconds: 1, Rows: []Row{newRow(Refresh, of, 2)}, Requests: 4,
			Errors: []ErrorCount{{"status", "503 temporarily_unavailable", 1}}, Verified: 1, WorkersEnded: 1, ProcessesEnded: []string{"nats"},
			Processes: []ProcessUse{newProcessUse("api-0", 7, usage{cpu: time.Second}, usage{cpu: 4 * time.Second, rss: 1 << 30}, 3)}, Generator: &own,
		}},
		Events: []EventCount{{"refresh_token.rotated.v1", 3, 1, 4}}, RefreshTokens: []string{"secret"},
	}
	const want = `{"issuer":"https://auth.example","authority":{"apis":2,"projectors":1,"partitions":4,"nats_servers":3},` +
		`"workers":16,"grants_per_worker":4,"verify_every":100,"timeout_seconds":30,"version":"chancery v1","gomaxprocs":2,"runs":[{"operation":"refresh","seconds":2,"warmup_seconds":1,` +
		`"rows":[{"operation":"refresh","done":3,"failed":1,"per_second":1.5,"p50_ms":2,"p95_ms":3,"p99_ms":3,"max_ms":3}],` +
		`"requests":4,"errors":[{"kind":"status","what":"503 temporarily_unavailable","count":1}],"workers_ended":1,"verified":1,` +
		`"processes":[{"name":"api-0","pid":7,"cpu_seconds":3,"cpu_ms_per_done":1000,"rss_bytes":1073741824}],"processes_ended":["nats"],` +
		`"generator":{"name":"generator","cpu_seconds":0.03,"cpu_ms_per_done":10,"rss_bytes":1048576}}],` +
		`"events":[{"type":"refresh_token.rotated.v1","acknowledged":3,"unknown":1,"in_log":4}],"refresh_tokens_refused":0,"interrupted":false}`
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"503 temporarily_unavailable: 1 times", "events in the log: 4 of 3 refresh_token.rotated.v1, and up to 1 of requests without an answer", "1000.000",
		"1 of the workers ended early", "the process nats has ended", "answers within 30 s; on 2 processors at once; chancery v1",
	} {
		if !strings.Contains(table.String(), part) {
			t.Errorf("there is no %q in\n%s", part, table.String())
		}
	}
	if strings.Contains(table.String(), "secret") || strings.Contains(table.String(), "DIFFER") {
		t.Error(table.String())
	}
}
