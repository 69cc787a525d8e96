package threat

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// maxEndsPerBlock bounds how many records are ended in a block. Those that wait for
// the next are over all the same: nobody can decide or appeal them.
const maxEndsPerBlock = 64

// endHolds ends what is due, the earliest first: held transactions expire, and the
// bytes of those denied or rejected that nobody appealed are dropped.
func (m *Module) endHolds(ctx *chain.Ctx) {
	var due [][]byte
	for k := range m.holdsDue.Walk(ctx, state.All()) {
		if k.A > ctx.Time() || len(due) == maxEndsPerBlock {
			break
		}
		due = append(due, k.B)
	}
	for _, id := range due {
		h, ok := m.holds.Lookup(ctx, id)
		if !ok {
			panic("threat: a transaction is due that has no record")
		}
		m.dropBytes(ctx, h)
		if h.Status != threatv1.HoldStatus_HOLD_STATUS_HELD {
			continue
		}
		h.Status, h.EndedHeight, h.EndedTime = threatv1.HoldStatus_HOLD_STATUS_EXPIRED, ctx.Height(), ctx.Time()
		m.holds.Put(ctx, h.TxId, h)
		ctx.Emit(&threatv1.TxExpired{Hold: h})
	}
}

// over tells whether a record's time has passed, recorded or not.
func over(h *threatv1.Hold, now int64) bool { return h.ExpiresAt <= now }
