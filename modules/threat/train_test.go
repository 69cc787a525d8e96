package threat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"testing"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// trained runs transactions of an actor, one a block, until it has a profile.
func trained(w *ward, actor string) {
	w.t.Helper()
	for i := range anchorEvents {
		w.does(actor, good(fmt.Sprint("x", i%3)))
	}
	w.pass(2 * minute)
	if len(w.trace(actor).GetAnchor()) == 0 {
		w.t.Fatalf("%s has no anchor after %d transactions", actor, anchorEvents)
	}
}

// What was held or denied is counted, and trains nothing: neither profiles nor cells.
func TestHeldAndDeniedNeverTrain(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a := house + ":a"
	trained(w, a)
	before, cells := w.trace(a), w.m.upTo(w.View(), w.Height()).encodedCells()
	for range 40 {
		w.Block(w.Tx(a, []proto.Message{held1("x0")}), w.Tx(a, []proto.Message{denied1(house)}))
	}
	w.pass(2 * minute)
	after := w.trace(a)
	if after.Count != before.Count+80 {
		t.Fatalf("%d transactions are settled, want %d", after.Count, before.Count+80)
	}
	if after.Held == 0 || after.Failed == 0 {
		t.Error("holds and denials are not counted")
	}
	if string(after.Adaptive) != string(before.Adaptive) || string(after.Anchor) != string(before.Anchor) {
		t.Error("what was held or denied moved a profile")
	}
	if got := w.m.upTo(w.View(), w.Height()).encodedCells(); got != cells {
		t.Error("what was held or denied was counted in cells")
	}
	w.does(a, good("x0"))
	w.pass(2 * minute)
	if string(w.trace(a).Adaptive) == string(before.Adaptive) {
		t.Error("what was admitted did not move the adaptive profile, so the test shows nothing")
	}
	if got := w.m.upTo(w.View(), w.Height()).encodedCells(); got == cells {
		t.Error("what was admitted was not counted in cells, so the test shows nothing")
	}
}

// encodedCells is the cells of a version.
func (v *version) encodedCells() string {
	only := *v
	only.height, only.progress, only.lives, only.pending = 0, &threatv1.Progress{Paged: 1 << 62}, new(btree.Map[string, *live]), nil
	return only.encoded()
}

// Nothing trains before its time to appeal is over, and then it does.
func TestNothingTrainsBeforeItsAppealIsOver(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a := house + ":a"
	w.does(a, good("x"))
	began := w.Now
	for w.Now+chaintest.BlockTime < began+minute {
		w.Block()
		if w.trace(a) != nil {
			t.Fatalf("it trained after %d ms", w.Now-began)
		}
		if got := w.actor(a).Trace.Count; got != 1 {
			t.Fatalf("the pending transaction counts %d times in what is known of the actor", got)
		}
	}
	w.Block()
	if w.trace(a).GetCount() != 1 || w.progress().Pending != 0 {
		t.Fatalf("it did not train after %d ms", w.Now-began)
	}
}

// No more than max_pending wait, but for those of the latest block: the oldest train
// early, which is the bound of memory.
func TestPendingIsBounded(t *testing.T) {
	p := testParams()
	p.MaxPending = 10
	w := newWard(t, genesisOf(testDetector(t), p))
	for i := range 30 {
		w.Block(w.Tx(house+":a", []proto.Message{good("x")}), w.Tx(fmt.Sprint(house, ":b", i), []proto.Message{good("y")}))
		if n := w.progress().Pending; n > 10 {
			t.Fatalf("%d are pending", n)
		}
		v := w.m.upTo(w.View(), w.Height())
		if n := v.lives.Len(); n > 12 {
			t.Fatalf("the history holds %d subjects", n)
		}
	}
	w.wantSame()
}

