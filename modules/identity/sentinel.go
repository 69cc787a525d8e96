package identity

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// What the sentinel asks, and does on its own account.

// AddressSize is the bytes of a consensus key's address.
const AddressSize = 20

// Power is a validator with its voting power.
type Power = chain.Power

// Address is the address of an Ed25519 consensus key.
func Address(public []byte) [AddressSize]byte {
	sum := sha256.Sum256(public)
	return [AddressSize]byte(sum[:AddressSize])
}

// Powers are the validators, sorted by address, and the sum of their powers. A change
// is here from the transaction that made it, two blocks before it acts in consensus.
func (m *Module) Powers(r chain.ReadCtx) ([]Power, int64) {
	list := m.Validators(r)
	out := make([]Power, len(list))
	total := int64(0)
	for i, v := range list {
		out[i] = Power{Address: Address(v.PublicKey), Organisation: v.Organisation, Power: v.Power}
		total += v.Power
	}
	slices.SortFunc(out, func(a, b Power) int { return bytes.Compare(a.Address[:], b.Address[:]) })
	return out, total
}

// Ages are how many milliseconds before r.Time() a DID was registered and the newest of
// its keys was added that may sign transactions now; key is -1 when it has none of its
// own. What the genesis state holds is as old as it says. ok is false when there is no
// such DID.
func (m *Module) Ages(r chain.ReadCtx, name string) (identity, key int64, ok bool) {
	id, ok := m.s.identities.Peek(r, name)
	if !ok {
		return 0, 0, false
	}
	newest := int64(-1)
	for _, at := range id.Keys {
		if k := m.peekKey(r, name, at); authenticates(k) && usable(k, r.Time()) == nil {
			newest = max(newest, k.Added.GetAt())
		}
	}
	identity = max(0, r.Time()-id.Created.GetAt())
	if newest < 0 {
		return identity, -1, true
	}
	return identity, max(0, r.Time()-newest), true
}

// SuspendFor suspends a DID on the sentinel's account: until ReinstateFrom or its
// superior ends it. It tells whether it did, and does not where the DID is not active;
// for the consortium; where those that stay could not act for the organisation or the
// consortium; and for an organisation where validators of suspended organisations would
// hold a third of the voting power or more, because their nodes are shut out.
func (m *Module) SuspendFor(ctx *chain.Ctx, name string) bool {
	id, ok := m.s.identities.Lookup(ctx, name)
	if !ok || id.Status != identityv1.Status_STATUS_ACTIVE || id.Kind == identityv1.Kind_KIND_CONSORTIUM ||
		m.checkNotLocked(ctx, id) != nil || m.wouldStall(ctx, id) {
		return false
	}
	m.revise(ctx, id)
	id.Status, id.Reason, id.Provisional = identityv1.Status_STATUS_SUSPENDED, identityv1.Reason_REASON_INVESTIGATION, true
	m.s.identities.Put(ctx, id.Did, id)
	ctx.Emit(&identityv1.Suspended{Did: id.Did, Reason: id.Reason})
	return true
}

// ReinstateFrom ends a suspension by SuspendFor. It tells whether there was one: not
// where the superior suspended the DID since, or ended the suspension.
func (m *Module) ReinstateFrom(ctx *chain.Ctx, name string) bool {
	id, ok := m.s.identities.Lookup(ctx, name)
	if !ok || id.Status != identityv1.Status_STATUS_SUSPENDED || !id.Provisional {
		return false
	}
	m.revise(ctx, id)
	id.Status, id.Reason, id.Provisional = identityv1.Status_STATUS_ACTIVE, identityv1.Reason_REASON_UNSPECIFIED, false
	m.s.identities.Put(ctx, id.Did, id)
	ctx.Emit(&identityv1.Reinstated{Did: id.Did})
	return true
}

// wouldStall tells whether, with an organisation suspended, validators whose
// organisations are not active would hold a third of the voting power or more.
func (m *Module) wouldStall(r chain.ReadCtx, id *identityv1.Identity) bool {
	if id.Kind != identityv1.Kind_KIND_ORGANISATION {
		return false
	}
	out, total, has := int64(0), int64(0), false
	for _, v := range m.Validators(r) {
		total += v.Power
		if v.Organisation == id.Did || !m.Active(r, v.Organisation) {
			out += v.Power
		}
		has = has || v.Organisation == id.Did
	}
	return has && 3*out >= total
}
