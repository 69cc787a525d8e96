package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// curves are the areas under the ROC curve and under the curve of precision over recall.
type curves struct{ roc, pr float64 }

// areas measures scores, high for anomalies. Equal scores are one point of either curve; the area under precision is
// the sum of precision times gain of recall (average precision).
func areas(scores []int64, anomalous []bool) curves {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	var positives, negatives float64
	for _, a := range anomalous {
		if a {
			positives++
		} else {
			negatives++
		}
	}
	var hits, alarms, roc, pr float64
	for i := 0; i < len(order); {
		var p, n float64
		for first := scores[order[i]]; i < len(order) && scores[order[i]] == first; i++ {
			if anomalous[order[i]] {
				p++
			} else {
				n++
			}
		}
		roc += n * (hits + p/2)
		hits, alarms = hits+p, alarms+n
		if hits+alarms > 0 {
			pr += p * hits / (hits + alarms)
		}
	}
	return curves{roc / (positives * negatives), pr / positives}
}

// spread is a sample of measurements.
type spread []float64

func (s *spread) add(x float64) { *s = append(*s, x) }

func (s spread) mean() float64 {
	var sum float64
	for _, x := range s {
		sum += x
	}
	return sum / float64(len(s))
}

// String is the mean and the standard deviation.
func (s spread) String() string {
	mean := s.mean()
	var squares float64
	for _, x := range s {
		squares += (x - mean) * (x - mean)
	}
	return fmt.Sprintf("%.4f ± %.4f", mean, math.Sqrt(squares/float64(len(s))))
}
