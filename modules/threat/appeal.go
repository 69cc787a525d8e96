package threat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// maxAppeals is how often a transaction can be appealed.
const maxAppeals = 2

// appeal is the route of Appeal. Of a held transaction it puts off the expiry, once;
// of one that was denied or rejected it makes it wait for reviewers again, within
// params.appeal_ms.
func (m *Module) appeal() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.Appeal]{
		Validate: func(msg *threatv1.Appeal) error {
			if err := checkHash("text_hash", msg.TextHash); err != nil {
				return err
			}
			switch against := msg.Against.(type) {
			case *threatv1.Appeal_TxId:
				return checkHash("tx_id", against.TxId)
			case *threatv1.Appeal_ResponseId:
				return checkHash("response_id", against.ResponseId)
			}
			return ErrInvalid.With("name a transaction or a response")
		},
		Check: func(r chain.ReadCtx, msg *threatv1.Appeal) error {
			if id := msg.GetResponseId(); id != nil {
				if !m.responses.Has(r, id) {
					return ErrNotFound.With("%x", id)
				}
				return nil
			}
			_, err := m.planAppeal(r, msg.GetTxId())
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *threatv1.Appeal) (proto.Message, error) {
			a := &threatv1.AppealRecord{Author: ctx.Author(), TextHash: msg.TextHash, Time: ctx.Time()}
			if id := msg.GetResponseId(); id != nil {
				if err := m.appealResponse(ctx, id, a); err != nil {
					return nil, err
				}
				rec, _ := m.responses.Lookup(ctx, id)
				return &threatv1.AppealResponse{ExpiresAt: rec.GetExpiresAt()}, nil
			}
			h, err := m.planAppeal(ctx, msg.GetTxId())
			if err != nil {
				return nil, err
			}
			m.appealTx(ctx, h, a)
			return &threatv1.AppealResponse{ExpiresAt: h.ExpiresAt}, nil
		},
	})
}

// planAppeal is the record that the author may appeal.
func (m *Module) planAppeal(r chain.ReadCtx, id []byte) (*threatv1.Hold, error) {
	h, ok := m.holds.Lookup(r, id)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%x", id)
	case !m.mayAppeal(r, h):
		return nil, ErrNotAppellant.With("%s", r.Author())
	case !waits(h.Status):
		return nil, ErrWrongStatus.With("%s", h.Status)
	case len(h.Appeals) >= maxAppeals:
		return nil, ErrTooMany.With("%d appeals were made", len(h.Appeals))
	case over(h, r.Time()):
		return nil, ErrTooLate.With("the time was until %d", h.ExpiresAt)
	case h.Status == threatv1.HoldStatus_HOLD_STATUS_HELD && slices.ContainsFunc(h.Appeals, wasHeld):
		return nil, ErrTooMany.With("its time was extended before")
	}
	return h, nil
}

func wasHeld(a *threatv1.AppealRecord) bool {
	return a.Status == threatv1.HoldStatus_HOLD_STATUS_HELD
}

// mayAppeal tells whether the context's author is the transaction's, its organisation
// or an administrator of it.
func (m *Module) mayAppeal(r chain.ReadCtx, h *threatv1.Hold) bool {
	switch author := r.Author(); author {
	case h.Author, h.Organisation:
		return true
	default:
		return m.deps.Identity.IsAdministrator(r, h.Organisation, author)
	}
}

// appealTx carries out an appeal that planAppeal allows.
func (m *Module) appealTx(ctx *chain.Ctx, h *threatv1.Hold, a *threatv1.AppealRecord) {
	hold := m.paramsIn(ctx).HoldMs
	a.Status = h.Status
	h.Appeals = append(h.Appeals, a)
	if h.Status == threatv1.HoldStatus_HOLD_STATUS_HELD {
		m.postpone(ctx, h, h.ExpiresAt+hold)
	} else {
		if h.Status == threatv1.HoldStatus_HOLD_STATUS_REJECTED {
			m.reopened(ctx, h)
		}
		h.Status, h.EndedHeight, h.EndedTime = threatv1.HoldStatus_HOLD_STATUS_HELD, 0, 0
		h.Reopened = uint32(len(h.Reviews))
		m.postpone(ctx, h, ctx.Time()+hold)
	}
	m.holds.Put(ctx, h.TxId, h)
	ctx.Emit(&threatv1.Appealed{TxId: h.TxId, Appeal: a})
}

// holdRoutes handle what is said on held transactions.
func (m *Module) holdRoutes() []chain.Route {
	return []chain.Route{m.release(), m.reject(), m.appeal()}
}
