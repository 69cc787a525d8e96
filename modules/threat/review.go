package threat

import (
	"slices"

	"github.com/chancery/chancery/chain"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// RoleReviewer is the role, within a member organisation, of persons who may review.
// The organisation itself and its administrators need no role.
const RoleReviewer = "threat-reviewer"

// mayReview tells for which organisation a DID may review: it is an active member
// organisation, an active administrator of one, or an active person of one with
// RoleReviewer. Devices and services may not: a review is a human's (law 15).
func (m *Module) mayReview(r chain.ReadCtx, reviewer string) (organisation string, ok bool) {
	who := m.deps.Identity
	organisation, ok = who.Organisation(r, reviewer)
	if !ok || !who.Active(r, reviewer) || !who.Active(r, organisation) {
		return "", false
	}
	if kind, _ := who.Kind(r, organisation); kind != "organisation" {
		return "", false
	}
	switch kind, _ := who.Kind(r, reviewer); kind {
	case "organisation":
		return organisation, true
	case "person":
		return organisation, who.IsAdministrator(r, organisation, reviewer) || slices.Contains(who.Roles(r, reviewer), RoleReviewer)
	}
	return "", false
}

// mayApprove tells whether a DID may say its word where a playbook asks for approvals:
// it is a person, administers the author's organisation, and did not sign the
// transaction.
func (m *Module) mayApprove(r chain.ReadCtx, h *threatv1.Hold, did string) bool {
	kind, _ := m.deps.Identity.Kind(r, did)
	return kind == "person" && m.deps.Identity.IsAdministrator(r, h.Organisation, did) && !slices.Contains(h.Signers, did)
}

// quorum is how many distinct organisations must agree: params.reviewers, and where
// fewer active organisations than that run validators, as many as do, at least 1.
// others tells whether an active one of them is not the given organisation. Without the
// cap a small consortium could decide nothing; who runs a validator is the
// consortium's to say, so nobody lowers it by registering or leaving.
func (m *Module) quorum(r chain.ReadCtx, organisation string) (want uint32, others bool) {
	powers, _ := m.deps.Identity.Powers(r)
	var active []string
	for _, p := range powers {
		if !slices.Contains(active, p.Organisation) && m.deps.Identity.Active(r, p.Organisation) {
			active = append(active, p.Organisation)
			others = others || p.Organisation != organisation
		}
	}
	return max(1, min(m.paramsIn(r).Reviewers, uint32(len(active)))), others
}

// ballot is a held transaction with what one more word makes of it.
type ballot struct {
	hold    *threatv1.Hold
	opinion *threatv1.Opinion
	// have is how many spoke as the opinion does, itself among them; want is how many
	// it takes.
	have, want uint32
}

func (b *ballot) decided() bool { return b.have >= b.want }

// planReview is the author's word on a held transaction, for release or against it.
//
// Organisations have one word each. A release takes one of an organisation that is not
// the author's, unless no other active one runs a validator. Where a playbook asks for
// approvals, each administrator of the author's organisation has one word instead, and
// who signed the transaction has none.
func (m *Module) planReview(r chain.ReadCtx, id, noteHash []byte, release bool) (*ballot, error) {
	h, ok := m.holds.Lookup(r, id)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%x", id)
	case h.Status != threatv1.HoldStatus_HOLD_STATUS_HELD:
		return nil, ErrWrongStatus.With("%s", h.Status)
	case over(h, r.Time()):
		return nil, ErrTooLate.With("it expired at %d", h.ExpiresAt)
	}
	if tx := r.TxID(); m.holds.Has(r, tx[:]) {
		return nil, ErrWrongStatus.With("a transaction that was kept itself decides over no other")
	}
	reviewer := r.Author()
	organisation, may := m.mayReview(r, reviewer)
	if h.Approvals > 0 {
		organisation, may = h.Organisation, m.mayApprove(r, h, reviewer)
	}
	if !may || reviewer == h.Author {
		return nil, ErrNotReviewer.With("%s", reviewer)
	}
	b := &ballot{hold: h, want: h.Approvals, opinion: &threatv1.Opinion{
		Organisation: organisation, Reviewer: reviewer, Release: release, NoteHash: noteHash, Time: r.Time(),
	}}
	outside := false
	for _, o := range append(slices.Clone(h.Reviews[h.Reopened:]), b.opinion) {
		switch {
		case o == b.opinion:
		case h.Approvals > 0 && o.Reviewer == reviewer:
			return nil, ErrTwice.With("%s", reviewer)
		case h.Approvals == 0 && o.Organisation == organisation:
			return nil, ErrTwice.With("%s, by %s", organisation, o.Reviewer)
		}
		if o.Release == release {
			b.have++
			outside = outside || o.Organisation != h.Organisation
		}
	}
	if h.Approvals > 0 {
		return b, nil
	}
	want, others := m.quorum(r, h.Organisation)
	if b.want = want; release && others && !outside {
		b.want = max(want, b.have+1)
	}
	return b, nil
}

// speak records the opinion. The caller puts the record.
func (b *ballot) speak(ctx *chain.Ctx) {
	b.hold.Reviews = append(b.hold.Reviews, b.opinion)
	ctx.Emit(&threatv1.Reviewed{TxId: b.hold.TxId, Opinion: b.opinion})
}

// checkHash refuses what is no SHA-256 hash or 32-byte id.
func checkHash(field string, h []byte) error {
	if len(h) != hashSize {
		return ErrInvalid.With("%s must be %d bytes", field, hashSize)
	}
	return nil
}

// checkReview refuses a malformed review.
func checkReview(id, noteHash []byte) error {
	if len(noteHash) > 0 {
		if err := checkHash("note_hash", noteHash); err != nil {
			return err
		}
	}
	return checkHash("tx_id", id)
}
