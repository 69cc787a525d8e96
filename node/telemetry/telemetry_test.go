package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/consensus/alerttest"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// listenHealth serves a status that the test chooses.
func listenHealth(t *testing.T, status func() *nodev1.StatusResponse) string {
	t.Helper()
	own := prometheus.NewRegistry()
	own.MustRegister(NewCollector(status))
	return listenWith(t, Options{Gatherer: own, Status: status})
}

func listenWith(t *testing.T, o Options) string {
	t.Helper()
	o.Address, o.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	if o.Halted == nil {
		o.Halted = func() bool { return false }
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Shutdown(t.Context())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Address()
}

func healthy() *nodev1.StatusResponse {
	return &nodev1.StatusResponse{Height: 7, Healthy: true, Peers: 3, LatestBlockAgeMs: 1500}
}

func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 20 * time.Second}
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(raw)
}

func TestAnswers(t *testing.T) {
	sick := false
	address := listenHealth(t, func() *nodev1.StatusResponse {
		s := healthy()
		if sick {
			s.Healthy, s.Reason = false, "no block for 20s"
		}
		return s
	})
	for path, want := range map[string]string{
		"/health": `"healthy":true`, "/status": `"height":"7"`, "/metrics": "chancery_node_block_age_seconds 1.5",
	} {
		if code, body := ask(t, "http://"+address+path); code != 200 || !strings.Contains(strings.ReplaceAll(body, ": ", ":"), want) {
			t.Errorf("%s: %d, %s", path, code, body)
		}
	}
	if code, _ := ask(t, "http://"+address+"/debug/pprof/"); code != 404 {
		t.Errorf("profiles that nobody asked for: %d", code)
	}
	sick = true
	if code, body := ask(t, "http://"+address+"/health"); code != 503 || !strings.Contains(body, "no block for 20s") {
		t.Errorf("/health of a sick node: %d, %s", code, body)
	}
}

func TestOthersAreRefused(t *testing.T) {
	if _, err := Listen(Options{Address: "0.0.0.0:0", Gatherer: prometheus.NewRegistry(), Status: healthy, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("it listens for other machines")
	}
	address := listenHealth(t, healthy)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a page elsewhere is answered with %d", answer.StatusCode)
	}
}

// Connections that say nothing are closed, and hold up a collector no longer than
// that takes.
func TestSilentConnectionsHoldUpNobodyForLong(t *testing.T) {
	address := listenHealth(t, healthy)
	for range 2 * maxConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if code, _ := ask(t, "http://"+address+"/health"); code != 200 {
		t.Errorf("/health answers %d", code)
	}
}

// The probes tell a consensus that has ended from one that waits for others, and from one
// that is alone in not getting on.
func TestProbesTellHaltedFromSlow(t *testing.T) {
	var s nodev1.StatusResponse
	halted := false
	address := listenWith(t, Options{
		Status: func() *nodev1.StatusResponse { return proto.CloneOf(&s) }, Halted: func() bool { return halted },
	})
	for _, w := range []struct {
		name                 string
		set                  func()
		live, ready, started int
		state                State
	}{
		{"catching up", func() { s.Healthy, s.CatchingUp = true, true }, 200, 503, 503, CatchingUp},
		{"healthy", func() { s.CatchingUp = false }, 200, 200, 200, Healthy},
		{"waiting", func() { s.Healthy, s.Reason = false, "no block for 20s" }, 200, 503, 200, Waiting},
		{"stuck", func() { s.BehindBlocks = 7 }, 200, 503, 200, Stuck},
		{"halted", func() { halted = true }, 503, 503, 200, Halted},
	} {
		w.set()
		for path, want := range map[string]int{"/livez": w.live, "/readyz": w.ready, "/startupz": w.started} {
			code, body := ask(t, "http://"+address+path)
			if code != want || !strings.Contains(body, `"state":"`+string(w.state)+`"`) {
				t.Errorf("%s: %s answers %d, want %d: %s", w.name, path, code, want, body)
			}
		}
	}
}

// The level of the log changes while the node runs, to a level that there is.
func TestLevelOfTheLog(t *testing.T) {
	level := new(slog.LevelVar)
	address := listenWith(t, Options{Status: healthy, Level: level})
	put := func(text string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+address+"/loglevel", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	if code := put("debug"); code != 200 || level.Level() != slog.LevelDebug {
		t.Errorf("%d, %v", code, level)
	}
	if code := put("loud"); code != 400 || level.Level() != slog.LevelDebug {
		t.Errorf("%d, %v", code, level)
	}
	if code, body := ask(t, "http://"+address+"/loglevel"); code != 200 || !strings.Contains(body, "debug") {
		t.Errorf("%d, %s", code, body)
	}
}

// A node that needs another program says so, in a word of its own.
func TestUpgradeNeededTells(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Refused(ctx, address, NewUpgradeNeeded(), UpgradeNeeded, errors.New("block 7 needs version 2"), slog.New(slog.DiscardHandler))
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if code, body := ask(t, "http://"+address+"/health"); code != 503 || !strings.Contains(body, `"state":"upgrade-needed"`) || !strings.Contains(body, "version 2") {
		t.Errorf("%d, %s", code, body)
	}
	if _, body := ask(t, "http://"+address+"/metrics"); !strings.Contains(body, "chancery_upgrade_stopped 1\n") {
		t.Error(body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A node that the guard stopped, or whose state has parted, says so to whoever comes by before
// its process ends.
func TestRefusedTells(t *testing.T) {
	tells(t, NewRefused(), "ChanceryGuardRefused", "chancery_guard_refused 1\n")
	tells(t, NewParted(), "ChanceryStateParted", "chancery_state_parted 1\n")
}

func tells(t *testing.T, mark prometheus.Gauge, alert, want string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Refused(ctx, address, mark, Halted, errors.New("block 7 carries a foreign signature"), slog.New(slog.DiscardHandler))
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	rec := alerttest.Record(t, alert)
	takesPart := listenHealth(t, healthy)
	rec.Scrape(0, "node", takesPart)
	if body := rec.Scrape(5, "node", address); !strings.Contains(body, want) {
		t.Error(body)
	}
	rec.Scrape(10, "node", takesPart)
	if code, body := ask(t, "http://"+address+"/livez"); code != 503 || !strings.Contains(body, "block 7") {
		t.Errorf("%d, %s", code, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
