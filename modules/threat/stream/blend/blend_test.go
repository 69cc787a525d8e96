package blend

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/wire"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var example = Settings{
	Peak: 2500,
	Parts: []Part{
		{Name: "trees", Weight: 5000, Knots: []Knot{{-60000, 0}, {0, 5000}, {120000, 10000}}},
		{Name: "midas", Weight: 3000, Knots: []Knot{{0, 0}, {10 << 16, 4000}, {1000 << 16, 9000}, {math.MaxInt64, 10000}}},
		{Name: "profile", Weight: 2000, Knots: []Knot{{8000, 0}, {90000, 10000}}},
		{Name: "rules", Lifts: true, Knots: []Knot{{0, 0}, {10000, 10000}}},
	},
}

func blend(t interface{ Fatal(...any) }, s Settings) *Blend {
	b, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func says(values ...int64) (out []Input) {
	for i, v := range values {
		out = append(out, Input{Present: true, Value: v, Feature: 10 + i})
	}
	return out
}

func TestScoresByHand(t *testing.T) {
	b := blend(t, example)
	// trees 5000, midas 4000, profile 0: mean 3700, largest 5000: 0.75*3700 + 0.25*5000 = 4025
	got := b.Score(says(0, 10<<16, 0, 0))
	want := Result{Score: 4025, Count: 2, Drivers: [MaxDrivers]Driver{
		{Part: 0, Feature: 10, Value: 0, Points: 5000, Share: 3125},
		{Part: 1, Feature: 11, Value: 10 << 16, Points: 4000, Share: 900},
	}}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// A rule lifts.
	got = b.Score(says(0, 10<<16, 0, 8000))
	want = Result{Score: 8000, Count: 1, Drivers: [MaxDrivers]Driver{{Part: 3, Feature: 13, Value: 8000, Points: 8000, Share: 8000}}}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// Without the trees the mean is over the others: (3000*4000 + 2000*10000) / 5000 = 6400; 0.75*6400 + 0.25*10000 = 7300
	in := says(999999, 10<<16, 90000)
	in[0].Present = false
	got = b.Score(in)
	if got.Score != 7300 || got.Count != 2 || got.Drivers[0].Part != 2 || got.Drivers[1].Part != 1 {
		t.Errorf("%+v", got)
	}
	if got := b.Score(nil); got != (Result{}) {
		t.Errorf("nothing said: %+v", got)
	}
	if got := b.Score(says(math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, 5, 6)); got.Score != Whole {
		t.Errorf("everything said: %+v", got)
	}
	if b.Work() != 4+3+4+2+2 {
		t.Error(b.Work())
	}
}

func knots() *rapid.Generator[[]Knot] {
	return rapid.Custom(func(t *rapid.T) []Knot {
		values := rapid.SliceOfNDistinct(rapid.Int64(), 2, 6, rapid.ID).Draw(t, "values")
		slices.Sort(values)
		points := rapid.SliceOfN(rapid.Uint16Range(0, Whole), len(values), len(values)).Draw(t, "points")
		slices.Sort(points)
		var out []Knot
		for i, v := range values {
			out = append(out, Knot{v, points[i]})
		}
		return out
	})
}

func TestACalibrationIsTheLineThroughItsKnots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := knots().Draw(t, "knots")
		v := rapid.Int64().Draw(t, "value")
		if rapid.Bool().Draw(t, "at a knot") {
			v = rapid.SampledFrom(k).Draw(t, "knot").Value
		}
		got := Calibrate(k, v)
		want := new(big.Rat).SetInt64(int64(k[0].Points))
		for i := 1; i < len(k) && v > k[i-1].Value; i++ {
			a, b := k[i-1], k[i]
			if v >= b.Value {
				want.SetInt64(int64(b.Points))
				continue
			}
			sub := func(x, y int64) *big.Rat { return new(big.Rat).Sub(new(big.Rat).SetInt64(x), new(big.Rat).SetInt64(y)) }
			want.Quo(sub(v, a.Value), sub(b.Value, a.Value))
			want.Mul(want, sub(int64(b.Points), int64(a.Points)))
			want.Add(want, new(big.Rat).SetInt64(int64(a.Points)))
		}
		if floor := new(big.Int).Quo(want.Num(), want.Denom()); floor.Int64() != int64(got) {
			t.Fatalf("%v at %d: %d, want %v", k, v, got, want)
		}
		if v < math.MaxInt64 && Calibrate(k, v+1) < got {
			t.Fatalf("%v falls after %d", k, v)
		}
	})
	if Calibrate(nil, 5) != 0 {
		t.Error("nothing gives points")
	}
}

