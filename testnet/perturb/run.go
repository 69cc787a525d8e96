//go:build linux

package perturb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet"
	"github.com/chancery/chancery/testnet/links"
	"github.com/chancery/chancery/testnet/tamper"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// mostPause is the longest time between two blocks while no more than one validator is
	// disturbed.
	mostPause = 10 * time.Second
	// mostHealing is how long after the last fault the next block may take.
	mostHealing = 10 * time.Second
	// settlePatience is how long after the last fault all nodes have to be at one height,
	// one of which may have to fetch every block.
	settlePatience = 60 * time.Second
	answerPatience = 30 * time.Second
	// standing is how long after two of four are taken away a block may still come that had
	// its votes before.
	standing = 2 * time.Second

	pollStatus = 50 * time.Millisecond
	makeTries  = 3
	warmUp     = time.Second
	// snapshotsEvery is the interval of snapshots, in blocks.
	snapshotsEvery = 10
)

// Options of a run.
type Options struct {
	Binary string // the built program
	// Byzantine is the program of the build tag byzantine, and Other another build of the
	// program; empty: what needs it is left out.
	Byzantine, Other string
	Dir              string // where the network is made; removed after a run without a violation
}

// Result is what a run did and found.
type Result struct {
	Plan
	Seconds      float64  `json:"seconds"`
	Blocks       int64    `json:"blocks"`
	Acknowledged int      `json:"acknowledged"`
	Unanswered   int      `json:"unanswered"` // whose outcome was not known when the clients ended
	Withdrawn    int      `json:"withdrawn"`
	Kept         int      `json:"kept"`  // consents given and not taken back
	Asked        int64    `json:"asked"` // answers to whether a consent permits
	Events       int      `json:"events"`
	Receipts     int      `json:"receipts"`
	LongestPause float64  `json:"longest_pause_seconds"` // between two blocks, by their own times
	Healing      float64  `json:"healing_seconds"`       // from the end of the last fault to a block
	Settling     float64  `json:"settling_seconds"`      // to all nodes at one height
	Lies         int      `json:"lies,omitempty"`        // told by validators
	Named        []string `json:"named,omitempty"`       // by the chain, and as what
	Versions     []string `json:"versions,omitempty"`    // of the program, that nodes were seen to run
	Skipped      []string `json:"skipped,omitempty"`
	Notes        []string `json:"notes,omitempty"`
	Violations   []string `json:"violations,omitempty"`
	// Error says why the run could not be made; then it says nothing about the network.
	Error string `json:"error,omitempty"`
}

// run is a network under a plan.
type run struct {
	o        Options
	plan     Plan
	net      *testnet.Network
	record   *testnet.Record
	links    *links.Links
	disks    [Validators]*smallDisk
	tampered [Validators]*tamper.Process
	swapped  [Validators]bool // who runs the other program
	load     *load
	result   *Result
	before   []int64 // heights at the end of the latest fault
	lastHeal time.Time
}

// Run makes a network, disturbs it by the plan, checks it and removes it. An error of its
// own, such as a port that somebody else took, is in the result.
func Run(ctx context.Context, p Plan, o Options) *Result {
	began := time.Now()
	r := &run{o: o, plan: p, result: &Result{Plan: p}}
	if err := r.run(ctx); err != nil {
		r.result.Error = err.Error()
	}
	if err := r.end(); err != nil && r.result.Error == "" {
		r.result.Error = err.Error()
	}
	r.result.Seconds = time.Since(began).Seconds()
	if len(r.result.Violations) == 0 && r.result.Error == "" {
		if err := os.RemoveAll(o.Dir); err != nil {
			r.result.Error = err.Error()
		}
	}
	return r.result
}

func (r *run) violated(format string, args ...any) {
	const most = 50
	if len(r.result.Violations) < most {
		r.result.Violations = append(r.result.Violations, fmt.Sprintf(format, args...))
	}
}

