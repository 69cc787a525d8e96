package chain

import (
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// ReadCtx is what Check and queries see: state that cannot be written, and where
// and for whom they run. It is passed on each call and never kept.
type ReadCtx interface {
	state.Reader
	// ChainID is the chain's id.
	ChainID() string
	// Height is the block being executed; for a query, the height of its state.
	Height() int64
	// Time is the header's time of that block in Unix milliseconds. A transaction
	// being admitted to the pool sees the height after the latest block and the
	// latest block's time.
	Time() int64
	// Version is the version of the state machine in force in that block, SPEC U1; for a
	// query, the one that its state has. Rules that a version brings ask for it.
	Version() uint32
	// TxID is the transaction, zero outside one.
	TxID() tx.ID
	// Author is the DID on whose behalf the transaction acts, empty outside one.
	Author() string
	// Organisation is the DID of the organisation that the author belongs to and
	// that the work is charged to, empty outside a transaction.
	Organisation() string
	// Signers are the DIDs whose keys signed, in order of signature.
	Signers() []string
	// Charge meters work of a module. Outside a transaction it does nothing.
	Charge(w Work, n uint64)
}

// Ctx is what Execute sees: a ReadCtx that can be written.
type Ctx struct {
	env
	overlay *state.Overlay
	meter   *meter // nil outside a transaction
	events  []*chainv1.Event
	updates *[]ValidatorUpdate
	beside  uint64 // units of kept transactions that were executed within
	kept    bool   // itself within a kept transaction
}

// ValidatorUpdate changes a validator's voting power two blocks later.
type ValidatorUpdate struct {
	Key   keys.Public
	Power int64 // 0 removes the validator
	// Was is the power before this update, 0 when the key was no validator's.
	Was int64
}

// env is where and for whom a context runs.
type env struct {
	chainID      string
	height       int64
	time         int64
	version      uint32
	txID         tx.ID
	author       string
	organisation string
	signers      []string
}

func (e *env) ChainID() string      { return e.chainID }
func (e *env) Height() int64        { return e.height }
func (e *env) Time() int64          { return e.time }
func (e *env) Version() uint32      { return e.version }
func (e *env) TxID() tx.ID          { return e.txID }
func (e *env) Author() string       { return e.author }
func (e *env) Organisation() string { return e.organisation }
func (e *env) Signers() []string    { return e.signers }

var _ interface {
	ReadCtx
	state.Writer
} = (*Ctx)(nil)

// Lookup implements state.Reader.
func (c *Ctx) Lookup(key []byte) []byte {
	value := c.overlay.Lookup(key)
	if c.meter != nil {
		c.meter.read(value)
	}
	return value
}

// Walk implements state.Reader; it costs a read, and so does each pair.
func (c *Ctx) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	if c.meter == nil {
		return c.overlay.Walk(start, end, reverse)
	}
	return metered(c.meter, c.overlay.Walk(start, end, reverse))
}

func metered(m *meter, pairs iter.Seq2[[]byte, []byte]) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		m.charge(m.costs.Read, 1)
		for k, v := range pairs {
			m.read(v)
			if !yield(k, v) {
				return
			}
		}
	}
}

// Set implements state.Writer.
func (c *Ctx) Set(key, value []byte) {
	if c.meter != nil {
		c.meter.charge(c.meter.costs.Write, 1)
		c.meter.charge(c.meter.costs.WriteByte, uint64(len(value)))
	}
	c.overlay.Set(key, value)
}

// Remove implements state.Writer.
func (c *Ctx) Remove(key []byte) {
	if c.meter != nil {
		c.meter.charge(c.meter.costs.Write, 1)
	}
	c.overlay.Remove(key)
}

// Charge implements ReadCtx.
func (c *Ctx) Charge(w Work, n uint64) {
	if c.meter != nil {
		c.meter.work(w, n)
	}
}

// Emit records a fact. It is rolled back with whatever it happened in.
func (c *Ctx) Emit(event state.Message) {
	raw, err := event.MarshalVT()
	if err != nil {
		panic(&state.Fault{Where: "marshal an event", Err: err})
	}
	if c.meter != nil {
		c.meter.charge(c.meter.costs.WriteByte, uint64(len(raw)))
	}
	c.events = append(c.events, &chainv1.Event{
		Type:  string(proto.MessageName(event)),
		Value: raw,
	})
}

// UpdateValidator asks for a change of the validator set, which takes effect two
// blocks later. The last request of a block for a key wins; there is none when the
// key was no validator's before the block and is none's after it.
func (c *Ctx) UpdateValidator(u ValidatorUpdate) { *c.updates = append(*c.updates, u) }

// Atomic runs fn and undoes its writes, events and validator updates when it
// returns an error. It nests. Work done stays charged.
func (c *Ctx) Atomic(fn func() error) error {
	mark, events, updates := c.overlay.Mark(), len(c.events), len(*c.updates)
	err := fn()
	if err != nil {
		c.overlay.Rollback(mark)
		c.events = c.events[:events]
		*c.updates = (*c.updates)[:updates]
	}
	return err
}

// view is a ReadCtx over any Reader.
type view struct {
	env
	reader state.Reader
	meter  *meter // nil: not metered
	kept   *kept  // nil: none
}

func (v *view) Lookup(key []byte) []byte {
	value := v.reader.Lookup(key)
	if v.meter != nil {
		v.meter.read(value)
	}
	return value
}

func (v *view) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	if v.meter == nil {
		return v.reader.Walk(start, end, reverse)
	}
	return metered(v.meter, v.reader.Walk(start, end, reverse))
}

func (v *view) Charge(w Work, n uint64) {
	if v.meter != nil {
		v.meter.work(w, n)
	}
}
