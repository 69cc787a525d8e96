// Package alerttest records what a node serves to Prometheus before the cause of alerts is
// there, while it is, and after its runbook's remedy. scripts/alerts plays the recordings
// through the alert rules; 'make alerts' does both.
package alerttest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Environment names the folder of recordings. Without it nothing is written, and the
// tests test what they say all the same.
const Environment = "CHANCERY_ALERTS"

// Recording is what instances served at minutes of a time that is the test's own: what
// lasts seconds in a test stands for the minutes that a rule waits.
type Recording struct {
	t     testing.TB
	dir   string // "": nothing is written
	begin time.Time
}

// Record begins the recording that must raise and clear the alerts.
func Record(t testing.TB, alerts ...string) *Recording {
	t.Helper()
	r := &Recording{t: t, begin: time.Now()}
	if dir := os.Getenv(Environment); dir != "" {
		r.dir = filepath.Join(dir, strings.Join(alerts, "+"))
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(r.dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// Write is what an instance serves from a minute on, until what it serves next. Empty: it
// does not answer.
func (r *Recording) Write(minute int, instance, text string) {
	r.t.Helper()
	if r.dir == "" {
		return
	}
	at := r.begin.Add(time.Duration(minute) * time.Minute).UnixMilli()
	if err := os.WriteFile(filepath.Join(r.dir, fmt.Sprintf("%s@%d.prom", instance, at)), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// Scrape writes what a node's telemetry listener answers now, and returns it.
func (r *Recording) Scrape(minute int, instance, address string) string {
	r.t.Helper()
	text := Ask(address)
	r.Write(minute, instance, text)
	return text
}

// Gather writes what is measured now, and returns it.
func (r *Recording) Gather(minute int, instance string, g prometheus.Gatherer) string {
	r.t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(g, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		r.t.Fatalf("%d: %s", w.Code, w.Body)
	}
	text := "# gathered\n" + w.Body.String() // an instance that measures nothing yet answers all the same
	r.Write(minute, instance, text)
	return text
}

// Ask is what /metrics at an address answers, "" when it does not answer soon.
func Ask(address string) string {
	c := http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get("http://" + address + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(bytes.TrimSpace(raw)) + "\n"
}
