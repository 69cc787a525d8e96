package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) endBreakGlass() chain.Handler[*accessv1.EndBreakGlass] {
	return chain.Handler[*accessv1.EndBreakGlass]{
		Validate: func(msg *accessv1.EndBreakGlass) error { return checkHash("id", msg.Id) },
		Check: func(ctx chain.ReadCtx, msg *accessv1.EndBreakGlass) error {
			g, ok := m.store.glasses.Lookup(ctx, msg.Id)
			switch {
			case !ok:
				return ErrNotFound.With("break-glass %x", msg.Id)
			case ctx.Author() != g.Person && !m.mayReview(ctx, g) && ctx.Author() != g.Scope.Organisation:
				return ErrNotGlassKeeper.With("%s", ctx.Author())
			case !glassOpen(g, ctx.Time()):
				return ErrGlassEnded.With("%x", g.Id)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.EndBreakGlass) (proto.Message, error) {
			g, ok := m.store.glasses.Lookup(ctx, msg.Id)
			if !ok {
				return nil, ErrNotFound.With("break-glass %x", msg.Id)
			}
			g.EndedAt, g.EndedBy = ctx.Time(), ctx.Author()
			m.store.glasses.Put(ctx, g.Id, g)
			m.store.openGlasses.Remove(ctx, state.Join(g.Scope.Organisation, g.Person))
			ctx.Emit(&accessv1.GlassEnded{BreakGlassId: g.Id, By: ctx.Author()})
			return &accessv1.EndBreakGlassResponse{}, nil
		},
	}
}
