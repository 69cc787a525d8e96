package access

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// OnConsentEnded ends every grant that rests on a consent, however many they are,
// with one write: grants are compared with it when they are used.
func (m *Module) OnConsentEnded(ctx *chain.Ctx, consentID []byte) error {
	rests := false
	for range m.store.byConsent.Walk(ctx, state.Under(state.Bytes, consentID).Down()) {
		rests = true
		break
	}
	if !rests {
		return nil
	}
	sequence, _ := m.store.sequence.Lookup(ctx)
	m.store.endedConsents.Put(ctx, consentID, &accessv1.EndedConsent{
		ConsentId: consentID, Sequence: sequence, Height: ctx.Height(), EndedAt: ctx.Time(),
	})
	ctx.Emit(&accessv1.GrantsEnded{ConsentId: consentID, Sequence: sequence})
	return nil
}

// grantState tells what a decision is worth at r.Time(), by point lookups alone as
// far as this module goes.
func (m *Module) grantState(r chain.ReadCtx, d *accessv1.Decision) accessv1.GrantState {
	v := d.Verdict
	switch {
	case v.Outcome != accessv1.Outcome_OUTCOME_ALLOW:
		return accessv1.GrantState_GRANT_STATE_DENIED
	case d.Revocation != nil || m.cutOff(r, d):
		return accessv1.GrantState_GRANT_STATE_REVOKED
	case r.Time() >= d.ValidUntil:
		return accessv1.GrantState_GRANT_STATE_EXPIRED
	case !m.deps.Identity.Active(r, d.Request.Principal):
		return accessv1.GrantState_GRANT_STATE_PRINCIPAL_INACTIVE
	}
	if len(v.BreakGlassId) > 0 {
		if g, ok := m.store.glasses.Lookup(r, v.BreakGlassId); !ok || !glassOpen(g, r.Time()) {
			return accessv1.GrantState_GRANT_STATE_BREAK_GLASS_ENDED
		}
		return accessv1.GrantState_GRANT_STATE_ACTIVE
	}
	if !restsOnConsent(d) {
		return accessv1.GrantState_GRANT_STATE_ACTIVE
	}
	if ended, ok := m.store.endedConsents.Lookup(r, v.Consent.Id); ok && d.Sequence <= ended.Sequence {
		return accessv1.GrantState_GRANT_STATE_CONSENT_ENDED
	}
	ask := consentAsk{subject: v.Consent.Subject, categories: v.Consent.Categories}
	if m.findConsent(r, d.Request, ask).Status != consentGiven {
		return accessv1.GrantState_GRANT_STATE_CONSENT_ENDED
	}
	return accessv1.GrantState_GRANT_STATE_ACTIVE
}
