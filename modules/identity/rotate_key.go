package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) rotateKey() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RotateKey]{
		Validate: func(msg *identityv1.RotateKey) error {
			if err := validateKeyHolder(msg.Did); err != nil {
				return err
			}
			if !did.IsFragment(msg.KeyId) {
				return ErrBadKey.With("key_id: 1 to 64 characters of a-z, 0-9 and -")
			}
			if msg.OverlapMs < 0 || msg.OverlapMs > MaxOverlap {
				return ErrBadTime.With("overlap_ms is %d, want 0 to %d", msg.OverlapMs, MaxOverlap)
			}
			return validateKey(msg.NewKey, true)
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.RotateKey) error {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return err
			}
			old, err := m.lasting(ctx, id.Did, msg.KeyId)
			if err != nil {
				return err
			}
			if err := validatePurposes(msg.NewKey.Type, old.Purposes); err != nil {
				return ErrBadKey.With("%s: %v", msg.NewKey.Id, err)
			}
			retires := ctx.Time() + msg.OverlapMs
			if msg.NewKey.ValidFrom > retires || msg.NewKey.ValidUntil != 0 && msg.NewKey.ValidUntil <= retires {
				return ErrBadTime.With("the new key must be valid when the old one ends, at %d", retires)
			}
			n := 1
			for _, k := range m.current(ctx, id, ctx.Time()) {
				if k.Id != old.Id || msg.OverlapMs > 0 {
					n++
				}
			}
			if n > MaxKeys {
				return ErrTooMany.With("%s would have %d keys, at most %d; rotate without overlap or revoke one first", id.Did, n, MaxKeys)
			}
			return m.checkAnotherKey(ctx, id, msg.NewKey)
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RotateKey) (proto.Message, error) {
			id, err := m.managed(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			old, err := m.lasting(ctx, id.Did, msg.KeyId)
			if err != nil {
				return nil, err
			}
			now := m.revise(ctx, id)
			old.Rotated, old.RetiresAt, old.ReplacedBy = now, ctx.Time()+msg.OverlapMs, msg.NewKey.Id
			m.s.keys.Put(ctx, state.Join(id.Did, old.Id), old)
			m.dropEnded(ctx, id)
			k := keyOf(id.Did, msg.NewKey)
			k.Purposes = old.Purposes
			m.addKey(ctx, id, k)
			m.s.identities.Put(ctx, id.Did, id)
			ctx.Emit(&identityv1.KeyRotated{Did: id.Did, OldKey: old.Id, NewKey: k.Id, RetiresAt: old.RetiresAt, By: ctx.Author()})
			return &identityv1.RotateKeyResponse{RetiresAt: old.RetiresAt}, nil
		},
	})
}

// lasting is a key that was neither revoked nor rotated out, nor waits for a
// recovery. It may have expired.
func (m *Module) lasting(r chain.ReadCtx, of, name string) (*identityv1.Key, error) {
	k, ok := m.s.keys.Lookup(r, state.Join(of, name))
	switch {
	case !ok || k.Pending:
		return nil, ErrUnknownKey.With("%s", did.URL(of, name))
	case k.Revoked != nil:
		return nil, ErrKeyRevoked.With("%s", did.URL(of, name))
	case k.Rotated != nil:
		return nil, ErrKeyRotated.With("%s, by %s", did.URL(of, name), k.ReplacedBy)
	}
	return k, nil
}
