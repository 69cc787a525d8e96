package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/model"
)

func (a *app) modelCombine() *cobra.Command {
	var o model.Combination
	var test string
	c := &cobra.Command{
		Use:   "combine",
		Short: "Train all parts of a scorer of rows, combine them, and measure each",
		Long: lines(
			"Trains boosted trees from the labels, and an isolation forest, half-space trees and",
			"profiles without; stacks further boosted trees on the features and what the parts without",
			"labels say; and adds up the evidence of all of them. What is fitted is fitted on rows that",
			"the parts have not seen, among those of --data. The rows of --test are measured and used",
			"for nothing else. Nothing is written.",
		),
		Example: examples(
			"chancery model combine --data train.csv --test later.csv --label fraud",
			"chancery model combine --data train.csv --test later.csv --label fraud --folds 10 --output json",
		),
		Args: cobra.NoArgs,
	}
	t := a.newTableFlags(c, "table to train on")
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&test, "test", "", "table of the same form to measure on")
	f.Uint64Var(&o.Seed, "seed", 1, "what all randomness follows from")
	f.IntVar(&o.Folds, "folds", 5, "parts of the rows on which the evidence is fitted")
	f.IntVar(&o.Boost.Trees, "trees", 200, "boosted trees, and stacked ones")
	f.IntVar(&o.Boost.Leaves, "leaves", 31, "leaves of a boosted tree")
	f.Float64Var(&o.Boost.Rate, "learning-rate", 0.1, "share of each step that is taken")
	f.Float64Var(&o.Boost.L2, "l2", 1, "L2 regularisation of the leaves")
	f.IntVar(&o.Boost.MinRows, "min-rows", 20, "rows that a leaf must have")
	f.IntVar(&o.Forest.Trees, "forest-trees", 100, "trees of the forest")
	f.IntVar(&o.Forest.Samples, "forest-samples", 256, "rows from which each tree of the forest is grown")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if t.path == "" || test == "" {
			return usagef("say what to train on with --data and what to measure on with --test")
		}
		data, err := t.read(t.path)
		if err != nil {
			return err
		}
		kept, err := t.read(test)
		if err != nil {
			return err
		}
		m := &meter{app: a, what: "growing trees", total: int64(o.Steps()), unit: func(n int64) string { return fmt.Sprintf("%d trees", n) }}
		o.Progress = func(n int) { m.add(int64(n)) }
		combined, err := model.Combine(cmd.Context(), data, o)
		m.end()
		if err != nil {
			return err
		}
		measured, err := combined.Evaluate("test", kept)
		if err != nil {
			return err
		}
		if a.output == outputJSON {
			positive, negative := data.Positives()
			return a.print(facts{
				{"rows", data.Rows}, {"positives", positive}, {"negatives", negative}, {"features", len(combined.Schema())},
				{"fit", combined.Fit}, {"blend_fit", combined.BlendFit}, {"measured", measuredJSON([]model.Measured{measured})},
			})
		}
		return a.write(measuredTable([]model.Measured{measured}))
	}
	return c
}