func blends() *rapid.Generator[Settings] {
	return rapid.Custom(func(t *rapid.T) Settings {
		s := Settings{Peak: rapid.Uint16Range(0, Whole).Draw(t, "peak")}
		for i := range rapid.IntRange(1, 6).Draw(t, "parts") {
			p := Part{Name: fmt.Sprintf("part-%d", i), Lifts: rapid.Bool().Draw(t, "lifts"), Knots: knots().Draw(t, "knots")}
			p.Weight = rapid.Uint16Range(0, Whole).Draw(t, "weight")
			if p.Weight == 0 {
				p.Lifts = true
			}
			s.Parts = append(s.Parts, p)
		}
		return s
	})
}

func TestNoPartLowersTheScoreByRising(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := blend(t, blends().Draw(t, "settings"))
		in := make([]Input, len(b.settings.Parts))
		for i := range in {
			in[i] = Input{rapid.Bool().Draw(t, "present"), rapid.Int64().Draw(t, "value"), i}
		}
		before := b.Score(in)
		i := rapid.IntRange(0, len(in)-1).Draw(t, "which")
		if in[i].Value < math.MaxInt64 {
			in[i].Value = rapid.Int64Min(in[i].Value+1).Draw(t, "more")
		}
		if after := b.Score(in); after.Score < before.Score {
			t.Fatalf("the score falls from %d to %d", before.Score, after.Score)
		}
	})
}

func TestDriversAreInOrderAndTheirSharesMakeUpTheScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := blend(t, blends().Draw(t, "settings"))
		in := make([]Input, len(b.settings.Parts))
		for i := range in {
			in[i] = Input{rapid.Bool().Draw(t, "present"), rapid.Int64().Draw(t, "value"), i}
		}
		r := b.Score(in)
		if r.Score > Whole {
			t.Fatal(r.Score)
		}
		sum := 0
		for i, d := range r.Drivers[:r.Count] {
			sum += int(d.Share)
			if !in[d.Part].Present || d.Value != in[d.Part].Value || d.Feature != d.Part || d.Share == 0 {
				t.Fatalf("driver %+v of %+v", d, in[d.Part])
			}
			if i > 0 && d.Share > r.Drivers[i-1].Share {
				t.Fatalf("drivers %+v", r.Drivers)
			}
		}
		// Shares are rounded down and the score half up; a driver beyond the fourth is left out.
		if sum > int(r.Score)+1 || len(in) <= MaxDrivers && sum+MaxDrivers+1 < int(r.Score) {
			t.Fatalf("shares sum to %d of %d", sum, r.Score)
		}
	})
}

