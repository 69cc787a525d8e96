package scenarios

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// RunOptions is how a plan is executed.
type RunOptions struct {
	// Genesis has sections of the genesis state, by module, beside identity's; identity's
	// too where the plan has Sites.
	Genesis map[string]json.RawMessage
	// Signer is the key of a DID URL of the plan's sites. May be nil.
	Signer func(url string) (tx.Signer, bool)
	// Progress is called after every 1000 transactions, with the virtual time. May be nil.
	Progress func(done int, at int64)
}

// Outcome is what became of one action.
type Outcome struct {
	*Action
	// Number is the action's place in the plan, from 0 on.
	Number int
	// Raw is the signed transaction.
	Raw []byte
	// Result of its execution; nil when it was refused at the door.
	Result *chainv1.TxResult
	// Refused is why it may not be in a block; nil when it was executed, or kept.
	Refused error
}

// Report sums a run up.
type Report struct {
	Transactions int // executed, kept or refused
	Blocks       int
	Failed       int // executed, without effect
	Refused      int // at the door
	Void         int // left out, for what they refer to did not come to be
	// Root is the app hash of the last block.
	Root []byte
}

const (
	blockTime = second
	validity  = minute
	// kept is how many versions of the state stay in memory.
	keptVersions = 4
)

// Run executes a plan on a chain in this process: the program's own modules over the
// tree in memory, with real signatures, in virtual time. A block ends each second in
// which something happens. sink sees every action after its execution, in order, and
// ends the run with an error. Nobody acts on what did not come to be: an action that
// refers to what an earlier one was to make, and did not, is left out.
func Run(ctx context.Context, p *Plan, o RunOptions, sink func(*Outcome) error) (*Report, error) {
	c, err := Begin(ctx, p, o, sink)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	err = c.Until(math.MaxInt64)
	return c.Report(), err
}

// Course is a plan that Begin began, executed up to some time.
type Course struct {
	r      *runner
	next   func() (*Action, bool)
	stop   func()
	ahead  *Action // taken from the plan and not executed yet
	number int     // of ahead
}

// Begin is Run that can stop on its way. The caller closes the course.
func Begin(ctx context.Context, p *Plan, o RunOptions, sink func(*Outcome) error) (*Course, error) {
	app, err := start(p, o.Genesis)
	if err != nil {
		return nil, err
	}
	c := &Course{r: &runner{
		ctx: ctx, plan: p, app: app, o: o, sink: sink, names: Names{}, meant: map[[32]byte]bool{}, signers: map[string]tx.Signer{}, report: new(Report),
	}}
	c.next, c.stop = iter.Pull(p.Actions())
	return c, nil
}

// Until executes what is before a time, Unix milliseconds.
func (c *Course) Until(t int64) error {
	for {
		if c.ahead == nil {
			a, more := c.next()
			if !more {
				break
			}
			c.ahead = a
		}
		if c.ahead.At >= t {
			break
		}
		if err := c.r.take(c.ahead, c.number); err != nil {
			return err
		}
		c.ahead = nil
		c.number++
	}
	return c.r.close()
}

// Report sums up what was executed so far.
func (c *Course) Report() *Report {
	c.r.report.Root = c.r.app.Tree().Root()
	return c.r.report
}

// Known is what is known of the things that actions so far made.
func (c *Course) Known() *Known {
	return &Known{Names: maps.Clone(c.r.names), meant: maps.Clone(c.r.meant), number: c.number}
}

// Genesis is the state as the genesis state of a chain that goes on from there.
func (c *Course) Genesis() (json.RawMessage, error) {
	view, _, err := c.r.app.View(0)
	if err != nil {
		return nil, err
	}
	return c.r.app.ExportGenesis(view)
}

// Close ends the course.
func (c *Course) Close() {
	c.stop()
	_ = c.r.app.Close() // it is in memory
}

// Known is what somebody who goes on with a plan must know of its past.
type Known struct {
	Names
	meant  map[[32]byte]bool // what actions so far were to make
	number int               // of the plan's next action
}

// start is a chain with the plan's genesis, at its first block.
func start(p *Plan, sections map[string]json.RawMessage) (*chain.App, error) {
	all := map[string]json.RawMessage{}
	if len(p.o.Sites) == 0 {
		founding, err := p.Founding()
		if err != nil {
			return nil, err
		}
		g, err := identity.NewGenesis(founding)
		if err != nil {
			return nil, err
		}
		if all["identity"], err = chain.WriteGenesis(g); err != nil {
			return nil, err
		}
	}
	maps.Copy(all, sections)
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	tree, err := state.OpenMemory(nowhere{}, state.MemoryOptions{
		NoSync: true, KeepVersions: keptVersions, ImageVersions: math.MaxInt64 / 8, ImageBytes: math.MaxInt64 / 8, SegmentBytes: math.MaxInt64 / 8,
	})
	if err != nil {
		return nil, err
	}
	app, err := node.Wire().App(p.o.ChainID, tree)
	if err != nil {
		return nil, err
	}
	first := chain.Header{Height: 1, Time: p.o.Start}
	if _, _, err := app.InitGenesis(first, raw); err != nil {
		_ = app.Close() // the other error counts
		return nil, err
	}
	if err := commit(app, app.Begin(first)); err != nil {
		_ = app.Close() // the other error counts
		return nil, err
	}
	return app, nil
}

