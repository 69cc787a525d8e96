package model

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/stream/evidence"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Combination says how a combined scorer of rows is trained. The zero value of a field stands for its default.
type Combination struct {
	Boost  BoostOptions // of the boosted trees; the stacked ones differ by their shares of rows and features
	Forest ForestOptions
	Blend  BlendOptions
	Folds  int // parts on which the evidence is fitted; 5 by default
	Seed   uint64
	// Progress is told trees that are grown, of Steps in all.
	Progress func(int)
}

// The shares of rows and features that each stacked tree sees: with fewer than all, its mistakes are others than those
// of the boosted trees.
const (
	stackedRows    = 0.5
	stackedColumns = 0.7
)

func (o *Combination) check() error {
	fill(&o.Folds, 5)
	if o.Folds < 2 || o.Folds > 100 {
		return ErrOptions.With("there may be 2 to 100 folds, not %d", o.Folds)
	}
	if err := o.Boost.check(); err != nil {
		return err
	}
	if err := o.Forest.check(); err != nil {
		return err
	}
	return o.Blend.check()
}

// Steps is how many trees the training grows in all.
func (o *Combination) Steps() int {
	c := *o
	if c.check() != nil {
		return 0
	}
	return (c.Folds+1)*(2*c.Boost.Trees+c.Forest.Trees) + c.Boost.Trees
}

func (o *Combination) training(schema Schema) Training {
	return Training{Name: PartCombined, Kind: KindBoth, Boost: o.Boost, Forest: o.Forest, Schema: schema, Progress: o.Progress}
}

func (o *Combination) stacked() BoostOptions {
	b := o.Boost
	b.Rows, b.Columns = stackedRows, stackedColumns
	return b
}

// Combined is a scorer of rows that adds up the evidence of its parts and of trees that are stacked on them. Scoring
// uses integers alone.
type Combined struct {
	Fit, BlendFit BlendFit
	schema        Schema
	parts         *parts
	stacked       *artifact.Model
	twin          *artifact.Model // for comparison alone
	sum, blend    *evidence.Sum
}

// Combine trains a combined scorer:
//
//  1. Boosted trees (by the labels), an isolation forest, half-space trees and profiles (without) are trained on all
//     folds but one, and say what they think of that one, for each fold in turn.
//  2. Boosted trees are stacked on the features and what the parts without labels said (Zhao and Hryniewicki, "XGBOD",
//     2018), again on all folds but one, and say what they think of that one.
//  3. The evidence of what was said out of fold is fitted (FitBlend).
//  4. All parts, and the stacked trees over what was said out of fold, are trained on all rows.
func Combine(ctx context.Context, t *Table, o Combination) (*Combined, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := t.Labelled(); err != nil {
		return nil, err
	}
	if positive, negative := t.Positives(); min(positive, negative) < 2*o.Folds {
		return nil, ErrLabels.With("%d rows are positive and %d negative; %d folds need %d of both", positive, negative, o.Folds, 2*o.Folds)
	}
	schema, err := t.Schema()
	if err != nil {
		return nil, err
	}
	if err := schema.direct(o.Boost.Monotone); err != nil {
		return nil, err
	}
	o.Boost.Monotone = nil
	c := &Combined{schema: schema}
	training := o.training(schema)
	groups := folds(rand.New(rand.NewPCG(o.Seed, 1<<33)), t.Labels, all(t.Rows), o.Folds)
	said := make([][partCount]int64, t.Rows)
	for g, back := range groups {
		p, _, err := trainParts(ctx, t.Select(without(all(t.Rows), back)), training, o.Seed+1+uint64(g))
		if err != nil {
			return nil, err
		}
		m, err := schema.Apply(t.Select(back))
		if err != nil {
			return nil, err
		}
		for i, r := range back {
			if _, err := p.values(m.Ints[i], &said[r]); err != nil {
				return nil, err
			}
		}
	}
	m, err := schema.Apply(t)
	if err != nil {
		return nil, err
	}
	over, wide := m.withParts(said), schema.withParts()
	rows := BlendRows{Parts: slices.Concat(named[:], []string{PartStacked}), Odds: []bool{true, false, false, false, true}, Labels: t.Labels, Values: make([][]int64, t.Rows)}
	for g, back := range groups {
		stay := without(all(t.Rows), back)
		s, err := o.stack(ctx, over.pick(stay), pick(t.Labels, stay), wide, uint64(g))
		if err != nil {
			return nil, err
		}
		for _, r := range back {
			x, err := s.Score(over.Ints[r])
			if err != nil {
				return nil, ErrInvalid.Wrap(err)
			}
			rows.Values[r] = append(said[r][:], x.Boosted.Margin)
		}
	}
	if c.sum, c.Fit, err = fitted16(rows, o.Blend); err != nil {
		return nil, err
	}
	narrow := BlendRows{Parts: named[:], Odds: rows.Odds[:partCount], Labels: t.Labels}
	for i := range said {
		narrow.Values = append(narrow.Values, said[i][:])
	}
	if c.blend, c.BlendFit, err = fitted16(narrow, o.Blend); err != nil {
		return nil, err
	}
	if c.parts, _, err = trainParts(ctx, t, training, o.Seed); err != nil {
		return nil, err
	}
	if c.stacked, err = o.stack(ctx, over, t.Labels, wide, uint64(o.Folds)); err != nil {
		return nil, err
	}
	c.twin, err = o.stack(ctx, m, t.Labels, schema, uint64(o.Folds))
	return c, err
}

