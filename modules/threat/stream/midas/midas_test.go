package midas

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

var (
	plain      = Settings{Rows: 2, Columns: 64, DecayDenominator: 1, Seed: 7}
	relational = Settings{Rows: 2, Columns: 64, Relational: true, DecayNumerator: 1, DecayDenominator: 2, Seed: 7}
)

func sketch(t interface{ Fatal(...any) }, s Settings) (*Sketch, *cell.Memory) {
	k, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cell.NewMemory(k.Extents()...)
	if err != nil {
		t.Fatal(err)
	}
	return k, m
}

func TestTheStatisticIsTheFormulaOfThePaperRoundedDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shift := rapid.IntRange(0, 62)
		a := rapid.Uint64Range(0, MaxCount<<countBits).Draw(t, "a") >> shift.Draw(t, "sa")
		s := rapid.Uint64Range(0, MaxCount).Draw(t, "s") >> (shift.Draw(t, "ss") % 47)
		n := rapid.Uint64Range(0, MaxTick).Draw(t, "t") >> (shift.Draw(t, "st") % 40)
		got := Statistic(a, s, n)
		if n < 2 || s == 0 {
			if got != 0 {
				t.Fatalf("%d without a past", got)
			}
			return
		}
		// (a - s/t)² t² / (s(t-1)), a in Q16, as a fraction
		mean := big.NewRat(int64(s), int64(n))
		diff := new(big.Rat).Sub(new(big.Rat).SetFrac(new(big.Int).SetUint64(a), big.NewInt(One)), mean)
		chi := diff.Mul(diff, diff)
		chi.Mul(chi, new(big.Rat).SetInt(new(big.Int).Mul(new(big.Int).SetUint64(n), new(big.Int).SetUint64(n))))
		chi.Quo(chi, new(big.Rat).SetInt(new(big.Int).Mul(new(big.Int).SetUint64(s), new(big.Int).SetUint64(n-1))))
		chi.Mul(chi, big.NewRat(One, 1))
		want := new(big.Int).Quo(chi.Num(), chi.Denom())
		if !want.IsUint64() {
			want.SetUint64(math.MaxUint64)
		}
		if got != want.Uint64() {
			t.Fatalf("chi²(a %d, s %d, t %d) is %d, want %d", a, s, n, got, want)
		}
	})
}

// eager is MIDAS as the paper states it: floats, and every current count decays when a tick ends.
type eager struct {
	k       *Sketch
	factor  float64
	tick    uint64
	current map[cell.Key]float64
	total   map[cell.Key]float64
}

func (r *eager) add(e Edge, tick uint64) float64 {
	for ; r.tick < tick; r.tick++ {
		for k := range r.current {
			r.current[k] *= r.factor
		}
	}
	var best float64
	for i := range r.k.subjects() {
		id := r.k.id(Subject(i), e)
		a, s := math.Inf(1), math.Inf(1)
		for row := range r.k.settings.Rows {
			key := r.k.key(Subject(i), id, row)
			r.current[key]++
			r.total[key]++
			a, s = min(a, r.current[key]), min(s, r.total[key])
		}
		if tick > 1 {
			n := float64(tick)
			best = max(best, math.Pow(a-s/n, 2)*n*n/(s*(n-1)))
		}
	}
	return best
}

