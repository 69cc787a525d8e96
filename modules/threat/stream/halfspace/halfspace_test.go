package halfspace

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var small = Settings{
	Trees: 5, Depth: 4, Window: 20, SizeLimit: 2, Seed: 3,
	Ranges: []Range{{0, 1000}, {-500, 500}, {math.MinInt64, math.MaxInt64}},
}

func forest(t interface{ Fatal(...any) }, s Settings) (*Forest, *cell.Memory) {
	f, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cell.NewMemory(f.Extents()...)
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

func event(seed *fixed.Seed) []int64 {
	return []int64{int64(seed.Below(300)), int64(seed.Below(200)) - 100, int64(seed.Next())}
}

func TestAThresholdIsTheLeastIntegerNotBelowThePoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Int64Max(math.MaxInt64-1).Draw(t, "low")
		high := rapid.Int64Min(low+1).Draw(t, "high")
		middle := rapid.Int64Range(-2*unit, 3*unit).Draw(t, "middle")
		width := new(big.Int).Sub(big.NewInt(high), big.NewInt(low))
		point := new(big.Int).Mul(width, big.NewInt(middle)) // Q32
		want, rest := new(big.Int), new(big.Int)
		want.DivMod(point, big.NewInt(unit), rest) // rounds down
		if rest.Sign() != 0 {
			want.Add(want, big.NewInt(1))
		}
		want.Add(want, big.NewInt(low))
		clamped := int64(math.MaxInt64)
		if want.IsInt64() {
			clamped = want.Int64()
		} else if want.Sign() < 0 {
			clamped = math.MinInt64
		}
		if got := threshold(Range{low, high}, middle); got != clamped {
			t.Fatalf("[%d, %d] at %d: %d, want %d", low, high, middle, got, clamped)
		}
	})
}

// eager is the algorithm as the paper states it: arrays of masses, copied when a window ends.
type eager struct {
	f            *Forest
	past, now    [][]uint64
	absorbed     int
	everReferred bool
}

func newEager(f *Forest) *eager {
	r := &eager{f: f}
	for range f.settings.Trees {
		r.past = append(r.past, make([]uint64, 2<<f.settings.Depth))
		r.now = append(r.now, make([]uint64, 2<<f.settings.Depth))
	}
	return r
}

func (r *eager) score(x []int64) uint64 {
	var total uint64
	for tree := range r.past {
		node := 1
		depth := 0
		for depth < r.f.settings.Depth && r.past[tree][node] > uint64(r.f.settings.SizeLimit) {
			node = child(node, r.f.splits[tree<<r.f.settings.Depth+node], x)
			depth++
		}
		total += r.past[tree][node] * uint64(math.Pow(2, float64(depth)))
	}
	return total
}

func (r *eager) absorb(x []int64) {
	for tree := range r.now {
		node := 1
		r.now[tree][node]++
		for node < 1<<r.f.settings.Depth {
			node = child(node, r.f.splits[tree<<r.f.settings.Depth+node], x)
			r.now[tree][node]++
		}
	}
	if r.absorbed++; r.absorbed == r.f.settings.Window {
		for tree := range r.now {
			copy(r.past[tree], r.now[tree])
			clear(r.now[tree])
		}
		r.absorbed, r.everReferred = 0, true
	}
}

func TestCellsThatCatchUpScoreAsMassesThatAreCopied(t *testing.T) {
	f, m := forest(t, small)
	ref, seed := newEager(f), fixed.Seed(5)
	for i := range 1000 {
		x := event(&seed)
		got, err := f.Score(m, x)
		if err != nil {
			t.Fatal(err)
		}
		if got.Ready != (i >= small.Window) || got.Ready != ref.everReferred {
			t.Fatalf("event %d: ready is %v", i, got.Ready)
		}
		if got.Ready && got.Mass != ref.score(x) {
			t.Fatalf("event %d: %d, want %d", i, got.Mass, ref.score(x))
		}
		if err := f.Absorb(m, x); err != nil {
			t.Fatal(err)
		}
		ref.absorb(x)
	}
}

func TestRareEventsAreSparserAndTheFeatureIsTold(t *testing.T) {
	f, m := forest(t, Settings{Trees: 25, Depth: 8, Window: 200, SizeLimit: 20, Ranges: []Range{{0, 1000}, {0, 1000}, {0, 1000}}})
	seed := fixed.Seed(1)
	draw := func() []int64 {
		return []int64{400 + int64(seed.Below(50)), int64(seed.Below(1000)), 700 + int64(seed.Below(50))}
	}
	for range 400 {
		_ = f.Absorb(m, draw())
	}
	usual, _ := f.Score(m, draw())
	causes := make([]int64, 3)
	rare, _ := f.Explain(m, []int64{900, 500, 720}, causes)
	if rare.Sparsity <= usual.Sparsity || rare.Mass >= usual.Mass {
		t.Fatalf("usual %+v, rare %+v", usual, rare)
	}
	if causes[0] <= causes[1] || causes[0] <= causes[2] {
		t.Fatalf("the first feature is the odd one, and the causes are %v", causes)
	}
	if again, _ := f.Score(m, []int64{900, 500, 720}); again != rare {
		t.Fatal("explaining changes the score")
	}
}

