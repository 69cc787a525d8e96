package profile

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/wire"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var (
	schema = mustSchema(Feature{"message-kind", 5}, Feature{"resource-class", 7}, Feature{"hour", 24}, Feature{"outcome", 2})
	slow   = Settings{StepNumerator: 1, StepDenominator: 64, StepsPerEpoch: 8}
)

func mustSchema(features ...Feature) Schema {
	s, err := NewSchema(features...)
	if err != nil {
		panic(err)
	}
	return s
}

func settled(e Event) Settled {
	s, ok := Settle(e, FateAdmitted, 0, 0, 0)
	if !ok {
		panic("an admitted event without a window is not settled")
	}
	return s
}

func events() *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) (e Event) {
		for f := range schema.Features() {
			e[f] = rapid.Uint8Range(0, uint8(schema.Feature(f).Values)).Draw(t, "value") // one beyond, too
		}
		return e
	})
}

func settings() *rapid.Generator[Settings] {
	return rapid.Custom(func(t *rapid.T) Settings {
		den := rapid.Uint32Range(2, 1<<20).Draw(t, "denominator")
		return Settings{rapid.Uint32Range(1, den/2).Draw(t, "numerator"), den, rapid.Uint32Range(1, 9).Draw(t, "steps")}
	})
}

// variation is the total variation distance of a feature, in units of 2^-20.
func variation(a, b *masses, f int) (d uint64) {
	for v := range MaxValues {
		if a[f][v] > b[f][v] {
			d += uint64(a[f][v] - b[f][v])
		}
	}
	return d
}

func whole(t interface{ Fatalf(string, ...any) }, m *masses) {
	for f := range schema.count {
		var sum uint64
		for _, mass := range m[f] {
			sum += uint64(mass)
		}
		if sum != Mass {
			t.Fatalf("the masses of feature %d sum to %d", f, sum)
		}
	}
}

func TestAStepMovesNoFeatureFurtherThanItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, anchor := settings().Draw(t, "settings"), NewAnchor(schema)
		p := anchor.Adapt()
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			before := p.masses
			moved := p.Absorb(settled(events().Draw(t, "event")), s, p.epoch+rapid.Uint64Range(0, 1).Draw(t, "later"))
			whole(t, &p.masses)
			for f := range schema.count {
				d := variation(&before, &p.masses, f)
				if d*uint64(s.StepDenominator) > Mass*uint64(s.StepNumerator) || !moved && d != 0 {
					t.Fatalf("feature %d moved by %d of 2^20 in one step of %d/%d", f, d, s.StepNumerator, s.StepDenominator)
				}
			}
		}
	})
}

// A boiling frog shifts habits so slowly that no step looks odd.
func TestABoilingFrogMovesTheAdaptiveByItsBudgetAndTheAnchorNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := settings().Draw(t, "settings")
		tally := NewTally(schema)
		for range 200 {
			tally.Count(settled(events().Draw(t, "habit")))
		}
		anchor := tally.Freeze()
		frozen, _ := anchor.Marshal()
		p := anchor.Adapt()
		epochs := rapid.Uint64Range(1, 6).Draw(t, "epochs")
		for epoch := range epochs {
			for range 12 { // more than any budget
				p.Absorb(settled(events().Draw(t, "drift")), s, epoch)
				anchor.Surprise(events().Draw(t, "look"))
				p.Distance(&anchor)
			}
		}
		if after, _ := anchor.Marshal(); !bytes.Equal(frozen, after) {
			t.Fatal("the anchor moved")
		}
		steps := min(uint64(s.StepsPerEpoch), 12) * epochs
		for f := range schema.count {
			d := variation(&anchor.masses, &p.masses, f)
			if d*uint64(s.StepDenominator) > Mass*uint64(s.StepNumerator)*steps {
				t.Fatalf("feature %d moved by %d of 2^20 in %d steps of %d/%d", f, d, steps, s.StepNumerator, s.StepDenominator)
			}
		}
		if p.Events() != steps {
			t.Fatalf("%d events were absorbed, %d steps", p.Events(), steps)
		}
	})
}

