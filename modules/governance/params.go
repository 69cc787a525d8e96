package governance

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

const (
	minute = 60 * 1000 // milliseconds
	hour   = 60 * minute
	day    = 24 * hour

	// million is the whole of which shares are parts.
	million = 1_000_000

	maxWeight     = 1000
	maxWeights    = 32 // as many as act for the consortium
	maxTime       = 90 * day
	maxBytes      = 200 << 10
	maxMessages   = 100
	maxOpen       = 100
	maxPerDay     = 100
	maxExecutions = 16
	maxValidators = 200
)

// DefaultParams are the parameters of a chain whose genesis has none. Who is a member, who
// validates, what binds all policies and how validators run takes more than two thirds;
// all else more than half; an emergency three quarters.
func DefaultParams() *governancev1.Params {
	const half, twoThirds, third = 500_001, 666_667, 333_334
	rule := func(quorum, threshold uint32, days, lock int64) *governancev1.Rule {
		return &governancev1.Rule{
			Quorum: quorum, Threshold: threshold, Veto: third,
			VotingMs: days * day, MinVotingMs: hour, MaxVotingMs: 30 * day, TimeLockMs: lock,
		}
	}
	p := &governancev1.Params{
		Emergency: &governancev1.Rule{
			Quorum: 750_000, Threshold: 750_000, Veto: third,
			VotingMs: 4 * hour, MinVotingMs: 10 * minute, MaxVotingMs: day, TimeLockMs: 0,
		},
		MaxOpen: 5, MaxPerDay: 10, MaxMessages: 20, MaxBytes: 64 << 10,
		GraceMs: day, MaxExecutions: 2, MinValidators: 4,
	}
	for _, k := range ruled {
		r := rule(half, half, 3, 12*hour)
		switch k {
		case kindMembership, kindValidators, kindGuardRails:
			r = rule(twoThirds, twoThirds, 5, day)
		case kindUpgrade:
			r = rule(twoThirds, twoThirds, 7, 3*day)
		}
		p.Rules = append(p.Rules, &governancev1.KindRule{Kind: k, Rule: r})
	}
	return p
}

// CheckParams refuses parameters by which the consortium could not decide, or could
// without anybody's word.
func CheckParams(p *governancev1.Params) error {
	wrong := func(name string, have any, want string) error {
		return ErrInvalid.With("params.%s is %v, want %s", name, have, want)
	}
	if p == nil {
		return ErrInvalid.With("params is missing")
	}
	if len(p.Rules) != len(ruled) {
		return wrong("rules", len(p.Rules), "one for each kind but KIND_RULES")
	}
	for i, k := range p.Rules {
		if k.GetKind() != ruled[i] {
			return wrong("rules", k.GetKind(), "one for each kind but KIND_RULES, sorted by kind")
		}
		if err := checkRule("rules."+k.Kind.String(), k.Rule); err != nil {
			return err
		}
	}
	if err := checkRule("emergency", p.Emergency); err != nil {
		return err
	}
	for i, w := range p.Weights {
		switch {
		case i >= maxWeights:
			return wrong("weights", len(p.Weights), "at most 32")
		case w.GetOrganisation() == "" || len(w.Organisation) > maxDID:
			return wrong("weights", w.GetOrganisation(), "DIDs")
		case i > 0 && w.Organisation <= p.Weights[i-1].Organisation:
			return wrong("weights", w.Organisation, "sorted by organisation, each once")
		case w.Weight > maxWeight || w.Weight == 1:
			return wrong("weights", w.Weight, "0 or 2 to 1000; 1 is what is not listed")
		}
	}
	switch {
	case p.MaxOpen < 1 || p.MaxOpen > maxOpen:
		return wrong("max_open", p.MaxOpen, "1 to 100")
	case p.MaxPerDay < 1 || p.MaxPerDay > maxPerDay:
		return wrong("max_per_day", p.MaxPerDay, "1 to 100")
	case p.MaxMessages < 1 || p.MaxMessages > maxMessages:
		return wrong("max_messages", p.MaxMessages, "1 to 100")
	case p.MaxBytes < 8<<10 || p.MaxBytes > maxBytes:
		return wrong("max_bytes", p.MaxBytes, "8 KiB to 200 KiB, so that these parameters can be proposed")
	case p.GraceMs < minute || p.GraceMs > maxTime:
		return wrong("grace_ms", p.GraceMs, "a minute to 90 days")
	case p.MaxExecutions < 1 || p.MaxExecutions > maxExecutions:
		return wrong("max_executions", p.MaxExecutions, "1 to 16")
	case p.MinValidators < 1 || p.MinValidators > maxValidators:
		return wrong("min_validators", p.MinValidators, "1 to 200")
	}
	return nil
}

