package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
	"github.com/chancery/chancery/node/model"
	"github.com/chancery/chancery/node/model/curves"
)

func (a *app) modelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "model",
		Short: "Simulate for, train, measure, look into and convert the sentinel's models",
		Long: lines(
			"Makes models that score rows of integers with boosted trees, an isolation forest or",
			"both, and measures them, on files alone. history reads a chain's own transactions to",
			"train from, and register puts a detector on a chain; these two need a node.",
		),
		Example: examples(
			"chancery model train --data events.csv --label fraud --out fraud.model",
			"chancery model evaluate fraud.model --data later.csv --label fraud --png curves.png",
			"chancery model inspect fraud.model",
		),
	}
	c.AddCommand(a.modelSimulate(), a.modelTrain(), a.modelEvaluate(), a.modelInspect(), a.modelConvert(), a.modelCombine(), a.modelHistory(), a.modelRegister())
	return c
}

// tableFlags are the flags of a command that reads a table.
type tableFlags struct {
	app     *app
	path    string
	how     model.Reading
	bare    bool
	comma   string
	columns string
}

func (a *app) newTableFlags(c *cobra.Command, what string) *tableFlags {
	t := &tableFlags{app: a}
	f := c.Flags()
	f.StringVar(&t.path, "data", "", what+": CSV, or .npz with arrays X and y; - for standard input")
	f.StringVar(&t.how.Label, "label", "", "column of labels; by default 1, true and yes are positive and 0, false and no are negative")
	f.StringSliceVar(&t.how.Positive, "positive", nil, "labels that are positive; all others are negative")
	f.StringSliceVar(&t.how.Negative, "negative", nil, "labels that are negative; all others are positive")
	f.StringSliceVar(&t.how.Ignore, "ignore", nil, "columns to leave out")
	f.StringSliceVar(&t.how.Category, "category", nil, "columns of texts although all of their values are numbers")
	f.StringSliceVar(&t.how.Require, "require", nil, "columns without whose value a row is dropped")
	f.BoolVar(&t.how.Distinct, "distinct", false, "drop rows that are in all columns but ignored ones like an earlier one")
	f.BoolVar(&t.bare, "no-header", false, "the first line of the CSV is a row, not names")
	f.StringVar(&t.columns, "columns", "", "names of the columns with --no-header, with commas between them, or @FILE; by default c1, c2 …")
	f.StringVar(&t.comma, "separator", ",", "character between a row's values")
	return t
}

// read reads the table, or another one in the same form.
func (t *tableFlags) read(path string) (*model.Table, error) {
	how := t.how
	how.Header = !t.bare
	if r := []rune(t.comma); len(r) == 1 {
		how.Comma = r[0]
	} else if t.comma == `\t` {
		how.Comma = '\t'
	} else {
		return nil, usagef("--separator is %q; give one character", t.comma)
	}
	names := t.columns
	if file, ok := strings.CutPrefix(names, "@"); ok {
		raw, err := t.app.read(file)
		if err != nil {
			return nil, err
		}
		names = strings.ReplaceAll(strings.TrimSpace(string(raw)), "\n", ",")
	}
	if names != "" {
		if !t.bare {
			return nil, usagef("--columns names what --no-header lacks; give both")
		}
		for _, n := range strings.Split(names, ",") {
			how.Names = append(how.Names, strings.TrimSpace(n))
		}
	}
	in := t.app.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, errFile.Wrap(err)
		}
		defer f.Close()
		in = f
	}
	stop := t.app.spin("reading " + path)
	defer stop()
	return model.Read(in, how)
}

// monotone reads NAME=increasing and NAME=decreasing.
func monotone(list []string) (map[string]trees.Direction, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string]trees.Direction{}
	for _, x := range list {
		i := strings.LastIndexByte(x, '=')
		if i < 0 {
			return nil, usagef("--monotone is %q; write FEATURE=increasing or FEATURE=decreasing", x)
		}
		switch x[i+1:] {
		case "increasing":
			out[x[:i]] = trees.Increasing
		case "decreasing":
			out[x[:i]] = trees.Decreasing
		default:
			return nil, usagef("--monotone is %q; write FEATURE=increasing or FEATURE=decreasing", x)
		}
	}
	return out, nil
}

// openModel reads the file of a model.
func (a *app) openModel(path string) (*artifact.Model, error) {
	in := a.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, errFile.Wrap(err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, artifact.MaxBytes+1))
	if err != nil {
		return nil, errFile.Wrap(err)
	}
	return model.Open(raw)
}

