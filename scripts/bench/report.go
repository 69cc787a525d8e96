package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chancery/chancery/node/bench"
)

// report is what was measured.
type report struct {
	At      time.Time     `json:"at"`
	Machine bench.Machine `json:"machine"`
	Command string        `json:"command"`
	Rounds  int           `json:"rounds"`
	Window  int           `json:"window"`
	Seconds int           `json:"seconds"`
	Settle  int           `json:"settle_seconds,omitempty"`
	Rates   []int         `json:"rates"`
	Clerks  int           `json:"clerks"`
	Series  []*series     `json:"series"`
	Ratios  []ratio       `json:"ratios"`
}

// ratio is a figure of one application over the reference's with as many validators, in
// each round.
type ratio struct {
	setting
	State  int     `json:"state"`
	Figure string  `json:"figure"`
	Values spanned `json:"values"`
}

// spanned is a median with the least and the most.
type spanned struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func span(values []float64) spanned {
	if len(values) == 0 {
		return spanned{}
	}
	s := slices.Sorted(slices.Values(values))
	return spanned{s[len(s)/2], s[0], s[len(s)-1]}
}

func (s spanned) text(form string) string {
	return fmt.Sprintf(form+" ("+form+"–"+form+")", s.Median, s.Low, s.High)
}

// The figures that are compared with the reference.
const (
	messageRate = "messages a second"
	txRate      = "transactions a second"
	perCPU      = "transactions a CPU-second"
)

func newReport(all []*series, o options) *report {
	r := &report{
		At: time.Now().UTC().Truncate(time.Second), Machine: bench.ThisMachine(), Command: command(os.Args[1:]),
		Rounds: o.rounds, Window: o.window, Seconds: o.seconds, Settle: o.settle, Rates: o.rates, Clerks: o.clerks, Series: all,
	}
	for _, s := range all {
		base := r.reference(s)
		if base == nil || s.App == reference {
			continue
		}
		add := func(figure string, of func(figures) float64) {
			var values []float64
			for i := range min(len(s.Rounds), len(base.Rounds)) {
				if b := of(base.Rounds[i]); b > 0 {
					values = append(values, of(s.Rounds[i])/b)
				}
			}
			if len(values) > 0 {
				r.Ratios = append(r.Ratios, ratio{s.setting, s.State, figure, span(values)})
			}
		}
		add(txRate, func(f figures) float64 { return f.Closed.Throughput })
		if s.Messages > 1 {
			add(messageRate, func(f figures) float64 { return f.Closed.MessageRate })
		}
		add(perCPU, func(f figures) float64 {
			if f.Closed.CPU == 0 {
				return 0
			}
			return 1 / f.Closed.CPU
		})
		for i, rate := range o.rates {
			add(fmt.Sprintf("p50 at %d tx/s", rate), func(f figures) float64 { return f.Open[i].Latency.P50 })
			add(fmt.Sprintf("p99 at %d tx/s", rate), func(f figures) float64 { return f.Open[i].Latency.P99 })
			add(fmt.Sprintf("CPU at %d tx/s", rate), func(f figures) float64 { return f.Open[i].CPU })
		}
	}
	return r
}

// command is what makes the measurement again, without paths of this machine.
func command(args []string) string {
	out := "go run ./scripts/bench"
	for _, a := range args {
		if name, path, ok := strings.Cut(a, "="); ok && filepath.IsAbs(path) {
			a = name + "=" + filepath.Base(path)
		} else if filepath.IsAbs(a) {
			a = filepath.Base(a)
		}
		out += " " + a
	}
	return out
}

func (r *report) reference(s *series) *series {
	for _, other := range r.Series {
		if other.App == reference && other.Validators == s.Validators && other.Regions == s.Regions {
			return other
		}
	}
	return nil
}

// of is a figure of each round.
func (s *series) of(figure func(figures) float64) spanned {
	var values []float64
	for _, f := range s.Rounds {
		values = append(values, figure(f))
	}
	return span(values)
}

func resident(f figures) float64 {
	var most int64
	for _, n := range f.Closed.Nodes {
		most = max(most, n.Resident)
	}
	return float64(most) / (1 << 20)
}

// state is the size of the state of a case for people, before the closed loop and after it.
func (s *series) state() string {
	if s.State == 0 {
		return "–"
	}
	before := s.of(func(f figures) float64 { return float64(f.Keys) }).Median
	return fmt.Sprintf("%.0f to %.0f", before, s.of(func(f figures) float64 { return float64(f.KeysAfter) }).Median)
}

// validators are their number, and where they are.
func (s setting) validators() string {
	if s.Regions > 0 {
		return fmt.Sprintf("%d in %d regions", s.Validators, s.Regions)
	}
	return fmt.Sprint(s.Validators)
}

func (s *series) row() string {
	return fmt.Sprintf("| %s | %s | %d | %s | %s |", s.App, s.Workload, s.Messages, s.validators(), s.state())
}

