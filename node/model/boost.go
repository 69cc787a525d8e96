package model

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/chancery/chancery/modules/threat/trees"
)

// BoostOptions are the options of boosted trees. The zero value of a field stands for
// its default, but where a field says otherwise.
type BoostOptions struct {
	Trees    int     `json:"trees"`            // 200 by default
	Leaves   int     `json:"leaves"`           // of a tree; 31 by default
	Depth    int     `json:"depth"`            // of a tree; 32 by default
	Rate     float64 `json:"learning_rate"`    // 0.1 by default
	L2       float64 `json:"l2"`               // 0 by default
	MinRows  int     `json:"min_rows"`         // of a leaf; 20 by default
	MinChild float64 `json:"min_child_weight"` // sum of second derivatives in a leaf; 0.001 by default
	MinGain  float64 `json:"min_gain"`         // 0 by default
	// Growth: "leaf" splits the leaf that gains most, "depth" one level after the other.
	Growth string `json:"growth"`
	// Rows and Columns are the shares of rows and features that a tree sees; 1 by default.
	Rows    float64 `json:"row_share"`
	Columns float64 `json:"column_share"`
	// PositiveWeight multiplies the weight of positive rows; 1 by default.
	PositiveWeight float64 `json:"positive_weight"`
	// Patience: training ends, and the best number of trees is kept, when as many trees in
	// a row have not lowered the loss of a tenth of the rows that is kept back. 0: never.
	Patience int `json:"early_stopping"`
	// Monotone are directions by feature's name, for a schema that is made of a table.
	Monotone map[string]trees.Direction `json:"monotone,omitempty"`
}

// The ways of growth.
const (
	LeafWise  = "leaf"
	DepthWise = "depth"
)

func (o *BoostOptions) check() error {
	fill(&o.Trees, 200)
	fill(&o.Leaves, 31)
	fill(&o.Depth, 32)
	fill(&o.Rate, 0.1)
	fill(&o.MinRows, 20)
	fill(&o.MinChild, 1e-3)
	fill(&o.Growth, LeafWise)
	fill(&o.Rows, 1)
	fill(&o.Columns, 1)
	fill(&o.PositiveWeight, 1)
	share := func(x float64) bool { return x > 0 && x <= 1 }
	finite := func(x float64) bool { return x >= 0 && !math.IsInf(x, 1) }
	switch {
	case o.Trees < 1 || o.Trees > trees.MaxTrees:
		return ErrOptions.With("there may be 1 to %d boosted trees, not %d", trees.MaxTrees, o.Trees)
	case o.Leaves < 2 || o.Leaves > trees.MaxLeaves:
		return ErrOptions.With("a tree may have 2 to %d leaves, not %d", trees.MaxLeaves, o.Leaves)
	case o.Trees*(o.Leaves-1) > trees.MaxSplits:
		return ErrOptions.With("%d trees of %d leaves have more than the %d splits that a scorer loads", o.Trees, o.Leaves, trees.MaxSplits)
	case o.Depth < 1 || o.Depth > trees.MaxDepth:
		return ErrOptions.With("a tree may be 1 to %d deep, not %d", trees.MaxDepth, o.Depth)
	case !finite(o.Rate), !finite(o.L2), o.MinRows < 1, !finite(o.MinChild), !finite(o.MinGain), !finite(o.PositiveWeight), o.Patience < 0:
		return ErrOptions.With("learning rate, L2, minima, weight and patience are not negative")
	case !share(o.Rows) || !share(o.Columns):
		return ErrOptions.With("shares of rows and columns are above 0 and at most 1")
	case o.Growth != LeafWise && o.Growth != DepthWise:
		return ErrOptions.With("growth is %q; choose %s or %s", o.Growth, LeafWise, DepthWise)
	}
	return nil
}

func fill[T comparable](to *T, otherwise T) {
	var zero T
	if *to == zero {
		*to = otherwise
	}
}

