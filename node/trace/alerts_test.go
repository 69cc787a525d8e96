package trace

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/consensus/alerttest"
)

// moody is a receiver that refuses until it is well.
type moody struct {
	collector.UnimplementedTraceServiceServer
	well atomic.Bool
}

func (m *moody) Export(context.Context, *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	if !m.well.Load() {
		return nil, status.Error(codes.PermissionDenied, "no more room")
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// A receiver that refuses spans costs them, until it takes them again.
func TestAlertOfLostTraces(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, sick := grpc.NewServer(), new(moody)
	collector.RegisterTraceServiceServer(server, sick)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	registry := prometheus.NewRegistry()
	tracer := open(t, Options{Endpoint: "http://" + l.Addr().String(), Ratio: 1, Metrics: registry})
	rec := alerttest.Record(t, "ChanceryTracesLost")
	rec.Gather(0, "node", registry)
	export := func(minute int, want string) {
		t.Helper()
		tracer.Span(idOf(minute), "commit", time.Now(), time.Now(), false)
		if err := tracer.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text := rec.Gather(minute, "node", registry); !strings.Contains(text, want) {
			t.Errorf("%q is not measured: %s", want, text)
		}
	}
	export(5, `chancery_trace_exported_spans_total{outcome="lost",to="otlp"} 1`)
	sick.well.Store(true)
	export(10, `chancery_trace_exported_spans_total{outcome="done",to="otlp"} 1`)
}
