package identity

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) addKeyRoute() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.AddKey]{
		Validate: func(msg *identityv1.AddKey) error {
			if err := validateKeyHolder(msg.Did); err != nil {
				return err
			}
			return validateKey(msg.Key, false)
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.AddKey) error {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return err
			}
			if n := len(m.current(ctx, id, ctx.Time())); n >= MaxKeys {
				return ErrTooMany.With("%s has %d keys, at most %d; revoke one first", id.Did, n, MaxKeys)
			}
			return m.checkAnotherKey(ctx, id, msg.Key)
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.AddKey) (proto.Message, error) {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			m.dropEnded(ctx, id)
			m.addKey(ctx, id, keyOf(id.Did, msg.Key))
			m.s.identities.Put(ctx, id.Did, id)
			return &identityv1.AddKeyResponse{}, nil
		},
	})
}

// validateKeyHolder checks the form of a DID that can hold keys.
func validateKeyHolder(name string) error {
	d, err := checkDID("did", name)
	if err == nil && d.IsConsortium() {
		return ErrBadKind.With("the consortium has no keys; its organisations sign for it")
	}
	return err
}

// checkAnotherKey is checkNewKey for a DID that exists.
func (m *Module) checkAnotherKey(r chain.ReadCtx, id *identityv1.Identity, k *identityv1.NewKey) error {
	if slices.ContainsFunc(id.Services, func(s *identityv1.Service) bool { return s.Id == k.Id }) {
		return ErrKeyIDTaken.With("%s is a service", did.URL(id.Did, k.Id))
	}
	return m.checkNewKey(r, id.Did, k)
}

// dropEnded takes keys that ended by themselves off the list of the version that is
// being made, so that they do not fill it.
func (m *Module) dropEnded(ctx *chain.Ctx, id *identityv1.Identity) {
	var left []string
	for _, k := range m.current(ctx, id, ctx.Time()) {
		left = append(left, k.Id)
	}
	id.Keys = left
}
