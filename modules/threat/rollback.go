package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// rollBack is the route of RollBack. There is one step back: a second roll-back has
// nowhere to go. A model that waits to become active no longer does.
func (m *Module) rollBack() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.RollBack]{
		Check: func(r chain.ReadCtx, _ *threatv1.RollBack) error {
			_, _, err := m.planRollBack(r)
			return err
		},
		Execute: func(ctx *chain.Ctx, _ *threatv1.RollBack) (proto.Message, error) {
			s, rec, err := m.planRollBack(ctx)
			if err != nil {
				return nil, err
			}
			m.activate(ctx, s, rec, ctx.Height()+1)
			s.Previous, s.Next, s.NextHeight = nil, nil, 0
			m.schedule.Put(ctx, s)
			return &threatv1.RollBackResponse{Active: s.Active}, nil
		},
	})
}

func (m *Module) planRollBack(r chain.ReadCtx) (*threatv1.Schedule, *threatv1.ModelRecord, error) {
	if err := m.byConsortium(r); err != nil {
		return nil, nil, err
	}
	s := m.scheduleIn(r)
	if len(s.Previous) == 0 {
		return nil, nil, ErrNoPrevious
	}
	rec, ok := m.models.Lookup(r, s.Previous)
	if !ok {
		panic("threat: the model that was active before has no record")
	}
	return s, rec, nil
}
