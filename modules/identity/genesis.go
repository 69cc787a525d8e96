package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// InitGenesis implements chain.Module. The validators of the genesis state are the
// chain's first.
func (m *Module) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(identityv1.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return err
	}
	if err := CheckGenesis(g); err != nil {
		return err
	}
	for _, id := range g.Identities {
		m.s.identities.Put(ctx, id.Did, id)
		m.index(ctx, id)
	}
	for _, id := range g.History {
		m.s.history.Put(ctx, state.Join(id.Did, id.Version), id)
	}
	for _, k := range g.Keys {
		m.putKey(ctx, k)
	}
	for _, pending := range g.Recoveries {
		m.s.recoveries.Put(ctx, pending.Did, pending)
		m.s.due.Add(ctx, state.Join(pending.DueAt, pending.Did))
	}
	for _, roles := range g.Roles {
		m.s.roles.Put(ctx, roles.Did, roles)
	}
	for _, group := range g.Groups {
		m.s.groups.Put(ctx, groupKey(group.Id), group)
	}
	for _, membership := range g.Memberships {
		m.s.memberships.Put(ctx, membership.Did, membership)
		for _, group := range membership.Groups {
			key := groupKey(group)
			m.s.groupMembers.Add(ctx, state.Join3(key.A, key.B, membership.Did))
		}
	}
	for _, v := range g.Validators {
		m.s.validators.Put(ctx, v.PublicKey, v)
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: consensusKey(v.PublicKey), Power: v.Power})
	}
	for _, n := range g.Nodes {
		m.putNode(ctx, n)
	}
	for _, a := range g.Authorities {
		m.s.authorities.Put(ctx, a.Organisation, a)
	}
	return nil
}

// ExportGenesis implements chain.Module.
func (m *Module) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := new(identityv1.Genesis)
	for _, id := range m.s.identities.Walk(r, all) {
		g.Identities = append(g.Identities, id)
	}
	for _, id := range m.s.history.Walk(r, all) {
		g.History = append(g.History, id)
	}
	for _, k := range m.s.keys.Walk(r, all) {
		g.Keys = append(g.Keys, k)
	}
	for _, pending := range m.s.recoveries.Walk(r, all) {
		g.Recoveries = append(g.Recoveries, pending)
	}
	for _, roles := range m.s.roles.Walk(r, all) {
		g.Roles = append(g.Roles, roles)
	}
	for _, group := range m.s.groups.Walk(r, all) {
		g.Groups = append(g.Groups, group)
	}
	for _, membership := range m.s.memberships.Walk(r, all) {
		g.Memberships = append(g.Memberships, membership)
	}
	for _, v := range m.s.validators.Walk(r, all) {
		g.Validators = append(g.Validators, v)
	}
	for _, n := range m.s.nodes.Walk(r, all) {
		g.Nodes = append(g.Nodes, n)
	}
	for _, a := range m.s.authorities.Walk(r, all) {
		g.Authorities = append(g.Authorities, a)
	}
	return g, nil
}

// CheckGenesis refuses a genesis state whose records are malformed or do not fit
// together. Errors are for the operator who wrote it.
func CheckGenesis(g *identityv1.Genesis) error {
	b := &books{
		identities: make(map[string]*identityv1.Identity), keys: make(map[string]*identityv1.Key),
		holders: make(map[string]string), groups: make(map[string]*identityv1.Group), members: make(map[string]uint32),
		versions: make(map[string]bool), seen: make(map[string]bool),
	}
	for _, step := range []func(*identityv1.Genesis) error{
		b.addIdentities, b.addHistory, b.addKeys, b.checkIdentities, b.checkRecoveries, b.checkRoles, b.checkGroups, b.checkValidators, b.checkNodes, b.checkAuthorities,
	} {
		if err := step(g); err != nil {
			return err
		}
	}
	return nil
}

// books are the records of a genesis state by their keys.
type books struct {
	identities map[string]*identityv1.Identity
	versions   map[string]bool // DID/version of history
	keys       map[string]*identityv1.Key
	holders    map[string]string // public key's hash to key URL
	groups     map[string]*identityv1.Group
	members    map[string]uint32
	seen       map[string]bool
}

// once refuses a record that comes twice.
func (b *books) once(kind, key string) error {
	if b.seen[kind+" "+key] {
		return ErrTwice.With("%s %s", kind, key)
	}
	b.seen[kind+" "+key] = true
	return nil
}

