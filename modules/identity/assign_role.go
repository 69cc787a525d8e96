package identity

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) assignRole() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.AssignRole]{
		Validate: func(msg *identityv1.AssignRole) error {
			if msg.ExpiresAt < 0 || msg.ExpiresAt > maxTime {
				return ErrBadTime.With("expires_at is %d", msg.ExpiresAt)
			}
			return validateRole(msg.Did, msg.Role)
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.AssignRole) error {
			if err := m.belongs(ctx, msg.Did); err != nil {
				return err
			}
			if msg.ExpiresAt != 0 && msg.ExpiresAt <= ctx.Time() {
				return ErrBadTime.With("expires_at has passed")
			}
			if _, n := m.granted(ctx, msg.Did, msg.Role); n >= MaxRoles {
				return ErrTooMany.With("%s has %d roles, at most %d", msg.Did, n, MaxRoles)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.AssignRole) (proto.Message, error) {
			others, _ := m.granted(ctx, msg.Did, msg.Role)
			others = append(others, &identityv1.RoleGrant{Role: msg.Role, ExpiresAt: msg.ExpiresAt, Granted: mark(ctx, 0)})
			slices.SortFunc(others, func(a, b *identityv1.RoleGrant) int { return strings.Compare(a.Role, b.Role) })
			m.s.roles.Put(ctx, msg.Did, &identityv1.RoleGrants{Did: msg.Did, Grants: others})
			ctx.Emit(&identityv1.RoleAssigned{Did: msg.Did, Role: msg.Role, ExpiresAt: msg.ExpiresAt})
			return &identityv1.AssignRoleResponse{}, nil
		},
	})
}

func validateRole(name, role string) error {
	if _, err := checkDID("did", name); err != nil {
		return err
	}
	if !did.IsName(role, maxName) {
		return ErrBadName.With("role")
	}
	return nil
}

// belongs refuses a DID that has ended or that is not the author, an organisation,
// or a member of it.
func (m *Module) belongs(r chain.ReadCtx, name string) error {
	author, err := m.own(r, identityv1.Kind_KIND_ORGANISATION)
	if err != nil {
		return err
	}
	id, err := m.existing(r, name)
	if err == nil && id.Organisation != author.Did {
		return ErrNotMember.With("%s, %s", name, author.Did)
	}
	return err
}

// granted are the roles of a DID but one that have not expired, and their number.
func (m *Module) granted(r chain.ReadCtx, name, but string) ([]*identityv1.RoleGrant, int) {
	others := slices.DeleteFunc(m.grants(r, name), func(g *identityv1.RoleGrant) bool { return g.Role == but })
	return others, len(others)
}
