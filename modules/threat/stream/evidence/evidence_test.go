package evidence

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/wire"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var odds = []blend.Knot{{Value: -754511, Points: 0}, {Value: 754511, Points: 10000}}

var example = Settings{
	Base: -200000, Scores: odds,
	Parts: []Part{
		{Name: "trees", Knots: []Knot{{-700000, -350000}, {0, 0}, {700000, 350000}}},
		{Name: "midas", Knots: []Knot{{0, -1000}, {10 << 16, 60000}, {1000 << 16, 150000}, {math.MaxInt64, 400000}}},
		{Name: "profile", Knots: []Knot{{8000, -20000}, {90000, 200000}}},
		{Name: "rules", Lifts: true},
	},
}

var everyone = []bool{true, true, true, true, true, true}

func sum(t interface{ Fatal(...any) }, s Settings) *Sum {
	out, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestScoresByHand(t *testing.T) {
	s := sum(t, example)
	// -200000 + 100000 + 60000 - 20000 = -60000; (754511-60000)*10000/1509022 = 4602
	got := s.Combine([]int64{200000, 10 << 16, 0, 100}, everyone)
	want := Result{Score: 4602, Margin: -60000, Count: 2, Drivers: [MaxDrivers]Driver{{0, 200000, 100000}, {1, 10 << 16, 60000}}}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// A rule lifts, and leads.
	got = s.Combine([]int64{200000, 10 << 16, 0, 20000}, everyone)
	want = Result{Score: 10000, Margin: -60000, Count: 3, Drivers: [MaxDrivers]Driver{{3, 20000, 0}, {0, 200000, 100000}, {1, 10 << 16, 60000}}}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// What is absent adds nothing, whether it is said or missing at the end.
	got = s.Combine([]int64{200000, 10 << 16, 90000}, []bool{false, true})
	if got.Margin != -140000 || got.Count != 1 || got.Drivers[0].Part != 1 {
		t.Errorf("%+v", got)
	}
	if got := s.Combine(nil, nil); got != (Result{Score: 3674, Margin: -200000}) {
		t.Errorf("nothing said: %+v", got)
	}
	if s.Work() != 2+4+3+4+2+0 {
		t.Error(s.Work())
	}
}

func sums() *rapid.Generator[Settings] {
	return rapid.Custom(func(t *rapid.T) Settings {
		s := Settings{Base: rapid.Int64Range(-MaxWeight, MaxWeight).Draw(t, "base"), Scores: odds}
		for i := range rapid.IntRange(1, 6).Draw(t, "parts") {
			p := Part{Name: fmt.Sprintf("part-%d", i), Lifts: rapid.Bool().Draw(t, "lifts")}
			if !p.Lifts {
				values := rapid.SliceOfNDistinct(rapid.Int64(), 2, 6, rapid.ID).Draw(t, "values")
				heavy := rapid.SliceOfN(rapid.Int64Range(-MaxWeight, MaxWeight), len(values), len(values)).Draw(t, "weights")
				slices.Sort(values)
				slices.Sort(heavy)
				for k, v := range values {
					p.Knots = append(p.Knots, Knot{v, heavy[k]})
				}
			}
			s.Parts = append(s.Parts, p)
		}
		return s
	})
}

func TestNoPartLowersMarginOrScoreByRising(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sum(t, sums().Draw(t, "settings"))
		n := len(s.settings.Parts)
		values, present := rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "said"), rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "present")
		before := s.Combine(values, present)
		i := rapid.IntRange(0, n-1).Draw(t, "which")
		if values[i] < math.MaxInt64 {
			values[i] = rapid.Int64Min(values[i]+1).Draw(t, "more")
		}
		if after := s.Combine(values, present); after.Score < before.Score || after.Margin < before.Margin {
			t.Fatalf("falls from %+v to %+v", before, after)
		}
	})
}

func TestTheMarginIsTheBaseAndTheWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sum(t, sums().Draw(t, "settings"))
		n := len(s.settings.Parts)
		values, present := rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "said"), rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "present")
		want := s.settings.Base
		for i, p := range s.settings.Parts {
			if present[i] {
				want += Weigh(p.Knots, values[i])
			}
		}
		r := s.Combine(values, present)
		if r.Margin != want || r.Score > blend.Whole || r.Score < blend.Calibrate(odds, want) {
			t.Fatalf("%+v, want the margin %d", r, want)
		}
		for i, d := range r.Drivers[:r.Count] {
			lifts := s.settings.Parts[d.Part].Lifts
			if !present[d.Part] || d.Value != values[d.Part] || lifts != (d.Weight == 0) || lifts && i > 0 {
				t.Fatalf("driver %d of %+v", i, r)
			}
			if i > 0 && r.Drivers[i-1].Weight != 0 && d.Weight > r.Drivers[i-1].Weight {
				t.Fatalf("drivers out of order: %+v", r)
			}
		}
	})
}