// What the defence is for: each step of the frog is less surprising to the adaptive profile than to the anchor, and
// the distance of the two tells.
func TestTheAnchorAndTheDistanceSeeAFrogThatTheAdaptiveGetsUsedTo(t *testing.T) {
	tally := NewTally(schema)
	seed := fixed.Seed(1)
	for range 1000 {
		tally.Count(settled(Event{uint8(seed.Below(2)), uint8(seed.Below(2)), 8 + uint8(seed.Below(9)), 0}))
	}
	anchor := tally.Freeze()
	p := anchor.Adapt()
	night := Event{1, 6, 3, 0}
	first := p.Surprise(night)
	for epoch := range uint64(60) {
		for range 8 {
			e := Event{uint8(seed.Below(2)), uint8(seed.Below(2)), 8 + uint8(seed.Below(9)), 0}
			if seed.Below(60) < epoch { // more of it every day
				e = night
			}
			p.Absorb(settled(e), slow, epoch)
		}
	}
	own, fixedOne, d := p.Surprise(night), anchor.Surprise(night), p.Distance(&anchor)
	if fixedOne != first || own.Total*3 > fixedOne.Total {
		t.Errorf("the night surprises the anchor by %d (%d at first) and the adaptive by %d", fixedOne.Total, first.Total, own.Total)
	}
	if d.Total < fixed.LogScale || d.Feature != 1 && d.Feature != 2 {
		t.Errorf("the distance is %+v", d)
	}
	rebased := p.Rebase()
	if d := p.Distance(&rebased); d.Total != 0 || rebased.Surprise(night) != own {
		t.Errorf("after re-basing the distance is %+v", d)
	}
}

func TestOnlyWhatWasAdmittedAndStayedUncontestedTrains(t *testing.T) {
	e := Event{1, 2, 3, 1}
	for _, c := range []struct {
		fate            Fate
		at, window, now uint64
		want            bool
	}{
		{FateAdmitted, 100, 50, 150, true}, {FateAdmitted, 100, 50, 149, false}, {FateAdmitted, 100, 0, 100, true},
		{FateAdmitted, math.MaxUint64, 1, math.MaxUint64, false}, {FateAdmitted, 100, 50, 0, false},
		{FateUnknown, 100, 50, 999, false}, {FateHeld, 100, 50, 999, false}, {FateDenied, 100, 50, 999, false},
		{FateAppealed, 100, 50, 999, false}, {Fate(77), 100, 50, 999, false},
	} {
		s, ok := Settle(e, c.fate, c.at, c.window, c.now)
		anchor, tally := NewAnchor(schema), NewTally(schema)
		p := anchor.Adapt()
		before := p
		if moved := p.Absorb(s, slow, 1); ok != c.want || moved != c.want || (p == before) == c.want {
			t.Errorf("%+v: settled %v, absorbed %v", c, ok, moved)
		}
		if counted := tally.Count(s); counted != c.want || (tally.Events() == 1) != c.want {
			t.Errorf("%+v: counted %v", c, counted)
		}
	}
	var forged Settled
	anchor := NewAnchor(schema)
	p := anchor.Adapt()
	if p.Absorb(forged, slow, 1) || p.Absorb(settled(e), Settings{}, 1) {
		t.Error("an event that was never settled, or settings without a bound, move a profile")
	}
}

func TestATallyDoesNotDependOnTheOrderOfEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(events(), 0, 40).Draw(t, "events")
		a, b := NewTally(schema), NewTally(schema)
		for _, e := range list {
			a.Count(settled(e))
		}
		if len(list) > 0 {
			for _, e := range rapid.Permutation(list).Draw(t, "other order") {
				b.Count(settled(e))
			}
		}
		if a != b || a.Freeze() != b.Freeze() {
			t.Fatal("the tallies differ")
		}
		frozen := a.Freeze()
		whole(t, &frozen.masses)
		for f := range schema.count {
			k := schema.features[f].Values
			for v := range k {
				exact := Mass * float64(2*a.counts[f][v]+1) / float64(2*a.events+uint64(k))
				if d := float64(frozen.Mass(f, v)) - exact; d <= -1 || d > float64(k) {
					t.Fatalf("value %d of feature %d has mass %d, want %v", v, f, frozen.Mass(f, v), exact)
				}
			}
		}
	})
}

func TestEpochsDoNotGoBack(t *testing.T) {
	anchor, e := NewAnchor(schema), settled(Event{})
	p := anchor.Adapt()
	once := Settings{1, 2, 1}
	if !p.Absorb(e, once, 5) || p.Absorb(e, once, 5) || p.Absorb(e, once, 4) || !p.Absorb(e, once, 6) {
		t.Fatal("a step too many or too few")
	}
}

