package identity

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) createGroup() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.CreateGroup]{
		Validate: func(msg *identityv1.CreateGroup) error { return validateGroupName(msg.Name) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.CreateGroup) error {
			key, err := m.ownGroup(ctx, msg.Name)
			if err == nil && m.s.groups.Has(ctx, key) {
				return ErrGroupTaken.With("%s", groupID(key))
			}
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.CreateGroup) (proto.Message, error) {
			key, err := m.ownGroup(ctx, msg.Name)
			if err != nil {
				return nil, err
			}
			id := groupID(key)
			m.s.groups.Put(ctx, key, &identityv1.Group{Id: id, Organisation: ctx.Author(), Created: mark(ctx, 0)})
			ctx.Emit(&identityv1.GroupCreated{Id: id})
			return &identityv1.CreateGroupResponse{Id: id}, nil
		},
	})
}

func validateGroupName(name string) error {
	if !did.IsName(name, maxName) {
		return ErrBadName.With("name")
	}
	return nil
}

// ownGroup is the key of a group of the author, which must be an organisation.
func (m *Module) ownGroup(r chain.ReadCtx, name string) (state.Pair[string, string], error) {
	author, err := m.own(r, identityv1.Kind_KIND_ORGANISATION)
	if err != nil {
		return state.Pair[string, string]{}, err
	}
	d, err := checkDID("author", author.Did)
	return state.Join(d.Slug(), name), err
}

// groupID is SLUG/NAME.
func groupID(key state.Pair[string, string]) string { return key.A + "/" + key.B }

// groupKey is the inverse of groupID.
func groupKey(id string) state.Pair[string, string] {
	slug, name, _ := strings.Cut(id, "/")
	return state.Join(slug, name)
}
