package governance

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

const decisionDomain = "chancery/governance/decision/v1"

func (m *Module) propose() chain.Route {
	return chain.Handle(chain.Handler[*governancev1.Propose]{
		Validate: func(msg *governancev1.Propose) error {
			if err := checkTitle(msg.Title); err != nil {
				return err
			}
			if err := checkLink(msg.RationaleLink); err != nil {
				return err
			}
			if err := checkHash("rationale_hash", msg.RationaleHash); err != nil {
				return err
			}
			messages, err := decodeMessages(msg.Messages)
			if err != nil {
				return err
			}
			if msg.Emergency && slices.Contains(kindsOf(messages), kindRules) {
				return ErrNoEmergency
			}
			if msg.VotingMs < 0 {
				return ErrPeriod.With("voting_ms is %d", msg.VotingMs)
			}
			return nil
		},
		Check: func(r chain.ReadCtx, msg *governancev1.Propose) error {
			return m.checkProposing(r, msg)
		},
		Holds: func(msg *governancev1.Propose) []proto.Message {
			messages, err := decodeMessages(msg.Messages)
			if err != nil {
				return nil // Validate refuses them
			}
			return messages
		},
		Execute: func(ctx *chain.Ctx, msg *governancev1.Propose) (proto.Message, error) {
			id, txID := m.nextID(ctx), ctx.TxID()
			messages, err := decodeMessages(msg.Messages)
			if err != nil {
				return nil, err
			}
			kinds := kindsOf(messages)
			rule := ruleFor(m.paramsIn(ctx), kinds, msg.Emergency)
			span, err := votingSpan(rule, msg.VotingMs)
			if err != nil {
				return nil, err
			}
			p := &governancev1.Proposal{
				Id: id, Organisation: ctx.Author(), Title: msg.Title, RationaleLink: msg.RationaleLink, RationaleHash: msg.RationaleHash,
				Messages: msg.Messages, Kinds: kinds, Emergency: msg.Emergency, Rule: rule, TxId: txID[:], Height: ctx.Height(),
				MadeAt: ctx.Time(), VotingEndsAt: ctx.Time() + span, Status: voting,
			}
			m.next.Put(ctx, id+1)
			m.file(ctx, p)
			m.madeBy.Add(ctx, state.Join(p.Organisation, id))
			ctx.Emit(&governancev1.Proposed{Proposal: p})
			return &governancev1.ProposeResponse{ProposalId: id, Kinds: kinds, VotingEndsAt: p.VotingEndsAt}, nil
		},
	})
}

// checkProposing checks who proposes, how much, and what; the last costs the most.
func (m *Module) checkProposing(r chain.ReadCtx, msg *governancev1.Propose) error {
	if err := m.mayVote(r, r.Author()); err != nil {
		return err
	}
	p := m.paramsIn(r)
	if err := m.checkRate(r, p, r.Author()); err != nil {
		return err
	}
	if err := checkSize(p, msg.Messages); err != nil {
		return err
	}
	messages, err := decodeMessages(msg.Messages)
	if err != nil {
		return err
	}
	if _, err := votingSpan(ruleFor(p, kindsOf(messages), msg.Emergency), msg.VotingMs); err != nil {
		return err
	}
	out, _ := m.mandate.Rehearse(r, m.decision(r, m.nextID(r), messages, m.members(r)))
	return out.Err
}

// mayVote refuses an organisation that is not of the electorate.
func (m *Module) mayVote(r chain.ReadCtx, did string) error {
	members, _ := m.deps.Identity.Controllers(r, m.deps.Identity.Consortium())
	if !slices.Contains(members, did) || !m.deps.Identity.Active(r, did) || weightOf(m.paramsIn(r), did) == 0 {
		return ErrNoVote.With("%s", did)
	}
	return nil
}

