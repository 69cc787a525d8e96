// Command bench measures networks of validator processes on this machine, which it makes
// and removes: Chancery, and CometBFT's own example application kvstore with transactions
// of the size of a consent and the same timers, as reference.
//
//	go run ./scripts/bench --binary bin/chancery
//	go run ./scripts/bench --binary bin/chancery --workload consent,decision,mixed --validators 1,4,7,16 --out docs/performance --name workloads
//
// Chancery is measured with its state in memory and on disk, each transaction scored by
// the default detector in MODE_LOG (a load as this one would be held), and in memory
// without scoring. The load is that of 'chancery bench', from this process. Every case
// is a fresh network; all take turns, round after round. In a case, for each size of the
// state, come a closed loop, which gives the throughput, and the processor time and disk
// that a transaction takes, and then an open loop for each rate, which gives the latency
// from when a transaction was due to the news of its block. Figures are medians over the
// rounds with the least and the most; ratios are those of each round's pairs.
//
// 'bench reads' measures what a node of one such network answers while blocks are
// committed: decisions, recorded and not, proofs, ancestries, and the replay of events.
//
//	go run ./scripts/bench reads --binary bin/chancery --entities 1000000 --graph 1000000
//
// With --out it writes NAME.json, NAME.md and the plots into a folder. With --baseline it
// compares the ratios with committed ones, and fails when one fell too far.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/testnet/links"
)

type options struct {
	binary     string
	apps       []string
	workloads  []string
	validators []int
	messages   []int
	states     []int // keys, ascending; 0: as it is after the start
	rates      []int
	regions    []int // 1: all in one place
	far        links.Regions
	rounds     int
	seconds    int
	settle     int
	window     int
	clerks     int // of all organisations together
	profile    string
	keep       bool
	out, name  string
	baseline   string
	rewrite    bool
	tolerance  float64
}

// The applications under measurement: Chancery with its state on disk and in
// memory (state.tree), and the reference.
const (
	onDisk    = "chancery-disk"
	inMemory  = "chancery-memory"
	unscored  = "chancery-unscored" // in memory, MODE_OFF
	reference = "kvstore"
	untuned   = "kvstore-default" // with the engine's default timers
)

// names are the applications in the order of a round.
var names = []string{onDisk, inMemory, unscored, reference, untuned}

// example tells whether an application is the engine's example, whose transactions are
// always the same.
func example(app string) bool { return app == reference || app == untuned }

// setting is what a network is made for.
type setting struct {
	App        string `json:"app"`
	Workload   string `json:"workload"`
	Messages   int    `json:"messages"` // in each transaction
	Validators int    `json:"validators"`
	Regions    int    `json:"regions,omitempty"` // that the validators are spread over; 0: nothing delays them
}

func (s setting) String() string {
	text := fmt.Sprintf("%-17s  %-10s  %2d validators", s.App, s.Workload, s.Validators)
	if s.Messages != 1 {
		text += fmt.Sprintf("  %d messages each", s.Messages)
	}
	if s.Regions > 0 {
		text += fmt.Sprintf("  %d regions", s.Regions)
	}
	return text
}

// application is one under measurement.
type application interface {
	// start makes and starts the network in dir and returns when it commits.
	start(ctx context.Context, dir string) error
	network() *network
	target() bench.Target
	workload() (bench.Workload, error)
	// height is of how many blocks the first validator knows, from some block on.
	height(ctx context.Context) (int64, error)
	stop()
}

