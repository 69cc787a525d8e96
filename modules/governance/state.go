package governance

import (
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

const statePrefix = 0x15

type (
	ballotKey = state.Pair[uint64, string]
	dueKey    = state.Pair[int64, uint64]
	statusKey = state.Pair[uint32, uint64]
	ofKey     = state.Pair[string, uint64]

	// offenceKey is address, height and kind.
	offenceKey = state.Triple[[]byte, int64, uint32]
)

// collections is the module's state; doc.go has the key table.
type collections struct {
	schema    *state.Schema
	params    state.Item[*governancev1.Params]
	next      state.Item[uint64]
	proposals state.Map[uint64, *governancev1.Proposal]
	ballots   state.Map[ballotKey, *governancev1.Ballot]
	outcomes  state.Map[uint64, *governancev1.Outcome]
	due       state.Index[dueKey]
	byStatus  state.Index[statusKey]
	madeBy    state.Index[ofKey]
	openOf    state.Index[ofKey]
	offences  state.Map[offenceKey, *governancev1.Offence]
}

func newCollections() collections {
	s := state.NewSchema(moduleName, statePrefix)
	of := state.PairOf(state.String, state.Uint64)
	return collections{
		schema:    s,
		params:    state.NewItem(s, 0x01, "params", state.Proto[governancev1.Params]()),
		next:      state.NewItem(s, 0x02, "next", state.Uint64Value),
		proposals: state.NewMap(s, 0x03, "proposals", state.Uint64, state.Proto[governancev1.Proposal]()),
		ballots:   state.NewMap(s, 0x04, "ballots", state.PairOf(state.Uint64, state.String), state.Proto[governancev1.Ballot]()),
		outcomes:  state.NewMap(s, 0x05, "outcomes", state.Uint64, state.Proto[governancev1.Outcome]()),
		due:       state.NewIndex(s, 0x06, "due", state.PairOf(state.Int64, state.Uint64)),
		byStatus:  state.NewIndex(s, 0x07, "by-status", state.PairOf(state.Uint32, state.Uint64)),
		madeBy:    state.NewIndex(s, 0x08, "made-by", of),
		openOf:    state.NewIndex(s, 0x09, "open-of", of),
		offences:  state.NewMap(s, 0x0a, "offences", state.TripleOf(state.Bytes, state.Int64, state.Uint32), state.Proto[governancev1.Offence]()),
	}
}

const (
	voting    = governancev1.Status_STATUS_VOTING
	passed    = governancev1.Status_STATUS_PASSED
	executed  = governancev1.Status_STATUS_EXECUTED
	failed    = governancev1.Status_STATUS_FAILED
	rejected  = governancev1.Status_STATUS_REJECTED
	vetoed    = governancev1.Status_STATUS_VETOED
	cancelled = governancev1.Status_STATUS_CANCELLED
	expired   = governancev1.Status_STATUS_EXPIRED
)

type writer interface {
	state.Reader
	state.Writer
}

// open tells whether something may still become of a proposal.
func open(s governancev1.Status) bool { return s == voting || s == passed }

// dueAt is when the end of a block has to look at an open proposal.
func dueAt(p *governancev1.Proposal) int64 {
	if p.Status == passed {
		return p.ExecutesAt
	}
	return p.VotingEndsAt
}

// file writes a proposal and makes it findable.
func (m *Module) file(w writer, p *governancev1.Proposal) {
	m.proposals.Put(w, p.Id, p)
	m.byStatus.Add(w, state.Join(uint32(p.Status), p.Id))
	if open(p.Status) {
		m.due.Add(w, state.Join(dueAt(p), p.Id))
		m.openOf.Add(w, state.Join(p.Organisation, p.Id))
	}
}

// lift takes out of the indexes what file put there, before a proposal is changed.
func (m *Module) lift(w writer, p *governancev1.Proposal) {
	m.byStatus.Remove(w, state.Join(uint32(p.Status), p.Id))
	if open(p.Status) {
		m.due.Remove(w, state.Join(dueAt(p), p.Id))
		m.openOf.Remove(w, state.Join(p.Organisation, p.Id))
	}
}

// move gives a proposal another status, with what else change changes.
func (m *Module) move(w writer, p *governancev1.Proposal, to governancev1.Status, change func(p *governancev1.Proposal)) {
	m.lift(w, p)
	p.Status = to
	if change != nil {
		change(p)
	}
	m.file(w, p)
}

// proposal is a proposal that an index names.
func (m *Module) proposal(r state.Reader, id uint64) *governancev1.Proposal {
	p, ok := m.proposals.Lookup(r, id)
	if !ok {
		panic("governance: an index names a proposal that has no record")
	}
	return p
}

// ProposalKey is the tree key of a proposal's record, which proofs are about.
func (m *Module) ProposalKey(id uint64) []byte { return m.proposals.Key(id) }
