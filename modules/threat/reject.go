package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func (m *Module) reject() chain.Route {
	return chain.HandlePlan(chain.Planner[*threatv1.Reject, *ballot]{
		Validate: func(msg *threatv1.Reject) error { return checkReview(msg.TxId, msg.NoteHash) },
		Plan: func(r chain.ReadCtx, msg *threatv1.Reject) (*ballot, error) {
			return m.planReview(r, msg.TxId, msg.NoteHash, false)
		},
		Execute: func(ctx *chain.Ctx, msg *threatv1.Reject, b *ballot) (proto.Message, error) {
			b.speak(ctx)
			h := b.hold
			if b.decided() {
				h.Status, h.EndedHeight, h.EndedTime = threatv1.HoldStatus_HOLD_STATUS_REJECTED, ctx.Height(), ctx.Time()
				if len(h.Appeals) < maxAppeals {
					m.postpone(ctx, h, ctx.Time()+m.paramsIn(ctx).AppealMs)
				} else {
					m.dropBytes(ctx, h)
					h.ExpiresAt = 0
				}
				m.judged(ctx, h, false)
				ctx.Emit(&threatv1.TxRejected{Hold: h})
			}
			m.holds.Put(ctx, h.TxId, h)
			return &threatv1.RejectResponse{Status: h.Status, Have: b.have, Want: b.want}, nil
		},
	})
}
