package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/offline"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	"github.com/chancery/chancery/testnet"
)

const (
	// peakSpan is how long a closed loop looks for the peak that a rate is a multiple of.
	peakSpan = 10 * time.Second
	// honestRate is how many transactions a second another organisation submits beside
	// a load that is too much.
	honestRate = 10
	// closedAhead is how many transactions are signed before a closed loop for each of its
	// seconds; it signs on when they are not enough.
	closedAhead = 3000
	// maxRate and maxWindow are the most of each.
	maxRate, maxWindow = 100_000, 100_000
)

// loading is one run of the command bench.
type loading struct {
	app      *app
	dir      string
	keys     []string
	clerks   int
	workload string
	messages int
	rate     string
	window   int
	duration time.Duration
	warmUp   time.Duration
	patience time.Duration
	drain    time.Duration
	rude     bool
	out      string

	perSecond, times float64 // what rate says: one of them
}

func (a *app) benchCommand() *cobra.Command {
	l := &loading{app: a}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Load a running network and measure it",
		Long: lines(
			"Submits transactions to running nodes from outside and measures what a client sees. It",
			"writes real records that stay on the chain: use it on a network for tests.",
			"",
			"With --window it keeps so many transactions under way, which finds what the network can",
			"do. With --rate it submits so many a second whatever the network does, and latency runs",
			"from when each was due to the news of its block, so that a network which stalls makes all",
			"of them late. With --rate 5x it first finds the peak and then submits five times as many;",
			"beside that, ten transactions a second of another organisation show how others fare.",
			"",
			"Refused transactions are offered again after what the node asks for, until --patience is",
			"over. Whatever a node took is accounted for: by its events or, failing that, by a",
			"question; exit code 1 says that some were lost. With --rude the load sends all the same when",
			"nodes ask it to come back, which shows what they bear; the peak and the others never are so.",
			"",
			"--testnet takes nodes, keys and processes from a folder of 'chancery testnet'. Otherwise",
			"--node names the nodes, each of which takes a share of the load, and --key the keys: of",
			"somebody with the role consent-officer or, with --clerks, of whoever acts for an",
			"organisation and registers clerks first.",
		),
		Example: examples(
			"chancery bench --testnet .chancery-demo --window 1000 --duration 30s",
			"chancery bench --testnet .chancery-demo --workload mixed --rate 200 --out report",
			"chancery bench --node 127.0.0.1:9090,127.0.0.1:9190 --key admin --clerks 50 --rate 5x",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.check(cmd.Flags().Changed); err != nil {
				return err
			}
			return l.do(cmd)
		},
	}
	f := c.Flags()
	f.StringVar(&l.dir, "testnet", "", "folder of a network of chancery testnet, instead of --node and --key")
	f.StringSliceVar(&l.keys, "key", nil, "key of the keyring that signs; repeat for several")
	f.IntVar(&l.clerks, "clerks", 0, "register so many clerks of each organisation and have them write; 25 with --testnet")
	f.StringVar(&l.workload, "workload", bench.Consent, "what transactions hold: "+strings.Join(bench.Workloads, ", ")+" (70 % consent, 20 % decision, 10 % provenance)")
	f.IntVar(&l.messages, "messages", 1, "messages in each transaction")
	f.StringVar(&l.rate, "rate", "", "transactions a second, or a multiple of the peak such as 5x: an open loop")
	f.IntVar(&l.window, "window", 1000, "transactions under way: a closed loop, unless --rate is given")
	f.DurationVar(&l.duration, "duration", 30*time.Second, "how long to measure, at most 8m")
	f.DurationVar(&l.warmUp, "warm-up", 3*time.Second, "how long to submit before that without measuring")
	f.DurationVar(&l.patience, "patience", 30*time.Second, "how long a refused transaction is offered again, and how late one is sent at all")
	f.DurationVar(&l.drain, "drain", time.Minute, "how long to wait at the end for what is under way")
	f.BoolVar(&l.rude, "rude", false, "do not heed when nodes ask to come back: send what is due at once")
	f.StringVar(&l.out, "out", "", "folder for report.json, report.txt, latency.png and throughput.png")
	complete(c, "workload", bench.Workloads...)
	return c
}