func (b *books) addIdentities(g *identityv1.Genesis) error {
	for _, id := range g.Identities {
		if err := b.once("identity", id.Did); err != nil {
			return err
		}
		if err := checkRecord(id); err != nil {
			return err
		}
		b.identities[id.Did] = id
	}
	if _, ok := b.identities[did.Consortium]; !ok {
		return ErrUnknownDID.With("%s must be among the identities", did.Consortium)
	}
	return nil
}

// checkRecord checks a version of a record alone.
func checkRecord(id *identityv1.Identity) error {
	d, err := checkDID("identity", id.Did)
	if err != nil {
		return err
	}
	kind := id.Kind == identityv1.Kind_KIND_DEVICE || id.Kind == identityv1.Kind_KIND_SERVICE ||
		id.Kind == identityv1.Kind_KIND_PERSON && did.IsPersonID(d.ID())
	switch {
	case d.IsConsortium():
		kind = id.Kind == identityv1.Kind_KIND_CONSORTIUM
	case d.IsOrganisation():
		kind = id.Kind == identityv1.Kind_KIND_ORGANISATION
	}
	switch {
	case !kind:
		return ErrBadKind.With("%s is no %s", id.Did, id.Kind)
	case id.Organisation != d.Organisation():
		return ErrNotMember.With("%s belongs to %s", id.Did, d.Organisation())
	case id.Status < identityv1.Status_STATUS_ACTIVE || id.Status > identityv1.Status_STATUS_DEACTIVATED || d.IsConsortium() && id.Status != identityv1.Status_STATUS_ACTIVE:
		return ErrStatus.With("%s: %s", id.Did, id.Status)
	case id.Provisional && id.Status != identityv1.Status_STATUS_SUSPENDED:
		return ErrStatus.With("%s: provisional, and %s", id.Did, id.Status)
	case id.Version == 0 || id.Created == nil || id.Updated == nil || id.Updated.Version != id.Version:
		return ErrNoVersion.With("%s lacks its version or when it was made", id.Did)
	case len(id.Keys) > MaxKeys || !slices.IsSorted(id.Keys) || d.IsConsortium() && len(id.Keys) > 0:
		return ErrBadKey.With("the list of keys of %s", id.Did)
	case d.IsMember() && len(id.Controllers) > 0:
		return ErrBadKind.With("%s cannot have administrators", id.Did)
	case !slices.IsSorted(id.Controllers):
		return ErrTwice.With("the administrators of %s are not sorted", id.Did)
	case id.Kind == identityv1.Kind_KIND_PERSON && len(id.Services) > 0:
		return ErrBadKind.With("%s is a person and can have no services", id.Did)
	}
	if err := checkList("administrators", id.Controllers, MaxControllers); err != nil {
		return err
	}
	if err := checkThreshold(id.Threshold, len(id.Controllers)); err != nil {
		return err
	}
	if err := validateServices(id.Services); err != nil {
		return err
	}
	if id.Recovery == nil {
		return nil
	}
	return validateRule(id.Recovery)
}

func (b *books) addHistory(g *identityv1.Genesis) error {
	for _, id := range g.History {
		latest, ok := b.identities[id.Did]
		if !ok {
			return ErrUnknownDID.With("%s", id.Did)
		}
		if id.Version >= latest.Version {
			return ErrNoVersion.With("history of %s holds version %d", id.Did, id.Version)
		}
		if err := checkRecord(id); err != nil {
			return err
		}
		key := fmt.Sprintf("%s/%d", id.Did, id.Version)
		if err := b.once("version", key); err != nil {
			return err
		}
		b.versions[key] = true
	}
	return nil
}

func (b *books) addKeys(g *identityv1.Genesis) error {
	for _, k := range g.Keys {
		url := did.URL(k.Did, k.Id)
		id, ok := b.identities[k.Did]
		if !ok {
			return ErrUnknownDID.With("%s", k.Did)
		}
		if id.Kind == identityv1.Kind_KIND_CONSORTIUM || !did.IsFragment(k.Id) {
			return ErrBadKey.With("%s", url)
		}
		if err := b.once("key", url); err != nil {
			return err
		}
		if err := validatePublic(k.Type, k.Public); err != nil {
			return ErrBadKey.With("%s: %v", url, err)
		}
		if err := validatePurposes(k.Type, k.Purposes); err != nil {
			return ErrBadKey.With("%s: %v", url, err)
		}
		if !slices.IsSorted(k.Purposes) || (k.Added == nil) != k.Pending {
			return ErrBadKey.With("%s: purposes must be ascending, and added absent just while pending", url)
		}
		holder := string(holderKey(k.Type, k.Public))
		if other, taken := b.holders[holder]; taken {
			return ErrKeyTaken.With("%s is %s", url, other)
		}
		b.holders[holder], b.keys[url] = url, k
	}
	return nil
}

