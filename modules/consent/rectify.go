package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) rectify() chain.Route {
	return chain.Handle(chain.Handler[*consentv1.Rectify]{
		Validate: func(msg *consentv1.Rectify) error {
			if err := checkHash("id", msg.Id); err != nil {
				return err
			}
			if err := checkTerms(msg.Terms); err != nil {
				return err
			}
			return willOfRectify(msg).check(false, true)
		},
		Check: func(r chain.ReadCtx, msg *consentv1.Rectify) error {
			_, _, err := m.planRectify(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *consentv1.Rectify) (proto.Message, error) {
			rec, x, err := m.planRectify(ctx, msg)
			if err != nil {
				return nil, err
			}
			next := m.revise(ctx, rec)
			next.Status, next.Terms = consentv1.Status_STATUS_GIVEN, msg.Terms.CloneVT()
			x.write(ctx, next, rec.Source)
			m.records.Put(ctx, next.Id, next)
			m.indexRecipients(ctx, next.Id, rec.Terms.Recipients, next.Terms.Recipients)
			ctx.Emit(&consentv1.Rectified{
				Id: next.Id, Version: next.Version, Subject: next.Terms.Subject, Controller: next.Terms.Controller,
				Recipients: rec.Terms.Recipients, By: ctx.Author(),
			})
			return &consentv1.RectifyResponse{Version: next.Version}, m.Ended.Publish(ctx, ending(next, Rectified))
		},
	})
}

func willOfRectify(msg *consentv1.Rectify) will {
	return will{method: msg.Method, evidence: msg.EvidenceHash, givenAt: msg.GivenAt}
}

func (m *Module) planRectify(r chain.ReadCtx, msg *consentv1.Rectify) (*consentv1.Record, expressed, error) {
	rec, d, err := m.inForce(r, msg.Id)
	if err != nil {
		return nil, expressed{}, err
	}
	switch {
	case !sameParties(rec.Terms, msg.Terms):
		return nil, expressed{}, ErrMismatch
	case rec.Version >= maxVersions:
		return nil, expressed{}, ErrTooMany.With("a record has %d versions at most; supersede it", maxVersions)
	}
	x, err := m.entitle(r, d, rec.Terms.Subject, rec.Terms.Controller, willOfRectify(msg), consentv1.Scope_SCOPE_GIVE)
	if err != nil {
		return nil, x, err
	}
	if msg.GivenAt == 0 {
		x.givenAt = rec.GivenAt
	}
	return rec, x, checkValidity(r, msg.Terms, x.method)
}
