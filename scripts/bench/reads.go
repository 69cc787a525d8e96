package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/client"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// readOptions are the flags of 'bench reads'.
type readOptions struct {
	binary          string
	tree            string
	validators      int
	policies        []int
	entities, graph int
	load            int // transactions a second meanwhile; 0: none
	clients         int // calls under way
	pace            int // calls a second of the open loop
	batch           int
	window          int
	seconds         int
	keep            bool
	out, name       string
}

const (
	// depth is how many derivations lead from the last entity of a chain to its first.
	depth = 1000
	// longestCall bounds what the histograms hold, in microseconds.
	longestCall = 10 * 60 * 1e6
	// provedFor is how many proofs are made at one height before a later one is taken.
	provedFor = 50
)

func readFlags(args []string) (readOptions, error) {
	o := readOptions{policies: []int{1000, 10_000}}
	f := flag.NewFlagSet("bench reads", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "bin/chancery", "the chancery binary")
	f.StringVar(&o.tree, "tree", "memory", "where the state is held, memory or disk")
	f.IntVar(&o.validators, "validators", 1, "validators, 1 to 16; the first one is asked")
	f.Func("policies", "numbers of policies, 1 to 10000, with commas between; 1000,10000 if not given", numbers(&o.policies, 1, 10_000))
	f.IntVar(&o.entities, "entities", 20_000, "entities that decisions are about, at most 1000000")
	f.IntVar(&o.graph, "graph", 20_000, "entities of the provenance graph, 2000 to 1000000")
	f.IntVar(&o.load, "load", 20, "transactions a second while reads are measured; 0: none, and no blocks but empty ones")
	f.IntVar(&o.clients, "clients", 8, "calls under way, each on a connection of its own")
	f.IntVar(&o.pace, "pace", 1000, "decisions a second of the open loop")
	f.IntVar(&o.batch, "batch", 100, "decisions in a call of many, at most 1000")
	f.IntVar(&o.window, "window", 1000, "transactions under way for recorded decisions")
	f.IntVar(&o.seconds, "seconds", 9, "seconds that each read is measured, after a third of that to warm up")
	f.BoolVar(&o.keep, "keep", false, "keep the network's folder")
	f.StringVar(&o.out, "out", "", "folder for the report")
	f.StringVar(&o.name, "name", "reads", "what its files are called")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("there is no argument %q", f.Arg(0))
	case o.tree != "memory" && o.tree != "disk":
		return o, fmt.Errorf("--tree is %q, want memory or disk", o.tree)
	case o.validators < 1 || o.validators > 16 || o.entities < 1 || o.entities > 1_000_000 || o.graph < 2*depth || o.graph > 1_000_000:
		return o, errors.New("want 1 to 16 validators, 1 to 1000000 entities, a graph of 2000 to 1000000")
	case o.load < 0 || o.load > 10_000 || o.clients < 1 || o.clients > 256 || o.pace < 1 || o.pace > 100_000 || o.batch < 1 || o.batch > 1000 || o.window < 1 || o.window > 100_000 || o.seconds < 1 || o.seconds > 300:
		return o, errors.New("want a load of 0 to 10000, 1 to 256 clients, a pace of 1 to 100000, batches of 1 to 1000, a window of 1 to 100000, 1 to 300 seconds")
	}
	slices.Sort(o.policies)
	return o, nil
}

