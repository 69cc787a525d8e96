package governance

import (
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// InitGenesis implements chain.Module.
func (m *Module) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(governancev1.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return ErrInvalid.Wrap(err)
	}
	if g.Params == nil {
		g.Params = DefaultParams()
	}
	if err := CheckParams(g.Params); err != nil {
		return err
	}
	m.params.Put(ctx, g.Params)
	next := uint64(0)
	for i, p := range g.Proposals {
		if err := checkProposal(p); err != nil {
			return ErrInvalid.With("proposals[%d]: %v", i, err)
		}
		if m.proposals.Has(ctx, p.Id) {
			return ErrInvalid.With("proposal %d is there twice", p.Id)
		}
		m.file(ctx, p)
		m.madeBy.Add(ctx, state.Join(p.Organisation, p.Id))
		next = max(next, p.Id+1)
	}
	if next > 0 {
		m.next.Put(ctx, next)
	}
	for i, b := range g.Ballots {
		key := state.Join(b.GetProposalId(), b.GetOrganisation())
		_, known := governancev1.Choice_name[int32(b.GetChoice())]
		switch {
		case !m.proposals.Has(ctx, b.GetProposalId()):
			return ErrInvalid.With("ballots[%d] is about no proposal", i)
		case b.Organisation == "" || !known || b.Choice == governancev1.Choice_CHOICE_UNSPECIFIED:
			return ErrInvalid.With("ballots[%d] lacks its organisation or its choice", i)
		case m.ballots.Has(ctx, key):
			return ErrInvalid.With("ballots[%d] is there twice", i)
		}
		m.ballots.Put(ctx, key, b)
	}
	for i, o := range g.Outcomes {
		p, ok := m.proposals.Lookup(ctx, o.GetProposalId())
		if !ok || p.Status != executed && p.Status != failed || (p.Status == failed) != (o.Code != 0) || m.outcomes.Has(ctx, o.ProposalId) {
			return ErrInvalid.With("outcomes[%d] is of no proposal that was executed, or is there twice", i)
		}
		m.outcomes.Put(ctx, o.ProposalId, o)
	}
	for i, o := range g.Offences {
		if err := checkOffence(o); err != nil {
			return ErrInvalid.With("offences[%d]: %v", i, err)
		}
		key := state.Join3(o.Misbehaviour.Validator, o.Misbehaviour.Height, uint32(o.Misbehaviour.Kind))
		switch {
		case o.ProposalId != 0 && !m.proposals.Has(ctx, o.ProposalId):
			return ErrInvalid.With("offences[%d] names no proposal", i)
		case m.offences.Has(ctx, key):
			return ErrInvalid.With("offences[%d] is there twice", i)
		}
		m.offences.Put(ctx, key, o)
	}
	for _, p := range g.Proposals {
		if (p.Status == executed || p.Status == failed) && !m.outcomes.Has(ctx, p.Id) {
			return ErrInvalid.With("proposal %d was executed and has no outcome", p.Id)
		}
	}
	return nil
}

// checkProposal refuses a record that could not have come about.
func checkProposal(p *governancev1.Proposal) error {
	switch {
	case p.GetId() == 0 || p.Id == 1<<64-1 || p.Organisation == "":
		return ErrInvalid.With("id or organisation is missing")
	case p.Status <= governancev1.Status_STATUS_UNSPECIFIED || p.Status > expired:
		return ErrInvalid.With("status is unknown")
	case p.MadeAt < 0 || p.VotingEndsAt <= p.MadeAt:
		return ErrInvalid.With("the voting ends before it begins")
	case (p.Status == voting) != (p.DecidedAt == 0), (p.Status == voting) != (p.Tally == nil), open(p.Status) != (p.EndedAt == 0):
		return ErrInvalid.With("its times and its tally are not those of its status")
	case p.Status == passed && p.ExecutesAt < p.DecidedAt:
		return ErrInvalid.With("it is to be executed before it was decided")
	}
	messages, err := decodeMessages(p.Messages)
	if err != nil {
		return err
	}
	if !slices.Equal(p.Kinds, kindsOf(messages)) {
		return ErrInvalid.With("kinds are not those of its messages")
	}
	return checkRule("rule", p.Rule)
}

// ExportGenesis implements chain.Module.
func (m *Module) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := &governancev1.Genesis{Params: m.paramsIn(r)}
	for _, p := range m.proposals.Walk(r, state.All()) {
		g.Proposals = append(g.Proposals, p)
	}
	for _, b := range m.ballots.Walk(r, state.All()) {
		g.Ballots = append(g.Ballots, b)
	}
	for _, o := range m.outcomes.Walk(r, state.All()) {
		g.Outcomes = append(g.Outcomes, o)
	}
	for _, o := range m.offences.Walk(r, state.All()) {
		g.Offences = append(g.Offences, o)
	}
	return g, nil
}
