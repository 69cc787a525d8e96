package governance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

func (m *Module) vote() chain.Route {
	return chain.Handle(chain.Handler[*governancev1.Vote]{
		Validate: func(msg *governancev1.Vote) error {
			if msg.ProposalId == 0 {
				return ErrInvalid.With("proposal_id is missing")
			}
			if _, known := governancev1.Choice_name[int32(msg.Choice)]; !known || msg.Choice == governancev1.Choice_CHOICE_UNSPECIFIED {
				return ErrInvalid.With("choice is missing or unknown")
			}
			if len(msg.NoteHash) > 0 {
				return checkHash("note_hash", msg.NoteHash)
			}
			return nil
		},
		Check: func(r chain.ReadCtx, msg *governancev1.Vote) error {
			_, err := m.votable(r, msg.ProposalId)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *governancev1.Vote) (proto.Message, error) {
			p, err := m.votable(ctx, msg.ProposalId)
			if err != nil {
				return nil, err
			}
			key, id := state.Join(p.Id, ctx.Author()), ctx.TxID()
			b := &governancev1.Ballot{
				ProposalId: p.Id, Organisation: ctx.Author(), Choice: msg.Choice, NoteHash: msg.NoteHash,
				TxId: id[:], Height: ctx.Height(), Time: ctx.Time(),
			}
			if was, ok := m.ballots.Lookup(ctx, key); ok {
				b.Changes = was.Changes + 1
			}
			m.ballots.Put(ctx, key, b)
			ctx.Emit(&governancev1.Voted{Ballot: b})
			t := m.count(ctx, p)
			if to, ok := settledBy(t, m.waitingMembers(ctx, p)); ok {
				m.close(ctx, p, t, to)
			}
			return &governancev1.VoteResponse{Status: p.Status, Tally: t}, nil
		},
	})
}

// votable is a proposal that the author may vote on now.
func (m *Module) votable(r chain.ReadCtx, id uint64) (*governancev1.Proposal, error) {
	p, ok := m.proposals.Lookup(r, id)
	switch {
	case !ok:
		return nil, ErrNotFound.With("proposal %d", id)
	case p.Status != voting:
		return nil, ErrNotVoting.With("%s", p.Status)
	case p.VotingEndsAt <= r.Time():
		return nil, ErrNotVoting.With("the voting ended at %d", p.VotingEndsAt)
	}
	return p, m.mayVote(r, r.Author())
}