func TestScoringWritesNothingAndWorkIsAsStated(t *testing.T) {
	f, m := forest(t, small)
	c, seed := &counting{Writer: m}, fixed.Seed(9)
	for range 100 {
		x := event(&seed)
		before, _ := m.Snapshot()
		*c = counting{Writer: m}
		if _, err := f.Score(c, x); err != nil || c.reads > f.Reads() || c.writes != 0 {
			t.Fatalf("%d reads, %d writes, %v", c.reads, c.writes, err)
		}
		if after, _ := m.Snapshot(); !bytes.Equal(before, after) {
			t.Fatal("scoring moved a cell")
		}
		*c = counting{Writer: m}
		if err := f.Absorb(c, x); err != nil || c.reads != f.Reads() || c.writes != f.Reads() {
			t.Fatalf("%d reads, %d writes, %v", c.reads, c.writes, err)
		}
	}
}

func TestWithinAWindowTheOrderOfEventsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, a := forest(t, small)
		_, b := forest(t, small)
		seed := fixed.Seed(rapid.Uint64().Draw(t, "seed"))
		for range 3 {
			var window [][]int64
			for range small.Window {
				window = append(window, event(&seed))
			}
			for _, x := range window {
				_ = f.Absorb(a, x)
			}
			for _, x := range rapid.Permutation(window).Draw(t, "other order") {
				_ = f.Absorb(b, x)
			}
		}
		x, _ := a.Snapshot()
		y, _ := b.Snapshot()
		if !bytes.Equal(x, y) {
			t.Fatal("the cells differ")
		}
	})
}

type counting struct {
	cell.Writer
	reads, writes uint64
	fail          uint64
}

var errBroken = errors.New("broken")

func (c *counting) Cell(k cell.Key) (cell.Cell, error) {
	if c.reads++; c.reads+c.writes == c.fail {
		return cell.Cell{}, errBroken
	}
	return c.Writer.Cell(k)
}

func (c *counting) SetCell(k cell.Key, v cell.Cell) error {
	if c.writes++; c.reads+c.writes == c.fail {
		return errBroken
	}
	return c.Writer.SetCell(k, v)
}

func TestAnErrorOfTheStoreIsHandedOn(t *testing.T) {
	f, m := forest(t, small)
	seed := fixed.Seed(1)
	for range small.Window {
		_ = f.Absorb(m, event(&seed))
	}
	for fail := uint64(1); fail <= 2*f.Reads(); fail++ {
		if err := f.Absorb(&counting{Writer: m, fail: fail}, nil); !errors.Is(err, errBroken) {
			t.Fatalf("at %d: %v", fail, err)
		}
	}
	for fail := uint64(1); fail <= 2; fail++ {
		if _, err := f.Score(&counting{Writer: m, fail: fail}, nil); !errors.Is(err, errBroken) {
			t.Fatalf("at %d: %v", fail, err)
		}
	}
}

