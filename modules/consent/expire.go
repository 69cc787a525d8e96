package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) expire() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.Expire, *consentv1.Record]{
		Validate: func(msg *consentv1.Expire) error { return checkHash("id", msg.Id) },
		Plan:     m.planExpire,
		Execute: func(ctx *chain.Ctx, msg *consentv1.Expire, rec *consentv1.Record) (proto.Message, error) {
			d := m.dossier(ctx, rec.Terms.Subject, rec.Terms.Controller)
			if err := m.recordExpiry(ctx, d, rec); err != nil {
				return nil, err
			}
			return &consentv1.ExpireResponse{Status: effective(rec, ctx.Time())}, nil
		},
	})
}

func (m *Module) planExpire(r chain.ReadCtx, msg *consentv1.Expire) (*consentv1.Record, error) {
	rec, ok := m.records.Lookup(r, msg.Id)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%x", msg.Id)
	case !inForce(rec.Status) && rec.Status != consentv1.Status_STATUS_REQUESTED:
		return nil, ErrWrongState.With("%s is final", rec.Status)
	case effective(rec, r.Time()) == rec.Status:
		return nil, ErrNotExpired
	}
	return rec, nil
}
