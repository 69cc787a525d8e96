package identity

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) revokeRole() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RevokeRole]{
		Validate: func(msg *identityv1.RevokeRole) error { return validateRole(msg.Did, msg.Role) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.RevokeRole) error {
			id, err := m.existing(ctx, msg.Did)
			if err != nil {
				return err
			}
			if ctx.Author() != id.Did && ctx.Author() != id.Organisation {
				return ErrNotAllowed.With("%s acts on %s", ctx.Author(), id.Did)
			}
			if !slices.Contains(m.Roles(ctx, id.Did), msg.Role) {
				return ErrNoRole.With("%s, %s", id.Did, msg.Role)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RevokeRole) (proto.Message, error) {
			others, n := m.granted(ctx, msg.Did, msg.Role)
			if n == 0 {
				m.s.roles.Remove(ctx, msg.Did)
			} else {
				m.s.roles.Put(ctx, msg.Did, &identityv1.RoleGrants{Did: msg.Did, Grants: others})
			}
			ctx.Emit(&identityv1.RoleRevoked{Did: msg.Did, Role: msg.Role, By: ctx.Author()})
			return &identityv1.RevokeRoleResponse{}, nil
		},
	})
}
