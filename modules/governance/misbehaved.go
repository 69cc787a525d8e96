package governance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// maxOffences is how many offences of one validator are recorded. There is an event for
// those beyond.
const maxOffences = 64

// addressSize is the bytes of a consensus key's address.
const addressSize = 20

// Misbehaved implements chain.Witness: it records what validators did, and proposes to
// remove them.
func (m *Module) Misbehaved(ctx *chain.Ctx, of []*chainv1.Misbehaviour) {
	for _, b := range of {
		key := state.Join3(b.Validator, b.Height, uint32(b.Kind))
		if m.offences.Has(ctx, key) {
			continue
		}
		o := &governancev1.Offence{Misbehaviour: b, Height: ctx.Height(), Time: ctx.Time()}
		recorded := 0
		for _, earlier := range m.offences.Walk(ctx, state.Under(state.Bytes, b.Validator)) {
			recorded++
			if p, ok := m.proposals.Lookup(ctx, earlier.ProposalId); ok && open(p.Status) {
				o.ProposalId = p.Id
			}
		}
		validators := m.deps.Identity.Validators(ctx)
		i := slices.IndexFunc(validators, func(v *identityv1.Validator) bool { return bytes.Equal(addressOf(v), b.Validator) })
		switch {
		case i < 0:
			o.NoProposal = "it is a validator no more"
		default:
			o.Organisation = validators[i].Organisation
			if o.ProposalId == 0 {
				m.proposeRemoval(ctx, o, validators[i])
			}
		}
		if recorded < maxOffences {
			m.offences.Put(ctx, key, o)
		}
		ctx.Emit(&governancev1.Misbehaved{Offence: o})
	}
}

func addressOf(v *identityv1.Validator) []byte {
	sum := sha256.Sum256(v.GetPublicKey())
	return sum[:addressSize]
}

// proposeRemoval makes the proposal to remove a validator for an offence, in the name of
// the consortium, or says why there is none.
func (m *Module) proposeRemoval(ctx *chain.Ctx, o *governancev1.Offence, v *identityv1.Validator) {
	messages := []proto.Message{&identityv1.BindValidator{Organisation: v.Organisation, PublicKey: v.PublicKey}}
	id := m.nextID(ctx)
	if out, _ := m.mandate.Rehearse(ctx, m.decision(ctx, id, messages, m.members(ctx))); out.Err != nil {
		described := new(governancev1.Outcome)
		describe(described, out)
		o.NoProposal = described.Log
		return
	}
	raw, err := tx.EncodeMessage(messages[0])
	if err != nil {
		panic(&state.Fault{Where: "marshal a message", Err: err})
	}
	why, err := o.Misbehaviour.MarshalVT()
	if err != nil {
		panic(&state.Fault{Where: "marshal an offence", Err: err})
	}
	hash := sha256.Sum256(why)
	kinds := kindsOf(messages)
	rule := ruleFor(m.paramsIn(ctx), kinds, false)
	p := &governancev1.Proposal{
		Id: id, Organisation: m.deps.Identity.Consortium(), Title: "Remove a validator that " + deed(o.Misbehaviour.Kind),
		RationaleHash: hash[:], Messages: [][]byte{raw}, Kinds: kinds, Rule: rule, Height: ctx.Height(),
		MadeAt: ctx.Time(), VotingEndsAt: ctx.Time() + rule.VotingMs, Status: voting,
	}
	m.next.Put(ctx, id+1)
	m.file(ctx, p)
	m.madeBy.Add(ctx, state.Join(p.Organisation, id))
	ctx.Emit(&governancev1.Proposed{Proposal: p})
	o.ProposalId = id
}

// deed is what a validator did, in words.
func deed(k chainv1.MisbehaviourKind) string {
	switch k {
	case chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_DUPLICATE_VOTE:
		return "voted twice"
	case chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_LIGHT_CLIENT_ATTACK:
		return "signed another chain"
	default:
		return "broke the rules of consensus"
	}
}

// checkOffence refuses a record that could not have come about.
func checkOffence(o *governancev1.Offence) error {
	b := o.GetMisbehaviour()
	switch {
	case len(b.GetValidator()) != addressSize || b.Height < 1:
		return ErrInvalid.With("the validator or the height is missing")
	case o.Height < b.Height || o.ProposalId != 0 && o.NoProposal != "":
		return ErrInvalid.With("it was recorded before it happened, or has a proposal and none")
	}
	return nil
}

// Offences implements governancev1.QueryServer.
func (q *queries) Offences(ctx context.Context, req *governancev1.OffencesRequest) (*governancev1.OffencesResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	if n := len(req.Validator); n != 0 && n != addressSize {
		return nil, ErrInvalid.With("a validator's address has %d bytes, not %d", addressSize, n)
	}
	span := state.All()
	if len(req.Validator) > 0 {
		span = state.Under(state.Bytes, req.Validator)
	}
	page, next := q.m.offences.Page(r, span.After(req.PageToken), limit)
	return &governancev1.OffencesResponse{Offences: page, NextPageToken: next}, nil
}
