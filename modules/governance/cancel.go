package governance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

func (m *Module) cancel() chain.Route {
	return chain.Handle(chain.Handler[*governancev1.Cancel]{
		Validate: func(msg *governancev1.Cancel) error {
			if msg.ProposalId == 0 {
				return ErrInvalid.With("proposal_id is missing")
			}
			return nil
		},
		Check: func(r chain.ReadCtx, msg *governancev1.Cancel) error {
			_, err := m.cancellable(r, msg.ProposalId)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *governancev1.Cancel) (proto.Message, error) {
			p, err := m.cancellable(ctx, msg.ProposalId)
			if err != nil {
				return nil, err
			}
			m.move(ctx, p, cancelled, func(p *governancev1.Proposal) {
				if p.DecidedAt == 0 {
					p.Tally, p.DecidedAt = m.count(ctx, p), ctx.Time()
				}
				p.EndedAt = ctx.Time()
			})
			ctx.Emit(&governancev1.Cancelled{ProposalId: p.Id, By: ctx.Author()})
			return &governancev1.CancelResponse{}, nil
		},
	})
}

// cancellable is a proposal that the author may end now.
func (m *Module) cancellable(r chain.ReadCtx, id uint64) (*governancev1.Proposal, error) {
	p, ok := m.proposals.Lookup(r, id)
	consortium := r.Author() == m.deps.Identity.Consortium()
	switch {
	case !ok:
		return nil, ErrNotFound.With("proposal %d", id)
	case !consortium && r.Author() != p.Organisation:
		return nil, ErrNotYours.With("%s", r.Author())
	case !open(p.Status):
		return nil, ErrEnded.With("%s", p.Status)
	case !consortium && (p.Status != voting || p.VotingEndsAt <= r.Time()):
		return nil, ErrNotYours.With("the voting has ended")
	}
	return p, nil
}
