package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/chancery/chancery/modules/threat/artifact"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// The kinds of models that are trained.
const (
	KindBoosted = "boosted"
	KindForest  = "forest"
	KindBoth    = "both"
)

// Training says how a model is trained and measured.
type Training struct {
	Name   string
	Kind   string
	Boost  BoostOptions
	Forest ForestOptions
	Seed   uint64
	// NormalOnly trains the forest on rows that are labelled negative alone.
	NormalOnly bool
	// HoldRate and DenyRate choose the thresholds: the share of negatives that may reach
	// them. 0: no threshold. They are chosen on rows that were kept back where there are
	// any, else on the training's own.
	HoldRate, DenyRate float64
	// Folds and Holdout measure on rows that are kept back: each of so many parts in turn,
	// or a share of the rows. Repeats does it again with Seed+1 and so on.
	Folds   int
	Holdout float64
	Repeats int
	// Test is a table of its own to measure on, Repeats times.
	Test *Table
	// Schema is the features, where they are not made of the table's columns. Directions in
	// it count like those of Boost.
	Schema Schema
	// Limits are sentences for the card: what the model is not good for.
	Limits []string
	// Progress is told trees that are grown, of Steps in all.
	Progress func(int)
}

// Trained is a model with its parents and what was measured.
type Trained struct {
	Raw, Card []byte
	Model     *artifact.Model
	Parents   Parents
	Measured  []Measured
	Scaling   Loss
	// Curves are the scores of the first measurement's rows, for pictures.
	Scores *Scores
	Labels []int8
}

// Measured is one measurement: the mean over its runs, and their standard deviation.
type Measured struct {
	On    string       `json:"on"` // training, folds, holdout or test
	Runs  int          `json:"runs"`
	Parts []Assessment `json:"parts"`
	Roc   []float64    `json:"roc_deviation"`
	Pr    []float64    `json:"pr_deviation"`
	// Ranking is, for each part with a parent, the largest difference of ROC-AUC to the
	// parent in any run.
	Ranking []float64 `json:"max_roc_difference_to_float"`
	// Micros is microseconds per score on one core. A clock's reading is not part of a card.
	Micros float64 `json:"-"`
	Work   float64 `json:"mean_work"`
}

func (o *Training) boosted() bool { return o.Kind == KindBoosted || o.Kind == KindBoth }
func (o *Training) forest() bool  { return o.Kind == KindForest || o.Kind == KindBoth }

func (o *Training) check() error {
	rate := func(x float64) bool { return x >= 0 && x < 1 }
	switch {
	case !o.boosted() && !o.forest():
		return ErrOptions.With("kind is %q; choose %s, %s or %s", o.Kind, KindBoosted, KindForest, KindBoth)
	case o.Folds < 0 || o.Folds == 1 || o.Folds > 100:
		return ErrOptions.With("there may be 2 to 100 folds, not %d", o.Folds)
	case !rate(o.Holdout):
		return ErrOptions.With("the share kept back is at least 0 and below 1")
	case o.Folds > 0 && o.Holdout > 0:
		return ErrOptions.With("folds and a share kept back exclude each other")
	case o.Repeats < 0 || o.Repeats > 1000:
		return ErrOptions.With("there may be at most 1000 repeats")
	case !rate(o.HoldRate) || !rate(o.DenyRate):
		return ErrOptions.With("a rate is at least 0 and below 1")
	case o.HoldRate > 0 && o.DenyRate > o.HoldRate:
		return ErrOptions.With("more may not be denied than held")
	}
	o.Repeats = max(o.Repeats, 1)
	return nil
}

// Steps is how many trees the training grows in all.
func (o *Training) Steps() int {
	one, boost, forest := 0, o.Boost, o.Forest
	fill(&boost.Trees, 200)
	fill(&forest.Trees, 100)
	if o.boosted() {
		one += boost.Trees
	}
	if o.forest() {
		one += forest.Trees
	}
	runs := 1
	if o.Folds > 0 {
		runs += o.Folds * max(o.Repeats, 1)
	} else if o.Holdout > 0 {
		runs += max(o.Repeats, 1)
	}
	if o.Test != nil {
		runs += max(o.Repeats, 1) - 1
	}
	return one * runs
}