// checkIdentities checks what records refer to.
func (b *books) checkIdentities(g *identityv1.Genesis) error {
	for _, id := range g.Identities {
		if _, ok := b.identities[id.Organisation]; !ok {
			return ErrUnknownDID.With("%s, the organisation of %s", id.Organisation, id.Did)
		}
		if id.Version-1 > uint64(len(g.History)) {
			return ErrNoVersion.With("history lacks versions of %s", id.Did)
		}
		for v := uint64(1); v < id.Version; v++ {
			if !b.versions[fmt.Sprintf("%s/%d", id.Did, v)] {
				return ErrNoVersion.With("history lacks version %d of %s", v, id.Did)
			}
		}
		if id.Kind == identityv1.Kind_KIND_CONSORTIUM && len(id.Controllers) == 0 {
			return ErrBadThreshold.With("the consortium needs organisations to act for it")
		}
		if id.Status == identityv1.Status_STATUS_DEACTIVATED {
			continue
		}
		for _, name := range id.Controllers {
			c, ok := b.identities[name]
			if !ok {
				return ErrUnknownDID.With("%s, an administrator of %s", name, id.Did)
			}
			if err := mayControl(id, c); err != nil {
				return err
			}
		}
		if id.Kind == identityv1.Kind_KIND_ORGANISATION && len(id.Controllers) == 0 && len(id.Keys) == 0 {
			return ErrLastKey.With("%s has neither administrators nor keys", id.Did)
		}
	}
	for _, id := range append(slices.Clone(g.Identities), g.History...) {
		for _, name := range id.Keys {
			if k, ok := b.keys[did.URL(id.Did, name)]; !ok || k.Pending {
				return ErrUnknownKey.With("%s", did.URL(id.Did, name))
			}
		}
	}
	return nil
}

func (b *books) checkRecoveries(g *identityv1.Genesis) error {
	pending := 0
	for _, rec := range g.Recoveries {
		if _, ok := b.identities[rec.Did]; !ok {
			return ErrUnknownDID.With("%s", rec.Did)
		}
		if err := b.once("recovery", rec.Did); err != nil {
			return err
		}
		if rec.Requested == nil || rec.DueAt <= 0 || len(rec.Keys) == 0 || !slices.IsSorted(rec.Keys) {
			return ErrBadTime.With("the recovery of %s lacks when it was requested, when it is due or its keys in order", rec.Did)
		}
		for _, name := range rec.Keys {
			if k, ok := b.keys[did.URL(rec.Did, name)]; !ok || !k.Pending {
				return ErrUnknownKey.With("%s is no pending key", did.URL(rec.Did, name))
			}
			if err := b.once("pending key", did.URL(rec.Did, name)); err != nil {
				return err
			}
			pending++
		}
	}
	for _, k := range g.Keys {
		if k.Pending {
			pending--
		}
	}
	if pending != 0 {
		return ErrNoRecovery.With("%d pending keys belong to none", -pending)
	}
	return nil
}

func (b *books) checkRoles(g *identityv1.Genesis) error {
	for _, roles := range g.Roles {
		if err := b.once("roles", roles.Did); err != nil {
			return err
		}
		if id, ok := b.identities[roles.Did]; !ok || id.Status == identityv1.Status_STATUS_DEACTIVATED || id.Kind == identityv1.Kind_KIND_CONSORTIUM {
			return ErrUnknownDID.With("%s has roles", roles.Did)
		}
		if len(roles.Grants) == 0 || len(roles.Grants) > MaxRoles {
			return ErrTooMany.With("%s has %d roles, want 1 to %d", roles.Did, len(roles.Grants), MaxRoles)
		}
		for i, grant := range roles.Grants {
			if !did.IsName(grant.Role, maxName) || grant.Granted == nil || i > 0 && roles.Grants[i-1].Role >= grant.Role {
				return ErrBadName.With("the roles of %s must be sorted names with when they were granted", roles.Did)
			}
		}
	}
	return nil
}

