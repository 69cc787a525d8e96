//go:build linux

package perturb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String is the run in one line.
func (r *Result) String() string {
	steps := make([]string, len(r.Steps))
	for i, s := range r.Steps {
		steps[i] = s.String()
	}
	verdict := "ok"
	switch {
	case r.Error != "":
		verdict = "NOT RUN: " + firstLine(r.Error)
	case len(r.Violations) > 0:
		verdict = fmt.Sprintf("%d VIOLATIONS: %s", len(r.Violations), firstLine(r.Violations[0]))
	}
	return fmt.Sprintf("seed %d, %s, %.1f s: %s; %d blocks, longest pause %.1f s, healed after %.1f s, settled after %.1f s; %d acknowledged, %d not known, %d withdrawn, %d answers, %d events, %d receipts, %d lies; %s",
		r.Seed, r.Mode, r.Seconds, strings.Join(steps, " "), r.Blocks, r.LongestPause, r.Healing, r.Settling,
		r.Acknowledged, r.Unanswered, r.Withdrawn, r.Asked, r.Events, r.Receipts, r.Lies, verdict)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Summary is many runs in a few lines: how many of which mode and fault, how long they
// took, and the seeds of those that found something.
func Summary(results []*Result) string {
	modes, faults := make(map[Mode]int), make(map[Fault]int)
	var seeds, unmade []string
	var seconds, healing, pause, settling float64
	var blocks, acknowledged, unanswered, withdrawn, asked, events, receipts, lies int64
	skipped := 0
	for _, r := range results {
		if r.Error != "" {
			unmade = append(unmade, fmt.Sprint(r.Seed))
			continue
		}
		modes[r.Mode]++
		skipped += len(r.Skipped)
		for _, s := range r.Steps {
			faults[s.Fault]++
		}
		if len(r.Violations) > 0 {
			seeds = append(seeds, fmt.Sprint(r.Seed))
		}
		seconds += r.Seconds
		healing, settling = max(healing, r.Healing), max(settling, r.Settling)
		if r.Mode == Minority {
			pause = max(pause, r.LongestPause)
		}
		blocks += r.Blocks
		acknowledged += int64(r.Acknowledged)
		unanswered += int64(r.Unanswered)
		withdrawn += int64(r.Withdrawn)
		asked += r.Asked
		events += int64(r.Events)
		receipts += int64(r.Receipts)
		lies += int64(r.Lies)
	}
	var b strings.Builder
	made := len(results) - len(unmade)
	fmt.Fprintf(&b, "%d runs, %.1f s each:", made, seconds/float64(max(made, 1)))
	for _, m := range slices.Sorted(maps.Keys(modes)) {
		fmt.Fprintf(&b, " %d %s", modes[m], m)
	}
	fmt.Fprintf(&b, "\nfaults:")
	for _, f := range slices.Sorted(maps.Keys(faults)) {
		fmt.Fprintf(&b, " %d %s", faults[f], f)
	}
	fmt.Fprintf(&b, "\n%d blocks; %d transactions acknowledged, %d whose outcome was not known; %d consents withdrawn, %d answers about consents; %d events; %d receipts; %d lies told\n",
		blocks, acknowledged, unanswered, withdrawn, asked, events, receipts, lies)
	fmt.Fprintf(&b, "longest: %.1f s between two blocks with one of four disturbed, %.1f s from the last fault to a block, %.1f s to one height\n", pause, healing, settling)
	if skipped > 0 {
		fmt.Fprintf(&b, "%d steps were left out\n", skipped)
	}
	if len(unmade) > 0 {
		fmt.Fprintf(&b, "not run, see their errors: seeds %s\n", strings.Join(unmade, " "))
	}
	if len(seeds) == 0 {
		fmt.Fprintf(&b, "no violation\n")
	} else {
		fmt.Fprintf(&b, "violations with seeds %s\n", strings.Join(seeds, " "))
	}
	return b.String()
}