func TestSurpriseIsTheNegativeLogLikelihood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tally := NewTally(schema)
		for _, e := range rapid.SliceOfN(events(), 0, 60).Draw(t, "events") {
			tally.Count(settled(e))
		}
		a, e := tally.Freeze(), events().Draw(t, "event")
		got := a.Surprise(e)
		var want, largest float64
		for f := range schema.count {
			v := min(int(e[f]), schema.features[f].Values-1)
			bits := -math.Log2(float64(a.Mass(f, v)+Smoothing) / (Mass + Smoothing))
			want += bits
			largest = max(largest, bits)
		}
		if d := math.Abs(float64(got.Total)/fixed.LogScale - want); d > 2.1*float64(schema.count)/fixed.LogScale {
			t.Fatalf("%d, want %v", got.Total, want*fixed.LogScale)
		}
		if math.Abs(float64(got.Largest)/fixed.LogScale-largest) > 2.1/fixed.LogScale || got.Largest > MaxSurprise || got.Total < 0 {
			t.Fatalf("%+v, want the largest %v", got, largest*fixed.LogScale)
		}
	})
}

func TestSurpriseIsOfTheFeatureThatIsOdd(t *testing.T) {
	own, peers := NewTally(schema), NewTally(schema)
	for i := range 500 {
		own.Count(settled(Event{1, 2, uint8(9 + i%8), 0}))
		peers.Count(settled(Event{uint8(i % 4), uint8(i % 6), uint8(i % 24), 0}))
	}
	a, b := own.Freeze(), peers.Freeze()
	odd := Event{1, 2, 3, 0}
	s := a.Surprise(odd)
	if s.Feature != 2 || s.Largest < 4*fixed.LogScale {
		t.Errorf("%+v", s)
	}
	if Estrangement(s, b.Surprise(odd)) <= 0 {
		t.Error("the odd event is more its own habit than its peers'")
	}
	usual := Event{1, 2, 10, 0}
	if Estrangement(a.Surprise(usual), b.Surprise(usual)) >= 0 {
		t.Error("the usual event is more its peers' habit than its own")
	}
}

func TestDistanceIsTheJensenShannonDivergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(2, MaxValues).Draw(t, "values")
		draw := func() []uint32 {
			p, left := make([]uint32, k), uint32(Mass)
			for i := range k - 1 {
				p[i] = rapid.Uint32Range(0, left).Draw(t, "mass") >> rapid.IntRange(0, 20).Draw(t, "shift")
				left -= p[i]
			}
			p[k-1] = left
			return p
		}
		p, q := draw(), draw()
		h := func(x float64) float64 {
			if x == 0 {
				return 0
			}
			return x * math.Log2(x)
		}
		want := 1.0
		for i := range p {
			want += (h(float64(p[i])) + h(float64(q[i])) - h(float64(p[i]+q[i]))) / (2 * Mass)
		}
		got := divergence(p, q)
		if d := math.Abs(float64(got) - want*fixed.LogScale); d > 3.01 {
			t.Fatalf("%d, want %v", got, want*fixed.LogScale)
		}
		if got != divergence(q, p) || divergence(p, p) != 0 {
			t.Fatal("the distance is not symmetric, or one from itself")
		}
	})
	if d := divergence([]uint32{Mass, 0}, []uint32{0, Mass}); d != fixed.LogScale {
		t.Fatalf("two that share nothing are %d apart", d)
	}
	anchor := NewAnchor(mustSchema(Feature{"other", 2}))
	p := anchor.Adapt()
	here := NewAnchor(schema)
	if d := p.Distance(&here); d.Feature != -1 || d.Largest != fixed.LogScale {
		t.Fatalf("two schemas: %+v", d)
	}
}

func TestZeroValuesAreHarmless(t *testing.T) {
	var (
		a Anchor
		p Adaptive
		c Tally
		s Schema
	)
	e := Event{255, 255}
	if got := a.Surprise(e); got.Total != 0 || got.Feature != -1 {
		t.Error(got)
	}
	p.Absorb(settled(e), slow, 1)
	c.Count(settled(e))
	c.Freeze()
	if d := p.Distance(&a); d.Total != 0 || d.Feature != -1 {
		t.Error(d)
	}
	if s.SurpriseWork() != 0 || s.DistanceWork() != 0 || s.AbsorbWork() != 0 || s.Feature(3) != (Feature{}) || a.Mass(-1, 0) != 0 || a.Mass(0, MaxValues) != 0 {
		t.Error("there is something in nothing")
	}
	if schema.SurpriseWork() != 4 || schema.DistanceWork() != 3*(5+7+24+2) || schema.AbsorbWork() != 5+7+24+2 {
		t.Error(schema.SurpriseWork(), schema.DistanceWork())
	}
}