func newApplication(s setting, o options) application {
	c := &office{setting: s, far: o.far, binary: o.binary, tree: "memory", scored: true, clerksEach: max(1, o.clerks/s.Validators)}
	if slices.Max(o.states) > 0 {
		// Others than those who are measured, whom the detector would take for busier than anyone.
		c.archivists = max(1, c.clerksEach/10)
	}
	switch s.App {
	case onDisk:
		c.tree = "disk"
	case unscored:
		c.scored = false
	case reference, untuned:
		return &kv{setting: s, far: o.far}
	}
	return c
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "reference" {
		if err := runReference(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench reference:", err)
			os.Exit(1)
		}
		return
	}
	measure, err := parsed(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parsed is what the arguments ask to be measured.
func parsed(args []string) (func(context.Context) error, error) {
	if len(args) > 0 && args[0] == "reads" {
		o, err := readFlags(args[1:])
		return func(ctx context.Context) error { return runReads(ctx, o) }, err
	}
	o, err := flags(args)
	return func(ctx context.Context) error { return run(ctx, o) }, err
}

func flags(args []string) (options, error) {
	o := options{
		apps: []string{onDisk, inMemory, unscored, reference}, workloads: []string{bench.Consent}, validators: []int{4}, messages: []int{1}, states: []int{0}, rates: []int{400}, regions: []int{1},
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "bin/chancery", "the chancery binary")
	f.Func("only", "measure these of "+strings.Join(names, ", ")+", with commas between; all but the last if not given", oneOf(&o.apps, names))
	f.Func("workload", "these of "+strings.Join(bench.Workloads, ", ")+", with commas between; consent if not given. The reference's is always the same", oneOf(&o.workloads, bench.Workloads))
	f.Func("validators", "numbers of validators, from 1 to 16, with commas between; all share this machine's processors; 4 if not given", numbers(&o.validators, 1, 16))
	f.Func("messages", "numbers of messages in a transaction, with commas between; 1 if not given. The reference's have one", numbers(&o.messages, 1, 100))
	f.Func("state", "numbers of keys that the state is filled to before measuring, ascending, with commas between; as it is if not given", numbers(&o.states, 0, 20_000_000))
	f.Func("rate", "transactions a second of open loops, with commas between; 400 if not given, 0 for none", numbers(&o.rates, 0, 100_000))
	f.Func("regions", "numbers of regions that the validators are spread over in turn, 1 or 3, with commas between; 1 if not given, which delays nothing", numbers(&o.regions, 1, 3))
	delays := f.String("delays", links.DefaultRegions, "one-way delays between regions 1-2, 2-3 and 1-3, in milliseconds")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each case")
	f.IntVar(&o.seconds, "seconds", 9, "seconds that each loop is measured, after a third of that to warm up")
	f.IntVar(&o.settle, "settle", 0, "seconds of load, and a third of that more, that a network has before anything of it is measured, so that its heap has been all that it will be")
	f.IntVar(&o.window, "window", 4000, "transactions under way in the closed loop")
	f.IntVar(&o.clerks, "clerks", 10_000, "clerks of all organisations together, who write in turn")
	f.StringVar(&o.profile, "profile", "", "folder for CPU profiles of the first validator, one for each loop; the report then tells what each part of a transaction costs")
	f.BoolVar(&o.keep, "keep", false, "keep the networks' folders")
	f.StringVar(&o.out, "out", "", "folder for the report and the plots")
	f.StringVar(&o.name, "name", "bench", "what their names begin with")
	f.StringVar(&o.baseline, "baseline", "", "file with ratios to compare with")
	f.BoolVar(&o.rewrite, "rewrite", false, "write the ratios to --baseline instead of comparing")
	f.Float64Var(&o.tolerance, "tolerance", 0.15, "by which part of it a ratio may fall below the baseline")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("there is no argument %q", f.Arg(0))
	}
	if o.rounds < 1 || o.seconds < 1 || o.seconds > 300 || o.settle < 0 || o.settle > 300 || o.window < 50 || o.window > 100_000 || o.clerks < 1 || o.clerks > 50_000 {
		return o, errors.New("want rounds of 1 or more, 1 to 300 seconds, at most 300 to settle, a window of 50 to 100000, 1 to 50000 clerks")
	}
	var err error
	if o.far, err = links.ParseRegions(*delays); err != nil {
		return o, fmt.Errorf("--delays %q: %w", *delays, err)
	}
	if slices.Contains(o.regions, 2) {
		return o, errors.New("want one region or three")
	}
	slices.Sort(o.states)
	o.rates = slices.DeleteFunc(o.rates, func(r int) bool { return r == 0 })
	return o, nil
}

func oneOf(to *[]string, of []string) func(string) error {
	return func(s string) error {
		*to = strings.Split(s, ",")
		for _, name := range *to {
			if !slices.Contains(of, name) {
				return fmt.Errorf("%q is none of them", name)
			}
		}
		return nil
	}
}

func numbers(to *[]int, least, most int) func(string) error {
	return func(s string) error {
		*to = nil
		for _, text := range strings.Split(s, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < least || n > most {
				return fmt.Errorf("%q: want %d to %d", text, least, most)
			}
			*to = append(*to, n)
		}
		return nil
	}
}

// settings are the networks of a round, in order: those that are compared stand
// together.
func settings(o options) (out []setting) {
	have := make(map[setting]bool)
	add := func(s setting) {
		if example(s.App) {
			s.Workload, s.Messages = bench.Consent, 1
		}
		if slices.Contains(o.apps, s.App) && !have[s] {
			have[s] = true
			out = append(out, s)
		}
	}
	for _, v := range o.validators {
		for _, r := range o.regions {
			if r == 1 {
				r = 0
			}
			for _, w := range o.workloads {
				for _, m := range o.messages {
					for _, app := range names {
						add(setting{app, w, m, v, r})
					}
				}
			}
		}
	}
	return out
}

// figures are one round of a case.
type figures struct {
	Round int `json:"round"`
	// Keys is how many keys the state held before, about, and KeysAfter after the closed loop;
	// 0: not known.
	Keys      int `json:"keys"`
	KeysAfter int `json:"keys_after"`
	// Closed is the closed loop, Open the open ones in the order of their rates.
	Closed *bench.Result   `json:"closed"`
	Open   []*bench.Result `json:"open"`
	// BlockMs is milliseconds between two blocks in each open loop.
	BlockMs []float64 `json:"block_ms"`
	// Disk is bytes by which the files of a validator grew for a transaction.
	Disk float64 `json:"disk_bytes_per_tx"`
	// Shares are what each of the parts has of the first validator's processor time in the
	// closed loop, where it was profiled.
	Shares map[string]float64 `json:"shares,omitempty"`
}

// series is all rounds of a case: a setting with a size of the state.
type series struct {
	setting
	State  int       `json:"state"` // keys asked for; 0: as it is
	Rounds []figures `json:"rounds"`
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
	var all []*series
	for _, s := range settings(o) {
		for _, state := range o.states {
			if example(s.App) && state != o.states[0] {
				continue // it keeps no tree: its cost does not depend on its state
			}
			all = append(all, &series{setting: s, State: state})
		}
	}
	for round := range o.rounds {
		for i := 0; i < len(all); {
			n := 1
			for i+n < len(all) && all[i+n].setting == all[i].setting {
				n++
			}
			home := filepath.Join(dir, fmt.Sprintf("%d-%d", round, i))
			err := measure(ctx, all[i:i+n], round, home, o)
			if !o.keep {
				_ = os.RemoveAll(home)
			}
			if err != nil {
				return fmt.Errorf("%v, round %d: %w", all[i].setting, round+1, err)
			}
			i += n
		}
	}
	r := newReport(all, o)
	fmt.Print("\n" + r.markdown())
	if o.out != "" {
		if err := r.write(o.out, o.name); err != nil {
			return err
		}
	}
	if o.baseline != "" {
		return compare(r, o)
	}
	return nil
}

// settling is the loop of which nothing is measured.
const settling = "settling"

// measure is one round of the cases of one setting.
func measure(ctx context.Context, cases []*series, round int, dir string, o options) error {
	app := newApplication(cases[0].setting, o)
	defer app.stop()
	if err := app.start(ctx, dir); err != nil {
		return err
	}
	for i, c := range cases {
		f := figures{Round: round + 1}
		office, _ := app.(*office)
		if office != nil && c.State > 0 {
			if err := office.fill(ctx, float64(c.State)); err != nil {
				return err
			}
			f.Keys = int(office.keys)
		}
		loop := func(name string, rate, seconds int) (*bench.Result, error) {
			w, err := app.workload()
			if err != nil {
				return nil, err
			}
			l := bench.Options{
				Rate: float64(rate), Window: o.window, WarmUp: time.Duration(seconds) * time.Second / 3, Duration: time.Duration(seconds) * time.Second,
				Patience: time.Minute, Drain: 2 * time.Minute, Processes: app.network().pids(),
				Ahead: seconds * max(8000, 20_000/c.Validators) / c.Messages,
			}
			if rate > 0 {
				l.Ahead = rate * seconds * 4 / 3
			}
			profiled := make(chan error, 1)
			profiles := o.profile != "" && name != settling
			if profiles {
				l.Began = func() {
					path := filepath.Join(o.profile, fmt.Sprintf("%s-%s-%d-messages-%d-validators-%d-regions-%d-keys-%s-%d.pprof", c.App, c.Workload, c.Messages, c.Validators, c.Regions, c.State, name, round+1))
					of, err := app.network().profile(ctx, seconds, path)
					if rate == 0 {
						f.Shares = of
					}
					profiled <- err
				}
			}
			r, err := bench.Run(ctx, app.target(), w, l)
			if err != nil {
				return nil, err
			}
			if profiles {
				if err := <-profiled; err != nil {
					return nil, fmt.Errorf("profile: %w", err)
				}
			}
			if n := r.Counts; n.Void+n.Unknown+n.Failed+n.Held+n.Rejected > 0 {
				return nil, fmt.Errorf("not every transaction was executed: %d void, %d of no known outcome, %d failed, %d held, refused %v", n.Void, n.Unknown, n.Failed, n.Held, n.Refused)
			}
			if office != nil && office.perConsent > 0 && c.Workload == bench.Consent {
				office.keys += float64(r.Counts.Messages) * office.perConsent
			}
			return r, nil
		}
		if i == 0 && o.settle > 0 {
			if _, err := loop(settling, 0, o.settle); err != nil {
				return err
			}
		}
		before, err := app.network().disk()
		if err != nil {
			return err
		}
		if f.Closed, err = loop("closed", 0, o.seconds); err != nil {
			return err
		}
		if f.Keys > 0 {
			f.KeysAfter = int(office.keys)
		}
		after, err := app.network().disk()
		if err != nil {
			return err
		}
		f.Disk = float64(after-before) / float64(c.Validators*max(f.Closed.Counts.Executed, 1))
		for _, rate := range o.rates {
			began := time.Now()
			first, err := app.height(ctx)
			if err != nil {
				return err
			}
			r, err := loop(fmt.Sprint(rate), rate, o.seconds)
			if err != nil {
				return err
			}
			last, err := app.height(ctx)
			if err != nil {
				return err
			}
			f.Open = append(f.Open, r)
			f.BlockMs = append(f.BlockMs, float64(time.Since(began).Milliseconds())/float64(max(1, last-first)))
		}
		c.Rounds = append(c.Rounds, f)
		fmt.Printf("round %d  %v", round+1, c.setting)
		if f.Keys > 0 {
			fmt.Printf("  %d keys", f.Keys)
		}
		fmt.Printf("  %6.0f tx/s  %4.0f µs of CPU each", f.Closed.Throughput, f.Closed.CPU)
		for i, r := range f.Open {
			fmt.Printf("   at %.0f tx/s p50 %.0f ms  p99 %.0f ms  block %.0f ms", r.Rate, r.Latency.P50, r.Latency.P99, f.BlockMs[i])
		}
		fmt.Printf("   %.0f bytes  %.0f %% alarms\n", f.Closed.TxBytes, alarms(f.Closed))
	}
	return nil
}

// alarms is the share of executed transactions that scored high, in percent.
func alarms(r *bench.Result) float64 {
	return 100 * float64(r.Counts.Alarms) / float64(max(r.Counts.Executed, 1))
}
