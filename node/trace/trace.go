// Package trace makes OpenTelemetry traces of transactions, from the call that submits
// one to the commit on every node.
//
// Nothing of a trace travels between nodes: a signed transaction has no room for it. The
// trace of a transaction has the first 16 bytes of the transaction's id as its trace id,
// and the following 8 as the id of its root span, which the node makes that a client
// submitted it to. So the spans of all nodes join in one trace, and each node picks the
// same transactions by the same ratio, without a word to the others.
package trace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"

	"github.com/chancery/chancery/chain/tx"
)

const (
	// queue is how many spans may wait for their export; more are dropped and counted.
	queue = 4096
	// batch is how many go together.
	batch = 512
	// patience is how long one export may take.
	patience = 10 * time.Second
)

// Options say where spans go.
type Options struct {
	// Endpoint is the OTLP gRPC receiver, http://HOST:PORT or https://HOST:PORT. Empty:
	// none.
	Endpoint string
	// CA is a PEM file of authorities for https; empty: the system's.
	CA string
	// File takes spans as lines of OTLP JSON. Empty: none.
	File string
	// FileBytes is with how many bytes the file is renamed to File.1, in whose place
	// another begins.
	FileBytes int64
	// Ratio is the share of transactions that are traced, 0 to 1.
	Ratio float64
	// Service, Version and Node describe this node: moniker and peer-to-peer id.
	Moniker, Version, Node, ChainID string
	Metrics                         prometheus.Registerer // nil: nowhere
	Log                             *slog.Logger
}

// Enabled tells whether anything is traced.
func (o Options) Enabled() bool { return (o.Endpoint != "" || o.File != "") && o.Ratio > 0 }

// CheckEndpoint refuses what is no OTLP receiver's address.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Port() == "" || (u.Path != "" && u.Path != "/") || u.User != nil {
		return fmt.Errorf("%q is not http://HOST:PORT or https://HOST:PORT", endpoint)
	}
	return nil
}

// Tracer makes spans of sampled transactions. It is safe for concurrent use, and never
// waits for whoever takes the spans.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   oteltrace.Tracer
	below    uint64 // a transaction is traced when its number is below
	spans    prometheus.Counter
}

// New opens where spans go. What cannot be reached later costs spans, never more.
func New(ctx context.Context, o Options) (*Tracer, error) {
	t := &Tracer{below: bound(o.Ratio), spans: prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "chancery", Subsystem: "trace", Name: "spans_total", Help: "Spans of traced transactions that this node made.",
	})}
	exported := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "chancery", Subsystem: "trace", Name: "exported_spans_total", Help: "Spans that were exported, or lost because their export failed, by where to and outcome; what is missing of all found no room in the queue.",
	}, []string{"to", "outcome"})
	if o.Metrics != nil {
		if err := errors.Join(o.Metrics.Register(t.spans), o.Metrics.Register(exported)); err != nil {
			return nil, fmt.Errorf("register the metrics of traces: %w", err)
		}
	}
	options := []sdk.TracerProviderOption{
		sdk.WithSampler(sdk.AlwaysSample()), // Sampled has picked
		sdk.WithIDGenerator(ids{}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "chancery"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Node), attribute.String("host.name", o.Moniker), attribute.String("chancery.chain_id", o.ChainID),
		)),
		sdk.WithRawSpanLimits(sdk.SpanLimits{AttributeCountLimit: 16, AttributeValueLengthLimit: 256, EventCountLimit: 0, LinkCountLimit: 0}),
	}
	to := func(name string, e sdk.SpanExporter) {
		options = append(options, sdk.WithBatcher(&counted{SpanExporter: e, name: name, exported: exported, log: o.Log},
			sdk.WithMaxQueueSize(queue), sdk.WithMaxExportBatchSize(batch), sdk.WithExportTimeout(patience), sdk.WithBatchTimeout(time.Second)))
	}
	if o.File != "" {
		f, err := openFile(o.File, o.FileBytes)
		if err != nil {
			return nil, err
		}
		e, err := otlptrace.New(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("open the file of traces: %w", err)
		}
		to("file", e)
	}
	if o.Endpoint != "" {
		e, err := remote(ctx, o)
		if err != nil {
			return nil, err
		}
		to("otlp", e)
	}
	t.provider = sdk.NewTracerProvider(options...)
	t.tracer = t.provider.Tracer("github.com/chancery/chancery")
	return t, nil
}