func TestHoursAreThoseOfTheDay(t *testing.T) {
	for seconds, want := range map[int64]uint8{0: 0, 3599: 0, 3600: 1, 86399: 23, 86400: 0, -1: 23, -86400: 0, -86401: 23, math.MinInt64: 8, math.MaxInt64: 15} {
		if got := Hour(seconds); got != want {
			t.Errorf("second %d is in hour %d, want %d", seconds, got, want)
		}
	}
}

func TestSchemasThatAreNotOneAreRefused(t *testing.T) {
	for name, features := range map[string][]Feature{
		"none": nil, "too many": make([]Feature, MaxFeatures+1), "unnamed": {{"", 2}}, "upper case": {{"A", 2}},
		"long name": {{strings.Repeat("a", wire.MaxName+1), 2}}, "twice": {{"a", 2}, {"a", 2}}, "one value": {{"a", 1}},
		"too many values": {{"a", MaxValues + 1}},
	} {
		if _, err := NewSchema(features...); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := schema.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := UnmarshalSchema(raw); err != nil || back != schema {
		t.Errorf("%v, %v", back, err)
	}
	if _, err := UnmarshalSchema(append(raw, 0)); !errors.Is(err, ErrSchema) {
		t.Error(err)
	}
	for _, s := range []Settings{{}, {1, 1, 1}, {2, 3, 1}, {1, 2, 0}, {0, 2, 1}, {math.MaxUint32, math.MaxUint32, 1}} {
		if err := s.Check(); !errors.Is(err, ErrSettings) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestProfilesComeBackFromTheirBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tally := NewTally(schema)
		for _, e := range rapid.SliceOfN(events(), 0, 30).Draw(t, "events") {
			tally.Count(settled(e))
		}
		anchor := tally.Freeze()
		p := anchor.Adapt()
		for i, e := range rapid.SliceOfN(events(), 0, 10).Draw(t, "later events") {
			p.Absorb(settled(e), slow, uint64(i))
		}
		raw, _ := tally.Marshal()
		if back, err := UnmarshalTally(raw, schema); err != nil || back != tally {
			t.Fatal(err)
		}
		raw, _ = anchor.Marshal()
		if back, err := UnmarshalAnchor(raw, schema); err != nil || back != anchor {
			t.Fatal(err)
		}
		raw, _ = p.Marshal()
		if back, err := UnmarshalAdaptive(raw, schema); err != nil || back != p {
			t.Fatal(err)
		}
	})
	// The largest records fit.
	var features []Feature
	for i := range MaxFeatures {
		features = append(features, Feature{fmt.Sprintf("%0*d", wire.MaxName, i), MaxValues})
	}
	largest := mustSchema(features...)
	raw, _ := largest.Marshal()
	if _, err := UnmarshalSchema(raw); err != nil {
		t.Error(err)
	}
	anchor, tally := NewAnchor(largest), NewTally(largest)
	p := anchor.Adapt()
	p.events, p.epoch, p.steps = math.MaxUint64, math.MaxUint64, math.MaxUint32
	raw, _ = p.Marshal()
	if _, err := UnmarshalAdaptive(raw, largest); err != nil || len(raw) > MaxRecord {
		t.Error(err)
	}
	for f := range MaxFeatures {
		for v := range MaxValues {
			tally.counts[f][v] = MaxEvents / MaxValues
		}
	}
	tally.events = MaxEvents
	raw, _ = tally.Marshal()
	if _, err := UnmarshalTally(raw, largest); err != nil || tally.Count(settled(Event{})) {
		t.Error(err)
	}
}

