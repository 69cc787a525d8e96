package rules

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

type (
	predicate = threatv1.Predicate
	set       = threatv1.RuleSet
)

func test(feature string, c threatv1.Comparison, number int64) *predicate {
	return &predicate{Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{Feature: feature, Comparison: c, Number: number}}}
}

func count(least uint32, parts ...*predicate) *predicate {
	return &predicate{Kind: &threatv1.Predicate_Count{Count: &threatv1.CountTest{Least: least, Parts: parts}}}
}

func rule(name string, score uint32, when *predicate) *threatv1.Rule {
	return &threatv1.Rule{Name: name, Reason: "Because of " + name + ".", Score: score, When: when}
}

const (
	less, atMost, equal   = threatv1.Comparison_COMPARISON_LESS, threatv1.Comparison_COMPARISON_AT_MOST, threatv1.Comparison_COMPARISON_EQUAL
	other, atLeast, great = threatv1.Comparison_COMPARISON_NOT_EQUAL, threatv1.Comparison_COMPARISON_AT_LEAST, threatv1.Comparison_COMPARISON_GREATER
)

var (
	features = []string{"key-age", "records", "hour", "denied"}
	example  = &set{Rules: []*threatv1.Rule{
		rule("bulk-at-night", 8000, count(2, test("records", atLeast, 500), count(1, test("hour", less, 6), test("hour", great, 21)))),
		rule("new-key-probing", 9000, count(2, test("key-age", atMost, 3600), test("denied", great, 2), test("records", other, 0))),
		rule("probing", 6000, test("denied", atLeast, 5)),
	}}
)

