package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) deactivate() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.Deactivate]{
		Validate: func(msg *identityv1.Deactivate) error { return validateEnding(msg.Did, msg.Reason) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.Deactivate) error {
			id, err := m.endable(ctx, msg.Did)
			if err != nil {
				return err
			}
			if above, is := m.isController(ctx, id); is {
				return ErrStillController.With("%s acts for %s", id.Did, above.Did)
			}
			if id.Kind == identityv1.Kind_KIND_ORGANISATION {
				for _, v := range m.s.validators.Walk(ctx, all) {
					if v.Organisation == id.Did {
						return ErrHasValidators.With("%s", id.Did)
					}
				}
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.Deactivate) (proto.Message, error) {
			id, err := m.endable(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			id.Status, id.Reason, id.Provisional = identityv1.Status_STATUS_DEACTIVATED, msg.Reason, false
			m.s.identities.Put(ctx, id.Did, id)
			if pending, ok := m.s.recoveries.Lookup(ctx, id.Did); ok {
				m.dropRecovery(ctx, pending)
			}
			m.s.roles.Remove(ctx, id.Did)
			m.s.authorities.Remove(ctx, id.Did)
			for _, group := range m.Groups(ctx, id.Did) {
				m.leave(ctx, group, id.Did)
			}
			m.s.memberships.Remove(ctx, id.Did)
			ctx.Emit(&identityv1.Deactivated{Did: id.Did, Reason: msg.Reason, By: ctx.Author()})
			return &identityv1.DeactivateResponse{}, nil
		},
	})
}

// leave takes a DID out of a group, but not the group out of its memberships.
func (m *Module) leave(ctx *chain.Ctx, group, name string) {
	key := groupKey(group)
	g, ok := m.s.groups.Lookup(ctx, key)
	if !ok {
		panic("identity: " + name + " is in a group that is not stored: " + group)
	}
	m.s.groupMembers.Remove(ctx, state.Join3(key.A, key.B, name))
	g.Members--
	m.s.groups.Put(ctx, key, g)
}
