// Command bench measures committed transactions of validator processes, four by default, on
// this machine: Chancery with consent transactions, and CometBFT's own example
// application kvstore with transactions of the same size and the same timers.
//
//	go run ./scripts/bench --binary bin/chancery
//
// Chancery is measured with its state on disk and in memory, each transaction scored by
// the default detector in MODE_LOG (a load as this one would be held), and in memory
// without scoring. All take turns, a fresh network each round. A round has two parts: a closed loop that keeps a fixed
// number of transactions under way, which gives the throughput and the processor
// time of a transaction, and a fixed rate well below it, which gives the latency
// from submission to the news of the commit and the time between two blocks. The report has the median, minimum and
// maximum over the rounds, and the ratios of each round's pairs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

type options struct {
	binary  string
	nodes   int // validators
	rounds  int
	seconds int
	window  int
	rate    int
	clerks  int
	only    []string
	profile string
	keep    bool
}

// The applications under measurement: Chancery with its state on disk and in
// memory (state.tree), and the reference.
const (
	onDisk    = "chancery-disk"
	inMemory  = "chancery-memory"
	unscored  = "chancery-unscored" // in memory, MODE_OFF
	reference = "kvstore"
)

// names are the applications in the order of a round.
var names = []string{onDisk, inMemory, unscored, reference}

func newTarget(name string, o options) target {
	switch name {
	case onDisk:
		return newChancery(name, "disk", true, o)
	case inMemory:
		return newChancery(name, "memory", true, o)
	case unscored:
		return newChancery(name, "memory", false, o)
	default:
		return newKVStore(o)
	}
}

