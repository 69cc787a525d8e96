package model

import (
	"math"
	"slices"

	"github.com/chancery/chancery/modules/threat/artifact"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const q16 = 1 << 16

// layout is a float tree's nodes as a quantised tree numbers them: splits and leaves
// each by themselves, in preorder.
type layout struct {
	splits, leaves []int // nodes
	place          []int32
}

func (t Tree) layout() layout {
	l := layout{place: make([]int32, len(t))}
	stack := []int{0}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n := &t[at]; n.leaf() {
			l.place[at] = int32(-1 - len(l.leaves))
			l.leaves = append(l.leaves, at)
		} else {
			l.place[at] = int32(len(l.splits))
			l.splits = append(l.splits, at)
			stack = append(stack, n.Right, n.Left)
		}
	}
	return l
}

func (t Tree) quantise(l layout, c Comparison, schema Schema) *threatv1.Splits {
	out := &threatv1.Splits{}
	for _, at := range l.splits {
		n := &t[at]
		out.Feature = append(out.Feature, uint32(n.Feature))
		out.Threshold = append(out.Threshold, c.Threshold(n.Threshold, int(schema[n.Feature].Decimals)))
		out.Left = append(out.Left, l.place[n.Left])
		out.Right = append(out.Right, l.place[n.Right])
		out.DefaultLeft = append(out.DefaultLeft, n.DefaultLeft)
	}
	return out
}

// fixed is a value in Q16, rounded to the nearest.
func fixed(x float64) (int32, error) {
	v := math.Round(x * q16)
	if math.IsNaN(v) || v < math.MinInt32 || v > math.MaxInt32 {
		return 0, ErrBounds.With("a leaf of %g is not within ±32768", x)
	}
	return int32(v), nil
}

// Quantise is boosted trees as integers, with a calibration from odds: 5000 is even, and
// each 1000 points are ten times the odds.
func (b *Boosted) Quantise(schema Schema) (*threatv1.Boosted, error) {
	base := math.Round(b.Base * q16)
	if math.IsNaN(base) || math.Abs(base) > 1<<40 {
		return nil, ErrBounds.With("a base of %g", b.Base)
	}
	out := &threatv1.Boosted{Base: int64(base), Calibration: oddsCurve()}
	for _, t := range b.Trees {
		l := t.layout()
		q := &threatv1.BoostedTree{Splits: t.quantise(l, b.Compare, schema)}
		for _, at := range l.leaves {
			v, err := fixed(t[at].Value)
			if err != nil {
				return nil, err
			}
			q.Leaf = append(q.Leaf, v)
		}
		q.Expected = expectations(t, l, q.Leaf)
		out.Trees = append(out.Trees, q)
	}
	return out, nil
}

// expectations are the means of the leaves below each split, weighted with their cover;
// with equal weights where the tree does not know it.
func expectations(t Tree, l layout, leaves []int32) []int32 {
	even := true
	for _, at := range l.leaves {
		if t[at].Cover > 0 {
			even = false
		}
	}
	weight, sum := make([]float64, len(t)), make([]float64, len(t))
	low, high := make([]int32, len(t)), make([]int32, len(t))
	for i, at := range l.leaves {
		weight[at] = t[at].Cover
		if even {
			weight[at] = 1
		}
		sum[at] = weight[at] * float64(leaves[i])
		low[at], high[at] = leaves[i], leaves[i]
	}
	out := make([]int32, len(l.splits))
	for i := len(l.splits) - 1; i >= 0; i-- {
		at := l.splits[i]
		left, right := t[at].Left, t[at].Right
		weight[at], sum[at] = weight[left]+weight[right], sum[left]+sum[right]
		low[at], high[at] = min(low[left], low[right]), max(high[left], high[right])
		mean := float64(low[at])
		if weight[at] > 0 {
			mean = math.Round(sum[at] / weight[at])
		}
		out[i] = int32(min(max(mean, float64(low[at])), float64(high[at])))
	}
	return out
}

// Quantise is a forest as integers, with a calibration from margins, which are those of
// its training: 2500 points for each power of ten by which fewer rows lie above.
func (f *Forest) Quantise(schema Schema, margins []int64) *threatv1.Forest {
	out := &threatv1.Forest{Samples: uint32(f.Samples), Calibration: rarityCurve(margins)}
	for _, t := range f.Trees {
		l := t.layout()
		q := &threatv1.IsolationTree{Splits: t.quantise(l, AtMost, schema)}
		for _, at := range l.leaves {
			q.Size = append(q.Size, uint32(t[at].Cover))
		}
		out.Trees = append(out.Trees, q)
	}
	return out
}

// oddsCurve calibrates margins that are the logarithm of odds.
func oddsCurve() *threatv1.Calibration {
	const end = 754511 // 5·ln 10 in Q16
	return &threatv1.Calibration{Margin: []int64{-end, end}, Score: []uint32{0, artifact.MaxScore}}
}

// rarityCurve calibrates by how many of some margins lie above.
func rarityCurve(margins []int64) *threatv1.Calibration {
	c := &threatv1.Calibration{}
	sorted := slices.Clone(margins)
	slices.Sort(sorted)
	n := len(sorted)
	add := func(margin int64, score float64) {
		s := uint32(min(max(math.Round(score), 0), artifact.MaxScore))
		if k := len(c.Margin); k > 0 && margin <= c.Margin[k-1] {
			c.Score[k-1] = max(c.Score[k-1], s)
			return
		}
		c.Margin, c.Score = append(c.Margin, margin), append(c.Score, s)
	}
	if n == 0 {
		add(0, 0)
		return c
	}
	add(sorted[0], 0)
	const perDecade = 2500
	for score := 250.0; score < artifact.MaxScore; score += 250 {
		above := int(math.Pow(10, -score/perDecade) * float64(n))
		if above < 1 {
			break
		}
		add(sorted[n-above], score)
	}
	last := sorted[n-1]
	add(last, perDecade*math.Log10(float64(n)))
	// Beyond what training saw: the top at as far again as the largest is from the middle.
	add(last+max(last-sorted[n/2], q16), artifact.MaxScore)
	return c
}
