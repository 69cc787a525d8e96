package model

import (
	"context"
	"math"
	"slices"
	"sort"
)

// maxBins is how many bins a feature has at most, besides the one of missing values.
const maxBins = 255

// missingBin is the bin of missing values.
const missingBin = maxBins

// binned is a matrix in bins: bin b of a feature holds the values above threshold b-1
// and at most threshold b.
type binned struct {
	rows       int
	bins       [][]uint8 // by feature and then row
	thresholds [][]float64
	missing    []bool // whether the feature lacks a value in any row
}

// bin puts a matrix into bins: between neighbouring values where a feature has few, else
// by quantiles of the rows.
func bin(ctx context.Context, m *Matrix) (*binned, error) {
	b := &binned{rows: m.Rows, bins: make([][]uint8, len(m.Floats)), thresholds: make([][]float64, len(m.Floats)), missing: make([]bool, len(m.Floats))}
	return b, parallel(ctx, len(m.Floats), func(j int) {
		values := m.Floats[j]
		sorted := make([]float64, 0, len(values))
		for _, x := range values {
			if !math.IsNaN(x) {
				sorted = append(sorted, x)
			}
		}
		b.missing[j] = len(sorted) < len(values)
		slices.Sort(sorted)
		t := cuts(sorted)
		b.thresholds[j] = t
		bins := make([]uint8, len(values))
		for i, x := range values {
			if math.IsNaN(x) {
				bins[i] = missingBin
			} else {
				bins[i] = uint8(sort.SearchFloat64s(t, x))
			}
		}
		b.bins[j] = bins
	})
}

// cuts are the thresholds between the bins of sorted values, at most maxBins-1.
func cuts(sorted []float64) []float64 {
	distinct := slices.Compact(slices.Clone(sorted))
	var out []float64
	if len(distinct) <= maxBins {
		for i := 1; i < len(distinct); i++ {
			out = append(out, between(distinct[i-1], distinct[i]))
		}
		return out
	}
	for k := 1; k < maxBins; k++ {
		at := k * len(sorted) / maxBins
		// The threshold lies below the first value of the quantile's own kind.
		first := sort.SearchFloat64s(sorted, sorted[at])
		if first == 0 {
			continue
		}
		out = append(out, between(sorted[first-1], sorted[first]))
	}
	return slices.Compact(out)
}

// between is the middle of two values, at least a and below b.
func between(a, b float64) float64 {
	m := a/2 + b/2
	if m < a || m >= b {
		return a
	}
	return m
}