// checkRate refuses an organisation that has as many proposals as it may, open or of the
// last 24 hours. It reads at most as many as it may have, and one.
func (m *Module) checkRate(r chain.ReadCtx, p *governancev1.Params, did string) error {
	n := uint32(0)
	for range m.openOf.Walk(r, state.Under(state.String, did)) {
		if n++; n >= p.MaxOpen {
			return ErrTooMany.With("%d are open", n)
		}
	}
	n = 0
	for k := range m.madeBy.Walk(r, state.Under(state.String, did).Down()) {
		if m.proposal(r, k.B).MadeAt <= r.Time()-day {
			break
		}
		if n++; n >= p.MaxPerDay {
			return ErrTooMany.With("%d within 24 hours", n)
		}
	}
	return nil
}

// checkSize refuses more messages than the parameters allow.
func checkSize(p *governancev1.Params, raws [][]byte) error {
	size := 0
	for _, raw := range raws {
		size += len(raw)
	}
	switch {
	case uint64(len(raws)) > uint64(p.MaxMessages):
		return ErrBadMessages.With("%d, at most %d", len(raws), p.MaxMessages)
	case uint64(size) > uint64(p.MaxBytes):
		return ErrBadMessages.With("%d bytes, at most %d", size, p.MaxBytes)
	}
	return nil
}

// decodeMessages reads the messages of a proposal. It refuses those that a vote must not
// stand in for: what an organisation says of proposals, and guardians of a recovery, whose
// authority is in their signatures.
func decodeMessages(raws [][]byte) ([]proto.Message, error) {
	if len(raws) == 0 || len(raws) > maxMessages {
		return nil, ErrBadMessages.With("there are %d, want 1 to %d", len(raws), maxMessages)
	}
	size := 0
	for _, raw := range raws {
		size += len(raw)
	}
	if size > maxBytes {
		return nil, ErrBadMessages.With("%d bytes, never more than %d", size, maxBytes)
	}
	out := make([]proto.Message, len(raws))
	for i, raw := range raws {
		msg, err := tx.DecodeMessage(raw)
		if err != nil {
			return nil, ErrBadMessages.With("message %d: %v", i, err)
		}
		switch msg.(type) {
		case *governancev1.Propose, *governancev1.Vote, *identityv1.RequestRecovery:
			return nil, ErrBadMessages.With("message %d: %s cannot be proposed", i, nameOf(msg))
		}
		out[i] = msg
	}
	return out, nil
}

// votingSpan is how long votes are taken.
func votingSpan(rule *governancev1.Rule, asked int64) (int64, error) {
	switch {
	case asked == 0:
		return rule.VotingMs, nil
	case asked < rule.MinVotingMs || asked > rule.MaxVotingMs:
		return 0, ErrPeriod.With("%d ms, want %d to %d", asked, rule.MinVotingMs, rule.MaxVotingMs)
	}
	return asked, nil
}

// nextID is the number of the next proposal.
func (m *Module) nextID(r state.Reader) uint64 {
	if id, ok := m.next.Lookup(r); ok {
		return id
	}
	return 1
}

// members are the active organisations with a vote.
func (m *Module) members(r chain.ReadCtx) []string {
	members, _ := m.deps.Identity.Controllers(r, m.deps.Identity.Consortium())
	return slices.DeleteFunc(members, func(did string) bool { return m.mayVote(r, did) != nil })
}

// decision is what the chain executes of a proposal.
func (m *Module) decision(r chain.ReadCtx, id uint64, messages []proto.Message, signers []string) chain.Decision {
	least, before := int(m.paramsIn(r).MinValidators), len(m.deps.Identity.Validators(r))
	return chain.Decision{
		ID: decisionID(r.ChainID(), id), Signers: signers, Messages: messages,
		After: func(r chain.ReadCtx) error {
			if after := len(m.deps.Identity.Validators(r)); before >= least && after < least {
				return ErrFewValidators.With("%d of %d, and the least is %d", after, before, least)
			}
			return nil
		},
	}
}

// decisionID is SHA-256 over the domain and the chain id, both with their length as eight
// bytes, big endian, before them, and the number of the proposal in eight bytes.
func decisionID(chainID string, id uint64) tx.ID {
	var raw []byte
	for _, part := range []string{decisionDomain, chainID} {
		raw = binary.BigEndian.AppendUint64(raw, uint64(len(part)))
		raw = append(raw, part...)
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(raw, id))
}
