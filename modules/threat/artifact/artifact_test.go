package artifact_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// small is a model of two features with one boosted tree and one isolation tree.
func small() *threatv1.Model {
	return &threatv1.Model{
		Format: artifact.Format, Name: "small",
		Features: []*threatv1.Feature{
			{Name: "size", Unit: "bytes", Monotone: threatv1.Monotone_MONOTONE_INCREASING},
			{Name: "kind=export", Column: "kind", Categories: []string{"export"}},
		},
		Boosted: &threatv1.Boosted{
			Base: -65536,
			Trees: []*threatv1.BoostedTree{{
				Splits: &threatv1.Splits{Feature: []uint32{0, 1}, Threshold: []int64{1000, 0}, Left: []int32{-1, -2}, Right: []int32{1, -3}, DefaultLeft: []bool{true, false}},
				Leaf:   []int32{-1000, 2000, 90000}, Expected: []int32{0, 3000},
			}},
			Calibration: &threatv1.Calibration{Margin: []int64{-65536, 65536}, Score: []uint32{0, 10000}},
		},
		Forest: &threatv1.Forest{
			Samples: 4,
			Trees: []*threatv1.IsolationTree{{
				Splits: &threatv1.Splits{Feature: []uint32{0}, Threshold: []int64{50}, Left: []int32{-1}, Right: []int32{-2}, DefaultLeft: []bool{true}},
				Size:   []uint32{3, 1},
			}},
			Calibration: &threatv1.Calibration{Margin: []int64{0}, Score: []uint32{100}},
		},
		Thresholds: &threatv1.Thresholds{Hold: 5000, Deny: 9000},
		CardHash:   make([]byte, 32),
	}
}

func decoded(t *testing.T, m *threatv1.Model) *artifact.Model {
	t.Helper()
	raw, err := artifact.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := artifact.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if out.Hash() != artifact.Hash(raw) || out.Size() != len(raw) || !out.Message().EqualVT(m) {
		t.Error("the model is not what was encoded")
	}
	return out
}

func TestAModelSaysWhatAndWhy(t *testing.T) {
	m := decoded(t, small())
	for _, c := range []struct {
		row     []int64
		margin  int64
		score   uint32
		verdict artifact.Verdict
		reasons []artifact.Reason
	}{
		{[]int64{10, 0}, -65536 - 1000, 100, artifact.Admit, nil}, // the forest's score is larger
		{[]int64{1000, 1}, -65536 - 1000, 100, artifact.Admit, nil},
		{[]int64{1001, 0}, -65536 + 2000, 152, artifact.Admit, []artifact.Reason{{0, 3000}}},
		{[]int64{1001, 1}, -65536 + 90000, 6866, artifact.Hold, []artifact.Reason{{1, 87000}, {0, 3000}}},
		{[]int64{math.MaxInt64, trees.Missing}, -65536 + 90000, 6866, artifact.Hold, []artifact.Reason{{1, 87000}, {0, 3000}}},
		{[]int64{trees.Missing, 1}, -65536 - 1000, 100, artifact.Admit, nil},
	} {
		r, err := m.Score(c.row)
		if err != nil || r.Boosted.Margin != c.margin || r.Score != c.score || m.Verdict(r.Score) != c.verdict {
			t.Errorf("row %v: %+v (%v), want margin %d, score %d, %v", c.row, r, err, c.margin, c.score, c.verdict)
		}
		e, err := m.Explain(c.row)
		if err != nil || e.Result != r {
			t.Errorf("row %v: explained as %+v (%v)", c.row, e.Result, err)
		}
		if have := artifact.Reasons(e.BoostedContributions, 5); !slices.Equal(have, c.reasons) {
			t.Errorf("row %v: reasons %v, want %v", c.row, have, c.reasons)
		}
		if r.Work > m.MaxWork() || m.MaxWork() != 1+2+1+1 {
			t.Errorf("row %v: %d units of at most %d", c.row, r.Work, m.MaxWork())
		}
	}
	if _, err := m.Score([]int64{1}); !errors.Is(err, trees.ErrRow) {
		t.Errorf("a short row: %v", err)
	}
	row := []int64{1001, 1}
	if n := testing.AllocsPerRun(100, func() { _, _ = m.Score(row) }); n != 0 {
		t.Errorf("a score allocates %g times", n)
	}
}

func TestUnusableModelsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(*threatv1.Model)
		words string
	}{
		"form":             {func(m *threatv1.Model) { m.Format = 2 }, "its form is 2"},
		"no name":          {func(m *threatv1.Model) { m.Name = "" }, "the name"},
		"name":             {func(m *threatv1.Model) { m.Name = "Über" }, "the name"},
		"long name":        {func(m *threatv1.Model) { m.Name = strings.Repeat("a", 65) }, "the name"},
		"no features":      {func(m *threatv1.Model) { m.Features = nil }, "0 features"},
		"many features":    {func(m *threatv1.Model) { m.Features = make([]*threatv1.Feature, 1025); fillFeatures(m) }, "1025 features"},
		"feature's name":   {func(m *threatv1.Model) { m.Features[0].Name = "a\nb" }, "control characters"},
		"same names":       {func(m *threatv1.Model) { m.Features[1].Name = "size" }, "two features"},
		"decimals":         {func(m *threatv1.Model) { m.Features[0].Decimals = 19 }, "19 decimals"},
		"column":           {func(m *threatv1.Model) { m.Features[0].Column = "size" }, "only where"},
		"categories":       {func(m *threatv1.Model) { m.Features[1].Categories = []string{"b", "a"} }, "not in order"},
		"same categories":  {func(m *threatv1.Model) { m.Features[1].Categories = []string{"a", "a"} }, "not in order"},
		"direction":        {func(m *threatv1.Model) { m.Features[0].Monotone = 9 }, "unknown direction"},
		"not monotone":     {func(m *threatv1.Model) { m.Features[0].Monotone = threatv1.Monotone_MONOTONE_DECREASING }, "raise the margin"},
		"not monotone too": {func(m *threatv1.Model) { m.Boosted.Trees[0].Leaf[0], m.Boosted.Trees[0].Expected[0] = 5000, 5000 }, "lower the margin"},
		"no trees":         {func(m *threatv1.Model) { m.Boosted, m.Forest = nil, nil }, "no trees"},
		"empty boosted":    {func(m *threatv1.Model) { m.Boosted.Trees = nil }, "0 trees"},
		"empty forest":     {func(m *threatv1.Model) { m.Forest.Trees = nil }, "0 trees"},
		"no splits":        {func(m *threatv1.Model) { m.Boosted.Trees[0].Splits = nil }, "expectations"},
		"lists":            {func(m *threatv1.Model) { m.Boosted.Trees[0].Splits.Left = []int32{-1} }, "equally long"},
		"expectations":     {func(m *threatv1.Model) { m.Boosted.Trees[0].Expected = []int32{0} }, "1 expectations"},
		"leaves":           {func(m *threatv1.Model) { m.Boosted.Trees[0].Leaf = []int32{1, 2} }, "have 2 leaves"},
		"feature":          {func(m *threatv1.Model) { m.Boosted.Trees[0].Splits.Feature[0] = 2 }, "feature 2 of 2"},
		"large feature":    {func(m *threatv1.Model) { m.Boosted.Trees[0].Splits.Feature[0] = 1 << 16 }, "feature 65536"},
		"circle":           {func(m *threatv1.Model) { m.Boosted.Trees[0].Splits.Right[1] = 0 }, "not behind"},
		"base":             {func(m *threatv1.Model) { m.Boosted.Base = 1 << 41 }, "the base"},
		"calibration":      {func(m *threatv1.Model) { m.Boosted.Calibration = nil }, "0 margins"},
		"falling":          {func(m *threatv1.Model) { m.Boosted.Calibration.Score = []uint32{2, 1} }, "falls"},
		"flat margins":     {func(m *threatv1.Model) { m.Boosted.Calibration.Margin = []int64{5, 5} }, "falls"},
		"score":            {func(m *threatv1.Model) { m.Boosted.Calibration.Score[1] = 10001 }, "out of bounds"},
		"knot":             {func(m *threatv1.Model) { m.Boosted.Calibration.Margin[1] = 1<<42 + 1 }, "out of bounds"},
		"samples":          {func(m *threatv1.Model) { m.Forest.Samples = 5 }, "hold 4 of 5"},
		"size":             {func(m *threatv1.Model) { m.Forest.Trees[0].Size[1] = 0 }, "0 of 4"},
		"thresholds":       {func(m *threatv1.Model) { m.Thresholds.Deny = 4000 }, "thresholds"},
		"threshold":        {func(m *threatv1.Model) { m.Thresholds.Hold = 10001 }, "thresholds"},
		"card":             {func(m *threatv1.Model) { m.CardHash = make([]byte, 31) }, "31 bytes"},
		"many trees": {func(m *threatv1.Model) {
			for range trees.MaxTrees {
				m.Boosted.Trees = append(m.Boosted.Trees, m.Boosted.Trees[0])
			}
		}, "1025 trees"},
		"large": {func(m *threatv1.Model) {
			m.CardHash = make([]byte, artifact.MaxBytes)
		}, "at most"},
	} {
		m := small()
		c.edit(m)
		raw, err := m.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		_, err = artifact.Decode(raw)
		if !errors.Is(err, artifact.ErrInvalid) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
		if _, err := artifact.Encode(m); !errors.Is(err, artifact.ErrInvalid) {
			t.Errorf("%s: encoded (%v)", name, err)
		}
	}
}