func (r *run) run(ctx context.Context) error {
	// Between the choice of ports and their use another network may take them.
	var err error
	for try := range makeTries {
		if err = r.make(ctx, fmt.Sprintf("net-%d", try)); err == nil || ctx.Err() != nil {
			break
		}
		if ended := r.end(); ended != nil {
			return errors.Join(err, ended)
		}
	}
	if err != nil {
		return err
	}
	r.load, err = newLoad(ctx, r.net.Dir, r.record)
	if err != nil {
		return err
	}
	loading, endLoad := context.WithCancel(ctx)
	defer endLoad()
	subscribed, endSubscriptions := context.WithCancel(ctx)
	defer endSubscriptions()
	readers := r.load.begin(loading, subscribed)
	time.Sleep(warmUp)
	r.before, r.lastHeal = r.heights(ctx), time.Now()
	for i := range Validators {
		status, err := r.status(ctx, i)
		if err != nil {
			return err
		}
		r.saw(status.Version)
	}
	for i, s := range r.plan.Steps {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.impossible(s); err != nil {
			r.result.Skipped = append(r.result.Skipped, fmt.Sprintf("%s: %v", s, err))
			continue
		}
		if err := r.step(ctx, s); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, s, err)
		}
		if r.plan.Mode == Halves {
			r.goesOn(ctx)
		}
		time.Sleep(s.Rest)
	}
	if r.plan.Mode != Halves {
		r.goesOn(ctx)
	}
	close(r.load.stop)
	answered := make(chan struct{})
	go func() { r.load.group.Wait(); close(answered) }()
	select {
	case <-answered:
	case <-time.After(answerPatience):
		r.violated("%v after the last fault some client still waited for the result of its transaction", answerPatience)
		endLoad()
		<-answered
	}
	last, err := r.settle(ctx)
	if err != nil {
		return err
	}
	if last > 0 {
		r.check(ctx, last)
		r.followed(ctx, last)
		r.naming(ctx)
	}
	endSubscriptions()
	readers.Wait()
	if last > 0 {
		r.streams(ctx, last)
	}
	r.load.mu.Lock()
	defer r.load.mu.Unlock()
	for _, f := range r.load.faults {
		r.violated("%s", f)
	}
	r.result.Acknowledged, r.result.Unanswered, r.result.Asked = len(r.load.acks), r.load.unanswered, r.load.asked.Load()
	return nil
}

// make makes and starts the network, with a proxy between every two validators.
func (r *run) make(ctx context.Context, name string) error {
	dir := testnet.Dir(filepath.Join(r.o.Dir, name))
	if err := os.MkdirAll(r.o.Dir, 0o700); err != nil {
		return err
	}
	var err error
	if r.net, err = testnet.Create(ctx, dir, r.o.Binary, testnet.Design{Validators: Validators, By: testnet.Shipped(false)}); err != nil {
		return err
	}
	if r.record, err = testnet.Load(dir); err != nil {
		return err
	}
	var targets []string
	for _, v := range r.record.Validators {
		targets = append(targets, v.P2P)
	}
	if r.links, err = links.New(targets); err != nil {
		return err
	}
	for i, v := range r.record.Validators {
		home := dir.Home(v)
		c, err := config.Load(home)
		if err != nil {
			return err
		}
		c.P2P.PersistentPeers = nil
		for _, o := range r.record.Validators {
			if o.Index != i {
				c.P2P.PersistentPeers = append(c.P2P.PersistentPeers, o.NodeID+"@"+r.links.Address(i, o.Index))
			}
		}
		c.Snapshots.Interval = 0
		if slices.ContainsFunc(r.plan.Steps, func(s Step) bool { return s.Fault == Snapshot }) {
			c.Snapshots.Interval = snapshotsEvery
		}
		if err := config.Write(home, c); err != nil {
			return err
		}
	}
	for _, s := range r.plan.Steps {
		for _, i := range s.Victims {
			if s.Fault != FullDisk || r.disks[i] != nil {
				continue
			}
			if r.disks[i], err = mountDisk(r.home(i)); err != nil {
				// Without the right to mount, the step is left out and said to be.
				r.result.Skipped = append(r.result.Skipped, fmt.Sprintf("%s: %v", s, err))
				r.disks[i] = nil
			}
		}
	}
	r.mix()
	r.net.Begin = r.begin
	if _, err := r.net.Start(ctx); err != nil {
		return err
	}
	return r.net.Ready(ctx)
}

// end stops the network, whatever became of it.
func (r *run) end() error {
	if r.load != nil {
		r.load.close()
		r.load = nil
	}
	var faults []error
	if r.links != nil {
		r.links.Heal()
	}
	if r.net != nil {
		stopped, err := r.net.Stop(context.Background())
		faults = append(faults, err)
		for _, s := range stopped {
			if s.Forced {
				r.result.Notes = append(r.result.Notes, fmt.Sprintf("validator %d did not stop in good order within its time and was killed", s.Index))
			}
		}
		r.net = nil
	}
	if r.links != nil {
		r.links.Close()
		r.links = nil
	}
	for i, d := range r.disks {
		if d != nil {
			faults = append(faults, d.unmount())
			r.disks[i] = nil
		}
	}
	return errors.Join(faults...)
}

func (r *run) home(i int) config.Home { return r.net.Dir.Home(r.record.Validators[i]) }

