package intel

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/chancery/chancery/node/internal/clock"
	intelv1 "github.com/chancery/chancery/proto/chancery/intel/v1"
)

// Bounds of a feed.
const (
	maxBatch      = 128     // subjects of one request
	maxAnswer     = 1 << 20 // bytes of one answer
	maxKinds      = 16      // kinds of one summary
	maxKind       = 128     // bytes of a kind's name
	feedLife      = time.Hour
	maxFeedLife   = 365 * 24 * time.Hour
	defaultQueued = 4096
)

// FeedOptions are the configuration of a Feed.
type FeedOptions struct {
	Address string // host:port of the service; empty: none
	// PEM files, relative to the home: the authorities that sign the service's
	// certificate, and the node's own certificate and key. All three or none; none on
	// loopback alone.
	CA, Cert, Key string
	Timeout       time.Duration // of one call
	Interval      time.Duration // least time between two calls
	Queue         int           // subjects that may wait; of more, the oldest is dropped
	Failures      int           // consecutive failures that open the breaker
	OpenFor       time.Duration // how long it stays open first, twice as long each time that the call after it fails
	MaxOpen       time.Duration // and at most
}

// DefaultFeedOptions are those that a configuration begins with.
func DefaultFeedOptions() FeedOptions {
	return FeedOptions{Timeout: 300 * time.Millisecond, Interval: time.Second, Queue: defaultQueued, Failures: 5, OpenFor: time.Second, MaxOpen: 5 * time.Minute}
}

// Check says what is wrong with o.
func (o FeedOptions) Check() error {
	if o.Address == "" {
		return nil
	}
	var faults []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	host, port, err := net.SplitHostPort(o.Address)
	n, portErr := strconv.Atoi(port)
	want(err == nil && host != "" && portErr == nil && n > 0 && n < 65536, "address: %q is not host:port", o.Address)
	given := 0
	for _, f := range []string{o.CA, o.Cert, o.Key} {
		if f != "" {
			given++
		}
	}
	want(given == 0 || given == 3, "tls_ca, tls_cert and tls_key go together; %d of 3 are set", given)
	want(given == 3 || loopback(host), "address: %s is not loopback, so it needs tls_ca, tls_cert and tls_key", o.Address)
	want(o.Timeout >= 10*time.Millisecond && o.Timeout <= time.Minute, "timeout: %s, want 10ms to 1m", o.Timeout)
	want(o.Interval >= 10*time.Millisecond && o.Interval <= time.Hour, "interval: %s, want 10ms to 1h", o.Interval)
	want(o.Queue >= maxBatch && o.Queue <= 1<<20, "queue: %d, want %d to %d", o.Queue, maxBatch, 1<<20)
	want(o.Failures > 0 && o.Failures <= 1000, "failures: %d, want 1 to 1000", o.Failures)
	want(o.OpenFor >= 10*time.Millisecond, "open_for: %s is too short; at least 10ms", o.OpenFor)
	want(o.MaxOpen >= o.OpenFor, "max_open: must be at least open_for")
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// security is the TLS of the connection, nil for none.
func (o FeedOptions) security(home string) (*tls.Config, error) {
	if o.CA == "" {
		return nil, nil
	}
	path := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(home, p)
	}
	certificate, err := tls.LoadX509KeyPair(path(o.Cert), path(o.Key))
	if err != nil {
		return nil, fmt.Errorf("tls_cert, tls_key: %w", err)
	}
	pem, err := os.ReadFile(path(o.CA))
	if err != nil {
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls_ca: %s holds no certificate", path(o.CA))
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: authorities, MinVersion: tls.VersionTLS13}, nil
}

// Feed asks the organisation's service about whoever was active. One call is under
// way at a time; what comes meanwhile is added up by subject and waits. A service
// that fails costs its opinions and nothing else.
type Feed struct {
	options FeedOptions
	chainID string
	book    *Book
	metrics *Metrics
	log     *slog.Logger
	conn    *grpc.ClientConn
	client  intelv1.FeedClient
	breaker *breaker

	mu     sync.Mutex // guards what follows
	queue  map[string]*waiting
	next   uint64
	height int64 // latest block seen
	time   int64
	wake   chan struct{}
}

