// Package telemetry serves a node's measurements and health over HTTP to this
// machine alone:
//
//	/metrics       Prometheus
//	/livez         200 unless consensus has ended by a fault: a restart may help against a 503
//	/readyz        200 when the node takes part and is in step with its peers
//	/startupz      200 once the node has been ready since its start
//	/health        200 when the node takes part, 503 with the reason when not; see Health
//	/status        the node's status as JSON
//	/loglevel      GET says what is logged, PUT with debug, info, warn or error changes it
//	/debug/pprof/  profiles, when asked for
package telemetry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/chancery/chancery/node/config"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// maxScrapes is the most answers to /metrics at once.
	maxScrapes = 16
	// maxConnections is the most connections at once; others wait.
	maxConnections = 128
	// patience is how long a collector may take to send its request and to take its
	// answer; profiles take their time.
	patience = 2 * time.Minute
)

// Server answers collectors on this machine.
type Server struct {
	http     *http.Server
	listener net.Listener
	log      *slog.Logger
}

// Health is what /health and the probes answer.
type Health struct {
	State   State  `json:"state"`
	Healthy bool   `json:"healthy"`
	Reason  string `json:"reason"` // why it is not healthy
	Height  int64  `json:"height"`
	// CatchingUp tells that the node still fetches blocks that others have.
	CatchingUp bool `json:"catching_up"`
	// Halted tells that consensus has ended by a fault and the process is about to.
	Halted     bool   `json:"halted"`
	Peers      uint32 `json:"peers"`
	BlockAgeMs int64  `json:"block_age_ms"`  // since the node saw its latest block
	Behind     uint64 `json:"behind_blocks"` // that a peer has and the node lacks
}

// State is a word for how a node is.
type State string

// The states.
const (
	Healthy    State = "healthy"     // it takes part
	CatchingUp State = "catching-up" // it fetches blocks that others have
	Waiting    State = "waiting"     // no block comes, nor to its peers: too few validators are online; it mends itself
	Stuck      State = "stuck"       // no block comes, although its peers have more: look at the log; a restart may help
	Halted     State = "halted"      // consensus has ended by a fault and the process is about to end
	// UpgradeNeeded: the next block needs a version of the program that this one is not; the
	// process is about to end, and a restart does not help.
	UpgradeNeeded State = "upgrade-needed"
)

// stuckAfter is how many blocks peers are ahead of a node that is stuck rather than late.
const stuckAfter = 3

func healthOf(s *nodev1.StatusResponse, halted bool) Health {
	h := Health{
		State: Healthy, Healthy: s.Healthy, Reason: s.Reason, Height: s.Height, CatchingUp: s.CatchingUp,
		Halted: halted, Peers: s.Peers, BlockAgeMs: s.LatestBlockAgeMs, Behind: s.BehindBlocks,
	}
	switch {
	case halted:
		h.State = Halted
	case !s.Healthy && s.BehindBlocks >= stuckAfter && !s.CatchingUp:
		h.State = Stuck
	case !s.Healthy:
		h.State = Waiting
	case s.CatchingUp:
		h.State = CatchingUp
	}
	return h
}

// Options is what a Server is made of.
type Options struct {
	Address  string // loopback
	Pprof    bool
	Gatherer prometheus.Gatherer
	Status   func() *nodev1.StatusResponse
	Halted   func() bool    // whether consensus has ended by a fault
	Level    *slog.LevelVar // what Log writes; nil: it does not change
	Log      *slog.Logger
}

// Listen opens the listener, which must be on loopback.
func Listen(o Options) (*Server, error) {
	mux := http.NewServeMux()
	serveMetrics(mux, o.Gatherer)
	health := func() Health { return healthOf(o.Status(), o.Halted()) }
	probe := func(path string, good func(Health) bool) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			h, code := health(), http.StatusOK
			if !good(h) {
				code = http.StatusServiceUnavailable
			}
			answer(w, code, h)
		})
	}
	ready := func(h Health) bool { return h.State == Healthy }
	var started atomic.Bool
	probe("/health", func(h Health) bool { return h.Healthy })
	probe("/livez", func(h Health) bool { return !h.Halted })
	probe("/readyz", ready)
	probe("/startupz", func(h Health) bool {
		if ready(h) {
			started.Store(true)
		}
		return started.Load()
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(o.Status())
		if err != nil {
			http.Error(w, "the status cannot be written", http.StatusInternalServerError)
			return
		}
		answer(w, http.StatusOK, json.RawMessage(raw))
	})
	if o.Level != nil {
		serveLevel(mux, o.Level, o.Log)
	}
	if o.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return listen(o.Address, mux, o.Log)
}

