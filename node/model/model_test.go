package model

import (
	"context"
	"encoding/csv"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
)

func TestScalingIsExactAndRoundsHalvesAway(t *testing.T) {
	for _, c := range []struct {
		x        float64
		decimals int
		want     int64
		how      fidelity
	}{
		{0, 3, 0, exact}, {0.3, 1, 3, exact}, {-0.3, 1, -3, exact}, {1e18, 0, 1e18, exact}, {123.456, 3, 123456, exact},
		{2.5, 0, 3, rounded}, {-2.5, 0, -3, rounded}, {2.4999, 0, 2, rounded}, {0.05, 1, 1, rounded}, {1e-30, 18, 1, rounded}, {-0.01, 1, -1, rounded},
		{1234567890123.4, 0, 1234567890123, close12}, {1e19, 0, math.MaxInt64, saturated}, {-1e19, 0, -math.MaxInt64, saturated},
		{math.MaxFloat64, 18, math.MaxInt64, saturated}, {math.SmallestNonzeroFloat64, 18, 1, rounded}, {math.Copysign(0, -1), 18, 0, exact}, {9.3, 18, math.MaxInt64, saturated},
	} {
		if v, how := decimalOf(c.x).scale(c.decimals); v != c.want || how != c.how {
			t.Errorf("%g with %d decimals is %d (%d), want %d (%d)", c.x, c.decimals, v, how, c.want, c.how)
		}
	}
	if Scale(math.NaN(), 2) != trees.Missing {
		t.Error("NaN is not missing")
	}
	// What has at most 15 digits comes back.
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.Int64Range(-999_999_999_999_999, 999_999_999_999_999).Draw(t, "n"), rapid.IntRange(0, 18).Draw(t, "k")
		if v, how := decimalOf(unscale(n, k)).scale(k); v != n || how != exact {
			t.Fatalf("%d with %d decimals came back as %d", n, k, v)
		}
	})
}

func TestDecimalsKeepTheMostValues(t *testing.T) {
	for _, c := range []struct {
		numbers []float64
		want    int
	}{
		{[]float64{1, 2, 3}, 0}, {[]float64{0.5, 1.25}, 2}, {[]float64{0.1, math.NaN(), 12.345}, 3}, {nil, 0},
		{[]float64{0.01, 0.02, 1e16}, 2},       // all fit
		{[]float64{0.01, 0.02, 0.03, 1e18}, 2}, // three with cents outweigh one that is then beyond int64
		{[]float64{0.01, 1e18, 2e18}, 0},       // and are outweighed here
	} {
		if have := Decimals(c.numbers); have != c.want {
			t.Errorf("%v has %d decimals, want %d", c.numbers, have, c.want)
		}
	}
}