func bind(t testing.TB, s *set) *Rules {
	t.Helper()
	r, err := Bind(s, features)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRulesHoldAsTheyRead(t *testing.T) {
	r := bind(t, example)
	for _, c := range []struct {
		values []int64 // key-age, records, hour, denied
		want   Verdict
	}{
		{[]int64{90000, 500, 3, 0}, Verdict{8000, 0, 1}},
		{[]int64{90000, 500, 22, 0}, Verdict{8000, 0, 1}},
		{[]int64{90000, 500, 12, 0}, Verdict{0, -1, 0}},
		{[]int64{90000, 499, 3, 0}, Verdict{0, -1, 0}},
		{[]int64{3600, 0, 12, 3}, Verdict{9000, 1, 2}},
		{[]int64{3601, 0, 12, 3}, Verdict{0, -1, 0}},
		{[]int64{10, 900, 0, 5}, Verdict{9000, 1, 7}},
		{[]int64{90000, 0, 12, 5}, Verdict{6000, 2, 4}},
		{[]int64{0, 1}, Verdict{9000, 1, 2}}, // hour and denied have no value
		{nil, Verdict{0, -1, 0}},
	} {
		if got := r.Judge(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
	if r.Len() != 3 || r.Name(1) != "new-key-probing" || !strings.HasPrefix(r.Reason(1), "Because") || !slices.Equal(r.Features(1), []int{0, 1, 3}) || r.Work() != 10 {
		t.Error(r.Len(), r.Name(1), r.Reason(1), r.Features(1), r.Work())
	}
}

func TestEveryComparisonMeansItself(t *testing.T) {
	means := map[threatv1.Comparison]func(a, b int64) bool{
		less: func(a, b int64) bool { return a < b }, atMost: func(a, b int64) bool { return a <= b },
		equal: func(a, b int64) bool { return a == b }, other: func(a, b int64) bool { return a != b },
		atLeast: func(a, b int64) bool { return a >= b }, great: func(a, b int64) bool { return a > b },
	}
	if len(means) != len(threatv1.Comparison_name)-1 {
		t.Fatal("a comparison is not tested")
	}
	values := []int64{math.MinInt64, -1, 0, 1, math.MaxInt64}
	for c, want := range means {
		for _, b := range values {
			r := bind(t, &set{Rules: []*threatv1.Rule{rule("x", 1, test("key-age", c, b))}})
			for _, a := range values {
				if got := r.Judge([]int64{a}).Held == 1; got != want(a, b) {
					t.Errorf("%d %v %d is %v", a, c, b, got)
				}
			}
		}
	}
}

// holds reads a condition as it is written.
func holds(p *predicate, values map[string]int64) bool {
	if c := p.GetCount(); c != nil {
		var n uint32
		for _, part := range c.Parts {
			if holds(part, values) {
				n++
			}
		}
		return n >= c.Least
	}
	x := values[p.GetTest().Feature]
	return map[threatv1.Comparison]bool{
		less: x < p.GetTest().Number, atMost: x <= p.GetTest().Number, equal: x == p.GetTest().Number,
		other: x != p.GetTest().Number, atLeast: x >= p.GetTest().Number, great: x > p.GetTest().Number,
	}[p.GetTest().Comparison]
}

func predicates(depth int) *rapid.Generator[*predicate] {
	return rapid.Custom(func(t *rapid.T) *predicate {
		if depth == 0 || rapid.Bool().Draw(t, "leaf") {
			return test(rapid.SampledFrom(features).Draw(t, "feature"), threatv1.Comparison(rapid.IntRange(1, 6).Draw(t, "comparison")), rapid.Int64Range(-2, 2).Draw(t, "number"))
		}
		parts := rapid.SliceOfN(predicates(depth-1), 2, 3).Draw(t, "parts")
		return count(rapid.Uint32Range(1, uint32(len(parts))).Draw(t, "least"), parts...)
	})
}

func TestBoundRulesJudgeAsTheConditionsThatTheyComeFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &set{}
		for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
			s.Rules = append(s.Rules, rule(fmt.Sprintf("rule-%d", i), rapid.Uint32Range(1, MaxScore).Draw(t, "score"), predicates(3).Draw(t, "when")))
		}
		raw, err := Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Unmarshal(raw)
		if err != nil || !back.EqualVT(s) {
			t.Fatal(err)
		}
		r, err := Bind(back, features)
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]int64{}
		var values []int64
		for _, f := range features {
			v := rapid.Int64Range(-3, 3).Draw(t, f)
			named[f] = v
			values = append(values, v)
		}
		want := Verdict{Rule: -1}
		for i, rule := range s.Rules {
			if holds(rule.When, named) {
				want.Held |= 1 << i
				if uint16(rule.Score) > want.Score {
					want.Score, want.Rule = uint16(rule.Score), i
				}
			}
		}
		if got := r.Judge(values); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

func nested(depth int) *predicate {
	p := test("hour", equal, 1)
	for range depth - 1 {
		p = count(1, p, test("hour", equal, 2))
	}
	return p
}

func TestSetsOutOfBoundsAreRefused(t *testing.T) {
	ok := test("hour", equal, 1)
	var many []*threatv1.Rule
	for i := range MaxRules + 1 {
		many = append(many, rule(fmt.Sprintf("rule-%02d", i), 1, ok))
	}
	wide := count(1)
	for range MaxConditions {
		wide.GetCount().Parts = append(wide.GetCount().Parts, ok)
	}
	for name, s := range map[string]*set{
		"too many":          {Rules: many},
		"no name":           {Rules: []*threatv1.Rule{rule("", 1, ok)}},
		"space in name":     {Rules: []*threatv1.Rule{rule("a b", 1, ok)}},
		"long name":         {Rules: []*threatv1.Rule{rule(strings.Repeat("a", wire.MaxName+1), 1, ok)}},
		"twice":             {Rules: []*threatv1.Rule{rule("a", 1, ok), rule("a", 1, ok)}},
		"descending":        {Rules: []*threatv1.Rule{rule("b", 1, ok), rule("a", 1, ok)}},
		"no reason":         {Rules: []*threatv1.Rule{{Name: "a", Score: 1, When: ok}}},
		"a hidden turn":     {Rules: []*threatv1.Rule{{Name: "a", Reason: "x\u202Ey", Score: 1, When: ok}}},
		"two lines":         {Rules: []*threatv1.Rule{{Name: "a", Reason: "x\ny", Score: 1, When: ok}}},
		"long reason":       {Rules: []*threatv1.Rule{{Name: "a", Reason: strings.Repeat("a", MaxReason+1), Score: 1, When: ok}}},
		"no score":          {Rules: []*threatv1.Rule{rule("a", 0, ok)}},
		"large score":       {Rules: []*threatv1.Rule{rule("a", MaxScore+1, ok)}},
		"no condition":      {Rules: []*threatv1.Rule{rule("a", 1, nil)}},
		"empty condition":   {Rules: []*threatv1.Rule{rule("a", 1, &predicate{})}},
		"no feature":        {Rules: []*threatv1.Rule{rule("a", 1, test("", equal, 1))}},
		"no comparison":     {Rules: []*threatv1.Rule{rule("a", 1, test("hour", 0, 1))}},
		"odd comparison":    {Rules: []*threatv1.Rule{rule("a", 1, test("hour", 7, 1))}},
		"count of one":      {Rules: []*threatv1.Rule{rule("a", 1, count(1, ok))}},
		"count asks none":   {Rules: []*threatv1.Rule{rule("a", 1, count(0, ok, ok))}},
		"count asks more":   {Rules: []*threatv1.Rule{rule("a", 1, count(3, ok, ok))}},
		"a part is missing": {Rules: []*threatv1.Rule{rule("a", 1, count(1, ok, nil))}},
		"deep":              {Rules: []*threatv1.Rule{rule("a", 1, nested(MaxDepth+1))}},
		"wide":              {Rules: []*threatv1.Rule{rule("a", 1, wide)}},
		"no rule":           {Rules: []*threatv1.Rule{nil}},
	} {
		if err := Check(s); !errors.Is(err, ErrRules) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Marshal(s); err == nil {
			t.Errorf("%s is written", name)
		}
		if _, err := Bind(s, features); err == nil {
			t.Errorf("%s is bound", name)
		}
	}
	wide.GetCount().Parts = wide.GetCount().Parts[:MaxConditions-1]
	for name, s := range map[string]*set{
		"none": {}, "deepest": {Rules: []*threatv1.Rule{rule("a", 1, nested(MaxDepth))}},
		"widest": {Rules: []*threatv1.Rule{rule("a", 1, wide)}}, "most": {Rules: many[:MaxRules]},
	} {
		if err := Check(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		raw, err := Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Unmarshal(raw); err != nil || !back.EqualVT(s) {
			t.Errorf("%s does not come back: %v", name, err)
		}
	}
	if _, err := Bind(example, features[:3]); !errors.Is(err, ErrRules) || !strings.Contains(err.Error(), "denied") {
		t.Errorf("a feature that is not there: %v", err)
	}
}

func TestTheLargestSetFitsItsBound(t *testing.T) {
	s := &set{}
	wide := count(MaxConditions - 1)
	for range MaxConditions - 1 {
		wide.GetCount().Parts = append(wide.GetCount().Parts, test(strings.Repeat("f", wire.MaxName), equal, math.MinInt64))
	}
	for i := range MaxRules {
		s.Rules = append(s.Rules, &threatv1.Rule{Name: fmt.Sprintf("%0*d", wire.MaxName, i), Reason: strings.Repeat("r", MaxReason), Score: MaxScore, When: wide})
	}
	raw, err := Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Unmarshal(raw); err != nil || !back.EqualVT(s) {
		t.Fatal(err)
	}
	t.Logf("%d of %d bytes", len(raw), MaxSet)
}

func TestJudgingAllocatesNothing(t *testing.T) {
	r, values := bind(t, example), []int64{10, 900, 0, 5}
	if n := testing.AllocsPerRun(100, func() { r.Judge(values) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The bytes of a set are what its hash is of.
func TestTheBytesOfASetGolden(t *testing.T) {
	raw, err := Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", raw); got != goldenSet {
		t.Errorf("the bytes are\n%s", got)
	}
}

const goldenSet = "0a670a0d62756c6b2d61742d6e69676874121942656361757365206f662062756c6b2d61742d6e696768742e18c03e22381236080212100a0e0a077265636f726473100518e8071220121e0801120c0a0a0a04686f75721001180c120c0a0a0a04686f75721006182a0a680a0f6e65772d6b65792d70726f62696e67121b42656361757365206f66206e65772d6b65792d70726f62696e672e18a84622351233080212100a0e0a076b65792d616765100218a038120e0a0c0a0664656e69656410061804120d0a0b0a077265636f72647310040a310a0770726f62696e67121342656361757365206f662070726f62696e672e18f02e220e0a0c0a0664656e6965641005180a"

// FuzzRules takes the bytes that it writes itself and no others, and judges anything by what it took.
func FuzzRules(f *testing.F) {
	raw, _ := Marshal(example)
	f.Add(raw, int64(1), int64(900))
	deep, _ := Marshal(&set{Rules: []*threatv1.Rule{rule("a", 1, nested(MaxDepth))}})
	f.Add(deep, int64(0), int64(0))
	f.Add([]byte{}, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, raw []byte, a, b int64) {
		s, err := Unmarshal(raw)
		if err != nil {
			return
		}
		if again, err := Marshal(s); err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("%x comes back as %x (%v)", raw, again, err)
		}
		r, err := Bind(s, features)
		if err != nil {
			return
		}
		for _, values := range [][]int64{nil, {a}, {a, b}, {a, b, b, a}} {
			v := r.Judge(values)
			if (v.Held == 0) != (v.Score == 0) || v.Rule >= r.Len() || v.Score > MaxScore {
				t.Fatalf("%+v", v)
			}
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	r, values := bind(b, example), []int64{10, 900, 0, 5}
	b.ReportAllocs()
	for range b.N {
		r.Judge(values)
	}
}
