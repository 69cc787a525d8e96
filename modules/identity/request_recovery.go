package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) requestRecovery() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RequestRecovery]{
		Validate: func(msg *identityv1.RequestRecovery) error { return validateKeys(msg.Keys) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.RequestRecovery) error {
			id, _, err := m.recovered(ctx)
			if err != nil {
				return err
			}
			if m.s.recoveries.Has(ctx, id.Did) {
				return ErrRecoveryPending.With("%s", id.Did)
			}
			for _, k := range msg.Keys {
				if err := m.checkAnotherKey(ctx, id, k); err != nil {
					return err
				}
			}
			due := ctx.Time() + id.Recovery.DelayMs
			if !canAuthenticateNow(msg.Keys, due) {
				return ErrLastKey.With("give a key with the purpose of authentication that is valid at %d, when the recovery takes effect", due)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RequestRecovery) (proto.Message, error) {
			id, guardians, err := m.recovered(ctx)
			if err != nil {
				return nil, err
			}
			pending := &identityv1.Recovery{
				Did: id.Did, Guardians: guardians,
				Requested: mark(ctx, id.Version), DueAt: ctx.Time() + id.Recovery.DelayMs,
			}
			for _, n := range msg.Keys {
				k := keyOf(id.Did, n)
				k.Pending = true
				m.putKey(ctx, k)
				pending.Keys = with(pending.Keys, k.Id)
			}
			ctx.Emit(&identityv1.RecoveryRequested{Did: id.Did, Keys: pending.Keys, Guardians: guardians, DueAt: pending.DueAt})
			if id.Recovery.DelayMs == 0 {
				m.recover(ctx, id, pending)
			} else {
				m.s.recoveries.Put(ctx, id.Did, pending)
				m.s.due.Add(ctx, state.Join(pending.DueAt, id.Did))
			}
			return &identityv1.RequestRecoveryResponse{DueAt: pending.DueAt}, nil
		},
	})
}

// recovered is the author's record and the guardians that signed for it.
func (m *Module) recovered(r chain.ReadCtx) (*identityv1.Identity, []string, error) {
	g := &registry{m: m, r: r}
	id, err := g.identity(r.Author())
	if err == nil {
		err = g.recoverable(id)
	}
	if err != nil {
		return nil, nil, err
	}
	guardians, err := g.guardians(id, r.Signers())
	return id.CloneVT(), guardians, err // the caller may change it
}

// recover makes the pending keys the only ones of a DID. An organisation goes back
// to acting by its own keys.
func (m *Module) recover(ctx *chain.Ctx, id *identityv1.Identity, pending *identityv1.Recovery) {
	now := m.revise(ctx, id)
	now.TxId = pending.Requested.TxId
	for _, name := range append([]string(nil), id.Keys...) {
		m.endKey(ctx, id, m.key(ctx, id.Did, name), identityv1.Reason_REASON_RECOVERED)
	}
	for _, name := range pending.Keys {
		m.addKey(ctx, id, m.key(ctx, id.Did, name))
	}
	if len(id.Controllers) > 0 {
		id.Controllers, id.Threshold = nil, 0
		ctx.Emit(&identityv1.AdministratorsSet{Did: id.Did, By: ctx.Author()})
	}
	m.s.identities.Put(ctx, id.Did, id)
	ctx.Emit(&identityv1.Recovered{Did: id.Did, Keys: id.Keys})
}

// EndBlock implements chain.BlockEnder: recoveries that are due take effect, the
// earliest first.
func (m *Module) EndBlock(ctx *chain.Ctx) {
	var due []state.Pair[int64, string]
	for k := range m.s.due.Walk(ctx, all) {
		if k.A > ctx.Time() || len(due) == maxRecoveriesPerBlock {
			break
		}
		due = append(due, k)
	}
	for _, k := range due {
		pending, ok := m.s.recoveries.Lookup(ctx, k.B)
		id, known := m.s.identities.Lookup(ctx, k.B)
		if !ok || !known {
			panic("identity: a recovery is due that is not stored: " + k.B)
		}
		m.forgetRecovery(ctx, pending)
		m.recover(ctx, id, pending)
	}
}

// forgetRecovery takes a pending recovery off the books, but not its keys.
func (m *Module) forgetRecovery(ctx *chain.Ctx, pending *identityv1.Recovery) {
	m.s.recoveries.Remove(ctx, pending.Did)
	m.s.due.Remove(ctx, state.Join(pending.DueAt, pending.Did))
}

// dropRecovery ends a pending recovery without effect; its keys are free again.
func (m *Module) dropRecovery(ctx *chain.Ctx, pending *identityv1.Recovery) {
	m.forgetRecovery(ctx, pending)
	for _, name := range pending.Keys {
		k := m.key(ctx, pending.Did, name)
		m.s.keys.Remove(ctx, state.Join(k.Did, k.Id))
		m.s.holders.Remove(ctx, holderKey(k.Type, k.Public))
	}
	ctx.Emit(&identityv1.RecoveryCancelled{Did: pending.Did})
}