func TestLookingAndAbsorbingAllocateNothing(t *testing.T) {
	anchor := NewAnchor(schema)
	p, e, epoch := anchor.Adapt(), Event{1, 2, 3, 1}, uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		epoch++
		s, _ := Settle(e, FateAdmitted, 1, 2, 3)
		p.Absorb(s, slow, epoch)
		p.Surprise(e)
		anchor.Surprise(e)
		p.Distance(&anchor)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The golden file pins masses, surprises and distances: it changes with consensus alone.
func TestProfilesGolden(t *testing.T) {
	var out bytes.Buffer
	seed := fixed.Seed(21)
	draw := func() (e Event) {
		for f := range schema.count {
			n := uint64(schema.features[f].Values)
			e[f] = uint8(min(seed.Below(n), seed.Below(n)))
		}
		return e
	}
	tally := NewTally(schema)
	for range 300 {
		tally.Count(settled(draw()))
	}
	anchor := tally.Freeze()
	p := anchor.Adapt()
	for i := range 120 {
		e := draw()
		if i > 60 {
			e[2] = uint8(23 - seed.Below(4))
		}
		if i%6 == 5 {
			fmt.Fprintf(&out, "event %v anchor %v adaptive %v distance %v\n", e[:schema.count], anchor.Surprise(e), p.Surprise(e), p.Distance(&anchor))
		}
		fmt.Fprintf(&out, "%d absorbed %v\n", i, p.Absorb(settled(e), slow, uint64(i/10)))
	}
	for _, c := range []interface{ Marshal() ([]byte, error) }{&schema, &tally, &anchor, &p} {
		raw, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%T %x\n", c, raw)
	}
	golden(t, "profiles.txt", out.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run the test with -rewrite and look at what changed", path)
	}
}

// FuzzRecords takes the bytes that it writes itself and no others, and works with what it took.
func FuzzRecords(f *testing.F) {
	anchor, tally := NewAnchor(schema), NewTally(schema)
	tally.Count(settled(Event{1, 2, 3, 1}))
	p := anchor.Adapt()
	p.Absorb(settled(Event{1, 2, 3, 1}), slow, 9)
	for _, c := range []interface{ Marshal() ([]byte, error) }{&schema, &tally, &anchor, &p} {
		raw, _ := c.Marshal()
		f.Add(raw, []byte{1, 2, 3}, uint64(1))
	}
	f.Fuzz(func(t *testing.T, raw, values []byte, epoch uint64) {
		var e Event
		copy(e[:], values)
		same := func(again []byte, err error) {
			if err != nil || !bytes.Equal(raw, again) {
				t.Fatalf("%x comes back as %x (%v)", raw, again, err)
			}
		}
		if a, err := UnmarshalAnchor(raw, schema); err == nil {
			same(a.Marshal())
			if s := a.Surprise(e); s.Total < 0 || s.Largest > MaxSurprise {
				t.Fatal(s)
			}
		}
		if p, err := UnmarshalAdaptive(raw, schema); err == nil {
			same(p.Marshal())
			p.Absorb(settled(e), Settings{1, 2, math.MaxUint32}, epoch)
			whole(t, &p.masses)
			if d := p.Distance(&anchor); d.Total < 0 || d.Total > int64(schema.count)*fixed.LogScale {
				t.Fatal(d)
			}
		}
		if c, err := UnmarshalTally(raw, schema); err == nil {
			same(c.Marshal())
			c.Count(settled(e))
			a := c.Freeze()
			whole(t, &a.masses)
		}
		if s, err := UnmarshalSchema(raw); err == nil {
			same(s.Marshal())
			a := NewAnchor(s)
			a.Surprise(e)
		}
	})
}

func BenchmarkSurpriseOfFourProfiles(b *testing.B) {
	anchor := NewAnchor(schema)
	p := anchor.Adapt()
	b.ReportAllocs()
	for i := range b.N {
		e := Event{uint8(i & 3), uint8(i & 7), uint8(i & 15), 0}
		Estrangement(p.Surprise(e), p.Surprise(e))
		Estrangement(anchor.Surprise(e), anchor.Surprise(e))
	}
}

func BenchmarkDistance(b *testing.B) {
	anchor := NewAnchor(schema)
	p := anchor.Adapt()
	p.Absorb(settled(Event{1, 2, 3, 0}), slow, 1)
	b.ReportAllocs()
	for range b.N {
		p.Distance(&anchor)
	}
}

func BenchmarkAbsorb(b *testing.B) {
	anchor := NewAnchor(schema)
	p := anchor.Adapt()
	b.ReportAllocs()
	for i := range b.N {
		p.Absorb(settled(Event{uint8(i & 3), uint8(i & 7), uint8(i & 15), 0}), slow, uint64(i))
	}
}
