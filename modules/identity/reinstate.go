package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) reinstate() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.Reinstate]{
		Validate: func(msg *identityv1.Reinstate) error {
			_, err := checkDID("did", msg.Did)
			return err
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.Reinstate) error {
			id, err := m.existing(ctx, msg.Did)
			switch {
			case err != nil:
				return err
			case ctx.Author() != superior(id):
				return ErrNotAllowed.With("%s acts on %s", ctx.Author(), id.Did)
			case id.Status != identityv1.Status_STATUS_SUSPENDED:
				return ErrStatus.With("%s is active", id.Did)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.Reinstate) (proto.Message, error) {
			id, err := m.existing(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			id.Status, id.Reason, id.Provisional = identityv1.Status_STATUS_ACTIVE, identityv1.Reason_REASON_UNSPECIFIED, false
			m.s.identities.Put(ctx, id.Did, id)
			ctx.Emit(&identityv1.Reinstated{Did: id.Did, By: ctx.Author()})
			return &identityv1.ReinstateResponse{}, nil
		},
	})
}