// waiting is a subject that is to be asked about.
type waiting struct {
	*intelv1.Summary
	order uint64
}

// NewFeed makes the source. It connects when it has something to ask. home is the
// folder that paths of o are relative to.
func NewFeed(o FeedOptions, home, chainID string, book *Book, metrics *Metrics, log *slog.Logger) (*Feed, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Address == "" {
		return nil, errors.New("the feed has no address")
	}
	security, err := o.security(home)
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if security != nil {
		transport = credentials.NewTLS(security)
	} else {
		log.Warn("INSECURE: the feed on this machine is neither encrypted nor authenticated", "address", o.Address)
	}
	conn, err := grpc.NewClient(o.Address,
		grpc.WithTransportCredentials(transport), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		// The breaker decides when to try again; ask tells the connection.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: o.OpenFor, Multiplier: 2, MaxDelay: o.MaxOpen},
			MinConnectTimeout: max(o.Timeout, 100*time.Millisecond),
		}))
	if err != nil {
		return nil, fmt.Errorf("the feed's address: %w", err)
	}
	f := &Feed{
		options: o, chainID: chainID, book: book, metrics: metrics, log: log, conn: conn, client: intelv1.NewFeedClient(conn),
		queue: map[string]*waiting{}, wake: make(chan struct{}, 1),
	}
	f.breaker = newBreaker(o, func(from, to state) {
		metrics.breaker.Set(float64(to))
		if to == open {
			log.Warn("the feed fails and is left alone for a while", "address", o.Address)
		} else {
			log.Info("the feed is asked again", "address", o.Address, "breaker", to.String())
		}
	})
	return f, nil
}

// Observe implements Sink. It never waits.
func (f *Feed) Observe(b Block) {
	if b.Past {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.height, f.time = b.Height, b.Time
	for _, o := range b.Observations {
		if CheckSubject(o.Actor) != nil {
			continue
		}
		w := f.queue[o.Actor]
		if w == nil {
			w = &waiting{&intelv1.Summary{Subject: o.Actor, Organisation: o.Organisation, FirstTime: o.Time}, f.next}
			f.next++
			f.queue[o.Actor] = w
		}
		w.Events++
		w.LastTime = o.Time
		if o.Failed {
			w.Failed++
		}
		if o.Scored {
			w.MaxScore = max(w.MaxScore, o.Score)
		}
		w.Resources += uint32(min(len(o.Resources), 1<<20))
		count(w.Summary, o.Kind, 1)
	}
	f.trim()
	if len(f.queue) > 0 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// count adds to a kind's count; of kinds beyond maxKinds only the events are counted.
func count(s *intelv1.Summary, kind string, n uint32) {
	kind = kind[:min(len(kind), maxKind)]
	i, found := slices.BinarySearchFunc(s.Kinds, kind, func(k *intelv1.KindCount, kind string) int { return cmp.Compare(k.Kind, kind) })
	if found {
		s.Kinds[i].Count += n
	} else if len(s.Kinds) < maxKinds {
		s.Kinds = slices.Insert(s.Kinds, i, &intelv1.KindCount{Kind: kind, Count: n})
	}
}

// trim drops the oldest of the queue beyond its bound. The caller holds mu.
func (f *Feed) trim() {
	over := len(f.queue) - f.options.Queue
	if over <= 0 {
		return
	}
	for _, w := range f.oldest(over) {
		delete(f.queue, w.Subject)
	}
	f.metrics.dropped.WithLabelValues(string(OriginFeed)).Add(float64(over))
}

// oldest is those of the queue that wait longest, in order.
func (f *Feed) oldest(n int) []*waiting {
	list := make([]*waiting, 0, len(f.queue))
	for _, w := range f.queue {
		list = append(list, w)
	}
	slices.SortFunc(list, func(x, y *waiting) int { return cmp.Compare(x.order, y.order) })
	return list[:min(n, len(list))]
}

// Run asks until ctx ends, closes the connection, and returns nil.
func (f *Feed) Run(ctx context.Context) error {
	defer func() { _ = f.conn.Close() }() // nothing is under way
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		for f.pending() && ctx.Err() == nil {
			if f.breaker.state() != open {
				f.ask(ctx)
			}
			clock.Wait(ctx, f.options.Interval)
		}
	}
}

func (f *Feed) pending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) > 0
}

