package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) cancelRecovery() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.CancelRecovery]{
		Check: func(ctx chain.ReadCtx, _ *identityv1.CancelRecovery) error {
			_, err := m.pendingRecovery(ctx)
			return err
		},
		Execute: func(ctx *chain.Ctx, _ *identityv1.CancelRecovery) (proto.Message, error) {
			pending, err := m.pendingRecovery(ctx)
			if err != nil {
				return nil, err
			}
			m.dropRecovery(ctx, pending)
			return &identityv1.CancelRecoveryResponse{}, nil
		},
	})
}

func (m *Module) pendingRecovery(r chain.ReadCtx) (*identityv1.Recovery, error) {
	pending, ok := m.s.recoveries.Lookup(r, r.Author())
	if !ok {
		return nil, ErrNoRecovery.With("%s", r.Author())
	}
	return pending, nil
}
