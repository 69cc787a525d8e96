package consensus

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/recent"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/consensus/snapshots"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// Membership says who may connect and who validates. The module identity is one.
type Membership interface {
	// NodeAllowed tells whether a node id is bound to an active organisation.
	NodeAllowed(r chain.ReadCtx, nodeID string) bool
	// NodeOrganisation is the organisation that a node id is bound to.
	NodeOrganisation(r chain.ReadCtx, nodeID string) (did string, ok bool)
	// Validators are the validators, sorted by public key.
	Validators(r chain.ReadCtx) []*identityv1.Validator
}

// Voice is what a validator says beside its votes.
type Voice interface {
	// Extension is what it says with its vote for a block, empty for nothing. It must
	// pass Check, and may differ between validators.
	Extension(height, time int64) []byte
	// Check refuses bytes that are no extension. It looks at the bytes alone.
	Check(extension []byte) error
}

// Lie is a proposal that the rules refuse.
type Lie struct {
	Height   int64
	Proposer []byte // address of its consensus key, 20 bytes
	Docket   []byte // the block's first transaction
	Reason   error
}

// application is the ABCI application. The consensus connection calls
// InitChain, PrepareProposal, ProcessProposal, FinalizeBlock and Commit one at a
// time; everything else is concurrent.
type application struct {
	abci.BaseApplication

	app        *chain.App
	self       func() types.Address // of this node's consensus key
	most       int64                // bytes of a transaction beyond which it may not fit into a block
	pool       *Pool
	records    *records.Log
	membership Membership
	voice      Voice                       // nil: says nothing, and lets nobody say anything
	lied       func(Lie)                   // nil: nobody is told
	bend       func(txs [][]byte) [][]byte // a seam for tests: what a dishonest proposer does to its block
	// Seams for tests, what a dishonest proposer does: what it leaves out, which may be due,
	// and whether it leaves out all votes and cares for nothing that is due.
	omit func(d *tx.Decoded, due bool) bool
	deaf bool

	metrics *Metrics
	log     *slog.Logger
	build   time.Duration // the most that building a proposal may take
	idle    time.Duration // how much time a proposer has besides, to rest and for a first transaction to come
	delay   time.Duration // the least pause after a block
	pause   time.Duration // the most, where blocks are much work

	mu       sync.Mutex      // guards ahead and appended
	ahead    *speculation    // nil: none
	appended *task[struct{}] // the records of the decided block, being written

	pace       pace // of executing what others propose
	candidates candidates
	decided    *chain.Block                 // applied by FinalizeBlock, not yet committed
	decidedTxs [][]byte                     // its transactions, the docket first
	proposer   []byte                       // address of who proposed it
	before     []byte                       // of who proposed the block before this node's own latest proposal
	recent     recent.Blocks[[][]byte]      // transactions of committed blocks, the docket first
	lately     recent.Blocks[[]*tx.Decoded] // and decoded, without the docket

	snapshots *snapshots.Store    // nil: none are kept
	interval  int64               // a snapshot is due at heights that it divides
	taking    *task[struct{}]     // the latest snapshot; nil: none. Of the consensus connection
	halt      func(error)         // ends the node
	unsync    func()              // has the engine fetch no further blocks of others; returns when it is so
	bendChunk func([]byte) []byte // a seam for tests: what a dishonest node does to a chunk that it gives away
	begins    bool                // with a snapshot, unless there is a state
	listed    []string            // node ids of the peers of the configuration
	fetching  func() bool         // whether the node fetches blocks that its peers have; nil: it does not

	bans        bans
	restoringMu sync.Mutex    // guards restoring; held while a chunk is applied
	restoring   *restoring    // nil: none
	restored    atomic.Int64  // chunks of it so far
	wanted      atomic.Int64  // chunks of it; 0: no snapshot was begun
	expired     int64         // block time of the latest sweep of the pool
	took        time.Duration // what executing the latest block took
	rested      time.Time     // when the pause after it is over
}

var _ abci.Application = (*application)(nil)

// beginning tells whether the node waits for the state that it begins with.
func (a *application) beginning() bool { return a.begins && a.app.Tree().Version() == 0 }

// progress says how far the node has come while it is beginning.
func (a *application) progress() string {
	if wanted := a.wanted.Load(); wanted > 0 {
		return fmt.Sprintf("restoring a snapshot of the state: %d of %d chunks", a.restored.Load(), wanted)
	}
	return "looking for a snapshot of the state at the listed peers"
}

// allowed tells whether a node may connect, by the state r. A node that has none yet can
// only go by its configuration. One that fetches blocks goes by both: its state may be from
// before its peers' node keys were bound, and it learns of them by the blocks that they give.
// One that is banned may not.
func (a *application) allowed(r chain.ReadCtx, nodeID string) bool {
	switch {
	case a.bans.has(nodeID):
		return false
	case a.beginning():
		return slices.Contains(a.listed, nodeID)
	case a.membership.NodeAllowed(r, nodeID):
		return true
	}
	return a.fetching != nil && a.fetching() && slices.Contains(a.listed, nodeID)
}

func headerOf(height int64, t time.Time) chain.Header {
	return chain.Header{Height: height, Time: t.UnixMilli()}
}

// execute runs a whole block; a docket that is not what this node finds, and the first
// transaction refused at the door, end it.
func (a *application) execute(p proposal) (*chain.Block, error) {
	docket, err := a.docket(p.header.Height, p.txs)
	if err != nil {
		return nil, err
	}
	a.pool.Hush()
	defer a.pool.Speak()
	ds, bad := a.decoded(p.txs[1:])
	x := a.app.Begin(p.header, docket.Votes...)
	x.Report(p.reported)
	x.Foresee(ds, nil)
	for _, d := range ds {
		if _, err := x.Deliver(d); err != nil {
			return nil, err
		}
	}
	if bad != nil {
		return nil, bad
	}
	if err := x.CheckDocket(docket); err != nil {
		return nil, err
	}
	if err := x.CheckInclusion(); err != nil {
		return nil, err
	}
	return x.End(), nil
}

// Result is a transaction's result as the engine has it: the hash of all of a block is in
// the next header.
func Result(r *chainv1.TxResult) *abci.ExecTxResult {
	return &abci.ExecTxResult{
		Code: r.Code, Codespace: r.Codespace, Log: r.Log, GasUsed: int64(r.Units),
		Data: chain.Outcome(r),
	}
}

func abciUpdates(updates []chain.ValidatorUpdate) []abci.ValidatorUpdate {
	out := make([]abci.ValidatorUpdate, len(updates))
	for i, u := range updates {
		out[i] = abci.Ed25519ValidatorUpdate(u.Key.Bytes, u.Power)
	}
	return out
}

func codeOf(err error) (code uint32, codespace, log string) {
	e := errs.As(err)
	return e.Code, e.Module, err.Error()
}
