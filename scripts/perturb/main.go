//go:build linux

// Command perturb disturbs networks of four validator processes by seeded plans, checks
// them from outside, and reports; see docs/reliability.md.
//
//	go run ./scripts/perturb --binary bin/chancery --seed 1 --runs 100 --seconds 8 --out perturb
//
// It writes a line for each run, runs.jsonl with all of each, and summary.txt. The folder of
// a run that violated something stays, with the nodes' logs and data. The exit status is 1
// when anything was violated and 2 when a run could not be made.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/chancery/chancery/testnet/perturb"
)

func main() {
	var (
		binary         = flag.String("binary", "bin/chancery", "the built program")
		byzantine      = flag.String("byzantine", "", "the program built with the tag byzantine; without it no validator lies")
		other          = flag.String("other-binary", "", "another build of the program, to and from which validators change; without it none does")
		faults         = flag.String("faults", "v1", "what plans are made of: v1, v2, or faults with commas between them")
		seed           = flag.Uint64("seed", 1, "of the first run; each further run has the next")
		runs           = flag.Int("runs", 1, "how many runs")
		seconds        = flag.Int("seconds", 8, "about how long a run's faults take together")
		parallel       = flag.Int("parallel", 1, "networks at a time")
		out            = flag.String("out", "", "folder of the reports and of what is kept of failed runs, made if need be")
		only           = flag.Bool("plan", false, "print the plans alone")
		ctx, interrupt = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	)
	defer interrupt()
	flag.Parse()
	if flag.NArg() > 0 || *runs < 1 || *seconds < 1 || *parallel < 1 || *out == "" && !*only {
		fmt.Fprintln(os.Stderr, "perturb: give --out, and at least one run, second and network")
		os.Exit(2)
	}
	set, err := perturb.NewSet(*faults)
	if err != nil {
		fmt.Fprintln(os.Stderr, "perturb:", err)
		os.Exit(2)
	}
	length := time.Duration(*seconds) * time.Second
	if *only {
		for n := range *runs {
			fmt.Println(&perturb.Result{Plan: perturb.NewPlan(*seed+uint64(n), length, set)})
		}
		return
	}
	programs := perturb.Options{Binary: *binary, Byzantine: *byzantine, Other: *other}
	for _, p := range []*string{&programs.Binary, &programs.Byzantine, &programs.Other} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			fmt.Fprintln(os.Stderr, "perturb:", err)
			os.Exit(2)
		}
	}
	plan := func(seed uint64) perturb.Plan { return perturb.NewPlan(seed, length, set) }
	results, err := run(ctx, programs, plan, *out, *seed, *runs, *parallel)
	summary := perturb.Summary(results)
	if len(results) > 0 {
		fmt.Print(summary)
		err = errors.Join(err, os.WriteFile(filepath.Join(*out, "summary.txt"), []byte(summary), 0o600))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "perturb:", err)
		os.Exit(2)
	}
	status := 0
	for _, r := range results {
		switch {
		case len(r.Violations) > 0:
			os.Exit(1)
		case r.Error != "":
			status = 2
		}
	}
	os.Exit(status)
}

// run makes the runs, so many at a time, and returns those that were finished.
func run(ctx context.Context, o perturb.Options, plan func(uint64) perturb.Plan, out string, seed uint64, runs, parallel int) ([]*perturb.Result, error) {
	if err := os.MkdirAll(out, 0o700); err != nil {
		return nil, err
	}
	lines, err := os.OpenFile(filepath.Join(out, "runs.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	next := make(chan uint64)
	go func() {
		defer close(next)
		for n := range runs {
			select {
			case next <- seed + uint64(n):
			case <-ctx.Done():
				return
			}
		}
	}()
	var (
		group   sync.WaitGroup
		mu      sync.Mutex // guards results, failed and the reports
		results []*perturb.Result
		failed  error
	)
	for range parallel {
		group.Go(func() {
			for s := range next {
				o := o
				o.Dir = filepath.Join(out, fmt.Sprintf("seed-%d", s))
				r := perturb.Run(ctx, plan(s), o)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				results = append(results, r)
				fmt.Println(r)
				failed = errors.Join(failed, json.NewEncoder(lines).Encode(r))
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return results, failed
}