// Train measures as the options say, then trains on all rows.
func Train(ctx context.Context, t *Table, o Training) (*Trained, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	needed := o.boosted() || o.NormalOnly || o.Folds > 0 || o.Holdout > 0
	if needed {
		if err := t.Labelled(); err != nil {
			return nil, err
		}
	}
	if o.Test != nil {
		if err := o.Test.Labelled(); err != nil {
			return nil, err
		}
	}
	out := &Trained{}
	var kept tally
	on := ""
	if o.Folds > 0 || o.Holdout > 0 {
		on = "holdout"
		if o.Folds > 0 {
			on = "folds"
		}
		if err := measure(ctx, t, o, &kept); err != nil {
			return nil, err
		}
		out.Measured = append(out.Measured, kept.mean(on))
		out.Scores, out.Labels = &kept.first, kept.labels
	}
	f, err := train(ctx, t, o, o.Seed)
	if err != nil {
		return nil, err
	}
	out.Parents, out.Scaling = f.parents, f.matrix.Loss
	own, err := Score(f.model, f.parents, f.matrix)
	if err != nil {
		return nil, err
	}
	tell := func(on string, s *Scores, labels []int8) {
		out.Measured = append(out.Measured, s.Measured(on, labels))
		out.Scores, out.Labels = s, labels
	}
	if t.Labels != nil && t.Labelled() == nil {
		scores, labels := out.Scores, out.Labels
		tell("training", own, t.Labels)
		if scores != nil {
			out.Scores, out.Labels = scores, labels
		}
	}
	if o.Test != nil {
		if err := test(ctx, t, o, f, out); err != nil {
			return nil, err
		}
	}
	scores, labels, chosen := own.Model, t.Labels, "training"
	if kept.labels != nil {
		scores, labels, chosen = kept.first.Model, kept.labels, on
	}
	if labels == nil {
		labels = make([]int8, len(scores)) // unlabelled rows count as negative
	}
	message := f.model.Message()
	thresholds := CardThresholds{HoldRate: o.HoldRate, DenyRate: o.DenyRate}
	if o.HoldRate > 0 || o.DenyRate > 0 {
		thresholds.On = chosen
		thresholds.Hold = scoreAt(scores, labels, o.HoldRate)
		thresholds.Deny = scoreAt(scores, labels, o.DenyRate)
		message.Thresholds = &threatv1.Thresholds{Hold: thresholds.Hold, Deny: thresholds.Deny}
	}
	card := o.card(t, f, out.Measured, thresholds)
	if out.Card, err = card.Marshal(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(out.Card)
	message.CardHash = sum[:]
	out.Raw, out.Model, err = Seal(message)
	return out, err
}

// scoreAt is the least score, from 1, that at most a share of the negatives reaches; 0
// for none.
func scoreAt(scores []float64, labels []int8, rate float64) uint32 {
	if rate == 0 {
		return 0
	}
	s, ok := ThresholdAt(scores, labels, rate)
	if !ok {
		return artifact.MaxScore
	}
	return uint32(max(s, 1))
}

// Seal is a model's canonical bytes and the scorer that they hold.
func Seal(m *threatv1.Model) ([]byte, *artifact.Model, error) {
	raw, err := artifact.Encode(m)
	if err != nil {
		return nil, nil, ErrBounds.Wrap(err)
	}
	sealed, err := artifact.Decode(raw)
	if err != nil {
		return nil, nil, ErrBounds.Wrap(err)
	}
	return raw, sealed, nil
}

// Open reads a model's bytes.
func Open(raw []byte) (*artifact.Model, error) {
	m, err := artifact.Decode(raw)
	if errors.Is(err, artifact.ErrInvalid) {
		return nil, ErrInvalid.Wrap(err)
	}
	return m, err
}

// fitted is a model that was trained on a table.
type fitted struct {
	schema  Schema
	matrix  *Matrix
	parents Parents
	model   *artifact.Model
}

func train(ctx context.Context, t *Table, o Training, seed uint64) (*fitted, error) {
	schema, err := o.schema(t)
	if err != nil {
		return nil, err
	}
	f := &fitted{schema: schema}
	if f.matrix, err = schema.Apply(t); err != nil {
		return nil, err
	}
	message := &threatv1.Model{Format: artifact.Format, Name: o.Name, Features: schema}
	if o.boosted() {
		b, err := TrainBoosted(ctx, f.matrix, t.Labels, schema, o.Boost, seed, o.Progress)
		if err != nil {
			return nil, err
		}
		f.parents.Boosted = b
		if message.Boosted, err = b.Quantise(schema); err != nil {
			return nil, err
		}
	}
	if o.forest() {
		m := f.matrix
		if o.NormalOnly {
			var rows []int
			for i, l := range t.Labels {
				if l == 0 {
					rows = append(rows, i)
				}
			}
			if m, err = schema.Apply(t.Select(rows)); err != nil {
				return nil, err
			}
		}
		forest, err := TrainForest(ctx, m, o.Forest, seed, o.Progress)
		if err != nil {
			return nil, err
		}
		f.parents.Forest = forest
		if message.Forest, err = calibrated(forest, schema, m); err != nil {
			return nil, err
		}
	}
	_, f.model, err = Seal(message)
	return f, err
}

// schema is a copy of the features of a table, with their directions.
func (o *Training) schema(t *Table) (Schema, error) {
	if o.Schema == nil {
		schema, err := t.Schema()
		if err == nil && o.boosted() {
			err = schema.direct(o.Boost.Monotone)
		}
		return schema, err
	}
	schema := make(Schema, len(o.Schema))
	for i, f := range o.Schema {
		schema[i] = f.CloneVT()
	}
	return schema, schema.direct(o.Boost.Monotone)
}

// calibrated quantises a forest and calibrates it on the margins of rows.
func calibrated(f *Forest, schema Schema, m *Matrix) (*threatv1.Forest, error) {
	out := f.Quantise(schema, nil)
	_, probe, err := Seal(&threatv1.Model{Format: artifact.Format, Name: "probe", Features: schema, Forest: out})
	if err != nil {
		return nil, err
	}
	margins := make([]int64, m.Rows)
	for i, row := range m.Ints {
		r, err := probe.Score(row)
		if err != nil {
			return nil, ErrInvalid.Wrap(err)
		}
		margins[i] = r.Forest.Margin
	}
	out.Calibration = rarityCurve(margins)
	return out, nil
}

// measure trains on a part of the rows and scores the others, as often as the options
// say.
func measure(ctx context.Context, t *Table, o Training, into *tally) error {
	for k := range o.Repeats {
		seed := o.Seed + uint64(k)
		rng := rand.New(rand.NewPCG(seed, 1<<32))
		var tests [][]int
		if o.Folds > 0 {
			tests = folds(rng, t.Labels, all(t.Rows), o.Folds)
		} else {
			_, out := divide(rng, t.Labels, all(t.Rows), o.Holdout)
			tests = [][]int{out}
		}
		for i, test := range tests {
			out := make([]bool, t.Rows)
			for _, r := range test {
				out[r] = true
			}
			var stay []int
			for r := range out {
				if !out[r] {
					stay = append(stay, r)
				}
			}
			kept, back := t.Select(stay), t.Select(test)
			if kept.Labelled() != nil || back.Labelled() != nil {
				return ErrLabels.With("a part of the rows that is kept back, or the rest, would be of one class alone; keep back fewer or larger parts")
			}
			f, err := train(ctx, kept, o, seed)
			if err != nil {
				return err
			}
			m, err := f.schema.Apply(back)
			if err != nil {
				return err
			}
			s, err := Score(f.model, f.parents, m)
			if err != nil {
				return err
			}
			if into.runs == i {
				into.first.append(s)
				into.labels = append(into.labels, back.Labels...)
			}
			into.add(s, s.Assess(back.Labels), back.Rows)
		}
	}
	return nil
}

// test measures on a table of its own: the model that was trained, and with repeats
// others of the next seeds.
func test(ctx context.Context, t *Table, o Training, f *fitted, out *Trained) error {
	var runs tally
	for k := range o.Repeats {
		if k > 0 {
			var err error
			if f, err = train(ctx, t, o, o.Seed+uint64(k)); err != nil {
				return err
			}
		}
		m, err := f.schema.Apply(o.Test)
		if err != nil {
			return err
		}
		s, err := Score(f.model, f.parents, m)
		if err != nil {
			return err
		}
		runs.add(s, s.Assess(o.Test.Labels), m.Rows)
		if k == 0 {
			out.Scores, out.Labels = s, o.Test.Labels
		}
	}
	out.Measured = append(out.Measured, runs.mean("test"))
	return nil
}

// append adds the scores of other rows.
func (s *Scores) append(x *Scores) {
	s.Model = append(s.Model, x.Model...)
	s.Boosted = append(s.Boosted, x.Boosted...)
	s.Forest = append(s.Forest, x.Forest...)
}

func (o *Training) card(t *Table, f *fitted, measured []Measured, thresholds CardThresholds) *Card {
	positive, negative := t.Positives()
	c := &Card{
		Format: 1, Name: o.Name, Origin: "trained", Seed: o.Seed, Thresholds: thresholds, Measured: measured, NormalOnly: o.NormalOnly,
		Data: &CardData{SHA256: hex.EncodeToString(t.Hash[:]), Rows: t.Rows, Dropped: t.Dropped, Positives: positive, Negatives: negative, Scaling: f.matrix.Loss},
	}
	if o.boosted() {
		boost := o.Boost
		_ = boost.check() // it was checked; this fills in the defaults
		c.Boosted = &boost
	}
	if o.forest() {
		forest := o.Forest
		_ = forest.check()
		c.Forest = &forest
	}
	c.Features = CardFeatures(f.model.Message())
	c.Limits = append([]string{
		"Scores rank rows like those of the data that is named above; on other data nothing was measured.",
		"The model is public to those whom it judges: features that are cheap to fake give cheap protection.",
	}, o.Limits...)
	if len(measured) == 0 || len(measured) == 1 && measured[0].On == "training" {
		c.Limits = append(c.Limits, "It was not measured on rows that its training has not seen.")
	}
	return c
}

// CardFeatures are a model's features with the share of splits on each.
func CardFeatures(m *threatv1.Model) []CardFeature {
	counts := make([]int, len(m.Features))
	total := 0
	count := func(s *threatv1.Splits) {
		for _, f := range s.GetFeature() {
			counts[f]++
			total++
		}
	}
	for _, t := range m.GetBoosted().GetTrees() {
		count(t.Splits)
	}
	for _, t := range m.GetForest().GetTrees() {
		count(t.Splits)
	}
	var out []CardFeature
	for i, f := range m.Features {
		x := CardFeature{Name: f.Name, Decimals: f.Decimals, Splits: ratio(counts[i], total)}
		switch f.Monotone {
		case threatv1.Monotone_MONOTONE_INCREASING:
			x.Monotone = "increasing"
		case threatv1.Monotone_MONOTONE_DECREASING:
			x.Monotone = "decreasing"
		}
		out = append(out, x)
	}
	return out
}

// tally gathers runs of one measurement.
type tally struct {
	runs    int
	parts   [][]Assessment
	rows    int
	elapsed time.Duration
	work    uint64
	first   Scores
	labels  []int8
}

func (t *tally) add(s *Scores, a []Assessment, rows int) {
	t.runs++
	t.parts = append(t.parts, a)
	t.rows += rows
	t.elapsed += s.Elapsed
	t.work += s.Work
}

func (t *tally) mean(on string) Measured {
	m := Measured{On: on, Runs: t.runs, Micros: float64(t.elapsed.Nanoseconds()) / 1000 / float64(max(t.rows, 1)), Work: float64(t.work) / float64(max(t.rows, 1))}
	for k := range t.parts[0] {
		var roc, pr, froc, fpr, ranking []float64
		a := Assessment{Part: t.parts[0][k].Part}
		n := float64(t.runs)
		for _, run := range t.parts {
			x := run[k]
			a.Metrics.Positives += x.Metrics.Positives
			a.Metrics.Negatives += x.Metrics.Negatives
			a.Metrics.Recall001 += x.Metrics.Recall001 / n
			a.Metrics.Recall01 += x.Metrics.Recall01 / n
			a.Metrics.Recall05 += x.Metrics.Recall05 / n
			roc, pr = append(roc, x.Metrics.ROC), append(pr, x.Metrics.PR)
			if x.Float != nil {
				if a.Float == nil {
					a.Float, a.Difference = &Metrics{}, new(float64)
				}
				a.Float.Positives += x.Float.Positives
				a.Float.Negatives += x.Float.Negatives
				a.Float.Recall001 += x.Float.Recall001 / n
				a.Float.Recall01 += x.Float.Recall01 / n
				a.Float.Recall05 += x.Float.Recall05 / n
				froc, fpr = append(froc, x.Float.ROC), append(fpr, x.Float.PR)
				ranking = append(ranking, math.Abs(x.Metrics.ROC-x.Float.ROC))
				*a.Difference = max(*a.Difference, *x.Difference)
			}
		}
		var d float64
		a.Metrics.ROC, d = spread(roc)
		m.Roc = append(m.Roc, d)
		a.Metrics.PR, d = spread(pr)
		m.Pr = append(m.Pr, d)
		most := 0.0
		if a.Float != nil {
			a.Float.ROC, _ = spread(froc)
			a.Float.PR, _ = spread(fpr)
			for _, r := range ranking {
				most = max(most, r)
			}
		}
		m.Ranking = append(m.Ranking, most)
		m.Parts = append(m.Parts, a)
	}
	return m
}

// Measured is one measurement of scores.
func (s *Scores) Measured(on string, labels []int8) Measured {
	var t tally
	t.add(s, s.Assess(labels), len(labels))
	return t.mean(on)
}
