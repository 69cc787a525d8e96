package telemetry

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// listen serves a status that the test chooses.
func listen(t *testing.T, status func() *nodev1.StatusResponse) string {
	t.Helper()
	own := prometheus.NewRegistry()
	own.MustRegister(NewCollector(status))
	s, err := Listen("127.0.0.1:0", false, own, status, func() bool { return false }, slog.New(slog.DiscardHandler))
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
	address := listen(t, func() *nodev1.StatusResponse {
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
	if _, err := Listen("0.0.0.0:0", false, prometheus.NewRegistry(), healthy, func() bool { return false }, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it listens for other machines")
	}
	address := listen(t, healthy)
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
	address := listen(t, healthy)
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