func TestSettingsThatMakeNoSumAreRefused(t *testing.T) {
	line := []Knot{{0, 0}, {1, 1}}
	with := func(p ...Part) Settings { return Settings{Parts: p, Scores: odds} }
	for name, s := range map[string]Settings{
		"no part": with(), "many parts": with(make([]Part, MaxParts+1)...), "base": {Base: MaxWeight + 1, Parts: []Part{{"a", false, line}}, Scores: odds},
		"no name": with(Part{"", false, line}), "long name": with(Part{strings.Repeat("a", wire.MaxName+1), false, line}),
		"twice": with(Part{"a", false, line}, Part{"a", true, nil}), "one knot": with(Part{"a", false, line[:1]}), "no knots": with(Part{"a", false, nil}),
		"many knots": with(Part{"a", false, make([]Knot, MaxKnots+1)}), "lifts by a line": with(Part{"a", true, line}),
		"values stand": with(Part{"a", false, []Knot{{0, 0}, {0, 1}}}), "weights fall": with(Part{"a", false, []Knot{{0, 1}, {1, 0}}}),
		"weight": with(Part{"a", false, []Knot{{0, 1}, {1, MaxWeight + 1}}}), "no scores": {Parts: []Part{{"a", false, line}}},
		"scores fall":  {Parts: []Part{{"a", false, line}}, Scores: []blend.Knot{{Value: 0, Points: 1}, {Value: 1, Points: 0}}},
		"large scores": {Parts: []Part{{"a", false, line}}, Scores: []blend.Knot{{Value: 0, Points: 1}, {Value: 1, Points: blend.Whole + 1}}},
	} {
		if _, err := New(s); !errors.Is(err, ErrEvidence) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Marshal(); !errors.Is(err, ErrEvidence) {
			t.Errorf("%s is written: %v", name, err)
		}
	}
}

func TestSettingsComeBackFromTheirBytes(t *testing.T) {
	largest := Settings{Base: MaxWeight}
	for i := range MaxParts {
		p := Part{Name: fmt.Sprintf("%0*d", wire.MaxName, i)}
		for j := range MaxKnots {
			p.Knots = append(p.Knots, Knot{math.MaxInt64 - MaxKnots + int64(j), MaxWeight})
		}
		largest.Parts = append(largest.Parts, p)
	}
	for j := range MaxKnots {
		largest.Scores = append(largest.Scores, blend.Knot{Value: math.MaxInt64 - MaxKnots + int64(j), Points: blend.Whole})
	}
	for _, s := range []Settings{example, largest} {
		raw, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Unmarshal(raw); err != nil || fmt.Sprint(back) != fmt.Sprint(s) {
			t.Errorf("%d bytes: %+v, %v", len(raw), back, err)
		}
		if _, err := Unmarshal(append(raw, 0)); !errors.Is(err, ErrEvidence) {
			t.Errorf("a tail: %v", err)
		}
	}
}

func TestCombiningAllocatesNothing(t *testing.T) {
	s, values := sum(t, example), []int64{200000, 10 << 16, 0, 8000}
	if n := testing.AllocsPerRun(100, func() { s.Combine(values, everyone) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The golden file pins the arithmetic: it changes with consensus alone.
func TestScoresGolden(t *testing.T) {
	var out bytes.Buffer
	raw, _ := example.Marshal()
	fmt.Fprintf(&out, "settings %x\n", raw)
	s, seed := sum(t, example), fixed.Seed(41)
	for range 100 {
		values := []int64{int64(seed.Below(1600000)) - 800000, int64(seed.Next() >> (1 + seed.Below(63))), int64(seed.Below(100000)), int64(seed.Below(10001))}
		present := []bool{seed.Below(8) > 0, seed.Below(8) > 0, seed.Below(8) > 0, seed.Below(4) == 0}
		r := s.Combine(values, present)
		fmt.Fprintf(&out, "%v %v score %d margin %d drivers %v\n", values, present, r.Score, r.Margin, r.Drivers[:r.Count])
	}
	path := filepath.Join("testdata", "scores.txt")
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%s differs; run the test with -rewrite and look at what changed", path)
	}
}

// FuzzEvidence takes the bytes that it writes itself and no others, and combines anything by what it took.
func FuzzEvidence(f *testing.F) {
	raw, _ := example.Marshal()
	f.Add(raw, int64(0), int64(math.MaxInt64), byte(7))
	f.Add([]byte{}, int64(0), int64(math.MinInt64), byte(0))
	f.Fuzz(func(t *testing.T, raw []byte, a, c int64, there byte) {
		s, err := Unmarshal(raw)
		if err != nil {
			return
		}
		if again, err := s.Marshal(); err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%x comes back as %x (%v)", raw, again, err)
		}
		values, present := make([]int64, MaxParts+2), make([]bool, MaxParts+2)
		for i := range values {
			values[i], present[i] = a, there>>(i%8)&1 == 1
			a, c = c, a^c
		}
		if r := sum(t, s).Combine(values, present); r.Score > blend.Whole || r.Count > MaxDrivers || r.Margin > 17*MaxWeight || r.Margin < -17*MaxWeight {
			t.Fatalf("%+v", r)
		}
	})
}

func BenchmarkCombine(b *testing.B) {
	s, values := sum(b, example), []int64{200000, 10 << 16, 20000, 0}
	b.ReportAllocs()
	for range b.N {
		s.Combine(values, everyone)
	}
}