// check reads the flags.
func (l *loading) check(given func(string) bool) error {
	switch {
	case l.dir != "" && (given("key") || given("node")):
		return usagef("--testnet brings its own nodes and keys; leave out --node and --key")
	case l.dir == "" && len(l.keys) == 0:
		return usagef("name the keys that sign with --key, or a network for tests with --testnet")
	case l.rate != "" && given("window"):
		return usagef("--rate and --window exclude each other: an open loop, or a closed one")
	case !slices.Contains(bench.Workloads, l.workload):
		return usagef("--workload is %q; choose one of %s", l.workload, strings.Join(bench.Workloads, ", "))
	case l.window < 1 || l.window > maxWindow:
		return usagef("--window is %d; give 1 to %d", l.window, maxWindow)
	case l.duration < time.Second || l.duration > 8*time.Minute:
		return usagef("--duration is %v; give 1s to 8m", l.duration)
	case l.warmUp < 0 || l.warmUp > time.Minute:
		return usagef("--warm-up is %v; give 0s to 1m", l.warmUp)
	case l.patience < 0 || l.drain < 0 || l.patience > 10*time.Minute || l.drain > 15*time.Minute:
		return usagef("--patience is at most 10m and --drain at most 15m, and neither is negative")
	case l.messages < 1 || l.messages > 100:
		return usagef("--messages is %d; give 1 to 100", l.messages)
	case l.clerks < 0 || l.clerks > 10_000:
		return usagef("--clerks is %d; give 0 to 10000", l.clerks)
	}
	if l.dir != "" && !given("clerks") {
		l.clerks = 25
	}
	if l.rate == "" {
		return nil
	}
	text, multiple := strings.CutSuffix(l.rate, "x")
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || !(v > 0):
		return usagef("--rate is %q; give transactions a second such as 500, or a multiple of the peak such as 5x", l.rate)
	case multiple && v > 100 || v > maxRate:
		return usagef("--rate is %s; give at most %d, or 100x", l.rate, maxRate)
	case multiple:
		l.times = v
	default:
		l.perSecond = v
	}
	return nil
}

// site is a network under load.
type site struct {
	addresses []string
	options   []client.Option
	by        []bench.Author // who acts, of each organisation
	pids      []int
	trees     []string // where the nodes hold their state; none: not known
}

// site finds the network and who acts on it.
func (l *loading) site(ctx context.Context) (*site, error) {
	if l.dir != "" {
		return testSite(testnet.Dir(l.dir))
	}
	s := &site{addresses: strings.Split(l.app.node, ",")}
	c, err := l.app.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	q := identityv1.NewQueryClient(c.Conn())
	for _, name := range l.keys {
		signers, who, err := l.app.signers([]string{name})
		if err != nil {
			return nil, err
		}
		out, err := q.Identity(ctx, &identityv1.IdentityRequest{Did: who})
		if err != nil {
			return nil, err
		}
		s.add(bench.Author{DID: who, Organisation: out.GetIdentity().GetOrganisation(), Signers: signers}, l.clerks > 0)
	}
	return s, nil
}

// add takes an author in. For the organisation, its keys act together.
func (s *site) add(a bench.Author, together bool) {
	if together {
		a.DID = a.Organisation
		for i := range s.by {
			if s.by[i].Organisation == a.Organisation {
				s.by[i].Signers = append(s.by[i].Signers, a.Signers...)
				return
			}
		}
	}
	s.by = append(s.by, a)
}

// testSite is a network for tests: its administrators act for its organisations.
func testSite(d testnet.Dir) (*site, error) {
	r, err := testnet.Load(d)
	if err != nil {
		return nil, err
	}
	s := new(site)
	for _, v := range r.Validators {
		s.addresses = append(s.addresses, v.RPC)
		if v.Process != nil {
			s.pids = append(s.pids, v.Process.PID)
		}
		// The home of a container is not on this machine.
		if tree, err := offline.TreeKind(d.Home(v)); err == nil {
			s.trees = append(s.trees, tree)
		}
		ring, err := testnet.OpenKeyring(d, d.Home(v))
		if err != nil {
			return nil, keyFault(err)
		}
		by := bench.Author{DID: v.Organisation, Organisation: v.Organisation}
		for _, name := range []string{"admin-1", "admin-2"} {
			e, err := ring.Lookup(name)
			if err != nil {
				return nil, keyFault(err)
			}
			key, err := ring.Signer(name)
			if err != nil {
				return nil, keyFault(err)
			}
			by.Signers = append(by.Signers, client.Signer(e.KeyURL, key))
		}
		s.by = append(s.by, by)
	}
	if len(s.pids) != len(r.Validators) {
		s.pids = nil // those of containers, and of nodes that were stopped, are not known
	}
	if len(s.trees) != len(r.Validators) {
		s.trees = nil
	}
	if s.options, err = d.Credentials(r, r.Validators[0]).Options(); err != nil {
		return nil, err
	}
	return s, nil
}