// A boiling frog: a thousand steps, each as far as the detector allows, towards another
// habit. The anchor stays to the bit; the adaptive profile moves by no more than its
// budget of each day; the distance tells. The figures are those of docs/threat-streams.md.
func TestBoilingFrog(t *testing.T) {
	s := steps{Settings: profile.Settings{StepNumerator: 1, StepDenominator: 256, StepsPerEpoch: 20}, epochMs: features.Day}
	tr := &training{m: New(Deps{}), steps: s, traces: map[string]*trace{}}
	d := deed{actor: "a", organisation: "o", kind: 2, Entry: &threatv1.Entry{Fate: threatv1.Fate_FATE_ADMITTED}}
	none := state.NewOverlay(emptyState{})
	day, night := profile.Event{1, 10, 2, 1}, profile.Event{9, 3, 2, 4}
	train := func(e profile.Event, time int64) {
		d.time = time
		d.Event = e[:]
		settled, ok := profile.Settle(e, d.fate(), uint64(time), 0, uint64(time))
		tr.train(none, d, settled, ok)
	}
	now := chaintest.GenesisTime
	for i := range anchorEvents {
		train(day, now+int64(i)*1000)
	}
	own := tr.traces["a"]
	anchor := own.message().Anchor
	t.Log("| Steps | Days | Anchor's surprise | Adaptive's surprise | Distance |")
	line := func(n int) {
		a, b := own.anchor.Surprise(night).Total, own.adaptive.Surprise(night).Total
		dist := own.adaptive.Distance(&own.anchor).Total
		t.Logf("| %d | %d | %.2f | %.2f | %.3f |", n, n/20, float64(a)/4096, float64(b)/4096, float64(dist)/4096)
	}
	line(0)
	for n := 1; n <= 1000; n++ {
		before := own.adaptive
		train(night, now+int64(n/20+1)*features.Day+int64(n%20)*1000)
		for f := range features.Schema.Features() {
			moved := uint32(0)
			for v := range features.Schema.Feature(f).Values {
				if x, y := own.adaptive.Mass(f, v), before.Mass(f, v); x > y {
					moved += x - y
				}
			}
			if moved > profile.Mass/256 {
				t.Fatalf("step %d moves feature %d by %d of %d", n, f, moved, profile.Mass)
			}
		}
		if n == 20 || n == 100 || n == 200 || n == 500 || n == 1000 {
			line(n)
		}
	}
	if string(own.message().Anchor) != string(anchor) {
		t.Fatal("the anchor moved")
	}
	// A flood within one day moves it no further than the day's steps do.
	flooded := own.adaptive
	for n := range 1000 {
		train(day, now+100*features.Day+int64(n))
	}
	if got := own.adaptive.Events() - flooded.Events(); got != 20 {
		t.Fatalf("%d steps in a day, want 20", got)
	}
	if d := flooded.Distance(&own.anchor); d.Total < 4096 {
		t.Fatalf("the distance says nothing: %d", d.Total)
	}
}

// One member moves the profile of its peers by no more than a sixteenth of what the
// group may move in a day.
func TestOneMemberMovesItsPeersLittle(t *testing.T) {
	tr := &training{m: New(Deps{}), steps: defaultSteps, traces: map[string]*trace{}}
	none := state.NewOverlay(emptyState{})
	day, night := profile.Event{1, 10, 2, 1}, profile.Event{9, 3, 2, 4}
	train := func(actor string, e profile.Event, time int64) {
		d := deed{actor: actor, organisation: "o", kind: 2, time: time, Entry: &threatv1.Entry{Fate: threatv1.Fate_FATE_ADMITTED, Event: e[:]}}
		settled, ok := profile.Settle(e, d.fate(), uint64(time), 0, uint64(time))
		tr.train(none, d, settled, ok)
	}
	now := chaintest.GenesisTime
	peers := func() *trace { return tr.traces[peersOf("o", 2)] }
	for range 10 * peersEvents {
		train("loud", day, now)
	}
	if peers().known {
		t.Fatal("one member alone made the profile of its group")
	}
	for _, member := range []string{"b", "c", "d"} {
		for range anchorEvents {
			train(member, day, now)
		}
	}
	if !peers().known {
		t.Fatalf("four members made no profile of their group")
	}
	before := peers().adaptive
	for n := range 10_000 {
		train("loud", night, now+2*features.Day+int64(n))
	}
	most := uint32(profile.Mass * uint64(defaultSteps.StepsPerEpoch) / uint64(defaultSteps.StepDenominator) / peersShare)
	if moved := before.Mass(0, 1) - peers().adaptive.Mass(0, 1); moved == 0 || moved > most+defaultSteps.StepsPerEpoch {
		t.Fatalf("one member moved its peers by %d, at most %d", moved, most)
	}
}