func listen(address string, mux http.Handler, log *slog.Logger) (*Server, error) {
	if !config.Loopback(address) {
		return nil, fmt.Errorf("telemetry.listen: %s is not loopback", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for telemetry: %w", err)
	}
	return &Server{listener: netutil.LimitListener(l, maxConnections), log: log, http: &http.Server{
		Handler: local(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

func serveMetrics(mux *http.ServeMux, g prometheus.Gatherer) {
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: 10 * time.Second}))
}

// maxLevel is the most that a request to change the level is read of.
const maxLevel = 64

// serveLevel tells and changes what is logged.
func serveLevel(mux *http.ServeMux, level *slog.LevelVar, log *slog.Logger) {
	type now struct {
		Level string `json:"level"`
	}
	tell := func(w http.ResponseWriter) { answer(w, http.StatusOK, now{strings.ToLower(level.Level().String())}) }
	mux.HandleFunc("GET /loglevel", func(w http.ResponseWriter, _ *http.Request) { tell(w) })
	mux.HandleFunc("PUT /loglevel", func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, maxLevel))
		if err != nil {
			http.Error(w, "the level did not arrive", http.StatusBadRequest)
			return
		}
		wanted, err := config.Level(strings.TrimSpace(string(raw)))
		if err != nil {
			http.Error(w, "the level must be debug, info, warn or error", http.StatusBadRequest)
			return
		}
		before := level.Level()
		level.Set(wanted)
		log.Warn("the level of the log was changed", "from", before, "to", wanted)
		tell(w)
	})
}

// NewRefused is the measurement of whether the guard of the validator key stopped the node.
func NewRefused() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "chancery_guard_refused", Help: "1 when the guard of the validator key stopped the node, because somebody else signs with its key; told for a while before the process ends."})
}

// NewUpgradeNeeded is the measurement of whether the node stopped before a block that needs
// another version of the program.
func NewUpgradeNeeded() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "chancery_upgrade_stopped", Help: "1 when the node stopped because the program does not know the version of the state machine that the next block needs; told for a while before the process ends."})
}

// NewParted is the measurement of whether the node stopped because its state has parted from
// what the others signed.
func NewParted() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "chancery_state_parted", Help: "1 when the node stopped because its state is not what more than two thirds of the voting power signed; told for a while before the process ends."})
}

// Refused stands in for the server of a node that has stopped for a reason that nobody
// should overlook, until ctx ends. It serves a mark, set to 1, and a state.
func Refused(ctx context.Context, address string, mark prometheus.Gauge, state State, why error, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	mark.Set(1)
	registry.MustRegister(mark)
	mux := http.NewServeMux()
	serveMetrics(mux, registry)
	for _, path := range []string{"/health", "/livez", "/readyz", "/startupz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusServiceUnavailable, Health{State: state, Halted: true, Reason: why.Error()})
		})
	}
	s, err := listen(address, mux, log)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.Shutdown(context.Background()) })()
	return s.Serve()
}

// local refuses requests that a web page elsewhere made a browser send here: they
// name another host.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, "0")
		}
		if !config.Loopback(host) {
			http.Error(w, "this address serves this machine alone", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, code int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(raw, '\n')) // the collector went away; there is nobody to tell
}

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Serve answers until Shutdown.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets answers under way finish until ctx ends.
func (s *Server) Shutdown(ctx context.Context) {
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Debug("cut telemetry off", "error", err)
		_ = s.http.Close() // it was asked to stop; what is left is cut off
	}
	_ = s.listener.Close() // closed already when the server served
}

// Collector measures a node by its status, each time it is asked.
type Collector struct {
	status  func() *nodev1.StatusResponse
	gauges  []gauge
	expires *prometheus.Desc
}

type gauge struct {
	desc  *prometheus.Desc
	value func(*nodev1.StatusResponse) float64
}

// NewCollector measures by a status.
func NewCollector(status func() *nodev1.StatusResponse) *Collector {
	c := &Collector{status: status, expires: prometheus.NewDesc("chancery_node_certificate_expires_seconds",
		"When a certificate of the node's door ends, Unix seconds.", []string{"use", "fingerprint"}, nil)}
	add := func(name, help string, value func(*nodev1.StatusResponse) float64) {
		c.gauges = append(c.gauges, gauge{prometheus.NewDesc("chancery_node_"+name, help, nil, nil), value})
	}
	add("height", "Latest committed block.", func(s *nodev1.StatusResponse) float64 { return float64(s.Height) })
	add("block_time_seconds", "Time of the latest block, Unix seconds.", func(s *nodev1.StatusResponse) float64 { return float64(s.Time) / 1000 })
	add("block_age_seconds", "How long ago the node saw its latest block.", func(s *nodev1.StatusResponse) float64 { return float64(s.LatestBlockAgeMs) / 1000 })
	add("peers", "Connected peers.", func(s *nodev1.StatusResponse) float64 { return float64(s.Peers) })
	add("healthy", "1 when the node takes part.", func(s *nodev1.StatusResponse) float64 { return one(s.Healthy) })
	add("catching_up", "1 while the node fetches blocks that others have.", func(s *nodev1.StatusResponse) float64 { return one(s.CatchingUp) })
	return c
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.expires
	for _, g := range c.gauges {
		out <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s := c.status()
	for _, e := range s.Certificates {
		out <- prometheus.MustNewConstMetric(c.expires, prometheus.GaugeValue, float64(e.ExpiresAt)/1000, e.Use, hex.EncodeToString(e.Fingerprint))
	}
	for _, g := range c.gauges {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(s))
	}
}
