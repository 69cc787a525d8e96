// Package telemetry serves a node's measurements and health over HTTP to this
// machine alone:
//
//	/metrics       Prometheus
//	/health        200 when the node takes part, 503 with the reason when not; see Health
//	/status        the node's status as JSON
//	/debug/pprof/  profiles, when asked for
package telemetry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
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

// Health is what /health answers.
type Health struct {
	Healthy bool   `json:"healthy"`
	Reason  string `json:"reason"` // why it is not healthy
	Height  int64  `json:"height"`
	// CatchingUp tells that the node still fetches blocks that others have.
	CatchingUp bool `json:"catching_up"`
	// Halted tells that consensus has ended by a fault and the process is about to. A node
	// that is unhealthy and not halted waits for others, which mends itself.
	Halted     bool   `json:"halted"`
	Peers      uint32 `json:"peers"`
	BlockAgeMs int64  `json:"block_age_ms"` // since the node saw its latest block
}

// Listen opens the listener, which must be on loopback. The measurements of own
// and those of the process's default registry are served together. halted tells whether
// consensus has ended by a fault.
func Listen(address string, withPprof bool, own prometheus.Gatherer, status func() *nodev1.StatusResponse, halted func() bool, log *slog.Logger) (*Server, error) {
	if !config.Loopback(address) {
		return nil, fmt.Errorf("telemetry.listen: %s is not loopback", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for telemetry: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{own, prometheus.DefaultGatherer}, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: 10 * time.Second,
	}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		s := status()
		code := http.StatusOK
		if !s.Healthy {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, Health{
			Healthy: s.Healthy, Reason: s.Reason, Height: s.Height, CatchingUp: s.CatchingUp,
			Halted: halted(), Peers: s.Peers, BlockAgeMs: s.LatestBlockAgeMs,
		})
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(status())
		if err != nil {
			http.Error(w, "the status cannot be written", http.StatusInternalServerError)
			return
		}
		answer(w, http.StatusOK, json.RawMessage(raw))
	})
	if withPprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	s := &Server{listener: netutil.LimitListener(l, maxConnections), log: log, http: &http.Server{
		Handler: local(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	return s, nil
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
	add("pool_transactions", "Transactions that wait for a block.", func(s *nodev1.StatusResponse) float64 { return float64(s.PoolTxs) })
	add("pool_bytes", "Their bytes.", func(s *nodev1.StatusResponse) float64 { return float64(s.PoolBytes) })
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
