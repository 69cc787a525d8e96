package consent

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) liftRestriction() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.LiftRestriction, *consentv1.Dossier]{
		Validate: func(msg *consentv1.LiftRestriction) error {
			for _, err := range []error{
				checkHash("subject", msg.Subject),
				checkOrganisation("controller", msg.Controller),
				checkHash("id", msg.Id),
				checkOptionalHash("evidence_hash", msg.EvidenceHash),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		},
		Plan: m.planLift,
		Execute: func(ctx *chain.Ctx, msg *consentv1.LiftRestriction, d *consentv1.Dossier) (proto.Message, error) {
			m.putDossier(ctx, msg.Subject, msg.Controller, d)
			ctx.Emit(&consentv1.RestrictionLifted{
				Id: msg.Id, Subject: msg.Subject, Controller: msg.Controller, By: ctx.Author(), EvidenceHash: msg.EvidenceHash,
			})
			return &consentv1.LiftRestrictionResponse{}, nil
		},
	})
}

// planLift returns the dossier without the restriction.
func (m *Module) planLift(r chain.ReadCtx, msg *consentv1.LiftRestriction) (*consentv1.Dossier, error) {
	d := m.dossier(r, msg.Subject, msg.Controller)
	is := func(o *consentv1.Restriction) bool { return bytes.Equal(o.Id, msg.Id) }
	if d == nil || !slices.ContainsFunc(d.Restrictions, is) {
		return nil, ErrNoRestriction.With("%x", msg.Id)
	}
	if !m.isSubject(r, d) && !m.isDelegate(r, msg.Subject, msg.Controller, consentv1.Scope_SCOPE_GIVE) {
		if !m.isOfficer(r, msg.Controller) {
			return nil, ErrNotAuthorised
		}
		if len(msg.EvidenceHash) == 0 {
			return nil, ErrEvidence.With("that the subject was told, GDPR Art. 18(3)")
		}
	}
	d.Restrictions = slices.DeleteFunc(d.Restrictions, is)
	return d, nil
}