func TestCellsThatCatchUpScoreAsCountsThatDecayAtOnce(t *testing.T) {
	for _, s := range []Settings{plain, relational, {Rows: 3, Columns: 16, Relational: true, DecayNumerator: 9, DecayDenominator: 10}} {
		k, m := sketch(t, s)
		ref := &eager{k: k, factor: float64(s.DecayNumerator) / float64(s.DecayDenominator), current: map[cell.Key]float64{}, total: map[cell.Key]float64{}}
		seed, tick := fixed.Seed(3), uint64(1)
		for range 20000 {
			if seed.Below(8) == 0 {
				tick += seed.Below(4)
			}
			e := Edge{seed.Below(30), seed.Below(30)}
			if seed.Below(3) == 0 {
				e = Edge{1, 2}
			}
			got, err := k.Score(m, e, tick)
			if err != nil {
				t.Fatal(err)
			}
			want := ref.add(e, tick)
			// A current count is off by less than 2^-16 for each tick in which it was rounded.
			if diff := math.Abs(float64(got.Statistic)/One - want); diff > 0.01+want*1e-3 {
				t.Fatalf("%+v tick %d: %v, want %v", s, tick, float64(got.Statistic)/One, want)
			}
			if err := k.Absorb(m, e, tick); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Two sketches keep their counts apart, and a reading says when the event before was.
func TestASecondSketchHasTablesOfItsOwn(t *testing.T) {
	first, err := New(relational)
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewAt(relational, SpaceKin)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cell.NewMemory(append(first.Extents(), second.Extents()...)...)
	if err != nil {
		t.Fatal(err)
	}
	e := Edge{1, 2}
	for _, tick := range []uint64{3, 5} {
		if err := second.Absorb(m, e, tick); err != nil {
			t.Fatal(err)
		}
	}
	for k, want := range map[*Sketch][2]uint64{first: {1, 0}, second: {3, 5}} {
		all, err := k.Readings(m, e, 9)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if r.Total != want[0] || r.Last != want[1] {
				t.Errorf("%+v, want the total %d and the last tick %d", r, want[0], want[1])
			}
		}
	}
}

func TestABurstIsToldWithItsSubject(t *testing.T) {
	k, m := sketch(t, Settings{Rows: 2, Columns: 1024, Relational: true, DecayNumerator: 1, DecayDenominator: 2})
	for tick := uint64(1); tick <= 200; tick++ {
		for actor := range uint64(10) {
			if err := k.Absorb(m, Edge{actor, 100 + actor}, tick); err != nil {
				t.Fatal(err)
			}
		}
	}
	calm, _ := k.Score(m, Edge{3, 103}, 201)
	// One actor reads 40 different resources in one tick: every edge is new, the actor is not.
	for i := range uint64(40) {
		_ = k.Absorb(m, Edge{3, 200 + i}, 201)
	}
	burst, _ := k.Score(m, Edge{3, 240}, 201)
	if burst.Subject != SubjectActor || burst.Statistic < 100*calm.Statistic {
		t.Fatalf("calm %+v, burst %+v", calm, burst)
	}
}

func TestScoringWritesNothing(t *testing.T) {
	k, m := sketch(t, relational)
	rapid.Check(t, func(t *rapid.T) {
		e := Edge{rapid.Uint64().Draw(t, "actor"), rapid.Uint64().Draw(t, "resource")}
		tick := rapid.Uint64().Draw(t, "tick")
		before, _ := m.Snapshot()
		if _, err := k.Score(m, e, tick); err != nil {
			t.Fatal(err)
		}
		after, _ := m.Snapshot()
		if !bytes.Equal(before, after) {
			t.Fatal("scoring moved a cell")
		}
		if err := k.Absorb(m, e, tick); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWithinATickTheOrderOfEventsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, a := sketch(t, relational)
		_, b := sketch(t, relational)
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Edge {
			return Edge{rapid.Uint64Range(0, 9).Draw(t, "actor"), rapid.Uint64Range(0, 9).Draw(t, "resource")}
		}), 1, 30).Draw(t, "events")
		for tick := uint64(1); tick < 5; tick++ {
			for _, e := range events {
				_ = k.Absorb(a, e, tick)
			}
			for _, e := range rapid.Permutation(events).Draw(t, "other order") {
				_ = k.Absorb(b, e, tick)
			}
		}
		x, _ := a.Snapshot()
		y, _ := b.Snapshot()
		if !bytes.Equal(x, y) {
			t.Fatal("the cells differ")
		}
	})
}