func commit(app *chain.App, x *chain.Execution) error {
	if _, err := app.Apply(x.End()); err != nil {
		return err
	}
	return app.Commit()
}

// runner is a plan under way.
type runner struct {
	ctx    context.Context
	plan   *Plan
	app    *chain.App
	o      RunOptions
	sink   func(*Outcome) error
	names  Names
	meant  map[[32]byte]bool // what actions so far were to make
	report *Report

	block   *chain.Execution // nil: none is open
	time    int64            // of block
	salt    uint64
	pending []*Outcome // of block
	signers map[string]tx.Signer
}

// signer is Plan.Signer, each key derived once.
func (r *runner) signer(url string) tx.Signer {
	s, ok := r.signers[url]
	if !ok && r.o.Signer != nil {
		s, ok = r.o.Signer(url)
	}
	if !ok {
		s = r.plan.Signer(url)
	}
	r.signers[url] = s
	return s
}

// take puts an action into the block of its second.
func (r *runner) take(a *Action, number int) error {
	if lacks(a, r.names, r.meant) {
		r.report.Void++
		return nil
	}
	for _, standIn := range a.Makes {
		if standIn != nil {
			r.meant[[32]byte(standIn)] = true
		}
	}
	// A block's time is the second that ends after what is in it.
	t := (a.At/blockTime + 1) * blockTime
	if r.block != nil && t != r.time {
		if err := r.close(); err != nil {
			return err
		}
	}
	if r.block == nil {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		r.time = t
		r.block = r.app.Begin(chain.Header{Height: r.app.Tree().Version() + 1, Time: t})
	}
	out := &Outcome{Action: a, Number: number}
	var err error
	r.salt++
	if out.Raw, err = r.plan.Sign(a, r.names.Resolve(a.Messages), t+validity, r.salt, r.signer); err != nil {
		return err
	}
	d, err := r.app.Decode(out.Raw)
	if err != nil {
		return fmt.Errorf("scenarios: a transaction of %s is not well-formed: %w", a.Author, err)
	}
	out.Result, out.Refused = r.block.Deliver(d)
	if out.Refused == nil && out.Result.Code == 0 {
		if err := r.names.Learn(a, out.Result.Responses); err != nil {
			return err
		}
	}
	r.pending = append(r.pending, out)
	return nil
}

// lacks tells whether an action refers to what was to be made and was not.
func lacks(a *Action, names Names, meant map[[32]byte]bool) bool {
	for _, m := range a.Messages {
		if ref := reference(m); ref != nil && len(*ref) == 32 {
			if standIn := [32]byte(*ref); meant[standIn] && names[standIn] == nil {
				return true
			}
		}
	}
	return false
}

// close commits the block and tells the sink.
func (r *runner) close() error {
	if r.block == nil {
		return nil
	}
	if err := commit(r.app, r.block); err != nil {
		return err
	}
	r.block = nil
	r.report.Blocks++
	for _, out := range r.pending {
		r.report.Transactions++
		switch {
		case out.Refused != nil:
			r.report.Refused++
		case out.Result.Code != 0:
			r.report.Failed++
		}
		if r.sink != nil {
			if err := r.sink(out); err != nil {
				return err
			}
		}
		if r.o.Progress != nil && r.report.Transactions%1000 == 0 {
			r.o.Progress(r.report.Transactions, r.time)
		}
	}
	r.pending = r.pending[:0]
	return nil
}

// Sign makes the transaction of an action, with messages as Names resolved them. The
// number makes its salt.
func (p *Plan) Sign(a *Action, messages []proto.Message, until int64, number uint64, signer func(url string) tx.Signer) ([]byte, error) {
	salt := digest(p.o.Seed, "salt of a transaction", string(binary.BigEndian.AppendUint64(nil, number)))
	signers := make([]tx.Signer, len(a.Signers))
	for i, url := range a.Signers {
		signers[i] = signer(url)
	}
	raw, _, err := tx.Draft{
		ChainID: p.o.ChainID, Author: a.Author, ValidUntil: until, Salt: salt[:tx.SaltSize], Messages: messages,
	}.Sign(signers...)
	return raw, err
}

// nowhere is a folder that keeps nothing: a simulation does not outlive its process.
type nowhere struct{}

func (nowhere) List() ([]string, error) { return nil, nil }
func (nowhere) Open(string) (io.ReadCloser, int64, error) {
	return nil, 0, fs.ErrNotExist
}
func (nowhere) Create(string) (state.File, error) { return void{}, nil }
func (nowhere) Truncate(string, int64) error      { return nil }
func (nowhere) Rename(string, string) error       { return nil }
func (nowhere) Remove(string) error               { return nil }
func (nowhere) Sync() error                       { return nil }
func (nowhere) Close() error                      { return nil }

type void struct{}

func (void) Write(b []byte) (int, error) { return len(b), nil }
func (void) Sync() error                 { return nil }
func (void) Close() error                { return nil }
