package threat

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// maxStandings is how many opinions all validators together may hold, and so at most
	// how many subjects are held an opinion of. Each has an equal share, so that none
	// can leave the others without room.
	maxStandings = 10_000
	// maxStandingsEnded bounds the standings of which expired opinions are dropped in a
	// block. Opinions that wait for it count no more.
	maxStandingsEnded = 100
	// renewal is the part of params.max_opinion_ms by which the end of an opinion that
	// goes on must move before it is written again.
	renewal = 16
)

// saying is one assessment of one validator.
type saying struct {
	validator Power
	*threatv1.Assessment
}

// hear takes the opinions that validators gave with their votes into the standings of
// their subjects. Of each validator the latest opinion of a subject counts, until its
// own end and never longer than params.max_opinion_ms; one without a risk, or whose end
// has passed, withdraws it. Ignored are votes of those who are no validators, extensions
// of another form, subjects that do not exist, and opinions beyond a validator's share of
// maxStandings.
func (m *Module) hear(ctx *chain.Ctx, votes []*chainv1.Vote) {
	if len(votes) == 0 {
		return
	}
	powers, total := m.deps.Identity.Powers(ctx)
	var said []saying
	for _, v := range votes {
		i, ok := indexOf(powers, v.Validator)
		if !ok {
			continue
		}
		extension, err := ParseExtension(v.Extension)
		if err != nil {
			continue
		}
		for _, a := range extension.Assessments {
			said = append(said, saying{powers[i], a})
		}
	}
	slices.SortStableFunc(said, func(a, b saying) int {
		if c := strings.Compare(a.Subject, b.Subject); c != 0 {
			return c
		}
		return bytes.Compare(a.validator.Address[:], b.validator.Address[:])
	})
	for len(said) > 0 {
		n := 1
		for n < len(said) && said[n].Subject == said[0].Subject {
			n++
		}
		m.hearOf(ctx, said[0].Subject, said[:n], powers, total)
		said = said[n:]
	}
}

func (m *Module) hearOf(ctx *chain.Ctx, subject string, said []saying, powers []Power, total int64) {
	if _, ok := m.deps.Identity.Kind(ctx, subject); !ok {
		return
	}
	before, _ := m.standings.Lookup(ctx, subject)
	after := before.CloneVT()
	if after == nil {
		after = &threatv1.Standing{Subject: subject}
	}
	longest := m.paramsIn(ctx).MaxOpinionMs
	share := max(1, maxStandings/uint64(len(powers)))
	for _, s := range said {
		address := s.validator.Address[:]
		i, has := slices.BinarySearchFunc(after.Held, address, func(h *threatv1.Held, a []byte) int { return bytes.Compare(h.Validator, a) })
		end := min(s.Until, ctx.Time()+longest)
		h := &threatv1.Held{Validator: bytes.Clone(address), Risk: s.Risk, Cause: s.Cause, Source: s.Source, Until: end, Height: ctx.Height()}
		switch over := s.Risk == threatv1.Risk_RISK_UNSPECIFIED || end <= ctx.Time(); {
		case over && has:
			after.Held = slices.Delete(after.Held, i, i+1)
		case over:
		case has && goesOn(after.Held[i], h, s.Until > end, longest/renewal):
		case has:
			after.Held[i] = h
		default:
			if n, _ := m.voices.Lookup(ctx, address); n < share {
				after.Held = slices.Insert(after.Held, i, h)
			}
		}
	}
	m.restand(ctx, before, after, powers, total)
}

// goesOn tells whether an opinion says what the one before said. Where its end was cut
// short, the end may be up to slack later.
func goesOn(was, is *threatv1.Held, cut bool, slack int64) bool {
	later := is.Until - was.Until
	return was.Risk == is.Risk && was.Cause == is.Cause && bytes.Equal(was.Source, is.Source) &&
		(later == 0 || cut && later > 0 && later < slack)
}

// endOpinions drops opinions whose end has passed, the earliest first.
func (m *Module) endOpinions(ctx *chain.Ctx) {
	var due []string
	for k := range m.standingsDue.Walk(ctx, state.All()) {
		if k.A > ctx.Time() || len(due) == maxStandingsEnded {
			break
		}
		due = append(due, k.B)
	}
	if len(due) == 0 {
		return
	}
	powers, total := m.deps.Identity.Powers(ctx)
	for _, subject := range due {
		before, ok := m.standings.Lookup(ctx, subject)
		if !ok {
			panic("threat: a standing is due that has no record")
		}
		m.restand(ctx, before, before.CloneVT(), powers, total)
	}
}

// restand puts a standing in the place of the one before, which may be nil, without the
// opinions whose end has passed, and tells what changed.
func (m *Module) restand(ctx *chain.Ctx, before, after *threatv1.Standing, powers []Power, total int64) {
	after.Held = slices.DeleteFunc(after.Held, func(h *threatv1.Held) bool { return h.Until <= ctx.Time() })
	found := findCommon(after, powers, total, ctx.Time())
	after.Common, after.Accused = found.risk, found.accused
	if after.EqualVT(before) || before == nil && len(after.Held) == 0 {
		return
	}
	m.fileStanding(ctx, before, after)
	if found.accused && !before.GetAccused() {
		organisation, _ := m.deps.Identity.Organisation(ctx, after.Subject)
		ctx.Emit(&threatv1.ProposerAccused{Organisation: organisation, Risk: after.Common})
	}
	if before.GetCommon() != after.Common {
		ctx.Emit(&threatv1.RiskChanged{Subject: after.Subject, From: before.GetCommon(), To: after.Common, Cause: found.cause})
	}
}

