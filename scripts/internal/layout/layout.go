// Package layout names the parts of this repository for the checks that guard them.
package layout

import (
	"path"
	"strings"
)

// Module is the import path of the repository's root.
const Module = "github.com/chancery/chancery"

// Rel returns the folder of an import path below the root, and whether the package is one of ours.
func Rel(importPath string) (rel string, ours bool) {
	if importPath == Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}

// Within reports whether a folder is dir or lies below it.
func Within(rel, dir string) bool {
	return rel == dir || strings.HasPrefix(rel, dir+"/")
}

// TestSupport reports whether a folder holds a package that exists for tests alone. Such a package is named after
// its parent: chain/chaintest, modules/consent/consenttest.
func TestSupport(rel string) bool {
	return path.Base(rel) == path.Base(path.Dir(rel))+"test"
}
