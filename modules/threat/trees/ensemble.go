package trees

import (
	"errors"
	"fmt"
	"math"
)

// Missing is the value of a feature that is not known.
const Missing = math.MinInt64

// Bounds of an ensemble.
const (
	MaxFeatures = 1024
	MaxTrees    = 1024
	MaxDepth    = 64
	MaxLeaves   = 4096    // of one tree
	MaxSplits   = 1 << 17 // of all trees together
	MaxBase     = 1 << 40 // magnitude of a base, Q16
	// MaxMargin bounds the magnitude of every margin: MaxBase and a leaf of every tree.
	MaxMargin = MaxBase + MaxTrees<<31
)

// ErrInvalid is wrapped by every refusal of an ensemble.
var ErrInvalid = errors.New("the trees are not usable")

// ErrRow is returned for a row that has not one value per feature.
var ErrRow = errors.New("the row does not have one value per feature")

// Split is an inner node of a tree.
type Split struct {
	Feature uint16
	// Threshold: values of at most this go left. Never Missing.
	Threshold int64
	// Left and Right are children: a split by its index, which is larger than this one's,
	// or leaf i as -1-i.
	Left, Right int32
	// DefaultLeft: where a missing value goes.
	DefaultLeft bool
	// Expected is the mean of the leaves below, weighted with what training saw there, Q16.
	// It lies between the least and the largest of them.
	Expected int32
}

// Tree is a tree of n splits, of which the first is the root, and n+1 leaves; without
// splits the one leaf is the root. Every split but the root and every leaf is the
// child of exactly one split.
type Tree struct {
	Splits []Split
	Leaves []int32 // Q16
}

// step is a Split as scoring reads it. A value v goes left when order(v)-skip <= bound,
// unsigned; skip is 1 where missing goes right, which wraps Missing, the least of all,
// to the largest.
type step struct {
	bound   uint64
	child   [2]int32
	feature uint16
	skip    uint16
}

// Ensemble is a set of trees that was found usable. It is never written after it was
// made, so it may be shared.
type Ensemble struct {
	features int
	trees    int
	constant int64   // the base, and the leaves of trees without splits
	roots    []int32 // of trees with splits
	steps    []step  // of all trees; children are indices here, or leaf i as -1-i
	expected []int32 // of each step
	leaves   []int32
	bias     int64
	maxWork  uint32
	maxDepth int
}