// fileStanding puts a standing in the place of the one before, with what finds it and
// the number of opinions that each validator holds. Either may be nil or without
// opinions.
func (m *Module) fileStanding(ctx *chain.Ctx, before, after *threatv1.Standing) {
	was, is := before.GetHeld(), after.GetHeld()
	switch {
	case len(is) > 0:
		m.standings.Put(ctx, after.Subject, after)
	case len(was) > 0:
		m.standings.Remove(ctx, before.Subject)
	}
	if from, to := firstEnd(was), firstEnd(is); from != to {
		if from != 0 {
			m.standingsDue.Remove(ctx, state.Join(from, before.Subject))
		}
		if to != 0 {
			m.standingsDue.Add(ctx, state.Join(to, after.Subject))
		}
	}
	for len(was) > 0 || len(is) > 0 {
		switch c := compareHeld(was, is); {
		case c == 0:
			was, is = was[1:], is[1:]
		case c < 0:
			m.voice(ctx, was[0].Validator, -1)
			was = was[1:]
		default:
			m.voice(ctx, is[0].Validator, 1)
			is = is[1:]
		}
	}
}

// compareHeld compares the first validators of two lists, of which an empty one is last.
func compareHeld(a, b []*threatv1.Held) int {
	switch {
	case len(b) == 0:
		return -1
	case len(a) == 0:
		return 1
	}
	return bytes.Compare(a[0].Validator, b[0].Validator)
}

// voice counts an opinion more, or one less, of a validator.
func (m *Module) voice(ctx *chain.Ctx, validator []byte, by int64) {
	n, _ := m.voices.Lookup(ctx, validator)
	if n = uint64(int64(n) + by); n == 0 {
		m.voices.Remove(ctx, validator)
	} else {
		m.voices.Put(ctx, validator, n)
	}
}

// firstEnd is when the first of opinions ends; 0 where there are none.
func firstEnd(held []*threatv1.Held) int64 {
	if len(held) == 0 {
		return 0
	}
	end := held[0].Until
	for _, h := range held[1:] {
		end = min(end, h.Until)
	}
	return end
}

// common is what validators think together of a subject.
type common struct {
	risk    threatv1.Risk
	cause   threatv1.Cause // the one that most of the power behind risk gives; of equals the first
	accused bool
	power   [threatv1.Risk_RISK_SEVERE]int64 // that holds each risk or a higher one, from RISK_LOW
}

// findCommon finds the highest risk that validators with more than half of all voting
// power hold, or a higher one. Opinions whose end has passed, and of those who are no
// validators now, do not count.
func findCommon(s *threatv1.Standing, powers []Power, total, now int64) common {
	var out common
	var accusing int64
	var causes [threatv1.Cause_CAUSE_NETWORK + 1][threatv1.Risk_RISK_SEVERE]int64
	for _, h := range s.GetHeld() {
		i, ok := indexOf(powers, h.Validator)
		if !ok || h.Until <= now {
			continue
		}
		p := powers[i].Power
		for level := range h.Risk {
			out.power[level] += p
			causes[h.Cause][level] += p
		}
		if h.Cause == threatv1.Cause_CAUSE_PROPOSER_LIED && h.Risk >= threatv1.Risk_RISK_GUARDED {
			accusing += p
		}
	}
	out.accused = 2*accusing > total
	for level, p := range out.power {
		if 2*p > total {
			out.risk = threatv1.Risk(level + 1)
		}
	}
	if out.risk == threatv1.Risk_RISK_UNSPECIFIED {
		return out
	}
	most := int64(0)
	for cause := range causes {
		if p := causes[cause][out.risk-1]; p > most {
			most, out.cause = p, threatv1.Cause(cause)
		}
	}
	return out
}

// indexOf finds a validator by its address.
func indexOf(powers []Power, address []byte) (int, bool) {
	return slices.BinarySearchFunc(powers, address, func(p Power, a []byte) int { return bytes.Compare(p.Address[:], a) })
}

// CommonRisk is the highest risk that validators with more than half of all voting power
// hold of a subject at r.Time(). It follows from the opinions and powers at that time,
// not from when it was last announced.
func (m *Module) CommonRisk(r chain.ReadCtx, subject string) threatv1.Risk {
	s, ok := m.standings.Peek(r, subject)
	if !ok {
		return threatv1.Risk_RISK_UNSPECIFIED
	}
	powers, total := m.deps.Identity.Powers(r)
	return findCommon(s, powers, total, r.Time()).risk
}

// Risk implements threatv1.QueryServer.
func (q *queries) Risk(ctx context.Context, req *threatv1.RiskRequest) (*threatv1.RiskResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if !isSubject(req.Subject) {
		return nil, ErrInvalid.With("subject is no DID")
	}
	s, _ := q.m.standings.Lookup(r, req.Subject)
	powers, total := q.m.deps.Identity.Powers(r)
	found := findCommon(s, powers, total, r.Time())
	return &threatv1.RiskResponse{Common: found.risk, Standing: s, TotalPower: total, Power: found.power[:]}, nil
}
