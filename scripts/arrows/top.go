package arrows

import (
	"slices"
	"strings"
)

// top is all that may stand at the top of the repository, besides dotfiles.
var top = []string{
	"CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md",
	"chain", "consensus", "docs", "go.mod", "go.sum", "modules", "node", "proto", "scripts", "testnet",
}

// Strangers returns the entries at the top of the repository that have no place there, given the tracked files.
func Strangers(files []string) []string {
	var strangers []string
	for _, f := range files {
		name, _, _ := strings.Cut(f, "/")
		if name == "" || strings.HasPrefix(name, ".") || slices.Contains(top, name) || slices.Contains(strangers, name) {
			continue
		}
		strangers = append(strangers, name)
	}
	return strangers
}
