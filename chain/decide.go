package chain

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Governing is a Module of which decisions are executed as the consortium. A chain has
// at most one.
type Governing interface {
	// SetMandate is called once, at boot.
	SetMandate(m Mandate)
	// Decide executes what was decided, after the block's last transaction and before all
	// else that its end does: modules see a decision where they would see a transaction.
	// The work must be bounded.
	Decide(ctx *Ctx)
}

// Mandate executes messages with the consortium's authority, which the chain itself
// grants: nobody signs. That enough members agreed is the module's to see to.
type Mandate interface {
	// Execute executes a decision within a context of the block, SPEC G1. What fails
	// leaves no trace.
	Execute(ctx *Ctx, d Decision) Decided
	// Rehearse tells what Execute would do on the state of r, and what it would change,
	// sorted by key. It changes nothing. Within a transaction its work is charged to it.
	Rehearse(r ReadCtx, d Decision) (Decided, []KeyChange)
}

// Decision is messages that the consortium decided to have executed, in order, all or
// none.
type Decision struct {
	// ID is what the messages see as the id of their transaction. Modules derive the ids
	// of records from it: no decision may have that of another, nor of a transaction.
	ID tx.ID
	// Signers are the DIDs that agreed, as messages see them.
	Signers  []string
	Messages []proto.Message
	// After looks at the state after the messages; its error undoes them. nil: nothing is
	// looked at.
	After func(r ReadCtx) error
}

// Decided is what came of a decision.
type Decided struct {
	// Err is why it failed, nil when it did not.
	Err error
	// Responses are one marshalled response per message, Events what happened; both are
	// empty when it failed.
	Responses [][]byte
	Events    []*chainv1.Event
	// Units is the work that it needed.
	Units uint64
}

// KeyChange is a change of one key of the state.
type KeyChange struct {
	Collection state.Collection // the zero one where none has the key
	Key        []byte
	Before     []byte // nil: absent
	After      []byte // nil: removed
}

type mandate struct{ app *App }

// Execute implements Mandate.
func (m mandate) Execute(ctx *Ctx, d Decision) Decided {
	if ctx.kept {
		return Decided{Err: ErrKeptWithin}
	}
	p := m.app.paramsIn(ctx.overlay)
	inner := m.inner(&ctx.env, d)
	inner.overlay, inner.updates = ctx.overlay, ctx.updates
	inner.meter = &meter{costs: p.Costs, limit: p.MaxTxUnits}
	out := m.run(inner, d)
	ctx.events = append(ctx.events, out.Events...)
	return out
}

// Rehearse implements Mandate.
func (m mandate) Rehearse(r ReadCtx, d Decision) (Decided, []KeyChange) {
	var base state.Reader = r
	var charged *meter
	e := env{chainID: r.ChainID(), height: r.Height(), time: r.Time(), version: r.Version()}
	within := false
	switch c := r.(type) {
	case *Ctx:
		base, charged, within = c.overlay, c.meter, c.kept
	case *view:
		base, charged = c.reader, c.meter
	}
	if within {
		return Decided{Err: ErrKeptWithin}, nil
	}
	if r.TxID() == (tx.ID{}) {
		e.height++ // a query reads a state that is finished; the next block would execute
	}
	overlay := state.NewOverlay(base)
	var updates []ValidatorUpdate
	inner := m.inner(&e, d)
	inner.overlay, inner.updates, inner.meter = overlay, &updates, charged
	if charged == nil {
		p := m.app.paramsIn(overlay)
		inner.meter = &meter{costs: p.Costs, limit: p.MaxTxUnits}
	}
	used := inner.meter.used
	out := m.run(inner, d)
	out.Units = inner.meter.used - used
	var changes []KeyChange
	for _, c := range overlay.Changes() {
		of, _ := m.app.registry.Of(c.Key)
		changes = append(changes, KeyChange{Collection: of, Key: c.Key, Before: base.Lookup(c.Key), After: c.Value})
	}
	return out, changes
}

// inner is the context of a decision, without state and meter.
func (m mandate) inner(e *env, d Decision) *Ctx {
	consortium := m.app.auth.Consortium()
	return &Ctx{kept: true, env: env{
		chainID: e.chainID, height: e.height, time: e.time, version: e.version, txID: d.ID,
		author: consortium, organisation: consortium, signers: d.Signers,
	}}
}

// run validates, checks and executes the messages.
func (m mandate) run(ctx *Ctx, d Decision) (out Decided) {
	out.Err = ctx.Atomic(func() error {
		return guard(func() error {
			for i, msg := range d.Messages {
				ctx.meter.charge(ctx.meter.costs.Byte, uint64(proto.Size(msg)))
				if err := m.app.validateOne(ctx.version, msg); err != nil {
					return inMessage(i, len(d.Messages), err)
				}
			}
			var err error
			if out.Responses, err = m.app.run(ctx, &tx.Decoded{Messages: d.Messages}, &nothing); err != nil {
				return err
			}
			if d.After == nil {
				return nil
			}
			return d.After(ctx)
		})
	})
	if out.Err != nil {
		out.Responses = nil
	}
	out.Events, out.Units = ctx.events, ctx.meter.used
	return out
}
