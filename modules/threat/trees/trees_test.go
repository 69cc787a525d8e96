package trees

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// random makes a usable tree of some splits by splitting leaves at random.
func random(rng *rand.Rand, features, splits int) Tree {
	type place struct{ split, side int }
	t := Tree{}
	open := []place{{-1, 0}}
	for i := range splits {
		k := rng.IntN(len(open))
		at := open[k]
		open = append(open[:k], open[k+1:]...)
		t.Splits = append(t.Splits, Split{Feature: uint16(rng.IntN(features)), Threshold: rng.Int64N(2001) - 1000, DefaultLeft: rng.IntN(2) == 0})
		if at.split >= 0 {
			if at.side == 0 {
				t.Splits[at.split].Left = int32(i)
			} else {
				t.Splits[at.split].Right = int32(i)
			}
		}
		open = append(open, place{i, 0}, place{i, 1})
	}
	for i, at := range open {
		t.Leaves = append(t.Leaves, int32(rng.IntN(1<<17)-1<<16))
		if at.split >= 0 {
			if at.side == 0 {
				t.Splits[at.split].Left = int32(-1 - i)
			} else {
				t.Splits[at.split].Right = int32(-1 - i)
			}
		}
	}
	low, high := rangesOf(t)
	for i := range t.Splits {
		t.Splits[i].Expected = low[i] + int32((int64(high[i])-int64(low[i]))/3)
	}
	return t
}

// walk is scoring as the documentation says it, one branch after the other.
func walk(t Tree, row []int64, contributions []int64) (leaf int64, splits uint32) {
	at, from := int32(0), int64(0)
	if len(t.Splits) == 0 {
		at = -1
	} else {
		from = int64(t.Splits[0].Expected)
	}
	for at >= 0 {
		s := t.Splits[at]
		v := row[s.Feature]
		left := v <= s.Threshold
		if v == Missing {
			left = s.DefaultLeft
		}
		if left {
			at = s.Left
		} else {
			at = s.Right
		}
		to := int64(0)
		if at >= 0 {
			to = int64(t.Splits[at].Expected)
		} else {
			to = int64(t.Leaves[-1-at])
		}
		contributions[s.Feature] += to - from
		from = to
		splits++
	}
	return int64(t.Leaves[-1-at]), splits
}

var extremes = []int64{Missing, Missing + 1, -1001, -1000, -1, 0, 1, 1000, 1001, math.MaxInt64 - 1, math.MaxInt64}

func TestScoresAreThoseOfTheTreesAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		features := 1 + rng.IntN(6)
		var all []Tree
		for range 1 + rng.IntN(20) {
			x := random(rng, features, rng.IntN(40))
			for i := range x.Splits {
				if rng.IntN(8) == 0 {
					x.Splits[i].Threshold = extremes[1+rng.IntN(len(extremes)-1)]
				}
			}
			all = append(all, x)
		}
		base := rng.Int64N(2*MaxBase+1) - MaxBase
		e, err := New(features, base, all)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			row := make([]int64, features)
			for i := range row {
				row[i] = rng.Int64N(2401) - 1200
				if rng.IntN(3) == 0 {
					row[i] = extremes[rng.IntN(len(extremes))]
				}
			}
			want, units := base, uint32(len(all))
			contributions := make([]int64, features)
			for _, x := range all {
				leaf, splits := walk(x, row, contributions)
				want += leaf
				units += splits
			}
			margin, work, err := e.Score(row)
			if err != nil || margin != want || work != units {
				t.Fatalf("score of %v is %d with %d units (%v), want %d with %d", row, margin, work, err, want, units)
			}
			if work > e.MaxWork() {
				t.Fatalf("%d units are more than %d", work, e.MaxWork())
			}
			have := make([]int64, features)
			again, work2, err := e.Explain(row, have)
			sum := e.Bias()
			for i, c := range have {
				sum += c
				if c != contributions[i] {
					t.Fatalf("feature %d contributed %d, want %d", i, c, contributions[i])
				}
			}
			if err != nil || again != margin || work2 != work || sum != margin {
				t.Fatalf("explained %d (%d units, %v), and its reasons add up to %d; want %d", again, work2, err, sum, margin)
			}
		}
	})
}

