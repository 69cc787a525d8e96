package threat

import (
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestReject(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	got := chaintest.Response[threatv1.RejectResponse](t, d.Do(adminOf(house), rejectOf(id)))
	if got.Status != held || got.Have != 1 || got.Want != 2 {
		t.Fatalf("response %v", got)
	}
	d.Do(adminOf(south), releaseOf(id)) // one for, one against
	d.wantStatus(id, held)
	r := d.Do(reviewerOf(north), rejectOf(id))
	if got := chaintest.Response[threatv1.RejectResponse](t, r); got.Status != rejected || got.Have != 2 || got.Want != 2 {
		t.Fatalf("response %v", got)
	}
	h := d.holdOf(id)
	if h.Status != rejected || h.EndedHeight != d.Height() || h.EndedTime != d.Now || h.ExpiresAt != d.Now+20_000 || len(h.Reviews) != 3 {
		t.Fatalf("record %v", h)
	}
	if e := soleEvent[threatv1.TxRejected](t, r); !e.Hold.EqualVT(h) {
		t.Fatalf("event %v", e)
	}
	d.wantKept(id, true) // for an appeal
	d.Fails(ErrWrongStatus, east, releaseOf(id))
	d.Fails(ErrWrongStatus, east, rejectOf(id))
	d.pass(20_000)
	d.wantKept(id, false)
	d.wantStatus(id, rejected)
	d.Fails(ErrTooLate, suspect, appealOf(id))
	d.audit()
}

// The author's own organisation rejects as any other does.
func TestRejectByOneOrganisation(t *testing.T) {
	d := newDesk(t, func(p *threatv1.Params) { p.Reviewers = 1 })
	id := d.keeps(suspect, keeping{})
	d.Do(adminOf(house), rejectOf(id))
	d.wantStatus(id, rejected)
	d.audit()
}
