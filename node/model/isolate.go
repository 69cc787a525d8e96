package model

import (
	"context"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/chancery/chancery/modules/threat/trees"
)

// ForestOptions are the options of an isolation forest.
type ForestOptions struct {
	Trees   int `json:"trees"`   // 100 by default
	Samples int `json:"samples"` // rows of each tree; 256 by default
}

func (o *ForestOptions) check() error {
	if o.Trees == 0 {
		o.Trees = 100
	}
	if o.Samples == 0 {
		o.Samples = 256
	}
	switch {
	case o.Trees < 1 || o.Trees > trees.MaxTrees:
		return ErrOptions.With("a forest has 1 to %d trees, not %d", trees.MaxTrees, o.Trees)
	case o.Samples < 2 || o.Samples > trees.MaxSamples:
		return ErrOptions.With("a tree is grown from 2 to %d rows, not %d", trees.MaxSamples, o.Samples)
	}
	return nil
}

// TrainForest grows an isolation forest: each tree from a sample of the rows without
// replacement, to the depth ⌈log2 samples⌉; a split takes a feature at random among
// those that still differ, and a threshold at random between their least and largest
// value. A missing value goes to the side of more rows. Each tree draws from a
// generator of its own, so that the number of cores changes nothing.
func TrainForest(ctx context.Context, m *Matrix, o ForestOptions, seed uint64, progress func(int)) (*Forest, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	samples := min(o.Samples, m.Rows)
	f := &Forest{Samples: samples, Trees: make([]Tree, o.Trees)}
	var mu sync.Mutex // progress
	return f, parallel(ctx, o.Trees, func(i int) {
		g := &grower{m: m, rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), deepest: bits.Len(uint(samples - 1))}
		f.Trees[i] = g.grow(samples)
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			progress(1)
		}
	})
}

type grower struct {
	m       *Matrix
	rng     *rand.Rand
	deepest int
	tree    Tree
}

func (g *grower) grow(samples int) Tree {
	g.split(sample(g.rng, g.m.Rows, samples), 0)
	return g.tree
}

// sample draws k of n without replacement.
func sample(rng *rand.Rand, n, k int) []int {
	if k >= n {
		out := make([]int, n)
		for i := range out {
			out[i] = i
		}
		return out
	}
	// Floyd's algorithm, then in order.
	seen := make(map[int]bool, k)
	for i := n - k; i < n; i++ {
		j := rng.IntN(i + 1)
		if seen[j] {
			j = i
		}
		seen[j] = true
	}
	out := make([]int, 0, k)
	for i := range seen {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// split grows the subtree of some rows and returns its index.
func (g *grower) split(rows []int, depth int) int {
	at := len(g.tree)
	g.tree = append(g.tree, Node{Cover: float64(len(rows)), Value: float64(depth) + meanPath(len(rows))})
	if len(rows) < 2 || depth >= g.deepest {
		return at
	}
	feature, low, high := g.choose(rows)
	if feature < 0 {
		return at
	}
	threshold := low + g.rng.Float64()*(high-low)
	if threshold >= high || math.IsInf(high-low, 0) {
		threshold = low
	}
	values := g.m.Floats[feature]
	var left, right, missing []int
	for _, r := range rows {
		switch x := values[r]; {
		case math.IsNaN(x):
			missing = append(missing, r)
		case x <= threshold:
			left = append(left, r)
		default:
			right = append(right, r)
		}
	}
	defaultLeft := len(left) > len(right)
	if defaultLeft {
		left = append(left, missing...)
	} else {
		right = append(right, missing...)
	}
	l := g.split(left, depth+1)
	r := g.split(right, depth+1)
	n := &g.tree[at]
	n.Feature, n.Threshold, n.Left, n.Right, n.DefaultLeft, n.Value = feature, threshold, l, r, defaultLeft, 0
	return at
}

// choose draws a feature among those in which the rows differ; -1 where there is none.
func (g *grower) choose(rows []int) (feature int, low, high float64) {
	n := len(g.m.Floats)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for k := range order {
		j := k + g.rng.IntN(n-k)
		order[k], order[j] = order[j], order[k]
		low, high = math.Inf(1), math.Inf(-1)
		values := g.m.Floats[order[k]]
		for _, r := range rows {
			if x := values[r]; !math.IsNaN(x) {
				low, high = min(low, x), max(high, x)
			}
		}
		if low < high {
			return order[k], low, high
		}
	}
	return -1, 0, 0
}
