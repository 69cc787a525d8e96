package scenario

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chancery/chancery/node/importer"
)

// The program's own examples import without a word about refusal.
func TestOwnExamplesMap(t *testing.T) {
	fhir, lineage, _, err := (&run{}).examples()
	if err != nil {
		t.Fatal(err)
	}
	session := func() *importer.Session {
		return &importer.Session{Options: importer.Options{Organisation: "did:chancery:mercy-hospital", Jurisdiction: "NL", Salts: &importer.MemorySalts{}}}
	}
	resources, err := session().Import(t.Context(), importer.FHIR, slices.Values(fhir))
	if err != nil {
		t.Fatal(err)
	}
	events, err := session().Import(t.Context(), importer.OpenLineage, slices.Values(lineage))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := sumUp(resources, events)
	if err != nil || sum.given == 0 || sum.given == sum.consents || sum.mapped == 0 || sum.mapped >= sum.elements {
		t.Errorf("%+v, %v", sum, err)
	}
	if _, err := sumUp(resources, nil); err == nil {
		t.Error("no lineage is enough")
	}
}

func TestOwnExamplesAreOfBothKinds(t *testing.T) {
	fhir, lineage, where, err := (&run{}).examples()
	if err != nil || len(fhir) == 0 || len(lineage) == 0 || !strings.Contains(where, "own") {
		t.Errorf("%d and %d from %s, %v", len(fhir), len(lineage), where, err)
	}
	dir := t.TempDir()
	if _, _, _, err := (&run{o: Options{Documents: dir}}).examples(); err == nil {
		t.Error("an empty folder has examples")
	}
	for _, f := range []string{"fhir/a.json", "fhir/README.md", "openlineage/examples/x/1.json"} {
		at := filepath.Join(dir, filepath.FromSlash(f))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(`{}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fhir, lineage, _, err = (&run{o: Options{Documents: dir}}).examples()
	if err != nil || len(fhir) != 1 || len(lineage) != 1 {
		t.Errorf("%d and %d, %v", len(fhir), len(lineage), err)
	}
}
