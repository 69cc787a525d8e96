package threat

import (
	"bytes"
	"math/bits"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const hashSize = 32

// everyone is the key of the totals of all organisations together.
const everyone = ""

// otherVerdict is what the model that does not decide says of a transaction.
type otherVerdict struct {
	model   []byte // its hash
	score   uint32
	flagged bool // whether it would hold or deny
}

// keep records a transaction that is held or denied, with its bytes, and emits TxHeld
// or TxDenied. model is the hash of the model that decided, empty when none could;
// other may be nil; playbook is the playbook that holds, empty where the score does;
// approvals is how many administrators of the author's own organisation it asks for, 0
// where reviewers decide.
//
// ErrHoldsFull refuses it at the door. So does ErrWrongStatus for a transaction that
// was kept before, which the door lets in again only on a chain that was started from
// another's export.
func (m *Module) keep(ctx *chain.Ctx, c *chain.Candidate, v *chainv1.Verdict, model []byte, other *otherVerdict, playbook string, approvals uint32) error {
	if m.holds.Has(ctx, c.ID[:]) {
		return ErrWrongStatus.With("%s was kept before", c.ID)
	}
	p := m.paramsIn(ctx)
	h := &threatv1.Hold{
		TxId: c.ID[:], Author: c.Body.Author, Organisation: c.Authority.Organisation, Verdict: v, Model: model,
		Playbook: playbook, Height: ctx.Height(), Time: ctx.Time(), Size: uint32(len(c.Raw)),
	}
	for _, msg := range c.Messages {
		if kind := string(nameOf(msg)); !slices.Contains(h.Kinds, kind) {
			h.Kinds = append(h.Kinds, kind)
		}
	}
	if other != nil {
		h.OtherModel, h.OtherScore, h.OtherFlagged = other.model, other.score, other.flagged
	}
	switch v.Ruling {
	case chainv1.Ruling_RULING_HOLD:
		h.Status, h.ExpiresAt = threatv1.HoldStatus_HOLD_STATUS_HELD, ctx.Time()+p.HoldMs
		if h.Approvals = approvals; approvals > 0 {
			h.Signers = slices.Clone(c.Authority.Signers)
			slices.Sort(h.Signers)
			h.Signers = slices.Compact(h.Signers)
		}
	case chainv1.Ruling_RULING_DENY:
		h.Status, h.ExpiresAt = threatv1.HoldStatus_HOLD_STATUS_DENIED, ctx.Time()+p.AppealMs
	default:
		panic("threat: a transaction is kept whose verdict is to execute it")
	}
	if err := m.roomFor(ctx, p, h); err != nil {
		return err
	}
	m.kept.Put(ctx, h.TxId, &threatv1.HeldBytes{Raw: c.Raw})
	m.fileHold(ctx, h, true)
	if h.Status == threatv1.HoldStatus_HOLD_STATUS_HELD {
		ctx.Emit(&threatv1.TxHeld{Hold: h})
	} else {
		ctx.Emit(&threatv1.TxDenied{Hold: h})
	}
	return nil
}

// roomFor refuses a transaction that would go beyond what may be kept at one time. Of
// the bytes an organisation may take the part that it may take of the number, so that
// none fills the others' room.
func (m *Module) roomFor(r state.Reader, p *threatv1.Params, h *threatv1.Hold) error {
	size := uint64(h.Size)
	all, own := m.total(r, everyone), m.total(r, h.Organisation)
	switch share := shareOf(p); {
	case all.Count >= p.MaxHeld:
		return ErrHoldsFull.With("%d of all organisations are kept", all.Count)
	case own.Count >= p.MaxHeldOrganisation:
		return ErrHoldsFull.With("%d of %s are kept", own.Count, h.Organisation)
	case all.Bytes+size > p.MaxHeldBytes:
		return ErrHoldsFull.With("%d bytes of all organisations are kept, and this has %d", all.Bytes, size)
	case own.Bytes+size > share:
		return ErrHoldsFull.With("%d bytes of %s are kept, of %d, and this has %d", own.Bytes, h.Organisation, share, size)
	}
	return nil
}

// shareOf is the most bytes that one organisation may have kept.
func shareOf(p *threatv1.Params) uint64 {
	if p.MaxHeldOrganisation >= p.MaxHeld {
		return p.MaxHeldBytes
	}
	hi, lo := bits.Mul64(p.MaxHeldBytes, uint64(p.MaxHeldOrganisation))
	share, _ := bits.Div64(hi, lo, uint64(p.MaxHeld))
	return share
}

// total is what is kept of an organisation, or of everyone.
func (m *Module) total(r state.Reader, organisation string) *threatv1.HoldTotals {
	if t, ok := m.totals.Lookup(r, organisation); ok {
		return t
	}
	return new(threatv1.HoldTotals)
}

// fileHold writes a new record and makes it findable. Where its bytes are kept, which
// is the caller's to do, it is counted and due.
func (m *Module) fileHold(w interface {
	state.Reader
	state.Writer
}, h *threatv1.Hold, kept bool) {
	m.holds.Put(w, h.TxId, h)
	m.holdsAt.Add(w, state.Join(h.Height, h.TxId))
	m.holdsOf.Add(w, state.Join3(h.Organisation, h.Height, h.TxId))
	if !kept {
		return
	}
	m.holdsDue.Add(w, state.Join(h.ExpiresAt, h.TxId))
	for _, whose := range []string{everyone, h.Organisation} {
		t := m.total(w, whose)
		t.Count, t.Bytes = t.Count+1, t.Bytes+uint64(h.Size)
		m.totals.Put(w, whose, t)
	}
}

// dropBytes ends the keeping of a transaction's bytes: from here on it can neither be
// decided nor appealed. The record stays.
func (m *Module) dropBytes(ctx *chain.Ctx, h *threatv1.Hold) {
	m.kept.Remove(ctx, h.TxId)
	m.holdsDue.Remove(ctx, state.Join(h.ExpiresAt, h.TxId))
	for _, whose := range []string{everyone, h.Organisation} {
		t := m.total(ctx, whose)
		if t.Count == 0 || t.Bytes < uint64(h.Size) {
			panic("threat: more bytes are dropped than are kept")
		}
		if t.Count, t.Bytes = t.Count-1, t.Bytes-uint64(h.Size); t.Count == 0 {
			m.totals.Remove(ctx, whose)
		} else {
			m.totals.Put(ctx, whose, t)
		}
	}
}

// postpone moves the time at which a record is due. The caller puts the record.
func (m *Module) postpone(ctx *chain.Ctx, h *threatv1.Hold, until int64) {
	m.holdsDue.Remove(ctx, state.Join(h.ExpiresAt, h.TxId))
	h.ExpiresAt = until
	m.holdsDue.Add(ctx, state.Join(h.ExpiresAt, h.TxId))
}

// HoldKey is the tree key of a held or denied transaction's record, which proofs are
// about.
func (m *Module) HoldKey(id []byte) []byte { return m.holds.Key(id) }

// exportHolds lists the records with the bytes that are kept, sorted by id.
func (m *Module) exportHolds(r state.Reader) []*threatv1.GenesisHold {
	var out []*threatv1.GenesisHold
	for id, h := range m.holds.Walk(r, state.All()) {
		g := &threatv1.GenesisHold{Hold: h}
		if k, ok := m.kept.Lookup(r, id); ok {
			g.Raw = k.Raw
		}
		out = append(out, g)
	}
	return out
}

// importHolds writes what exportHolds lists. It refuses records that could not have
// come about.
func (m *Module) importHolds(ctx *chain.Ctx, holds []*threatv1.GenesisHold) error {
	for i, g := range holds {
		h := g.GetHold()
		bad := func(what string) error { return ErrInvalid.With("holds[%d]: %s", i, what) }
		switch {
		case len(h.GetTxId()) != hashSize:
			return bad("tx_id is not 32 bytes")
		case m.holds.Has(ctx, h.TxId):
			return bad("the transaction is there twice")
		case h.Author == "" || h.Organisation == "" || len(h.Kinds) == 0 || h.Verdict == nil:
			return bad("author, organisation, kinds or verdict is missing")
		case h.Status <= threatv1.HoldStatus_HOLD_STATUS_UNSPECIFIED || h.Status > threatv1.HoldStatus_HOLD_STATUS_EXPIRED:
			return bad("status is unknown")
		case h.Status == threatv1.HoldStatus_HOLD_STATUS_HELD && len(g.Raw) == 0:
			return bad("it waits, and its bytes are missing")
		case len(g.Raw) > 0 && !waits(h.Status):
			return bad("it is over, and has bytes")
		case len(g.Raw) > 0 && len(g.Raw) != int(h.Size):
			return bad("size is not that of its bytes")
		case int(h.Reopened) > len(h.Reviews) || len(h.Appeals) > maxAppeals:
			return bad("its reviews or appeals do not add up")
		}
		if len(g.Raw) > 0 {
			m.kept.Put(ctx, h.TxId, &threatv1.HeldBytes{Raw: bytes.Clone(g.Raw)})
		}
		m.fileHold(ctx, h, len(g.Raw) > 0)
	}
	return nil
}

// waits tells whether a record of this status may have its bytes kept.
func waits(s threatv1.HoldStatus) bool {
	switch s {
	case threatv1.HoldStatus_HOLD_STATUS_HELD, threatv1.HoldStatus_HOLD_STATUS_DENIED, threatv1.HoldStatus_HOLD_STATUS_REJECTED:
		return true
	}
	return false
}