func (b *books) checkGroups(g *identityv1.Genesis) error {
	for _, group := range g.Groups {
		key := groupKey(group.Id)
		id, ok := b.identities[group.Organisation]
		if !ok || id.Kind != identityv1.Kind_KIND_ORGANISATION || did.Organisation(key.A) != id.Did || !did.IsName(key.B, maxName) || group.Created == nil {
			return ErrBadName.With("group %s of %s", group.Id, group.Organisation)
		}
		if err := b.once("group", group.Id); err != nil {
			return err
		}
		b.groups[group.Id] = group
	}
	for _, membership := range g.Memberships {
		id, ok := b.identities[membership.Did]
		if !ok {
			return ErrUnknownDID.With("%s", membership.Did)
		}
		if err := b.once("membership", membership.Did); err != nil {
			return err
		}
		if len(membership.Groups) == 0 || len(membership.Groups) > MaxMemberships || !slices.IsSorted(membership.Groups) {
			return ErrTooMany.With("%s must be in 1 to %d groups, sorted", membership.Did, MaxMemberships)
		}
		for _, name := range membership.Groups {
			group, ok := b.groups[name]
			if !ok || group.Organisation != id.Organisation {
				return ErrNoGroup.With("%s, with member %s", name, membership.Did)
			}
			if err := b.once("member of "+name, membership.Did); err != nil {
				return err
			}
			b.members[name]++
		}
	}
	for _, group := range g.Groups {
		if b.members[group.Id] != group.Members {
			return ErrTooMany.With("group %s counts %d members and has %d", group.Id, group.Members, b.members[group.Id])
		}
	}
	return nil
}

func (b *books) checkValidators(g *identityv1.Genesis) error {
	if len(g.Validators) > MaxValidators {
		return ErrTooMany.With("%d validators, at most %d", len(g.Validators), MaxValidators)
	}
	for i, v := range g.Validators {
		if err := validateValidator(v.PublicKey, v.Power, v.Moniker); err != nil {
			return err
		}
		if id, ok := b.identities[v.Organisation]; !ok || id.Kind != identityv1.Kind_KIND_ORGANISATION || v.Bound == nil {
			return ErrBadValidator.With("%s: organisation %s", v.Moniker, v.Organisation)
		}
		if url, taken := b.holders[string(holderKey(identityv1.KeyType_KEY_TYPE_ED25519, v.PublicKey))]; taken {
			return ErrKeyTaken.With("the consensus key of %s is %s", v.Moniker, url)
		}
		if slices.ContainsFunc(g.Validators[:i], func(o *identityv1.Validator) bool { return bytes.Equal(o.PublicKey, v.PublicKey) }) {
			return ErrTwice.With("validator %s", v.Moniker)
		}
	}
	return nil
}

func (b *books) checkNodes(g *identityv1.Genesis) error {
	for _, n := range g.Nodes {
		if err := validateNodeID(n.Id); err != nil {
			return err
		}
		if err := b.once("node", n.Id); err != nil {
			return err
		}
		if id, ok := b.identities[n.Organisation]; !ok || id.Kind != identityv1.Kind_KIND_ORGANISATION || n.Bound == nil {
			return ErrBadNode.With("%s: organisation %s", n.Id, n.Organisation)
		}
	}
	return nil
}

func (b *books) checkAuthorities(g *identityv1.Genesis) error {
	for _, a := range g.Authorities {
		if err := b.once("authorities", a.Organisation); err != nil {
			return err
		}
		id, ok := b.identities[a.Organisation]
		if !ok || id.Kind != identityv1.Kind_KIND_ORGANISATION || a.Changed == nil {
			return ErrBadAuthority.With("authorities of %s", a.Organisation)
		}
		if len(a.Authorities) > MaxAuthorities {
			return ErrTooMany.With("authorities of %s: %d, at most %d", a.Organisation, len(a.Authorities), MaxAuthorities)
		}
		for i, one := range a.Authorities {
			made, err := NewAuthority(one.Certificate)
			if err != nil {
				return err
			}
			if !bytes.Equal(made.Fingerprint, one.Fingerprint) || made.ExpiresAt != one.ExpiresAt {
				return ErrBadAuthority.With("an authority of %s: its fingerprint and end are not those of its certificate", a.Organisation)
			}
			if authorityOf(a.Authorities[:i], one.Fingerprint) != nil {
				return ErrTwice.With("an authority of %s", a.Organisation)
			}
			if len(one.Revoked) > MaxRevoked {
				return ErrTooManyRevoked.With("%s", a.Organisation)
			}
			for k, serial := range one.Revoked {
				if err := checkSerial(serial); err != nil {
					return err
				}
				if k > 0 && bytes.Compare(one.Revoked[k-1], serial) >= 0 {
					return ErrTwice.With("the revoked serial numbers of %s are not sorted", a.Organisation)
				}
			}
		}
	}
	return nil
}
