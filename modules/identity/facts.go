package identity

import (
	"slices"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// What other modules and the node ask. All are point lookups except Validators.

// Active tells whether a DID exists and may act: neither it nor its organisation is
// suspended or deactivated.
func (m *Module) Active(r chain.ReadCtx, name string) bool {
	g := &registry{m: m, r: r}
	id, ok := g.lookup(name)
	return ok && g.active(id) == nil
}

// Organisation is the DID of the organisation that a DID belongs to; for an
// organisation and the consortium, itself.
func (m *Module) Organisation(r chain.ReadCtx, name string) (string, bool) {
	id, ok := m.s.identities.Peek(r, name)
	if !ok {
		return "", false
	}
	return id.Organisation, true
}

// Kind is "organisation", "person", "device", "service" or "consortium".
func (m *Module) Kind(r chain.ReadCtx, name string) (string, bool) {
	id, ok := m.s.identities.Peek(r, name)
	if !ok {
		return "", false
	}
	return kindName(id.Kind), true
}

func kindName(k identityv1.Kind) string {
	switch k {
	case identityv1.Kind_KIND_CONSORTIUM:
		return "consortium"
	case identityv1.Kind_KIND_ORGANISATION:
		return "organisation"
	case identityv1.Kind_KIND_PERSON:
		return "person"
	case identityv1.Kind_KIND_DEVICE:
		return "device"
	case identityv1.Kind_KIND_SERVICE:
		return "service"
	default:
		return ""
	}
}

// Roles are the names of the roles that a DID has at r.Time(), sorted, whether or
// not it is active.
func (m *Module) Roles(r chain.ReadCtx, name string) []string {
	var out []string
	for _, g := range m.grants(r, name) {
		out = append(out, g.Role)
	}
	return out
}

// grants are the roles of a DID that have not expired, sorted.
func (m *Module) grants(r chain.ReadCtx, name string) []*identityv1.RoleGrant {
	all, _ := m.s.roles.Peek(r, name)
	var out []*identityv1.RoleGrant
	for _, g := range all.GetGrants() {
		if g.ExpiresAt == 0 || g.ExpiresAt > r.Time() {
			out = append(out, g)
		}
	}
	return out
}

// Groups are the ids of the groups that a DID is in, sorted.
func (m *Module) Groups(r chain.ReadCtx, name string) []string {
	all, ok := m.s.memberships.Lookup(r, name)
	if !ok {
		return nil
	}
	return all.Groups
}

// IsAdministrator tells whether a DID is active and among those that act for an
// organisation or, being an organisation, for the consortium.
func (m *Module) IsAdministrator(r chain.ReadCtx, organisation, name string) bool {
	id, ok := m.s.identities.Peek(r, organisation)
	return ok && slices.Contains(id.Controllers, name) && m.Active(r, name)
}

// Controllers are those that act for an organisation or for the consortium, sorted,
// active or not, and how many of them it takes; nobody where the DID acts by its own keys.
func (m *Module) Controllers(r chain.ReadCtx, name string) (dids []string, threshold uint32) {
	id, ok := m.s.identities.Peek(r, name)
	if !ok {
		return nil, 0
	}
	return slices.Clone(id.Controllers), id.Threshold
}

// NodeAllowed tells whether a node, by its CometBFT id, may take part in the
// network: it is bound to an active organisation.
func (m *Module) NodeAllowed(r chain.ReadCtx, nodeID string) bool {
	n, ok := m.s.nodes.Lookup(r, nodeID)
	return ok && m.Active(r, n.Organisation)
}

// NodeOrganisation is the DID of the organisation that a node is bound to, by its
// CometBFT id.
func (m *Module) NodeOrganisation(r chain.ReadCtx, nodeID string) (string, bool) {
	n, ok := m.s.nodes.Lookup(r, nodeID)
	return n.GetOrganisation(), ok
}

// Holders are the DIDs that a key, as Multikey writes it, belongs or belonged to: whoever
// registered it, and the organisation whose validator signs blocks with it. They are
// none where the key is unknown or is no key.
func (m *Module) Holders(r chain.ReadCtx, multikey string) []string {
	typ, public, err := parseMultikey(multikey)
	if err != nil {
		return nil
	}
	var out []string
	if h, ok := m.s.holders.Lookup(r, holderKey(typ, public)); ok {
		out = append(out, h.Did)
	}
	if v, ok := m.s.validators.Lookup(r, public); ok && typ == identityv1.KeyType_KEY_TYPE_ED25519 && !slices.Contains(out, v.Organisation) {
		out = append(out, v.Organisation)
	}
	return out
}

// Validators are the validators, sorted by public key.
func (m *Module) Validators(r chain.ReadCtx) []*identityv1.Validator {
	out, _ := m.s.validators.Page(r, all, MaxValidators)
	return out
}

// Authorities are the certificate authorities of an organisation, in its own order.
func (m *Module) Authorities(r chain.ReadCtx, organisation string) []*identityv1.Authority {
	a, _ := m.s.authorities.Lookup(r, organisation)
	return a.GetAuthorities()
}

// VouchedBy is the first organisation with a certificate authority that issued, by its
// certificate, what the caller has. It reads the authorities of all.
func (m *Module) VouchedBy(r chain.ReadCtx, issued func(*identityv1.Authority) bool) (organisation string, ok bool) {
	for name, a := range m.s.authorities.Walk(r, all) {
		if slices.ContainsFunc(a.Authorities, issued) {
			return name, true
		}
	}
	return "", false
}
