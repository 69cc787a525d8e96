package model

import (
	"math"
	"time"

	"github.com/chancery/chancery/modules/threat/artifact"
)

// The parts of a model that are measured.
const (
	PartBoosted = "boosted"
	PartForest  = "forest"
	PartModel   = "model" // the score 0 to 10000 of all parts together
)

// Assessment is how one part of a model did on a table.
type Assessment struct {
	Part    string  `json:"part"`
	Metrics Metrics `json:"metrics"`
	// Float is how the float parent did, and Difference the largest difference between its
	// margin and the integer one. nil where there is no parent at hand.
	Float      *Metrics `json:"float,omitempty"`
	Difference *float64 `json:"max_margin_difference,omitempty"`
}

// Parents are a model's parts in floats, where they are at hand.
type Parents struct {
	Boosted *Boosted
	Forest  *Forest
}

// Scores are what a model and its parents say of the rows of a matrix.
type Scores struct {
	Model                     []float64 // 0 to 10000
	Boosted, Forest           []float64 // margins; nil where the model lacks the part
	FloatBoosted, FloatForest []float64
	Work                      uint64        // units of all rows
	Elapsed                   time.Duration // that a core worked, for the integer model alone
}

// Score scores every row of a matrix, one after the other on one core.
func Score(m *artifact.Model, parents Parents, x *Matrix) (*Scores, error) {
	s := &Scores{Model: make([]float64, x.Rows)}
	results := make([]artifact.Result, x.Rows)
	stop := stopwatch()
	for i, row := range x.Ints {
		r, err := m.Score(row)
		if err != nil {
			return nil, ErrInvalid.Wrap(err)
		}
		results[i] = r
	}
	s.Elapsed = stop()
	for i, r := range results {
		s.Model[i] = float64(r.Score)
		s.Work += uint64(r.Work)
		if m.Boosted() != nil {
			s.Boosted = append(s.Boosted, float64(r.Boosted.Margin)/q16)
		}
		if m.Forest() != nil {
			s.Forest = append(s.Forest, float64(r.Forest.Margin)/q16)
		}
	}
	var row []float64
	for i := range x.Rows {
		row = x.Row(i, row)
		if parents.Boosted != nil {
			s.FloatBoosted = append(s.FloatBoosted, parents.Boosted.Margin(row))
		}
		if parents.Forest != nil {
			s.FloatForest = append(s.FloatForest, parents.Forest.Margin(row))
		}
	}
	return s, nil
}

// Assess measures scores against labels.
func (s *Scores) Assess(labels []int8) []Assessment {
	var out []Assessment
	add := func(part string, scores, float []float64) {
		if scores == nil {
			return
		}
		a := Assessment{Part: part, Metrics: Measure(scores, labels)}
		if float != nil {
			m := Measure(float, labels)
			d := difference(scores, float)
			a.Float, a.Difference = &m, &d
		}
		out = append(out, a)
	}
	add(PartBoosted, s.Boosted, s.FloatBoosted)
	add(PartForest, s.Forest, s.FloatForest)
	add(PartModel, s.Model, nil)
	return out
}

func difference(a, b []float64) float64 {
	most := 0.0
	for i := range a {
		most = max(most, math.Abs(a[i]-b[i]))
	}
	return most
}
