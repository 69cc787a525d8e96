package importer_test

import (
	"errors"
	"fmt"
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

// failing are salts whose file breaks after a number of them.
type failing struct {
	importer.Salts
	left int
}

func (f *failing) Salt(scope, identifier string) ([]byte, error) {
	if f.left--; f.left < 0 {
		return nil, importer.ErrSaltFile
	}
	return f.Salts.Salt(scope, identifier)
}

// An import that ends before its time says of every document that it read what became
// of it.
func TestAnImportThatBreaksReports(t *testing.T) {
	o := options()
	o.Salts = &failing{salts(), 10}
	var done []*importer.Report
	s := &importer.Session{Options: o, Done: func(r *importer.Report) { done = append(done, r) }}
	reports, err := s.Import(t.Context(), importer.FHIR, func(yield func(importer.Source) bool) {
		for i := range 20 {
			if !yield(importer.Source{Name: "c", Raw: fmt.Appendf(nil, opt, "OPTIN", fmt.Sprintf(`,"dateTime":"20%02d"`, i))}) {
				return
			}
		}
	})
	if !errors.Is(err, importer.ErrSaltFile) || len(reports) < 2 || len(done) != len(reports) {
		t.Fatalf("%d of %d reports: %v", len(done), len(reports), err)
	}
	for i, r := range done {
		want := importer.Mapped
		if i == len(done)-1 {
			want = importer.Refused
		}
		if r != reports[i] || r.Status != want {
			t.Errorf("report %d: %s, want %s", i, r.Status, want)
		}
	}
}