func (r *run) others(some []int) (out []int) {
	for i := range Validators {
		if !slices.Contains(some, i) {
			out = append(out, i)
		}
	}
	return out
}

// step does one fault and takes it back.
func (r *run) step(ctx context.Context, s Step) error {
	others := r.others(s.Victims)
	each := func(do func(i int) error) error {
		for _, i := range s.Victims {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	}
	signal := func(of syscall.Signal) error {
		return each(func(i int) error { return r.net.Signal(ctx, i, of) })
	}
	restart := func() error {
		return each(func(i int) error { return r.net.Restart(ctx, i) })
	}
	both := func(set func(*links.Condition)) func() error {
		return func() error {
			r.links.Between(s.Victims, others, set)
			r.links.Between(others, s.Victims, set)
			return nil
		}
	}
	healed := func() error { r.links.Heal(); return nil }

	var begin, end func() error
	switch s.Fault {
	case Kill:
		begin, end = func() error { return signal(syscall.SIGKILL) }, restart
	case Stop:
		begin, end = func() error { return signal(syscall.SIGTERM) }, restart
	case Pause:
		begin, end = func() error { return signal(syscall.SIGSTOP) }, func() error { return signal(syscall.SIGCONT) }
	case Stutter:
		begin = func() error {
			for until := time.Now().Add(s.For); time.Now().Before(until); {
				if err := signal(syscall.SIGSTOP); err != nil {
					return err
				}
				time.Sleep(150 * time.Millisecond)
				if err := signal(syscall.SIGCONT); err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}
		end = func() error { return nil }
	case Wipe, Snapshot:
		begin = func() error { return signal(syscall.SIGKILL) }
		end = func() error {
			return each(func(i int) error {
				if err := r.wipe(ctx, i, s.Fault == Snapshot); err != nil {
					return err
				}
				return r.net.Restart(ctx, i)
			})
		}
	case FullDisk:
		begin = func() error {
			return each(func(i int) error {
				if r.disks[i] == nil {
					return nil
				}
				return r.disks[i].fill()
			})
		}
		end = func() error {
			return each(func(i int) error {
				if r.disks[i] == nil {
					return nil
				}
				if err := r.disks[i].empty(); err != nil {
					return err
				}
				// A supervisor would have started it again, or its operator.
				return r.net.Restart(ctx, i)
			})
		}
	case Cut:
		begin, end = both(func(c *links.Condition) { c.Cut = true }), healed
	case Hold:
		begin, end = both(func(c *links.Condition) { c.Held = true }), healed
	case Deaf:
		begin = func() error {
			r.links.Between(others, s.Victims, func(c *links.Condition) { c.Held = true })
			return nil
		}
		end = healed
	case Mute:
		begin = func() error {
			r.links.Between(s.Victims, others, func(c *links.Condition) { c.Held = true })
			return nil
		}
		end = healed
	case Flap:
		begin = func() error {
			for until := time.Now().Add(s.For); time.Now().Before(until); time.Sleep(300 * time.Millisecond) {
				r.links.Reset(s.Victims, others)
			}
			return nil
		}
		end = healed
	case Delay:
		begin, end = both(func(c *links.Condition) { c.Delay = s.Delay }), healed
	case Loss:
		begin, end = both(func(c *links.Condition) { c.Loss = s.Loss }), healed
	case Throttle:
		begin, end = both(func(c *links.Condition) { c.Rate = s.Rate }), healed
	case SlowDisk:
		begin = func() error {
			return each(func(i int) error { r.tampered[i].SetDisk(tamper.Disk{Sync: s.Sync, Write: s.Write}); return nil })
		}
		end = func() error {
			return each(func(i int) error { r.tampered[i].SetDisk(tamper.Disk{}); return nil })
		}
	case ClockSkew:
		begin = func() error { return each(func(i int) error { r.skew(i, s); return nil }) }
		end = func() error {
			return each(func(i int) error { r.tampered[i].SetClock(tamper.Clock{}); return nil })
		}
	case LyingProposer, LyingVoter, Equivocation:
		begin = func() error { return each(func(i int) error { return r.tell(ctx, i, s) }) }
		end = func() error { return each(func(i int) error { return os.Remove(r.lies(i)) }) }
	case Swap:
		begin = func() error { return each(func(i int) error { return r.swap(ctx, i) }) }
		end = func() error { return nil }
	default:
		return fmt.Errorf("there is no fault %q", s.Fault)
	}
	began := time.Now()
	if err := begin(); err != nil {
		return err
	}
	if len(s.Victims) == Validators/2 {
		r.stands(ctx, s)
	} else {
		time.Sleep(time.Until(began.Add(s.For)))
	}
	r.before = r.heights(ctx)
	if err := end(); err != nil {
		return err
	}
	r.lastHeal = time.Now()
	return nil
}

// wipe leaves a node that does not run nothing but its keys, its configuration and what
// it signed last, without which it could sign two blocks of one height.
func (r *run) wipe(ctx context.Context, i int, bySnapshot bool) error {
	home := r.home(i)
	entries, err := os.ReadDir(home.Data())
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(home.Data(), e.Name())
		if path == home.ValidatorStateFile() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	c, err := config.Load(home)
	if err != nil {
		return err
	}
	c.Sync = config.Default().Sync
	if bySnapshot {
		header, err := r.header(ctx, r.others([]int{i})[0], 0)
		if err != nil {
			return fmt.Errorf("ask for a header to trust: %w", err)
		}
		for _, o := range r.others([]int{i}) {
			c.Sync.Servers = append(c.Sync.Servers, r.record.Validators[o].RPC)
		}
		// A header some blocks back, as an operator would have it from others.
		if header, err = r.header(ctx, r.others([]int{i})[0], max(1, header.Height-5)); err != nil {
			return fmt.Errorf("ask for a header to trust: %w", err)
		}
		c.Sync.TrustHeight, c.Sync.TrustHash = header.Height, header.Hash().String()
	}
	return config.Write(home, c)
}

// header is that of a height as a node knows it, 0 for the latest.
func (r *run) header(ctx context.Context, i int, height int64) (*types.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*askPatience)
	defer cancel()
	b, err := nodev1.NewNodeClient(r.load.nodes[i].Conn()).LightBlock(ctx, &nodev1.LightBlockRequest{Height: height})
	if err != nil {
		return nil, err
	}
	block := new(cmtproto.LightBlock)
	if err := block.Unmarshal(b.LightBlock); err != nil {
		return nil, err
	}
	h, err := types.HeaderFromProto(block.SignedHeader.Header)
	return &h, err
}

// heights are those of the nodes, as they say themselves; -1 of one that does not answer.
func (r *run) heights(ctx context.Context) []int64 {
	out := make([]int64, Validators)
	var group sync.WaitGroup
	for i := range out {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askPatience/2)
			defer cancel()
			out[i] = -1
			if s, err := r.load.nodes[i].Status(ctx); err == nil {
				out[i] = s.Height
			}
		})
	}
	group.Wait()
	return out
}

