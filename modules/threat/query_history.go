package threat

import (
	"bytes"
	"context"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Params implements threatv1.QueryServer.
func (q *queries) Params(ctx context.Context, _ *threatv1.ParamsRequest) (*threatv1.ParamsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	return &threatv1.ParamsResponse{Params: q.m.paramsIn(r)}, nil
}

// Breaker implements threatv1.QueryServer.
func (q *queries) Breaker(ctx context.Context, _ *threatv1.BreakerRequest) (*threatv1.BreakerResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	return &threatv1.BreakerResponse{Breaker: q.m.breakerIn(r), Mode: q.m.mode(r)}, nil
}

// Actor implements threatv1.QueryServer. It reads the journals of what is pending.
func (q *queries) Actor(ctx context.Context, req *threatv1.ActorRequest) (*threatv1.ActorResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	out, ok := q.m.actor(r, req.Actor)
	if !ok {
		return nil, ErrNoProfile.With("%s", req.Actor)
	}
	return out, nil
}

func (m *Module) actor(r chain.ReadCtx, actor string) (*threatv1.ActorResponse, bool) {
	t := &trace{}
	if settled, ok := m.traces.Peek(r, actor); ok {
		*t = *settled
	}
	for _, j := range m.journals.Walk(r, state.All().After(state.Int64.Encode(nil, m.progressIn(r).Settled))) {
		for i := range j.Entries {
			if d := deedOf(j, i); d.actor == actor {
				t.history.Add(d.time, d.counted())
			}
		}
	}
	if t.history.Count == 0 {
		return nil, false
	}
	out := &threatv1.ActorResponse{Trace: t.message()}
	if t.known {
		d := t.adaptive.Distance(&t.anchor)
		out.Distance, out.Feature = d.Total, features.Schema.Feature(d.Feature).Name
	}
	return out, true
}

// Drift implements threatv1.QueryServer.
func (q *queries) Drift(ctx context.Context, req *threatv1.DriftRequest) (*threatv1.DriftResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	hash := req.Hash
	if len(hash) == 0 {
		hash = q.m.scheduleIn(r).GetActive()
	}
	record, ok := q.m.models.Lookup(r, hash)
	if !ok {
		return nil, ErrNotFound.With("model %x", hash)
	}
	model, err := q.m.usable(r, bytes.Clone(hash))
	if err != nil {
		return nil, ErrNotFound.With("model %x: %v", hash, err)
	}
	out := &threatv1.DriftResponse{Hash: hash, Baseline: model.detector.Message().Baseline, Bands: record.GetCounts().GetBands()}
	out.Psi = stability(out.Baseline, out.Bands)
	return out, nil
}

// ln2 is ln 2 in Q32: what turns binary logarithms into natural ones.
const ln2 = 2977044472

// stability is the population stability index of counts against a baseline, in Q12 and
// natural units: the sum over the bands of (a - e)·ln(a/e), where e is the baseline's
// share and a that of the counts (Siddiqi, Credit Risk Scorecards, 2006). Shares are of
// 2^20, and none is taken as less than 2^20/10000, so that an empty band has a
// logarithm. It is 0 where either has no counts, or they have not as many bands.
//
// Each logarithm is off by at most 1.001·2^-12, and the shares' differences sum to 2
// at most, so the result is within 0.002 of the true value.
func stability(baseline []uint32, counts []uint64) int64 {
	const unit = 1 << 20
	var expected, actual uint64
	for _, n := range baseline {
		expected = fixed.Add(expected, uint64(n))
	}
	for _, n := range counts {
		actual = fixed.Add(actual, n)
	}
	if expected == 0 || actual == 0 || len(baseline) != len(counts) {
		return 0
	}
	var sum int64 // Q32: a share of 2^20 times a logarithm in Q12
	for i, n := range counts {
		a := max(fixed.MulDiv(n, unit, actual), unit/10_000)
		e := max(fixed.MulDiv(uint64(baseline[i]), unit, expected), unit/10_000)
		sum += (int64(a) - int64(e)) * (fixed.Log2(a) - fixed.Log2(e))
	}
	return fixed.Signed(fixed.MulDiv(uint64(sum)>>10, ln2, 1<<42)) // every term is at least 0
}
