package arrows_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chancery/chancery/scripts/arrows"
	"github.com/chancery/chancery/scripts/internal/layout"
)

const comet = "github.com/cometbft/cometbft/abci/types"

func TestTheRepositoryHasNoForbiddenArrow(t *testing.T) {
	graph, err := arrows.Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(graph, func(p arrows.Package) bool { return p.Path == layout.Module+"/scripts/arrows" }) {
		t.Fatal("the graph does not even hold this package")
	}
	for _, fault := range arrows.Check(graph) {
		t.Error(fault)
	}
}

func TestEveryForbiddenArrowIsReported(t *testing.T) {
	for _, c := range []struct{ from, to, why string }{
		{"proto/chancery/tx/v1", "chain", "proto is a leaf"},
		{"proto/chancery/tx/v1", comet, "does not know CometBFT"},
		{"chain/state", "modules/consent", "chain may import proto alone"},
		{"chain/state", "consensus", "chain may import proto alone"},
		{"chain", "node", "chain may import proto alone"},
		{"chain", comet, "does not know CometBFT"},
		{"chain", "github.com/cometbft/cometbft-db", "does not know CometBFT"},
		{"modules/consent", "modules/access", "they are two modules"},
		{"modules/consent/internal/text", "modules/access/policy", "they are two modules"},
		{"modules/consent", "modules", "they are two modules"},
		{"modules/consent", "consensus/mempool", "modules may import chain, proto alone"},
		{"modules/consent", "node", "modules may import chain, proto alone"},
		{"modules/consent", comet, "does not know CometBFT"},
		{"consensus", "modules/consent", "consensus may import chain, proto alone"},
		{"consensus", "node/config", "consensus may import chain, proto alone"},
		{"consensus", "testnet", "consensus may import chain, proto alone"},
		{"node", "testnet", "node may import consensus, modules, chain, proto alone"},
		{"node/client", "testnet/load", "node may import consensus, modules, chain, proto alone"},
		{"node/clients", "testnet", "node may import consensus, modules, chain, proto alone"},
		{"node", "scripts/testsum", "node may import consensus, modules, chain, proto alone"},
		{"testnet", "node/cli", "testnet must not import node/cli"},
		{"testnet/load", "node/cli/output", "testnet must not import node/cli"},
		{"testnet", "node/cmd/chancery", "testnet must not import node/cmd"},
		{"testnet", "scripts/testsum", "alone"},
		{"docs/examples", comet, "does not know CometBFT"},
		{"chain", "chain/chaintest", "for tests alone"},
		{"modules/consent", "modules/consent/consenttest", "for tests alone"},
		{"node", "chain/chaintest", "for tests alone"},
		{"tools/gen", "proto/chancery/tx/v1", "belongs to no part"},
		{".", "chain", "belongs to no part"},
	} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			graph := []arrows.Package{{Path: ours(c.from), Imports: []string{"fmt", ours(c.to)}}}
			if faults := arrows.Check(graph); len(faults) != 1 || !strings.Contains(faults[0], c.why) {
				t.Errorf("got %q, want one fault with %q", faults, c.why)
			}
			if c.why == "for tests alone" {
				return
			}
			graph = []arrows.Package{{Path: ours(c.from), TestImports: []string{"testing", ours(c.to)}}}
			if faults := arrows.Check(graph); len(faults) != 1 || !strings.Contains(faults[0], c.why) {
				t.Errorf("in a test: got %q, want one fault with %q", faults, c.why)
			}
		})
	}
}

func TestEveryArrowOfTheDesignIsAllowed(t *testing.T) {
	for from, to := range map[string][]string{
		"proto/chancery/tx/v1":        {"proto/chancery/chain/v1", "google.golang.org/protobuf/proto"},
		"chain":                       {"chain/state", "proto/chancery/tx/v1"},
		"modules/consent":             {"modules/consent/text", "chain", "chain/state", "proto/chancery/consent/v1", "proto/chancery/access/v1"},
		"consensus/mempool":           {"consensus", "chain", "proto/chancery/tx/v1", comet},
		"node":                        {"node/config", "consensus", "modules/consent", "chain", "proto/chancery/tx/v1", comet},
		"node/cli":                    {"testnet", "node", "consensus", "modules/consent", "chain", comet},
		"node/cli/output":             {"testnet/load"},
		"node/cmd/chancery":           {"node/cli"},
		"testnet":                     {"node", "node/config", "consensus", "modules/consent", "chain", "proto/chancery/tx/v1", comet},
		"scripts/bench":               {"node/cli", "testnet", "modules/consent", comet},
		"docs/examples":               {"node/client", "chain"},
		"chain/chaintest":             {"chain", "chain/state"},
		"modules/consent/consenttest": {"chain/chaintest", "modules/consent"},
	} {
		t.Run(from, func(t *testing.T) {
			p := arrows.Package{Path: ours(from)}
			for _, path := range to {
				p.Imports = append(p.Imports, ours(path))
			}
			p.TestImports = append(slices.Clone(p.Imports), ours("chain/chaintest"))
			if strings.HasPrefix(from, "proto/") {
				p.TestImports = nil
			}
			if faults := arrows.Check([]arrows.Package{p}); len(faults) != 0 {
				t.Errorf("%q", faults)
			}
		})
	}
}

// A file that this machine's build leaves out is still bound.
func TestFilesOfOtherPlatformsCount(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module "+layout.Module+"\n\ngo 1.26\n")
	write(t, filepath.Join(root, "chain", "chain.go"), "package chain\n")
	write(t, filepath.Join(root, "node", "node.go"), "package node\n")
	write(t, filepath.Join(root, "chain", "chain_plan9.go"), "package chain\n\nimport _ \""+layout.Module+"/node\"\n")
	write(t, filepath.Join(root, "chain", "tagged_test.go"), "//go:build never\n\npackage chain_test\n\nimport _ \""+layout.Module+"/node\"\n")
	graph, err := arrows.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if faults := arrows.Check(graph); len(faults) != 2 {
		t.Errorf("got %q, want one fault of the code and one of the test", faults)
	}
}

func TestNothingStrangeStandsAtTheTop(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files", "-z").CombinedOutput()
	if err != nil {
		t.Skipf("the tracked files are unknown outside a git checkout: %v: %s", err, strings.TrimSpace(string(out)))
	}
	for _, name := range arrows.Strangers(strings.Split(string(out), "\x00")) {
		t.Errorf("%s has no place at the top of the repository", name)
	}
}

func TestAStrangerAtTheTopIsReported(t *testing.T) {
	got := arrows.Strangers([]string{
		"go.mod", ".ci/run", ".gitignore", "chain/doc.go", "nodes/main.go", "nodes/other.go", "tool.sh", "chain.go", "",
	})
	if want := []string{"nodes", "tool.sh", "chain.go"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// ours turns a folder of this repository into an import path and leaves any other path alone.
func ours(path string) string {
	first, _, nested := strings.Cut(path, "/")
	if path == "." {
		return layout.Module
	}
	if nested && strings.Contains(first, ".") {
		return path
	}
	return layout.Module + "/" + path
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
