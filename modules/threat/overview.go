package threat

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// mostLooked bounds how many records Overview reads to find one that waits.
const mostLooked = 256

// Overview is what an operator watches of the sentinel.
type Overview struct {
	Mode      threatv1.Mode // what is done with verdicts now
	Set       threatv1.Mode // what the parameters say; Mode is less while the breaker is open and while the chain learns
	OpenUntil int64         // of the breaker, Unix milliseconds; 0: it is closed
	Model     bool          // whether a model is active and can score
	Held      uint32        // transactions that wait for reviewers
	HeldBytes uint64
	MaxHeld   uint32
	// Of the transaction that expires next: when it was held and when it expires, Unix
	// milliseconds; 0: none was found.
	NextHeldAt, NextExpiresAt int64
}

// Overview reads little, whatever the size of the state.
func (m *Module) Overview(r chain.ReadCtx) Overview {
	p, held := m.paramsIn(r), m.total(r, everyone)
	o := Overview{
		Mode: m.mode(r), Set: p.Mode, OpenUntil: m.breakerIn(r).OpenUntil,
		Held: held.Count, HeldBytes: held.Bytes, MaxHeld: p.MaxHeld,
	}
	_, err := m.usable(r, m.scheduleIn(r).Active)
	o.Model = err == nil
	looked := 0
	for due := range m.holdsDue.Walk(r, state.All()) {
		// Those that were denied are due as well, and wait for nobody.
		h, ok := m.holds.Lookup(r, due.B)
		if ok && h.Status == threatv1.HoldStatus_HOLD_STATUS_HELD {
			o.NextHeldAt, o.NextExpiresAt = h.Time, due.A
			break
		}
		if looked++; looked == mostLooked {
			break
		}
	}
	return o
}
