package identity

import (
	"bytes"
	"slices"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// actsAfter is how many blocks after a change of the validators a block is executed that
// shows that the chain goes on with it: the change acts two blocks later, and that block
// was committed when the next is executed.
const actsAfter = 3

// settled is the validators that the chain is known to go on with: those before the
// changes of the latest blocks, where there are any, else those that there are.
func (m *Module) settled(r chain.ReadCtx, now []*identityv1.Validator) []*identityv1.Validator {
	if t, ok := m.s.turnover.Lookup(r); ok && r.Height()-t.Height < actsAfter {
		return t.Before
	}
	return now
}

// noteTurnover remembers, before a change, what turnover is measured from.
func (m *Module) noteTurnover(ctx *chain.Ctx) {
	before := m.settled(ctx, m.Validators(ctx))
	if len(powers(before)) >= 4 {
		m.s.turnover.Put(ctx, &identityv1.Turnover{Height: ctx.Height(), Before: before})
	}
}

// checkTurnover refuses a change by which too much of the voting power would come or go
// before consensus was seen to go on without what went and with what came: more than a
// third of the power that there was would be gone, or newcomers, who may all be silent,
// would hold a third of the power or more. It rests where fewer than four organisations
// had validators, and for changes that make neither what is gone nor the newcomers' share
// larger. Powers are bounded so that the products fit int64.
func checkTurnover(settled, before, after []*identityv1.Validator) error {
	if len(powers(settled)) < 4 {
		return nil
	}
	goneBefore, cameBefore := moved(settled, before)
	gone, came := moved(settled, after)
	switch was, is := total(settled), total(after); {
	case 3*gone > was && gone > goneBefore:
		return ErrTooMuchTurnover.With("%d of %d would be gone", gone, was)
	case 3*came >= is && came*total(before) > cameBefore*is: // their share grows also where others go
		return ErrTooMuchTurnover.With("%d of %d would be new", came, is)
	}
	return nil
}

// moved is the power that validators lost and gained from one list to another, both
// sorted by public key.
func moved(from, to []*identityv1.Validator) (gone, came int64) {
	for len(from) > 0 || len(to) > 0 {
		order := 0
		switch {
		case len(to) == 0:
			order = -1
		case len(from) == 0:
			order = 1
		default:
			order = bytes.Compare(from[0].PublicKey, to[0].PublicKey)
		}
		old, now := int64(0), int64(0)
		if order <= 0 {
			old, from = from[0].Power, from[1:]
		}
		if order >= 0 {
			now, to = to[0].Power, to[1:]
		}
		gone += max(0, old-now)
		came += max(0, now-old)
	}
	return gone, came
}

func total(list []*identityv1.Validator) int64 { return sum(powers(list)) }

// byKey sorts validators by public key.
func byKey(list []*identityv1.Validator) []*identityv1.Validator {
	slices.SortFunc(list, func(a, b *identityv1.Validator) int { return bytes.Compare(a.PublicKey, b.PublicKey) })
	return list
}
