package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const maxRebased = 100

func (m *Module) rebaseAnchors() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.RebaseAnchors]{
		Validate: func(msg *threatv1.RebaseAnchors) error {
			if n := len(msg.Actors); n < 1 || n > maxRebased {
				return ErrInvalid.With("%d actors, want 1 to %d", n, maxRebased)
			}
			return distinct(msg.Actors)
		},
		Check: m.checkRebase,
		Execute: func(ctx *chain.Ctx, msg *threatv1.RebaseAnchors) (proto.Message, error) {
			for _, actor := range msg.Actors {
				have, _ := m.traces.Peek(ctx, actor)
				own := *have
				if !own.rebase() {
					return nil, ErrNoProfile.With("%s", actor)
				}
				m.traces.PutShared(ctx, actor, &own)
			}
			ctx.Emit(&threatv1.AnchorsRebased{Actors: msg.Actors})
			return &threatv1.RebaseAnchorsResponse{}, nil
		},
	})
}

func (m *Module) checkRebase(r chain.ReadCtx, msg *threatv1.RebaseAnchors) error {
	governed := m.byConsortium(r) == nil
	for _, actor := range msg.Actors {
		if !governed {
			organisation, ok := m.deps.Identity.Organisation(r, actor)
			if !ok || organisation != r.Author() {
				return ErrUnanchored.With("%s", actor)
			}
		}
		t, ok := m.traces.Peek(r, actor)
		if !ok || !t.known && t.tally == nil {
			return ErrNoProfile.With("%s", actor)
		}
	}
	return nil
}

// rebase makes the anchor what the actor does now: its adaptive profile, or, before
// there is one, what was counted. It tells whether anything was.
func (t *trace) rebase() bool {
	switch {
	case t.known:
		t.anchor = t.adaptive.Rebase()
	case t.tally != nil:
		tally, err := profile.UnmarshalTally(t.tally.Tally, features.Schema)
		if err != nil || tally.Events() == 0 {
			return false
		}
		t.anchor, t.tally, t.known = tally.Freeze(), nil, true
		t.adaptive = t.anchor.Adapt()
	default:
		return false
	}
	return true
}
