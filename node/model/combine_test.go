package model

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/evidence"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
)

// sayings are parts of which two speak of odds that are right, one is noise, and one is absent from half of the rows
// and tells where it is present.
func sayings(n int) BlendRows {
	rng := rand.New(rand.NewPCG(5, 5))
	r := BlendRows{Parts: []string{"first", "second", "noise", "seldom"}, Odds: []bool{true, true, false, false}}
	for range n {
		label := int8(0)
		if rng.IntN(10) == 0 {
			label = 1
		}
		shift := 4*float64(label) - 2
		odds := func() int64 { return int64((shift + 2*rng.NormFloat64()) * q16) }
		r.Values = append(r.Values, []int64{odds(), odds(), rng.Int64N(1000), int64(label)*500 + rng.Int64N(1000)})
		r.Present = append(r.Present, []bool{true, true, true, rng.IntN(2) == 0})
		r.Labels = append(r.Labels, label)
	}
	return r
}

// areaOf is the PR-AUC of what is said of rows.
func areaOf(r BlendRows, of func(i int) float64) float64 {
	scores := make([]float64, len(r.Labels))
	for i := range scores {
		scores[i] = of(i)
	}
	return Measure(scores, r.Labels).PR
}

func TestAFitAddsUpWhatPartsKnowApart(t *testing.T) {
	all := sayings(6000)
	learnt := BlendRows{all.Parts, all.Values[:3000], all.Present[:3000], all.Labels[:3000], all.Odds}
	asked := BlendRows{all.Parts, all.Values[3000:], all.Present[3000:], all.Labels[3000:], all.Odds}
	s, fit, err := FitBlend(learnt, BlendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := evidence.New(s)
	if err != nil {
		t.Fatal(err)
	}
	combined := areaOf(asked, func(i int) float64 { return float64(sum.Combine(asked.Values[i], asked.Present[i]).Score) })
	mean := areaOf(asked, func(i int) float64 { return float64(asked.Values[i][0] + asked.Values[i][1]) })
	one := areaOf(asked, func(i int) float64 { return float64(asked.Values[i][0]) })
	t.Logf("PR-AUC: one part %.4f, mean of two %.4f, combined %.4f; %+v", one, mean, combined, fit)
	if combined < mean+0.005 || mean < one+0.05 {
		t.Errorf("PR-AUC of the sum is %.4f, of the mean of two %.4f, of one %.4f", combined, mean, one)
	}
	// The odds are right: over all rows they promise as many positives as there are.
	promised, positives := 0.0, 0.0
	for i, l := range asked.Labels {
		promised += 1 / (1 + math.Exp(-float64(sum.Combine(asked.Values[i], asked.Present[i]).Margin)/q16))
		positives += float64(l)
	}
	if math.Abs(promised-positives) > 0.15*positives {
		t.Errorf("%.0f positives are promised and %.0f there", promised, positives)
	}
	reach := func(p int) float64 { k := s.Parts[p].Knots; return float64(k[len(k)-1].Weight-k[0].Weight) / q16 }
	if reach(2) > 0.5 || reach(0) < 2 || reach(3) < 0.5 {
		t.Errorf("the parts reach %.2f, %.2f, noise %.2f, seldom %.2f", reach(0), reach(1), reach(2), reach(3))
	}
	again, _, err := FitBlend(learnt, BlendOptions{})
	a, _ := s.Marshal()
	b, _ := again.Marshal()
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("a second fit is another: %v", err)
	}
}

func TestRowsThatCannotBeFittedAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*BlendRows, *BlendOptions) error{
		"no parts":    func(r *BlendRows, _ *BlendOptions) error { r.Parts = nil; return ErrData },
		"a short row": func(r *BlendRows, _ *BlendOptions) error { r.Values[7] = r.Values[7][:2]; return ErrData },
		"no presence": func(r *BlendRows, _ *BlendOptions) error { r.Present = r.Present[:7]; return ErrData },
		"odds":        func(r *BlendRows, _ *BlendOptions) error { r.Odds = r.Odds[:1]; return ErrData },
		"one class":   func(r *BlendRows, _ *BlendOptions) error { clear(r.Labels); return ErrLabels },
		"stiffness":   func(_ *BlendRows, o *BlendOptions) error { o.Stiffness = []float64{-1}; return ErrOptions },
		"folds":       func(_ *BlendRows, o *BlendOptions) error { o.Folds = 1; return ErrOptions },
		"a name":      func(r *BlendRows, _ *BlendOptions) error { r.Parts[0] = "Übel"; return ErrBounds },
	} {
		r, o := sayings(200), BlendOptions{Stiffness: []float64{10}}
		want := edit(&r, &o)
		if _, _, err := FitBlend(r, o); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// A part that says one thing only, one that is never present, and values at the ends of int64 do no harm.
func TestAFitBearsPartsThatSayNothing(t *testing.T) {
	r := sayings(400)
	for i := range r.Values {
		r.Values[i][2], r.Present[i][3] = math.MaxInt64, false
		if i%3 == 0 {
			r.Values[i][1] = math.MinInt64
		}
	}
	s, _, err := FitBlend(r, BlendOptions{Stiffness: []float64{1, 100}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Marshal(); err != nil {
		t.Error(err)
	}
}

func combinedOf(t testing.TB, rows int, o Combination) (*Combined, *Table) {
	data := table(t, synthetic(rows, 8), Reading{Label: "bad"})
	c, err := Combine(context.Background(), data, o)
	if err != nil {
		t.Fatal(err)
	}
	return c, data
}

func TestCombinedScoresAreOfAllParts(t *testing.T) {
	grown := 0
	o := Combination{Boost: BoostOptions{Trees: 20, Leaves: 8, L2: 1}, Forest: ForestOptions{Trees: 10}, Folds: 3, Progress: func(n int) { grown += n }}
	c, data := combinedOf(t, 1200, o)
	if grown != o.Steps() {
		t.Errorf("%d trees are grown, %d were told", grown, o.Steps())
	}
	m, err := c.Evaluate("training", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Parts) != 8 || m.Parts[6].Part != PartCombined || m.Work == 0 || m.Micros == 0 {
		t.Errorf("%+v", m)
	}
	if len(c.Evidence().Parts) != partCount+1 {
		t.Errorf("%d parts are added up", len(c.Evidence().Parts))
	}
	x, err := c.Schema().Apply(data)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Scratch()
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Score(x.Ints[3], s) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	if _, err := c.Score(x.Ints[3][:1], s); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short row: %v", err)
	}
	again, err := Combine(context.Background(), data, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range x.Ints[:200] {
		a, _ := c.Score(row, s)
		b, _ := again.Score(row, s)
		if a != b {
			t.Fatalf("trained again it says %+v, not %+v", b, a)
		}
	}
	if _, err := Combine(context.Background(), data.Select(all(20)), Combination{}); !errors.Is(err, ErrLabels) {
		t.Errorf("few rows: %v", err)
	}
}

func TestFrozenMassesScoreAsTheCellsDid(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	row := func() []int64 { return []int64{rng.Int64N(1000), rng.Int64N(1000) * rng.Int64N(3)} }
	for _, n := range []int{500, 749, 750, 751, 1300} {
		s := halfspace.Settings{Trees: 5, Depth: 6, Window: 250, SizeLimit: 25, Seed: 3, Ranges: []halfspace.Range{{High: 1000}, {High: 2000}}}
		half, err := halfspace.New(s)
		if err != nil {
			t.Fatal(err)
		}
		cells, err := cell.NewMemory(half.Extents()...)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := half.Absorb(cells, row()); err != nil {
				t.Fatal(err)
			}
		}
		f, err := freeze(cells, s)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			asked := row()
			want, _ := half.Score(cells, asked)
			if have, err := half.Score(f, asked); err != nil || have != want || !have.Ready {
				t.Fatalf("after %d rows %v is %+v (%v), not %+v", n, asked, have, err, want)
			}
		}
	}
}

// BenchmarkCombined scores with all parts at their default sizes, one row after the other.
func BenchmarkCombined(b *testing.B) {
	c, data := combinedOf(b, 5000, Combination{Folds: 2, Boost: BoostOptions{L2: 1}, Blend: BlendOptions{Stiffness: []float64{10}}})
	m, err := c.Schema().Apply(data)
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() int64 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			b.Fatal(err)
		}
		return t.Nano()
	}
	s := c.Scratch()
	b.ReportAllocs()
	i, begin := 0, cpu()
	for b.Loop() {
		if _, err := c.Score(m.Ints[i%m.Rows], s); err != nil {
			b.Fatal(err)
		}
		i++
	}
	// On a busy machine the clock also counts the time of others; the thread's does not.
	b.ReportMetric(float64(cpu()-begin)/float64(i), "cpu-ns/op")
}
