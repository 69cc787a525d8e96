package consent

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) supersede() chain.Route {
	return chain.Handle(chain.Handler[*consentv1.Supersede]{
		Validate: func(msg *consentv1.Supersede) error {
			if err := checkHash("id", msg.Id); err != nil {
				return err
			}
			if err := checkTerms(msg.Terms); err != nil {
				return err
			}
			return willOfSupersede(msg).check(true, true)
		},
		Check: func(r chain.ReadCtx, msg *consentv1.Supersede) error {
			_, _, err := m.planSupersede(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *consentv1.Supersede) (proto.Message, error) {
			rec, p, err := m.planSupersede(ctx, msg)
			if err != nil {
				return nil, err
			}
			fresh := m.enter(ctx, p)
			fresh.Status, fresh.Supersedes = consentv1.Status_STATUS_GIVEN, rec.Id
			old := m.revise(ctx, rec)
			old.Status, old.SupersededBy = consentv1.Status_STATUS_SUPERSEDED, fresh.Id
			p.dossier.Consents = append(p.dossier.Consents, fresh.Id)
			m.records.Put(ctx, fresh.Id, fresh)
			m.indexRecipients(ctx, fresh.Id, nil, fresh.Terms.Recipients)
			ctx.Emit(given(fresh))
			ctx.Emit(&consentv1.Superseded{
				Id: old.Id, ById: fresh.Id, Subject: old.Terms.Subject, Controller: old.Terms.Controller,
				Recipients: old.Terms.Recipients, By: ctx.Author(),
			})
			if err := m.end(ctx, p.dossier, old, Superseded); err != nil {
				return nil, err
			}
			return &consentv1.SupersedeResponse{Id: fresh.Id}, nil
		},
	})
}

func willOfSupersede(msg *consentv1.Supersede) will {
	return will{method: msg.Method, evidence: msg.EvidenceHash, givenAt: msg.GivenAt, source: msg.Source}
}

func (m *Module) planSupersede(r chain.ReadCtx, msg *consentv1.Supersede) (*consentv1.Record, *answer, error) {
	rec, _, err := m.inForce(r, msg.Id)
	if err != nil {
		return nil, nil, err
	}
	if !sameParties(rec.Terms, msg.Terms) {
		return nil, nil, ErrMismatch
	}
	p, err := m.planAnswer(r, nil, msg.Terms, willOfSupersede(msg))
	if err != nil {
		return nil, nil, err
	}
	return rec, p, checkValidity(r, msg.Terms, p.will.method)
}

func sameParties(a, b *consentv1.Terms) bool {
	return bytes.Equal(a.Subject, b.Subject) && a.Controller == b.Controller
}
