package bench

import (
	"context"
	"time"
)

// ID names a transaction.
type ID = [32]byte

// Tx is a transaction that is ready to be submitted.
type Tx struct {
	Raw        []byte
	ID         ID
	Messages   int
	ValidUntil time.Time // when it is void
	// Then is submitted once this one was executed, to the node that told of it, since
	// others may not have the block yet; nil: nothing is.
	Then *Tx

	follows bool // it was the Then of another one
}

// Workload makes transactions. It is called by one goroutine at a time.
type Workload interface {
	Next() (*Tx, error)
}

// Answer is what a node says of a transaction at its door.
type Answer struct {
	// Refusal is module/code, empty when the node took the transaction.
	Refusal string
	// Again tells that the same bytes may be taken later, and After how long the node
	// asks to wait for that; 0: it does not say.
	Again bool
	After time.Duration
}

// Entry submits to one node. It belongs to one goroutine.
type Entry interface {
	// Send hands over a batch. It may wait until the node has answered earlier ones.
	Send(batch []*Tx) error
	Close() error
}

// News is what became known of a block's transactions.
type News struct {
	Executed, Held []ID
	// Alarms are executed ones that scored high. Denied are those with a recorded decision
	// that denies, once for each.
	Alarms, Denied []ID
}

// Outcome is what became of a transaction.
type Outcome int

// The outcomes of a transaction.
const (
	Pending  Outcome = iota // in no block yet
	Executed                // in a block, with effect
	Held                    // in a block, not executed by the sentinel's verdict
	Failed                  // in a block, without effect
)

// Target is a network under load.
type Target interface {
	// Entries is how many nodes take transactions.
	Entries() int
	// Open begins to submit to the i-th node, with rude whatever that asks for. answers is
	// called for each batch in the order of sending, from another goroutine.
	Open(ctx context.Context, i int, rude bool, answers func(batch []*Tx, answers []Answer)) (Entry, error)
	// Watch tells of blocks, as the first node does, until ctx ends. It calls ready once no later block will be
	// missed.
	Watch(ctx context.Context, ready func(), tell func(News)) error
	// Outcome looks a transaction up.
	Outcome(ctx context.Context, id ID) (Outcome, error)
}
