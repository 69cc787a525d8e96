package chain

import (
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Screen judges transactions before they are executed. The module threat is one.
//
// Every method follows from the state before the block and from the transactions
// before it in the block, so that all validators find the same.
type Screen interface {
	// Open begins a block, or a throwaway one for admission or simulation, before its
	// first transaction: ctx is the block's, with state after the block before. votes
	// are the extensions of votes for the block before that the docket carries, each
	// verified, sorted by validator, none twice.
	Open(ctx *Ctx, votes []*chainv1.Vote) Screening
}

// Screening judges the transactions of one block, in order. It belongs to one
// Execution and may be dropped at any point without a trace.
type Screening interface {
	// Model is the hash of the model that decides, empty when there is none.
	Model() []byte
	// Gather is what Judge needs to know of the state, and of the transaction itself. It
	// follows from what r reads and from nothing that happened in the block, may be called
	// at any time after Open and for several transactions at once, and charges r for the work.
	Gather(r ReadCtx, c *Candidate) any
	// Judge is the verdict on a transaction that passed the door, with the features it
	// was found by (nil where there are none), in order of the model's. r is charged
	// for the work. It changes nothing: Judge may be called again, or for a
	// transaction that never comes into the block. The same Screening may not judge
	// concurrently. gathered is what Gather returns in this moment, and charges for it; it is
	// called once, or not at all.
	//
	// nil says that scoring is off; the transaction is executed.
	Judge(r ReadCtx, c *Candidate, gathered func() any) (*chainv1.Verdict, []int64)
	// Full tells whether there would be no room for a transaction, were it kept. It costs
	// little, and judges nothing.
	Full(r ReadCtx, c *Candidate) bool
	// Keep records a transaction that is held or denied, and emits what happened. An
	// error refuses the transaction at the door.
	Keep(ctx *Ctx, c *Candidate, v *chainv1.Verdict) error
	// Respond follows the execution of an admitted transaction, in its own context:
	// alarms and what playbooks do. It is called for failed transactions too, with an
	// effect of its own.
	Respond(ctx *Ctx, c *Candidate, v *chainv1.Verdict)
	// Note takes notice of a transaction that is in the block for good.
	Note(c *Candidate, v *chainv1.Verdict, r *chainv1.TxResult)
	// Close ends the block, after its last transaction and before the modules' ends.
	Close(ctx *Ctx)
}

// Candidate is a transaction that passed the door.
type Candidate struct {
	*tx.Decoded
	Authority Authority
}

// Keeper is a Module that executes transactions that were kept. SetExecutor is called
// once, at boot.
type Keeper interface {
	SetExecutor(x Executor)
}

// Executor executes, within a message, a transaction that was kept.
type Executor interface {
	// ExecuteKept executes a transaction, given by its bytes, as its author: with the
	// author's authority and the signatures checked anew against the state, and by
	// its own limit of units. Its writes and events are those of ctx. An error is why
	// it failed, and then it left no trace.
	ExecuteKept(ctx *Ctx, raw []byte) (responses [][]byte, err error)
}
