package intel

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the measurements of a Book and its sources.
type Metrics struct {
	set        *prometheus.CounterVec
	failures   *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	sent       prometheus.Counter
	subjects   prometheus.Gauge
	breaker    prometheus.Gauge
	indicators *prometheus.GaugeVec
	unresolved prometheus.Gauge
	stale      *prometheus.GaugeVec
}

// NewMetrics registers the measurements; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "chancery", Subsystem: "intel", Name: n, Help: help}
	}
	m := &Metrics{
		set:        prometheus.NewCounterVec(prometheus.CounterOpts(name("opinions_set_total", "Opinions that a source brought or changed, by source and level.")), []string{"source", "level"}),
		failures:   prometheus.NewCounterVec(prometheus.CounterOpts(name("failures_total", "Failures of a source.")), []string{"source"}),
		dropped:    prometheus.NewCounterVec(prometheus.CounterOpts(name("dropped_total", "Opinions, alarms and questions that found no room, by source.")), []string{"source"}),
		sent:       prometheus.NewCounter(prometheus.CounterOpts(name("opinions_sent_total", "Opinions given to vote extensions."))),
		subjects:   prometheus.NewGauge(prometheus.GaugeOpts(name("subjects", "Subjects in the book."))),
		breaker:    prometheus.NewGauge(prometheus.GaugeOpts(name("feed_breaker_state", "Breaker of the feed: 0 closed, 1 half open, 2 open."))),
		indicators: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("indicators", "Lines in force of the file of indicators, and of the operator's.")), []string{"source"}),
		unresolved: prometheus.NewGauge(prometheus.GaugeOpts(name("indicators_unresolved", "Indicators in force that name nobody whom this node knows."))),
		stale:      prometheus.NewGaugeVec(prometheus.GaugeOpts(name("indicators_stale", "1 while a file cannot be used and the last good one is in force.")), []string{"source"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.set, m.failures, m.dropped, m.sent, m.subjects, m.breaker, m.indicators, m.unresolved, m.stale} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of intelligence: %w", err)
		}
	}
	return m, nil
}
