package scenario

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// ownExamples are documents for where there are no others.
//
//go:embed examples
var ownExamples embed.FS

// document is a document of another system.
type document struct {
	name string // below the folder of examples
	raw  []byte
}

// examples are the FHIR resources and OpenLineage documents to import, and where
// they come from.
func (r *run) examples() (fhir, lineage []document, where string, err error) {
	files, err := fs.Sub(ownExamples, "examples")
	if err != nil {
		return nil, nil, "", err
	}
	where = "the program's own examples"
	if r.o.Documents != "" {
		files, where = os.DirFS(r.o.Documents), r.o.Documents
	}
	if fhir, err = walk(files, "fhir"); err != nil {
		return nil, nil, "", err
	}
	fhir = slices.DeleteFunc(fhir, func(d document) bool { return resourceType(d.raw) == "" })
	folder := "openlineage/examples"
	if _, missing := fs.Stat(files, folder); missing != nil {
		folder = "openlineage"
	}
	lineage, err = walk(files, folder)
	return fhir, lineage, where, err
}

func walk(files fs.FS, folder string) ([]document, error) {
	var out []document
	err := fs.WalkDir(files, folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(name) != ".json" {
			return err
		}
		raw, err := fs.ReadFile(files, name)
		out = append(out, document{name: name, raw: raw})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for example documents: %w", err)
	}
	slices.SortFunc(out, func(a, b document) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// resourceType tells a FHIR resource from other JSON that lies beside it.
func resourceType(raw []byte) string {
	var r struct {
		ResourceType string `json:"resourceType"`
	}
	if json.Unmarshal(raw, &r) != nil {
		return ""
	}
	return r.ResourceType
}
