package identity

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) changeGroupMembers() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.ChangeGroupMembers]{
		Validate: func(msg *identityv1.ChangeGroupMembers) error {
			if err := validateGroupName(msg.Name); err != nil {
				return err
			}
			if err := checkList("add", msg.Add, MaxGroupChange); err != nil {
				return err
			}
			if err := checkList("remove", msg.Remove, MaxGroupChange); err != nil {
				return err
			}
			for _, name := range msg.Remove {
				if slices.Contains(msg.Add, name) {
					return ErrTwice.With("%s is both added and removed", name)
				}
			}
			return nil
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.ChangeGroupMembers) error {
			key, err := m.ownGroup(ctx, msg.Name)
			if err != nil {
				return err
			}
			g, ok := m.s.groups.Lookup(ctx, key)
			if !ok {
				return ErrNoGroup.With("%s", groupID(key))
			}
			entering, leaving := m.groupChange(ctx, key, msg)
			if n := int(g.Members) + len(entering) - len(leaving); n > MaxGroupMembers {
				return ErrTooMany.With("%s would have %d members, at most %d", g.Id, n, MaxGroupMembers)
			}
			for _, name := range entering {
				if err := m.belongs(ctx, name); err != nil {
					return err
				}
				if n := len(m.Groups(ctx, name)); n >= MaxMemberships {
					return ErrTooMany.With("%s is in %d groups, at most %d", name, n, MaxMemberships)
				}
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.ChangeGroupMembers) (proto.Message, error) {
			key, err := m.ownGroup(ctx, msg.Name)
			if err != nil {
				return nil, err
			}
			g, ok := m.s.groups.Lookup(ctx, key)
			if !ok {
				return nil, ErrNoGroup.With("%s", groupID(key))
			}
			entering, leaving := m.groupChange(ctx, key, msg)
			for _, name := range entering {
				m.s.groupMembers.Add(ctx, state.Join3(key.A, key.B, name))
				m.putMemberships(ctx, name, with(m.Groups(ctx, name), g.Id))
			}
			for _, name := range leaving {
				m.s.groupMembers.Remove(ctx, state.Join3(key.A, key.B, name))
				m.putMemberships(ctx, name, without(m.Groups(ctx, name), g.Id))
			}
			g.Members = g.Members + uint32(len(entering)) - uint32(len(leaving))
			if len(entering)+len(leaving) > 0 {
				m.s.groups.Put(ctx, key, g)
				ctx.Emit(&identityv1.GroupMembersChanged{Id: g.Id, Added: entering, Removed: leaving})
			}
			return &identityv1.ChangeGroupMembersResponse{Members: g.Members}, nil
		},
	})
}

// groupChange is who would enter and who would leave, each sorted.
func (m *Module) groupChange(r chain.ReadCtx, key state.Pair[string, string], msg *identityv1.ChangeGroupMembers) (entering, leaving []string) {
	for _, name := range sorted(msg.Add) {
		if !m.s.groupMembers.Has(r, state.Join3(key.A, key.B, name)) {
			entering = append(entering, name)
		}
	}
	for _, name := range sorted(msg.Remove) {
		if m.s.groupMembers.Has(r, state.Join3(key.A, key.B, name)) {
			leaving = append(leaving, name)
		}
	}
	return entering, leaving
}

func (m *Module) putMemberships(ctx *chain.Ctx, name string, groups []string) {
	if len(groups) == 0 {
		m.s.memberships.Remove(ctx, name)
		return
	}
	m.s.memberships.Put(ctx, name, &identityv1.Membership{Did: name, Groups: groups})
}
