package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is a measurement of a running network.
type Report struct {
	At       time.Time `json:"at"`
	Program  string    `json:"program"` // version of the program that makes the load
	Machine  Machine   `json:"machine"` // on which it runs
	Workload string    `json:"workload"`
	Messages int       `json:"messages"` // in each transaction
	Authors  int       `json:"authors"`
	Nodes    int       `json:"nodes"` // that take transactions
	// Trees are where the nodes hold their state, in the order of the nodes; none: not known.
	Trees  []string `json:"trees,omitempty"`
	Result *Result  `json:"result"`
	// Peak is the closed loop that came before a rate which is a multiple of it, and
	// Honest are the few transactions of another organisation beside the load.
	Peak   *Result `json:"peak,omitempty"`
	Honest *Result `json:"honest,omitempty"`
}

// Text is the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "workload         %s, messages in a transaction: %d, authors: %d, nodes: %d\n", r.Workload, r.Messages, r.Authors, r.Nodes)
	if len(r.Trees) > 0 {
		fmt.Fprintf(&b, "state            %s\n", strings.Join(r.Trees, ", "))
	}
	if r.Peak != nil {
		b.WriteString("\nThe peak, by a closed loop:\n" + r.Peak.Text() + "\nThe load:\n")
	}
	b.WriteString(r.Result.Text())
	if r.Honest != nil {
		b.WriteString("\nFew transactions of another organisation meanwhile:\n" + r.Honest.Text())
	}
	return b.String()
}

// Lost is how many transactions a node took that came into no block.
func (r *Report) Lost() int {
	n := r.Result.Lost()
	for _, other := range []*Result{r.Peak, r.Honest} {
		if other != nil {
			n += other.Lost()
		}
	}
	return n
}

// Write puts report.json, report.txt, latency.png and throughput.png into a folder, which it makes.
func (r *Report) Write(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "report.json"), append(raw, '\n'), 0o600),
		os.WriteFile(filepath.Join(folder, "report.txt"), []byte(r.Text()), 0o600),
		Draw(filepath.Join(folder, "latency.png"), r.Result.LatencyChart()),
		Draw(filepath.Join(folder, "throughput.png"), r.Result.SeriesChart()),
	)
}

// Draw writes charts to a file, side by side.
func Draw(path string, charts ...Chart) error {
	return write(path, func(w io.Writer) error { return PNG(w, charts...) })
}

func write(path string, fn func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(fn(f), f.Close())
}
