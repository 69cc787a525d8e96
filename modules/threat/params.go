package threat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	minute = 60 * 1000 // milliseconds
	day    = 24 * 60 * minute

	maxHoldMs    = 90 * day
	maxPending   = 2_000_000
	maxHeld      = 1_000_000
	maxHeldBytes = 4 << 30
	maxReviewers = 32
	maxWork      = 10_000_000
	topScore     = 10000
)

// DefaultParams are the parameters of a chain whose genesis has none. Scoring is off.
func DefaultParams() *threatv1.Params {
	return &threatv1.Params{
		Mode:                threatv1.Mode_MODE_OFF,
		Reviewers:           2,
		HoldMs:              3 * day,
		AppealMs:            day,
		MaxHeld:             10_000,
		MaxHeldOrganisation: 1_000,
		MaxHeldBytes:        64 << 20,
		AlarmScore:          6000,
		MaxScoreWork:        100_000,
		Breaker:             &threatv1.Breaker{Window: 2000, Rate: 500, Actor: 2, RestMs: 10 * minute},
		MaxOpinionMs:        7 * day,
		MaxPending:          200_000,
	}
}

// CheckParams refuses parameters by which the module could not work.
func CheckParams(p *threatv1.Params) error {
	wrong := func(name string, have any, want string) error {
		return ErrInvalid.With("params.%s is %v, want %s", name, have, want)
	}
	switch {
	case p == nil:
		return ErrInvalid.With("params is missing")
	case p.Mode < threatv1.Mode_MODE_OFF || p.Mode > threatv1.Mode_MODE_ENFORCE:
		return wrong("mode", p.Mode, "MODE_OFF, MODE_LOG or MODE_ENFORCE")
	case p.Reviewers < 1 || p.Reviewers > maxReviewers:
		return wrong("reviewers", p.Reviewers, "1 to 32")
	case p.LearningUntil < 0:
		return wrong("learning_until", p.LearningUntil, "a time, or 0")
	case p.HoldMs < minute || p.HoldMs > maxHoldMs:
		return wrong("hold_ms", p.HoldMs, "a minute to 90 days")
	case p.AppealMs < minute || p.AppealMs > maxHoldMs:
		return wrong("appeal_ms", p.AppealMs, "a minute to 90 days")
	case p.MaxHeld < 1 || p.MaxHeld > maxHeld:
		return wrong("max_held", p.MaxHeld, "1 to 1000000")
	case p.MaxHeldOrganisation < 1 || p.MaxHeldOrganisation > p.MaxHeld:
		return wrong("max_held_organisation", p.MaxHeldOrganisation, "1 to max_held")
	case p.MaxHeldBytes < tx.MaxBytes || p.MaxHeldBytes > maxHeldBytes:
		return wrong("max_held_bytes", p.MaxHeldBytes, "1 MiB to 4 GiB")
	case p.AlarmScore < 1 || p.AlarmScore > topScore:
		return wrong("alarm_score", p.AlarmScore, "1 to 10000")
	case p.MaxScoreWork < 1 || p.MaxScoreWork > maxWork:
		return wrong("max_score_work", p.MaxScoreWork, "1 to 10000000")
	case p.MaxOpinionMs < minute || p.MaxOpinionMs > maxHoldMs:
		return wrong("max_opinion_ms", p.MaxOpinionMs, "a minute to 90 days")
	case p.MaxPending < 1 || p.MaxPending > maxPending:
		return wrong("max_pending", p.MaxPending, "1 to 2000000")
	}
	switch b := p.Breaker; {
	case b == nil:
		return ErrInvalid.With("params.breaker is missing")
	case b.Window < 10 || b.Window > 1_000_000:
		return wrong("breaker.window", b.Window, "10 to 1000000")
	case b.Rate < 1 || b.Rate > 10_000:
		return wrong("breaker.rate", b.Rate, "1 to 10000")
	case b.Actor < 1 || b.Actor > b.Window:
		return wrong("breaker.actor", b.Actor, "1 to breaker.window")
	case b.RestMs < minute || b.RestMs > maxHoldMs:
		return wrong("breaker.rest_ms", b.RestMs, "a minute to 90 days")
	case uint64(b.Window)*uint64(b.Rate)/10_000 > maxBreakerActors:
		return wrong("breaker", b, "a window and a rate by which at most 10000 are flagged")
	}
	arms := messageNames()
	for i, kind := range p.FailClosed {
		if i > 0 && kind <= p.FailClosed[i-1] {
			return ErrInvalid.With("params.fail_closed is not sorted at %q", kind)
		}
		if _, ok := slices.BinarySearch(arms, kind); !ok {
			return ErrInvalid.With("params.fail_closed: there is no message %q", kind)
		}
	}
	return nil
}

// messageNames are the full names of all messages of transactions, sorted.
func messageNames() []string {
	var names []string
	for _, arm := range tx.Arms() {
		names = append(names, string(arm.Message().FullName()))
	}
	slices.Sort(names)
	return names
}

// paramsIn are the parameters, shared: they must not be changed.
func (m *Module) paramsIn(r state.Reader) *threatv1.Params {
	if p, ok := m.params.Peek(r); ok {
		return p
	}
	return DefaultParams()
}

func (m *Module) setParams() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.SetParams]{
		Validate: func(msg *threatv1.SetParams) error { return CheckParams(msg.Params) },
		Check:    func(r chain.ReadCtx, _ *threatv1.SetParams) error { return m.byConsortium(r) },
		Execute: func(ctx *chain.Ctx, msg *threatv1.SetParams) (proto.Message, error) {
			m.params.Put(ctx, msg.Params)
			ctx.Emit(&threatv1.ParamsChanged{Params: msg.Params})
			return &threatv1.SetParamsResponse{}, nil
		},
	})
}
