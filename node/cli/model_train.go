package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/node/model"
)

func (a *app) modelTrain() *cobra.Command {
	var o model.Training
	var out, png, test, schema string
	var directions []string
	c := &cobra.Command{
		Use:   "train",
		Short: "Train a model from a table",
		Long: lines(
			"Trains boosted trees from labelled rows, an isolation forest from rows with or without",
			"labels, or both, turns them into integers, and writes the model and its card.",
			"",
			"Columns of numbers become integers by a power of ten that keeps the most values: first",
			"to 12 significant digits, then exactly. Columns of texts become one feature per text.",
			"An empty cell is missing. --folds and --holdout measure on rows that are kept back",
			"before the model is trained on all; without --out nothing is written, and the command",
			"measures alone. The same data, options and seed give the same bytes.",
		),
		Example: examples(
			"chancery model train --data events.csv --label fraud --out fraud.model",
			"chancery model train --data events.csv --label fraud --ignore id --folds 5 --png curves.png",
			"chancery model train --data traffic.csv --kind forest --hold-rate 0.001 --out odd.model",
			"chancery model train --data a.csv --test b.csv --label class --negative normal --monotone denied=increasing --out a.model",
		),
		Args: cobra.NoArgs,
	}
	t := a.newTableFlags(c, "table to train on")
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&out, "out", "", "file to write, which must not exist; the card goes to FILE.card.json")
	f.StringVar(&png, "png", "", "picture of the curves to write, which must not exist")
	f.StringVar(&o.Name, "name", "", "name of the model; by default that of its file")
	f.StringVar(&o.Kind, "kind", model.KindBoosted, "boosted, forest or both")
	f.Uint64Var(&o.Seed, "seed", 1, "what all randomness follows from")
	f.StringVar(&schema, "schema", "", "JSON file of features (name, unit, decimals, column, categories, monotone), instead of those made of the columns")
	f.IntVar(&o.Boost.Trees, "trees", 200, "boosted trees")
	f.IntVar(&o.Boost.Leaves, "leaves", 31, "leaves of a boosted tree")
	f.IntVar(&o.Boost.Depth, "depth", 32, "depth of a boosted tree")
	f.Float64Var(&o.Boost.Rate, "learning-rate", 0.1, "share of each step that is taken")
	f.Float64Var(&o.Boost.L2, "l2", 0, "L2 regularisation of the leaves")
	f.IntVar(&o.Boost.MinRows, "min-rows", 20, "rows that a leaf must have")
	f.Float64Var(&o.Boost.MinChild, "min-child-weight", 1e-3, "sum of second derivatives that a leaf must have")
	f.Float64Var(&o.Boost.MinGain, "min-gain", 0, "what a split must gain")
	f.StringVar(&o.Boost.Growth, "growth", model.LeafWise, "leaf: split the leaf that gains most; depth: level by level")
	f.Float64Var(&o.Boost.Rows, "row-share", 1, "share of the rows that each boosted tree sees")
	f.Float64Var(&o.Boost.Columns, "column-share", 1, "share of the features that each boosted tree sees")
	f.Float64Var(&o.Boost.PositiveWeight, "positive-weight", 1, "weight of a positive row beside a negative one")
	f.IntVar(&o.Boost.Patience, "early-stopping", 0, "stop after so many trees that do not help a tenth of the rows that is kept back; 0 for never")
	f.StringSliceVar(&directions, "monotone", nil, "features that may only raise or lower the boosted margin: FEATURE=increasing or FEATURE=decreasing")
	f.IntVar(&o.Forest.Trees, "forest-trees", 100, "trees of the forest")
	f.IntVar(&o.Forest.Samples, "forest-samples", 256, "rows from which each tree of the forest is grown")
	f.BoolVar(&o.NormalOnly, "normal-only", false, "grow the forest from negative rows alone")
	f.IntVar(&o.Folds, "folds", 0, "measure by so many folds")
	f.Float64Var(&o.Holdout, "holdout", 0, "measure on this share of the rows")
	f.IntVar(&o.Repeats, "repeats", 1, "measure so often, with seed, seed+1 and so on")
	f.StringVar(&test, "test", "", "table of the same form to measure on")
	f.Float64Var(&o.HoldRate, "hold-rate", 0, "share of negative rows that may reach the score at which a transaction is held; 0 for no such score")
	f.Float64Var(&o.DenyRate, "deny-rate", 0, "the same for denial")
	f.StringArrayVar(&o.Limits, "limit", nil, "sentence for the card that says what the model is not good for")
	complete(c, "kind", model.KindBoosted, model.KindForest, model.KindBoth)
	complete(c, "growth", model.LeafWise, model.DepthWise)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if t.path == "" {
			return usagef("say what to train on with --data")
		}
		if out == "" && o.Folds == 0 && o.Holdout == 0 && test == "" {
			return usagef("say where to write the model with --out, or what to measure with --folds, --holdout or --test")
		}
		o.Name = modelName(o.Name, out)
		var err error
		if o.Boost.Monotone, err = monotone(directions); err != nil {
			return err
		}
		if schema != "" {
			raw, err := a.read(schema)
			if err != nil {
				return err
			}
			if o.Schema, err = model.ReadSchema(raw); err != nil {
				return err
			}
		}
		data, err := t.read(t.path)
		if err != nil {
			return err
		}
		if test != "" {
			if o.Test, err = t.read(test); err != nil {
				return err
			}
		}
		m := &meter{app: a, what: "growing trees", total: int64(o.Steps()), unit: func(n int64) string { return fmt.Sprintf("%d trees", n) }}
		o.Progress = func(n int) { m.add(int64(n)) }
		trained, err := model.Train(cmd.Context(), data, o)
		m.end()
		if err != nil {
			return err
		}
		if err := a.save(trained, out, png); err != nil {
			return err
		}
		return a.printTrained(trained, data, out, png)
	}
	return c
}

