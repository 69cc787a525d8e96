package rpc_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/rpc"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// limits are small enough to reach in a test.
func limits() rpc.Limits {
	return rpc.Limits{
		Connections: 200, Streams: 16, Calls: 32, Subscribers: 16, Message: 1<<20 + 64<<10,
		Deadline: 2 * time.Second, MaxDeadline: 20 * time.Second, SlowReader: 300 * time.Millisecond,
		Handshake: 500 * time.Millisecond, Idle: time.Minute, Keepalive: 10 * time.Second, Heartbeat: 100 * time.Millisecond,
	}
}

// engine is a test chain as the door sees it; tests replace what they want to see
// fail.
type engine struct {
	*nodetest.Chain
	submit func(ctx context.Context, raw []byte) (tx.ID, error)
	status func() *nodev1.StatusResponse
	light  func(height int64) (*types.LightBlock, error)
}

func (e *engine) Submit(ctx context.Context, raw []byte, hint bool) (tx.ID, *chainv1.Verdict, error) {
	if e.submit != nil {
		id, err := e.submit(ctx, raw)
		return id, nil, err
	}
	return e.Chain.Submit(ctx, raw, hint)
}

func (e *engine) LightBlock(height int64) (*types.LightBlock, error) {
	if e.light != nil {
		return e.light(height)
	}
	return e.Chain.LightBlock(height)
}

func (e *engine) Status() *nodev1.StatusResponse {
	if e.status != nil {
		return e.status()
	}
	return &nodev1.StatusResponse{ChainId: e.App.ChainID(), Height: e.Height(), Healthy: true}
}

// door is a server on loopback over a test chain.
type door struct {
	t       testing.TB
	chain   *nodetest.Chain
	engine  *engine
	server  *rpc.Server
	address string
	log     *lines
	metrics *prometheus.Registry
}

// lines is a log that tests may read while the server writes.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const organisation = "did:chancery:alpha"

// genesis is a consortium of one organisation.
func genesis(t testing.TB) string {
	t.Helper()
	g, err := identity.NewGenesis(identity.Founding{At: 1, Threshold: 1, Organisations: []identity.Founder{{
		DID: organisation, Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(organisation).Public()}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	return `{"identity":` + string(section) + `}`
}

func open(t testing.TB, l rpc.Limits) *door {
	t.Helper()
	c := nodetest.New(t, nodetest.Config{Modules: []chain.Module{identity.New()}, Genesis: genesis(t)})
	return serve(t, c, l)
}

func serve(t testing.TB, c *nodetest.Chain, l rpc.Limits) *door {
	t.Helper()
	return serveWith(t, c, l, nil)
}

// serveWith serves forecasts too, unless they are nil.
func serveWith(t testing.TB, c *nodetest.Chain, l rpc.Limits, forecasts nodev1.ForecastsServer) *door {
	t.Helper()
	return serveOptions(t, c, l, func(o *rpc.Options) { o.Forecasts = forecasts })
}

// serveOptions serves with other options.
func serveOptions(t testing.TB, c *nodetest.Chain, l rpc.Limits, change func(*rpc.Options)) *door {
	t.Helper()
	d := &door{t: t, chain: c, engine: &engine{Chain: c}, log: new(lines), metrics: prometheus.NewRegistry()}
	var err error
	options := rpc.Options{
		App: c.App, Records: c.Records, Engine: d.engine, Genesis: bytes.Repeat([]byte("genesis "), 500_000), Limits: l,
		Log: slog.New(slog.NewTextHandler(d.log, nil)), Metrics: d.metrics,
	}
	change(&options)
	d.server, err = rpc.New(options)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.address = listener.Addr().String()
	done := make(chan error, 1)
	go func() { done <- d.server.Serve(listener) }()
	t.Cleanup(func() {
		d.shutdown()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return d
}

func (d *door) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	d.server.Shutdown(ctx)
}

func (d *door) dial(opts ...grpc.DialOption) *grpc.ClientConn {
	d.t.Helper()
	conn, err := grpc.NewClient(d.address, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// measured is the value of a metric without labels, or the sum over its labels.
func (d *door) measured(name string) float64 {
	d.t.Helper()
	families, err := d.metrics.Gather()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.Metric {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	d.t.Fatalf("there is no metric %s", name)
	return 0
}

// refused checks that an error is the given refusal, with its code in the details.
func refused(t testing.TB, err error, want *errs.Error, code codes.Code) {
	t.Helper()
	s, ok := status.FromError(err)
	if err == nil || !ok {
		t.Fatalf("got %v, want %v", err, want)
	}
	if s.Code() != code {
		t.Errorf("code %v, want %v (%v)", s.Code(), code, err)
	}
	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	if info == nil || info.Domain != want.Module {
		t.Fatalf("%v has details %v, want those of %v", err, s.Details(), want)
	}
	if reason := strings.SplitN(want.Error(), ":", 2)[0]; info.Reason != reason {
		t.Fatalf("reason %s, want %s (%v)", info.Reason, reason, err)
	}
	if (retry != nil) != want.Retryable() {
		t.Errorf("RetryInfo is %v for %v", retry, want)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

var _ rpc.Engine = (*engine)(nil)
