package access

import (
	"fmt"
	"testing"

	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const (
	grantActive  = accessv1.GrantState_GRANT_STATE_ACTIVE
	grantRevoked = accessv1.GrantState_GRANT_STATE_REVOKED
)

// revokes has the sentinel revoke a principal's grants in a block of its own.
func (w *world) revokes(principal string, limit, want int) {
	w.t.Helper()
	w.sentinel[w.Height()+1] = func(m *Module, ctx *chain.Ctx) {
		if n := m.RevokeGrants(ctx, principal, limit); n != want {
			w.t.Errorf("%s: %d of at most %d, want %d", principal, n, limit, want)
		}
		if n := m.RevokeGrants(ctx, principal, limit); n != 0 {
			w.t.Errorf("%s: %d again", principal, n)
		}
	}
	w.Block()
}

func TestRevokeGrantsEndsAllOfAPrincipal(t *testing.T) {
	w := newWorld(t).furnish()
	var grants []*accessv1.Decision
	for range 5 {
		grants = append(grants, w.allowed(read(doctor, "open"), "policy/permit"))
	}
	w.identity[nurse].roles = []string{"doctor"}
	other := w.allowed(read(nurse, "open"), "policy/permit")
	w.revokes(doctor, 2, 2) // all five end, though it looks at two
	for _, d := range grants {
		if s := w.state(d); s != grantRevoked {
			t.Errorf("grant %d is %v", d.Sequence, s)
		}
		w.reproduce(d)
	}
	if s := w.state(other); s != grantActive {
		t.Errorf("another's grant is %v", s)
	}
	again := w.allowed(read(doctor, "open"), "policy/permit")
	if s := w.state(again); s != grantActive {
		t.Errorf("a grant after it is %v", s)
	}
	w.revokes(doctor, 2, 1)
	w.revokes(nurse, 10, 1)
	w.revokes(robot, 10, 0)
	if s := w.state(again); s != grantRevoked {
		t.Errorf("and after another: %v", s)
	}
	w.CheckGenesis()
}

// Whoever fears a revocation cannot hide grants behind denials.
func TestDenialsHideNoGrant(t *testing.T) {
	w := newWorld(t).furnish()
	d := w.allowed(read(doctor, "open"), "policy/permit")
	for i := range 4 {
		w.denied(read(doctor, fmt.Sprintf("none-%d", i)), "resource/unknown")
	}
	w.revokes(doctor, 3, 0)
	if s := w.state(d); s != grantRevoked {
		t.Errorf("it is %v", s)
	}
}
