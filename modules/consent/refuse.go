package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) refuse() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.Refuse, *answer]{
		Validate: func(msg *consentv1.Refuse) error {
			if err := checkAnswer(msg.RequestId, msg.Terms, true); err != nil {
				return err
			}
			return willOfRefuse(msg).check(true, true)
		},
		Plan: func(r chain.ReadCtx, msg *consentv1.Refuse) (*answer, error) {
			return m.planAnswer(r, msg.RequestId, msg.Terms, willOfRefuse(msg))
		},
		Execute: func(ctx *chain.Ctx, msg *consentv1.Refuse, p *answer) (proto.Message, error) {
			rec := m.enter(ctx, p)
			rec.Status = consentv1.Status_STATUS_REFUSED
			p.dossier.LastEnded = &consentv1.LastEnded{Id: rec.Id, Status: rec.Status}
			m.records.Put(ctx, rec.Id, rec)
			m.putDossier(ctx, rec.Terms.Subject, rec.Terms.Controller, p.dossier)
			ctx.Emit(&consentv1.Refused{
				Id: rec.Id, Subject: rec.Terms.Subject, Controller: rec.Terms.Controller, Method: rec.Method, By: rec.GivenBy,
			})
			return &consentv1.RefuseResponse{Id: rec.Id}, nil
		},
	})
}

func willOfRefuse(msg *consentv1.Refuse) will {
	return will{method: msg.Method, evidence: msg.EvidenceHash, givenAt: msg.GivenAt, subjectDID: msg.SubjectDid, source: msg.Source}
}
