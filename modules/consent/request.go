package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) request() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.Request, *consentv1.Dossier]{
		Validate: func(msg *consentv1.Request) error {
			if err := checkTerms(msg.Terms); err != nil {
				return err
			}
			if msg.AnswerUntil <= 0 {
				return ErrInvalid.With("answer_until is not a time in Unix milliseconds")
			}
			return checkPerson("subject_did", msg.SubjectDid)
		},
		Plan: m.planRequest,
		Execute: func(ctx *chain.Ctx, msg *consentv1.Request, d *consentv1.Dossier) (proto.Message, error) {
			if err := m.makeRoom(ctx, d, &d.Requests, maxRequests); err != nil {
				return nil, err
			}
			rec := m.open(ctx, d, msg.Terms)
			rec.Status = consentv1.Status_STATUS_REQUESTED
			rec.SubjectDid = d.SubjectDid
			rec.RequestedAt, rec.AnswerUntil = ctx.Time(), msg.AnswerUntil
			d.Requests = append(d.Requests, rec.Id)
			m.records.Put(ctx, rec.Id, rec)
			m.requests.Add(ctx, state.Join(rec.Terms.Controller, rec.Id))
			m.putDossier(ctx, rec.Terms.Subject, rec.Terms.Controller, d)
			ctx.Emit(&consentv1.Requested{
				Id: rec.Id, Subject: rec.Terms.Subject, Controller: rec.Terms.Controller,
				SubjectDid: rec.SubjectDid, AnswerUntil: rec.AnswerUntil,
			})
			return &consentv1.RequestResponse{Id: rec.Id}, nil
		},
	})
}

// planRequest returns the dossier, bound to the subject's DID if the request
// names one.
func (m *Module) planRequest(r chain.ReadCtx, msg *consentv1.Request) (*consentv1.Dossier, error) {
	t := msg.Terms
	switch {
	case !m.isOfficer(r, t.Controller):
		return nil, ErrNotAuthorised.With("only an officer of the controller may request")
	case passed(msg.AnswerUntil, r.Time()):
		return nil, ErrTime.With("answer_until has passed")
	case passed(t.ValidUntil, r.Time()):
		return nil, ErrTime.With("valid_until has passed")
	}
	if err := m.checkController(r, t.Controller); err != nil {
		return nil, err
	}
	d := orNew(m.dossier(r, t.Subject, t.Controller))
	x := expressed{bind: d.SubjectDid}
	if err := x.bindTo(msg.SubjectDid); err != nil {
		return nil, err
	}
	d.SubjectDid = x.bind
	return d, nil
}
