package chain

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Bounds of what a validator says with a vote.
const (
	// MaxVoice is the most bytes of what it believes of others.
	MaxVoice = 4096
	// MaxListed is the most transactions that it lists.
	MaxListed = 64
)

const (
	// listLife is for how many blocks a list counts that its validator does not repeat.
	listLife = 16
	// maxInclusionBlocks is the most that params.inclusion_blocks may be: a list must
	// outlive the time that a proposer has.
	maxInclusionBlocks = 10
)

// Validators says who votes on blocks, and with what power. The module identity is one.
type Validators interface {
	// Powers are the validators, sorted by address, and the sum of their powers.
	Powers(r ReadCtx) (powers []Power, total int64)
}

// Power is a validator's voting power.
type Power struct {
	// Address is the first 20 bytes of SHA-256 of its consensus key.
	Address      [20]byte
	Organisation string
	Power        int64
}

// ParseExtension reads a vote extension and refuses one that is not in canonical form or
// beyond its bounds, SPEC I1. What the voice in it says is not looked at.
func ParseExtension(raw []byte) (*chainv1.Extension, error) {
	e := new(chainv1.Extension)
	switch {
	case len(raw) == 0 || len(raw) > MaxExtension:
		return nil, ErrDocket.With("an extension of %d bytes, want 1 to %d", len(raw), MaxExtension)
	case e.UnmarshalVT(raw) != nil:
		return nil, ErrDocket.With("an extension that does not parse")
	case len(e.ProtoReflect().GetUnknown()) > 0:
		return nil, ErrDocket.With("an extension with unknown fields")
	case len(e.Voice) > MaxVoice:
		return nil, ErrDocket.With("an extension with a voice of %d bytes, at most %d", len(e.Voice), MaxVoice)
	case len(e.Listed)%len(tx.ID{}) != 0 || len(e.Listed) > MaxListed*len(tx.ID{}):
		return nil, ErrDocket.With("an extension that lists %d bytes of ids, at most %d ids of %d", len(e.Listed), MaxListed, len(tx.ID{}))
	case e.Unlisted && len(e.Listed) > 0:
		return nil, ErrDocket.With("an extension that lists transactions and none")
	}
	ids := idsOf(e.Listed)
	for i := range ids {
		if i > 0 && compareIDs(ids[i-1], ids[i]) >= 0 {
			return nil, ErrDocket.With("an extension whose ids are out of order, or one is there twice")
		}
	}
	if again, err := e.MarshalVT(); err != nil || !bytes.Equal(again, raw) {
		return nil, ErrDocket.With("an extension that is not canonical")
	}
	return e, nil
}

func compareIDs(a, b tx.ID) int { return bytes.Compare(a[:], b[:]) }

// idsOf cuts a list of ids into them.
func idsOf(raw []byte) []tx.ID {
	out := make([]tx.ID, 0, len(raw)/len(tx.ID{}))
	for ; len(raw) >= len(tx.ID{}); raw = raw[len(tx.ID{}):] {
		out = append(out, tx.ID(raw))
	}
	return out
}

// heard is what a validator said of its list.
type heard struct {
	validator []byte
	ids       []byte // empty: it lists none any more
}

// hear takes the verified votes of a docket apart: what they say to the screen, as votes
// of which the extension is the voice alone, and what they list.
func hear(votes []*chainv1.Vote) (voices []*chainv1.Vote, lists []heard) {
	for _, v := range votes {
		e, err := ParseExtension(v.Extension)
		if err != nil {
			continue
		}
		if len(e.Voice) > 0 {
			voices = append(voices, &chainv1.Vote{Validator: v.Validator, Extension: e.Voice, Signature: v.Signature})
		}
		if e.Unlisted || len(e.Listed) > 0 {
			lists = append(lists, heard{v.Validator, e.Listed})
		}
	}
	return voices, lists
}

// Wanted is a transaction that validators with more than a third of all power list.
type Wanted struct {
	ID tx.ID
	// Due tells that the next block must hold it, or else no transaction that is not wanted.
	Due bool
}

// Wanted are the transactions that a block which holds what was delivered so far leaves
// out, the due ones first, then sorted by id.
func (x *Execution) Wanted() []Wanted {
	var out []Wanted
	for _, d := range x.demands() {
		if id := tx.ID(d.TxId); !x.has(id) {
			out = append(out, Wanted{ID: id, Due: x.due(d)})
		}
	}
	slices.SortStableFunc(out, func(a, b Wanted) int {
		switch {
		case a.Due == b.Due:
			return 0
		case a.Due:
			return -1
		}
		return 1
	})
	return out
}