func TestAForestScoresByItsPaths(t *testing.T) {
	// Feature 0: 8 of 10 rows end at depth 1, the other two at depth 2.
	f, err := NewForest(1, 10, []IsolationTree{{
		Splits: []Split{{Threshold: 5, Left: -1, Right: 1, DefaultLeft: true}, {Threshold: 9, Left: -2, Right: -3}},
		Sizes:  []uint32{8, 1, 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for row, path := range map[int64]int64{5: 1<<16 + int64(meanPath[8]), 9: 2 << 16, 10: 2 << 16, Missing: 1<<16 + int64(meanPath[8])} {
		margin, work, err := f.Score([]int64{row})
		if err != nil || margin != int64(meanPath[10])-path {
			t.Errorf("row %d: margin %d (%d units, %v), want %d", row, margin, work, err, int64(meanPath[10])-path)
		}
		c := []int64{0}
		if _, _, err := f.Explain([]int64{row}, c); err != nil || f.Bias()+c[0] != margin {
			t.Errorf("row %d: bias %d and reason %d do not add up to %d", row, f.Bias(), c[0], margin)
		}
	}
}

func TestMeanPathIsTheFormula(t *testing.T) {
	const euler = 0.57721566490153286
	for n, have := range meanPath {
		want := 0.0
		if n == 2 {
			want = 1
		} else if n > 2 {
			want = 2*(math.Log(float64(n-1))+euler) - 2*float64(n-1)/float64(n)
		}
		if math.Abs(float64(have)-want*65536) > 0.5000001 {
			t.Errorf("c(%d) is %d, want %f", n, have, want*65536)
		}
	}
}

func TestUnusableTreesAreRefused(t *testing.T) {
	good := func() Tree {
		return Tree{Splits: []Split{{Left: 1, Right: -1}, {Left: -2, Right: -3}}, Leaves: []int32{1, -2, 3}}
	}
	if _, err := New(1, 0, []Tree{good()}); err != nil {
		t.Fatal(err)
	}
	chain := func(n int) Tree {
		x := Tree{Leaves: make([]int32, n+1)}
		for i := range n {
			x.Splits = append(x.Splits, Split{Left: int32(i + 1), Right: int32(-1 - i)})
		}
		x.Splits[n-1].Left = int32(-1 - n)
		return x
	}
	if _, err := New(1, 0, []Tree{chain(MaxDepth)}); err != nil {
		t.Fatalf("a tree of the largest depth is refused: %v", err)
	}
	for name, c := range map[string]struct {
		features int
		base     int64
		trees    []Tree
		words    string
	}{
		"no trees":      {1, 0, nil, "0 trees"},
		"many trees":    {1, 0, make([]Tree, MaxTrees+1), "1025 trees"},
		"no features":   {0, 0, []Tree{good()}, "0 features"},
		"many features": {MaxFeatures + 1, 0, []Tree{good()}, "1025 features"},
		"large base":    {1, MaxBase + 1, []Tree{good()}, "the base"},
		"no leaves":     {1, 0, []Tree{{}}, "0 splits have 0 leaves"},
		"few leaves":    {1, 0, []Tree{edit(good(), func(t *Tree) { t.Leaves = t.Leaves[:2] })}, "2 splits have 2 leaves"},
		"feature":       {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[1].Feature = 1 })}, "feature 1 of 1"},
		"threshold":     {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[1].Threshold = Missing })}, "missing value"},
		"circle":        {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[1].Left = 0 })}, "not behind"},
		"self":          {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[1].Left = 1 })}, "not behind"},
		"beyond":        {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[0].Left = 2 })}, "not there"},
		"leaf beyond":   {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[0].Right = math.MinInt32 })}, "not there"},
		"two parents":   {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[0].Right = 1 })}, "two parents"},
		"shared leaf":   {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[1].Left = -1 })}, "two parents"},
		"deep":          {1, 0, []Tree{chain(MaxDepth + 1)}, "deeper than"},
		"expectation":   {1, 0, []Tree{edit(good(), func(t *Tree) { t.Splits[1].Expected = 4 })}, "expects 4"},
		"many leaves":   {1, 0, []Tree{{Splits: make([]Split, MaxLeaves), Leaves: make([]int32, MaxLeaves+1)}}, "at most"},
	} {
		_, err := New(c.features, c.base, c.trees)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
	large := random(rand.New(rand.NewPCG(1, 1)), 1, 200)
	if _, err := New(1, 0, repeat(large, MaxTrees)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "splits in all trees") {
		t.Errorf("too many splits: %v", err)
	}
	for name, f := range map[string]IsolationTree{
		"a leaf without rows": {Splits: []Split{{Left: -1, Right: -2}}, Sizes: []uint32{0, 4}},
		"too few rows":        {Splits: []Split{{Left: -1, Right: -2}}, Sizes: []uint32{1, 2}},
		"too many rows":       {Splits: []Split{{Left: -1, Right: -2}}, Sizes: []uint32{4, 4}},
		"too few leaves":      {Splits: []Split{{Left: -1, Right: -2}}, Sizes: []uint32{4}},
		"a circle":            {Splits: []Split{{Left: 0, Right: -2}}, Sizes: []uint32{2, 2}},
	} {
		if _, err := NewForest(1, 4, []IsolationTree{f}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a forest with %s: %v", name, err)
		}
	}
	for _, samples := range []uint32{0, MaxSamples + 1} {
		if _, err := NewForest(1, samples, []IsolationTree{{Sizes: []uint32{samples}}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a forest of %d rows a tree: %v", samples, err)
		}
	}
}

func edit(t Tree, f func(*Tree)) Tree {
	f(&t)
	return t
}

func repeat(t Tree, n int) []Tree {
	out := make([]Tree, n)
	for i := range out {
		out[i] = t
	}
	return out
}

func TestRowsOfAnotherLengthAreRefused(t *testing.T) {
	e, err := New(2, 0, []Tree{{Leaves: []int32{7}}})
	if err != nil {
		t.Fatal(err)
	}
	if m, w, err := e.Score([]int64{1, 2}); err != nil || m != 7 || w != 1 {
		t.Errorf("a tree of one leaf scores %d with %d units (%v)", m, w, err)
	}
	for _, row := range [][]int64{nil, {1}, {1, 2, 3}} {
		if _, _, err := e.Score(row); !errors.Is(err, ErrRow) {
			t.Errorf("row %v: %v", row, err)
		}
		if _, _, err := e.Explain([]int64{1, 2}, row); !errors.Is(err, ErrRow) {
			t.Errorf("contributions %v: %v", row, err)
		}
	}
}

// Trees that pass CheckMonotone are monotone, and those that are not do not pass.
func TestMonotoneTreesAreMonotone(t *testing.T) {
	passed := 0
	rng := rand.New(rand.NewPCG(7, 7))
	for range 20_000 {
		x := random(rng, 2, 1+rng.IntN(4))
		directions := []Direction{Direction(rng.IntN(3) - 1), Free}
		if CheckMonotone(directions, []Tree{x}) != nil {
			continue
		}
		passed++
		e, err := New(2, 0, []Tree{x})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			row := []int64{rng.Int64N(2401) - 1200, rng.Int64N(2401) - 1200}
			before, _, _ := e.Score(row)
			row[0] += rng.Int64N(500)
			after, _, _ := e.Score(row)
			if directions[0] == Increasing && after < before || directions[0] == Decreasing && after > before {
				t.Fatalf("direction %d is not kept: %d, then %d", directions[0], before, after)
			}
		}
	}
	if passed < 1000 {
		t.Fatalf("only %d trees passed", passed)
	}
	falling := Tree{Splits: []Split{{Left: -1, Right: -2}}, Leaves: []int32{2, 1}}
	if CheckMonotone([]Direction{Increasing}, []Tree{falling}) == nil || CheckMonotone([]Direction{Decreasing}, []Tree{falling}) != nil {
		t.Error("a falling tree is taken for a rising one")
	}
}

