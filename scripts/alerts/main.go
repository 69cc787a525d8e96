// Command alerts holds Prometheus alert rules against Prometheus' own parser, and plays
// recordings of what nodes served before, while and after an alert's cause was there
// through Prometheus' own evaluation of rules:
//
//	go run . RULES [RECORDINGS]
//
// RECORDINGS holds a folder for each recording, named after the alerts that it must raise
// and clear, joined by +. In it is a file INSTANCE@UNIXMS.prom for each scrape, in the text
// form of /metrics; an empty one is a scrape that failed.
//
// It is a module of its own, since the evaluation's dependencies are many and none of them
// is the node's.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "alerts: want RULES [RECORDINGS]")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "alerts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rules string, recordings []string) error {
	names, err := parse(rules)
	if err != nil {
		return err
	}
	fmt.Printf("%d rules parse\n", len(names))
	if len(recordings) == 0 {
		return nil
	}
	folders, err := filepath.Glob(filepath.Join(recordings[0], "*"))
	if err != nil {
		return err
	}
	provoked, faults := map[string]bool{}, []string{}
	for _, folder := range folders {
		scrapes, err := read(folder)
		if err != nil {
			return err
		}
		changes, err := play(ctx, rules, scrapes)
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		fmt.Println(filepath.Base(folder))
		for _, c := range changes {
			fmt.Println("  " + c.String())
		}
		for want := range strings.SplitSeq(filepath.Base(folder), "+") {
			if why := proves(changes, want, names); why != "" {
				faults = append(faults, want+" "+why)
				continue
			}
			provoked[want] = true
		}
	}
	for _, name := range names {
		if !provoked[name] {
			fmt.Println("not provoked:", name)
		}
	}
	fmt.Printf("%d of %d alerts fired and cleared\n", len(provoked), len(names))
	if len(faults) > 0 {
		return fmt.Errorf("%s", strings.Join(faults, "; "))
	}
	return nil
}

// parse holds a file of rules against Prometheus' own parser and returns the names of its
// alerts, each once, in their order.
func parse(rules string) (names []string, err error) {
	groups, errs := rulefmt.ParseFile(rules, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, errs[0]
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if !slices.Contains(names, r.Alert) {
				names = append(names, r.Alert)
			}
		}
	}
	return names, nil
}

// proves says what a recording lacks that an alert fired and cleared, or "".
func proves(changes []change, alert string, names []string) string {
	fired, firing := false, false
	for _, c := range changes {
		if c.alert == alert {
			fired, firing = true, c.firing
		}
	}
	switch {
	case !slices.Contains(names, alert):
		return "is no alert"
	case !fired:
		return "did not fire"
	case firing:
		return "did not clear"
	case changes[0].alert == alert && changes[0].at == 0:
		return "fired before its cause"
	}
	return ""
}
