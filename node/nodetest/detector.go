package nodetest

import (
	"testing"

	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bulk is a detector that holds transactions of at least hold messages and denies those of
// at least deny. model is its trees, nil for none.
func Bulk(t testing.TB, name string, model *threatv1.Model, hold, deny int64) []byte {
	t.Helper()
	d := detector.Build(name, model)
	d.Rules = new(threatv1.RuleSet)
	for _, r := range []struct {
		name  string
		score uint32
		from  int64
	}{{"bulk", 8000, hold}, {"too-much", 9800, deny}} {
		d.Rules.Rules = append(d.Rules.Rules, &threatv1.Rule{Name: r.name, Reason: "there are many messages in one transaction", Score: r.score, When: &threatv1.Predicate{Kind: &threatv1.Predicate_Test{
			Test: &threatv1.FeatureTest{Feature: features.Table[features.MessagesFeature].Name, Comparison: threatv1.Comparison_COMPARISON_AT_LEAST, Number: r.from},
		}}})
	}
	d.Thresholds = &threatv1.Thresholds{Hold: 7500, Deny: 9500}
	raw, err := detector.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
