//go:build linux

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/chancery/chancery/node/bench"
)

// summary is what came of a soak.
type summary struct {
	options
	samples             []sample
	latencies           []latency
	due, executed, lost int
	oldest, height      int64 // of the pruned node at the end
	receipts            []string
	violations          []string
}

func (s *summary) violate(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// judge checks what was sampled.
func (s *summary) judge() {
	for _, one := range s.samples {
		if one.node == pruned && one.total > s.budget {
			s.violate("after %.0f s the pruned node took %d bytes, %d more than its budget", one.at, one.total, one.total-s.budget)
		}
		if one.budgetLevel == 3 {
			s.violate("after %.0f s node %d took no new transactions for want of room", one.at, one.node)
		}
	}
	if s.lost > 0 {
		s.violate("%d transactions that a node took were lost", s.lost)
	}
	if s.executed < s.due*99/100 {
		s.violate("of %d transactions that were due %d were executed", s.due, s.executed)
	}
}

// most is the most of something of one node.
func (s *summary) most(node int, of func(sample) float64) (most float64) {
	for _, one := range s.samples {
		if one.node == node {
			most = max(most, of(one))
		}
	}
	return most
}

const mebi = 1 << 20

func diskOf(one sample) float64     { return float64(one.total) / mebi }
func memoryOf(one sample) float64   { return float64(one.resident) / mebi }
func routinesOf(one sample) float64 { return one.goroutines }

func (s *summary) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d minutes at %.0f transactions a second: %d of %d executed, %d lost\n", s.minutes, s.rate, s.executed, s.due, s.lost)
	for i, role := range roles {
		fmt.Fprintf(&b, "node %d (%s): at most %.0f MiB on disk, %.0f MiB in memory, %.0f goroutines\n",
			i, role, s.most(i, diskOf), s.most(i, memoryOf), s.most(i, routinesOf))
	}
	fmt.Fprintf(&b, "the pruned node's budget is %d MiB; it makes receipts of heights %d to %d\n", s.budget/mebi, s.oldest, s.height)
	worst, p50 := 0.0, 0.0
	for _, l := range s.latencies {
		worst, p50 = max(worst, l.p99), max(p50, l.p50)
	}
	fmt.Fprintf(&b, "of ten seconds each, the median latency was at most %.0f ms, the worst 99th percentile of a second %.0f ms\n", p50, worst)
	for _, r := range s.receipts {
		fmt.Fprintln(&b, r)
	}
	if len(s.violations) == 0 {
		fmt.Fprintln(&b, "every check holds")
	}
	for _, v := range s.violations {
		fmt.Fprintln(&b, "VIOLATED:", v)
	}
	return b.String()
}

func (s *summary) lines(of func(sample) float64) (lines []bench.Line) {
	for i, role := range roles {
		l := bench.Line{Name: fmt.Sprintf("%d %s", i, role)}
		for _, one := range s.samples {
			if one.node == i {
				l.Points = append(l.Points, bench.XY{X: one.at / 60, Y: of(one)})
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// draw writes the plots.
func (s *summary) draw(out string) error {
	disk := bench.Chart{Title: "Data folder", X: "minutes", Y: "MiB", Lines: s.lines(diskOf)}
	budget := bench.Line{Name: "budget"}
	for _, p := range disk.Lines[pruned].Points {
		budget.Points = append(budget.Points, bench.XY{X: p.X, Y: float64(s.budget) / mebi})
	}
	disk.Lines = append(disk.Lines, budget)
	var byPart []bench.Line
	for _, part := range parts {
		l := bench.Line{Name: part}
		for _, one := range s.samples {
			if one.node == pruned {
				l.Points = append(l.Points, bench.XY{X: one.at / 60, Y: float64(one.disk[part]) / mebi})
			}
		}
		byPart = append(byPart, l)
	}
	p50, p99 := bench.Line{Name: "median"}, bench.Line{Name: "99th percentile"}
	for _, l := range s.latencies {
		p50.Points = append(p50.Points, bench.XY{X: l.at / 60, Y: l.p50})
		p99.Points = append(p99.Points, bench.XY{X: l.at / 60, Y: l.p99})
	}
	return errors.Join(
		bench.Draw(filepath.Join(out, "disk.png"), disk, bench.Chart{Title: "The pruned node's, by part", X: "minutes", Y: "MiB", Lines: byPart}),
		bench.Draw(filepath.Join(out, "memory.png"), bench.Chart{Title: "Resident memory", X: "minutes", Y: "MiB", Lines: s.lines(memoryOf)},
			bench.Chart{Title: "Goroutines", X: "minutes", Y: "goroutines", Lines: s.lines(routinesOf)}),
		bench.Draw(filepath.Join(out, "latency.png"), bench.Chart{Title: "From due to executed", X: "minutes", Y: "ms", Lines: []bench.Line{p50, p99}}),
	)
}