// The integer comparison sends every value that the scale holds where the float one
// sends it.
func TestThresholdsDecideAsTheirParentDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		decimals := rapid.IntRange(0, 12).Draw(t, "decimals")
		threshold := rapid.OneOf(
			rapid.Float64Range(-1e6, 1e6),
			rapid.Map(rapid.IntRange(-1_000_000, 1_000_000), func(n int) float64 { return unscale(int64(n), decimals) }),
			rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1e-35, 1.0000000180025095e-35, 1e300, -1e300, math.Inf(1), math.Inf(-1), math.NaN()}),
		).Draw(t, "threshold")
		for _, c := range []Comparison{AtMost, Below32} {
			limit := c.Threshold(threshold, decimals)
			if limit == trees.Missing {
				t.Fatalf("the threshold of %g is the missing value", threshold)
			}
			near := []int64{limit - 1, limit, limit + 1}
			if limit < trees.Missing+3 || limit > math.MaxInt64-3 {
				near = []int64{-1, 0, 1}
			}
			near = append(near, rapid.Int64Range(-1_000_000_000_000, 1_000_000_000_000).Draw(t, "value"))
			for _, n := range near {
				if c.left(unscale(n, decimals), threshold) != (n <= limit) && limit > trees.Missing+1 {
					t.Fatalf("comparison %d, threshold %g with %d decimals is %d, which sends %d elsewhere", c, threshold, decimals, limit, n)
				}
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	// By hand: scores 4 3 3 1, labels 1 1 0 0. Pairs: 4>3, 4>1, 3=3 (half), 3>1: 3.5 of 4.
	// Precision at 4: 1 of 1 for half of the recall; at 3: 2 of 3 for the rest.
	m := Measure([]float64{4, 3, 3, 1}, []int8{1, 1, 0, 0})
	if m.ROC != 0.875 || math.Abs(m.PR-(0.5+0.5*2/3)) > 1e-12 || m.Recall001 != 0.5 || m.Positives != 2 || m.Negatives != 2 {
		t.Errorf("%+v", m)
	}
	if m := Measure([]float64{1, 1, 1, 1}, []int8{1, 0, 0, 0}); m.ROC != 0.5 || m.PR != 0.25 || m.Recall05 != 0 {
		t.Errorf("one score for all: %+v", m)
	}
	if m := Measure([]float64{1, 2, 9}, []int8{0, 1, -1}); m.ROC != 1 || m.PR != 1 || m.Recall001 != 1 {
		t.Errorf("rows without a label count: %+v", m)
	}
	// Against all pairs.
	rng := rand.New(rand.NewPCG(1, 1))
	var scores []float64
	var labels []int8
	for range 400 {
		l := int8(rng.IntN(2))
		labels, scores = append(labels, l), append(scores, float64(rng.IntN(30)+5*int(l)))
	}
	won, pairs := 0.0, 0.0
	for i := range scores {
		for j := range scores {
			if labels[i] == 1 && labels[j] == 0 {
				pairs++
				if scores[i] > scores[j] {
					won++
				} else if scores[i] == scores[j] {
					won += 0.5
				}
			}
		}
	}
	if m := Measure(scores, labels); math.Abs(m.ROC-won/pairs) > 1e-12 {
		t.Errorf("ROC-AUC %g, want %g", m.ROC, won/pairs)
	}
	if s, ok := ThresholdAt([]float64{9, 8, 7, 6, 5}, []int8{1, 0, 1, 0, 0}, 0.34); !ok || s != 7 {
		t.Errorf("the threshold at a third of the negatives is %g (%v), want 7", s, ok)
	}
}

func TestBoostedTreesLearnAndKeepTheirParentsRanking(t *testing.T) {
	for _, o := range []BoostOptions{{}, {Growth: DepthWise, Depth: 4}, {L2: 5, Rate: 0.2, Rows: 0.7, Columns: 0.6}, {Patience: 5, Trees: 300}} {
		fill(&o.Trees, 60)
		trained, err := Train(context.Background(), table(t, synthetic(4000, 2), Reading{Label: "bad"}), Training{
			Name: "t", Kind: KindBoosted, Seed: 3, Boost: o, Test: table(t, synthetic(4000, 3), Reading{Label: "bad"}),
		})
		if err != nil {
			t.Fatal(err)
		}
		test := trained.Measured[len(trained.Measured)-1]
		p := test.Parts[0]
		// The labels follow the odds that made them at 0.79.
		if test.On != "test" || p.Part != PartBoosted || p.Metrics.ROC < 0.75 {
			t.Errorf("%+v: ROC-AUC %g on %s", o, p.Metrics.ROC, test.On)
		}
		if test.Ranking[0] > 1e-4 || *p.Difference > float64(trained.Model.Boosted().Trees()+1)/(2*q16)+1e-9 {
			t.Errorf("%+v: ranking differs by %g and margins by %g from the parent", o, test.Ranking[0], *p.Difference)
		}
		if o.Patience > 0 && trained.Model.Boosted().Trees() == o.Trees {
			t.Error("training did not stop early")
		}
		if o.Depth > 0 && trained.Model.Boosted().Depth() > o.Depth {
			t.Errorf("a tree is %d deep", trained.Model.Boosted().Depth())
		}
	}
}

func TestTheNumberOfCoresChangesNothing(t *testing.T) {
	data := table(t, synthetic(3000, 4), Reading{Label: "bad"})
	var first []byte
	for _, cores := range []int{1, 2, 7} {
		t.Run(strconv.Itoa(cores), func(t *testing.T) {
			defer setCores(cores)()
			o := goldenTraining(KindBoth)
			o.Folds = 2
			trained, err := Train(context.Background(), data, o)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = trained.Raw
			} else if !slices.Equal(first, trained.Raw) {
				t.Error("the model differs")
			}
		})
	}
}

