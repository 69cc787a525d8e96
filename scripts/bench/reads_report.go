package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/chancery/chancery/node/bench"
)

// readReport is what 'bench reads' measured.
type readReport struct {
	At          time.Time     `json:"at"`
	Machine     bench.Machine `json:"machine"`
	Command     string        `json:"command"`
	Options     readSizes     `json:"options"`
	FillSeconds float64       `json:"fill_seconds"`
	Resident    int64         `json:"resident_bytes"` // of the first node, filled
	Rows        []*readRow    `json:"rows"`
}

// readSizes are the options that figures depend on.
type readSizes struct {
	Tree       string `json:"tree"`
	Validators int    `json:"validators"`
	Entities   int    `json:"entities"`
	Graph      int    `json:"graph"`
	Load       int    `json:"load_per_second"`
	Clients    int    `json:"clients"`
	Pace       int    `json:"pace_per_second"`
	Batch      int    `json:"batch"`
	Window     int    `json:"window"`
	Seconds    int    `json:"seconds"`
}

func (o readOptions) said() readSizes {
	return readSizes{o.tree, o.validators, o.entities, o.graph, o.load, o.clients, o.pace, o.batch, o.window, o.seconds}
}

// readRow is one read.
type readRow struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Answers int64   `json:"answers"`
	Rate    float64 `json:"answers_per_second"`
	// Latency is of a call, in milliseconds; of a recorded decision, from sending to the
	// news of its block.
	Latency bench.Latency `json:"latency_ms"`
	// CPU is microseconds of the first node's processor time for an answer, without what
	// it uses for the load alone. NodeCPU is all of it, in seconds.
	CPU     float64 `json:"cpu_us_per_answer"`
	NodeCPU float64 `json:"node_cpu_seconds"`
	// Handled is how many calls the node answered, Quick how many of them within a
	// millisecond by its own clock.
	Handled int64 `json:"calls_at_the_node,omitempty"`
	Quick   int64 `json:"calls_within_1ms_at_the_node,omitempty"`
	// Blocks is how many were committed meanwhile, Load the transactions a second in them
	// beside the read.
	Blocks int64   `json:"blocks"`
	Load   float64 `json:"load_per_second"`
}

// finish fills in what answers come to: their latencies in microseconds, the node's
// processor time, and how much of it a second has without them.
func (r *readRow) finish(answers int64, h *hdrhistogram.Histogram, cpu, besides float64) {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	r.Answers, r.Rate, r.NodeCPU = answers, float64(answers)/r.Seconds, cpu
	r.Latency = bench.Latency{
		Count: h.TotalCount(), Min: ms(h.Min()), Mean: h.Mean() / 1000, P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)),
		P99: ms(h.ValueAtQuantile(99)), P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()),
	}
	if answers > 0 {
		r.CPU = max(0, cpu-besides*r.Seconds) * 1e6 / float64(answers)
	}
}

func (r *readRow) line() string {
	return fmt.Sprintf("%-70s  %9.0f/s  p50 %.2f ms  p99 %.2f ms  max %.2f ms  %.1f µs of CPU each  %d blocks", r.Name, r.Rate, r.Latency.P50, r.Latency.P99, r.Latency.Max, r.CPU, r.Blocks)
}

func (r *readReport) markdown() string {
	var b strings.Builder
	o, m := r.Options, r.Machine
	fmt.Fprintf(&b, "<!-- written by scripts/bench -->\n\n    %s\n\n", r.Command)
	fmt.Fprintf(&b, "%s, %s of memory, %s, %s, %s, on %s. State in a tree in %s, %d validators; %d entities, a graph of %d; filled in %.0f s, after which the first node held %d MiB.\n",
		m.CPU, m.Memory, m.System, m.Go, m.Engine, r.At.Format(time.DateOnly), o.Tree, o.Validators, o.Entities, o.Graph, r.FillSeconds, r.Resident>>20)
	fmt.Fprintf(&b, "Each read for %d s over gRPC, from a process beside the nodes with %d calls under way, and meanwhile %d transactions a second; where so many a second are named, latency is from when each was due; recorded decisions with %d under way and nothing beside. At the node, a call lasts from when its request was read to when its answer was there.\n\n", o.Seconds, o.Clients, o.Load, o.Window)
	b.WriteString("| Read | a second | a CPU-second of the node | p50 ms | p99 ms | max ms | within 1 ms at the node | blocks |\n|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, row := range r.Rows {
		if row.Answers == 0 && row.Rate == 0 {
			continue
		}
		each := "–"
		if row.CPU > 0 {
			each = fmt.Sprintf("%.0f", 1e6/row.CPU)
		}
		quick := "–"
		if row.Handled > 0 {
			quick = fmt.Sprintf("%.2f %%", 100*float64(row.Quick)/float64(row.Handled))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %.2f | %.2f | %.2f | %s | %d |\n", row.Name, row.Rate, each, row.Latency.P50, row.Latency.P99, row.Latency.Max, quick, row.Blocks)
	}
	return b.String()
}

func (r *readReport) write(folder, name string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, name+".json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(folder, name+".md"), []byte(r.markdown()), 0o644))
}