// markdown is the report for people.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- written by scripts/bench -->\n\n    %s\n\n", r.Command)
	settled := ""
	if r.Settle > 0 {
		settled = fmt.Sprintf(", the first after %d s of load that is not measured", r.Settle*4/3)
	}
	fmt.Fprintf(&b, "%s, %d processors, %s of memory, %s, %s, %s. Rounds: %d. Each loop: %d s, after a third of that to warm up%s. Closed loop: %d under way. Medians (least–most).\n\n",
		r.Machine.CPU, r.Machine.Processors, r.Machine.Memory, r.Machine.System, r.Machine.Go, r.Machine.Engine, r.Rounds, r.Seconds, settled, r.Window)
	b.WriteString("| application | workload | messages | validators | keys in state | tx/s | messages/s | CPU of a tx, µs | bytes of a tx | disk of a tx and validator, bytes | memory of a validator, MiB | alarms, % |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Series {
		fmt.Fprintf(&b, "%s %s | %s | %s | %.0f | %s | %s | %.0f |\n", s.row(),
			s.of(func(f figures) float64 { return f.Closed.Throughput }).text("%.0f"),
			s.of(func(f figures) float64 { return f.Closed.MessageRate }).text("%.0f"),
			s.of(func(f figures) float64 { return f.Closed.CPU }).text("%.0f"),
			s.of(func(f figures) float64 { return f.Closed.TxBytes }).Median,
			s.of(func(f figures) float64 { return f.Disk }).text("%.0f"),
			s.of(resident).text("%.0f"),
			s.of(func(f figures) float64 { return alarms(f.Closed) }).Median)
	}
	if len(r.Rates) > 0 {
		b.WriteString("\n| application | workload | messages | validators | keys in state | rate, tx/s | p50, ms | p99, ms | max, ms | between blocks, ms | CPU of a tx, µs |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range r.Series {
			for i, rate := range r.Rates {
				fmt.Fprintf(&b, "%s %d | %s | %s | %s | %s | %s |\n", s.row(), rate,
					s.of(func(f figures) float64 { return f.Open[i].Latency.P50 }).text("%.0f"),
					s.of(func(f figures) float64 { return f.Open[i].Latency.P99 }).text("%.0f"),
					s.of(func(f figures) float64 { return f.Open[i].Latency.Max }).text("%.0f"),
					s.of(func(f figures) float64 { return f.BlockMs[i] }).text("%.0f"),
					s.of(func(f figures) float64 { return f.Open[i].CPU }).text("%.0f"))
			}
		}
	}
	if len(r.Ratios) > 0 {
		b.WriteString("\nRatios to kvstore with as many validators, of each round's pair:\n\n| application | workload | messages | validators | keys asked for | figure | ratio |\n|---|---|---|---|---|---|---|\n")
		for _, x := range r.Ratios {
			fmt.Fprintf(&b, "| %s | %s | %d | %s | %d | %s | %s |\n", x.App, x.Workload, x.Messages, x.validators(), x.State, x.Figure, x.Values.text("%.2f"))
		}
	}
	return b.String() + r.costs()
}

// write puts the report and its plots into a folder.
func (r *report) write(folder, name string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := func(end string) string { return filepath.Join(folder, name+end) }
	text := r.markdown()
	faults := []error{os.WriteFile(path(".json"), append(raw, '\n'), 0o644)}
	for _, p := range r.plots() {
		text += fmt.Sprintf("\n![%s](%s)\n", p.title, name+"-"+p.file)
		faults = append(faults, bench.Draw(path("-"+p.file), p.charts...))
	}
	return errors.Join(append(faults, os.WriteFile(path(".md"), []byte(text), 0o644))...)
}

type picture struct {
	title, file string
	charts      []bench.Chart
}