func (a *app) printTrained(t *model.Trained, data *model.Table, out, png string) error {
	positive, negative := 0, 0
	rows, dropped := 0, 0
	if data != nil {
		positive, negative = data.Positives()
		rows, dropped = data.Rows, data.Dropped
	}
	if a.output == outputJSON {
		hash := t.Model.Hash()
		f := facts{
			{"rows", rows}, {"dropped", dropped}, {"positives", positive}, {"negatives", negative}, {"scaling", t.Scaling},
			{"hash", digits(hash[:])}, {"bytes", t.Model.Size()}, {"features", t.Model.Features()}, {"max_work", t.Model.MaxWork()},
			{"measured", measuredJSON(t.Measured)},
		}
		if out != "" {
			f = append(f, fact{"model", out}, fact{"card", out + ".card.json"})
		}
		if png != "" {
			f = append(f, fact{"png", png})
		}
		return a.print(f)
	}
	var f facts
	if data != nil {
		f = append(f, fact{"rows", fmt.Sprintf("%d, of which %d positive and %d negative; %d dropped", rows, positive, negative, dropped)}, fact{"scaling", scaling(t.Scaling)})
	}
	f = append(f, modelFacts(t.Model)...)
	if out != "" {
		f = append(f, fact{"written", out}, fact{"card", out + ".card.json"})
	}
	if png != "" {
		f = append(f, fact{"picture", png})
	}
	text := f.text()
	if len(t.Measured) > 0 {
		text += "\n" + measuredTable(t.Measured)
	}
	return a.write(text)
}

// modelFacts are a model's size and bounds.
func modelFacts(m *artifact.Model) facts {
	hash := m.Hash()
	f := facts{{"model", m.Name()}, {"hash", digits(hash[:])}, {"bytes", m.Size()}, {"features", m.Features()}}
	if e := m.Boosted(); e != nil {
		f = append(f, fact{"boosted trees", fmt.Sprintf("%d with %d splits, at most %d deep", e.Trees(), e.Splits(), e.Depth())})
	}
	if e := m.Forest(); e != nil {
		f = append(f, fact{"isolation forest", fmt.Sprintf("%d with %d splits, at most %d deep", e.Trees(), e.Splits(), e.Depth())})
	}
	t := m.Message().GetThresholds()
	return append(f, fact{"most work", fmt.Sprintf("%d units per score", m.MaxWork())}, fact{"thresholds", thresholds(t.GetHold(), t.GetDeny())})
}

func thresholds(hold, deny uint32) string {
	say := func(what string, n uint32) string {
		if n == 0 {
			return "never " + what
		}
		return fmt.Sprintf("%s from %d", what, n)
	}
	return say("hold", hold) + ", " + say("deny", deny)
}
