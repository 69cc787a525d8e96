//go:build linux

package testnet_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chancery/chancery/node/bench"
)

// bench runs 'chancery bench' on the network and reads its report.
func (e *e2e) bench(args ...string) *bench.Report {
	e.t.Helper()
	out := filepath.Join(e.t.TempDir(), "report")
	text := e.run(append([]string{"bench", "--testnet", e.dir, "--timeout", "2m", "--out", out}, args...)...)
	e.t.Logf("%s", text)
	raw, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		e.t.Fatal(err)
	}
	r := new(bench.Report)
	if err := json.Unmarshal(raw, r); err != nil {
		e.t.Fatal(err)
	}
	for _, name := range []string{"report.txt", "latency.png", "throughput.png"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			e.t.Errorf("%s: %v", name, err)
		}
	}
	return r
}

// Each workload is executed on a network as people start it, and nothing is refused for
// good, fails or gets lost.
func TestBenchWorkloads(t *testing.T) {
	e := newE2E(t)
	e.run("testnet", "start", "--dir", e.dir, "--detach")
	for _, w := range bench.Workloads {
		r := e.bench("--workload", w, "--messages", "2", "--rate", "40", "--duration", "3s", "--warm-up", "1s")
		c := r.Result.Counts
		if c.Executed != c.Due || c.Due != 160 || c.Messages != 2*c.Executed || r.Result.Latency.Count != 120 || r.Result.Latency.P50 <= 0 {
			t.Errorf("%s: %+v, latency %+v", w, c, r.Result.Latency)
		}
		if c.Denials > 0 {
			t.Errorf("%s: %d decisions deny, and all patients consent", w, c.Denials)
		}
		if len(r.Result.Nodes) != 4 || r.Result.Nodes[0].CPU <= 0 || r.Result.Nodes[0].Resident <= 0 {
			t.Errorf("%s: the processes used %+v", w, r.Result.Nodes)
		}
	}
}

// A network that is offered five times what it can do goes on doing what it can, tells
// everybody that it refuses when to come back, loses nothing that it took, and serves
// others who ask for little; also where those who ask for too much do not heed.
func TestBenchOverload(t *testing.T) {
	e := newE2E(t)
	// States on disk become slower while they grow, which is another matter.
	e.run("testnet", "start", "--tree", "memory", "--dir", e.dir, "--detach")
	for name, flags := range map[string][]string{"heeding": nil, "rude": {"--rude"}} {
		t.Run(name, func(t *testing.T) { overload(t, e, flags) })
	}
}

func overload(t *testing.T, e *e2e, flags []string) {
	span, long := "5s", os.Getenv("CHANCERY_LONG") != ""
	if long {
		span = "1m"
	}
	r := e.bench(append([]string{"--rate", "5x", "--duration", span, "--patience", "5s", "--drain", "10m"}, flags...)...)
	if want := []string{"memory", "memory", "memory", "memory"}; !slices.Equal(r.Trees, want) {
		t.Errorf("the nodes hold their states in %v", r.Trees)
	}
	c := r.Result.Counts
	if r.Result.Rate < 4.9*r.Peak.Throughput {
		t.Errorf("%.0f a second were offered, and the peak is %.0f", r.Result.Rate, r.Peak.Throughput)
	}
	if c.Void+c.Unknown+c.Failed+c.Held != 0 || r.Lost() != 0 {
		t.Errorf("not all that was taken was executed: %+v", c)
	}
	if c.Unadvised != 0 {
		t.Errorf("%d refusals do not say when to come back", c.Unadvised)
	}
	if r.Honest == nil || r.Honest.Counts.Executed != r.Honest.Counts.Due {
		t.Fatalf("others: %+v", r.Honest)
	}
	// The limit by default, towards which garbage grows before it is collected, and what it does not
	// count: the program itself above all, which is mapped from its file.
	const most = 2<<30 + 256<<20
	for _, n := range r.Result.Nodes {
		if n.Resident > most {
			t.Errorf("a node held %d MiB", n.Resident>>20)
		}
	}
	if !long {
		return // the rest says nothing on a machine that does something else besides
	}
	if r.Result.Throughput < 0.9*r.Peak.Throughput {
		t.Errorf("throughput fell from %.0f to %.0f", r.Peak.Throughput, r.Result.Throughput)
	}
	if r.Honest.Latency.P99 >= 1000 {
		t.Errorf("others had a p99 of %.0f ms", r.Honest.Latency.P99)
	}
}
