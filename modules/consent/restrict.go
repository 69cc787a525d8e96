package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) restrict() chain.Route {
	return chain.Handle(chain.Handler[*consentv1.Restrict]{
		Validate: func(msg *consentv1.Restrict) error {
			for _, err := range []error{
				checkHash("subject", msg.Subject),
				checkOrganisation("controller", msg.Controller),
				checkIRIs("purposes", msg.Purposes, 0, maxPurposes),
				willOfRestrict(msg).check(false, false),
			} {
				if err != nil {
					return err
				}
			}
			if msg.Ground < consentv1.RestrictionGround_RESTRICTION_GROUND_ACCURACY || msg.Ground > consentv1.RestrictionGround_RESTRICTION_GROUND_RESEARCH {
				return ErrInvalid.With("ground is none of GDPR Art. 18(1) and 21")
			}
			return nil
		},
		Check: func(r chain.ReadCtx, msg *consentv1.Restrict) error {
			_, _, err := m.planRestrict(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *consentv1.Restrict) (proto.Message, error) {
			d, x, err := m.planRestrict(ctx, msg)
			if err != nil {
				return nil, err
			}
			d.Opened++
			r := &consentv1.Restriction{
				Id:     RecordID(ctx.TxID(), msg.Subject, msg.Controller, d.Opened),
				Ground: msg.Ground, Purposes: msg.Purposes, Since: ctx.Time(), By: ctx.Author(),
				Method: x.method, EvidenceHash: x.evidence,
			}
			d.Restrictions = append(d.Restrictions, r)
			m.putDossier(ctx, msg.Subject, msg.Controller, d)
			ctx.Emit(&consentv1.Restricted{
				Id: r.Id, Subject: msg.Subject, Controller: msg.Controller, Ground: r.Ground, Purposes: r.Purposes, By: r.By,
			})
			for _, id := range d.Consents {
				rec := m.mustRecord(ctx, id)
				if !touches(r, rec.Terms) {
					continue
				}
				if err := m.Ended.Publish(ctx, ending(rec, Restricted)); err != nil {
					return nil, err
				}
			}
			return &consentv1.RestrictResponse{Id: r.Id}, nil
		},
	})
}

func willOfRestrict(msg *consentv1.Restrict) will {
	return will{method: msg.Method, evidence: msg.EvidenceHash}
}

func (m *Module) planRestrict(r chain.ReadCtx, msg *consentv1.Restrict) (*consentv1.Dossier, expressed, error) {
	d := m.dossier(r, msg.Subject, msg.Controller)
	x, err := m.entitle(r, d, msg.Subject, msg.Controller, willOfRestrict(msg), consentv1.Scope_SCOPE_WITHDRAW, consentv1.Scope_SCOPE_GIVE)
	if err != nil {
		return nil, x, err
	}
	if err := m.checkController(r, msg.Controller); err != nil {
		return nil, x, err
	}
	d = orNew(d)
	if len(d.Restrictions) >= maxRestrictions {
		return nil, x, ErrTooMany.With("%d restrictions", maxRestrictions)
	}
	d.SubjectDid = x.bind
	return d, x, nil
}

// touches tells whether a restriction blocks some purpose of terms.
func touches(r *consentv1.Restriction, t *consentv1.Terms) bool {
	for _, p := range t.Purposes {
		if blocks(r, p) {
			return true
		}
	}
	return false
}

func blocks(r *consentv1.Restriction, purpose string) bool {
	return len(r.Purposes) == 0 || contains(r.Purposes, purpose)
}
