//go:build unix

package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/telemetry"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// benchWorkers are how many clients ask at the same time.
var benchWorkers = []int{1, 16, 64}

// A benchRequest is one request of a worker. It checks its answer, and returns
// errBusy for one that says to come again.
type benchRequest func(worker int) error

// benchTelemetry is what CHANCERY_BENCH_TELEMETRY says: off, traces of all requests,
// or metrics, as it is by default.
func benchTelemetry(b *testing.B) *telemetry.Telemetry {
	b.Helper()
	cfg := telemetry.Config{Metrics: true}
	switch how := os.Getenv("CHANCERY_BENCH_TELEMETRY"); how {
	case "off":
		cfg.Metrics = false
	case "traces":
		cfg.Exporter, cfg.Ratio = tracetest.NewNoopExporter(), 1
	case "", "metrics":
	default:
		b.Fatalf("CHANCERY_BENCH_TELEMETRY=%s is none of off, metrics and traces", how)
	}
	return telemetry.New(cfg)
}

// errBusy is 503, which a machine gets that does other things too.
var errBusy = errors.New("503")

// benchmark sends b.N requests from several workers, and reports how many were
// answered in a second, how long they took and what they cost in CPU time. The
// cost is that of the whole process: clients, API, projector and log.
func benchmark(b *testing.B, workers int, request benchRequest) {
	b.Helper()
	var sent, busy atomic.Int64
	var running sync.WaitGroup
	took := make([][]time.Duration, workers)
	errs := make([]error, workers)
	b.ResetTimer()
	cpu := cpuTime(b)
	for w := range workers {
		running.Go(func() {
			for sent.Add(1) <= int64(b.N) && errs[w] == nil {
				began := time.Now()
				for errs[w] = request(w); errors.Is(errs[w], errBusy); errs[w] = request(w) {
					busy.Add(1)
				}
				took[w] = append(took[w], time.Since(began))
			}
		})
	}
	running.Wait()
	cpu = cpuTime(b) - cpu
	b.StopTimer()
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(millis(all[len(all)/2]), "p50-ms")
	b.ReportMetric(millis(all[len(all)*99/100]), "p99-ms")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/req")
	if n := busy.Load(); n > 0 {
		b.ReportMetric(float64(n), "503s")
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A benchClient keeps its connections, as clients of an authority do.
type benchClient struct {
	http *http.Client
	url  string
}

func newBenchClient(b *testing.B, r *apitest.Replica) benchClient {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: slices.Max(benchWorkers)}
	b.Cleanup(transport.CloseIdleConnections)
	return benchClient{&http.Client{Transport: transport}, r.URL}
}

// post sends a form and decodes the answer, which must be 200.
func (c benchClient) post(b *testing.B, path string, as apitest.Client, form url.Values, into any) error {
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, c.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(as.ID, as.Secret)
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusServiceUnavailable:
		return errBusy
	default:
		return fmt.Errorf("answer %d %s", response.StatusCode, body)
	}
	return json.Unmarshal(body, into)
}

// BenchmarkRefresh refreshes end to end, each worker a grant of its own. The
// log has as many events in the end as there were answers.
func BenchmarkRefresh(b *testing.B) {
	r := apitest.Single(b, apitest.Options{Telemetry: benchTelemetry(b)})
	c := newBenchClient(b, r)
	tokens := make([]string, slices.Max(benchWorkers))
	for i := range tokens {
		tokens[i] = r.Tokens(b, apitest.DemoWeb, "read offline_access").Text("refresh_token")
	}
	refresh := func(w int) error {
		var told struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens[w]}}
		if err := c.post(b, tokenPath, apitest.DemoWeb, form, &told); err != nil {
			return err
		}
		if told.Access == "" || told.Refresh == "" || told.Refresh == tokens[w] {
			return fmt.Errorf("worker %d: no successor", w)
		}
		tokens[w] = told.Refresh
		return nil
	}
	for _, workers := range benchWorkers {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			before := countEvents(b, r, rotated)
			benchmark(b, workers, refresh)
			if n := countEvents(b, r, rotated) - before; n != b.N {
				b.Errorf("%d answers and %d events", b.N, n)
			}
		})
	}
}

// BenchmarkClientCredentials asks for tokens of the client itself.
func BenchmarkClientCredentials(b *testing.B) {
	const issued = "access_token.issued.v1"
	r := apitest.Single(b, apitest.Options{Telemetry: benchTelemetry(b)})
	c := newBenchClient(b, r)
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
	ask := func(w int) error {
		var told struct {
			Access string `json:"access_token"`
		}
		err := c.post(b, tokenPath, apitest.DemoService, form, &told)
		if err == nil && told.Access == "" {
			return fmt.Errorf("worker %d: no token", w)
		}
		return err
	}
	for _, workers := range benchWorkers {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			before := countEvents(b, r, issued)
			benchmark(b, workers, ask)
			if n := countEvents(b, r, issued) - before; n != b.N {
				b.Errorf("%d answers and %d events", b.N, n)
			}
		})
	}
}

// BenchmarkIntrospect introspects an access token of a grant.
func BenchmarkIntrospect(b *testing.B) {
	r := apitest.Single(b, apitest.Options{Telemetry: benchTelemetry(b)})
	c := newBenchClient(b, r)
	form := url.Values{"token": {r.Tokens(b, apitest.DemoWeb, "read offline_access").Text("access_token")}}
	ask := func(w int) error {
		var told struct{ Active bool }
		err := c.post(b, introspectPath, apitest.DemoService, form, &told)
		if err == nil && !told.Active {
			return fmt.Errorf("worker %d: not active", w)
		}
		return err
	}
	for _, workers := range benchWorkers {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) { benchmark(b, workers, ask) })
	}
}

// countEvents is how many events of a type the partition has.
func countEvents(b *testing.B, r *apitest.Replica, eventType string) (n int) {
	b.Helper()
	err := r.Log.Replay(b.Context(), r.Log.Realm().PartitionStream(0), eventlog.From{}, func(batch []eventlog.Entry) error {
		for _, e := range batch {
			if e.Message.Header.Get("ce-type") == eventType {
				n++
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