// checkRule refuses a rule that nothing could satisfy, or that a minority could.
func checkRule(name string, r *governancev1.Rule) error {
	wrong := func(field string, have any, want string) error {
		return ErrInvalid.With("params.%s.%s is %v, want %s", name, field, have, want)
	}
	switch {
	case r == nil:
		return ErrInvalid.With("params.%s has no rule", name)
	case r.Quorum < 1 || r.Quorum > million:
		return wrong("quorum", r.Quorum, "1 to 1000000")
	case r.Threshold <= million/2 || r.Threshold > million:
		return wrong("threshold", r.Threshold, "500001 to 1000000: more than half")
	case r.Veto < 1 || r.Veto > million:
		return wrong("veto", r.Veto, "1 to 1000000")
	case r.MinVotingMs < minute || r.MaxVotingMs > maxTime || r.MinVotingMs > r.VotingMs || r.VotingMs > r.MaxVotingMs:
		return wrong("voting_ms", r.VotingMs, "min_voting_ms to max_voting_ms, and those a minute to 90 days")
	case r.TimeLockMs < 0 || r.TimeLockMs > maxTime:
		return wrong("time_lock_ms", r.TimeLockMs, "0 to 90 days")
	}
	return nil
}

// paramsIn are the parameters, shared: they must not be changed.
func (m *Module) paramsIn(r state.Reader) *governancev1.Params {
	if p, ok := m.params.Peek(r); ok {
		return p
	}
	return DefaultParams()
}

func (m *Module) setParams() chain.Route {
	return chain.Handle(chain.Handler[*governancev1.SetParams]{
		Validate: func(msg *governancev1.SetParams) error { return CheckParams(msg.Params) },
		Check: func(r chain.ReadCtx, msg *governancev1.SetParams) error {
			if r.Author() != m.deps.Identity.Consortium() {
				return ErrNotConsortium.With("%s", r.Author())
			}
			return m.checkElectorate(r, msg.Params)
		},
		Execute: func(ctx *chain.Ctx, msg *governancev1.SetParams) (proto.Message, error) {
			m.params.Put(ctx, msg.Params)
			ctx.Emit(&governancev1.ParamsChanged{Params: msg.Params})
			return &governancev1.SetParamsResponse{}, nil
		},
	})
}

// checkElectorate refuses weights by which fewer organisations would have a vote than it
// takes to act for the consortium: nothing could pass any more.
func (m *Module) checkElectorate(r chain.ReadCtx, p *governancev1.Params) error {
	members, threshold := m.deps.Identity.Controllers(r, m.deps.Identity.Consortium())
	have := uint32(0)
	for _, did := range members {
		if weightOf(p, did) > 0 {
			have++
		}
	}
	if have < max(1, threshold) {
		return ErrNoElectorate.With("%d of %d have a vote, and it takes %d", have, len(members), threshold)
	}
	return nil
}

// weightOf is the weight of an organisation's vote.
func weightOf(p *governancev1.Params, did string) uint64 {
	i, ok := slices.BinarySearchFunc(p.Weights, did, func(w *governancev1.Weight, did string) int {
		switch {
		case w.Organisation < did:
			return -1
		case w.Organisation > did:
			return 1
		}
		return 0
	})
	if !ok {
		return 1
	}
	return uint64(p.Weights[i].Weight)
}
