package threat

import (
	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const moduleName = "threat"

// Module is the module, and the chain's screen. It is safe for concurrent queries and
// admissions.
type Module struct {
	collections
	deps     Deps
	executor chain.Executor // set once at boot

	history   history
	detectors detectorCache
	settings  settingsCache
}

var (
	_ chain.Module     = (*Module)(nil)
	_ chain.BlockEnder = (*Module)(nil)
	_ chain.Screen     = (*Module)(nil)
)

// New builds the module.
func New(d Deps) *Module { return &Module{collections: newCollections(), deps: d} }

// SetExecutor gives the module what executes released transactions. chain.New calls it
// once, before the first block.
func (m *Module) SetExecutor(x chain.Executor) { m.executor = x }

// Name implements chain.Module.
func (m *Module) Name() string { return moduleName }

// Schema implements chain.Module.
func (m *Module) Schema() *state.Schema { return m.schema }

// Routes implements chain.Module.
func (m *Module) Routes() []chain.Route {
	routes := []chain.Route{m.setParams(), m.rebaseAnchors(), m.resetBreaker()}
	routes = append(routes, m.holdRoutes()...)
	routes = append(routes, m.modelRoutes()...)
	return append(routes, m.responseRoutes()...)
}

// EndBlock implements chain.BlockEnder: transactions, models and responses whose time
// has come, each a bounded number.
func (m *Module) EndBlock(ctx *chain.Ctx) {
	m.endHolds(ctx)
	m.endModels(ctx)
	m.endResponses(ctx)
}

// RegisterQueries implements chain.Module.
func (m *Module) RegisterQueries(s grpc.ServiceRegistrar, q chain.Snapshots) {
	threatv1.RegisterQueryServer(s, &queries{m: m, at: q})
}

// queries answers questions about the module's state.
type queries struct {
	threatv1.UnimplementedQueryServer
	m  *Module
	at chain.Snapshots
}