// TrainBoosted boosts trees for the logistic loss (Friedman 2001; histograms and
// leaf-wise growth as in LightGBM, Ke et al. 2017): each tree is fitted to the first
// and second derivatives, a leaf is -G/(H+L2) times the learning rate, and a split
// gains what it lowers the second-order loss. Missing values are tried on both sides.
// Features that the schema declares monotone bound the leaves on both sides of a split by the middle of the two.
// Rows without a label are left out.
func TrainBoosted(ctx context.Context, m *Matrix, labels []int8, schema Schema, o BoostOptions, seed uint64, progress func(int)) (*Boosted, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b, err := bin(ctx, m)
	if err != nil {
		return nil, err
	}
	var train, keep []int
	for i, l := range labels {
		if l >= 0 {
			train = append(train, i)
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	if o.Patience > 0 {
		train, keep = divide(rng, labels, train, 0.1)
	}
	t := &booster{o: o, b: b, directions: schema.Directions(), gradient: make([]float64, m.Rows), hessian: make([]float64, m.Rows), labels: labels}
	out := &Boosted{Features: schema.Names(), Compare: AtMost}
	positive, all := 0.0, 0.0
	for _, i := range train {
		w := t.weight(i)
		all += w
		positive += w * float64(labels[i])
	}
	if positive == 0 || positive == all {
		return nil, ErrLabels.With("all rows that are trained on are of one class")
	}
	out.Base = math.Log(positive / (all - positive))
	margins := make([]float64, m.Rows)
	for i := range margins {
		margins[i] = out.Base
	}
	best, bestTrees := math.Inf(1), 0
	for n := 1; n <= o.Trees; n++ {
		rows := train
		if o.Rows < 1 {
			k := max(1, int(o.Rows*float64(len(train))))
			rows = pick(train, sample(rng, len(train), k))
		}
		features := sample(rng, len(schema), max(1, int(math.Ceil(o.Columns*float64(len(schema))))))
		for _, i := range rows {
			p := 1 / (1 + math.Exp(-margins[i]))
			w := t.weight(i)
			t.gradient[i] = w * (p - float64(labels[i]))
			t.hessian[i] = w * p * (1 - p)
		}
		tree, err := t.grow(ctx, rows, features)
		if err != nil {
			return nil, err
		}
		out.Trees = append(out.Trees, tree)
		t.advance(tree, train, margins)
		if progress != nil {
			progress(1)
		}
		if o.Patience == 0 {
			continue
		}
		t.advance(tree, keep, margins)
		loss := 0.0
		for _, i := range keep {
			loss += logistic(margins[i], labels[i]) * t.weight(i)
		}
		if loss < best {
			best, bestTrees = loss, n
		} else if n-bestTrees >= o.Patience {
			break
		}
	}
	if o.Patience > 0 {
		out.Trees = out.Trees[:bestTrees]
	}
	return out, nil
}

// logistic is the loss of a margin: ln(1+e^m) - y·m, written so that it does not
// overflow.
func logistic(m float64, label int8) float64 {
	return max(m, 0) + math.Log1p(math.Exp(-math.Abs(m))) - m*float64(label)
}

// booster grows trees.
type booster struct {
	o                 BoostOptions
	b                 *binned
	directions        []trees.Direction
	labels            []int8
	gradient, hessian []float64 // by row
	free              [][]sums  // histograms that are not in use
}

func (t *booster) weight(row int) float64 {
	if t.labels[row] == 1 {
		return t.o.PositiveWeight
	}
	return 1
}

// sums are the derivatives and rows of a bin or a leaf.
type sums struct {
	g, h float64
	n    int
}

func (s sums) plus(x sums) sums  { return sums{s.g + x.g, s.h + x.h, s.n + x.n} }
func (s sums) minus(x sums) sums { return sums{s.g - x.g, s.h - x.h, s.n - x.n} }

// candidate is the best split of a leaf; gain 0 where there is none.
type candidate struct {
	gain        float64
	feature     int
	bin         int // the last that goes left
	defaultLeft bool
	left, right sums
}

// leaf is a leaf of the tree that is grown.
type leaf struct {
	node      int
	depth     int
	rows      []int
	total     sums
	low, high float64 // what monotone splits above allow
	histogram []sums
	best      candidate
}

func (t *booster) value(s sums, low, high float64) float64 {
	return min(max(-s.g/(s.h+t.o.L2), low), high)
}

// loss is the second-order loss of a leaf's value.
func (t *booster) loss(s sums, v float64) float64 { return s.g*v + (s.h+t.o.L2)*v*v/2 }

const slot = maxBins + 1

func (t *booster) grow(ctx context.Context, rows, features []int) (Tree, error) {
	root := &leaf{rows: slices.Clone(rows), low: math.Inf(-1), high: math.Inf(1)}
	for _, i := range rows {
		root.total = root.total.plus(sums{t.gradient[i], t.hessian[i], 1})
	}
	if err := t.fill(ctx, root, features, nil, nil); err != nil {
		return nil, err
	}
	tree := Tree{{}}
	open := []*leaf{root}
	for leaves := 1; leaves < t.o.Leaves; leaves++ {
		at := t.next(open)
		if at < 0 {
			break
		}
		parent := open[at]
		open = slices.Delete(open, at, at+1)
		c := parent.best
		left := &leaf{node: len(tree), depth: parent.depth + 1, total: c.left, low: parent.low, high: parent.high}
		right := &leaf{node: len(tree) + 1, depth: parent.depth + 1, total: c.right, low: parent.low, high: parent.high}
		if d := t.directions[c.feature]; d != trees.Free {
			middle := (t.value(c.left, parent.low, parent.high) + t.value(c.right, parent.low, parent.high)) / 2
			if d == trees.Increasing {
				left.high, right.low = middle, middle
			} else {
				left.low, right.high = middle, middle
			}
		}
		bins := t.b.bins[c.feature]
		for _, i := range parent.rows {
			if b := int(bins[i]); b == missingBin && c.defaultLeft || b <= c.bin {
				left.rows = append(left.rows, i)
			} else {
				right.rows = append(right.rows, i)
			}
		}
		tree[parent.node] = Node{
			Feature: c.feature, Threshold: t.b.thresholds[c.feature][c.bin], Left: left.node, Right: right.node,
			DefaultLeft: c.defaultLeft, Cover: float64(parent.total.n),
		}
		tree = append(tree, Node{}, Node{})
		small, large := left, right
		if len(small.rows) > len(large.rows) {
			small, large = large, small
		}
		if err := t.fill(ctx, small, features, nil, nil); err != nil {
			return nil, err
		}
		if err := t.fill(ctx, large, features, parent.histogram, small.histogram); err != nil {
			return nil, err
		}
		open = append(open, left, right)
	}
	for _, l := range open {
		tree[l.node].Value = t.o.Rate * t.value(l.total, l.low, l.high)
		tree[l.node].Cover = float64(l.total.n)
		t.free = append(t.free, l.histogram)
	}
	return tree, nil
}

// next is the open leaf that is split next, -1 where none can be.
func (t *booster) next(open []*leaf) int {
	at := -1
	for i, l := range open {
		if l.best.gain <= t.o.MinGain || l.depth >= t.o.Depth {
			continue
		}
		if at < 0 || t.o.Growth == LeafWise && l.best.gain > open[at].best.gain || t.o.Growth == DepthWise && l.depth < open[at].depth {
			at = i
		}
	}
	return at
}

// fill makes a leaf's histogram, from its rows or as its parent's less its sibling's,
// and finds its best split.
func (t *booster) fill(ctx context.Context, l *leaf, features []int, parent, sibling []sums) error {
	size := len(t.b.bins) * slot
	switch {
	case parent != nil:
		l.histogram = parent
	case len(t.free) > 0:
		l.histogram = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	default:
		l.histogram = make([]sums, size)
	}
	found := make([]candidate, len(features))
	work := func(k int) {
		j := features[k]
		h := l.histogram[j*slot : (j+1)*slot]
		if parent != nil {
			for b, s := range sibling[j*slot : (j+1)*slot] {
				h[b] = h[b].minus(s)
			}
		} else {
			clear(h)
			bins := t.b.bins[j]
			for _, i := range l.rows {
				s := &h[bins[i]]
				s.g += t.gradient[i]
				s.h += t.hessian[i]
				s.n++
			}
		}
		found[k] = t.best(l, j, h)
	}
	// A small leaf is not worth the cores.
	if len(l.rows)*len(features) < 1<<14 {
		for k := range features {
			work(k)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	} else if err := parallel(ctx, len(features), work); err != nil {
		return err
	}
	for _, c := range found {
		if c.gain > l.best.gain {
			l.best = c
		}
	}
	return nil
}

// best is the best split of a leaf on a feature.
func (t *booster) best(l *leaf, feature int, h []sums) candidate {
	var out candidate
	n := len(t.b.thresholds[feature])
	missing := h[missingBin]
	before := t.loss(l.total, t.value(l.total, l.low, l.high))
	for _, missingLeft := range [2]bool{false, true} {
		if missingLeft && missing.n == 0 {
			break
		}
		var left sums
		if missingLeft {
			left = missing
		}
		for b := range n {
			left = left.plus(h[b])
			if h[b].n == 0 && b > 0 {
				continue
			}
			right := l.total.minus(left)
			if left.n < t.o.MinRows || left.h < t.o.MinChild {
				continue
			}
			if right.n < t.o.MinRows || right.h < t.o.MinChild {
				break
			}
			v, w := t.value(left, l.low, l.high), t.value(right, l.low, l.high)
			if d := t.directions[feature]; d == trees.Increasing && v > w || d == trees.Decreasing && v < w {
				continue
			}
			gain := before - t.loss(left, v) - t.loss(right, w)
			if gain > out.gain {
				out = candidate{gain: gain, feature: feature, bin: b, defaultLeft: missingLeft || missing.n == 0 && left.n > right.n, left: left, right: right}
			}
		}
	}
	return out
}

// advance adds a tree's leaves to the margins of rows.
func (t *booster) advance(tree Tree, rows []int, margins []float64) {
	for _, i := range rows {
		n := &tree[0]
		for !n.leaf() {
			b := int(t.b.bins[n.Feature][i])
			left := n.DefaultLeft
			if b != missingBin {
				// A bin lies left where its upper threshold is at most the split's.
				left = b < len(t.b.thresholds[n.Feature]) && t.b.thresholds[n.Feature][b] <= n.Threshold
			}
			if left {
				n = &tree[n.Left]
			} else {
				n = &tree[n.Right]
			}
		}
		margins[i] += n.Value
	}
}