func TestATickThatHasPassedCountsAsTheLast(t *testing.T) {
	k, m := sketch(t, relational)
	_ = k.Absorb(m, Edge{1, 2}, 9)
	_ = k.Absorb(m, Edge{1, 2}, 3)
	r, err := k.Score(m, Edge{1, 2}, 9)
	if err != nil || r.Current != 3*One || r.Total != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestCountsStopAtTheirBound(t *testing.T) {
	k, m := sketch(t, plain)
	for _, row := range []int{0, 1} {
		key := k.key(SubjectEdge, k.id(SubjectEdge, Edge{1, 2}), row)
		_ = m.SetCell(key, cell.Cell{Past: math.MaxUint64, Now: math.MaxUint64, Epoch: math.MaxUint64})
	}
	r, err := k.Score(m, Edge{1, 2}, math.MaxUint64)
	if err != nil || r.Total != MaxCount || r.Current != MaxCount<<countBits || r.Statistic != math.MaxUint64 {
		t.Fatalf("%+v, %v", r, err)
	}
}

type broken struct{ writes int }

var errBroken = errors.New("broken")

func (b *broken) Cell(cell.Key) (cell.Cell, error) {
	if b.writes > 0 {
		return cell.Cell{}, nil
	}
	return cell.Cell{}, errBroken
}

func (b *broken) SetCell(cell.Key, cell.Cell) error {
	if b.writes--; b.writes == 0 {
		return errBroken
	}
	return nil
}

func TestAnErrorOfTheStoreIsHandedOn(t *testing.T) {
	k, _ := sketch(t, relational)
	if _, err := k.Score(&broken{}, Edge{}, 1); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	for n := range 6 {
		if err := k.Absorb(&broken{writes: n}, Edge{}, 1); !errors.Is(err, errBroken) {
			t.Errorf("%d writes: %v", n, err)
		}
	}
}

// counting counts what is touched.
type counting struct {
	cell.Writer
	reads, writes uint64
}

func (c *counting) Cell(k cell.Key) (cell.Cell, error) { c.reads++; return c.Writer.Cell(k) }
func (c *counting) SetCell(k cell.Key, v cell.Cell) error {
	c.writes++
	return c.Writer.SetCell(k, v)
}

func TestWorkIsTheCellsThatAreTouched(t *testing.T) {
	for _, s := range []Settings{plain, relational} {
		k, m := sketch(t, s)
		c := &counting{Writer: m}
		_, _ = k.Score(c, Edge{1, 2}, 1)
		if c.reads != k.Reads() || c.writes != 0 {
			t.Errorf("scoring: %d reads, %d writes, said %d", c.reads, c.writes, k.Reads())
		}
		_ = k.Absorb(c, Edge{1, 2}, 1)
		if c.reads != 2*k.Reads() || c.writes != k.Reads() {
			t.Errorf("absorbing: %d reads, %d writes, said %d", c.reads-k.Reads(), c.writes, k.Reads())
		}
	}
}

func TestScoringAllocatesNothing(t *testing.T) {
	k, m := sketch(t, relational)
	tick := uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		tick++
		_, _ = k.Score(m, Edge{1, tick}, tick)
		_ = k.Absorb(m, Edge{1, tick}, tick)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestSettingsThatMakeNoSketchAreRefused(t *testing.T) {
	for _, s := range []Settings{
		{}, {Rows: 9, Columns: 4, DecayDenominator: 1}, {Rows: 1, Columns: 1, DecayDenominator: 1},
		{Rows: 1, Columns: 1 << 17, DecayDenominator: 1}, {Rows: 1, Columns: 4},
		{Rows: 1, Columns: 4, Relational: true, DecayNumerator: 1, DecayDenominator: 1},
		{Rows: 1, Columns: 4, DecayNumerator: 1, DecayDenominator: 2}, {Rows: 1, Columns: 4, Relational: true, DecayDenominator: 2},
	} {
		if _, err := New(s); !errors.Is(err, ErrSettings) {
			t.Errorf("%+v: %v", s, err)
		}
		if _, err := s.Marshal(); !errors.Is(err, ErrSettings) {
			t.Errorf("%+v is written: %v", s, err)
		}
	}
	for _, s := range []Settings{plain, relational} {
		raw, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Unmarshal(raw); err != nil || back != s {
			t.Errorf("%+v, %v", back, err)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct{ height, start, length, want uint64 }{
		{1, 1, 10, 1}, {10, 1, 10, 1}, {11, 1, 10, 2}, {0, 1, 10, 1}, {5, 1, 0, 1}, {math.MaxUint64, 0, 1, MaxTick},
	} {
		if got := TickOfHeight(c.height, c.start, c.length); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	for _, c := range []struct {
		seconds, start, length int64
		want                   uint64
	}{
		{60, 0, 60, 2}, {59, 0, 60, 1}, {-1, 0, 60, 1}, {0, -60, 60, 2}, {0, 0, -1, 1},
		{math.MaxInt64, math.MinInt64, math.MaxInt64, 3}, {math.MaxInt64, math.MinInt64, 1, MaxTick},
	} {
		if got := TickOfTime(c.seconds, c.start, c.length); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// The golden file pins hash functions, decay and statistic: it changes with consensus alone.
func TestReadingsGolden(t *testing.T) {
	var out bytes.Buffer
	for _, s := range []Settings{plain, relational} {
		k, m := sketch(t, s)
		raw, _ := s.Marshal()
		fmt.Fprintf(&out, "settings %x\n", raw)
		seed, tick := fixed.Seed(11), uint64(1)
		for i := range 400 {
			tick += seed.Below(2) * seed.Below(3)
			e := Edge{fixed.Name(fmt.Appendf(nil, "actor-%d", seed.Below(6))), fixed.Name(fmt.Appendf(nil, "resource-%d", seed.Below(9)))}
			r, err := k.Score(m, e, tick)
			if err != nil {
				t.Fatal(err)
			}
			if i%8 == 7 {
				fmt.Fprintf(&out, "event %d tick %d statistic %d subject %d current %d total %d\n", i, tick, r.Statistic, r.Subject, r.Current, r.Total)
			}
			_ = k.Absorb(m, e, tick)
		}
		raw, _ = m.Snapshot()
		fmt.Fprintf(&out, "cells %x\n", raw)
	}
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

// FuzzSketch scores and absorbs under any settings, any cells and any event.
func FuzzSketch(f *testing.F) {
	for _, s := range []Settings{plain, relational} {
		raw, _ := s.Marshal()
		f.Add(raw, uint64(1), uint64(2), uint64(3), uint64(4), uint64(5), uint64(6))
		f.Add(raw, uint64(math.MaxUint64), uint64(0), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(1)<<63, uint64(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, actor, resource, tick, past, now, epoch uint64) {
		s, err := Unmarshal(raw)
		if err != nil {
			return
		}
		if again, err := s.Marshal(); err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%x comes back as %x (%v)", raw, again, err)
		}
		k, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		st := &same{c: cell.Cell{Past: past, Now: now, Epoch: epoch}, extents: k.Extents()}
		for range 3 {
			r, err := k.Score(st, Edge{actor, resource}, tick)
			if err != nil || r.Total > MaxCount || r.Current > MaxCount<<countBits || r.Total == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if err := k.Absorb(st, Edge{actor, resource}, tick); err != nil {
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

func BenchmarkScore(b *testing.B) {
	k, m := sketch(b, Settings{Rows: 2, Columns: 1024, Relational: true, DecayNumerator: 1, DecayDenominator: 2})
	b.ReportAllocs()
	for i := range uint64(b.N) {
		_, _ = k.Score(m, Edge{i & 63, i & 1023}, 2+i>>8)
	}
}

func BenchmarkScoreAndAbsorb(b *testing.B) {
	k, m := sketch(b, Settings{Rows: 2, Columns: 1024, Relational: true, DecayNumerator: 1, DecayDenominator: 2})
	b.ReportAllocs()
	for i := range uint64(b.N) {
		e, tick := Edge{i & 63, i & 1023}, 2+i>>8
		_, _ = k.Score(m, e, tick)
		_ = k.Absorb(m, e, tick)
	}
}
