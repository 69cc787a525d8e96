package access

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// RevokeGrants ends every grant of a principal, however many they are, with one write:
// grants are compared with it when they are used. It tells how many were active among
// the latest decisions for the principal, of which it looks at no more than limit.
func (m *Module) RevokeGrants(ctx *chain.Ctx, principal string, limit int) int {
	cut, _ := m.store.endedPrincipals.Lookup(ctx, principal)
	seen, active := 0, 0
	for key, id := range m.store.byPrincipal.Walk(ctx, state.Under(state.String, principal).Down()) {
		if key.B <= cut.GetSequence() {
			break
		}
		if seen++; seen > limit {
			break
		}
		if d, ok := m.store.decisions.Lookup(ctx, []byte(id)); ok && m.grantState(ctx, d) == accessv1.GrantState_GRANT_STATE_ACTIVE {
			active++
		}
	}
	if seen == 0 {
		return 0
	}
	sequence, _ := m.store.sequence.Lookup(ctx)
	m.store.endedPrincipals.Put(ctx, principal, &accessv1.EndedPrincipal{
		Principal: principal, Sequence: sequence, Height: ctx.Height(), EndedAt: ctx.Time(),
	})
	ctx.Emit(&accessv1.PrincipalGrantsEnded{Principal: principal, Sequence: sequence})
	return active
}

// cutOff tells whether a decision is among those that RevokeGrants ended.
func (m *Module) cutOff(r state.Reader, d *accessv1.Decision) bool {
	cut, ok := m.store.endedPrincipals.Peek(r, d.Request.Principal)
	return ok && d.Sequence <= cut.Sequence
}