// CheckInclusion refuses a block that holds the delivered transactions and no more, when
// it leaves out one that is due and holds one that is not wanted, SPEC I4. It depends on
// nothing but the block and the state before it. A block without transactions passes.
func (x *Execution) CheckInclusion() error {
	wanted := x.Wanted()
	if len(wanted) == 0 || !wanted[0].Due {
		return nil
	}
	demanded := x.demands()
	for _, id := range idsOf(x.ids) {
		if _, ok := slices.BinarySearchFunc(demanded, id, compareDemand); !ok {
			return ErrOmission.With("it leaves out %s, and holds %s", wanted[0].ID, id)
		}
	}
	return nil
}

func compareDemand(d *chainv1.Demand, id tx.ID) int { return bytes.Compare(d.TxId, id[:]) }

func (x *Execution) has(id tx.ID) bool {
	_, ok := x.inBlock[id]
	return ok
}

// demands are those of the state before the block, sorted by id. End alone changes them.
func (x *Execution) demands() []*chainv1.Demand {
	if !x.asked {
		x.asked = true
		for _, d := range x.app.core.demands.Walk(x.overlay, state.All()) {
			x.demanded = append(x.demanded, d)
		}
	}
	return x.demanded
}

// due tells whether a demand binds this block. It does not any more when its transaction
// must be void, SPEC T7, whatever is said of it.
func (x *Execution) due(d *chainv1.Demand) bool {
	k := int64(x.params.InclusionBlocks)
	return k > 0 && x.header.Height >= d.Height+k && x.header.Time-d.Time <= x.params.MaxValidityMs
}

// settleDemands takes the lists of the docket into the state, ends demands and makes new
// ones, of which it returns the ids, SPEC I2 and I3.
func (x *Execution) settleDemands(ctx *Ctx) (made []tx.ID) {
	if x.app.validators == nil {
		return nil
	}
	core := &x.app.core
	for _, h := range x.heard {
		if len(h.ids) == 0 {
			core.lists.Remove(ctx, h.validator)
			continue
		}
		core.lists.Put(ctx, h.validator, &chainv1.Listed{Ids: h.ids, Height: ctx.Height()})
	}
	tallied, total := x.tally(ctx)
	third := func(power int64) bool { return 3*power > total }
	for _, d := range x.demands() {
		id := tx.ID(d.TxId)
		i, ok := slices.BinarySearchFunc(tallied, id, compareTally)
		in := x.has(id) || x.app.seen.has(id)
		if !in && ok && third(tallied[i].power) {
			continue
		}
		core.demands.Remove(ctx, d.TxId)
		if !in {
			ctx.Emit(&chainv1.DemandEnded{Demand: d})
		}
	}
	for _, t := range tallied {
		_, known := slices.BinarySearchFunc(x.demands(), t.id, compareDemand)
		if known || !third(t.power) || x.has(t.id) || x.app.seen.has(t.id) {
			continue
		}
		d := &chainv1.Demand{TxId: bytes.Clone(t.id[:]), Height: ctx.Height(), Time: ctx.Time()}
		core.demands.Put(ctx, d.TxId, d)
		ctx.Emit(&chainv1.Demanded{Demand: d, Power: t.power, Total: total})
		made = append(made, t.id)
	}
	return made
}

// tallied is how much power lists a transaction.
type tallied struct {
	id    tx.ID
	power int64
}

func compareTally(t tallied, id tx.ID) int { return compareIDs(t.id, id) }

// tally adds up the lists that count, sorted by id, and forgets the others.
func (x *Execution) tally(ctx *Ctx) (out []tallied, total int64) {
	var powers []Power
	var over [][]byte
	for validator, l := range x.app.core.lists.Walk(ctx, state.All()) {
		if powers == nil {
			powers, total = x.app.validators.Powers(ctx)
		}
		i, ok := slices.BinarySearchFunc(powers, validator, func(p Power, a []byte) int { return bytes.Compare(p.Address[:], a) })
		if !ok || ctx.Height()-l.Height >= listLife {
			over = append(over, validator)
			continue
		}
		for _, id := range idsOf(l.Ids) {
			out = append(out, tallied{id, powers[i].Power})
		}
	}
	for _, validator := range over {
		x.app.core.lists.Remove(ctx, validator)
	}
	slices.SortFunc(out, func(a, b tallied) int {
		return cmp.Or(compareIDs(a.id, b.id), cmp.Compare(a.power, b.power))
	})
	n := 0
	for _, t := range out {
		if n > 0 && out[n-1].id == t.id {
			out[n-1].power += t.power
			continue
		}
		out[n] = t
		n++
	}
	return out[:n], total
}

// Lists tells whether the latest state has a list of a validator, by its address.
func (a *App) Lists(validator []byte) bool {
	return a.core.lists.Has(a.tree.Latest(), validator)
}

// Demands are the transactions that the latest state demands, sorted by id.
func (a *App) Demands() []*chainv1.Demand {
	var out []*chainv1.Demand
	for _, d := range a.core.demands.Walk(a.tree.Latest(), state.All()) {
		out = append(out, d)
	}
	return out
}
