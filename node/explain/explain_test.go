package explain

import (
	"strings"
	"testing"

	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// byMessages is a detector whose tree says misuse from three messages on, and a rule the
// same of five at night.
func byMessages(t testing.TB) *Explainer {
	t.Helper()
	test := func(feature string, c threatv1.Comparison, n int64) *threatv1.Predicate {
		return &threatv1.Predicate{Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{Feature: feature, Comparison: c, Number: n}}}
	}
	d := detector.Build("by-messages", &threatv1.Model{
		Format: 1, Name: "by-messages", Features: []*threatv1.Feature{{Name: "messages"}, {Name: "signers"}},
		Boosted: &threatv1.Boosted{
			Trees: []*threatv1.BoostedTree{{
				Splits: &threatv1.Splits{Feature: []uint32{0}, Threshold: []int64{2}, Left: []int32{-1}, Right: []int32{-2}, DefaultLeft: []bool{true}},
				Leaf:   []int32{0, 65536}, Expected: []int32{32768},
			}},
			Calibration: &threatv1.Calibration{Margin: []int64{0, 65536}, Score: []uint32{0, 9000}},
		},
	})
	d.Rules = &threatv1.RuleSet{Rules: []*threatv1.Rule{{Name: "many-at-night", Reason: "many at night", Score: 8000, When: &threatv1.Predicate{
		Kind: &threatv1.Predicate_Count{Count: &threatv1.CountTest{Least: 2, Parts: []*threatv1.Predicate{
			test("messages", threatv1.Comparison_COMPARISON_AT_LEAST, 5), test("off-hours", threatv1.Comparison_COMPARISON_EQUAL, 1),
		}}},
	}}}}
	raw, err := detector.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := detector.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return New(decoded)
}

func row(messages, offHours int64) []int64 {
	out := make([]int64, features.Count)
	for i := range out {
		out[i] = trees.Missing
	}
	out[features.MessagesFeature], out[features.SignersFeature], out[features.OffHoursFeature] = messages, 1, offHours
	return out
}

func verdict(score uint32, drivers ...*chainv1.Driver) *chainv1.Verdict {
	return &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_HOLD, Score: score, Drivers: drivers}
}

func TestWhatWouldHaveToBeDifferent(t *testing.T) {
	e := byMessages(t)
	v := verdict(9000,
		&chainv1.Driver{Part: detector.Boosted, Feature: uint32(features.MessagesFeature + 1), Value: 65536, Points: 9000},
		&chainv1.Driver{Part: detector.Rules, Feature: 1, Value: 8000, Points: 8000})
	text := strings.Join(e.Otherwise(row(5, 1), v), "\n")
	for _, words := range []string{
		"below 7500 of 10000; it was 9000", "The rule many-at-night would have to be broken in one of these: messages: 5 (the rule asks for at least 5); it is Saturday",
		"the boosted trees would stay below the threshold if this were different: messages: at most 2 instead of 5",
	} {
		if !strings.Contains(text, words) {
			t.Errorf("no %q in\n%s", words, text)
		}
	}
	if strings.Contains(text, "signatures") {
		t.Errorf("a feature that changes nothing is named:\n%s", text)
	}
	// By the day the rule does not hold, and the tree does.
	if text = strings.Join(e.Otherwise(row(5, 0), v), "\n"); strings.Contains(text, "many-at-night") {
		t.Error(text)
	}
	if got := e.Otherwise(row(1, 0), verdict(10)); len(got) != 1 || !strings.Contains(got[0], "from 7500 of 10000 on; it had 10") {
		t.Error(got)
	}
	// Where no feature alone would do, it says so.
	if got := strings.Join(e.Otherwise(nil, verdict(9000, v.Drivers[0])), "\n"); !strings.Contains(got, "no single feature") {
		t.Error(got)
	}
}