// fitted16 is the sum of evidence that a fit gives.
func fitted16(r BlendRows, o BlendOptions) (*evidence.Sum, BlendFit, error) {
	s, fit, err := FitBlend(r, o)
	if err != nil {
		return nil, fit, err
	}
	sum, err := evidence.New(s)
	if err != nil {
		return nil, fit, ErrBounds.Wrap(err)
	}
	return sum, fit, nil
}

// stack boosts trees over the features of a matrix.
func (o *Combination) stack(ctx context.Context, m *Matrix, labels []int8, schema Schema, seed uint64) (*artifact.Model, error) {
	b, err := TrainBoosted(ctx, m, labels, schema, o.stacked(), o.Seed+1<<32+seed, o.Progress)
	if err != nil {
		return nil, err
	}
	message := &threatv1.Model{Format: artifact.Format, Name: PartStacked, Features: schema}
	if message.Boosted, err = b.Quantise(schema); err != nil {
		return nil, err
	}
	_, out, err := Seal(message)
	return out, err
}

// withParts is a schema with what the parts without labels say as further features.
func (s Schema) withParts() Schema {
	out := slices.Clone(s)
	for _, name := range named[1:] {
		out = append(out, &threatv1.Feature{Name: "part=" + name})
	}
	return out
}

// withParts is a matrix with what the parts without labels said as further features.
func (m *Matrix) withParts(said [][partCount]int64) *Matrix {
	out := &Matrix{Rows: m.Rows, Ints: make([][]int64, m.Rows), Floats: slices.Clone(m.Floats)}
	for k := 1; k < partCount; k++ {
		column := make([]float64, m.Rows)
		for i := range column {
			column[i] = float64(said[i][k])
		}
		out.Floats = append(out.Floats, column)
	}
	for i, row := range m.Ints {
		out.Ints[i] = slices.Concat(row, said[i][1:])
	}
	return out
}

// pick is the matrix of some rows.
func (m *Matrix) pick(rows []int) *Matrix {
	out := &Matrix{Rows: len(rows), Ints: pick(m.Ints, rows)}
	for _, c := range m.Floats {
		out.Floats = append(out.Floats, pick(c, rows))
	}
	return out
}

// Schema is the features of a row.
func (c *Combined) Schema() Schema { return c.schema }

// Evidence is how the parts are added up: in the order boosted, forest, half-space, profile, stacked.
func (c *Combined) Evidence() evidence.Settings { return c.sum.Settings() }

// Scratch is what scoring a row needs; one for each goroutine.
type Scratch struct {
	wide   []int64
	said   [partCount]int64
	values [partCount + 1]int64
	work   uint32 // units of the trees for the last row
}

// Scratch is made once and used for any number of rows.
func (c *Combined) Scratch() *Scratch { return &Scratch{wide: make([]int64, 0, c.stacked.Features())} }

var everyone = []bool{true, true, true, true, true}

// Score scores a row. It allocates nothing, and fails for a row of another length alone.
func (c *Combined) Score(row []int64, s *Scratch) (evidence.Result, error) {
	var err error
	if s.work, err = c.parts.values(row, &s.said); err != nil {
		return evidence.Result{}, err
	}
	s.wide = append(append(s.wide[:0], row...), s.said[1:]...)
	x, err := c.stacked.Score(s.wide)
	if err != nil {
		return evidence.Result{}, ErrInvalid.Wrap(err)
	}
	copy(s.values[:], s.said[:])
	s.values[partCount] = x.Boosted.Margin
	s.work += x.Work
	return c.sum.Combine(s.values[:], everyone), nil
}

// Evaluate measures every part, and the combined score from 0 to 10000, on a labelled table. Micros is microseconds per
// combined score with all its parts, on one core; Work counts units of the trees, and cells, logarithms and knots at
// most.
func (c *Combined) Evaluate(on string, t *Table) (Measured, error) {
	out := Measured{On: on, Runs: 1}
	if err := t.Labelled(); err != nil {
		return out, err
	}
	m, err := c.schema.Apply(t)
	if err != nil {
		return out, err
	}
	s := c.Scratch()
	scores := make([]uint16, m.Rows)
	stop := stopwatch()
	for i, row := range m.Ints {
		r, err := c.Score(row, s)
		if err != nil {
			return out, err
		}
		scores[i] = r.Score
	}
	out.Micros = float64(stop()) / float64(time.Microsecond) / float64(m.Rows)
	names := slices.Concat(named[:], []string{PartStacked, PartBlend, PartCombined, PartTwice})
	lists := make([][]float64, len(names))
	for i, row := range m.Ints {
		if _, err := c.Score(row, s); err != nil {
			return out, err
		}
		out.Work += (float64(s.work) + float64(c.parts.half.Reads()+uint64(len(row))+c.sum.Work())) / float64(m.Rows)
		twin, err := c.twin.Score(row)
		if err != nil {
			return out, ErrInvalid.Wrap(err)
		}
		for k, v := range s.values {
			lists[k] = append(lists[k], float64(v))
		}
		lists[partCount+1] = append(lists[partCount+1], float64(c.blend.Combine(s.said[:], everyone).Score))
		lists[partCount+2] = append(lists[partCount+2], float64(scores[i]))
		lists[partCount+3] = append(lists[partCount+3], float64(s.values[0]+twin.Boosted.Margin))
	}
	for k, name := range names {
		out.Parts = append(out.Parts, Assessment{Part: name, Metrics: Measure(lists[k], t.Labels)})
		out.Roc, out.Pr, out.Ranking = append(out.Roc, 0), append(out.Pr, 0), append(out.Ranking, 0)
	}
	return out, nil
}