// realistic is an ensemble of the default sizes: 200 boosted trees of 31 leaves, or a
// forest of 100 trees of about 200 leaves, over 60 features.
func realistic(t testing.TB, trees, splits int) *Ensemble {
	rng := rand.New(rand.NewPCG(3, 3))
	var all []Tree
	for range trees {
		all = append(all, random(rng, 60, splits))
	}
	e, err := New(60, 0, all)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func rows(n, features int) [][]int64 {
	rng := rand.New(rand.NewPCG(4, 4))
	out := make([][]int64, n)
	for i := range out {
		out[i] = make([]int64, features)
		for j := range out[i] {
			out[i][j] = rng.Int64N(2401) - 1200
		}
	}
	return out
}

func TestScoringAllocatesNothing(t *testing.T) {
	e := realistic(t, 20, 30)
	row := rows(1, 60)[0]
	contributions := make([]int64, 60)
	if n := testing.AllocsPerRun(100, func() {
		_, _, _ = e.Score(row)
		_, _, _ = e.Explain(row, contributions)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// threadTime is the nanoseconds that a core has worked for this thread.
func threadTime(t testing.TB) int64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at); err != nil {
		t.Fatal(err)
	}
	return at.Nano()
}

func BenchmarkScore(b *testing.B) {
	for _, c := range []struct {
		name          string
		trees, splits int
	}{{"boosted-200x31", 200, 30}, {"forest-100x200", 100, 199}} {
		b.Run(c.name, func(b *testing.B) {
			e := realistic(b, c.trees, c.splits)
			all := rows(1024, 60)
			work := uint64(0)
			b.ReportAllocs()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			i := 0
			begin := threadTime(b)
			for b.Loop() {
				_, w, _ := e.Score(all[i%len(all)])
				work += uint64(w)
				i++
			}
			// On a busy machine the clock also counts the time of others; the thread's does not.
			b.ReportMetric(float64(threadTime(b)-begin)/float64(i), "cpu-ns/op")
			b.ReportMetric(float64(work)/float64(i), "units/op")
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	e := realistic(b, 200, 30)
	all := rows(1024, 60)
	contributions := make([]int64, 60)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, _, _ = e.Explain(all[i%len(all)], contributions)
		i++
	}
}