// modelName is a model's name: the one that is given, or one made of its file's name.
func modelName(name, path string) string {
	if name != "" {
		return name
	}
	base := path[strings.LastIndexByte(path, '/')+1:]
	base = strings.TrimSuffix(base, ".model")
	var b strings.Builder
	for _, r := range strings.ToLower(base) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	text := b.String()
	if len(text) > artifact.MaxName {
		text = text[:artifact.MaxName]
	}
	if text == "" {
		return "model"
	}
	return text
}

// save writes a model and its card, and a picture where one is asked for. None of the
// files may exist.
func (a *app) save(t *model.Trained, out, png string) error {
	if out != "" {
		if err := create(out, t.Raw, 0o644); err != nil {
			return err
		}
		if err := create(out+".card.json", t.Card, 0o644); err != nil {
			return err
		}
	}
	if png == "" {
		return nil
	}
	return drawCurves(png, t.Model.Name(), t.Scores, t.Labels)
}

func drawCurves(path, title string, s *model.Scores, labels []int8) error {
	if s == nil || labels == nil {
		return usagef("there is nothing to draw; curves need labels, see --label")
	}
	m := model.Measure(s.Model, labels)
	if m.Positives == 0 || m.Negatives == 0 {
		return usagef("there is nothing to draw; curves need rows of both classes")
	}
	var series []curves.Series
	if s.Boosted != nil {
		series = append(series, curves.Series{Name: "boosted trees", Scores: s.Boosted})
	}
	if s.Forest != nil {
		series = append(series, curves.Series{Name: "isolation forest", Scores: s.Forest})
	}
	if len(series) == 2 {
		series = append(series, curves.Series{Name: "both", Scores: s.Model})
	}
	var b bytes.Buffer
	if err := curves.PNG(&b, title, labels, series...); err != nil {
		return errNotSaved.Wrap(err)
	}
	return create(path, b.Bytes(), 0o644)
}

// measuredTable shows measurements as lines.
func measuredTable(all []model.Measured) string {
	if len(all) == 0 {
		return ""
	}
	rows := [][]string{{"PART", "ON", "RUNS", "ROC-AUC", "PR-AUC", "RECALL@FPR 0.1%", "1%", "5%", "FLOAT ROC", "FLOAT PR", "ROC DIFF", "MARGIN DIFF"}}
	for _, m := range all {
		for i, p := range m.Parts {
			row := []string{
				p.Part, m.On, strconv.Itoa(m.Runs), around(p.Metrics.ROC, m.Roc[i], m.Runs), around(p.Metrics.PR, m.Pr[i], m.Runs),
				fmt.Sprintf("%.4f", p.Metrics.Recall001), fmt.Sprintf("%.4f", p.Metrics.Recall01), fmt.Sprintf("%.4f", p.Metrics.Recall05),
			}
			if p.Float != nil {
				row = append(row, fmt.Sprintf("%.4f", p.Float.ROC), fmt.Sprintf("%.4f", p.Float.PR), fmt.Sprintf("%.6f", m.Ranking[i]), fmt.Sprintf("%.6f", *p.Difference))
			}
			rows = append(rows, row)
		}
	}
	var b strings.Builder
	b.WriteString(table(rows))
	for _, m := range all {
		fmt.Fprintf(&b, "%s: %.1f µs and %.0f units of work per score on one core\n", m.On, m.Micros, m.Work)
	}
	return b.String()
}

// around is a mean with the deviation of its runs.
func around(mean, deviation float64, runs int) string {
	if runs < 2 {
		return fmt.Sprintf("%.4f", mean)
	}
	return fmt.Sprintf("%.4f±%.4f", mean, deviation)
}

// measuredJSON is measurements as objects, with the clock's readings.
func measuredJSON(all []model.Measured) []facts {
	out := []facts{}
	for _, m := range all {
		parts := []facts{}
		for i, p := range m.Parts {
			f := facts{{"part", p.Part}, {"metrics", p.Metrics}, {"roc_deviation", m.Roc[i]}, {"pr_deviation", m.Pr[i]}}
			if p.Float != nil {
				f = append(f, fact{"float", p.Float}, fact{"max_roc_difference_to_float", m.Ranking[i]}, fact{"max_margin_difference", *p.Difference})
			}
			parts = append(parts, f)
		}
		out = append(out, facts{{"on", m.On}, {"runs", m.Runs}, {"parts", parts}, {"microseconds_per_score", m.Micros}, {"mean_work", m.Work}})
	}
	return out
}

// scaling says what scaling to integers lost.
func scaling(l model.Loss) string {
	return fmt.Sprintf("%d values, %d missing, %d rounded (%d of them right to 12 digits), %d beyond int64", l.Values, l.Missing, l.Rounded, l.Close, l.Saturated)
}
