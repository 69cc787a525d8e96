package governance

import (
	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

const moduleName = "governance"

// Module is the module, and the one of its chain of which decisions are executed as the
// consortium.
type Module struct {
	collections
	deps    Deps
	mandate chain.Mandate // set once at boot
}

var (
	_ chain.Module    = (*Module)(nil)
	_ chain.Governing = (*Module)(nil)
	_ chain.Witness   = (*Module)(nil)
)

// New builds the module.
func New(d Deps) *Module { return &Module{collections: newCollections(), deps: d} }

// SetMandate gives the module what executes its decisions. chain.New calls it once, before
// the first block.
func (m *Module) SetMandate(x chain.Mandate) { m.mandate = x }

// Name implements chain.Module.
func (m *Module) Name() string { return moduleName }

// Schema implements chain.Module.
func (m *Module) Schema() *state.Schema { return m.schema }

// Routes implements chain.Module.
func (m *Module) Routes() []chain.Route {
	return []chain.Route{m.setParams(), m.propose(), m.vote(), m.cancel()}
}

// RegisterQueries implements chain.Module.
func (m *Module) RegisterQueries(s grpc.ServiceRegistrar, q chain.Snapshots) {
	governancev1.RegisterQueryServer(s, &queries{m: m, at: q})
}

// queries answers questions about the module's state.
type queries struct {
	governancev1.UnimplementedQueryServer
	m  *Module
	at chain.Snapshots
}
