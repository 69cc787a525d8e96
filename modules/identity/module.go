package identity

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
)

// Module is the module identity. It is the chain's Authenticator.
type Module struct {
	s collections
}

var (
	_ chain.Module        = (*Module)(nil)
	_ chain.BlockEnder    = (*Module)(nil)
	_ chain.Authenticator = (*Module)(nil)
)

// New builds the module.
func New() *Module { return &Module{s: newCollections()} }

// Name implements chain.Module.
func (m *Module) Name() string { return "identity" }

// Schema implements chain.Module.
func (m *Module) Schema() *state.Schema { return m.s.schema }

// Routes implements chain.Module.
func (m *Module) Routes() []chain.Route {
	return []chain.Route{
		m.registerOrganisation(),
		m.registerIdentity(),
		m.addKeyRoute(),
		m.rotateKey(),
		m.revokeKey(),
		m.setRecovery(),
		m.requestRecovery(),
		m.cancelRecovery(),
		m.setAdministrators(),
		m.setServices(),
		m.suspend(),
		m.reinstate(),
		m.deactivate(),
		m.assignRole(),
		m.revokeRole(),
		m.createGroup(),
		m.changeGroupMembers(),
		m.deleteGroup(),
		m.bindValidator(),
		m.bindNode(),
		m.unbindNode(),
		m.setAuthorities(),
		m.revokeCertificate(),
	}
}
