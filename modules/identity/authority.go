package identity

import (
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// superior is who may suspend, reinstate and deactivate a DID, and manage its keys
// while it is suspended: the organisation of a member, the consortium for an
// organisation, nobody for the consortium.
func superior(id *identityv1.Identity) string {
	switch id.Kind {
	case identityv1.Kind_KIND_CONSORTIUM:
		return ""
	case identityv1.Kind_KIND_ORGANISATION:
		return did.Consortium
	default:
		return id.Organisation
	}
}

// existing is the record of a DID that has not ended.
func (m *Module) existing(r chain.ReadCtx, name string) (*identityv1.Identity, error) {
	id, ok := m.s.identities.Lookup(r, name)
	if !ok {
		return nil, ErrUnknownDID.With("%s", name)
	}
	if id.Status == identityv1.Status_STATUS_DEACTIVATED {
		return nil, ErrDeactivated.With("%s", name)
	}
	return id, nil
}

// managed is the record of a DID that the author may change: its own, or one that
// is suspended and that the author is superior to.
func (m *Module) managed(r chain.ReadCtx, name string) (*identityv1.Identity, error) {
	id, err := m.existing(r, name)
	switch {
	case err != nil:
		return nil, err
	case r.Author() == id.Did:
		return id, nil
	case r.Author() != superior(id):
		return nil, ErrNotAllowed.With("%s acts on %s", r.Author(), id.Did)
	case id.Status != identityv1.Status_STATUS_SUSPENDED:
		return nil, ErrNotSuspendedYet.With("%s", id.Did)
	}
	return id, nil
}

// own is the author's record, of one of the kinds; of any when there are none.
func (m *Module) own(r chain.ReadCtx, kinds ...identityv1.Kind) (*identityv1.Identity, error) {
	id, err := m.existing(r, r.Author())
	if err == nil && len(kinds) > 0 && !slices.Contains(kinds, id.Kind) {
		return nil, ErrBadKind.With("%s", id.Did)
	}
	return id, err
}

// byConsortium refuses every author but the consortium.
func byConsortium(r chain.ReadCtx) error {
	if r.Author() != did.Consortium {
		return ErrNotAllowed.With("the author is %s, not the consortium", r.Author())
	}
	return nil
}

// isController tells whether the DID is among those that act for its superior.
func (m *Module) isController(r chain.ReadCtx, id *identityv1.Identity) (above *identityv1.Identity, is bool) {
	above, ok := m.s.identities.Lookup(r, superior(id))
	return above, ok && slices.Contains(above.Controllers, id.Did)
}

// checkNotLocked refuses to take one more controller out of action when those that
// stay could not act for its superior.
func (m *Module) checkNotLocked(r chain.ReadCtx, id *identityv1.Identity) error {
	above, is := m.isController(r, id)
	if !is {
		return nil
	}
	left := 0
	for _, name := range above.Controllers {
		if c, ok := m.s.identities.Lookup(r, name); ok && name != id.Did && c.Status == identityv1.Status_STATUS_ACTIVE {
			left++
		}
	}
	if left < int(above.Threshold) {
		return ErrWouldLock.With("%s needs %d, %d would be left", above.Did, above.Threshold, left)
	}
	return nil
}

// checkReason checks a reason that a message states.
func checkReason(why identityv1.Reason) error {
	_, known := identityv1.Reason_name[int32(why)]
	if !known || why == identityv1.Reason_REASON_UNSPECIFIED || why == identityv1.Reason_REASON_RECOVERED {
		return ErrBadReason
	}
	return nil
}

// checkDID checks the form of a DID that a message names.
func checkDID(field, s string) (did.DID, error) {
	d, err := did.Parse(s)
	if err != nil {
		return d, ErrBadDID.With("%s: %v", field, err)
	}
	return d, nil
}

// checkList checks the form of a list of DIDs, each named once.
func checkList(field string, list []string, limit int) error {
	if len(list) > limit {
		return ErrTooMany.With("%s: %d, at most %d", field, len(list), limit)
	}
	for i, s := range list {
		if _, err := checkDID(field, s); err != nil {
			return err
		}
		if slices.Contains(list[:i], s) {
			return ErrTwice.With("%s: %s", field, s)
		}
	}
	return nil
}

// checkThreshold checks that n can reach the threshold, which is 0 for none.
func checkThreshold(threshold uint32, n int) error {
	if n == 0 && threshold != 0 || n > 0 && (threshold == 0 || uint64(threshold) > uint64(n)) {
		return ErrBadThreshold.With("%d of %d", threshold, n)
	}
	return nil
}

// sorted is a sorted copy of a list.
func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}