func TestSettingsThatMakeNoBlendAreRefused(t *testing.T) {
	line := []Knot{{0, 0}, {1, 1}}
	part := func(p Part) Settings { return Settings{Parts: []Part{p}} }
	many := make([]Knot, MaxKnots+1)
	for i := range many {
		many[i].Value = int64(i)
	}
	for name, s := range map[string]Settings{
		"no part": {}, "many parts": {Parts: make([]Part, MaxParts+1)}, "peak": {Peak: Whole + 1, Parts: []Part{{"a", 1, false, line}}},
		"no name": part(Part{"", 1, false, line}), "long name": part(Part{strings.Repeat("a", wire.MaxName+1), 1, false, line}),
		"upper case": part(Part{"A", 1, false, line}), "twice": {Parts: []Part{{"a", 1, false, line}, {"a", 1, false, line}}},
		"no use": part(Part{"a", 0, false, line}), "weight": part(Part{"a", Whole + 1, false, line}),
		"one knot": part(Part{"a", 1, false, line[:1]}), "many knots": part(Part{"a", 1, false, many}),
		"values stand": part(Part{"a", 1, false, []Knot{{0, 0}, {0, 1}}}), "points fall": part(Part{"a", 1, false, []Knot{{0, 1}, {1, 0}}}),
		"points": part(Part{"a", 1, false, []Knot{{0, 0}, {1, Whole + 1}}}),
	} {
		if _, err := New(s); !errors.Is(err, ErrBlend) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Marshal(); !errors.Is(err, ErrBlend) {
			t.Errorf("%s is written: %v", name, err)
		}
	}
	raw, err := example.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Unmarshal(raw); err != nil || fmt.Sprint(back) != fmt.Sprint(example) {
		t.Errorf("%+v, %v", back, err)
	}
	var largest Settings
	for i := range MaxParts {
		p := Part{Name: fmt.Sprintf("%0*d", wire.MaxName, i), Weight: Whole, Lifts: true}
		for j := range MaxKnots {
			p.Knots = append(p.Knots, Knot{math.MaxInt64 - MaxKnots + int64(j), Whole})
		}
		largest.Parts = append(largest.Parts, p)
	}
	raw, err = largest.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unmarshal(raw); err != nil {
		t.Errorf("the largest blend has %d bytes: %v", len(raw), err)
	}
}

func TestScoringAllocatesNothing(t *testing.T) {
	b, in := blend(t, example), says(0, 10<<16, 0, 8000)
	if n := testing.AllocsPerRun(100, func() { b.Score(in) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The golden file pins the arithmetic: it changes with consensus alone.
func TestScoresGolden(t *testing.T) {
	var out bytes.Buffer
	raw, _ := example.Marshal()
	fmt.Fprintf(&out, "settings %x\n", raw)
	b, seed := blend(t, example), fixed.Seed(31)
	for range 100 {
		in := []Input{
			{seed.Below(8) > 0, int64(seed.Below(220000)) - 80000, int(seed.Below(5))},
			{seed.Below(8) > 0, int64(seed.Next() >> (1 + seed.Below(63))), 0},
			{seed.Below(8) > 0, int64(seed.Below(100000)), -1},
			{seed.Below(8) == 0, int64(seed.Below(10001)), int(seed.Below(9))},
		}
		r := b.Score(in)
		fmt.Fprintf(&out, "%v score %d drivers %v\n", in, r.Score, r.Drivers[:r.Count])
	}
	golden(t, "scores.txt", out.Bytes())
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

// FuzzBlend takes the bytes that it writes itself and no others, and scores anything by what it took.
func FuzzBlend(f *testing.F) {
	raw, _ := example.Marshal()
	f.Add(raw, int64(0), int64(math.MaxInt64), byte(7))
	f.Add([]byte{}, int64(0), int64(0), byte(0))
	f.Fuzz(func(t *testing.T, raw []byte, a, c int64, present byte) {
		s, err := Unmarshal(raw)
		if err != nil {
			return
		}
		if again, err := s.Marshal(); err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%x comes back as %x (%v)", raw, again, err)
		}
		b := blend(t, s)
		in := make([]Input, MaxParts+2)
		for i := range in {
			in[i] = Input{present>>(i%8)&1 == 1, a, i}
			a, c = c, a^c
		}
		if r := b.Score(in); r.Score > Whole || r.Count > MaxDrivers {
			t.Fatalf("%+v", r)
		}
	})
}

func BenchmarkScore(b *testing.B) {
	bl, in := blend(b, example), says(0, 10<<16, 20000, 0)
	b.ReportAllocs()
	for range b.N {
		bl.Score(in)
	}
}
