package main

import (
	"testing"

	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/stream/rules"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// whole is all parts over one stream of events, as a chain would join them.
type whole struct {
	sketch                 *midas.Sketch
	sketchCells, treeCells *cell.Memory
	forest                 *halfspace.Forest
	anchor, peerAnchor     profile.Anchor
	adaptive, peerAdaptive profile.Adaptive
	rules                  *rules.Rules
	blend                  *blend.Blend
}

// The parts of the blend.
const (
	partMidas = iota
	partTrees
	partOwn
	partPeers
	partDrift
	partRules
)

var step = profile.Settings{StepNumerator: 1, StepDenominator: 256, StepsPerEpoch: 64}

// activity is one event: an edge, a tick, numbers and categories.
type activity struct {
	edge    midas.Edge
	tick    uint64
	numbers []int64 // records read, denied attempts, bytes
	kinds   profile.Event
}

func usual(seed *fixed.Seed, tick uint64) activity {
	return activity{
		edge: midas.Edge{Actor: seed.Below(20), Resource: 100 + seed.Below(40)}, tick: tick,
		numbers: []int64{1 + int64(seed.Below(20)), 0, 500 + int64(seed.Below(2000))},
		kinds:   profile.Event{uint8(seed.Below(2)), uint8(seed.Below(3)), 8 + uint8(seed.Below(9))},
	}
}

func newWhole(t testing.TB) *whole {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &whole{}
	var err error
	w.sketch, err = midas.New(midas.Settings{Rows: 2, Columns: 1024, Relational: true, DecayNumerator: 1, DecayDenominator: 2, Seed: 1})
	must(err)
	w.sketchCells, err = cell.NewMemory(w.sketch.Extents()...)
	must(err)
	w.forest, err = halfspace.New(halfspace.Settings{Trees: 25, Depth: 10, Window: 250, SizeLimit: 25, Seed: 1, Ranges: []halfspace.Range{{Low: 0, High: 1000}, {Low: 0, High: 10}, {Low: 0, High: 1 << 20}}})
	must(err)
	w.treeCells, err = cell.NewMemory(w.forest.Extents()...)
	must(err)
	schema, err := profile.NewSchema(profile.Feature{Name: "kind", Values: 5}, profile.Feature{Name: "class", Values: 7}, profile.Feature{Name: "hour", Values: 24})
	must(err)
	set := &threatv1.RuleSet{Rules: []*threatv1.Rule{{Name: "probing", Reason: "Many attempts were denied.", Score: 9000, When: &threatv1.Predicate{Kind: &threatv1.Predicate_Test{
		Test: &threatv1.FeatureTest{Feature: "denied", Comparison: threatv1.Comparison_COMPARISON_AT_LEAST, Number: 5}}}}}}
	w.rules, err = rules.Bind(set, []string{"records", "denied", "bytes"})
	must(err)
	bits := func(n int64) int64 { return n * fixed.LogScale }
	w.blend, err = blend.New(blend.Settings{Peak: 5000, Parts: []blend.Part{
		partMidas: {Name: "midas", Weight: 3000, Knots: []blend.Knot{{Value: 0}, {Value: 20 * midas.One, Points: 1000}, {Value: 2000 * midas.One, Points: 10000}}},
		partTrees: {Name: "half-space", Weight: 2000, Knots: []blend.Knot{{Value: 0}, {Value: bits(200), Points: 10000}}},
		partOwn:   {Name: "profile", Weight: 2000, Knots: []blend.Knot{{Value: bits(8)}, {Value: bits(30), Points: 10000}}},
		partPeers: {Name: "peers", Weight: 1000, Knots: []blend.Knot{{Value: 0}, {Value: bits(20), Points: 10000}}},
		partDrift: {Name: "drift", Weight: 1000, Knots: []blend.Knot{{Value: bits(1) / 8}, {Value: bits(2), Points: 10000}}},
		partRules: {Name: "rules", Lifts: true, Knots: []blend.Knot{{Value: 0}, {Value: rules.MaxScore, Points: blend.Whole}}},
	}})
	must(err)

	tally, seed := profile.NewTally(schema), fixed.Seed(1)
	for range 1000 {
		tally.Count(settled(t, usual(&seed, 0).kinds))
	}
	w.anchor, w.peerAnchor = tally.Freeze(), tally.Freeze()
	w.adaptive, w.peerAdaptive = w.anchor.Adapt(), w.peerAnchor.Adapt()
	for tick := uint64(1); tick <= 200; tick++ {
		for range 10 {
			w.absorb(t, usual(&seed, tick))
		}
	}
	return w
}

func settled(t testing.TB, e profile.Event) profile.Settled {
	s, ok := profile.Settle(e, profile.FateAdmitted, 0, 0, 0)
	if !ok {
		t.Fatal("an admitted event is not settled")
	}
	return s
}

func (w *whole) absorb(t testing.TB, a activity) {
	if err := w.sketch.Absorb(w.sketchCells, a.edge, a.tick); err != nil {
		t.Fatal(err)
	}
	if err := w.forest.Absorb(w.treeCells, a.numbers); err != nil {
		t.Fatal(err)
	}
	w.adaptive.Absorb(settled(t, a.kinds), step, a.tick)
	w.peerAdaptive.Absorb(settled(t, a.kinds), step, a.tick)
}

func (w *whole) score(a activity) (blend.Result, error) {
	burst, err := w.sketch.Score(w.sketchCells, a.edge, a.tick)
	if err != nil {
		return blend.Result{}, err
	}
	thin, err := w.forest.Score(w.treeCells, a.numbers)
	if err != nil {
		return blend.Result{}, err
	}
	own, approved := w.adaptive.Surprise(a.kinds), w.anchor.Surprise(a.kinds)
	peers, peersApproved := w.peerAdaptive.Surprise(a.kinds), w.peerAnchor.Surprise(a.kinds)
	if approved.Total > own.Total { // either may alarm
		own, peers = approved, peersApproved
	}
	drift, verdict := w.adaptive.Distance(&w.anchor), w.rules.Judge(a.numbers)
	return w.blend.Score([]blend.Input{
		partMidas: {Present: true, Value: fixed.Signed(burst.Statistic), Feature: int(burst.Subject)},
		partTrees: {Present: thin.Ready, Value: thin.Sparsity, Feature: -1},
		partOwn:   {Present: true, Value: own.Total, Feature: own.Feature},
		partPeers: {Present: true, Value: profile.Estrangement(own, peers), Feature: own.Feature},
		partDrift: {Present: true, Value: drift.Total, Feature: drift.Feature},
		partRules: {Present: true, Value: int64(verdict.Score), Feature: verdict.Rule},
	}), nil
}

func TestTheWholeScoreTellsWhatDroveIt(t *testing.T) {
	w, seed := newWhole(t), fixed.Seed(2)
	score := func(a activity) blend.Result {
		r, err := w.score(a)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var calm uint16
	for range 50 {
		calm = max(calm, score(usual(&seed, 201)).Score)
	}
	night := usual(&seed, 201)
	night.kinds = profile.Event{4, 6, 3}
	probing := usual(&seed, 201)
	probing.numbers[1] = 6
	huge := usual(&seed, 201)
	huge.numbers[0], huge.numbers[2] = 900, 1<<20
	for name, c := range map[string]struct {
		a    activity
		part int
	}{"an odd night": {night, partOwn}, "probing": {probing, partRules}, "bulk": {huge, partTrees}} {
		r := score(c.a)
		if r.Score <= calm || r.Drivers[0].Part != c.part {
			t.Errorf("%s: %+v, calm days reach %d", name, r, calm)
		}
	}
	burst := usual(&seed, 201)
	for range 60 {
		w.absorb(t, burst)
	}
	if r := score(burst); r.Score <= calm || r.Drivers[0].Part != partMidas {
		t.Errorf("a burst: %+v, calm days reach %d", r, calm)
	}
}

// All parts of one score, in memory.
func BenchmarkWholeScore(b *testing.B) {
	w, seed := newWhole(b), fixed.Seed(3)
	events := make([]activity, 1024)
	for i := range events {
		events[i] = usual(&seed, 201)
	}
	b.ReportAllocs()
	b.ResetTimer()
	took, err := measure(b.N, func() error {
		for i := range b.N {
			if _, err := w.score(events[i&1023]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(took.each.Nanoseconds()), "cpu-ns/op")
}
