package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) revokeKey() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RevokeKey]{
		Validate: func(msg *identityv1.RevokeKey) error {
			if err := validateKeyHolder(msg.Did); err != nil {
				return err
			}
			if !did.IsFragment(msg.KeyId) {
				return ErrBadKey.With("key_id: 1 to 64 characters of a-z, 0-9 and -")
			}
			return checkReason(msg.Reason)
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.RevokeKey) error {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return err
			}
			k, err := m.revocable(ctx, id.Did, msg.KeyId)
			if err != nil {
				return err
			}
			if authenticates(k) && usable(k, ctx.Time()) == nil && !m.remains(ctx, id, k.Id, ctx.Time()) {
				return ErrLastKey.With("%s", did.URL(id.Did, k.Id))
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RevokeKey) (proto.Message, error) {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			k, err := m.revocable(ctx, id.Did, msg.KeyId)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			m.endKey(ctx, id, k, msg.Reason)
			m.s.identities.Put(ctx, id.Did, id)
			return &identityv1.RevokeKeyResponse{}, nil
		},
	})
}

// revocable is a key that was not revoked. One that was rotated out or expired may
// still be, so that its history says that it was compromised.
func (m *Module) revocable(r chain.ReadCtx, of, name string) (*identityv1.Key, error) {
	k, ok := m.s.keys.Lookup(r, state.Join(of, name))
	switch {
	case !ok || k.Pending:
		return nil, ErrUnknownKey.With("%s", did.URL(of, name))
	case k.Revoked != nil:
		return nil, ErrKeyRevoked.With("%s", did.URL(of, name))
	}
	return k, nil
}
