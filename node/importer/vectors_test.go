package importer_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/importer"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// Every shared example maps, accounts for each of its leaves, and is accepted by
// the chain.
func TestSharedExamples(t *testing.T) {
	for _, set := range []struct {
		name   string
		files  func(testing.TB) map[string][]byte
		mapper importer.Mapper
		count  int
	}{
		{"Consent", func(t testing.TB) map[string][]byte { return fhirFiles(t, "Consent") }, importer.FHIR, 12},
		{"AuditEvent", func(t testing.TB) map[string][]byte { return fhirFiles(t, "AuditEvent") }, importer.FHIR, 9},
		{"Contract", func(t testing.TB) map[string][]byte { return fhirFiles(t, "Contract") }, importer.FHIR, 8},
		{"Provenance", func(t testing.TB) map[string][]byte { return fhirFiles(t, "Provenance") }, importer.FHIR, 5},
		{"OpenLineage", lineageFiles, importer.OpenLineage, 51},
	} {
		t.Run(set.name, func(t *testing.T) {
			all := set.files(t)
			if len(all) != set.count {
				t.Errorf("%d documents, want %d", len(all), set.count)
			}
			for _, name := range names(all) {
				t.Run(name, func(t *testing.T) {
					r, err := set.mapper(all[name], options())
					if err != nil {
						t.Fatal(err)
					}
					accounted(t, name, all[name], r)
					if len(r.Messages) == 0 {
						t.Error("it came to nothing")
					}
					if result := newLedger(t).do(r.Messages...); result.Code != 0 {
						t.Errorf("the chain refuses it: %s/%d %s", result.Codespace, result.Code, result.Log)
					}
				})
			}
		})
	}
}

// What the twelve shared consents come to. None of those that withhold something
// gives it.
func TestSharedConsents(t *testing.T) {
	all := fhirFiles(t, "Consent")
	for name, want := range map[string]string{
		"Consent-consent-example-Emergency.json":   "refuse",
		"Consent-consent-example-Out.json":         "refuse",
		"Consent-consent-example-basic.json":       "give",
		"Consent-consent-example-grantor.json":     "refuse",
		"Consent-consent-example-notAuthor.json":   "refuse",
		"Consent-consent-example-notOrg.json":      "give but",
		"Consent-consent-example-notThem.json":     "refuse",
		"Consent-consent-example-notThis.json":     "refuse",
		"Consent-consent-example-notTime.json":     "give",
		"Consent-consent-example-pkb.json":         "refuse",
		"Consent-consent-example-signature.json":   "give but",
		"Consent-consent-example-smartonfhir.json": "give",
	} {
		r, err := importer.FHIR(all[name], options())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		for _, m := range r.Messages {
			switch m := m.(type) {
			case *consentv1.Give:
				got += "give"
				if len(m.Terms.Exclusions) > 0 {
					got += " but"
				}
			case *consentv1.Refuse:
				got += "refuse"
			}
		}
		if got != want {
			t.Errorf("%s came to %q, want %q", name, got, want)
		}
	}
}

// Every case of the shared Cedar corpus maps when its policies are valid against
// its schema, and is refused with a code of module access otherwise.
func TestSharedCedar(t *testing.T) {
	all := shared(t, "cedar/corpus")
	mapped, refused := 0, 0
	for _, name := range names(all) {
		base, ok := strings.CutSuffix(name, ".cedarschema")
		if !ok {
			continue
		}
		var c struct {
			ShouldValidate bool `json:"shouldValidate"`
		}
		if err := json.Unmarshal(all[base+".json"], &c); err != nil {
			t.Fatal(err)
		}
		list := []importer.File{}
		for _, ext := range []string{".cedar", ".cedarschema", ".entities.json"} {
			list = append(list, importer.File{Name: base + ext, Raw: all[base+ext]})
		}
		messages, results, err := importer.Cedar(list, nil, options())
		if err != nil {
			var e *errs.Error
			if !errors.As(err, &e) || e.Module != "access" || c.ShouldValidate {
				t.Errorf("%s: should validate %v: %v", base, c.ShouldValidate, err)
			}
			refused++
			continue
		}
		mapped++
		if !c.ShouldValidate {
			t.Errorf("%s is mapped and should not validate", base)
		}
		results[2].Messages = messages
		accounted(t, base, list[2].Raw, results[2])
	}
	t.Logf("%d cases map, %d are refused", mapped, refused)
	if mapped == 0 || refused == 0 {
		t.Errorf("%d cases map, %d are refused; there should be some of each", mapped, refused)
	}
}
