package provenance

import (
	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const name = "provenance"

// Module is the module. It is safe for concurrent queries.
type Module struct {
	collections
	deps Deps
}

var _ chain.Module = (*Module)(nil)

// New builds the module.
func New(d Deps) *Module { return &Module{collections: newCollections(), deps: d} }

// Name implements chain.Module.
func (m *Module) Name() string { return name }

// Schema implements chain.Module.
func (m *Module) Schema() *state.Schema { return m.schema }

// Routes implements chain.Module.
func (m *Module) Routes() []chain.Route {
	return []chain.Route{
		m.registerEntity(),
		m.registerActivity(),
		m.registerAgent(),
		m.reviseEntity(),
		m.endActivity(),
		m.invalidateEntity(),
		m.relate(),
		m.record(),
		m.anchorBatch(),
	}
}

// RegisterQueries implements chain.Module.
func (m *Module) RegisterQueries(s grpc.ServiceRegistrar, q chain.Snapshots) {
	pb.RegisterQueryServer(s, &Queries{module: m, snapshots: q})
}
