//go:build unix

package testnet_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// block is a fenced block of commands in a page.
type block struct {
	line   int
	text   string
	prints []string // what its comments say that it prints, in order
}

var printed = regexp.MustCompile(`(?m)\s# prints: (.+)$`)

// blocksOf are the blocks of shell commands of a page's section.
func blocksOf(t *testing.T, page, section string) []block {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	var b *block
	within := false
	for i, line := range strings.Split(string(raw), "\n") {
		switch {
		case b == nil && strings.HasPrefix(line, "## "):
			within = line == "## "+section
		case b == nil && within && line == "```sh":
			b = &block{line: i + 2}
		case b != nil && line == "```":
			for _, m := range printed.FindAllStringSubmatch(b.text, -1) {
				b.prints = append(b.prints, m[1])
			}
			out, b = append(out, *b), nil
		case b != nil:
			b.text += line + "\n"
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no commands under %q", page, section)
	}
	return out
}

// The tour of README.md works as it stands after make demo, and prints what it says.
func TestTheTourOfTheReadme(t *testing.T) {
	e := newE2E(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// A clone as make demo leaves it, without building again.
	clone := t.TempDir()
	e.dir = filepath.Join(clone, ".chancery-demo")
	if err := os.Mkdir(filepath.Join(clone, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(e.binary, filepath.Join(clone, "bin", "chancery")); err != nil {
		t.Fatal(err)
	}
	// The tour imports the example documents of the repository.
	sources := filepath.Join(clone, "testnet")
	if err := os.Symlink(filepath.Join(root, "testnet"), sources); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	shell := func(script string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, "bash", "-c", script)
		cmd.Dir = clone
		for _, v := range e.command().Env {
			if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v:\n%s\n%s", err, script, out)
		}
		return string(out)
	}
	shell(fmt.Sprintf("make -f '%s/Makefile' -o build demo", root))

	blocks := blocksOf(t, filepath.Join(root, "README.md"), "A ten-minute tour")
	script := "set -euo pipefail\n"
	for i, b := range blocks {
		script += fmt.Sprintf("printf '\\n@@block %d\\n'\n%s", i, b.text)
	}
	out := shell(script)
	checked := 0
	for i, b := range blocks {
		_, said, ok := strings.Cut(out, fmt.Sprintf("\n@@block %d\n", i))
		if !ok {
			t.Fatalf("README.md:%d: the block did not run", b.line)
		}
		said, _, _ = strings.Cut(said, "\n@@block ")
		for rest := said; len(b.prints) > 0; b.prints = b.prints[1:] {
			if _, rest, ok = strings.Cut(rest, b.prints[0]); !ok {
				t.Errorf("README.md:%d: the block does not print %q, at least not after what comes before it:\n%s", b.line, b.prints[0], said)
				break
			}
			checked++
		}
	}
	if checked < 15 {
		t.Errorf("the tour says of only %d commands what they print", checked)
	}
	shell(fmt.Sprintf("make -f '%s/Makefile' clean", root))
	if err := os.Remove(sources); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(clone); err != nil || len(left) != 0 {
		t.Errorf("make clean leaves %v, %v", left, err)
	}
}
