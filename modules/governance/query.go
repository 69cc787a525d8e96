package governance

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

const (
	defaultPage = 50
	maxPage     = 500

	// maxChanges is how many changes a preview tells, maxShown the bytes of a record.
	maxChanges = 500
	maxShown   = 16 << 10
)

// Params implements governancev1.QueryServer.
func (q *queries) Params(ctx context.Context, _ *governancev1.ParamsRequest) (*governancev1.ParamsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	return &governancev1.ParamsResponse{Params: q.m.paramsIn(r)}, nil
}

// Proposal implements governancev1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Proposal(ctx context.Context, req *governancev1.ProposalRequest) (*governancev1.ProposalResponse, error) {
	_, p, err := q.find(ctx, req.ProposalId)
	if err != nil {
		return nil, err
	}
	return &governancev1.ProposalResponse{Proposal: p}, nil
}

// find is a proposal and the state that it is in.
func (q *queries) find(ctx context.Context, id uint64) (chain.ReadCtx, *governancev1.Proposal, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, ok := q.m.proposals.Lookup(r, id)
	if !ok {
		return nil, nil, ErrNotFound.With("proposal %d", id)
	}
	return r, p, nil
}

// pageLimit is how many a page holds that is asked for, 0 for the default.
func pageLimit(asked uint32) (int, error) {
	switch {
	case asked == 0:
		return defaultPage, nil
	case asked > maxPage:
		return 0, ErrPage.With("limit %d", asked)
	}
	return int(asked), nil
}

// Proposals implements governancev1.QueryServer.
func (q *queries) Proposals(ctx context.Context, req *governancev1.ProposalsRequest) (*governancev1.ProposalsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, known := governancev1.Status_name[int32(req.Status)]; !known {
		return nil, ErrInvalid.With("status %d is unknown", req.Status)
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	out := new(governancev1.ProposalsResponse)
	if req.Status == governancev1.Status_STATUS_UNSPECIFIED {
		if n := len(req.PageToken); n != 0 && n != 8 {
			return nil, ErrPage
		}
		out.Proposals, out.NextPageToken = q.m.proposals.Page(r, state.All().Down().After(req.PageToken), limit)
		return out, nil
	}
	if n := len(req.PageToken); n != 0 && n != 12 {
		return nil, ErrPage
	}
	keys, next := q.m.byStatus.Page(r, state.Under(state.Uint32, uint32(req.Status)).Down().After(req.PageToken), limit)
	for _, k := range keys {
		out.Proposals = append(out.Proposals, q.m.proposal(r, k.B))
	}
	out.NextPageToken = next
	return out, nil
}

// Ballot implements governancev1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Ballot(ctx context.Context, req *governancev1.BallotRequest) (*governancev1.BallotResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	b, ok := q.m.ballots.Lookup(r, state.Join(req.ProposalId, req.Organisation))
	if !ok {
		return nil, ErrNotFound.With("no vote of %s on proposal %d", req.Organisation, req.ProposalId)
	}
	return &governancev1.BallotResponse{Ballot: b}, nil
}

// Ballots implements governancev1.QueryServer.
func (q *queries) Ballots(ctx context.Context, req *governancev1.BallotsRequest) (*governancev1.BallotsResponse, error) {
	r, _, err := q.find(ctx, req.ProposalId)
	if err != nil {
		return nil, err
	}
	out := new(governancev1.BallotsResponse)
	out.Ballots, _ = q.m.ballots.Page(r, state.Under(state.Uint64, req.ProposalId), maxPage)
	return out, nil
}

// Tally implements governancev1.QueryServer.
func (q *queries) Tally(ctx context.Context, req *governancev1.TallyRequest) (*governancev1.TallyResponse, error) {
	r, p, err := q.find(ctx, req.ProposalId)
	if err != nil {
		return nil, err
	}
	t := p.Tally
	if p.Status == voting {
		t = q.m.count(r, p)
	}
	return &governancev1.TallyResponse{Status: p.Status, Tally: t, Rule: p.Rule}, nil
}

// Outcome implements governancev1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Outcome(ctx context.Context, req *governancev1.OutcomeRequest) (*governancev1.OutcomeResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	o, ok := q.m.outcomes.Lookup(r, req.ProposalId)
	if !ok {
		return nil, ErrNotFound.With("proposal %d was not executed", req.ProposalId)
	}
	return &governancev1.OutcomeResponse{Outcome: o}, nil
}

// Preview implements governancev1.QueryServer.
func (q *queries) Preview(ctx context.Context, req *governancev1.PreviewRequest) (*governancev1.PreviewResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	m, raws, id, emergency := q.m, req.Messages, q.m.nextID(r), false
	if req.ProposalId != 0 {
		p, ok := m.proposals.Lookup(r, req.ProposalId)
		switch {
		case !ok:
			return nil, ErrNotFound.With("proposal %d", req.ProposalId)
		case len(raws) > 0:
			return nil, ErrInvalid.With("name a proposal or give messages, not both")
		}
		raws, id, emergency = p.Messages, p.Id, p.Emergency
	} else if err := checkSize(m.paramsIn(r), raws); err != nil {
		return nil, err
	}
	messages, err := decodeMessages(raws)
	if err != nil {
		return nil, err
	}
	d := m.decision(r, id, messages, m.members(r))
	done, changes := m.mandate.Rehearse(r, d)
	out := &governancev1.PreviewResponse{
		Height: r.Height(), Kinds: kindsOf(messages),
		Outcome: &governancev1.Outcome{ProposalId: req.ProposalId, Height: r.Height() + 1, Time: r.Time(), TxId: d.ID[:]},
	}
	out.Rule = ruleFor(m.paramsIn(r), out.Kinds, emergency)
	describe(out.Outcome, done)
	for i, c := range changes {
		if i == maxChanges {
			out.ChangesLeftOut = uint32(len(changes) - i)
			break
		}
		change, err := changeOf(c)
		if err != nil {
			return nil, err
		}
		out.Changes = append(out.Changes, change)
	}
	return out, nil
}

// changeOf is a change for people to read.
func changeOf(c chain.KeyChange) (*governancev1.Change, error) {
	out := &governancev1.Change{Collection: c.Collection.Name, BeforeBytes: uint64(len(c.Before)), AfterBytes: uint64(len(c.After))}
	if c.Collection.Name == "" {
		return out, nil
	}
	var err error
	if out.Key, err = c.Collection.DescribeKey(c.Key); err != nil {
		return nil, err
	}
	show := func(raw []byte) (string, error) {
		if len(raw) == 0 || len(raw) > maxShown {
			return "", nil
		}
		text, err := c.Collection.DescribeValue(raw)
		if err != nil {
			return "", err
		}
		var compact bytes.Buffer
		if json.Compact(&compact, []byte(text)) == nil {
			text = compact.String()
		}
		return text, nil
	}
	if out.Before, err = show(c.Before); err != nil {
		return nil, err
	}
	out.After, err = show(c.After)
	return out, err
}
