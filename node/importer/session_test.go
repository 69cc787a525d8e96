package importer_test

import (
	"testing"

	"github.com/chancery/chancery/node/importer"
)

// Documents that make no message do not gather until the import ends.
func TestReportsComeAlong(t *testing.T) {
	done := 0
	s := &importer.Session{Options: options(), Done: func(*importer.Report) { done++ }}
	const n = 1000
	reports, err := s.Import(t.Context(), importer.FHIR, func(yield func(importer.Source) bool) {
		for range n {
			if !yield(importer.Source{Name: "bad", Raw: []byte("{")}) {
				return
			}
		}
		if done < n/2 {
			t.Errorf("%d reports of %d when the last document was read", done, n)
		}
	})
	if err != nil || len(reports) != n || done != n {
		t.Errorf("%d reports, %d done, %v", len(reports), done, err)
	}
}
