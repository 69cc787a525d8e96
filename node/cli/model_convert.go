package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/model"
)

func (a *app) modelConvert() *cobra.Command {
	var o model.Conversion
	var out, schema, png string
	var directions []string
	c := &cobra.Command{
		Use:   "convert FILE",
		Short: "Turn a LightGBM or XGBoost model into a model of integers",
		Long: lines(
			"Reads what LightGBM saved with save_model (text) or XGBoost with save_model as JSON: two",
			"classes, numeric splits. The data that it was trained on, or a schema, says how many",
			"decimals each feature has, so that the integer model takes the same way through every",
			"tree. With labelled data the two are compared.",
		),
		Example: examples(
			"chancery model convert gbm.txt --data train.csv --label y --out gbm.model",
			"chancery model convert xgb.json --schema features.json --out xgb.model",
		),
		Args: cobra.ExactArgs(1),
	}
	t := a.newTableFlags(c, "table whose columns are the model's features")
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&out, "out", "", "file to write, which must not exist; the card goes to FILE.card.json")
	f.StringVar(&png, "png", "", "picture of the curves to write, which must not exist")
	f.StringVar(&o.Name, "name", "", "name of the model; by default that of its file")
	f.StringVar(&o.From, "from", "", "lightgbm or xgboost; by default what the file looks like")
	f.StringVar(&schema, "schema", "", "JSON file of the features (name, unit, decimals, column, monotone)")
	f.StringSliceVar(&directions, "monotone", nil, "features that the trees are proven to keep monotone: FEATURE=increasing or FEATURE=decreasing")
	f.Uint32Var(&o.Thresholds.Hold, "hold", 0, "score from which a transaction is held; 0 for never")
	f.Uint32Var(&o.Thresholds.Deny, "deny", 0, "score from which it is denied; 0 for never")
	f.StringArrayVar(&o.Limits, "limit", nil, "sentence for the card that says what the model is not good for")
	complete(c, "from", model.FromLightGBM, model.FromXGBoost)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if out == "" {
			return usagef("say where to write the model with --out")
		}
		raw, err := readFile(args[0])
		if err != nil {
			return err
		}
		o.Name = modelName(o.Name, out)
		if o.Monotone, err = monotone(directions); err != nil {
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
		if t.path != "" {
			if o.Data, err = t.read(t.path); err != nil {
				return err
			}
		}
		converted, err := model.Convert(raw, o)
		if err != nil {
			return err
		}
		if err := a.save(converted, out, png); err != nil {
			return err
		}
		return a.printTrained(converted, o.Data, out, png)
	}
	return c
}

func readFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, errFile.Wrap(err)
	}
	return raw, nil
}
