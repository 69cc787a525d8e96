package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) revokeDelegation() chain.Route {
	return chain.Handle(chain.Handler[*consentv1.RevokeDelegation]{
		Validate: func(msg *consentv1.RevokeDelegation) error {
			for _, err := range []error{
				checkHash("subject", msg.Subject),
				checkOrganisation("controller", msg.Controller),
				checkDID("delegate", msg.Delegate),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		},
		Check: m.checkRevoke,
		Execute: func(ctx *chain.Ctx, msg *consentv1.RevokeDelegation) (proto.Message, error) {
			if err := m.checkRevoke(ctx, msg); err != nil {
				return nil, err
			}
			m.delegations.Remove(ctx, state.Join3(msg.Subject, msg.Controller, msg.Delegate))
			ctx.Emit(&consentv1.DelegationRevoked{Subject: msg.Subject, Controller: msg.Controller, Delegate: msg.Delegate, By: ctx.Author()})
			return &consentv1.RevokeDelegationResponse{}, nil
		},
	})
}

func (m *Module) checkRevoke(r chain.ReadCtx, msg *consentv1.RevokeDelegation) error {
	delegation, ok := m.delegations.Lookup(r, state.Join3(msg.Subject, msg.Controller, msg.Delegate))
	switch {
	case !ok:
		return ErrNoDelegation
	case r.Author() == msg.Delegate,
		m.isSubject(r, m.dossier(r, msg.Subject, msg.Controller)),
		delegation.Kind == consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN && m.isOfficer(r, msg.Controller):
		return nil
	}
	return ErrNotAuthorised
}
