// Package arrows states which parts of the repository may import which, and checks an import graph against it.
//
//	node → consensus, modules, chain, proto     node/cli → testnet
//	testnet → node (without its command line), consensus, modules, chain, proto
//	consensus → chain, proto
//	modules → chain, proto                      never one module another
//	chain → proto
//	proto is a leaf
//
// CometBFT is imported by node, consensus, testnet and scripts alone. Tests are bound by the same rules as the code
// they test, and packages for tests alone (chain/chaintest) are imported by tests alone.
package arrows

import (
	"fmt"
	"path"
	"strings"

	"github.com/chancery/chancery/scripts/internal/layout"
)

const cometBFT = "github.com/cometbft"

// Package is one package of the repository with what it imports, as full import paths.
type Package struct {
	Path        string
	Imports     []string // by the code itself, under whatever build constraints
	TestImports []string // by its tests, inside and outside of the package
}

// layer is a part of the repository and what it may import besides itself, as folders.
type layer struct {
	folder string
	may    []string
	except []string // folders within may that are closed to it
	engine bool     // whether it may import CometBFT
	alone  bool     // whether its subfolders may not import one another
}

// layers is ordered so that the first that holds a folder is the one that binds it.
var layers = []layer{
	{folder: "proto"},
	{folder: "chain", may: []string{"proto"}},
	{folder: "modules", may: []string{"chain", "proto"}, alone: true},
	{folder: "consensus", may: []string{"chain", "proto"}, engine: true},
	{folder: "node/cli", may: []string{"node", "testnet", "consensus", "modules", "chain", "proto"}, engine: true},
	{folder: "node", may: []string{"consensus", "modules", "chain", "proto"}, engine: true},
	{folder: "testnet", may: []string{"node", "consensus", "modules", "chain", "proto"}, except: []string{"node/cli", "node/cmd"}, engine: true},
	{folder: "scripts", may: []string{"."}, engine: true},
	{folder: "docs", may: []string{"node", "testnet", "consensus", "modules", "chain", "proto"}},
}

// Check returns a sentence for every arrow that the design forbids.
func Check(graph []Package) []string {
	var faults []string
	for _, p := range graph {
		from, ours := layout.Rel(p.Path)
		if !ours {
			continue
		}
		l, ok := layerOf(from)
		if !ok {
			faults = append(faults, fmt.Sprintf("%s belongs to no part of the repository that the design names", from))
			continue
		}
		for _, to := range p.Imports {
			if why := l.refuses(from, to, false); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", from, to, why))
			}
		}
		for _, to := range p.TestImports {
			if why := l.refuses(from, to, true); why != "" {
				faults = append(faults, fmt.Sprintf("a test of %s imports %s: %s", from, to, why))
			}
		}
	}
	return faults
}

func layerOf(folder string) (layer, bool) {
	for _, l := range layers {
		if layout.Within(folder, l.folder) {
			return l, true
		}
	}
	return layer{}, false
}

// refuses returns why the package in folder from, which lies in l, may not import a path, or nothing.
func (l layer) refuses(from, importPath string, test bool) string {
	if layout.Within(importPath, cometBFT) && !l.engine {
		return l.folder + " does not know CometBFT"
	}
	to, ours := layout.Rel(importPath)
	if !ours {
		return ""
	}
	if layout.TestSupport(to) && !test && !layout.TestSupport(from) {
		return "that package is for tests alone"
	}
	if layout.Within(to, l.folder) {
		if l.alone && part(to, l.folder) != part(from, l.folder) {
			return "they are two " + l.folder + "; declare the interface that it needs in its deps.go"
		}
		return ""
	}
	for _, folder := range l.except {
		if layout.Within(to, folder) {
			return l.folder + " must not import " + folder
		}
	}
	for _, folder := range l.may {
		if folder == "." || layout.Within(to, folder) {
			return ""
		}
	}
	if len(l.may) == 0 {
		return l.folder + " is a leaf"
	}
	return l.folder + " may import " + strings.Join(l.may, ", ") + " alone"
}

// part returns the first folder below base on the way to folder.
func part(folder, base string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(folder, base), "/")
	name, _, _ := strings.Cut(rest, "/")
	return path.Join(base, name)
}
