package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) withdraw() chain.Route {
	return chain.Handle(chain.Handler[*consentv1.Withdraw]{
		Validate: func(msg *consentv1.Withdraw) error { return checkHash("id", msg.Id) },
		Check: func(r chain.ReadCtx, msg *consentv1.Withdraw) error {
			_, _, err := m.planWithdraw(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *consentv1.Withdraw) (proto.Message, error) {
			rec, d, err := m.planWithdraw(ctx, msg)
			if err != nil {
				return nil, err
			}
			next := m.revise(ctx, rec)
			next.Status = consentv1.Status_STATUS_WITHDRAWN
			ctx.Emit(&consentv1.Withdrawn{
				Id: next.Id, Version: next.Version, Subject: next.Terms.Subject, Controller: next.Terms.Controller,
				Recipients: next.Terms.Recipients, By: ctx.Author(),
			})
			if err := m.end(ctx, d, next, Withdrawn); err != nil {
				return nil, err
			}
			return &consentv1.WithdrawResponse{Version: next.Version}, nil
		},
	})
}

// planWithdraw accepts also a consent whose time has passed unrecorded: the
// subject's word is kept, whichever came first.
func (m *Module) planWithdraw(r chain.ReadCtx, msg *consentv1.Withdraw) (*consentv1.Record, *consentv1.Dossier, error) {
	rec, ok := m.records.Lookup(r, msg.Id)
	switch {
	case !ok:
		return nil, nil, ErrNotFound.With("%x", msg.Id)
	case !inForce(rec.Status):
		return nil, nil, ErrWrongState.With("%s cannot be withdrawn", rec.Status)
	}
	d := m.dossier(r, rec.Terms.Subject, rec.Terms.Controller)
	return rec, d, m.mayEnd(r, d, rec.Terms.Subject, rec.Terms.Controller, consentv1.Scope_SCOPE_WITHDRAW, consentv1.Scope_SCOPE_GIVE)
}
