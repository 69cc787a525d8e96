package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) withdraw() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.Withdraw, withdrawal]{
		Validate: func(msg *consentv1.Withdraw) error { return checkHash("id", msg.Id) },
		Plan:     m.planWithdraw,
		Execute: func(ctx *chain.Ctx, _ *consentv1.Withdraw, p withdrawal) (proto.Message, error) {
			next := m.revise(ctx, p.record)
			next.Status = consentv1.Status_STATUS_WITHDRAWN
			ctx.Emit(&consentv1.Withdrawn{
				Id: next.Id, Version: next.Version, Subject: next.Terms.Subject, Controller: next.Terms.Controller,
				Recipients: next.Terms.Recipients, By: ctx.Author(),
			})
			if err := m.end(ctx, p.dossier, next, Withdrawn); err != nil {
				return nil, err
			}
			return &consentv1.WithdrawResponse{Version: next.Version}, nil
		},
	})
}

// withdrawal is a plan to withdraw.
type withdrawal struct {
	record  *consentv1.Record
	dossier *consentv1.Dossier
}

// planWithdraw accepts also a consent whose time has passed unrecorded: the
// subject's word is kept, whichever came first.
func (m *Module) planWithdraw(r chain.ReadCtx, msg *consentv1.Withdraw) (withdrawal, error) {
	rec, ok := m.records.Lookup(r, msg.Id)
	switch {
	case !ok:
		return withdrawal{}, ErrNotFound.With("%x", msg.Id)
	case !inForce(rec.Status):
		return withdrawal{}, ErrWrongState.With("%s cannot be withdrawn", rec.Status)
	}
	d := m.dossier(r, rec.Terms.Subject, rec.Terms.Controller)
	return withdrawal{rec, d}, m.mayEnd(r, d, rec.Terms.Subject, rec.Terms.Controller, consentv1.Scope_SCOPE_WITHDRAW, consentv1.Scope_SCOPE_GIVE)
}
