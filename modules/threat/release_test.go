package threat

import (
	"bytes"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestReleaseExecutesOnce(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	note := bytes.Repeat([]byte{9}, 32)
	r := d.Do(reviewerOf(north), &threatv1.Release{TxId: id, NoteHash: note})
	said := soleEvent[threatv1.Reviewed](t, r)
	if o := said.Opinion; !bytes.Equal(said.TxId, id) || o.Organisation != north || o.Reviewer != reviewerOf(north) || !o.Release || !bytes.Equal(o.NoteHash, note) || o.Time != d.Now {
		t.Fatalf("event %v", said)
	}
	if got := chaintest.Response[threatv1.ReleaseResponse](t, r); got.Status != held || got.Have != 1 || got.Want != 2 {
		t.Fatalf("response %v", got)
	}
	if d.ran(id) != 0 {
		t.Fatal("executed after one word of two")
	}
	r = d.Do(south, releaseOf(id))
	got := chaintest.Response[threatv1.ReleaseResponse](t, r)
	if got.Status != released || got.Have != 2 || got.Code != 0 || len(got.Responses) != 1 || got.Log != "" {
		t.Fatalf("response %v", got)
	}
	h := d.holdOf(id)
	if h.Status != released || h.EndedHeight != d.Height() || h.EndedTime != d.Now || len(h.Reviews) != 2 {
		t.Fatalf("record %v", h)
	}
	e := soleEvent[threatv1.TxReleased](t, r)
	if !h.EqualVT(e.Hold) || len(e.Responses) != 1 || e.Log != "" {
		t.Fatalf("event %v", e)
	}
	soleEvent[threatv1.BreakerClosed](t, r) // the executed transaction's own
	if d.ran(id) != 1 {
		t.Fatalf("executed %d times", d.ran(id))
	}
	d.wantKept(id, false)
	d.Fails(ErrWrongStatus, east, releaseOf(id))
	d.Fails(ErrWrongStatus, east, rejectOf(id))
	d.audit()
}

// A release needs the word of another organisation than the author's, however few it
// takes.
func TestReleaseNeedsAnotherOrganisation(t *testing.T) {
	d := newDesk(t, func(p *threatv1.Params) { p.Reviewers = 1 })
	id := d.keeps(suspect, keeping{})
	got := chaintest.Response[threatv1.ReleaseResponse](t, d.Do(adminOf(house), releaseOf(id)))
	if got.Status != held || got.Have != 1 || got.Want != 2 {
		t.Fatalf("response %v", got)
	}
	got = chaintest.Response[threatv1.ReleaseResponse](t, d.Do(adminOf(nobody), releaseOf(id)))
	if got.Status != released || got.Have != 2 {
		t.Fatalf("response %v", got)
	}

	// Another's word alone is enough.
	id = d.keeps(suspect, keeping{})
	d.Do(adminOf(north), releaseOf(id))
	d.wantStatus(id, released)

	// Where nobody else runs a validator, the author's own organisation decides.
	d.houses.organisations = []string{house}
	id = d.keeps(suspect, keeping{})
	d.Do(adminOf(house), releaseOf(id))
	d.wantStatus(id, released)
	d.audit()
}

// That a released transaction fails is not the reviewer's failure.
func TestReleaseOfOneThatFails(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	d.houses.inactive[suspect] = true
	d.Do(north, releaseOf(id))
	r := d.Do(south, releaseOf(id))
	got := chaintest.Response[threatv1.ReleaseResponse](t, r)
	if got.Status != failed || got.Code != chain.ErrBadSignature.Code || got.Codespace != "chain" || got.Log == "" || len(got.Responses) != 0 {
		t.Fatalf("response %v", got)
	}
	e := soleEvent[threatv1.TxReleased](t, r)
	if e.Hold.Status != failed || e.Hold.Code != got.Code || e.Hold.Codespace != "chain" || e.Log != got.Log || !e.Hold.EqualVT(d.holdOf(id)) {
		t.Fatalf("event %v", e)
	}
	d.houses.inactive[suspect] = false
	d.Fails(ErrWrongStatus, east, releaseOf(id)) // once is once
	d.Fails(ErrWrongStatus, suspect, appealOf(id))
	if d.ran(id) != 0 {
		t.Fatal("executed")
	}
	d.audit()
}

func TestReleaseInOneBlock(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	d.Block(d.Tx(north, protoList(releaseOf(id))), d.Tx(south, protoList(releaseOf(id))), d.Tx(suspect, protoList(appealOf(id))))
	d.wantStatus(id, released)
	d.audit()
}
