package identity

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) registerOrganisation() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RegisterOrganisation]{
		Validate: validateRegisterOrganisation,
		Check: func(ctx chain.ReadCtx, msg *identityv1.RegisterOrganisation) error {
			if err := byConsortium(ctx); err != nil {
				return err
			}
			if m.s.identities.Has(ctx, msg.Did) {
				return ErrDIDTaken.With("%s", msg.Did)
			}
			for _, k := range msg.Keys {
				if err := m.checkNewKey(ctx, msg.Did, k); err != nil {
					return err
				}
			}
			for _, a := range msg.Administrators {
				if err := m.checkNewIdentity(ctx, a); err != nil {
					return err
				}
			}
			if len(msg.Administrators) == 0 && !canAuthenticateNow(msg.Keys, ctx.Time()) {
				return ErrLastKey.With("%s: give it administrators, or a key with the purpose of authentication that is valid at once", msg.Did)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RegisterOrganisation) (proto.Message, error) {
			var administrators []string
			for _, a := range msg.Administrators {
				administrators = append(administrators, a.Did)
			}
			slices.Sort(administrators)
			m.register(ctx, &identityv1.Identity{
				Did: msg.Did, Kind: identityv1.Kind_KIND_ORGANISATION, Organisation: msg.Did,
				Controllers: administrators, Threshold: msg.Threshold,
			}, msg.Keys)
			if len(administrators) > 0 {
				ctx.Emit(&identityv1.AdministratorsSet{Did: msg.Did, Administrators: administrators, Threshold: msg.Threshold, By: ctx.Author()})
			}
			for _, a := range msg.Administrators {
				m.register(ctx, &identityv1.Identity{Did: a.Did, Kind: a.Kind, Organisation: msg.Did}, a.Keys)
			}
			return &identityv1.RegisterOrganisationResponse{}, nil
		},
	})
}

func validateRegisterOrganisation(msg *identityv1.RegisterOrganisation) error {
	d, err := checkDID("did", msg.Did)
	if err != nil {
		return err
	}
	if !d.IsOrganisation() {
		return ErrBadDID.With("did: %s is no organisation's", msg.Did)
	}
	if err := validateKeys(msg.Keys); err != nil {
		return err
	}
	if len(msg.Administrators) > MaxFoundingMembers {
		return ErrTooMany.With("administrators: %d, at most %d", len(msg.Administrators), MaxFoundingMembers)
	}
	if err := checkThreshold(msg.Threshold, len(msg.Administrators)); err != nil {
		return err
	}
	all := slices.Clone(msg.Keys)
	for i, a := range msg.Administrators {
		if err := validateNewIdentity(a); err != nil {
			return err
		}
		if owner, err := did.Parse(a.Did); err != nil || owner.Slug() != d.Slug() {
			return ErrNotMember.With("%s, %s", a.Did, msg.Did)
		}
		if a.Kind == identityv1.Kind_KIND_DEVICE {
			return ErrBadKind.With("%s: administrators are persons or services", a.Did)
		}
		for _, o := range msg.Administrators[:i] {
			if o.Did == a.Did {
				return ErrTwice.With("administrators: %s", a.Did)
			}
		}
		for _, k := range a.Keys {
			if slices.ContainsFunc(all, func(o *identityv1.NewKey) bool { return bytes.Equal(o.Public, k.Public) }) {
				return ErrTwice.With("key %s of %s", k.Id, a.Did)
			}
		}
		all = append(all, a.Keys...)
	}
	return nil
}

// register creates a DID with its keys.
func (m *Module) register(ctx *chain.Ctx, id *identityv1.Identity, list []*identityv1.NewKey) {
	for _, k := range list {
		id.Keys = with(id.Keys, k.Id)
	}
	m.create(ctx, id)
	for _, k := range list {
		m.addKey(ctx, id, keyOf(id.Did, k))
	}
}
