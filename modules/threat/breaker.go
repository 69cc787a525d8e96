package threat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// maxBreakerActors bounds the actors of a window: no more are flagged before the
// breaker opens.
const maxBreakerActors = 10_000

// sighting is what the breaker sees of a transaction.
type sighting struct {
	actor   string
	flagged bool // by its score it would be held or denied
}

func (m *Module) breakerIn(r state.Reader) *threatv1.BreakerState {
	if b, ok := m.breaker.Peek(r); ok {
		return b
	}
	return &threatv1.BreakerState{}
}

// mode is what is done with verdicts at the block: that of the parameters, and no more
// than MODE_LOG while the breaker is open and while the chain still learns.
func (m *Module) mode(r chain.ReadCtx) threatv1.Mode {
	p := m.paramsIn(r)
	mode := p.Mode
	if mode == threatv1.Mode_MODE_ENFORCE && (m.breakerIn(r).OpenUntil != 0 || r.Time() < p.LearningUntil) {
		return threatv1.Mode_MODE_LOG
	}
	return mode
}

// watch lets the breaker see the transactions of a block in which verdicts were
// carried out. Where more of a window are flagged than the rate allows, it opens: a
// flood of false alarms must not stop the consortium's work. An actor counts so often
// and no more, and an organisation's actors together at most for half of what opens it
// and one more, so that no few and no single organisation can open it by being flagged,
// and none hides behind it.
func (m *Module) watch(ctx *chain.Ctx, seen []sighting) {
	rules := m.paramsIn(ctx).Breaker
	state := m.breakerIn(ctx)
	if state.OpenUntil != 0 {
		if ctx.Time() >= state.OpenUntil {
			m.breaker.Put(ctx, &threatv1.BreakerState{})
			ctx.Emit(&threatv1.BreakerClosed{})
		}
		return
	}
	if len(seen) == 0 {
		return
	}
	b := state.CloneVT()
	for _, s := range seen {
		b.Seen++
		opens := uint64(rules.Rate) * uint64(rules.Window) / 10_000 // flags beyond which it opens
		if s.flagged && countFlagged(b, s.actor, rules.Actor, opens/2+1) && uint64(b.Flagged) > opens {
			until := ctx.Time() + rules.RestMs
			ctx.Emit(&threatv1.BreakerOpened{Seen: b.Seen, Flagged: b.Flagged, Until: until})
			m.breaker.Put(ctx, &threatv1.BreakerState{OpenUntil: until})
			return
		}
		if b.Seen >= rules.Window {
			b = &threatv1.BreakerState{}
		}
	}
	m.breaker.Put(ctx, b)
}

// countFlagged counts an actor's flagged transaction, where neither the actor nor its
// organisation counts often enough.
func countFlagged(b *threatv1.BreakerState, actor string, most uint32, mostOfOne uint64) bool {
	var ofOne uint64
	for i, a := range b.Actors {
		if organisationIn(a) == organisationIn(actor) {
			ofOne += uint64(b.Counts[i])
		}
	}
	if ofOne >= mostOfOne {
		return false
	}
	i, known := slices.BinarySearch(b.Actors, actor)
	if !known {
		b.Actors = slices.Insert(b.Actors, i, actor)
		b.Counts = slices.Insert(b.Counts, i, 0)
	}
	if b.Counts[i] >= most {
		return false
	}
	b.Counts[i]++
	b.Flagged++
	return true
}

// organisationIn is the part of a DID that names an organisation: did:chancery:SLUG.
func organisationIn(did string) string {
	const parts = 3
	for i, n := 0, 0; i < len(did); i++ {
		if did[i] == ':' {
			if n++; n == parts {
				return did[:i]
			}
		}
	}
	return did
}

func (m *Module) resetBreaker() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.ResetBreaker]{
		Check: func(r chain.ReadCtx, _ *threatv1.ResetBreaker) error { return m.byConsortium(r) },
		Execute: func(ctx *chain.Ctx, _ *threatv1.ResetBreaker) (proto.Message, error) {
			if m.breakerIn(ctx).OpenUntil != 0 {
				ctx.Emit(&threatv1.BreakerClosed{})
			}
			m.breaker.Put(ctx, &threatv1.BreakerState{})
			return &threatv1.ResetBreakerResponse{}, nil
		},
	})
}
