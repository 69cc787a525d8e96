package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func (m *Module) release() chain.Route {
	return chain.HandlePlan(chain.Planner[*threatv1.Release, *ballot]{
		Validate: func(msg *threatv1.Release) error { return checkReview(msg.TxId, msg.NoteHash) },
		Plan: func(r chain.ReadCtx, msg *threatv1.Release) (*ballot, error) {
			return m.planReview(r, msg.TxId, msg.NoteHash, true)
		},
		Execute: func(ctx *chain.Ctx, msg *threatv1.Release, b *ballot) (proto.Message, error) {
			b.speak(ctx)
			out := &threatv1.ReleaseResponse{Have: b.have, Want: b.want}
			if !b.decided() {
				m.holds.Put(ctx, b.hold.TxId, b.hold)
			} else {
				out.Responses, out.Log = m.executeKept(ctx, b.hold)
			}
			out.Status, out.Code, out.Codespace = b.hold.Status, b.hold.Code, b.hold.Codespace
			return out, nil
		},
	})
}

// executeKept executes a held transaction, once: before it runs, its record says that
// it is decided, and its bytes are gone. That it fails is the transaction's affair and
// not the reviewer's.
func (m *Module) executeKept(ctx *chain.Ctx, h *threatv1.Hold) (responses [][]byte, log string) {
	k, ok := m.kept.Lookup(ctx, h.TxId)
	if !ok {
		panic("threat: a held transaction has no bytes")
	}
	h.Status, h.EndedHeight, h.EndedTime = threatv1.HoldStatus_HOLD_STATUS_RELEASED, ctx.Height(), ctx.Time()
	m.dropBytes(ctx, h)
	m.holds.Put(ctx, h.TxId, h)
	responses, err := m.executor.ExecuteKept(ctx, k.Raw)
	if err != nil {
		e := errs.As(err)
		h.Status, h.Code, h.Codespace, log = threatv1.HoldStatus_HOLD_STATUS_FAILED, e.Code, e.Module, err.Error()
		responses = nil
		m.holds.Put(ctx, h.TxId, h)
	}
	m.judged(ctx, h, true)
	ctx.Emit(&threatv1.TxReleased{Hold: h, Responses: responses, Log: log})
	return responses, log
}