func TestReasonsHaveNamesAndValues(t *testing.T) {
	e := byMessages(t)
	v := verdict(9000,
		&chainv1.Driver{Part: detector.Boosted, Feature: uint32(features.MessagesFeature + 1), Points: 9000},
		&chainv1.Driver{Part: detector.Own, Feature: 1, Value: 8192, Points: 100},
		&chainv1.Driver{Part: detector.Rules, Feature: 1, Points: 8000},
		&chainv1.Driver{Part: 4000, Feature: 1 << 31, Points: 1})
	got := e.Reasons(row(5, 1), v)
	if len(got) != 4 || got[0].Feature != "messages" || got[0].Value != "5" || got[0].What == "" || got[1].Feature != features.Schema.Feature(0).Name ||
		got[2].Meaning != "many at night" || got[3].Part != "" || got[3].Sentence == "" {
		t.Errorf("%v", got)
	}
	if c := e.Contributions(row(5, 1)); len(c) != 1 || c[0].Feature != "messages" || c[0].Contribution != 32768 {
		t.Errorf("%v", c)
	}
	if r := e.Rules(row(5, 1)); len(r) != 1 || len(r[0].Conditions) != 2 {
		t.Errorf("%v", r)
	}
	// A row that is not known, or is of another program, gives no values and no panic.
	for _, short := range [][]int64{nil, {1, 2}} {
		if e.Rules(short) != nil || e.Contributions(short) != nil || e.Reasons(short, v)[0].Value != "" {
			t.Errorf("%v", short)
		}
	}
	if e.Sentence(nil) != "" || e.Sentence(v) == "" {
		t.Error("sentences")
	}
}

func TestProseForEachOutcome(t *testing.T) {
	hold := func(s threatv1.HoldStatus) *threatv1.Hold {
		return &threatv1.Hold{Status: s, Playbook: "nights", ExpiresAt: 1, EndedTime: 2, Reviews: []*threatv1.Opinion{{Reviewer: "R", Organisation: "O", Release: true}, {Reviewer: "S"}}, Appeals: []*threatv1.AppealRecord{{Author: "A"}}}
	}
	seen := map[string]bool{}
	check := func(r *nodev1.ExplainResponse, words ...string) {
		t.Helper()
		text := strings.Join(Prose(r), "\n")
		if seen[text] {
			t.Errorf("the same is said of two outcomes:\n%s", text)
		}
		seen[text] = true
		for _, p := range Prose(r) {
			if !strings.Contains(p, ". ") {
				t.Errorf("a paragraph without a head: %q", p)
			}
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
	for status, words := range map[threatv1.HoldStatus]string{
		threatv1.HoldStatus_HOLD_STATUS_HELD: "waits for reviewers until", threatv1.HoldStatus_HOLD_STATUS_RELEASED: "and it was executed",
		threatv1.HoldStatus_HOLD_STATUS_FAILED: "its execution failed", threatv1.HoldStatus_HOLD_STATUS_REJECTED: "Reviewers rejected it",
		threatv1.HoldStatus_HOLD_STATUS_EXPIRED: "Nobody decided in time", threatv1.HoldStatus_HOLD_STATUS_DENIED: "an appeal by its author",
	} {
		check(&nodev1.ExplainResponse{Outcome: nodev1.Outcome_OUTCOME_HELD, Hold: hold(status), Verdict: verdict(8000)}, words, `playbook "nights"`, "R, for O, spoke for releasing it", "A appealed")
	}
	check(&nodev1.ExplainResponse{Outcome: nodev1.Outcome_OUTCOME_EXECUTED}, "It was not scored", "It was executed.")
	check(&nodev1.ExplainResponse{Outcome: nodev1.Outcome_OUTCOME_FAILED, Codespace: "consent", Code: 3, Log: "no such"}, "consent/3")
	check(&nodev1.ExplainResponse{Outcome: nodev1.Outcome_OUTCOME_EXECUTED, Verdict: verdict(8000), Model: []byte{1}, ModelName: "m", HoldScore: 7500}, "Its score alone would have had it held")
	check(&nodev1.ExplainResponse{Outcome: nodev1.Outcome_OUTCOME_EXECUTED, Verdict: verdict(0)}, "No model could score it")
	check(&nodev1.ExplainResponse{Outcome: nodev1.Outcome_OUTCOME_EXECUTED, Verdict: verdict(0), Gaps: []string{"This is missing."}}, "What is not known here. This is missing.")
}
