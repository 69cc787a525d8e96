package intel

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	intelv1 "github.com/chancery/chancery/proto/chancery/intel/v1"
)

// service is an organisation's feed.
type service struct {
	intelv1.UnimplementedFeedServer
	mu     sync.Mutex
	answer func(context.Context, *intelv1.AssessRequest) (*intelv1.AssessResponse, error)
	asked  []*intelv1.AssessRequest
	busy   atomic.Int32
	most   atomic.Int32
}

func (s *service) Assess(ctx context.Context, req *intelv1.AssessRequest) (*intelv1.AssessResponse, error) {
	if n := s.busy.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.busy.Add(-1)
	s.mu.Lock()
	s.asked = append(s.asked, req)
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx, req)
}

func (s *service) requests() []*intelv1.AssessRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*intelv1.AssessRequest{}, s.asked...)
}

func (s *service) answering(fn func(context.Context, *intelv1.AssessRequest) (*intelv1.AssessResponse, error)) {
	s.mu.Lock()
	s.answer = fn
	s.mu.Unlock()
}

var source32 = make([]byte, 32)

func init() { source32[0] = 7 }

// judges answers one level about everybody.
func judges(l intelv1.Level) func(context.Context, *intelv1.AssessRequest) (*intelv1.AssessResponse, error) {
	return func(_ context.Context, req *intelv1.AssessRequest) (*intelv1.AssessResponse, error) {
		resp := &intelv1.AssessResponse{Source: source32}
		for _, s := range req.Subjects {
			resp.Assessments = append(resp.Assessments, &intelv1.Assessment{Subject: s.Subject, Level: l})
		}
		return resp, nil
	}
}

func serve(t *testing.T, options ...grpc.ServerOption) (*service, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{answer: judges(intelv1.Level_LEVEL_HIGH)}
	server := grpc.NewServer(options...)
	intelv1.RegisterFeedServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s, l.Addr().String()
}

func feedOptions(address string) FeedOptions {
	o := DefaultFeedOptions()
	o.Address, o.Timeout, o.Interval, o.OpenFor, o.MaxOpen = address, 2*time.Second, 10*time.Millisecond, 50*time.Millisecond, 150*time.Millisecond
	return o
}

