package telemetry

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// Buckets in seconds: of requests and appends, which wait for a disk or a majority,
// and of what a core does by itself.
var (
	waits = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	works = []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, 1}
	// batches are of events.
	batches = []float64{1, 2, 5, 10, 25, 50, 100, 250, 500}
)

// instruments are what is counted as it happens.
type instruments struct {
	requests   *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	tokens     *prometheus.HistogramVec
	outcomes   *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	introspect *prometheus.CounterVec
	repeats    prometheus.Counter
	confirmed  *prometheus.CounterVec
	signing    *prometheus.HistogramVec

	events         *prometheus.CounterVec
	appends        *prometheus.CounterVec
	appendRetries  *prometheus.CounterVec
	duplicates     *prometheus.CounterVec
	appendDuration *prometheus.HistogramVec
	revoked        *prometheus.CounterVec

	folded       *prometheus.CounterVec
	foldDuration *prometheus.HistogramVec
	foldBatch    *prometheus.HistogramVec
}

// A maker makes and registers instruments.
type maker struct{ prometheus.Registerer }

func (m maker) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chancery_" + name, Help: help}, labels)
	m.MustRegister(v)
	return v
}

func (m maker) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chancery_" + name, Help: help, Buckets: buckets}, labels)
	m.MustRegister(v)
	return v
}

func newInstruments(r prometheus.Registerer) *instruments {
	m := maker{r}
	i := &instruments{
		requests: m.histogram("http_request_duration_seconds", "Time to answer HTTP requests, by the pattern of their route and the class of the status.", waits, "method", "route", "status"),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "chancery_http_requests_in_flight", Help: "HTTP requests being answered."}),
		tokens:   m.histogram("token_request_duration_seconds", "Time to answer token requests, by grant type and the class of the status.", waits, "grant_type", "status"),
		outcomes: m.counter("token_requests_total", "Token requests by grant type and outcome: ok, or the error code of OAuth.", "grant_type", "outcome"),
		refusals: m.counter("refusals_total", "Requests that were not answered as asked, by reason. The log has more of each.", "reason"),
		introspect: m.counter("introspections_total",
			"Introspections by outcome: active, inactive, or unavailable because freshness could not be proved.", "outcome"),
		repeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "chancery_refresh_repeats_total", Help: "Refreshes that were answered again inside the retry window, with the successor that was issued before.",
		}),
		confirmed: m.counter("log_confirmations_total",
			"Refusals that a newer event could overturn and that were confirmed on the log: upheld, or overturned because the read model was behind.", "result"),
		signing: m.histogram("sign_duration_seconds", "Time to sign an access token, by algorithm.", works, "alg"),

		events:         m.counter("events_appended_total", "Events that this process has appended and that are stored, by type.", "type"),
		appends:        m.counter("appends_total", "Appends by outcome: stored, conflict, unsettled, closed for a failed partition, or failed.", "stream", "outcome"),
		appendRetries:  m.counter("append_retries_total", "Times an append was sent again because its outcome was not known.", "stream"),
		duplicates:     m.counter("append_duplicates_total", "Appends of which an earlier attempt turned out to be stored.", "stream"),
		appendDuration: m.histogram("append_duration_seconds", "Time until the outcome of an append was known, or given up.", waits, "stream"),
		revoked:        m.counter("grants_revoked_total", "Grants that this process has revoked, by reason. refresh_token_reuse and code_reuse are detected theft.", "reason"),

		folded:       m.counter("projector_folded_events_total", "Events folded into a read model since it had caught up.", "stream", "model"),
		foldDuration: m.histogram("projector_fold_duration_seconds", "Time to fold a batch and commit it.", waits, "stream", "model"),
		foldBatch:    m.histogram("projector_fold_batch_events", "Events in a batch that was folded.", batches, "stream", "model"),
	}
	r.MustRegister(i.inFlight, i.repeats)
	// What has not happened yet is 0, so that an alert sees the first time.
	for _, reason := range []string{
		events.ReasonRefreshTokenReuse, events.ReasonCodeReuse, events.ReasonClientRequest, events.ReasonUserRequest, events.ReasonAdminRequest,
	} {
		i.revoked.WithLabelValues(reason)
	}
	for _, result := range []string{upheld, overturned} {
		i.confirmed.WithLabelValues(result)
	}
	for _, outcome := range []string{Active, Inactive, Unavailable} {
		i.introspect.WithLabelValues(outcome)
	}
	return i
}

