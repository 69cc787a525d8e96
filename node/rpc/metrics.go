package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// metrics are the door's measurements. It counts connections as a grpc
// stats.Handler.
type metrics struct {
	calls       *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	connections prometheus.Gauge
	refused     prometheus.Counter
	replaced    prometheus.Counter
	subscribers prometheus.Gauge
	events      prometheus.Counter
	slow        prometheus.Counter
	paced       prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "calls_total", Help: "Calls that ended, by method and gRPC code.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "call_seconds", Help: "How long calls took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "connections", Help: "Open connections that have finished their handshake.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "connections_refused_total", Help: "Connections closed at once because all were at work.",
		}),
		replaced: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "connections_replaced_total", Help: "Idle connections closed to make room for new ones.",
		}),
		subscribers: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "subscribers", Help: "Event subscriptions under way.",
		}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "events_sent_total", Help: "Events given to subscribers.",
		}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "slow_readers_total", Help: "Streams cut off because the client took nothing.",
		}),
		paced: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "chancery", Subsystem: "rpc", Name: "streams_paced_seconds_total", Help: "Time for which submission streams were not read after their transactions were refused for now.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.calls, m.seconds, m.connections, m.refused, m.replaced, m.subscribers, m.events, m.slow, m.paced} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the door: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) call(method string, err error, took time.Duration) {
	m.calls.WithLabelValues(method, status.Code(err).String()).Inc()
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}

// TagRPC implements stats.Handler.
func (m *metrics) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (m *metrics) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements stats.Handler.
func (m *metrics) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (m *metrics) HandleConn(ctx context.Context, s stats.ConnStats) {
	if ctx.Value(arrivalKey{}) != nil {
		return // a call over HTTP, whose connection is counted by the server of HTTP
	}
	switch s.(type) {
	case *stats.ConnBegin:
		m.connections.Inc()
	case *stats.ConnEnd:
		m.connections.Dec()
	}
}