// stands checks, while two of four are away from the others, that nothing is committed.
func (r *run) stands(ctx context.Context, s Step) {
	began := time.Now()
	time.Sleep(standing)
	before := r.heights(ctx)
	time.Sleep(time.Until(began.Add(s.For)))
	after := r.heights(ctx)
	if a, b := slices.Max(before), slices.Max(after); b > a && a >= 0 {
		r.violated("%s: two of four committed blocks %d to %d: heights %v, then %v", s, a+1, b, before, after)
	}
}

// goesOn waits for a block after the last fault.
func (r *run) goesOn(ctx context.Context) {
	highest := slices.Max(r.before)
	for until := r.lastHeal.Add(3 * mostHealing); time.Now().Before(until); time.Sleep(pollStatus) {
		if slices.Max(r.heights(ctx)) <= highest {
			continue
		}
		took := time.Since(r.lastHeal)
		r.result.Healing = max(r.result.Healing, took.Seconds())
		if took > mostHealing {
			r.violated("the next block came %.1f s after the last fault was over, more than %v", took.Seconds(), mostHealing)
		}
		return
	}
	r.violated("no block came within %v after the last fault was over: heights %v", 3*mostHealing, r.heights(ctx))
}

// settle waits until all nodes have one state, and returns its height; 0 when they never
// do.
func (r *run) settle(ctx context.Context) (int64, error) {
	var views []testnet.View
	for until := time.Now().Add(settlePatience); time.Now().Before(until); time.Sleep(pollStatus) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		var err error
		if views, err = r.net.Status(ctx); err != nil {
			return 0, err
		}
		same := true
		for _, v := range views {
			if v.Answers && views[0].Answers && v.Height == views[0].Height && v.AppHash != views[0].AppHash {
				r.violated("at height %d validators 0 and %d have the app hashes %s and %s", v.Height, v.Index, views[0].AppHash, v.AppHash)
				return 0, nil
			}
			same = same && v.Answers && v.Healthy && !v.CatchingUp && v.Height == views[0].Height
		}
		if same {
			r.result.Settling = time.Since(r.lastHeal).Seconds()
			return views[0].Height, nil
		}
	}
	r.violated("%v after the last fault the nodes are not at one height:\n%s", settlePatience, testnet.Table(views))
	return 0, nil
}
