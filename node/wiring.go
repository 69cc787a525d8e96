package node

import (
	"crypto/rand"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/provenance"
)

// Modules are a chain's modules.
type Modules struct {
	Identity   *identity.Module
	Consent    *consent.Module
	Access     *access.Module
	Provenance *provenance.Module
}

// Wire builds every module and ties them together. A module that reacts to
// another's facts subscribes here, so that the order is visible.
func Wire() Modules {
	var m Modules
	m.Identity = identity.New()
	m.Consent = consent.New(consent.Deps{Identity: m.Identity})
	m.Access = access.New(access.Deps{Identity: m.Identity, Consents: m.Consent})
	m.Provenance = provenance.New(provenance.Deps{Identity: m.Identity})

	m.Consent.Ended.Subscribe("access", func(ctx *chain.Ctx, e consent.Ending) error {
		return m.Access.OnConsentEnded(ctx, e.ID)
	})
	return m
}

// List is the modules in the order of genesis, end of block and export.
func (m Modules) List() []chain.Module {
	return []chain.Module{m.Identity, m.Consent, m.Access, m.Provenance}
}

// App is the state machine over a tree, which it owns from then on.
func (m Modules) App(chainID string, tree state.Tree) (*chain.App, error) {
	return chain.New(chain.Options{
		ChainID: chainID, Tree: tree, Authenticator: m.Identity, Modules: m.List(), Rand: rand.Reader,
	})
}
