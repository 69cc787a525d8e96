package threat

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestWhoMayReview(t *testing.T) { // law 15
	d := newDesk(t)
	d.houses.inactive[east] = true
	d.houses.inactive[reviewerOf(south)+"-gone"] = true
	for who, want := range map[string]string{
		adminOf(north): north, reviewerOf(north): north, north: north,
		adminOf(nobody):             nobody, // a member needs no validator
		north + ":clerk":            "",
		north + ":robot-admin":      "", // a review is a human's
		north + ":robot-reviewer":   "",
		chaintest.Consortium:        "",
		"did:web:elsewhere":         "",
		adminOf(east):               "", // the organisation is not active
		east:                        "",
		reviewerOf(south) + "-gone": "",
	} {
		if got, ok := d.m.mayReview(d.View(), who); got != want && ok || ok != (want != "") {
			t.Errorf("%s may review for %q (%v), want %q", who, got, ok, want)
		}
	}
}

// As many organisations as the parameters say, but no more than are active and run a
// validator.
func TestQuorum(t *testing.T) {
	for _, c := range []struct {
		reviewers     uint32
		organisations []string
		inactive      []string
		want          uint32
		others        bool
	}{
		{2, []string{house, north, south, east}, nil, 2, true},
		{4, []string{house, north, south, east}, nil, 4, true},
		{9, []string{house, north, south, east}, nil, 4, true},
		{9, []string{house, north, north, north}, nil, 2, true},
		{9, []string{house, north, south, east}, []string{south, east}, 2, true},
		{3, []string{house}, nil, 1, false},
		{3, []string{house, north}, []string{north}, 1, false},
		{1, []string{house, north}, nil, 1, true},
		{3, nil, nil, 1, false},
	} {
		d := newDesk(t, func(p *threatv1.Params) { p.Reviewers = c.reviewers })
		d.houses.organisations = c.organisations
		for _, o := range c.inactive {
			d.houses.inactive[o] = true
		}
		if want, others := d.m.quorum(d.View(), house); want != c.want || others != c.others {
			t.Errorf("%v: %d, %v", c, want, others)
		}
	}
}

// Nobody reviews what is their own, an organisation has one word, and what was kept
// itself decides over nothing.
func TestWhoMayNotReviewThis(t *testing.T) {
	d := newDesk(t, func(p *threatv1.Params) { p.HoldMs = 1_000_000 })
	id := d.keeps(reviewerOf(house), keeping{})
	d.Fails(ErrNotReviewer, reviewerOf(house), releaseOf(id))
	d.Fails(ErrNotReviewer, reviewerOf(house), rejectOf(id))
	d.Fails(ErrNotReviewer, north+":clerk", releaseOf(id))
	d.Fails(ErrNotFound, adminOf(north), releaseOf(make([]byte, 32)))
	d.Fails(ErrInvalid, adminOf(north), releaseOf([]byte{1}))
	d.Fails(ErrInvalid, adminOf(north), &threatv1.Reject{TxId: id, NoteHash: []byte{1}})
	d.Do(adminOf(north), releaseOf(id))
	for _, author := range []string{adminOf(north), reviewerOf(north), north} {
		d.Fails(ErrTwice, author, releaseOf(id))
		d.Fails(ErrTwice, author, rejectOf(id))
	}
	d.wantStatus(id, held)

	// A transaction that was kept, and is now executed, has its own id.
	other := d.keeps(suspect, keeping{})
	raw := d.Tx(adminOf(south), []proto.Message{releaseOf(other)})
	c, err := d.App().Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	k := d.candidate(suspect, keeping{})
	k.Decoded = c
	d.tryKeep(k, keeping{})
	d.FailsRaw(ErrWrongStatus, raw)
	d.wantStatus(other, held)
	d.audit()
}

// Where a playbook asks for approvals, the author's own administrators give them, and
// not those who signed already.
func TestApprovals(t *testing.T) {
	d := newDesk(t, func(p *threatv1.Params) { p.HoldMs = 1_000_000 })
	by := []tx.Signer{chaintest.Actor(adminOf(house) + "-signed")}
	id := d.keeps(house, keeping{playbook: "four-eyes", approvals: 2, signers: by})
	for _, author := range []string{house, adminOf(house) + "-signed", adminOf(north), reviewerOf(house), house + ":robot-admin", house + ":clerk"} {
		d.Fails(ErrNotReviewer, author, releaseOf(id))
		d.Fails(ErrNotReviewer, author, rejectOf(id))
	}
	r := chaintest.Response[threatv1.ReleaseResponse](t, d.Do(adminOf(house), releaseOf(id)))
	if r.Status != held || r.Have != 1 || r.Want != 2 {
		t.Fatalf("response %v", r)
	}
	d.Fails(ErrTwice, adminOf(house), rejectOf(id))
	r = chaintest.Response[threatv1.ReleaseResponse](t, d.Do(adminOf(house)+"-2", releaseOf(id)))
	if r.Status != released || r.Have != 2 || d.ran(id) != 1 {
		t.Fatalf("response %v", r)
	}
	d.audit()
}

// The word of a reviewer who may no longer review, or whose organisation was suspended
// since, counts no more: another of the organisation may say it, and it has one all the same.
func TestWordsCountWhileTheirReviewerMayReview(t *testing.T) {
	d := newDesk(t, func(p *threatv1.Params) { p.Reviewers, p.HoldMs = 3, 1_000_000 })
	id := d.keeps(suspect, keeping{})
	have := func(r *chainv1.TxResult, want uint32) {
		t.Helper()
		if got := chaintest.Response[threatv1.ReleaseResponse](t, r); got.Have != want || got.Status != held {
			t.Fatalf("%d words of %d: %s, want %d", got.Have, got.Want, got.Status, want)
		}
	}
	stolen := reviewerOf(north)
	have(d.Do(stolen, releaseOf(id)), 1)
	d.houses.inactive[stolen] = true
	have(d.Do(adminOf(south), releaseOf(id)), 1) // the stolen key's word counts no more
	have(d.Do(adminOf(north), releaseOf(id)), 2)
	d.houses.inactive[stolen] = false
	d.Fails(ErrTwice, stolen, releaseOf(id))
	d.houses.inactive[south] = true
	have(d.Do(adminOf(house), releaseOf(id)), 2) // of north and house, north once
	d.houses.inactive[south] = false
	if got := chaintest.Response[threatv1.ReleaseResponse](t, d.Do(adminOf(east), releaseOf(id))); got.Have != 4 || got.Status != released {
		t.Fatalf("%d words of %d: %s", got.Have, got.Want, got.Status)
	}
	// So with approvals.
	id = d.keeps(suspect, keeping{playbook: "four-eyes", approvals: 2})
	have(d.Do(adminOf(house), releaseOf(id)), 1)
	d.houses.inactive[adminOf(house)] = true
	have(d.Do(adminOf(house)+"2", releaseOf(id)), 1)
}