const (
	upheld     = "upheld"
	overturned = "overturned"
)

// Outcomes of an introspection.
const (
	Active      = "active"
	Inactive    = "inactive"
	Unavailable = "unavailable"
)

func buildInfo(b Build) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "chancery_build_info", Help: "1, with the version and revision that the program was built from.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go_version": runtime.Version()},
	})
	info.Set(1)
	return info
}

func (t *Telemetry) counts() bool { return t != nil && t.instruments != nil }

// Introspected counts an introspection by outcome.
func (t *Telemetry) Introspected(outcome string) {
	if t.counts() {
		t.introspect.WithLabelValues(outcome).Inc()
	}
}

// Repeated counts a refresh that was answered again.
func (t *Telemetry) Repeated() {
	if t.counts() {
		t.repeats.Inc()
	}
}

// Confirmed counts a refusal that was confirmed on the log.
func (t *Telemetry) Confirmed(stands bool) {
	if !t.counts() {
		return
	}
	result := overturned
	if stands {
		result = upheld
	}
	t.confirmed.WithLabelValues(result).Inc()
}

// Signed counts a signature that began at a time.
func (t *Telemetry) Signed(alg string, began time.Time) {
	if t.counts() {
		t.signing.WithLabelValues(alg).Observe(time.Since(began).Seconds())
	}
}

// Folded is projector.LocalConfig's.
func (t *Telemetry) Folded(stream, model string, n int, took time.Duration) {
	if !t.counts() {
		return
	}
	model = kindOf(stream, model)
	t.folded.WithLabelValues(stream, model).Add(float64(n))
	t.foldDuration.WithLabelValues(stream, model).Observe(took.Seconds())
	t.foldBatch.WithLabelValues(stream, model).Observe(float64(n))
}

// Appending is eventlog.Config's.
func (t *Telemetry) Appending(ctx context.Context, stream string, u eventlog.Unit) (context.Context, func(eventlog.Appended)) {
	ctx, span := t.traceAppend(ctx, stream, u)
	return ctx, func(a eventlog.Appended) {
		outcome := outcomeOf(a.Err)
		endAppend(span, a, outcome)
		if t.counts() {
			t.appended(stream, u, a, outcome)
		}
	}
}

func (i *instruments) appended(stream string, u eventlog.Unit, a eventlog.Appended, outcome string) {
	i.appends.WithLabelValues(stream, outcome).Inc()
	i.appendDuration.WithLabelValues(stream).Observe(a.Took.Seconds())
	if a.Attempts > 1 {
		i.appendRetries.WithLabelValues(stream).Add(float64(a.Attempts - 1))
	}
	if a.Duplicate {
		i.duplicates.WithLabelValues(stream).Inc()
	}
	if a.Err != nil {
		return
	}
	i.events.WithLabelValues(u.Event.Fact.Type()).Inc()
	if u.Marker != nil {
		i.events.WithLabelValues(u.Marker.Fact.Type()).Inc()
	}
	if f, ok := u.Event.Fact.(events.GrantRevoked); ok {
		i.revoked.WithLabelValues(f.Reason).Inc()
	}
}

// outcomeOf is the outcome of an append by its error.
func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "stored"
	case errors.Is(err, eventlog.ErrConflict):
		return "conflict"
	case errors.Is(err, eventlog.ErrUnsettled):
		return "unsettled"
	case errors.Is(err, eventlog.ErrPartitionFailed):
		return "closed"
	}
	return "failed"
}
