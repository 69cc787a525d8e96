package threat

import (
	"bytes"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// An appeal gives a held transaction more time, once.
func TestAppealOfOneThatIsHeld(t *testing.T) { // law 15
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	due := d.holdOf(id).ExpiresAt
	for _, author := range []string{adminOf(north), house + ":clerk", chaintest.Consortium} {
		d.Fails(ErrNotAppellant, author, appealOf(id))
	}
	r := d.Do(suspect, appealOf(id))
	if got := chaintest.Response[threatv1.AppealResponse](t, r).ExpiresAt; got != due+10_000 || d.holdOf(id).ExpiresAt != got {
		t.Fatalf("until %d, was %d", got, due)
	}
	e := soleEvent[threatv1.Appealed](t, r)
	if a := e.Appeal; !bytes.Equal(e.TxId, id) || a.Author != suspect || a.Status != held || a.Time != d.Now || !a.EqualVT(d.holdOf(id).Appeals[0]) {
		t.Fatalf("event %v", e)
	}
	for _, author := range []string{suspect, house, adminOf(house)} {
		d.Fails(ErrTooMany, author, appealOf(id))
	}
	d.Now = due
	d.Block()
	d.wantStatus(id, held)
	d.Do(north, releaseOf(id))
	d.Do(south, releaseOf(id))
	d.wantStatus(id, released)
	d.audit()
}

// A denied transaction waits for reviewers when it is appealed in time.
func TestAppealOfOneThatIsDenied(t *testing.T) { // law 15
	d := newDesk(t)
	id := d.keeps(suspect, keeping{ruling: chainv1.Ruling_RULING_DENY})
	d.Fails(ErrWrongStatus, north, releaseOf(id))
	d.pass(5000)
	r := d.Do(adminOf(house), appealOf(id))
	if got := chaintest.Response[threatv1.AppealResponse](t, r).ExpiresAt; got != d.Now+10_000 {
		t.Fatalf("until %d", got)
	}
	d.wantStatus(id, held)
	d.Do(suspect, appealOf(id)) // more time for it
	d.Fails(ErrTooMany, suspect, appealOf(id))
	d.Do(north, releaseOf(id))
	d.Do(south, releaseOf(id))
	d.wantStatus(id, released)
	d.audit()

	late := d.keeps(suspect, keeping{ruling: chainv1.Ruling_RULING_DENY})
	d.pass(20_000)
	d.Fails(ErrTooLate, suspect, appealOf(late))
	d.wantStatus(late, denied)
	d.wantKept(late, false)
	d.audit()
}

// After a rejection reviewers start anew, twice at most.
func TestAppealOfOneThatIsRejected(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	both := func(f func()) {
		t.Helper()
		f()
		d.audit()
	}
	both(func() { d.Do(north, rejectOf(id)); d.Do(south, rejectOf(id)) })
	d.wantStatus(id, rejected)
	both(func() { d.Do(suspect, appealOf(id)) })
	h := d.holdOf(id)
	if h.Status != held || h.EndedHeight != 0 || h.EndedTime != 0 || h.Reopened != 2 || len(h.Reviews) != 2 || h.Appeals[0].Status != rejected {
		t.Fatalf("record %v", h)
	}
	// Their word of the first time counts no more, and they may say another.
	got := chaintest.Response[threatv1.ReleaseResponse](t, d.Do(north, releaseOf(id)))
	if got.Have != 1 || got.Status != held {
		t.Fatalf("response %v", got)
	}
	both(func() { d.Do(south, rejectOf(id)); d.Do(east, rejectOf(id)) })
	d.wantStatus(id, rejected)
	d.wantKept(id, true)
	both(func() { d.Do(house, appealOf(id)) })
	both(func() { d.Do(north, rejectOf(id)); d.Do(south, rejectOf(id)) })
	d.wantStatus(id, rejected)
	d.wantKept(id, false) // it can be appealed no more
	if h := d.holdOf(id); len(h.Reviews) != 7 || h.ExpiresAt != 0 {
		t.Fatalf("record %v", h)
	}
	d.Fails(ErrTooMany, suspect, appealOf(id))
	d.CheckGenesis()
}

func TestAppealForm(t *testing.T) {
	d := newDesk(t)
	hash := bytes.Repeat([]byte{1}, 32)
	d.Fails(ErrInvalid, suspect, &threatv1.Appeal{TextHash: hash})
	d.Fails(ErrInvalid, suspect, &threatv1.Appeal{TextHash: hash[1:], Against: &threatv1.Appeal_TxId{TxId: hash}})
	d.Fails(ErrInvalid, suspect, &threatv1.Appeal{TextHash: hash, Against: &threatv1.Appeal_TxId{TxId: hash[1:]}})
	d.Fails(ErrInvalid, suspect, &threatv1.Appeal{TextHash: hash, Against: &threatv1.Appeal_ResponseId{ResponseId: hash[1:]}})
	d.Fails(ErrNotFound, suspect, &threatv1.Appeal{TextHash: hash, Against: &threatv1.Appeal_TxId{TxId: hash}})
	d.Fails(ErrNotFound, suspect, &threatv1.Appeal{TextHash: hash, Against: &threatv1.Appeal_ResponseId{ResponseId: hash}})
}

func TestAppealOfAResponse(t *testing.T) {
	d := newDesk(t)
	id := bytes.Repeat([]byte{3}, 32)
	d.step(func(ctx *chain.Ctx, m *Module) error {
		m.responses.Put(ctx, id, &threatv1.Response{Id: id, Subject: suspect, ExpiresAt: 99_000 + ctx.Time(), Status: threatv1.ResponseStatus_RESPONSE_STATUS_ACTIVE})
		return nil
	})
	until := d.Now + 99_000
	r := d.Do(suspect, &threatv1.Appeal{TextHash: id, Against: &threatv1.Appeal_ResponseId{ResponseId: id}})
	if got := chaintest.Response[threatv1.AppealResponse](t, r).ExpiresAt; got != until {
		t.Fatalf("until %d, want %d", got, until)
	}
	rec, _ := d.m.responses.Lookup(d.View(), id)
	if len(rec.Appeals) != 1 || rec.Appeals[0].Author != suspect {
		t.Fatalf("record %v", rec)
	}
}