func (l *loading) do(cmd *cobra.Command) error {
	a := l.app
	setUp, cancel := a.within(cmd)
	defer cancel()
	s, err := l.site(setUp)
	if err != nil {
		return err
	}
	options := append([]client.Option{client.UserAgent("chancery/" + a.Version)}, s.options...)
	if a.ca != "" || a.cert != "" || a.key != "" {
		c, err := client.TLSFiles(a.ca, a.cert, a.key)
		if err != nil {
			return err
		}
		options = append(options, client.TLS(c))
	}
	target, err := bench.Dial(setUp, s.addresses, options...)
	if err != nil {
		return err
	}
	defer target.Close()
	stop := a.spin("preparing")
	// Others keep their own lane: the last organisation is not part of a load that is too much.
	var others []bench.Author
	load := s.by
	if l.times > 0 {
		last := s.by[len(s.by)-1].Organisation
		load = nil
		for _, b := range s.by {
			if b.Organisation == last {
				others = append(others, b)
			} else {
				load = append(load, b)
			}
		}
		if len(load) == 0 {
			load, others = others, nil
		}
	}
	authors, err := bench.Prepare(cmd.Context(), target.First(), l.workload, load, l.clerks, a.timeout)
	if err == nil && len(others) > 0 {
		others, err = bench.Prepare(cmd.Context(), target.First(), l.workload, others, l.clerks, a.timeout)
	}
	stop()
	if err != nil {
		return refused(err)
	}
	r := &bench.Report{
		At: now().UTC(), Program: a.Version, Machine: bench.ThisMachine(), Workload: l.workload, Messages: l.messages,
		Authors: len(authors), Nodes: len(s.addresses), Trees: s.trees,
	}
	if l.times > 0 {
		o := l.options(s, "peak", peakSpan)
		o.Window = l.window
		if r.Peak, err = l.load(cmd.Context(), target, authors, o); err != nil {
			return err
		}
		l.perSecond = min(max(l.times*r.Peak.Throughput, 1), maxRate)
	}
	o := l.options(s, "load", l.duration)
	o.Rate, o.Window, o.Rude = l.perSecond, l.window, l.rude
	honest := make(chan error, 1)
	if len(others) > 0 {
		h := l.options(s, "", l.duration)
		h.Rate, h.Ahead, h.Processes = honestRate, honestRate, nil
		go func() {
			var err error
			r.Honest, err = l.load(cmd.Context(), target, others, h)
			honest <- err
		}()
	} else {
		honest <- nil
	}
	r.Result, err = l.load(cmd.Context(), target, authors, o)
	if bad := <-honest; err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	if l.out != "" {
		if err := r.Write(l.out); err != nil {
			return errNotSaved.Wrap(err)
		}
	}
	if a.output == outputText {
		err = a.write(clean(r.Text()))
	} else {
		err = a.print(r)
	}
	if err == nil && r.Lost() > 0 {
		err = errLost.With("%d of them", r.Lost())
	}
	return err
}

// options are those of a part of the run. Signing ahead is bounded by what the part
// can need.
func (l *loading) options(s *site, what string, span time.Duration) bench.Options {
	o := bench.Options{
		Duration: span, WarmUp: l.warmUp, Patience: l.patience, Drain: l.drain, Processes: s.pids,
		Ahead: int(closedAhead * (span + l.warmUp).Seconds()),
	}
	if l.perSecond > 0 {
		o.Ahead = int(l.perSecond * (span + l.warmUp).Seconds())
	}
	if what != "" && l.app.shows() {
		m := &meter{app: l.app, what: what, unit: func(n int64) string { return fmt.Sprintf("%d executed", n) }}
		o.Progress = func(executed int, left time.Duration) {
			m.what = fmt.Sprintf("%s, %d s left,", what, int(left.Seconds()))
			m.done = 0
			m.add(int64(executed))
		}
	}
	return o
}

func (l *loading) load(ctx context.Context, target *bench.Chain, authors []bench.Author, o bench.Options) (*bench.Result, error) {
	w, err := bench.NewWork(target.ChainID(), l.workload, authors, l.messages)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return bench.Run(ctx, target, w, o)
}