func startFeed(t *testing.T, o FeedOptions) (*Feed, *logs) {
	t.Helper()
	b := newBook(t)
	log, out := newLog()
	f, err := NewFeed(o, "", "test-1", b, b.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, out
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func seen(height int64, list ...Observation) Block {
	for i := range list {
		list[i].Height, list[i].Time = height, height*1000
		list[i].Actor, list[i].Organisation = "did:chancery:acme:"+list[i].Actor, "did:chancery:acme"
	}
	return Block{Height: height, Time: height * 1000, Observations: list}
}

func TestTheFeedsAnswerBecomesOpinions(t *testing.T) {
	s, address := serve(t)
	f, _ := startFeed(t, feedOptions(address))
	f.Observe(seen(7,
		Observation{Actor: "pat", Kind: "access.Decide", Resources: []string{"a", "b"}, Score: 9000, Scored: true},
		Observation{Actor: "pat", Kind: "access.Decide", Resources: []string{"a"}, Failed: true},
		Observation{Actor: "pat", Kind: "consent.Give"}))
	eventually(t, "an opinion", func() bool { return brief(f.book.Opinions(7000)) == "acme:pat=3" })
	o := f.book.Opinions(7000)[0]
	if o.Reason != ReasonFeed || o.Source != [32]byte(source32) || o.Until != 7000+feedLife.Milliseconds() {
		t.Errorf("%+v", o)
	}
	req := s.requests()[0]
	sum := req.Subjects[0]
	if req.ChainId != "test-1" || req.Height != 7 || req.Time != 7000 || sum.Events != 3 || sum.Failed != 1 || sum.Resources != 3 || sum.MaxScore != 9000 ||
		len(sum.Kinds) != 2 || sum.Kinds[0].Count != 2 || sum.Organisation != "did:chancery:acme" {
		t.Errorf("%v", req)
	}
	s.answering(judges(intelv1.Level_LEVEL_NONE))
	f.Observe(seen(8, Observation{Actor: "pat"}))
	eventually(t, "it is taken back", func() bool { return len(f.book.Opinions(8000)) == 0 })
	f.Observe(Block{Height: 9, Time: 9000, Past: true, Observations: seen(9, Observation{Actor: "kim"}).Observations})
	time.Sleep(50 * time.Millisecond)
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d requests, and one of them about the past", n)
	}
}

func TestABrokenFeedDelaysNobodyAndIsLeftAloneLongerAndLonger(t *testing.T) {
	s, address := serve(t)
	hang := func(ctx context.Context, _ *intelv1.AssessRequest) (*intelv1.AssessResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.answering(hang)
	o := feedOptions(address)
	o.Timeout, o.Failures = 20*time.Millisecond, 3
	f, out := startFeed(t, o)
	set(t, f.book, OriginOperator, 1000, about("mercy", LevelHigh, 100*minute))
	f.Observe(seen(1, Observation{Actor: "pat"}))
	eventually(t, "the breaker opens", func() bool { return reading(f.metrics.breaker) == 2 })
	began := time.Now()
	for h := range int64(1000) {
		f.Observe(seen(2+h, Observation{Actor: "pat"}))
		f.book.Next(h, 2000, 0)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a thousand blocks took %s", took)
	}
	eventually(t, "it is tried again", func() bool { return len(s.requests()) >= 6 })
	s.answering(judges(intelv1.Level_LEVEL_SEVERE))
	eventually(t, "its answer counts", func() bool { return brief(f.book.Opinions(2000)) == "acme:pat=4 mercy=3" })
	eventually(t, "the breaker closes", func() bool { return reading(f.metrics.breaker) == 0 })
	// All that pat did is in the question that was answered.
	all := s.requests()
	if n := all[len(all)-1].Subjects[0].Events; n != 1001 {
		t.Errorf("%d events", n)
	}
	if s.most.Load() != 1 {
		t.Errorf("%d calls at once", s.most.Load())
	}
	if !strings.Contains(out.String(), "left alone") || reading(f.metrics.failures.WithLabelValues("feed")) < 4 {
		t.Error(out.String())
	}
}

func TestTheBreakersPausesDoubleUpToTheirBoundAndBeginAnew(t *testing.T) {
	o := FeedOptions{Failures: 2, OpenFor: 20 * time.Millisecond, MaxOpen: 50 * time.Millisecond}
	var states []string
	b := newBreaker(o, func(_, to state) { states = append(states, to.String()) })
	fails, works := func() error { return errAnswer }, func() error { return nil }
	wait := func() {
		t.Helper()
		if err := b.call(works); !errors.Is(err, errOpen) {
			t.Errorf("it is not open: %v", err)
		}
		eventually(t, "half open", func() bool { return b.state() != open })
	}
	for _, want := range []time.Duration{20, 40, 50, 50} {
		if want == 20 {
			_ = b.call(fails)
			if b.state() == open {
				t.Error("one failure of two opened it")
			}
		}
		_ = b.call(fails)
		if b.pause != want*time.Millisecond {
			t.Errorf("pause %s, want %dms", b.pause, want)
		}
		began := time.Now()
		wait()
		if took := time.Since(began); took < b.pause*8/10 {
			t.Errorf("open for %s instead of %s", took, b.pause)
		}
	}
	if err := b.call(works); err != nil || b.pause != o.OpenFor {
		t.Errorf("%v, pause %s", err, b.pause)
	}
	_ = b.call(fails)
	if b.state() == open {
		t.Error("one failure of two opened it")
	}
	if got := strings.Join(states, " "); got != "open half-open open half-open open half-open open half-open closed" {
		t.Error(got)
	}
}

func TestAnAnswerWithAFaultIsRefusedWhole(t *testing.T) {
	req := &intelv1.AssessRequest{Time: 1000, Subjects: []*intelv1.Summary{{Subject: "did:chancery:acme:pat"}, {Subject: "did:chancery:acme:kim"}}}
	one := func(subject string, l intelv1.Level, valid int64) *intelv1.AssessResponse {
		return &intelv1.AssessResponse{Source: source32, Assessments: []*intelv1.Assessment{
			{Subject: "did:chancery:acme:kim", Level: intelv1.Level_LEVEL_LOW}, {Subject: subject, Level: l, ValidMs: valid}}}
	}
	if list, _, err := read(req, one("did:chancery:acme:pat", intelv1.Level_LEVEL_SEVERE, 5)); err != nil || len(list) != 2 || list[1].Level != LevelSevere || list[1].Until != 1005 {
		t.Errorf("%v, %v", list, err)
	}
	short := one("did:chancery:acme:pat", intelv1.Level_LEVEL_SEVERE, 5)
	short.Source = source32[:31]
	for name, resp := range map[string]*intelv1.AssessResponse{
		"not asked":   one("did:chancery:mercy", intelv1.Level_LEVEL_HIGH, 0),
		"twice":       one("did:chancery:acme:kim", intelv1.Level_LEVEL_HIGH, 0),
		"unspecified": one("did:chancery:acme:pat", intelv1.Level_LEVEL_UNSPECIFIED, 0),
		"unknown":     one("did:chancery:acme:pat", 6, 0),
		"negative":    one("did:chancery:acme:pat", intelv1.Level_LEVEL_HIGH, -1),
		"too long":    one("did:chancery:acme:pat", intelv1.Level_LEVEL_HIGH, maxFeedLife.Milliseconds()+1),
		"source":      short,
		"nothing":     {},
	} {
		if list, _, err := read(req, resp); !errors.Is(err, errAnswer) || list != nil {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

func TestTheQueueIsBoundedAndTheOldestGo(t *testing.T) {
	s, address := serve(t)
	s.answering(func(context.Context, *intelv1.AssessRequest) (*intelv1.AssessResponse, error) {
		return nil, status.Error(codes.Internal, "no")
	})
	o := feedOptions(address)
	o.Queue = maxBatch
	b := newBook(t)
	log, _ := newLog()
	f, err := NewFeed(o, "", "test-1", b, b.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxBatch + 5 {
		f.Observe(seen(int64(i), Observation{Actor: fmt.Sprintf("p%d", i), Kind: strings.Repeat("k", i%40)}))
	}
	for i := range 40 {
		f.Observe(seen(1000, Observation{Actor: "p100", Kind: fmt.Sprint("kind", i)}))
	}
	if len(f.queue) != maxBatch || f.queue["did:chancery:acme:p4"] != nil || f.queue["did:chancery:acme:p5"] == nil || reading(b.metrics.dropped.WithLabelValues("feed")) != 5 {
		t.Errorf("%d wait", len(f.queue))
	}
	if n := len(f.queue["did:chancery:acme:p100"].Kinds); n != maxKinds {
		t.Errorf("%d kinds", n)
	}
	f.ask(context.Background()) // fails, and all wait on
	if len(f.queue) != maxBatch || f.queue["did:chancery:acme:p100"].Events != 41 {
		t.Errorf("%d wait", len(f.queue))
	}
	_ = f.conn.Close()
}

// certificates writes an authority, and a certificate and key for 127.0.0.1.
func certificates(t *testing.T, dir string) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write("cert.pem", "CERTIFICATE", der)
	write("key.pem", "PRIVATE KEY", raw)
}

func TestTheFeedIsReachedByMutualTLS(t *testing.T) {
	home := t.TempDir()
	certificates(t, home)
	pair, err := tls.LoadX509KeyPair(filepath.Join(home, "cert.pem"), filepath.Join(home, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	s, address := serve(t, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})))
	o := feedOptions(address)
	o.CA, o.Cert, o.Key = "cert.pem", "cert.pem", "key.pem"
	b := newBook(t)
	log, _ := newLog()
	f, err := NewFeed(o, home, "test-1", b, b.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	f.Observe(seen(1, Observation{Actor: "pat"}))
	f.ask(context.Background())
	if len(s.requests()) != 1 || brief(b.Opinions(1000)) != "acme:pat=3" {
		t.Errorf("%d requests, %s", len(s.requests()), brief(b.Opinions(1000)))
	}
	_ = f.conn.Close()

	o.CA, o.Cert, o.Key = "", "", ""
	plain, err := NewFeed(o, home, "test-1", newBook(t), b.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	plain.options.Timeout = 100 * time.Millisecond
	plain.Observe(seen(1, Observation{Actor: "pat"}))
	plain.ask(context.Background())
	if len(s.requests()) != 1 {
		t.Error("a client without a certificate was answered")
	}
	_ = plain.conn.Close()
}

func TestOptionsOfTheFeedAreChecked(t *testing.T) {
	good := DefaultFeedOptions()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	good.Address = "127.0.0.1:7000"
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*FeedOptions){
		"address":        func(o *FeedOptions) { o.Address = "nowhere" },
		"far, no TLS":    func(o *FeedOptions) { o.Address = "feed.acme.example:7000" },
		"half of TLS":    func(o *FeedOptions) { o.CA = "ca.pem" },
		"timeout":        func(o *FeedOptions) { o.Timeout = 0 },
		"interval":       func(o *FeedOptions) { o.Interval = 0 },
		"queue":          func(o *FeedOptions) { o.Queue = 0 },
		"failures":       func(o *FeedOptions) { o.Failures = 0 },
		"pause":          func(o *FeedOptions) { o.OpenFor = 0 },
		"longest pause":  func(o *FeedOptions) { o.MaxOpen = o.OpenFor - 1 },
		"no such folder": func(o *FeedOptions) { o.CA, o.Cert, o.Key = "a", "b", "c" },
	} {
		o := good
		spoil(&o)
		log, _ := newLog()
		b := newBook(t)
		if _, err := NewFeed(o, "/nonexistent", "c", b, b.metrics, log); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