func TestMonotoneFeaturesAreMonotone(t *testing.T) {
	data := table(t, synthetic(4000, 5), Reading{Label: "bad"})
	for _, d := range []trees.Direction{trees.Increasing, trees.Decreasing} {
		trained, err := Train(context.Background(), data, Training{Name: "t", Kind: KindBoosted, Boost: BoostOptions{
			Trees: 40, MinRows: 5, Monotone: map[string]trees.Direction{"amount": d, "rate": d},
		}})
		if err != nil {
			t.Fatal(err) // the loader proves the directions
		}
		rng := rand.New(rand.NewPCG(1, 1))
		m := trained.Model
		for range 2000 {
			row := []int64{rng.Int64N(100_000), rng.Int64N(24), rng.Int64N(1001), 0, 1, 0}
			before, _ := m.Score(row)
			k := []int{0, 2}[rng.IntN(2)]
			row[k] += rng.Int64N(50_000)
			after, _ := m.Score(row)
			if diff := after.Boosted.Margin - before.Boosted.Margin; diff*int64(d) < 0 {
				t.Fatalf("feature %d, direction %d: the margin moved by %d", k, d, diff)
			}
		}
	}
}

func TestAForestFindsWhatStandsApart(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var b strings.Builder
	b.WriteString("x,y,odd\n")
	for i := range 2000 {
		x, y, odd := rng.NormFloat64(), rng.NormFloat64(), "0"
		if i%100 == 0 {
			x, y, odd = x+6, y-6, "1"
		}
		b.WriteString(strconv.FormatFloat(x, 'f', 4, 64) + "," + strconv.FormatFloat(y, 'f', 4, 64) + "," + odd + "\n")
	}
	data := table(t, b.String(), Reading{Label: "odd"})
	trained, err := Train(context.Background(), data, Training{Name: "t", Kind: KindForest, Holdout: 0.4, Repeats: 3, HoldRate: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	m := trained.Measured[0]
	if m.On != "holdout" || m.Runs != 3 || m.Parts[0].Metrics.ROC < 0.99 || m.Ranking[0] > 1e-3 {
		t.Errorf("%+v", m)
	}
	// 2500 points stand for a factor of ten.
	over := 0
	x, _ := Schema(trained.Model.Message().Features).Apply(data)
	for _, row := range x.Ints {
		r, _ := trained.Model.Score(row)
		if r.Score >= 5000 {
			over++
		}
	}
	if over < 15 || over > 25 {
		t.Errorf("%d of 2000 rows score 5000 or more, want 20", over)
	}
}

func TestReadingTables(t *testing.T) {
	text := "\xef\xbb\xbfid, n ,word,label\n1,2.5,a,normal\n2,,b,attack\n2,nan,b,attack\n3,inf,,normal\n4,7,a,\n"
	d := table(t, text, Reading{Label: "label", Negative: []string{"normal"}, Ignore: []string{"id"}, Require: []string{"word"}, Distinct: true})
	// The two attacks differ in how they say that n is missing.
	if d.Rows != 4 || d.Dropped != 1 || !slices.Equal(d.Labels, []int8{0, 1, 1, -1}) || len(d.Columns) != 2 {
		t.Errorf("%+v", d)
	}
	schema, err := d.Schema()
	if err != nil || !slices.Equal(schema.Names(), []string{"n", "word=a", "word=b"}) {
		t.Fatalf("%v (%v)", schema.Names(), err)
	}
	m, err := schema.Apply(d)
	if err != nil || !slices.Equal(m.Ints[0], []int64{25, 1, 0}) || !slices.Equal(m.Ints[1], []int64{trees.Missing, 0, 1}) {
		t.Errorf("%v (%v)", m.Ints, err)
	}
	many := "x,y\n"
	for i := range 300 {
		many += "w" + strconv.Itoa(i) + ",1\n"
	}
	for name, c := range map[string]struct {
		text string
		how  Reading
		want *errs.Error
	}{
		"nothing":          {"", Reading{}, ErrData},
		"no rows":          {"a,b\n", Reading{}, ErrData},
		"ragged":           {"a,b\n1\n", Reading{}, ErrData},
		"the same name":    {"a,a\n1,2\n", Reading{}, ErrData},
		"no such column":   {"a,b\n1,2\n", Reading{Ignore: []string{"c"}}, ErrData},
		"no such label":    {"a,b\n1,2\n", Reading{Label: "c"}, ErrData},
		"a strange label":  {"a,b\n1,2\n", Reading{Label: "b"}, ErrLabels},
		"only labels":      {"b\n1\n", Reading{Label: "b"}, ErrData},
		"too many words":   {many, Reading{}, ErrData},
		"a broken archive": {"PK\x03\x04", Reading{}, ErrData},
	} {
		c.how.Header = true
		x, err := Read(strings.NewReader(c.text), c.how)
		if err == nil {
			_, err = x.Schema()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("a table with %s: %v, want %v", name, err, c.want)
		}
	}
}

func TestTrainingSaysWhatIsWrong(t *testing.T) {
	good := table(t, synthetic(200, 6), Reading{Label: "bad"})
	bare := table(t, synthetic(200, 6), Reading{Ignore: []string{"bad"}})
	for name, c := range map[string]struct {
		data *Table
		o    Training
		want *errs.Error
	}{
		"kind":         {good, Training{Kind: "magic"}, ErrOptions},
		"folds":        {good, Training{Kind: KindBoosted, Folds: 1}, ErrOptions},
		"both":         {good, Training{Kind: KindBoosted, Folds: 2, Holdout: 0.1}, ErrOptions},
		"rates":        {good, Training{Kind: KindBoosted, HoldRate: 0.1, DenyRate: 0.2}, ErrOptions},
		"trees":        {good, Training{Kind: KindBoosted, Boost: BoostOptions{Trees: 2000}}, ErrOptions},
		"splits":       {good, Training{Kind: KindBoosted, Boost: BoostOptions{Trees: 1000, Leaves: 500}}, ErrOptions},
		"share":        {good, Training{Kind: KindBoosted, Boost: BoostOptions{Rows: 1.5}}, ErrOptions},
		"NaN":          {good, Training{Kind: KindBoosted, Boost: BoostOptions{Rate: math.NaN()}}, ErrOptions},
		"growth":       {good, Training{Kind: KindBoosted, Boost: BoostOptions{Growth: "wild"}}, ErrOptions},
		"monotone":     {good, Training{Kind: KindBoosted, Boost: BoostOptions{Monotone: map[string]trees.Direction{"x": 1}}}, ErrOptions},
		"samples":      {good, Training{Kind: KindForest, Forest: ForestOptions{Samples: 5000}}, ErrOptions},
		"small parts":  {table(t, "x,bad\n1,1\n2,0\n3,0\n4,0\n5,0\n", Reading{Label: "bad"}), Training{Kind: KindForest, Name: "a", Folds: 3}, ErrLabels},
		"labels":       {bare, Training{Kind: KindBoosted}, ErrLabels},
		"normal only":  {bare, Training{Kind: KindForest, NormalOnly: true}, ErrLabels},
		"no name":      {good, Training{Kind: KindForest, Name: "No Name"}, ErrBounds},
		"other schema": {good, Training{Kind: KindForest, Name: "a", Schema: Schema{{Name: "x"}}}, ErrColumns},
	} {
		if _, err := Train(context.Background(), c.data, c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Train(ctx, good, Training{Name: "a", Kind: KindBoth}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted training: %v", err)
	}
	// Without labels a forest is trained, and a tenth of all rows may be held.
	trained, err := Train(context.Background(), bare, Training{Name: "a", Kind: KindForest, HoldRate: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	if hold := trained.Model.Message().Thresholds.Hold; hold < 2000 || hold > 3500 {
		t.Errorf("a tenth of the rows reaches %d", hold)
	}
	card, err := ReadCard(trained.Card, trained.Model.Message().CardHash)
	if err != nil || card.Data.Rows != 200 || card.Thresholds.HoldRate != 0.1 || len(card.Features) != 6 {
		t.Errorf("the card is %+v (%v)", card, err)
	}
	if _, err := ReadCard(append(trained.Card, ' '), trained.Model.Message().CardHash); !errors.Is(err, ErrCard) {
		t.Errorf("a changed card: %v", err)
	}
}

func TestConvertedModelsScoreAsTheirParents(t *testing.T) {
	data := table(t, synthetic(3000, 1), Reading{Label: "bad", Ignore: []string{"kind"}})
	raw, err := os.ReadFile("testdata/xgboost.json")
	if err != nil {
		t.Fatal(err)
	}
	converted, err := Convert(raw, Conversion{Name: "x", Data: data, Monotone: map[string]trees.Direction{"amount": trees.Increasing}})
	if err != nil {
		t.Fatal(err)
	}
	// testdata/xgboost.margins.csv is what XGBoost 1.7.4 itself said of every tenth row.
	f, err := os.Open("testdata/xgboost.margins.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records[1:] {
		i, _ := strconv.Atoi(r[0])
		want, _ := strconv.ParseFloat(r[1], 64)
		if have := converted.Scores.Boosted[i]; math.Abs(have-want) > 0.0003 {
			t.Errorf("row %d: margin %g, XGBoost says %g", i, have, want)
		}
	}
	if m := converted.Measured[0]; m.Ranking[0] > 1e-4 || m.Parts[0].Metrics.ROC < 0.75 {
		t.Errorf("%+v", m)
	}

	if raw, err = os.ReadFile("testdata/lightgbm.txt"); err != nil {
		t.Fatal(err)
	}
	converted, err = Convert(raw, Conversion{Name: "l", Data: data})
	if err != nil {
		t.Fatal(err)
	}
	// By hand from the file: amount, hour, rate in hundredths, ones, thousandths.
	for _, c := range []struct {
		row  []int64
		want float64
	}{
		{[]int64{5230, 2, 603}, -1.25 + 0.21875 + 0.001},
		{[]int64{5231, 2, 0}, 0.75 + 0.21875 + 0.001},
		{[]int64{5231, 6, 0}, 1.5 + 0.1 + 0.001},
		{[]int64{30, 3, 604}, -0.4375 - 0.0625 + 0.001},
		{[]int64{trees.Missing, 5, 0}, 0.75 + 0.1 + 0.001},        // NaN goes right by default
		{[]int64{0, 3, trees.Missing}, -1.25 - 0.0625 + 0.001},    // taken for 0
		{[]int64{9999, trees.Missing, 0}, 0.75 + 0.21875 + 0.001}, // NaN goes left by default, then is taken for 0
	} {
		r, err := converted.Model.Score(c.row)
		if have := float64(r.Boosted.Margin) / q16; err != nil || math.Abs(have-c.want) > 3.0/(2*q16) {
			t.Errorf("row %v: margin %g (%v), want %g", c.row, have, err, c.want)
		}
	}
	if converted.Model.Message().Features[0].Decimals != 2 || converted.Model.Message().Features[2].Decimals != 3 {
		t.Error("the decimals are not those of the data")
	}
}

func TestForeignModelsThatCannotBeScoredAreRefused(t *testing.T) {
	read := func(name string) string {
		raw, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	l, x := read("lightgbm.txt"), read("xgboost.json")
	swap := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("the fixture lacks %q", from)
		}
		return strings.Replace(text, from, to, 1)
	}
	schema := Schema{{Name: "amount", Decimals: 2}, {Name: "hour"}, {Name: "rate", Decimals: 3}}
	for name, c := range map[string]struct {
		text  string
		want  *errs.Error
		words string
	}{
		"LightGBM as it is":     {l, nil, ""},
		"XGBoost as it is":      {x, nil, ""},
		"text":                  {"hello", ErrForeign, "line tree"},
		"other JSON":            {"{}", ErrForeign, "no gradient_booster"},
		"broken JSON":           {x[:500], ErrForeign, "EOF"},
		"cut":                   {l[:900], ErrForeign, ""},
		"classes":               {swap(l, "num_class=1", "num_class=3"), ErrUnscorable, "3 classes"},
		"objective":             {swap(l, "objective=binary", "objective=regression"), ErrUnscorable, "regression"},
		"categories":            {swap(l, "decision_type=8 2 10", "decision_type=8 1 10"), ErrUnscorable, "categories"},
		"num_cat":               {swap(l, "num_cat=0", "num_cat=1"), ErrUnscorable, "categories"},
		"linear":                {swap(l, "is_linear=0", "is_linear=1"), ErrUnscorable, "linear"},
		"zero as missing":       {swap(l, "decision_type=8 2 10", "decision_type=8 4 10"), ErrUnscorable, "zero_as_missing"},
		"circle":                {swap(l, "left_child=1 -1 -2", "left_child=1 1 -2"), ErrForeign, ""},
		"root as child":         {swap(l, "left_child=1 -1 -2", "left_child=1 0 -2"), ErrForeign, "root"},
		"no such leaf":          {swap(l, "right_child=2 -4 -3", "right_child=2 -9 -3"), ErrForeign, "leaf"},
		"no such feature":       {swap(l, "split_feature=0 2 1", "split_feature=0 7 1"), ErrForeign, "feature 7"},
		"short lists":           {swap(l, "threshold=52.305000000000007 0.6", "threshold=0.6"), ErrForeign, "instead of"},
		"no number":             {swap(l, "leaf_value=-1.25", "leaf_value=x"), ErrForeign, "no number"},
		"huge leaf":             {swap(l, "leaf_value=-1.25", "leaf_value=1e9"), ErrBounds, "leaf"},
		"XGBoost's objective":   {swap(x, `"name":"binary:logistic"`, `"name":"multi:softprob"`), ErrUnscorable, "multi:softprob"},
		"XGBoost's booster":     {swap(x, `"name":"gbtree"`, `"name":"gblinear"`), ErrUnscorable, "gblinear"},
		"XGBoost's categories":  {swap(x, `"split_type":[0`, `"split_type":[1`), ErrUnscorable, "categories"},
		"XGBoost's base":        {swap(x, `"base_score":"3E-1"`, `"base_score":"3"`), ErrForeign, "probability"},
		"XGBoost's list":        {swap(x, `"split_type":[0,`, `"split_type":[`), ErrForeign, "equally long"},
		"XGBoost's root":        {swap(x, `"left_children":[1,`, `"left_children":[0,`), ErrForeign, "root"},
		"XGBoost's num_feature": {swap(x, `"num_class":"0","num_feature":"3"`, `"num_class":"0","num_feature":"1"`), ErrForeign, "num_feature"},
	} {
		_, err := Convert([]byte(c.text), Conversion{Name: "a", Schema: schema})
		if c.want == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.words)
		}
	}
	if _, err := Convert([]byte(l), Conversion{Name: "a"}); !errors.Is(err, ErrOptions) {
		t.Errorf("without data and schema: %v", err)
	}
	if _, err := Convert([]byte(l), Conversion{Name: "a", Schema: schema[:2]}); !errors.Is(err, ErrColumns) {
		t.Errorf("without a feature: %v", err)
	}
	if _, err := Open([]byte("x")); !errors.Is(err, ErrInvalid) || !errors.Is(err, artifact.ErrInvalid) {
		t.Errorf("no model: %v", err)
	}
}
