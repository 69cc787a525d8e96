package threat

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

type Module struct {
	collections
	deps      Deps
	executor  chain.Executor
	detectors detectorCache
}

func New(d Deps) *Module { return &Module{collections: newCollections(), deps: d} }

func (m *Module) SetExecutor(x chain.Executor) { m.executor = x }

func (m *Module) paramsIn(r state.Reader) *threatv1.Params {
	p, _ := m.params.Peek(r)
	return p
}

type queries struct {
	threatv1.UnimplementedQueryServer
	m  *Module
	at chain.Snapshots
}

func (m *Module) appealResponse(ctx *chain.Ctx, id []byte, a *threatv1.AppealRecord) error {
	r, ok := m.responses.Lookup(ctx, id)
	if !ok {
		return ErrNotFound
	}
	r.Appeals = append(r.Appeals, a)
	m.responses.Put(ctx, id, r)
	return nil
}
