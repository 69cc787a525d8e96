package model

import (
	"cmp"
	"math"
	"slices"
)

// Rates at which recall is reported: shares of negatives that are flagged.
var falsePositiveRates = []float64{0.001, 0.01, 0.05}

// Metrics says how well scores separate two classes. Rows of one score stand or fall
// together.
type Metrics struct {
	Positives int     `json:"positives"`
	Negatives int     `json:"negatives"`
	ROC       float64 `json:"roc_auc"`
	PR        float64 `json:"pr_auc"` // average precision: Σ (R_n - R_(n-1)) P_n
	// Recall at the largest threshold set that flags at most 0.1 %, 1 % and 5 % of negatives.
	Recall001 float64 `json:"recall_at_fpr_0.1%"`
	Recall01  float64 `json:"recall_at_fpr_1%"`
	Recall05  float64 `json:"recall_at_fpr_5%"`
}

// Point is what a threshold gives.
type Point struct {
	Score     float64
	FPR, TPR  float64 // TPR is the recall
	Precision float64
}

// Curve is the points of all thresholds from the highest score to the lowest.
func Curve(scores []float64, labels []int8) []Point {
	type row struct {
		score float64
		label int8
	}
	var rows []row
	positives, negatives := 0, 0
	for i, s := range scores {
		switch labels[i] {
		case 1:
			positives++
		case 0:
			negatives++
		default:
			continue
		}
		rows = append(rows, row{s, labels[i]})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(b.score, a.score) })
	var out []Point
	tp, fp := 0, 0
	for i := 0; i < len(rows); {
		score := rows[i].score
		for ; i < len(rows) && rows[i].score == score; i++ {
			if rows[i].label == 1 {
				tp++
			} else {
				fp++
			}
		}
		out = append(out, Point{
			Score: score, FPR: ratio(fp, negatives), TPR: ratio(tp, positives), Precision: ratio(tp, tp+fp),
		})
	}
	return out
}

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// Measure computes the metrics; rows without a label are left out.
func Measure(scores []float64, labels []int8) Metrics {
	var m Metrics
	for _, l := range labels {
		switch l {
		case 1:
			m.Positives++
		case 0:
			m.Negatives++
		}
	}
	recalls := make([]float64, len(falsePositiveRates))
	var before Point
	for _, p := range Curve(scores, labels) {
		m.ROC += (p.FPR - before.FPR) * (p.TPR + before.TPR) / 2
		m.PR += (p.TPR - before.TPR) * p.Precision
		for i, rate := range falsePositiveRates {
			if p.FPR <= rate {
				recalls[i] = p.TPR
			}
		}
		before = p
	}
	m.Recall001, m.Recall01, m.Recall05 = recalls[0], recalls[1], recalls[2]
	return m
}

// ThresholdAt is the least score that flags at most a share of the negatives.
func ThresholdAt(scores []float64, labels []int8, rate float64) (float64, bool) {
	best, ok := 0.0, false
	for _, p := range Curve(scores, labels) {
		if p.FPR > rate {
			break
		}
		best, ok = p.Score, true
	}
	return best, ok
}

// spread is the mean of values and their standard deviation.
func spread(values []float64) (mean, deviation float64) {
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		deviation += (v - mean) * (v - mean) / float64(len(values))
	}
	return mean, math.Sqrt(deviation)
}