// ask makes one call and takes its answer over. What is not answered waits on.
func (f *Feed) ask(ctx context.Context) {
	f.mu.Lock()
	batch := f.oldest(maxBatch)
	req := &intelv1.AssessRequest{ChainId: f.chainID, Height: f.height, Time: f.time}
	for _, w := range batch {
		delete(f.queue, w.Subject)
		req.Subjects = append(req.Subjects, w.Summary)
	}
	f.mu.Unlock()

	var list []Opinion
	var withdrawn []string
	err := f.breaker.call(func() error {
		limited, cancel := context.WithTimeout(ctx, f.options.Timeout)
		defer cancel()
		f.conn.ResetConnectBackoff()
		resp, err := f.client.Assess(limited, req, grpc.WaitForReady(true))
		if err == nil {
			list, withdrawn, err = read(req, resp)
		}
		if ctx.Err() != nil {
			return nil // the node stops; the feed is not to blame
		}
		return err
	})
	if err != nil {
		if !errors.Is(err, errOpen) {
			f.metrics.failures.WithLabelValues(string(OriginFeed)).Inc()
			f.log.Debug("the feed failed", "error", err)
		}
		f.putBack(batch)
		return
	}
	for _, o := range list {
		if err := f.book.Set(OriginFeed, req.Time, o); err != nil {
			f.refused(err)
		}
	}
	for _, subject := range withdrawn {
		if _, err := f.book.Withdraw(OriginFeed, req.Time, subject); err != nil {
			f.refused(err)
		}
	}
}

func (f *Feed) refused(err error) {
	f.metrics.failures.WithLabelValues(string(OriginFeed)).Inc()
	f.log.Error("an opinion of the feed was not taken in full", "error", err)
}

// putBack lets a batch wait on, before what came meanwhile.
func (f *Feed) putBack(batch []*waiting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range batch {
		if later := f.queue[w.Subject]; later != nil {
			w.Events += later.Events
			w.Failed += later.Failed
			w.Resources += later.Resources
			w.MaxScore = max(w.MaxScore, later.MaxScore)
			w.LastTime = later.LastTime
			for _, k := range later.Kinds {
				count(w.Summary, k.Kind, k.Count)
			}
		}
		f.queue[w.Subject] = w
	}
	f.trim()
}

var errAnswer = errors.New("the feed's answer cannot be used")

// read turns an answer into opinions and what is taken back. One fault refuses all
// of it.
func read(req *intelv1.AssessRequest, resp *intelv1.AssessResponse) (list []Opinion, withdrawn []string, err error) {
	asked := make(map[string]bool, len(req.Subjects))
	for _, s := range req.Subjects {
		asked[s.Subject] = true
	}
	if len(resp.Source) != 32 {
		return nil, nil, fmt.Errorf("%w: source has %d bytes, not 32", errAnswer, len(resp.Source))
	}
	for _, a := range resp.Assessments {
		if !asked[a.GetSubject()] {
			return nil, nil, fmt.Errorf("%w: it was not asked, or answered already, about %.128q", errAnswer, a.GetSubject())
		}
		delete(asked, a.Subject)
		life := a.ValidMs
		if life == 0 {
			life = feedLife.Milliseconds()
		}
		if life < 0 || life > maxFeedLife.Milliseconds() {
			return nil, nil, fmt.Errorf("%w: valid_ms is %d, want 0 to %d", errAnswer, life, maxFeedLife.Milliseconds())
		}
		switch a.Level {
		case intelv1.Level_LEVEL_NONE:
			withdrawn = append(withdrawn, a.Subject)
		case intelv1.Level_LEVEL_LOW, intelv1.Level_LEVEL_GUARDED, intelv1.Level_LEVEL_HIGH, intelv1.Level_LEVEL_SEVERE:
			o := Opinion{a.Subject, Level(a.Level - intelv1.Level_LEVEL_NONE), ReasonFeed, [32]byte(resp.Source), req.Time + life}
			if err := o.Check(); err != nil {
				return nil, nil, fmt.Errorf("%w: %w", errAnswer, err)
			}
			list = append(list, o)
		default:
			return nil, nil, fmt.Errorf("%w: there is no level %d", errAnswer, a.Level)
		}
	}
	return list, withdrawn, nil
}