// remote exports to an OTLP receiver. It connects when there is something to export.
func remote(ctx context.Context, o Options) (sdk.SpanExporter, error) {
	if err := CheckEndpoint(o.Endpoint); err != nil {
		return nil, err
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(o.Endpoint), otlptracegrpc.WithTimeout(patience)}
	if u, _ := url.Parse(o.Endpoint); u.Scheme == "https" {
		c := &tls.Config{MinVersion: tls.VersionTLS13}
		if o.CA != "" {
			pem, err := os.ReadFile(o.CA)
			if err != nil {
				return nil, fmt.Errorf("telemetry.traces_tls_ca: %w", err)
			}
			if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("telemetry.traces_tls_ca: %s holds no certificate", o.CA)
			}
		}
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(c)))
	}
	e, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the export of traces: %w", err)
	}
	return e, nil
}

// bound is the number below which a share of all 64-bit numbers lies.
func bound(ratio float64) uint64 {
	if ratio >= 1 {
		return math.MaxUint64
	}
	return uint64(ratio * (1 << 63) * 2)
}

// Sampled tells whether a transaction is traced: every node with the same ratio picks
// the same.
func (t *Tracer) Sampled(id tx.ID) bool {
	return binary.BigEndian.Uint64(id[24:]) < t.below || t.below == math.MaxUint64
}

// Span implements consensus.Spans. root makes the span of which all others of the
// transaction are parts.
func (t *Tracer) Span(id tx.ID, name string, from, to time.Time, root bool) {
	t.spans.Inc()
	ctx := context.Background()
	if root {
		ctx = context.WithValue(ctx, rootKey{}, id)
	} else {
		ctx = oteltrace.ContextWithRemoteSpanContext(ctx, oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
			TraceID: TraceID(id), SpanID: rootID(id), TraceFlags: oteltrace.FlagsSampled, Remote: true,
		}))
	}
	_, span := t.tracer.Start(ctx, name, oteltrace.WithTimestamp(from), oteltrace.WithAttributes(attribute.String("chancery.tx_id", id.String())))
	span.End(oteltrace.WithTimestamp(to))
}

// Close exports what waits until ctx ends.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// TraceID is that of a transaction.
func TraceID(id tx.ID) oteltrace.TraceID { return oteltrace.TraceID(id[:16]) }

func rootID(id tx.ID) oteltrace.SpanID { return oteltrace.SpanID(id[16:24]) }

type rootKey struct{}

// ids gives the root span of a transaction its ids, and other spans random ones.
type ids struct{}

// NewIDs implements sdk.IDGenerator.
func (ids) NewIDs(ctx context.Context) (oteltrace.TraceID, oteltrace.SpanID) {
	if id, ok := ctx.Value(rootKey{}).(tx.ID); ok {
		return TraceID(id), rootID(id)
	}
	var t oteltrace.TraceID
	binary.BigEndian.PutUint64(t[:8], rand.Uint64())
	binary.BigEndian.PutUint64(t[8:], rand.Uint64()|1)
	return t, ids{}.NewSpanID(ctx, t)
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, oteltrace.TraceID) (s oteltrace.SpanID) {
	binary.BigEndian.PutUint64(s[:], rand.Uint64()|1)
	return s
}

// counted counts what is exported, and says once that it fails until it succeeds again.
type counted struct {
	sdk.SpanExporter
	name     string
	exported *prometheus.CounterVec
	log      *slog.Logger
	failing  atomic.Bool
}

// ExportSpans implements sdk.SpanExporter. It has no error for the SDK, which would write
// it to standard error.
func (c *counted) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	outcome := "done"
	if err != nil {
		outcome = "lost"
	}
	c.exported.WithLabelValues(c.name, outcome).Add(float64(len(spans)))
	if was := c.failing.Swap(err != nil); err != nil && !was {
		c.log.Warn("traces are lost", "to", c.name, "error", err)
	} else if err == nil && was {
		c.log.Info("traces are exported again", "to", c.name)
	}
	return nil
}
