package threat

import (
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestHoldsExpire(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	d.Do(north, releaseOf(id))
	d.Now = d.holdOf(id).ExpiresAt - chaintest.BlockTime - 1
	d.Block()
	d.wantStatus(id, held)
	d.Now = d.holdOf(id).ExpiresAt - chaintest.BlockTime
	// In the block in which it is over, nobody decides any more.
	d.Fails(ErrTooLate, south, releaseOf(id))
	h := d.holdOf(id)
	if h.Status != expired || h.EndedHeight != d.Height() || h.EndedTime != d.Now || len(h.Reviews) != 1 {
		t.Fatalf("record %v", h)
	}
	d.wantKept(id, false)
	d.Fails(ErrWrongStatus, suspect, appealOf(id))
	d.audit()
	d.CheckGenesis()
}

func TestExpiryIsAnEvent(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	deny := d.keeps(suspect, keeping{ruling: chainv1.Ruling_RULING_DENY})
	d.Now += 30_000
	r := d.step(func(ctx *chain.Ctx, m *Module) error { m.endHolds(ctx); return nil })
	if e := soleEvent[threatv1.TxExpired](t, r); !e.Hold.EqualVT(d.holdOf(id)) || e.Hold.Status != expired {
		t.Fatalf("event %v", e)
	}
	d.wantStatus(deny, denied)
	d.wantKept(deny, false)
	d.audit()
}

// What is due is ended in order, so much in a block.
func TestExpiryIsBounded(t *testing.T) {
	const n = maxEndsPerBlock + 5
	d := newDesk(t, func(p *threatv1.Params) { p.MaxHeld, p.MaxHeldOrganisation, p.MaxHeldBytes = n, n, 1<<20 })
	var all []*chain.Candidate
	for range n {
		all = append(all, d.candidate(suspect, keeping{}))
	}
	d.step(func(ctx *chain.Ctx, m *Module) error {
		for _, c := range all {
			if err := m.keep(ctx, c, &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_HOLD}, nil, nil, "", 0); err != nil {
				return err
			}
		}
		return nil
	})
	d.audit()
	left := func() (left int) {
		for range d.m.kept.Walk(d.View(), state.All()) {
			left++
		}
		return left
	}
	if left() != n {
		t.Fatalf("%d are kept", left())
	}
	d.pass(30_000)
	if left() != 5 {
		t.Fatalf("%d are left, want 5", left())
	}
	for id, h := range d.m.holds.Walk(d.View(), state.All()) {
		if h.Status == held {
			d.Fails(ErrTooLate, north, releaseOf(id)) // over, though not recorded until this block
			break
		}
	}
	if left() != 0 {
		t.Fatalf("%d are left", left())
	}
	d.audit()
}
