//go:build unix

package testnet_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet"
)

// span is one of a file of OTLP JSON.
type span struct {
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
	Parent  string `json:"parentSpanId"`
	Name    string `json:"name"`
	Start   string `json:"startTimeUnixNano"`
	End     string `json:"endTimeUnixNano"`
}

// spansOf reads a node's file of traces.
func spansOf(t *testing.T, path string) (out []span) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var data struct {
			ResourceSpans []struct{ ScopeSpans []struct{ Spans []span } }
		}
		if err := json.Unmarshal(lines.Bytes(), &data); err != nil {
			t.Fatal(err)
		}
		for _, r := range data.ResourceSpans {
			for _, s := range r.ScopeSpans {
				out = append(out, s.Spans...)
			}
		}
	}
	return out
}

// One trace shows a transaction from the client's call through four nodes to the commit,
// although nothing of the trace travels with it.
func TestATraceJoinsFourNodes(t *testing.T) {
	e := newE2E(t)
	e.run("testnet", "start", "--validators", "4", "--dir", e.dir, "--detach")
	e.run("testnet", "stop", "--dir", e.dir)
	homes := make([]config.Home, 4)
	for i := range homes {
		homes[i] = config.Home(filepath.Join(e.dir, fmt.Sprintf("validator-%d", i)))
		c, err := config.Load(homes[i])
		if err != nil {
			t.Fatal(err)
		}
		c.Telemetry.TracesFile, c.Telemetry.TracesRatio = "data/traces/spans.jsonl", 1
		if err := config.Write(homes[i], c); err != nil {
			t.Fatal(err)
		}
	}
	out, err := e.command("testnet", "start", "--dir", e.dir, "--detach", "--output", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var started struct {
		HowTo struct {
			Submit string `json:"submit"`
		} `json:"how_to"`
	}
	if err := json.Unmarshal(out, &started); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := e.command()
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", started.HowTo.Submit + " --output json"}
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	e.until("all have one app hash", 60*time.Second, oneHash)
	e.run("testnet", "stop", "--dir", e.dir) // what waits is exported

	var root span
	all := make([][]span, 4)
	for i, h := range homes {
		all[i] = spansOf(t, filepath.Join(h.Data(), "traces", "spans.jsonl"))
		for _, s := range all[i] {
			if s.Name == "submit" {
				root = s
			}
		}
	}
	if root.SpanID == "" || root.Parent != "" {
		t.Fatalf("no root among %v", all)
	}
	if !strings.Contains(string(raw), root.TraceID) {
		t.Errorf("the trace id %s is not the beginning of the transaction's id in %s", root.TraceID, raw)
	}
	proposers := 0
	for i, spans := range all {
		var names []string
		for _, s := range spans {
			if s.TraceID != root.TraceID {
				continue
			}
			names = append(names, s.Name)
			if s.SpanID != root.SpanID && s.Parent != root.SpanID {
				t.Errorf("node %d: %+v is no part of the root %s", i, s, root.SpanID)
			}
			if s.Start > s.End || s.Start == "" {
				t.Errorf("node %d: %+v", i, s)
			}
		}
		t.Logf("node %d: %s", i, strings.Join(names, " "))
		if slices.Contains(names, "propose") {
			proposers++
		}
		for _, want := range []string{"judge", "execute", "finalize", "commit"} {
			if !slices.Contains(names, want) {
				t.Errorf("node %d has no span %q of the transaction", i, want)
			}
		}
		if !slices.Contains(names, "propose") && !slices.Contains(names, "process") {
			t.Errorf("node %d neither proposed nor processed it", i)
		}
	}
	if proposers == 0 {
		t.Error("nobody proposed it")
	}
}

// The alerts of missing validators fire when validators are missing, by Prometheus' own
// engine over what real nodes serve, and clear when the runbook's remedy brings them back.
func TestAlertsFireAndClear(t *testing.T) {
	e := newE2E(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no Go toolchain to build Prometheus' engine with")
	}
	e.run("testnet", "start", "--validators", "4", "--dir", e.dir, "--detach")
	e.until("there are blocks", 60*time.Second, func(v []testnet.View) bool { return highest(v) > 5 })
	scrapes := t.TempDir()
	scrape := func(phase string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(scrapes, phase), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			c, err := config.Load(config.Home(filepath.Join(e.dir, fmt.Sprintf("validator-%d", i))))
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Timeout: 10 * time.Second}
			answer, err := client.Get("http://" + c.Telemetry.Listen + "/metrics")
			if err != nil {
				continue // it is down
			}
			raw, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err == nil {
				err = os.WriteFile(filepath.Join(scrapes, phase, fmt.Sprintf("validator-%d.prom", i)), raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	ready := func(what string) {
		t.Helper()
		e.until(what, 90*time.Second, func(v []testnet.View) bool {
			for _, x := range v {
				if !x.Answers || x.CatchingUp || x.Peers < 3 {
					return false
				}
			}
			return true
		})
		time.Sleep(5 * time.Second) // blocks that all four sign
	}
	ready("all are connected")
	scrape("well")
	e.run("testnet", "kill", "3", "--dir", e.dir)
	height := highest(e.status())
	e.until("three go on", 60*time.Second, func(v []testnet.View) bool { return highest(v) > height+3 })
	scrape("one-down")
	e.run("testnet", "kill", "2", "--dir", e.dir)
	time.Sleep(33 * time.Second) // no block, for longer than the alert's bound
	scrape("two-down")
	e.run("testnet", "restart", "2", "--dir", e.dir)
	e.run("testnet", "restart", "3", "--dir", e.dir)
	ready("all are back")
	scrape("back")

	rules, err := filepath.Abs("../docs/operations/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", rules, scrapes, "well", "one-down", "two-down", "back")
	cmd.Dir = "../scripts/alerts"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
	firing := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		if phase, names, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			firing[phase] = strings.Fields(names)
		}
	}
	// Of a machine that tests run on, its disk is not the network's matter.
	about := func(phase string) []string {
		return slices.DeleteFunc(slices.Clone(firing[phase]), func(n string) bool { return n == "ChanceryDiskLow" || n == "ChanceryNoModel" })
	}
	for phase, want := range map[string][]string{
		"one-down": {"ChanceryNodeDown", "ChanceryTooFewValidators", "ChanceryPeersMissing"},
		"two-down": {"ChanceryNodeDown", "ChanceryUnhealthy", "ChanceryNoBlock", "ChanceryPeersMissing"},
	} {
		for _, name := range want {
			if !slices.Contains(firing[phase], name) {
				t.Errorf("%s: %s does not fire", phase, name)
			}
		}
	}
	for _, phase := range []string{"well", "back"} {
		if _, told := firing[phase]; !told || len(about(phase)) > 0 {
			t.Errorf("%s: %v fires", phase, firing[phase])
		}
	}
}
