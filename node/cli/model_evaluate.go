package cli

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
	"github.com/chancery/chancery/node/model"
)

func (a *app) modelEvaluate() *cobra.Command {
	var png, scores, against string
	var top int
	c := &cobra.Command{
		Use:   "evaluate MODEL",
		Short: "Score a table and measure the model on it",
		Long: lines(
			"Scores every row with integers, as a validator would. With labels it reports ROC-AUC,",
			"PR-AUC (average precision), recall at false-positive rates of 0.1, 1 and 5 percent, and",
			"time per score; without, how many rows reach the thresholds.",
		),
		Example: examples(
			"chancery model evaluate fraud.model --data later.csv --label fraud",
			"chancery model evaluate fraud.model --data today.csv --explain 5 --scores today.scores.csv",
			"chancery model evaluate gbm.model --data d.csv --label y --against gbm.txt --output json",
		),
		Args: cobra.ExactArgs(1),
	}
	t := a.newTableFlags(c, "table to score")
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&png, "png", "", "picture of the curves to write, which must not exist")
	f.StringVar(&scores, "scores", "", "CSV file of each row's scores to write, which must not exist")
	f.IntVar(&top, "explain", 0, "show so many of the highest scores with the features that raised them")
	f.StringVar(&against, "against", "", "LightGBM or XGBoost file that the model was converted from, to compare with")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if t.path == "" {
			return usagef("say what to score with --data")
		}
		m, err := a.openModel(args[0])
		if err != nil {
			return err
		}
		var parents model.Parents
		if against != "" {
			raw, err := readFile(against)
			if err != nil {
				return err
			}
			if parents.Boosted, err = foreign(raw); err != nil {
				return err
			}
			if len(parents.Boosted.Features) != m.Features() {
				return usagef("%s has %d features and the model %d; it was not converted from that file", against, len(parents.Boosted.Features), m.Features())
			}
		}
		for _, f := range m.Message().Features {
			if len(f.Categories) > 0 && !slices.Contains(t.how.Category, cmp.Or(f.Column, f.Name)) {
				t.how.Category = append(t.how.Category, cmp.Or(f.Column, f.Name))
			}
		}
		data, err := t.read(t.path)
		if err != nil {
			return err
		}
		if data.Labels != nil && data.Labelled() != nil {
			a.note("chancery: the rows are all of one class, so nothing is measured")
		}
		x, err := model.Schema(m.Message().Features).Apply(data)
		if err != nil {
			return err
		}
		s, err := model.Score(m, parents, x)
		if err != nil {
			return err
		}
		if scores != "" {
			if err := a.writeScores(scores, m, data, s); err != nil {
				return err
			}
		}
		if png != "" {
			if err := drawCurves(png, m.Name(), s, data.Labels); err != nil {
				return err
			}
		}
		reasons, err := explain(m, x, s, data, top)
		if err != nil {
			return err
		}
		return a.printEvaluation(m, data, x, s, reasons)
	}
	return c
}

// foreign reads a LightGBM or XGBoost model.
func foreign(raw []byte) (*model.Boosted, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return model.XGBoost(raw)
	}
	return model.LightGBM(raw)
}

func (a *app) printEvaluation(m *artifact.Model, data *model.Table, x *model.Matrix, s *model.Scores, reasons []explained) error {
	var measured []model.Measured
	if data.Labels != nil && data.Labelled() == nil {
		measured = []model.Measured{s.Measured("data", data.Labels)}
	}
	verdicts := map[artifact.Verdict]int{}
	for _, score := range s.Model {
		verdicts[m.Verdict(uint32(score))]++
	}
	micros := float64(s.Elapsed.Nanoseconds()) / 1000 / float64(x.Rows)
	if a.output == outputJSON {
		hash := m.Hash()
		return a.print(facts{
			{"model", m.Name()}, {"hash", digits(hash[:])}, {"rows", x.Rows}, {"dropped", data.Dropped}, {"scaling", x.Loss},
			{"verdicts", facts{{"admit", verdicts[artifact.Admit]}, {"hold", verdicts[artifact.Hold]}, {"deny", verdicts[artifact.Deny]}}},
			{"microseconds_per_score", micros}, {"mean_work", float64(s.Work) / float64(x.Rows)},
			{"measured", measuredJSON(measured)}, {"explained", reasons},
		})
	}
	text := facts{
		{"model", m.Name()}, {"rows", fmt.Sprintf("%d; %d dropped", x.Rows, data.Dropped)}, {"scaling", scaling(x.Loss)},
		{"verdicts", fmt.Sprintf("%d admit, %d hold, %d deny", verdicts[artifact.Admit], verdicts[artifact.Hold], verdicts[artifact.Deny])},
		{"time", fmt.Sprintf("%.1f µs per score on one core", micros)},
	}.text()
	if len(measured) > 0 {
		text += "\n" + measuredTable(measured)
	}
	for _, r := range reasons {
		text += "\n" + r.text()
	}
	return a.write(text)
}

