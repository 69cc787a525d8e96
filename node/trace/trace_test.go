package trace

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain/tx"
)

func idOf(i int) tx.ID { return tx.ID(sha256.Sum256(fmt.Append(nil, i))) }

func open(t *testing.T, o Options) *Tracer {
	t.Helper()
	o.Log, o.FileBytes = slog.New(slog.DiscardHandler), max(o.FileBytes, 1<<10)
	tracer, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tracer.Close(context.Background()) })
	return tracer
}

// Spans of two nodes join in one trace: the ids follow from the transaction's.
func TestSpansOfNodesJoin(t *testing.T) {
	id, written := idOf(1), map[string]string{}
	for _, node := range []string{"a", "b"} {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		tracer := open(t, Options{File: path, FileBytes: 1 << 20, Ratio: 1, Node: node})
		now := time.Now()
		if node == "a" {
			tracer.Span(id, "submit", now, now.Add(time.Second), true)
		}
		tracer.Span(id, "commit", now, now.Add(time.Second), false)
		if err := tracer.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		written[node] = string(raw)
		if !strings.Contains(string(raw), `"traceId":"`+hex.EncodeToString(id[:16])+`"`) {
			t.Errorf("%s: %s", node, raw)
		}
	}
	root := hex.EncodeToString(id[16:24])
	if !strings.Contains(written["a"], `"spanId":"`+root+`"`) || strings.Contains(written["b"], `"spanId":"`+root+`"`) {
		t.Error("the root is not the one node's that it was submitted to")
	}
	if !strings.Contains(written["b"], `"parentSpanId":"`+root+`"`) {
		t.Error("the other node's span has not the root as its parent")
	}
}

// The ratio picks about its share, the same on every node.
func TestSampling(t *testing.T) {
	for _, ratio := range []float64{0, 0.01, 0.5, 1} {
		a, b := &Tracer{below: bound(ratio)}, &Tracer{below: bound(ratio)}
		picked := 0
		for i := range 20_000 {
			id := idOf(i)
			if a.Sampled(id) != b.Sampled(id) {
				t.Fatal("two nodes pick differently")
			}
			if a.Sampled(id) {
				picked++
			}
		}
		if share := float64(picked) / 20_000; share < ratio-0.02 || share > ratio+0.02 || ratio == 1 && picked != 20_000 {
			t.Errorf("of ratio %v, %v", ratio, share)
		}
	}
}

// The file does not grow beyond its bound: it begins anew, and the one before is kept.
func TestFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans.jsonl")
	w, err := openFile(path, 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := w.UploadTraces(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	w.size = 4 << 10
	if err := w.UploadTraces(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 4<<10 {
		t.Errorf("%v, %v", info, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !json.Valid(lines.Bytes()) {
			t.Errorf("no JSON: %s", lines.Text())
		}
	}
}

type receiver struct {
	collector.UnimplementedTraceServiceServer
	got chan int
}

func (r receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.got <- len(req.ResourceSpans[0].ScopeSpans[0].Spans)
	return &collector.ExportTraceServiceResponse{}, nil
}

// Spans reach an OTLP receiver; where none listens, they are counted as lost and nobody waits.
func TestReceiver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, got := grpc.NewServer(), make(chan int, 1)
	collector.RegisterTraceServiceServer(server, receiver{got: got})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	registry := prometheus.NewRegistry()
	tracer := open(t, Options{Endpoint: "http://" + l.Addr().String(), Ratio: 1, Metrics: registry})
	for i := range 3 {
		tracer.Span(idOf(i), "commit", time.Now(), time.Now(), false)
	}
	select {
	case n := <-got:
		if n != 3 {
			t.Errorf("%d spans", n)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nothing arrived")
	}
	if n := testutil.ToFloat64(tracer.spans); n != 3 {
		t.Errorf("%v spans counted", n)
	}
}

// What a transaction that is not traced costs, and one that is.
func BenchmarkSpan(b *testing.B) {
	o := Options{File: filepath.Join(b.TempDir(), "spans.jsonl"), FileBytes: 1 << 20, Ratio: 0.01, Log: slog.New(slog.DiscardHandler)}
	tracer, err := New(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tracer.Close(context.Background()) }()
	id := idOf(1)
	b.Run("asked", func(b *testing.B) {
		for b.Loop() {
			tracer.Sampled(id)
		}
	})
	b.Run("made", func(b *testing.B) {
		now := time.Now()
		for b.Loop() {
			tracer.Span(id, "commit", now, now, false)
		}
	})
}
