package determinism_test

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/chancery/chancery/scripts/determinism"
	"github.com/chancery/chancery/scripts/internal/layout"
)

// Each package of testdata shows the forms that one family of rules refuses, marked with what is reported, and
// beside them the forms that it allows. The last ones hold what the rules leave out: tests, generated code, packages
// for tests alone, and packages outside chain and modules.
func TestEachRefusedAndEachAllowedForm(t *testing.T) {
	reports := map[string]bool{
		"chain/clock":       true,
		"chain/concurrency": true,
		"chain/directives":  true,
		"chain/floats":      true,
		"chain/imports":     true,
		"chain/keys":        true,
		"chain/maporder":    true,
		"chain/prototext":   true,
		"chain/uses":        true,
		"modules/consent":   true,
		"chain/chaintest":   false,
		"chain/clean":       false,
		"node/free":         false,
	}
	var patterns []string
	for folder := range reports {
		patterns = append(patterns, layout.Module+"/"+folder)
	}
	seen := map[string]bool{}
	for _, r := range analysistest.Run(t, analysistest.TestData(), determinism.Analyzer, patterns...) {
		folder, _ := layout.Rel(r.Pass.Pkg.Path())
		seen[folder] = true
		if got := len(r.Diagnostics) > 0; got != reports[folder] {
			t.Errorf("%s: %d reports", folder, len(r.Diagnostics))
		}
	}
	for folder := range reports {
		if !seen[folder] {
			t.Errorf("%s was not analysed", folder)
		}
	}
}