// runReads measures what a node answers while blocks are committed.
func runReads(ctx context.Context, o readOptions) error {
	dir, err := os.MkdirTemp("", "chancery-reads-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("the network is kept in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	l := &library{readOptions: o, office: &office{
		setting: setting{inMemory, bench.Decision, 1, o.validators, 0}, binary: o.binary, tree: o.tree, scored: true, clerksEach: max(1, 250/o.validators), params: roomy(),
	}}
	defer l.stop()
	if err := l.start(ctx, filepath.Join(dir, "network")); err != nil {
		return err
	}
	r := &readReport{At: time.Now().UTC(), Machine: bench.ThisMachine(), Command: command(os.Args[1:])}
	began := time.Now()
	if err := l.fillAll(ctx); err != nil {
		return err
	}
	r.FillSeconds, r.Options = time.Since(began).Seconds(), l.said()
	if r.Resident, err = bench.Resident(l.net.pids()[0]); err != nil {
		return err
	}
	fmt.Printf("filled in %.0f s; the first node holds %d MiB\n", r.FillSeconds, r.Resident>>20)
	if r.Rows, err = l.measureAll(ctx); err != nil {
		return err
	}
	fmt.Print("\n" + r.markdown())
	if o.out == "" {
		return nil
	}
	return r.write(o.out, o.name)
}

// call is one call of a client, which has random numbers of its own. It returns how many
// answers came.
type call func(ctx context.Context, c *client.Client, random *rand.Rand) (answers int, err error)

// read is what clients do for a while.
type read struct {
	name   string
	method string // that it calls, of which the node says how long it took; empty: no call says that
	// clients do it at a time, each again once it is done or, with a pace, when it is due: so many
	// times a second all together.
	clients, pace int
	do            call
}

// measureAll measures each read in turn.
func (l *library) measureAll(ctx context.Context) ([]*readRow, error) {
	idle, err := l.measured(ctx, read{name: "nothing but the load", clients: 1, do: func(ctx context.Context, _ *client.Client, _ *rand.Rand) (int, error) {
		select {
		case <-time.After(time.Second):
			return 0, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}})
	if err != nil {
		return nil, err
	}
	l.besides = idle.NodeCPU / idle.Seconds
	rows := []*readRow{idle}
	add := func(row *readRow, err error) error {
		if err == nil {
			rows = append(rows, row)
		}
		return err
	}
	for _, n := range l.policies {
		if err := l.setPolicies(ctx, n); err != nil {
			return nil, err
		}
		of := fmt.Sprintf(", %d policies", n)
		err := errors.Join(
			add(l.measured(ctx, read{fmt.Sprintf("unrecorded decisions, one a call, %d a second%s", l.pace, of), accessv1.Query_Evaluate_FullMethodName, l.clients, l.pace, l.decision})),
			add(l.measured(ctx, read{"unrecorded decisions, one a call" + of, accessv1.Query_Evaluate_FullMethodName, l.clients, 0, l.decision})),
			add(l.measured(ctx, read{fmt.Sprintf("unrecorded decisions, %d a call%s", l.batch, of), accessv1.Query_Evaluations_FullMethodName, l.clients, 0, l.decisions})),
			add(l.recorded(ctx, "recorded decisions"+of)))
		if err != nil {
			return nil, err
		}
	}
	err = errors.Join(
		add(l.measured(ctx, read{"proofs of an entity", nodev1.Receipts_Prove_FullMethodName, l.clients, 0, l.proof()})),
		add(l.measured(ctx, read{fmt.Sprintf("ancestries of %d entities to depth %d, in pages of 500", 2*depth-1, depth), provenancev1.Query_Ancestors_FullMethodName, l.clients, 0, l.ancestry})),
		add(l.measured(ctx, read{fmt.Sprintf("events replayed from the first block on, %d a call", replayedAtOnce), "", 1, 0, l.replay()})))
	return rows, err
}

// measured reads for a while, with transactions beside. With a pace, latency runs from when each
// call was due.
func (l *library) measured(ctx context.Context, what read) (*readRow, error) {
	warmUp, span := time.Duration(l.seconds)*time.Second/3, time.Duration(l.seconds)*time.Second
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loading sync.WaitGroup
	defer loading.Wait()
	var loaded *bench.Result
	var loadErr error
	if l.load > 0 {
		w, err := bench.NewWork(chainID, bench.Consent, l.clerks, 1)
		if err != nil {
			return nil, err
		}
		loading.Go(func() {
			loaded, loadErr = bench.Run(ctx, l.target(), w, bench.Options{
				Rate: float64(l.load), WarmUp: warmUp, Duration: span, Patience: time.Minute, Drain: time.Minute, Ahead: l.load * l.seconds * 4 / 3,
			})
		})
	}
	started := time.Now()
	from, to := started.Add(warmUp), started.Add(warmUp+span)
	var counted atomic.Int64
	latencies := make([]*hdrhistogram.Histogram, what.clients)
	faults := make([]error, what.clients)
	// No deadline, which the node would be told of and answer to by a clock of its own.
	ending, end := context.WithCancel(ctx)
	defer end()
	defer time.AfterFunc(time.Until(to), end).Stop()
	var calling sync.WaitGroup
	for i := range what.clients {
		latencies[i] = hdrhistogram.New(1, longestCall, 3)
		calling.Go(func() {
			c, err := client.Dial(ctx, l.net.members[0].config.RPC.Listen)
			if err != nil {
				faults[i] = err
				return
			}
			defer func() { _ = c.Close() }()
			clock, err := newTimer(ending)
			if err != nil {
				faults[i] = err
				return
			}
			defer func() { _ = clock.close() }()
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for k := 0; ; k++ {
				asked := time.Now()
				if what.pace > 0 {
					due := started.Add(time.Duration(k*what.clients+i) * time.Second / time.Duration(what.pace))
					err := clock.sleep(due.Sub(asked))
					if ending.Err() != nil {
						return
					}
					if err != nil {
						faults[i] = err
						end()
						return
					}
					asked = due
				}
				n, err := what.do(ending, c, random)
				answered := time.Now()
				if ending.Err() != nil {
					return // the call was cut off by the end
				}
				if err != nil {
					faults[i] = err
					end()
					return
				}
				if asked.After(from) {
					counted.Add(int64(n))
					_ = latencies[i].RecordValue(min(answered.Sub(asked).Microseconds(), longestCall))
				}
			}
		})
	}
	row := &readRow{Name: what.name, Seconds: span.Seconds()}
	var cpu time.Duration
	var blocks int64
	var quick, handled int64
	look := func(at time.Time, sign int64) error {
		select {
		case <-time.After(time.Until(at)):
		case <-ctx.Done():
			return ctx.Err()
		}
		used, err := bench.CPU(l.net.pids()[0])
		if err != nil {
			return err
		}
		height, err := l.height(ctx)
		if err != nil {
			return err
		}
		within, all, err := l.handled(ctx, what.method)
		cpu, blocks = cpu+time.Duration(sign)*used, blocks+sign*height
		quick, handled = quick+sign*within, handled+sign*all
		return err
	}
	err := errors.Join(look(from, -1), look(to, 1))
	calling.Wait()
	loading.Wait()
	if err := errors.Join(append(faults, err, loadErr)...); err != nil {
		return nil, fmt.Errorf("%s: %w", what.name, err)
	}
	all := hdrhistogram.New(1, longestCall, 3)
	for _, h := range latencies {
		all.Merge(h)
	}
	row.finish(counted.Load(), all, cpu.Seconds(), l.besides)
	row.Blocks = blocks
	row.Quick, row.Handled = quick, handled
	if loaded != nil {
		row.Load = loaded.Throughput
	}
	fmt.Println(row.line())
	return row, nil
}

// quickly is how long a call takes at most, in seconds, that is counted as quick.
const quickly = 0.001

// handled is how many calls of a method the first node has answered, and how many of them within
// what is quick, by its own clock: from when it had read the request to when it had the answer.
func (l *library) handled(ctx context.Context, method string) (within, all int64, err error) {
	if method == "" {
		return 0, 0, nil
	}
	body, err := l.net.telemetry(ctx, "/metrics")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return 0, 0, fmt.Errorf("the node's metrics: %w", err)
	}
	for _, m := range families["chancery_rpc_call_seconds"].GetMetric() {
		if len(m.Label) == 1 && m.Label[0].GetValue() == method {
			for _, b := range m.Histogram.Bucket {
				if b.GetUpperBound() == quickly {
					return int64(b.GetCumulativeCount()), int64(m.Histogram.GetSampleCount()), nil
				}
			}
			return 0, 0, fmt.Errorf("the node does not count the calls of %s within %v s", method, quickly)
		}
	}
	return 0, 0, nil // none yet
}

// recorded is a closed loop of transactions, each a decision.
func (l *library) recorded(ctx context.Context, name string) (*readRow, error) {
	w, err := bench.NewWork(chainID, bench.Decision, l.clerks, 1)
	if err != nil {
		return nil, err
	}
	before, err := l.height(ctx)
	if err != nil {
		return nil, err
	}
	r, err := bench.Run(ctx, l.target(), w, bench.Options{
		Window: l.window, WarmUp: time.Duration(l.seconds) * time.Second / 3, Duration: time.Duration(l.seconds) * time.Second,
		Patience: time.Minute, Drain: 2 * time.Minute, Processes: l.net.pids()[:1], Ahead: l.seconds * 4000,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if c := r.Counts; c.Failed+c.Denials+c.Void > 0 {
		return nil, fmt.Errorf("%s: %d failed, %d were denied, %d are in no block", name, c.Failed, c.Denials, c.Void)
	}
	after, err := l.height(ctx)
	if err != nil {
		return nil, err
	}
	row := &readRow{Name: name, Seconds: r.Seconds, Rate: r.Throughput, Latency: r.Latency, CPU: r.CPU, Blocks: after - before}
	if len(r.Nodes) > 0 {
		row.NodeCPU = r.Nodes[0].CPU
	}
	fmt.Println(row.line())
	return row, nil
}

// ask is a request of any clerk of the first organisation about any entity.
func (l *library) ask(random *rand.Rand) *accessv1.Request {
	return &accessv1.Request{Principal: l.readers[random.IntN(len(l.readers))].DID, Resource: &accessv1.EntityUid{Type: "Record", Id: entityID(random.IntN(l.entities))}}
}

// common is what all requests share.
func (l *library) common() *accessv1.Request {
	return &accessv1.Request{Organisation: l.admins[0].Organisation, Action: &accessv1.EntityUid{Type: "Action", Id: "read"}, Purpose: bench.Care}
}

func (l *library) decision(ctx context.Context, c *client.Client, random *rand.Rand) (int, error) {
	q, shared := l.ask(random), l.common()
	q.Organisation, q.Action, q.Purpose = shared.Organisation, shared.Action, shared.Purpose
	out, err := accessv1.NewQueryClient(c.Conn()).Evaluate(ctx, &accessv1.EvaluateRequest{Request: q})
	if err == nil && out.Outcome != accessv1.Outcome_OUTCOME_ALLOW {
		err = fmt.Errorf("a decision that policies permit is %s", out.Reason)
	}
	return 1, err
}

func (l *library) decisions(ctx context.Context, c *client.Client, random *rand.Rand) (int, error) {
	q := &accessv1.EvaluationsRequest{Defaults: l.common()}
	for range l.batch {
		q.Requests = append(q.Requests, l.ask(random))
	}
	out, err := accessv1.NewQueryClient(c.Conn()).Evaluations(ctx, q)
	if err != nil {
		return 0, err
	}
	for _, e := range out.Evaluations {
		if e.Outcome != accessv1.Outcome_OUTCOME_ALLOW {
			return 0, fmt.Errorf("a decision that policies permit is %s%s", e.Reason, e.Message)
		}
	}
	return len(out.Evaluations), nil
}

// proof is an entity with its receipt: the record's proof, and the header and commit that
// it is against. All clients prove at a height that is signed already.
func (l *library) proof() call {
	var height, made atomic.Int64
	return func(ctx context.Context, c *client.Client, random *rand.Rand) (int, error) {
		if made.Add(1)%provedFor == 1 || height.Load() == 0 {
			s, err := c.Status(ctx)
			if err != nil {
				return 0, err
			}
			height.Store(s.Height - 1)
		}
		var receipt client.Receipt
		_, err := accessv1.NewQueryClient(c.Conn()).Entity(client.Prove(client.AtHeight(ctx, height.Load()), &receipt), &accessv1.EntityRequest{
			Organisation: l.admins[0].Organisation, Uid: &accessv1.EntityUid{Type: "Record", Id: entityID(random.IntN(l.entities))},
		})
		if err == nil && len(receipt.Bytes) == 0 {
			err = errors.New("a proof has no receipt")
		}
		return 1, err
	}
}

// ancestry is all pages of what the last entity of a pair of chains came from.
func (l *library) ancestry(ctx context.Context, c *client.Client, random *rand.Rand) (int, error) {
	q := &provenancev1.TraceRequest{MaxDepth: depth, Limit: 500, Start: &provenancev1.Ref{
		Organisation: l.admins[0].Organisation, Id: nodeID(random.IntN(l.graph/(2*depth))*2*depth + 2*depth - 1),
	}}
	for steps := 0; ; {
		out, err := provenancev1.NewQueryClient(c.Conn()).Ancestors(ctx, q)
		if err != nil {
			return 0, err
		}
		steps += len(out.Steps)
		if q.PageToken = out.NextPageToken; len(q.PageToken) > 0 {
			continue
		}
		if steps != 2*depth-1 {
			return 0, fmt.Errorf("an ancestry has %d entities, want %d", steps, 2*depth-1)
		}
		return 1, nil
	}
}

// replayedAtOnce is how many events, or a few more, a call takes of those so far: of a large
// chain, all would take longer than is measured.
const replayedAtOnce = 20_000

// replay is events, each call going on where the one before it stopped, and from the first block
// again after the last.
func (l *library) replay() call {
	var from client.Cursor
	enough := errors.New("enough")
	return func(ctx context.Context, c *client.Client, _ *rand.Rand) (events int, err error) {
		err = c.Replay(ctx, from, nil, func(b client.Batch) error {
			from = b.Cursor
			if events += len(b.Events); events >= replayedAtOnce {
				return enough
			}
			return nil
		})
		if errors.Is(err, enough) {
			return events, nil
		}
		from = client.Cursor{}
		return events, err
	}
}