// explained is a row's score in words.
type explained struct {
	Row     int       `json:"row"` // from 1, without the header, among those that were kept
	Label   string    `json:"label,omitempty"`
	Score   uint32    `json:"score"`
	Verdict string    `json:"verdict"`
	Part    string    `json:"part"` // whose score it is
	Margin  float64   `json:"margin"`
	Bias    float64   `json:"bias"` // the margin without any reason
	Reasons []because `json:"reasons"`
	rest    float64   // what all other features did
}

// because is a feature that raised a margin.
type because struct {
	Feature      string  `json:"feature"`
	Value        string  `json:"value"`
	Contribution float64 `json:"contribution"`
}

func (e explained) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "row %d: score %d, %s (%s", e.Row, e.Score, e.Verdict, e.Part)
	if e.Label != "" {
		fmt.Fprintf(&b, "; label %s", e.Label)
	}
	b.WriteString(")\n")
	rows := [][]string{}
	for _, r := range e.Reasons {
		rows = append(rows, []string{"  " + r.Feature, "= " + r.Value, fmt.Sprintf("%+.4f", r.Contribution)})
	}
	rows = append(rows, []string{"  all others", "", fmt.Sprintf("%+.4f", e.rest)}, []string{"  without any", "", fmt.Sprintf("%+.4f", e.Bias)}, []string{"  margin", "", fmt.Sprintf("%+.4f", e.Margin)})
	b.WriteString(table(rows))
	return b.String()
}

const reasonsShown = 5

// explain explains the highest scores.
func explain(m *artifact.Model, x *model.Matrix, s *model.Scores, data *model.Table, n int) ([]explained, error) {
	out := []explained{}
	if n <= 0 {
		return out, nil
	}
	order := make([]int, x.Rows)
	for i := range order {
		order[i] = i
	}
	margin := s.Boosted
	if margin == nil {
		margin = s.Forest
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := cmp.Compare(s.Model[b], s.Model[a]); c != 0 {
			return c
		}
		return cmp.Compare(margin[b], margin[a])
	})
	for _, i := range order[:min(n, x.Rows)] {
		e, err := m.Explain(x.Ints[i])
		if err != nil {
			return nil, err
		}
		part, ensemble, margin := model.PartBoosted, m.Boosted(), e.Boosted.Margin
		deciding := e.Deciding()
		if e.BoostedContributions == nil || &deciding[0] != &e.BoostedContributions[0] {
			part, ensemble, margin = model.PartForest, m.Forest(), e.Forest.Margin
		}
		r := explained{
			Row: i + 1, Score: e.Score, Verdict: m.Verdict(e.Score).String(), Part: part,
			Margin: units(margin), Bias: units(ensemble.Bias()), rest: units(margin - ensemble.Bias()), Reasons: []because{},
		}
		if data.Labels != nil {
			r.Label = map[int8]string{0: "negative", 1: "positive", -1: "none"}[data.Labels[i]]
		}
		for _, why := range artifact.Reasons(deciding, reasonsShown) {
			value := "missing"
			if v := x.Ints[i][why.Feature]; v != trees.Missing {
				value = strconv.FormatFloat(x.Floats[why.Feature][i], 'g', -1, 64)
			}
			r.Reasons = append(r.Reasons, because{m.FeatureName(why.Feature), value, units(why.Contribution)})
			r.rest -= units(why.Contribution)
		}
		out = append(out, r)
	}
	return out, nil
}

// units is a Q16 number.
func units(q int64) float64 { return float64(q) / 65536 }

func (a *app) writeScores(path string, m *artifact.Model, data *model.Table, s *model.Scores) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := []string{"row", "score", "verdict"}
	if data.Labels != nil {
		head = append(head, "label")
	}
	if s.Boosted != nil {
		head = append(head, "boosted_margin")
	}
	if s.Forest != nil {
		head = append(head, "forest_margin")
	}
	rows := [][]string{head}
	for i, score := range s.Model {
		row := []string{strconv.Itoa(i + 1), strconv.Itoa(int(score)), m.Verdict(uint32(score)).String()}
		if data.Labels != nil {
			label := ""
			if l := data.Labels[i]; l >= 0 {
				label = strconv.Itoa(int(l))
			}
			row = append(row, label)
		}
		for _, part := range [][]float64{s.Boosted, s.Forest} {
			if part != nil {
				row = append(row, strconv.FormatFloat(part[i], 'f', -1, 64))
			}
		}
		rows = append(rows, row)
	}
	if err := w.WriteAll(rows); err != nil {
		return errNotSaved.Wrap(err)
	}
	return create(path, b.Bytes(), 0o644)
}