func TestScoringAllocatesNothing(t *testing.T) {
	f, m := forest(t, small)
	seed, causes := fixed.Seed(1), make([]int64, 3)
	for range small.Window {
		_ = f.Absorb(m, event(&seed))
	}
	x := event(&seed)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = f.Score(m, x)
		_, _ = f.Explain(m, x, causes)
		_ = f.Absorb(m, x)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestSettingsThatMakeNoForestAreRefused(t *testing.T) {
	change := func(fn func(*Settings)) Settings {
		s := small
		fn(&s)
		return s
	}
	for _, s := range []Settings{
		{}, change(func(s *Settings) { s.Trees = 0 }), change(func(s *Settings) { s.Trees = MaxTrees + 1 }),
		change(func(s *Settings) { s.Depth = 0 }), change(func(s *Settings) { s.Depth = MaxDepth + 1 }),
		change(func(s *Settings) { s.Trees, s.Depth = MaxTrees, MaxDepth }),
		change(func(s *Settings) { s.Window = 0 }), change(func(s *Settings) { s.Window = MaxWindow + 1 }),
		change(func(s *Settings) { s.SizeLimit = s.Window }), change(func(s *Settings) { s.SizeLimit = -1 }),
		change(func(s *Settings) { s.Ranges = nil }), change(func(s *Settings) { s.Ranges = []Range{{5, 5}} }),
		change(func(s *Settings) { s.Ranges = make([]Range, MaxFeatures+1) }),
	} {
		if _, err := New(s); !errors.Is(err, ErrSettings) {
			t.Errorf("%+v: %v", s, err)
		}
		if _, err := s.Marshal(); !errors.Is(err, ErrSettings) {
			t.Errorf("%+v is written: %v", s, err)
		}
	}
	raw, err := small.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Unmarshal(raw)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(small) {
		t.Errorf("%+v, %v", back, err)
	}
	wide := small
	wide.Ranges = nil
	for range MaxFeatures {
		wide.Ranges = append(wide.Ranges, Range{math.MinInt64, math.MaxInt64})
	}
	if raw, err = wide.Marshal(); err != nil || len(raw) > MaxSettings {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

// The golden file pins the trees, masses and logarithms: it changes with consensus alone.
func TestReadingsGolden(t *testing.T) {
	var out bytes.Buffer
	f, m := forest(t, small)
	for i, s := range f.splits {
		if i%(1<<small.Depth) != 0 {
			fmt.Fprintf(&out, "split %d of tree %d: feature %d below %d\n", i%(1<<small.Depth), i>>small.Depth, s.feature, s.threshold)
		}
	}
	seed, causes := fixed.Seed(11), make([]int64, 3)
	for i := range 150 {
		x := event(&seed)
		r, err := f.Explain(m, x, causes)
		if err != nil {
			t.Fatal(err)
		}
		if i%5 == 4 {
			fmt.Fprintf(&out, "event %d ready %v mass %d sparsity %d causes %v\n", i, r.Ready, r.Mass, r.Sparsity, causes)
		}
		_ = f.Absorb(m, x)
	}
	raw, _ := m.Snapshot()
	fmt.Fprintf(&out, "cells %x\n", raw)
	golden(t, "readings.txt", out.Bytes())
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

// FuzzForest scores and absorbs under any settings, any cells and any event.
func FuzzForest(f *testing.F) {
	raw, _ := small.Marshal()
	f.Add(raw, int64(1), int64(2), uint64(3), uint64(4), uint64(5))
	f.Add(raw, int64(math.MinInt64), int64(math.MaxInt64), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, raw []byte, a, b int64, past, now, epoch uint64) {
		s, err := Unmarshal(raw)
		if err != nil {
			return
		}
		if again, err := s.Marshal(); err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%x comes back as %x (%v)", raw, again, err)
		}
		if s.Trees<<s.Depth > 1<<14 {
			return // as good as the small ones, and slow
		}
		forest, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		st, causes := &same{c: cell.Cell{Past: past, Now: now, Epoch: epoch}, extents: forest.Extents()}, make([]int64, 2)
		for _, x := range [][]int64{{a, b}, {b}, nil} {
			r, err := forest.Explain(st, x, causes)
			if err != nil || r.Mass > uint64(s.Trees)*uint64(s.Window)<<s.Depth || causes[0] < 0 || causes[1] < 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if err := forest.Absorb(st, x); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// same answers every key within its tables with one cell.
type same struct {
	c       cell.Cell
	extents []cell.Extent
}

func (s *same) check(k cell.Key) error {
	for _, e := range s.extents {
		if e.Space == k.Space && k.Row < e.Rows && k.Column < e.Columns {
			return nil
		}
	}
	return cell.ErrOutside
}
func (s *same) Cell(k cell.Key) (cell.Cell, error) { return s.c, s.check(k) }
func (s *same) SetCell(k cell.Key, c cell.Cell) error {
	s.c = c
	return s.check(k)
}

func bench(b *testing.B, s Settings, absorb bool) {
	f, m := forest(b, s)
	seed := fixed.Seed(1)
	events := make([][]int64, 1024)
	for i := range events {
		events[i] = event(&seed)
		_ = f.Absorb(m, events[i])
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		_, _ = f.Score(m, events[i&1023])
		if absorb {
			_ = f.Absorb(m, events[i&1023])
		}
	}
}

func BenchmarkScore(b *testing.B) {
	bench(b, Settings{Trees: 25, Depth: 10, Window: 250, SizeLimit: 25, Ranges: small.Ranges}, false)
}

func BenchmarkScoreAndAbsorb(b *testing.B) {
	bench(b, Settings{Trees: 25, Depth: 10, Window: 250, SizeLimit: 25, Ranges: small.Ranges}, true)
}

func BenchmarkScoreAndAbsorbCompact(b *testing.B) {
	bench(b, Settings{Trees: 10, Depth: 6, Window: 250, SizeLimit: 25, Ranges: small.Ranges}, true)
}
