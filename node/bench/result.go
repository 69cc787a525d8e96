package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what came of a run. Latencies are milliseconds.
type Result struct {
	// Load is "open" or "closed".
	Load   string  `json:"load"`
	Rate   float64 `json:"rate,omitempty"`
	Window int     `json:"window,omitempty"`
	// Rude says that the load did not heed when nodes asked it to come back.
	Rude bool `json:"rude,omitempty"`
	// Seconds is the span of the figures, without the warm-up.
	Seconds float64 `json:"seconds"`
	WarmUp  float64 `json:"warm_up_seconds"`
	// Throughput is executed transactions a second, MessageRate their messages.
	Throughput  float64 `json:"throughput"`
	MessageRate float64 `json:"message_rate"`
	Latency     Latency `json:"latency_ms"`
	// Lateness is the most, in milliseconds, that this program itself was behind the
	// schedule of an open loop; latencies include it.
	Lateness float64 `json:"lateness_ms"`
	Counts   Counts  `json:"counts"`
	// TxBytes is the mean size of the transactions.
	TxBytes float64 `json:"tx_bytes,omitempty"`
	Nodes   []Node  `json:"nodes,omitempty"`
	// CPU is microseconds of all nodes for an executed transaction.
	CPU    float64  `json:"cpu_us_per_tx,omitempty"`
	Series []Moment `json:"series"`
	// Distribution are points of the latency's distribution.
	Distribution []Point `json:"distribution"`
}

// Latency is a distribution in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// Node is what a node's process used in the span.
type Node struct {
	PID int `json:"pid"`
	// CPU is seconds of processor time, Resident the most memory in bytes.
	CPU      float64 `json:"cpu_seconds"`
	Resident int64   `json:"resident_bytes"`
}

// Moment is one second of a run, from its very beginning.
type Moment struct {
	Second   int     `json:"second"`
	Due      int     `json:"due"`
	Executed int     `json:"executed"`
	Refused  int     `json:"refused"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// Point says that a share of the transactions took at most so long.
type Point struct {
	Share float64 `json:"share"`
	Ms    float64 `json:"ms"`
}

func ms(us int64) float64 { return float64(us) / 1000 }

func (r *run) result(u *usage) *Result {
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.Unknown = len(l.flights)
	seconds := r.Duration.Seconds()
	h := l.latency
	out := &Result{
		Load: "closed", Window: r.Window, Seconds: seconds, WarmUp: r.WarmUp.Seconds(), Rude: r.Rude,
		Throughput: float64(l.inSpan) / seconds, Lateness: float64(r.lateness.Microseconds()) / 1000, Counts: l.count,
		Latency: Latency{
			Count: h.TotalCount(), Min: ms(h.Min()), Mean: h.Mean() / 1000, P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)),
			P99: ms(h.ValueAtQuantile(99)), P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()),
		},
		Distribution: distribution(h),
	}
	if r.Rate > 0 {
		out.Load, out.Rate, out.Window = "open", r.Rate, 0
	}
	if l.count.Executed > 0 {
		out.TxBytes = float64(l.bytes) / float64(l.count.Executed)
		out.MessageRate = out.Throughput * float64(l.count.Messages) / float64(l.count.Executed)
	}
	for i, s := range l.seconds {
		m := Moment{Second: i, Due: s.due, Executed: s.executed, Refused: s.refused}
		if s.latency != nil {
			m.P50, m.P99 = ms(s.latency.ValueAtQuantile(50)), ms(s.latency.ValueAtQuantile(99))
		}
		out.Series = append(out.Series, m)
	}
	if u != nil {
		var sum time.Duration
		for i, pid := range r.Processes {
			out.Nodes = append(out.Nodes, Node{pid, u.cpu[i].Seconds(), u.resident[i]})
			sum += u.cpu[i]
		}
		if l.inSpan > 0 {
			out.CPU = float64(sum.Microseconds()) / float64(l.inSpan)
		}
	}
	return out
}

// distribution are the shares at which HdrHistogram's own plots have points.
func distribution(h *hdrhistogram.Histogram) (out []Point) {
	if h.TotalCount() == 0 {
		return nil
	}
	for _, b := range h.CumulativeDistributionWithTicks(10) {
		out = append(out, Point{b.Quantile / 100, ms(b.ValueAt)})
	}
	return out
}

// Lost is how many transactions a node took that are in no block although their time
// is out.
func (r *Result) Lost() int { return r.Counts.Void }

// Text is the result for people.
func (r *Result) Text() string {
	var b strings.Builder
	row := func(name, form string, args ...any) {
		fmt.Fprintf(&b, "%-15s  "+form+"\n", append([]any{name}, args...)...)
	}
	c := r.Counts
	if r.Load == "open" {
		row("load", "open loop, %.0f transactions a second for %.0f s after %.0f s of warm-up", r.Rate, r.Seconds, r.WarmUp)
	} else {
		row("load", "closed loop, %d transactions under way for %.0f s after %.0f s of warm-up", r.Window, r.Seconds, r.WarmUp)
	}
	if r.Rude {
		row("client", "rude: it sends whenever nodes ask it to come back")
	}
	row("throughput", "%.0f transactions a second (%.0f messages)", r.Throughput, r.MessageRate)
	row("latency", "p50 %.0f ms  p90 %.0f ms  p99 %.0f ms  p99.9 %.0f ms  max %.0f ms", r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.P999, r.Latency.Max)
	if r.Load == "open" {
		row("latency is", "from when each was due to the news of its block; this program was at most %.0f ms behind", r.Lateness)
	} else {
		row("latency is", "from sending to the news of its block; a closed loop slows down with the network")
	}
	row("outcome", "%d executed, %d held, %d failed, %d void, %d not known", c.Executed, c.Held, c.Failed, c.Void, c.Unknown)
	if c.Withheld+c.Rejected+c.Abandoned > 0 {
		row("not taken", "%d refused for good, %d refused for too long, %d not sent because too many were under way or nodes let this program wait", c.Rejected, c.Abandoned, c.Withheld)
	}
	for _, code := range slices.Sorted(maps.Keys(c.Refused)) {
		row("refused", "%d times with %s", c.Refused[code], code)
	}
	if c.Unadvised > 0 {
		row("refused", "%d times for now without saying for how long", c.Unadvised)
	}
	if c.Alarms > 0 {
		row("alarms", "%.0f %% of the executed transactions scored high", 100*float64(c.Alarms)/float64(max(c.Executed, 1)))
	}
	if c.Denials > 0 {
		row("denials", "%d of the recorded decisions deny", c.Denials)
	}
	if len(r.Nodes) > 0 {
		row("processor", "%.0f µs of all nodes for a transaction", r.CPU)
		for _, n := range r.Nodes {
			row("node", "process %d: %.1f s of processor time, at most %.0f MiB of memory", n.PID, n.CPU, float64(n.Resident)/(1<<20))
		}
	}
	return b.String()
}
