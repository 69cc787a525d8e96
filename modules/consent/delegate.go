package consent

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) delegate() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.Delegate, string]{
		Validate: validateDelegate,
		Plan:     m.planDelegate,
		Execute: func(ctx *chain.Ctx, msg *consentv1.Delegate, bind string) (proto.Message, error) {
			if d := m.dossier(ctx, msg.Subject, msg.Controller); d == nil {
				m.putDossier(ctx, msg.Subject, msg.Controller, &consentv1.Dossier{SubjectDid: bind})
			}
			scopes := slices.Sorted(slices.Values(msg.Scopes))
			m.delegations.Put(ctx, state.Join3(msg.Subject, msg.Controller, msg.Delegate), &consentv1.Delegation{
				Subject: msg.Subject, Controller: msg.Controller, Delegate: msg.Delegate, Kind: msg.Kind, Scopes: scopes,
				Until: msg.Until, EvidenceHash: msg.EvidenceHash, CreatedAt: ctx.Time(), CreatedBy: ctx.Author(),
			})
			ctx.Emit(&consentv1.Delegated{
				Subject: msg.Subject, Controller: msg.Controller, Delegate: msg.Delegate, Kind: msg.Kind, Scopes: scopes,
				Until: msg.Until, By: ctx.Author(),
			})
			return &consentv1.DelegateResponse{}, nil
		},
	})
}

func validateDelegate(msg *consentv1.Delegate) error {
	for _, err := range []error{
		checkHash("subject", msg.Subject),
		checkOrganisation("controller", msg.Controller),
		checkDID("delegate", msg.Delegate),
		checkCount("scopes", len(msg.Scopes), 1, 3),
		checkOptionalHash("evidence_hash", msg.EvidenceHash),
	} {
		if err != nil {
			return err
		}
	}
	for i, s := range msg.Scopes {
		if s < consentv1.Scope_SCOPE_GIVE || s > consentv1.Scope_SCOPE_NARROW || slices.Contains(msg.Scopes[:i], s) {
			return ErrInvalid.With("scopes are GIVE, WITHDRAW or NARROW, each once")
		}
	}
	switch {
	case msg.Until < 0:
		return ErrInvalid.With("until is not a time in Unix milliseconds")
	case msg.Kind == consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN && len(msg.EvidenceHash) == 0:
		return ErrEvidence.With("a guardian's deed")
	case msg.Kind != consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN && msg.Kind != consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE:
		return ErrInvalid.With("kind is REPRESENTATIVE or GUARDIAN")
	}
	return nil
}

// planDelegate returns the DID that the commitment is bound to.
func (m *Module) planDelegate(r chain.ReadCtx, msg *consentv1.Delegate) (string, error) {
	if passed(msg.Until, r.Time()) {
		return "", ErrTime.With("until has passed")
	}
	if err := m.checkController(r, msg.Controller); err != nil {
		return "", err
	}
	d := m.dossier(r, msg.Subject, msg.Controller)
	switch {
	case msg.Kind == consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN:
		if !m.isOfficer(r, msg.Controller) {
			return "", ErrNotAuthorised.With("only an officer of the controller may record a guardian")
		}
		if d.GetSubjectDid() != "" {
			return "", ErrGuardian
		}
		return "", nil
	case msg.Delegate == r.Author():
		return "", ErrInvalid.With("a subject does not represent itself")
	}
	x, err := m.entitle(r, d, msg.Subject, msg.Controller, will{})
	return x.bind, err
}
