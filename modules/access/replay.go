package access

import (
	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// recorded gathers the inputs that a decision had, from state. asked is set when
// evaluation asks of consent something that was not asked then.
func (m *Module) recorded(r state.Reader, d *accessv1.Decision, asked *bool) *inputs {
	in := &inputs{
		request: d.Request, principal: d.Principal, risk: d.Risk, time: d.Time, height: d.Height, glass: d.BreakGlassId,
		consents: func(a consentAsk) *accessv1.ConsentFinding {
			if f := d.Verdict.Consent; f != nil && a.same(f) && len(f.Subject) > 0 {
				return f.CloneVT()
			}
			*asked = true
			return &accessv1.ConsentFinding{Status: "consent/unknown", Subject: a.subject, Categories: a.categories}
		},
		source: func(uid types.EntityUID) (*entity, uint64, bool) {
			e, ok := m.store.entityAt(r, d.Request.Organisation, string(uid.Type), string(uid.ID), d.OrganisationVersion)
			if !ok {
				return nil, 0, false
			}
			return m.caches.entity(e.Json), e.Version, true
		},
		charge: func(uint64) {},
	}
	v := d.Verdict
	m.versions(r, in, v.PoliciesVersion, v.SchemaVersion, v.SettingsVersion, v.GuardRailsVersion)
	return in
}
