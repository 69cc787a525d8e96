package identity

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) registerIdentity() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RegisterIdentity]{
		Validate: func(msg *identityv1.RegisterIdentity) error { return validateNewIdentity(msg.Identity) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.RegisterIdentity) error {
			organisation, err := m.registersFor(ctx)
			if err != nil {
				return err
			}
			if d, err := did.Parse(msg.Identity.Did); err != nil || d.Organisation() != organisation {
				return ErrNotMember.With("%s, %s", msg.Identity.Did, organisation)
			}
			return m.checkNewIdentity(ctx, msg.Identity)
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RegisterIdentity) (proto.Message, error) {
			n := msg.Identity
			m.register(ctx, &identityv1.Identity{Did: n.Did, Kind: n.Kind, Organisation: ctx.Organisation()}, n.Keys)
			return &identityv1.RegisterIdentityResponse{}, nil
		},
	})
}

// registersFor is the organisation that the author registers members for: its own,
// when it is the organisation or has the role of registrar.
func (m *Module) registersFor(r chain.ReadCtx) (string, error) {
	author, err := m.own(r)
	switch {
	case err != nil:
		return "", err
	case author.Kind == identityv1.Kind_KIND_ORGANISATION:
		return author.Did, nil
	case author.Kind == identityv1.Kind_KIND_CONSORTIUM || !slices.Contains(m.Roles(r, author.Did), RoleRegistrar):
		return "", ErrNotAllowed.With("%s is neither an organisation nor a registrar", author.Did)
	}
	return author.Organisation, nil
}

// validateNewIdentity checks the form of a member.
func validateNewIdentity(n *identityv1.NewIdentity) error {
	if n == nil {
		return ErrBadDID.With("identity is missing")
	}
	d, err := checkDID("did", n.Did)
	if err != nil {
		return err
	}
	switch n.Kind {
	case identityv1.Kind_KIND_DEVICE, identityv1.Kind_KIND_SERVICE:
	case identityv1.Kind_KIND_PERSON:
		// A name in a DID could never be taken off the chain again.
		if !did.IsPersonID(d.ID()) {
			return ErrBadDID.With("%s: the id of a person is %d random characters of a-z and 2-7", n.Did, did.PersonIDSize)
		}
	default:
		return ErrBadKind.With("kind: person, device or service")
	}
	if !d.IsMember() {
		return ErrBadDID.With("%s: a member's DID has an id after the organisation's slug", n.Did)
	}
	return validateKeys(n.Keys)
}

// checkNewIdentity refuses a DID that exists and keys that cannot be added.
func (m *Module) checkNewIdentity(r chain.ReadCtx, n *identityv1.NewIdentity) error {
	if m.s.identities.Has(r, n.Did) {
		return ErrDIDTaken.With("%s", n.Did)
	}
	for _, k := range n.Keys {
		if err := m.checkNewKey(r, n.Did, k); err != nil {
			return err
		}
	}
	if !canAuthenticateNow(n.Keys, r.Time()) {
		return ErrLastKey.With("%s: give it a key with the purpose of authentication that is valid at once", n.Did)
	}
	return nil
}
