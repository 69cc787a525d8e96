package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) deleteGroup() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.DeleteGroup]{
		Validate: func(msg *identityv1.DeleteGroup) error { return validateGroupName(msg.Name) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.DeleteGroup) error {
			key, err := m.ownGroup(ctx, msg.Name)
			if err != nil {
				return err
			}
			g, ok := m.s.groups.Lookup(ctx, key)
			if !ok {
				return ErrNoGroup.With("%s", groupID(key))
			}
			if g.Members > MaxGroupDelete {
				return ErrGroupTooLarge.With("%s has %d, at most %d", g.Id, g.Members, MaxGroupDelete)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.DeleteGroup) (proto.Message, error) {
			key, err := m.ownGroup(ctx, msg.Name)
			if err != nil {
				return nil, err
			}
			id := groupID(key)
			var members []string
			for k := range m.s.groupMembers.Walk(ctx, membersOf(key)) {
				members = append(members, k.C)
			}
			for _, name := range members {
				m.s.groupMembers.Remove(ctx, state.Join3(key.A, key.B, name))
				m.putMemberships(ctx, name, without(m.Groups(ctx, name), id))
			}
			m.s.groups.Remove(ctx, key)
			ctx.Emit(&identityv1.GroupDeleted{Id: id})
			return &identityv1.DeleteGroupResponse{}, nil
		},
	})
}

// membersOf spans the members of a group.
func membersOf(key state.Pair[string, string]) state.Span {
	return state.Under2(state.String, state.String, key.A, key.B)
}
