package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A reading is a collector that asks, at every scrape, what is known anyway.
type reading struct {
	metrics []*metric
	read    func(tell tell)
}

// tell gives a metric a value for some labels.
type tell func(m *metric, value float64, labels ...string)

// A metric is the name of a reading.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) *metric {
	return &metric{prometheus.NewDesc("chancery_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) *metric {
	return &metric{prometheus.NewDesc("chancery_"+name, help, labels, nil), prometheus.CounterValue}
}

// Describe implements prometheus.Collector.
func (r reading) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range r.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (r reading) Collect(ch chan<- prometheus.Metric) {
	r.read(func(m *metric, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
	})
}

// watch registers a reading.
func (t *Telemetry) watch(read func(tell), metrics ...*metric) {
	if t.counts() {
		t.registry.MustRegister(reading{metrics, read})
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix is a time as Prometheus keeps it, 0 if it is none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
