package access

import (
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Module is the access module.
type Module struct {
	deps   Deps
	store  store
	caches *caches
	latest latestDrawer
}

// New builds the module. Identity and Consents are required.
func New(deps Deps) *Module {
	if deps.Identity == nil || deps.Consents == nil {
		panic("access: Deps.Identity and Deps.Consents are required")
	}
	return &Module{deps: deps, store: newStore(), caches: newCaches()}
}

// Name implements chain.Module.
func (m *Module) Name() string { return "access" }

// Schema implements chain.Module.
func (m *Module) Schema() *state.Schema { return m.store.schema }

// Routes implements chain.Module.
func (m *Module) Routes() []chain.Route {
	return []chain.Route{
		chain.Handle(m.setPolicies()),
		chain.Handle(m.setSchema()),
		chain.HandlePlan(m.putEntities()),
		chain.Handle(m.removeEntities()),
		chain.Handle(m.setSettings()),
		chain.Handle(m.setGuardRails()),
		chain.HandlePlan(m.decide()),
		chain.Handle(m.revoke()),
		chain.Handle(m.breakGlass()),
		chain.Handle(m.endBreakGlass()),
		chain.Handle(m.review()),
	}
}

// InitGenesis implements chain.Module.
func (m *Module) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	return m.initGenesis(ctx, raw)
}

// ExportGenesis implements chain.Module.
func (m *Module) ExportGenesis(r state.Reader) (proto.Message, error) {
	return m.exportGenesis(r), nil
}

// RegisterQueries implements chain.Module.
func (m *Module) RegisterQueries(s grpc.ServiceRegistrar, q chain.Snapshots) {
	accessv1.RegisterQueryServer(s, &queries{module: m, snapshots: q})
}

var _ chain.Module = (*Module)(nil)