// New makes an ensemble over rows of some features with a base (Q16), or says which
// bound the trees break.
func New(features int, base int64, all []Tree) (*Ensemble, error) {
	switch {
	case features < 1 || features > MaxFeatures:
		return nil, invalid("there are %d features; 1 to %d are allowed", features, MaxFeatures)
	case base < -MaxBase || base > MaxBase:
		return nil, invalid("the base %d is beyond %d", base, int64(MaxBase))
	case len(all) < 1 || len(all) > MaxTrees:
		return nil, invalid("there are %d trees; 1 to %d are allowed", len(all), MaxTrees)
	}
	e := &Ensemble{features: features, trees: len(all), constant: base, bias: base}
	for i, t := range all {
		if err := e.add(t); err != nil {
			return nil, invalid("tree %d: %v", i, err)
		}
	}
	return e, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// add checks a tree and appends it.
func (e *Ensemble) add(t Tree) error {
	n := len(t.Splits)
	switch {
	case len(t.Leaves) != n+1:
		return fmt.Errorf("%d splits have %d leaves", n, len(t.Leaves))
	case len(t.Leaves) > MaxLeaves:
		return fmt.Errorf("there are %d leaves; at most %d are allowed", len(t.Leaves), MaxLeaves)
	case len(e.steps)+n > MaxSplits:
		return fmt.Errorf("there are more than %d splits in all trees", MaxSplits)
	}
	depths, err := depthsOf(t, e.features)
	if err != nil {
		return err
	}
	low, high := rangesOf(t)
	for i, s := range t.Splits {
		if s.Expected < low[i] || s.Expected > high[i] {
			return fmt.Errorf("split %d expects %d, but its leaves are from %d to %d", i, s.Expected, low[i], high[i])
		}
	}
	splits, leaves := int32(len(e.steps)), int32(len(e.leaves))
	place := func(child int32) int32 {
		if child < 0 {
			return child - leaves
		}
		return child + splits
	}
	if n == 0 {
		e.constant += int64(t.Leaves[0])
		e.bias += int64(t.Leaves[0])
		e.maxWork++
		return nil
	}
	e.bias += int64(t.Splits[0].Expected)
	e.roots = append(e.roots, splits)
	deepest := 0
	for i, s := range t.Splits {
		x := step{bound: order(s.Threshold), child: [2]int32{place(s.Left), place(s.Right)}, feature: s.Feature}
		if !s.DefaultLeft {
			x.skip = 1
			x.bound--
		}
		e.steps = append(e.steps, x)
		e.expected = append(e.expected, s.Expected)
		deepest = max(deepest, depths[i]+1)
	}
	e.leaves = append(e.leaves, t.Leaves...)
	e.maxWork += uint32(1 + deepest)
	e.maxDepth = max(e.maxDepth, deepest)
	return nil
}

// order maps integers to unsigned ones in the same order.
func order(v int64) uint64 { return uint64(v) ^ 1<<63 }

// depthsOf checks that the splits form one tree over features, and returns the depth of
// each.
func depthsOf(t Tree, features int) ([]int, error) {
	n := len(t.Splits)
	depths := make([]int, n)
	split, leaf := make([]bool, n), make([]bool, n+1)
	for i, s := range t.Splits {
		switch {
		case int(s.Feature) >= features:
			return nil, fmt.Errorf("split %d is on feature %d of %d", i, s.Feature, features)
		case s.Threshold == Missing:
			return nil, fmt.Errorf("split %d has the missing value as its threshold", i)
		case depths[i] >= MaxDepth:
			return nil, fmt.Errorf("split %d is deeper than %d", i, MaxDepth)
		}
		for _, child := range [2]int32{s.Left, s.Right} {
			// 2n children that are all different, among n-1 splits and n+1 leaves, are all of them.
			if child < 0 {
				j := -1 - int64(child)
				if j > int64(n) || leaf[j] {
					return nil, fmt.Errorf("leaf %d below split %d is not there or has two parents", j, i)
				}
				leaf[j] = true
				continue
			}
			if int(child) <= i || int(child) >= n || split[child] {
				return nil, fmt.Errorf("split %d below split %d is not there, not behind it or has two parents", child, i)
			}
			split[child] = true
			depths[child] = depths[i] + 1
		}
	}
	return depths, nil
}

// rangesOf are the least and the largest leaf below each split of a tree.
func rangesOf(t Tree) (low, high []int32) {
	low, high = make([]int32, len(t.Splits)), make([]int32, len(t.Splits))
	for i := len(t.Splits) - 1; i >= 0; i-- {
		leftLow, leftHigh := below(t, low, high, t.Splits[i].Left)
		rightLow, rightHigh := below(t, low, high, t.Splits[i].Right)
		low[i], high[i] = min(leftLow, rightLow), max(leftHigh, rightHigh)
	}
	return low, high
}

func below(t Tree, low, high []int32, child int32) (int32, int32) {
	if child < 0 {
		leaf := t.Leaves[-1-child]
		return leaf, leaf
	}
	return low[child], high[child]
}

// Features is the length of a row.
func (e *Ensemble) Features() int { return e.features }

// Trees is the number of trees.
func (e *Ensemble) Trees() int { return e.trees }

// Splits is the number of splits of all trees.
func (e *Ensemble) Splits() int { return len(e.steps) }

// Depth is the largest number of splits on a way from a root to a leaf.
func (e *Ensemble) Depth() int { return e.maxDepth }

// MaxWork is the most units that a score can cost.
func (e *Ensemble) MaxWork() uint32 { return e.maxWork }

// Bias is what a row's contributions add up from: the base and the mean of each tree.
func (e *Ensemble) Bias() int64 { return e.bias }
