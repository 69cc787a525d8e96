package scenario

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/chancery/chancery/node/importer"
)

// ownExamples are documents for where there are no others.
//
//go:embed examples
var ownExamples embed.FS

// examples are the FHIR resources and OpenLineage documents to import, and where
// they come from.
func (r *run) examples() (fhir, lineage []importer.Source, where string, err error) {
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
	folder := "openlineage/examples"
	if _, missing := fs.Stat(files, folder); missing != nil {
		folder = "openlineage"
	}
	lineage, err = walk(files, folder)
	return fhir, lineage, where, err
}

func walk(files fs.FS, folder string) ([]importer.Source, error) {
	var out []importer.Source
	err := fs.WalkDir(files, folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path.Ext(name) != ".json" {
			return err
		}
		raw, err := fs.ReadFile(files, name)
		out = append(out, importer.Source{Name: name, Raw: raw, Found: true})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for example documents: %w", err)
	}
	slices.SortFunc(out, func(a, b importer.Source) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
