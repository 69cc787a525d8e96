package node

import (
	"crypto/rand"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/governance"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/provenance"
	"github.com/chancery/chancery/modules/threat"
)

// Modules are a chain's modules.
type Modules struct {
	Identity   *identity.Module
	Consent    *consent.Module
	Access     *access.Module
	Provenance *provenance.Module
	Threat     *threat.Module
	Governance *governance.Module

	// Workers is on how many processors a block's transactions are looked at; 0: one.
	Workers int
	// Observer is told where the time of transactions goes; nil: nobody is.
	Observer chain.Observer
}

// Wire builds every module and ties them together. A module that reacts to
// another's facts subscribes here, so that the order is visible.
func Wire() Modules {
	var m Modules
	m.Identity = identity.New()
	m.Consent = consent.New(consent.Deps{Identity: m.Identity})
	risks := new(commonRisks)
	m.Access = access.New(access.Deps{Identity: m.Identity, Consents: m.Consent, Risks: risks})
	m.Provenance = provenance.New(provenance.Deps{Identity: m.Identity})
	m.Threat = threat.New(threat.Deps{Identity: guarded{m.Identity}, Access: m.Access})
	risks.threat = m.Threat
	m.Governance = governance.New(governance.Deps{Identity: m.Identity})

	m.Consent.Ended.Subscribe("access", func(ctx *chain.Ctx, e consent.Ending) error {
		return m.Access.OnConsentEnded(ctx, e.ID)
	})
	return m
}

// List is the modules in the order of genesis, end of block and export.
func (m Modules) List() []chain.Module {
	return append([]chain.Module{m.Identity, m.Consent, m.Access, m.Provenance, m.Threat, m.Governance}, beside()...)
}

// App is the state machine over a tree, which it owns from then on.
func (m Modules) App(chainID string, tree state.Tree) (*chain.App, error) {
	return chain.New(chain.Options{
		ChainID: chainID, Tree: tree, Authenticator: m.Identity, Screen: m.Threat, Validators: m.Identity, Modules: m.List(), Observer: m.Observer, Workers: m.Workers, Rand: rand.Reader,
		Migrations: migrations(m),
	})
}

// guarded is identity as threat needs it.
type guarded struct{ *identity.Module }

// Powers implements threat.Identity.
func (g guarded) Powers(r chain.ReadCtx) ([]threat.Power, int64) {
	powers, total := g.Module.Powers(r)
	out := make([]threat.Power, len(powers))
	for i, p := range powers {
		out[i] = threat.Power(p)
	}
	return out, total
}

// commonRisks is threat as access needs it, which is built before.
type commonRisks struct{ threat *threat.Module }

// riskStep is what one level of common risk is of access's 10000.
const riskStep = 2500

// Risk implements access.Risks.
func (c *commonRisks) Risk(r chain.ReadCtx, did string) uint32 {
	return uint32(c.threat.CommonRisk(r, did)) * riskStep
}
