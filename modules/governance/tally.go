package governance

import (
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// count counts the votes on a proposal by the electorate as it is now.
func (m *Module) count(r chain.ReadCtx, p *governancev1.Proposal) *governancev1.Tally {
	params := m.paramsIn(r)
	members, threshold := m.deps.Identity.Controllers(r, m.deps.Identity.Consortium())
	t := &governancev1.Tally{LeastOrganisations: max(1, threshold)}
	for _, did := range members {
		weight := weightOf(params, did)
		if weight == 0 {
			continue
		}
		t.Total += weight
		b, voted := m.ballots.Peek(r, state.Join(p.Id, did))
		if !m.deps.Identity.Active(r, did) {
			continue
		}
		if !voted {
			t.Waiting = append(t.Waiting, did)
			continue
		}
		switch b.Choice {
		case governancev1.Choice_CHOICE_YES:
			t.Yes += weight
			t.YesOrganisations++
		case governancev1.Choice_CHOICE_NO:
			t.No += weight
		case governancev1.Choice_CHOICE_ABSTAIN:
			t.Abstain += weight
		case governancev1.Choice_CHOICE_VETO:
			t.Veto += weight
		}
	}
	slices.Sort(t.Waiting)
	missing(t, p.Rule)
	return t
}

// missing fills in what a tally lacks. Weights are at most 1000 of 32 organisations, so
// that no product of them and a share leaves uint64.
func missing(t *governancev1.Tally, r *governancev1.Rule) {
	lack := func(have, share, of uint64) uint64 {
		least := (share*of + million - 1) / million
		if least <= have {
			return 0
		}
		return least - have
	}
	t.QuorumMissing = lack(voted(t), uint64(r.Quorum), t.Total)
	t.YesMissing = lack(t.Yes, uint64(r.Threshold), t.Total-t.Abstain)
	t.VetoMissing = lack(t.Veto, uint64(r.Veto), t.Total)
}

// voted is the weight of all votes.
func voted(t *governancev1.Tally) uint64 { return t.Yes + t.No + t.Abstain + t.Veto }

// final is what the votes come to when no more are taken.
func final(t *governancev1.Tally) governancev1.Status {
	switch {
	case t.Total > 0 && t.VetoMissing == 0:
		return vetoed
	case t.Total == 0 || t.QuorumMissing > 0:
		return expired
	case t.Yes > 0 && t.YesMissing == 0 && t.YesOrganisations >= t.LeastOrganisations:
		return passed
	}
	return rejected
}

// settledBy is what the votes come to whatever those say that have not voted, the
// suspended among them, who may be back before the end; false where that is open.
func settledBy(t *governancev1.Tally, members uint32) (governancev1.Status, bool) {
	if t.Total == 0 {
		return 0, false
	}
	waiting := t.Total - voted(t)
	switch {
	case t.VetoMissing == 0:
		return vetoed, true
	// At worst they all say veto; that adds to the quorum and takes nothing from yes.
	case final(t) == passed && t.VetoMissing > waiting:
		return passed, true
	// At best they all say yes: an abstention lowers what yes is measured by, by less.
	case t.YesMissing > waiting || t.YesOrganisations+members < t.LeastOrganisations:
		return rejected, true
	}
	return 0, false
}

// waitingMembers is how many of the electorate have a weight and no vote that counts.
func (m *Module) waitingMembers(r chain.ReadCtx, p *governancev1.Proposal) uint32 {
	params := m.paramsIn(r)
	members, _ := m.deps.Identity.Controllers(r, m.deps.Identity.Consortium())
	n := uint32(0)
	for _, did := range members {
		if weightOf(params, did) > 0 && (!m.deps.Identity.Active(r, did) || !m.ballots.Has(r, state.Join(p.Id, did))) {
			n++
		}
	}
	return n
}

// close ends the voting on a proposal.
func (m *Module) close(ctx *chain.Ctx, p *governancev1.Proposal, t *governancev1.Tally, to governancev1.Status) {
	m.move(ctx, p, to, func(p *governancev1.Proposal) {
		p.Tally, p.DecidedAt = t, ctx.Time()
		if to == passed {
			p.ExecutesAt = ctx.Time() + p.Rule.TimeLockMs
		} else {
			p.EndedAt = ctx.Time()
		}
	})
	ctx.Emit(&governancev1.VotingEnded{ProposalId: p.Id, Status: to, Tally: t, ExecutesAt: p.ExecutesAt})
}
