package trees

import "fmt"

// MaxSamples is the most rows that a tree of a forest may have been grown from.
const MaxSamples = 1024

// IsolationTree is a tree as Tree has it, with the number of training rows that ended in
// each leaf. The Expected of its splits is not read.
type IsolationTree struct {
	Splits []Split
	Sizes  []uint32
}

// NewForest makes the ensemble of an isolation forest whose trees were each grown from
// some rows. Its margin is trees·c(samples) less the sum of a row's paths, Q16.
func NewForest(features int, samples uint32, all []IsolationTree) (*Ensemble, error) {
	if samples < 1 || samples > MaxSamples {
		return nil, invalid("a tree was grown from %d rows; 1 to %d are allowed", samples, MaxSamples)
	}
	if len(all) < 1 || len(all) > MaxTrees {
		return nil, invalid("there are %d trees; 1 to %d are allowed", len(all), MaxTrees)
	}
	built := make([]Tree, len(all))
	for i, t := range all {
		x, err := paths(features, samples, t)
		if err != nil {
			return nil, invalid("tree %d: %v", i, err)
		}
		built[i] = x
	}
	return New(features, int64(len(all))*int64(meanPath[samples]), built)
}

// paths is an isolation tree with its leaves as negated paths, and its splits' means.
func paths(features int, samples uint32, t IsolationTree) (Tree, error) {
	n := len(t.Splits)
	if len(t.Sizes) != n+1 || n >= MaxLeaves {
		return Tree{}, fmt.Errorf("%d splits have %d leaves; at most %d leaves are allowed", n, len(t.Sizes), MaxLeaves)
	}
	out := Tree{Splits: make([]Split, n), Leaves: make([]int32, n+1)}
	copy(out.Splits, t.Splits)
	depths, err := depthsOf(out, features)
	if err != nil {
		return Tree{}, err
	}
	total := uint64(0)
	for i, size := range t.Sizes {
		if size < 1 || size > samples {
			return Tree{}, fmt.Errorf("leaf %d holds %d of %d rows", i, size, samples)
		}
		total += uint64(size)
		out.Leaves[i] = -meanPath[size]
	}
	if total != uint64(samples) {
		return Tree{}, fmt.Errorf("the leaves hold %d of %d rows", total, samples)
	}
	for i, s := range out.Splits {
		for _, child := range [2]int32{s.Left, s.Right} {
			if child < 0 {
				out.Leaves[-1-child] -= int32(depths[i]+1) << 16
			}
		}
	}
	// Children are behind their parents, so backwards every child is known before its parent.
	rows, sums := make([]int64, n), make([]int64, n)
	for i := n - 1; i >= 0; i-- {
		s := &out.Splits[i]
		for _, child := range [2]int32{s.Left, s.Right} {
			if child < 0 {
				size := int64(t.Sizes[-1-child])
				rows[i] += size
				sums[i] += size * int64(out.Leaves[-1-child])
			} else {
				rows[i] += rows[child]
				sums[i] += sums[child]
			}
		}
		s.Expected = int32(sums[i] / rows[i]) // towards zero
	}
	return out, nil
}
