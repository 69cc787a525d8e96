package threat

import (
	"math"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// settlePerBlock is how many transactions train in one block, or one block's where
	// that has more.
	settlePerBlock = 2000

	// anchorEvents is how many transactions of an actor make its first anchor, and
	// peersEvents how many make that of a group, each member giving its first
	// anchorEvents at most.
	anchorEvents = 50
	peersEvents  = 4 * anchorEvents

	// peersShare is by how much smaller a group's steps are than an actor's, and how
	// many more an epoch has: a group moves as far in an epoch as an actor may, and one
	// member moves it a sixteenth of that.
	peersShare = 16
)

// steps is how adaptive profiles move.
type steps struct {
	profile.Settings
	epochMs int64 // positive
}

// defaultSteps are the steps where no model says others.
var defaultSteps = steps{
	Settings: profile.Settings{StepNumerator: 1, StepDenominator: 256, StepsPerEpoch: 4},
	epochMs:  24 * 60 * 60 * 1000,
}

// epoch is the epoch of a time, as the second in which it began: so epochs go on where
// another model has others.
func (s steps) epoch(time int64) uint64 {
	if time <= 0 {
		return 0
	}
	return uint64(time / s.epochMs * s.epochMs / 1000)
}

// ofPeers are the steps of a group.
func (s steps) ofPeers() profile.Settings {
	p := s.Settings
	p.StepDenominator = uint32(min(uint64(p.StepDenominator)*peersShare, math.MaxUint32))
	p.StepsPerEpoch = uint32(min(uint64(p.StepsPerEpoch)*peersShare, math.MaxUint32))
	return p
}

// training is traces that change in a block, in order of their first change.
type training struct {
	m        *Module
	steps    steps
	traces   map[string]*trace
	subjects []string
}

func (t *training) of(r state.Reader, subject string) *trace {
	if have, ok := t.traces[subject]; ok {
		return have
	}
	own := &trace{}
	if have, ok := t.m.traces.Peek(r, subject); ok {
		*own = *have
	}
	t.traces[subject] = own
	t.subjects = append(t.subjects, subject)
	return own
}

// train folds one transaction into the traces of its author, organisation and peers.
// It moves profiles where the transaction was admitted.
func (t *training) train(r state.Reader, d deed, s profile.Settled, trains bool) {
	actor := t.of(r, d.actor)
	actor.history.Add(d.time, d.counted())
	organisation := t.of(r, organisationSubject+d.organisation)
	organisation.history.Add(d.time, d.counted())
	peers := t.of(r, peersOf(d.organisation, d.kind))
	peers.history.Add(d.time, d.counted())
	if !trains {
		return
	}
	epoch := t.steps.epoch(d.time)
	switch first := !actor.known; {
	case first && !peers.known:
		actor.count(s, anchorEvents)
		peers.count(s, peersEvents)
	case first:
		actor.count(s, anchorEvents)
	case actor.adaptive.Absorb(s, t.steps.Settings, epoch) && peers.known:
		peers.adaptive.Absorb(s, t.steps.ofPeers(), epoch)
	}
}

// count adds an event to the tally, and makes the anchor of it when there are enough.
func (t *trace) count(s profile.Settled, enough uint64) {
	tally := profile.NewTally(features.Schema)
	if t.tally != nil {
		var err error
		if tally, err = profile.UnmarshalTally(t.tally.Tally, features.Schema); err != nil {
			panic(&state.Fault{Where: "read the tally of a subject", Err: err})
		}
	}
	tally.Count(s)
	if tally.Events() < enough {
		t.tally = &threatv1.Trace{Tally: must(tally.Marshal())}
		return
	}
	t.tally, t.known = nil, true
	t.anchor = tally.Freeze()
	t.adaptive = t.anchor.Adapt()
}

// settle lets journals train whose time to appeal has passed, the oldest first, or
// the oldest while more transactions are pending than may be; never those of the block
// at hand. It moves p.
func (m *Module) settle(ctx *chain.Ctx, p *threatv1.Progress, params *threatv1.Params, s steps) {
	t := &training{m: m, steps: s, traces: make(map[string]*trace)}
	var done []int64
	left := settlePerBlock
	for height, j := range m.journals.Walk(ctx, state.All().After(state.Int64.Encode(nil, p.Settled))) {
		age := ctx.Time() - j.Time
		if height >= ctx.Height() || age < params.AppealMs && p.Pending <= uint64(params.MaxPending) {
			break
		}
		if len(done) > 0 && len(j.Entries) > left {
			break
		}
		left -= len(j.Entries)
		window := uint64(max(min(age, params.AppealMs), 0))
		for i := range j.Entries {
			d := deedOf(j, i)
			e, trains := profile.Settle(d.event(), d.fate(), uint64(max(j.Time, 0)), window, uint64(max(ctx.Time(), 0)))
			t.train(ctx, d, e, trains)
		}
		p.Settled = height
		p.Pending -= min(p.Pending, uint64(len(j.Entries)))
		done = append(done, height)
	}
	for _, subject := range t.subjects {
		m.traces.PutShared(ctx, subject, t.traces[subject])
	}
	for _, height := range done {
		if height <= p.Paged {
			m.journals.Remove(ctx, height)
		}
	}
}

// prune removes the journals that have trained and of which pages have the cells.
func (m *Module) prune(ctx *chain.Ctx, p *threatv1.Progress) {
	var done []int64
	for height := range m.journals.Walk(ctx, state.All()) {
		if height > min(p.Settled, p.Paged) {
			break
		}
		done = append(done, height)
	}
	for _, height := range done {
		m.journals.Remove(ctx, height)
	}
}

func (m *Module) anyJournal(r state.Reader) bool {
	for range m.journals.Walk(r, state.All()) {
		return true
	}
	return false
}
