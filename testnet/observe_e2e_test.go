//go:build unix

package testnet_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/node/config"
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
	// A node that is still fetching blocks is told of the transaction by its block.
	e.until("all have one app hash", 60*time.Second, oneHash)
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
