package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) setAdministrators() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.SetAdministrators]{
		Validate: func(msg *identityv1.SetAdministrators) error {
			d, err := checkDID("did", msg.Did)
			if err != nil {
				return err
			}
			if d.IsMember() {
				return ErrBadKind.With("did: only organisations and the consortium have administrators")
			}
			if err := checkList("administrators", msg.Administrators, MaxControllers); err != nil {
				return err
			}
			if d.IsConsortium() && len(msg.Administrators) == 0 {
				return ErrBadThreshold.With("the consortium needs organisations to act for it")
			}
			return checkThreshold(msg.Threshold, len(msg.Administrators))
		},
		Check: m.checkSetAdministrators,
		Execute: func(ctx *chain.Ctx, msg *identityv1.SetAdministrators) (proto.Message, error) {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			id.Controllers, id.Threshold = sorted(msg.Administrators), msg.Threshold
			m.s.identities.Put(ctx, id.Did, id)
			ctx.Emit(&identityv1.AdministratorsSet{Did: id.Did, Administrators: id.Controllers, Threshold: id.Threshold, By: ctx.Author()})
			return &identityv1.SetAdministratorsResponse{}, nil
		},
	})
}

func (m *Module) checkSetAdministrators(ctx chain.ReadCtx, msg *identityv1.SetAdministrators) error {
	id, err := m.managed(ctx, msg.Did)
	if err != nil {
		return err
	}
	for _, name := range msg.Administrators {
		c, err := m.existing(ctx, name)
		if err != nil {
			return err
		}
		if err := mayControl(id, c); err != nil {
			return err
		}
		if c.Status != identityv1.Status_STATUS_ACTIVE {
			return ErrSuspended.With("%s", name)
		}
	}
	if len(msg.Administrators) == 0 {
		id.Controllers = nil
		if !m.remains(ctx, id, "", ctx.Time()) {
			return ErrLastKey.With("%s", id.Did)
		}
	}
	return nil
}

// mayControl refuses a DID that cannot act for id: persons and services act for
// their organisation, organisations for the consortium.
func mayControl(id, c *identityv1.Identity) error {
	if id.Kind == identityv1.Kind_KIND_CONSORTIUM {
		if c.Kind != identityv1.Kind_KIND_ORGANISATION {
			return ErrBadKind.With("%s: organisations act for the consortium", c.Did)
		}
		return nil
	}
	if c.Organisation != id.Did {
		return ErrNotMember.With("%s, %s", c.Did, id.Did)
	}
	if c.Kind != identityv1.Kind_KIND_PERSON && c.Kind != identityv1.Kind_KIND_SERVICE {
		return ErrBadKind.With("%s: administrators are persons or services", c.Did)
	}
	return nil
}