// target is an application under measurement.
type target interface {
	name() string
	// start makes and starts the network in dir and returns when it commits.
	start(ctx context.Context, dir string) error
	// payloads are n fresh transactions with their ids.
	payloads(n int) ([][]byte, [][32]byte, error)
	// sender submits to one validator; a call returns when the batch was taken.
	sender(ctx context.Context, validator int) (func(batch [][]byte) error, error)
	// watch calls fn with the ids of each committed block, as the first validator
	// tells them, until ctx ends.
	watch(ctx context.Context, fn func(ids [][32]byte)) error
	// height is of how many blocks the first validator knows, from some block on.
	height(ctx context.Context) (int64, error)
	// cpu is the processor time that the validators have used so far, together.
	cpu() (time.Duration, error)
	// profile fetches a CPU profile of the first validator, where it has one.
	profile(ctx context.Context, seconds int, path string) error
	stop()
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "reference" {
		if err := runReference(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench reference:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.binary, "binary", "bin/chancery", "the chancery binary")
	flag.IntVar(&o.nodes, "validators", 4, "validators, from 1 to 16; all share this machine's processors")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each application")
	flag.IntVar(&o.seconds, "seconds", 12, "seconds of load in each part of a round")
	flag.IntVar(&o.window, "window", 4000, "transactions under way in the closed loop")
	flag.IntVar(&o.rate, "rate", 400, "transactions a second at the fixed rate")
	flag.IntVar(&o.clerks, "clerks", 250, "clerks of each organisation, who record the consents; 0: the organisations do, which the detector takes for bursts")
	flag.Func("only", "measure only these of "+strings.Join(names, ", ")+", with commas between", func(s string) error {
		for _, name := range strings.Split(s, ",") {
			if !slices.Contains(names, name) {
				return fmt.Errorf("%q is none of them", name)
			}
			o.only = append(o.only, name)
		}
		return nil
	})
	flag.StringVar(&o.profile, "profile", "", "directory for CPU profiles of the first chancery validator, one for each part of a round")
	flag.BoolVar(&o.keep, "keep", false, "keep the networks' directories")
	flag.Parse()
	if o.nodes < 1 || o.nodes > 16 {
		fmt.Fprintf(os.Stderr, "bench: --validators %d, want 1 to 16\n", o.nodes)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figures are one round of one application.
type figures struct {
	perSecond float64
	cpu       time.Duration // of all validators, for a committed transaction of the closed loop
	p50, p99  time.Duration // at the fixed rate
	busy50    time.Duration // in the closed loop
	interval  time.Duration // between two blocks at the fixed rate
	size      int           // of a transaction, bytes
	alarms    float64       // share of transactions that were alarms, in percent
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "chancery-bench-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("networks are kept in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	results := map[string][]figures{}
	for round := range o.rounds {
		for _, name := range names {
			if len(o.only) > 0 && !slices.Contains(o.only, name) {
				continue
			}
			t := newTarget(name, o)
			f, err := measure(ctx, t, filepath.Join(dir, fmt.Sprintf("%s-%d", t.name(), round)), o)
			t.stop()
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", t.name(), round+1, err)
			}
			fmt.Printf("round %d  %-15s  %6.0f tx/s  %4d µs of CPU each   closed loop p50 %4d ms   at %d tx/s p50 %4d ms  p99 %4d ms  block %4d ms   %d bytes  %.0f %% alarms\n",
				round+1, t.name(), f.perSecond, f.cpu.Microseconds(), f.busy50.Milliseconds(), o.rate, f.p50.Milliseconds(), f.p99.Milliseconds(), f.interval.Milliseconds(), f.size, f.alarms)
			results[t.name()] = append(results[t.name()], f)
		}
	}
	report(results, o)
	return nil
}

func measure(ctx context.Context, t target, dir string, o options) (figures, error) {
	var f figures
	if err := t.start(ctx, dir); err != nil {
		return f, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &ledger{sent: map[[32]byte]time.Time{}, changed: make(chan struct{}, 1)}
	watched := make(chan error, 1)
	go func() { watched <- t.watch(ctx, l.committed) }()
	senders := make([]func([][]byte) error, o.nodes)
	for i := range senders {
		var err error
		if senders[i], err = t.sender(ctx, i); err != nil {
			return f, err
		}
	}
	profile := func(part string) {
		if o.profile == "" || t.name() == reference {
			return
		}
		go func() {
			if err := t.profile(ctx, o.seconds, filepath.Join(o.profile, filepath.Base(dir)+"-"+part+".pprof")); err != nil {
				fmt.Fprintln(os.Stderr, "profile:", err)
			}
		}()
	}
	profile("closed")
	busy, err := closedLoop(ctx, t, l, senders, o)
	if err != nil {
		return f, err
	}
	profile("rate")
	began := time.Now()
	first, err := t.height(ctx)
	if err != nil {
		return f, err
	}
	latencies, err := fixedRate(ctx, t, l, senders, o)
	if err != nil {
		return f, err
	}
	last, err := t.height(ctx)
	if err != nil {
		return f, err
	}
	busy.interval = time.Since(began) / time.Duration(max(1, last-first))
	select {
	case err := <-watched:
		return f, fmt.Errorf("the first validator stopped telling of commits: %w", err)
	default:
	}
	busy.p50, busy.p99 = quantile(latencies, 50), quantile(latencies, 99)
	if a, ok := t.(interface{ alarming() float64 }); ok {
		busy.alarms = a.alarming()
	}
	return busy, nil
}

// ledger is what was sent and when it was seen committed.
type ledger struct {
	mu        sync.Mutex // guards all below
	sent      map[[32]byte]time.Time
	latencies []time.Duration
	changed   chan struct{}
}

func (l *ledger) committed(ids [][32]byte) {
	now := time.Now()
	l.mu.Lock()
	for _, id := range ids {
		if at, ok := l.sent[id]; ok {
			l.latencies = append(l.latencies, now.Sub(at))
			delete(l.sent, id)
		}
	}
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *ledger) send(ids [][32]byte) {
	now := time.Now()
	l.mu.Lock()
	for _, id := range ids {
		l.sent[id] = now
	}
	l.mu.Unlock()
}

func (l *ledger) underWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

func (l *ledger) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.latencies
	l.latencies = nil
	return out
}

const batch = 50

// closedLoop keeps o.window transactions under way and counts commits after a
// warm-up of a quarter of the time.
func closedLoop(ctx context.Context, t target, l *ledger, senders []func([][]byte) error, o options) (figures, error) {
	var f figures
	total := time.Duration(o.seconds) * time.Second
	txs, ids, err := t.payloads(o.seconds * max(12_000, 30_000/o.nodes))
	if err != nil {
		return f, err
	}
	began := time.Now()
	var from time.Time
	var used time.Duration
	for next := 0; time.Since(began) < total; {
		if from.IsZero() && time.Since(began) > total/4 {
			if used, err = t.cpu(); err != nil {
				return f, err
			}
			l.take()
			from = time.Now()
		}
		if l.underWay() > o.window-batch {
			select {
			case <-l.changed:
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return f, ctx.Err()
			}
			continue
		}
		if next+batch > len(txs) {
			return f, fmt.Errorf("%d prepared transactions were not enough", len(txs))
		}
		l.send(ids[next : next+batch])
		if err := senders[(next/batch)%len(senders)](txs[next : next+batch]); err != nil {
			return f, err
		}
		next += batch
	}
	latencies := l.take()
	until, err := t.cpu()
	if err != nil {
		return f, err
	}
	f.perSecond = float64(len(latencies)) / time.Since(from).Seconds()
	f.cpu = (until - used) / time.Duration(max(1, len(latencies)))
	f.busy50, f.size = quantile(latencies, 50), len(txs[0])
	return f, drain(ctx, l)
}

// fixedRate submits o.rate transactions a second, spread evenly.
func fixedRate(ctx context.Context, t target, l *ledger, senders []func([][]byte) error, o options) ([]time.Duration, error) {
	txs, ids, err := t.payloads(o.seconds * o.rate)
	if err != nil {
		return nil, err
	}
	l.take()
	tick := time.NewTicker(time.Second / time.Duration(o.rate))
	defer tick.Stop()
	for i := range txs {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		l.send(ids[i : i+1])
		if err := senders[i%len(senders)](txs[i : i+1]); err != nil {
			return nil, err
		}
	}
	if err := drain(ctx, l); err != nil {
		return nil, err
	}
	return l.take(), nil
}

// drain waits until everything sent was committed.
func drain(ctx context.Context, l *ledger) error {
	deadline := time.After(60 * time.Second)
	for l.underWay() > 0 {
		select {
		case <-l.changed:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("%d transactions were not committed within a minute", l.underWay())
		}
	}
	return nil
}

func quantile(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return s[min(len(s)-1, len(s)*percent/100)]
}

func report(results map[string][]figures, o options) {
	spread := func(values []float64) string {
		slices.Sort(values)
		if len(values) == 0 {
			return "-"
		}
		return fmt.Sprintf("%8.2f  (%.2f to %.2f)", values[len(values)/2], values[0], values[len(values)-1])
	}
	of := func(name string, f func(figures) float64) []float64 {
		var out []float64
		for _, r := range results[name] {
			out = append(out, f(r))
		}
		return out
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("\nmedian (minimum to maximum) of %d rounds, %d validators\n", o.rounds, o.nodes)
	for _, name := range names {
		if len(results[name]) == 0 {
			continue
		}
		fmt.Printf("%-15s  committed tx/s          %s\n", name, spread(of(name, func(f figures) float64 { return f.perSecond })))
		fmt.Printf("%-15s  CPU µs a transaction    %s\n", name, spread(of(name, func(f figures) float64 { return float64(f.cpu.Nanoseconds()) / 1000 })))
		fmt.Printf("%-15s  p50 ms at %4d tx/s      %s\n", name, o.rate, spread(of(name, func(f figures) float64 { return ms(f.p50) })))
		fmt.Printf("%-15s  p99 ms at %4d tx/s      %s\n", name, o.rate, spread(of(name, func(f figures) float64 { return ms(f.p99) })))
		fmt.Printf("%-15s  block ms at %4d tx/s    %s\n", name, o.rate, spread(of(name, func(f figures) float64 { return ms(f.interval) })))
	}
	compare := func(a, b, what string, f func(figures) float64) {
		var ratios []float64
		for i := range min(len(results[a]), len(results[b])) {
			ratios = append(ratios, f(results[a][i])/f(results[b][i]))
		}
		if len(ratios) > 0 {
			fmt.Printf("%-15s / %s  %s  %s\n", a, b, what, spread(ratios))
		}
	}
	compare(inMemory, unscored, "committed tx/s", func(f figures) float64 { return f.perSecond })
	compare(inMemory, unscored, "CPU each", func(f figures) float64 { return float64(f.cpu) })
	compare(inMemory, unscored, "block time", func(f figures) float64 { return float64(f.interval) })
	compare(inMemory, unscored, "p50", func(f figures) float64 { return float64(f.p50) })
	for _, name := range []string{onDisk, inMemory} {
		a, b := results[name], results[reference]
		var ratios, work []float64
		for i := range min(len(a), len(b)) {
			ratios = append(ratios, a[i].perSecond/b[i].perSecond)
			work = append(work, float64(a[i].cpu)/float64(b[i].cpu))
		}
		if len(ratios) > 0 {
			fmt.Printf("%-15s / %s  committed tx/s  %s\n", name, reference, spread(ratios))
			fmt.Printf("%-15s / %s  CPU each        %s\n", name, reference, spread(work))
		}
	}
}