// plots are those for which something varies.
func (r *report) plots() (out []picture) {
	point := func(x float64, s spanned) bench.XY { return bench.XY{X: x, Y: s.Median, Low: s.Low, High: s.High} }
	if len(r.Rates) > 1 {
		p50 := bench.Chart{Title: "Half of the transactions", X: "transactions a second", Y: "latency p50, ms"}
		p99 := bench.Chart{Title: "All but one of a hundred", X: "transactions a second", Y: "latency p99, ms"}
		for _, s := range r.Series {
			a, b := bench.Line{Name: s.label(r)}, bench.Line{Name: s.label(r)}
			for i, rate := range r.Rates {
				a.Points = append(a.Points, point(float64(rate), s.of(func(f figures) float64 { return f.Open[i].Latency.P50 })))
				b.Points = append(b.Points, point(float64(rate), s.of(func(f figures) float64 { return f.Open[i].Latency.P99 })))
			}
			p50.Lines, p99.Lines = append(p50.Lines, a), append(p99.Lines, b)
		}
		out = append(out, picture{"Latency over throughput", "latency.png", []bench.Chart{p50, p99}})
	}
	over := func(title, file, x string, logX bool, of func(*series) float64) {
		rate := bench.Chart{Title: "Throughput", X: x, Y: "transactions a second", LogX: logX}
		cost := bench.Chart{Title: "Cost", X: x, Y: "CPU of a transaction, µs, all validators", LogX: logX}
		lines := make(map[string]int)
		for _, s := range r.Series {
			if of(s) <= 0 {
				continue
			}
			label := fmt.Sprintf("%s, %s", s.App, s.Workload)
			if s.Messages > 1 {
				label += fmt.Sprintf(" × %d", s.Messages)
			}
			if s.Regions > 0 {
				label += fmt.Sprintf(", %d regions", s.Regions)
			}
			i, ok := lines[label]
			if !ok {
				i = len(rate.Lines)
				lines[label] = i
				rate.Lines, cost.Lines = append(rate.Lines, bench.Line{Name: label}), append(cost.Lines, bench.Line{Name: label})
			}
			rate.Lines[i].Points = append(rate.Lines[i].Points, point(of(s), s.of(func(f figures) float64 { return f.Closed.Throughput })))
			cost.Lines[i].Points = append(cost.Lines[i].Points, point(of(s), s.of(func(f figures) float64 { return f.Closed.CPU })))
		}
		out = append(out, picture{title, file, []bench.Chart{rate, cost}})
	}
	if r.varies(func(s *series) int { return s.State }) {
		over("Throughput and cost over the size of the state", "state.png", "keys in state", true, func(s *series) float64 {
			return s.of(func(f figures) float64 { return float64(f.Keys) }).Median
		})
	}
	if r.varies(func(s *series) int { return s.Validators }) {
		over("Throughput and cost over validators", "validators.png", "validators", false, func(s *series) float64 { return float64(s.Validators) })
	}
	return out
}

// varies tells whether not all cases of one application have the same.
func (r *report) varies(of func(*series) int) bool {
	for _, s := range r.Series {
		for _, other := range r.Series {
			if s.App == other.App && of(s) != of(other) {
				return true
			}
		}
	}
	return false
}

// label names a case by what is not the same in all.
func (s *series) label(r *report) string {
	text := s.App
	if r.varies(func(s *series) int { return slices.Index(bench.Workloads, s.Workload) }) {
		text += ", " + s.Workload
	}
	if r.varies(func(s *series) int { return s.Validators }) {
		text += fmt.Sprintf(", %d validators", s.Validators)
	}
	if s.Regions > 0 {
		text += fmt.Sprintf(", %d regions", s.Regions)
	}
	if r.varies(func(s *series) int { return s.Messages }) {
		text += fmt.Sprintf(" × %d", s.Messages)
	}
	if r.varies(func(s *series) int { return s.State }) {
		text += ", " + s.state() + " keys"
	}
	return text
}

// baseline is what ratios are compared with.
type baseline struct {
	At      time.Time     `json:"at"`
	Command string        `json:"command"`
	Machine bench.Machine `json:"machine"`
	Ratios  []ratio       `json:"ratios"`
}

// compared are the figures that a baseline holds: the ratios of throughput.
var compared = []string{txRate, messageRate}

// compare fails when a ratio fell below the baseline's by more than the tolerance.
func compare(r *report, o options) error {
	var now []ratio
	for _, x := range r.Ratios {
		if slices.Contains(compared, x.Figure) {
			now = append(now, x)
		}
	}
	if o.rewrite {
		raw, err := json.MarshalIndent(baseline{r.At, r.Command, r.Machine, now}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(o.baseline), 0o755); err != nil {
			return err
		}
		return os.WriteFile(o.baseline, append(raw, '\n'), 0o644)
	}
	raw, err := os.ReadFile(o.baseline)
	if err != nil {
		return err
	}
	var before baseline
	if err := json.Unmarshal(raw, &before); err != nil {
		return fmt.Errorf("%s: %w", o.baseline, err)
	}
	text, err := judge(now, before.Ratios, o.tolerance)
	fmt.Print("\n" + text)
	return err
}

// judge compares ratios with earlier ones. A ratio fell when its median did; and one that
// an earlier measurement has and this one lacks is an error too.
func judge(now, before []ratio, tolerance float64) (text string, err error) {
	var b strings.Builder
	var faults []error
	if len(before) == 0 {
		return "", errors.New("the baseline holds no ratios; write it with --rewrite")
	}
	for _, old := range before {
		i := slices.IndexFunc(now, func(x ratio) bool {
			return x.setting == old.setting && x.State == old.State && x.Figure == old.Figure
		})
		if i < 0 {
			faults = append(faults, fmt.Errorf("%v, %s: it was not measured", old.setting, old.Figure))
			continue
		}
		least := old.Values.Median * (1 - tolerance)
		fmt.Fprintf(&b, "%v  %s / kvstore: %s, the baseline has %.2f, at least %.2f is wanted\n", old.setting, old.Figure, now[i].Values.text("%.2f"), old.Values.Median, least)
		if now[i].Values.Median < least {
			faults = append(faults, fmt.Errorf("%v, %s / kvstore fell from %.2f to %.2f, by more than %.0f %%", old.setting, old.Figure, old.Values.Median, now[i].Values.Median, 100*tolerance))
		}
	}
	return b.String(), errors.Join(faults...)
}