func TestRebaseAnchors(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a := house + ":a"
	refused := func(want *errs.Error, author string, actors ...string) {
		t.Helper()
		w.Fails(want, author, &threatv1.RebaseAnchors{Actors: actors})
	}
	refused(ErrNoProfile, house, a)
	trained(w, a)
	for i := range 10 {
		w.does(a, never1(fmt.Sprint(i)))
		w.pass(features.Day)
	}
	w.pass(2 * minute)
	before := w.actor(a)
	if before.Distance == 0 || before.Feature == "" {
		t.Fatalf("nothing moved: %v", before)
	}
	refused(ErrUnanchored, north, a)
	refused(ErrUnanchored, a, a)
	refused(ErrInvalid, house)
	refused(ErrInvalid, house, a, a)
	r := w.does(house, &threatv1.RebaseAnchors{Actors: []string{a}})
	if r.Code != 0 {
		t.Fatal(r.Log)
	}
	if e := chaintest.Events[threatv1.AnchorsRebased](t, r); len(e) != 1 || e[0].Actors[0] != a {
		t.Fatalf("events %v", e)
	}
	t.Logf("a trace with both profiles has %d bytes", w.actor(a).Trace.SizeVT())
	after := w.actor(a)
	if after.Distance != 0 || string(after.Trace.Adaptive) != string(before.Trace.Adaptive) || string(after.Trace.Anchor) == string(before.Trace.Anchor) {
		t.Fatalf("distance %d after the anchor was made anew", after.Distance)
	}
	if r := w.does(chaintest.Consortium, &threatv1.RebaseAnchors{Actors: []string{a}}); r.Code != 0 {
		t.Fatal(r.Log)
	}
	w.wantSame()
	w.CheckGenesis()
}

// With another model that counts in another way, cells begin anew; with one that counts
// alike they go on.
func TestCellsGoWithTheirSettings(t *testing.T) {
	first := testDetector(t)
	alike := testDetector(t, func(d *threatv1.Detector) { d.Name = "alike" })
	other := testDetector(t, func(d *threatv1.Detector) { d.Name, d.Midas.Columns = "other", 512 })
	g := genesisOf(first, testParams())
	g.Models = append(g.Models, &threatv1.GenesisModel{Bytes: alike}, &threatv1.GenesisModel{Bytes: other})
	w := newWard(t, g)
	a := house + ":a"
	past := func() int64 { return w.does(a, good("x")).Row[features.EdgePastFeature] }
	stage := func(raw []byte) {
		t.Helper()
		hash := detector.Hash(raw)
		for _, stage := range []threatv1.Stage{threatv1.Stage_STAGE_SHADOW, threatv1.Stage_STAGE_ACTIVE} {
			w.Do(chaintest.Consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: stage})
		}
		w.Block()
	}
	for range 3 {
		past()
	}
	three := past()
	if three == 0 {
		t.Fatal("nothing is counted")
	}
	stage(alike)
	if got := past(); got <= three {
		t.Errorf("after a model that counts alike the edge was used 2^%d/4096 times, before 2^%d/4096", got, three)
	}
	stage(other)
	w.wantSame()
	if got := past(); got != 0 {
		t.Errorf("cells of one model's settings are read by another's: %d", got)
	}
	if got := past(); got == 0 {
		t.Error("the new cells count nothing")
	}
	w.wantSame()
	for w.Height()%pageEvery != 0 {
		w.Block()
	}
	w.wantSame()
	w.pass(2 * minute)
	w.CheckGenesis()
}

func TestDrift(t *testing.T) {
	uniform := make([]uint32, detector.Bands)
	counts := make([]uint64, detector.Bands)
	for i := range uniform {
		uniform[i], counts[i] = 500, 70
	}
	if got := stability(uniform, counts); got != 0 {
		t.Errorf("equal shares have the index %d", got)
	}
	// Half of one band of twenty has gone to its neighbour.
	counts[3], counts[4] = 35, 105
	want := 0.025*logRatio(105, 70) - 0.025*logRatio(35, 70)
	if got := float64(stability(uniform, counts)) / 4096; got < want-0.002 || got > want+0.002 {
		t.Errorf("the index is %.4f, want %.4f", got, want)
	}
	if got := stability(uniform, make([]uint64, detector.Bands)); got != 0 {
		t.Errorf("no counts have the index %d", got)
	}
	one := make([]uint64, detector.Bands)
	one[19] = 1 << 62
	if got := stability(uniform, one); got <= 0 {
		t.Errorf("everything in one band has the index %d", got)
	}

	w := newWard(t, genesisOf(testDetector(t), testParams()))
	for range 3 {
		w.does(house+":a", good("x"))
	}
	out, err := w.queries().Drift(context.Background(), &threatv1.DriftRequest{})
	if err != nil || out.Bands[0] != 3 || len(out.Hash) != 32 {
		t.Fatalf("%v, %v", out, err)
	}
	if _, err := w.queries().Drift(context.Background(), &threatv1.DriftRequest{Hash: make([]byte, 32)}); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func logRatio(a, b float64) float64 { return math.Log(a / b) }

// emptyState has nothing.
type emptyState struct{}

func (emptyState) Lookup([]byte) []byte { return nil }
func (emptyState) Walk([]byte, []byte, bool) iter.Seq2[[]byte, []byte] {
	return func(func(k, v []byte) bool) {}
}
