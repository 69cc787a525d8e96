package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) revoke() chain.Handler[*accessv1.Revoke] {
	return chain.Handler[*accessv1.Revoke]{
		Validate: func(msg *accessv1.Revoke) error {
			if _, known := accessv1.RevocationReason_name[int32(msg.Reason)]; !known || msg.Reason == accessv1.RevocationReason_REVOCATION_REASON_UNSPECIFIED {
				return ErrField.With("reason is missing or unknown")
			}
			return checkHash("decision_id", msg.DecisionId)
		},
		Check: func(ctx chain.ReadCtx, msg *accessv1.Revoke) error {
			d, ok := m.store.decisions.Lookup(ctx, msg.DecisionId)
			switch {
			case !ok:
				return ErrNotFound.With("decision %x", msg.DecisionId)
			case !m.member(ctx, d.Request.Organisation, ctx.Author(), rolePolicyAdmin):
				return ErrNotPolicyAdmin.With("%s for %s", ctx.Author(), d.Request.Organisation)
			case d.Verdict.Outcome != accessv1.Outcome_OUTCOME_ALLOW:
				return ErrNotAGrant.With("%x", d.Id)
			case d.Revocation != nil:
				return ErrRevoked.With("at %d by %s", d.Revocation.RevokedAt, d.Revocation.By)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.Revoke) (proto.Message, error) {
			d, ok := m.store.decisions.Lookup(ctx, msg.DecisionId)
			if !ok {
				return nil, ErrNotFound.With("decision %x", msg.DecisionId)
			}
			txID := ctx.TxID()
			d.Revocation = &accessv1.Revocation{By: ctx.Author(), Reason: msg.Reason, RevokedAt: ctx.Time(), TxId: txID[:]}
			m.store.decisions.Put(ctx, d.Id, d)
			ctx.Emit(&accessv1.Revoked{
				DecisionId: d.Id, Organisation: d.Request.Organisation, Principal: d.Request.Principal,
				By: ctx.Author(), Reason: msg.Reason,
			})
			return &accessv1.RevokeResponse{}, nil
		},
	}
}
