package governance

import (
	"unicode/utf8"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

const (
	// maxDue is how many open proposals a block looks at whose time has come.
	maxDue = 256
	// maxClosed is how many of them end voting in a block, and how many lapse.
	maxClosed = 32
	// maxLog is the bytes of a log, maxOutcomeEvents those of the events, of an outcome.
	maxLog           = 2048
	maxOutcomeEvents = 64 << 10
)

// Decide implements chain.Governing: it ends votings, executes what passed, and lets
// lapse what could not be executed in time, the earliest first, each a bounded number.
func (m *Module) Decide(ctx *chain.Ctx) {
	params := m.paramsIn(ctx)
	var due []uint64
	for k := range m.due.Walk(ctx, state.All()) {
		if k.A > ctx.Time() || len(due) == maxDue {
			break
		}
		due = append(due, k.B)
	}
	closed, lapsed, done := 0, 0, uint32(0)
	for _, id := range due {
		// An execution before may have ended it.
		p := m.proposal(ctx, id)
		switch {
		case p.Status == voting && closed < maxClosed:
			t := m.count(ctx, p)
			m.close(ctx, p, t, final(t))
			closed++
		case p.Status == passed && ctx.Time()-p.ExecutesAt > params.GraceMs:
			if lapsed < maxClosed {
				m.move(ctx, p, expired, func(p *governancev1.Proposal) { p.EndedAt = ctx.Time() })
				ctx.Emit(&governancev1.Lapsed{ProposalId: p.Id})
				lapsed++
			}
		case p.Status == passed && done < params.MaxExecutions:
			m.execute(ctx, p)
			done++
		}
	}
}

// execute executes a proposal that passed, and records what came of it. Its status is its
// last before the first of its messages runs, so that none can touch it.
func (m *Module) execute(ctx *chain.Ctx, p *governancev1.Proposal) {
	id := decisionID(ctx.ChainID(), p.Id)
	o := &governancev1.Outcome{ProposalId: p.Id, Height: ctx.Height(), Time: ctx.Time(), TxId: id[:]}
	m.move(ctx, p, executed, func(p *governancev1.Proposal) { p.EndedAt = ctx.Time() })
	var out chain.Decided
	messages, err := decodeMessages(p.Messages)
	if err != nil {
		// Another version took them for messages.
		out.Err = err
	} else {
		out = m.mandate.Execute(ctx, m.decision(ctx, p.Id, messages, m.inFavour(ctx, p)))
	}
	describe(o, out)
	if out.Err != nil {
		m.move(ctx, p, failed, nil)
	}
	m.outcomes.Put(ctx, p.Id, o)
	ctx.Emit(&governancev1.Executed{Status: p.Status, Outcome: o})
}

// inFavour are the organisations of the electorate that said yes.
func (m *Module) inFavour(r chain.ReadCtx, p *governancev1.Proposal) []string {
	var out []string
	for _, did := range m.members(r) {
		if b, ok := m.ballots.Peek(r, state.Join(p.Id, did)); ok && b.Choice == governancev1.Choice_CHOICE_YES {
			out = append(out, did)
		}
	}
	return out
}

// describe fills in what came of a decision.
func describe(o *governancev1.Outcome, out chain.Decided) {
	o.Units, o.Responses, o.EventsHash = out.Units, out.Responses, chain.EventsHash(out.Events)
	size := 0
	for i, e := range out.Events {
		if size += len(e.Type) + len(e.Value); size > maxOutcomeEvents {
			o.EventsLeftOut = uint32(len(out.Events) - i)
			break
		}
		o.Events = append(o.Events, e)
	}
	if out.Err != nil {
		e := errs.As(out.Err)
		o.Code, o.Codespace, o.Log = e.Code, e.Module, out.Err.Error()
		if len(o.Log) > maxLog {
			o.Log = o.Log[:maxLog]
		}
		for !utf8.ValidString(o.Log) && len(o.Log) > 0 {
			o.Log = o.Log[:len(o.Log)-1]
		}
	}
}