func fillFeatures(m *threatv1.Model) {
	for i := range m.Features {
		m.Features[i] = &threatv1.Feature{}
	}
}

func TestBytesThatAreNotCanonicalAreRefused(t *testing.T) {
	raw, err := artifact.Encode(small())
	if err != nil {
		t.Fatal(err)
	}
	tagged := func(b []byte) []byte { return protowire.AppendTag(b, 15, protowire.VarintType) }
	for name, bad := range map[string][]byte{
		"nothing":          nil,
		"an unknown field": protowire.AppendVarint(tagged(slices.Clone(raw)), 1),
		"a field twice":    append(slices.Clone(raw), 0x12, 5, 's', 'm', 'a', 'l', 'l'),
		"a default":        append([]byte{0x08, 0x00}, raw...),
		"a long varint":    append([]byte{0x08, 0x81, 0x00}, raw[2:]...),
		"a cut":            raw[:len(raw)-1],
		"a tail":           append(slices.Clone(raw), 0),
		"text":             []byte("model"),
	} {
		if _, err := artifact.Decode(bad); !errors.Is(err, artifact.ErrInvalid) {
			t.Errorf("bytes with %s: %v", name, err)
		}
	}
	// An unknown field inside of a tree.
	inner := slices.Clone(raw)
	tree := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte{0x78, 0x01})
	inner = protowire.AppendBytes(protowire.AppendTag(inner, 4, protowire.BytesType), tree)
	if _, err := artifact.Decode(inner); !errors.Is(err, artifact.ErrInvalid) {
		t.Errorf("an unknown field in a tree: %v", err)
	}
}

// The calibration is what straight lines between the knots give, in exact arithmetic.
func TestCalibrationNeverOverflows(t *testing.T) {
	m := small()
	m.Forest = nil
	m.Boosted.Calibration = &threatv1.Calibration{Margin: []int64{-1 << 42, 1 << 42}, Score: []uint32{0, 10000}}
	m.Boosted.Base = trees.MaxBase
	model := decoded(t, m)
	r, err := model.Score([]int64{0, 0})
	margin := int64(trees.MaxBase) - 1000
	if want := uint32(float64(margin+1<<42) / (1 << 43) * 10000); err != nil || r.Score != want {
		t.Errorf("score %d (%v), want %d", r.Score, err, want)
	}
}

// FuzzDecode: any bytes are refused or make a model that scores any row within its
// bounds, whose reasons add up.
func FuzzDecode(f *testing.F) {
	for _, m := range []*threatv1.Model{small(), {Format: 1}} {
		raw, _ := m.MarshalVT()
		f.Add(raw, uint64(1))
	}
	alone := small()
	alone.Boosted = nil
	raw, _ := alone.MarshalVT()
	f.Add(raw, uint64(2))
	for _, g := range goldenModels(f) {
		f.Add(g.raw, uint64(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		m, err := artifact.Decode(raw)
		if err != nil {
			if !errors.Is(err, artifact.ErrInvalid) {
				t.Fatalf("the refusal is no ErrInvalid: %v", err)
			}
			return
		}
		again, err := artifact.Encode(m.Message())
		if err != nil || string(again) != string(raw) {
			t.Fatalf("it does not encode to itself: %v", err)
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 4 {
			row := make([]int64, m.Features())
			for i := range row {
				switch rng.IntN(4) {
				case 0:
					row[i] = trees.Missing
				case 1:
					row[i] = int64(rng.Uint64())
				default:
					row[i] = rng.Int64N(4001) - 2000
				}
			}
			e, err := m.Explain(row)
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.Score(row)
			if err != nil || r != e.Result {
				t.Fatalf("scored %+v and explained %+v (%v)", r, e.Result, err)
			}
			if r.Score > artifact.MaxScore || r.Work > m.MaxWork() || max(r.Boosted.Margin, -r.Boosted.Margin, r.Forest.Margin, -r.Forest.Margin) > trees.MaxMargin {
				t.Fatalf("%+v is out of bounds", r)
			}
			if m.Boosted() != nil && m.Boosted().Bias()+total(e.BoostedContributions) != r.Boosted.Margin {
				t.Fatal("the boosted reasons do not add up")
			}
			if m.Forest() != nil && m.Forest().Bias()+total(e.ForestContributions) != r.Forest.Margin {
				t.Fatal("the forest's reasons do not add up")
			}
		}
	})
}

func total(list []int64) (sum int64) {
	for _, x := range list {
		sum += x
	}
	return
}
