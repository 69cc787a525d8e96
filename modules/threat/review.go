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
// Organisations have one word each, which counts while its reviewer may review. A release takes one of an organisation that is not
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
	said := h.Reviews[h.Reopened:]
	if h.Approvals > 0 {
		var err error
		b.have, _, err = speakersFor(release, said, b.opinion, h.Organisation, (*threatv1.Opinion).GetReviewer, func(o *threatv1.Opinion) bool {
			return m.mayApprove(r, h, o.Reviewer)
		})
		return b, err
	}
	have, outside, err := m.organisationsFor(r, release, said, b.opinion, h.Organisation)
	if err != nil {
		return nil, err
	}
	b.have = have
	want, others := m.quorum(r, h.Organisation)
	if b.want = want; release && others && !outside {
		b.want = max(want, b.have+1)
	}
	return b, nil
}

// speakersFor is how many are for release or against it, mine among them, and whether
// one of them is of an organisation other than home. Of each speaker the latest word
// counts that was said by somebody who may still say one; where mine's has one already,
// that is ErrTwice.
func speakersFor(release bool, said []*threatv1.Opinion, mine *threatv1.Opinion, home string, speaker func(*threatv1.Opinion) string, may func(*threatv1.Opinion) bool) (have uint32, outside bool, err error) {
	if mine.Release == release {
		have, outside = 1, mine.Organisation != home
	}
	spoke := []string{speaker(mine)}
	for _, o := range slices.Backward(said) {
		switch {
		case !may(o):
			continue
		case speaker(o) == spoke[0]:
			return 0, false, ErrTwice.With("%s, by %s", spoke[0], o.Reviewer)
		case slices.Contains(spoke, speaker(o)):
			continue
		}
		spoke = append(spoke, speaker(o))
		if o.Release == release {
			have++
			outside = outside || o.Organisation != home
		}
	}
	return have, outside, nil
}

// organisationsFor is speakersFor where organisations have one word each.
func (m *Module) organisationsFor(r chain.ReadCtx, release bool, said []*threatv1.Opinion, mine *threatv1.Opinion, home string) (have uint32, outside bool, err error) {
	return speakersFor(release, said, mine, home, (*threatv1.Opinion).GetOrganisation, func(o *threatv1.Opinion) bool {
		organisation, may := m.mayReview(r, o.Reviewer)
		return may && organisation == o.Organisation
	})
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
