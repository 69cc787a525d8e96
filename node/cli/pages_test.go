package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/syntax"
)

// pages are all documents of the repository that show command lines.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	// Not CHANGELOG.md, which also names commands that are not there yet or any more.
	for _, pattern := range []string{"../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md", "../../docs/*.md", "../../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

// snippet is a piece of shell in a page.
type snippet struct {
	line int
	text string
	// mention: it is within a sentence, which may leave arguments out.
	mention bool
}

var (
	inlineCode = regexp.MustCompile("`((?:bin/)?chancery [^`]+)`")
	// notShell are fences of other languages.
	notShell = regexp.MustCompile("^```(mermaid|go|json|toml|text|cedar|proto|yaml|js|python)")
)

// shells are the fenced blocks of a page that name the program, and the command
// lines within its text. Of a console's transcript they are what follows a prompt.
func shells(raw string) (out []snippet) {
	var b *snippet
	transcript := false
	for i, line := range strings.Split(raw, "\n") {
		switch fence := strings.HasPrefix(line, "```"); {
		case fence && b == nil:
			b = &snippet{line: i + 2}
			transcript = strings.HasPrefix(line, "```console")
			if notShell.MatchString(line) {
				b.line = 0
			}
		case fence:
			if b.line > 0 && strings.Contains(b.text, "chancery ") {
				out = append(out, *b)
			}
			b = nil
		case b != nil && transcript:
			typed, _ := strings.CutPrefix(line, "$ ")
			if typed == line {
				typed = ""
			}
			b.text += typed + "\n" // an empty line for what was printed keeps the count
		case b != nil:
			b.text += line + "\n"
		default:
			for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
				out = append(out, snippet{i + 1, m[1], true})
			}
		}
	}
	return out
}

// calls are the calls of the program in shell, word by word. A word that the shell
// would fill in is filled with what the documents mean by it.
func calls(t *testing.T, text string) ([][]string, error) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return nil, err
	}
	var out [][]string
	syntax.Walk(f, func(n syntax.Node) bool {
		c, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		words := make([]string, len(c.Args))
		for i, w := range c.Args {
			words[i] = word(w.Parts)
		}
		for i, w := range words {
			// env, sudo and the like call what follows them.
			if w == "chancery" || strings.HasSuffix(w, "bin/chancery") {
				out = append(out, words[i+1:])
				break
			}
		}
		return true
	})
	return out, nil
}

func word(parts []syntax.WordPart) string {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			b.WriteString(word(p.Parts))
		default:
			b.WriteString("0")
		}
	}
	return b.String()
}

// tree is the program for all lines: nothing is run, and flags that stay set do no
// harm.
var tree = sync.OnceValue(func() *cobra.Command {
	root := plainRoot()
	root.InitDefaultCompletionCmd()
	return root
})

// parses tells why the program would refuse a command line as such, or nil. No
// command is run.
func parses(args []string, mention bool) error {
	c, rest, err := tree().Find(args)
	if err != nil {
		return err
	}
	if err := c.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	given := c.Flags().Args()
	if mention && len(given) == 0 || slices.Contains(given, "…") || c.HasParent() && c.Parent().Name() == "completion" {
		return nil // the rest is left to the reader
	}
	if c.HasSubCommands() && c.HasParent() && len(given) > 0 {
		return fmt.Errorf("%s has no command %q", c.CommandPath(), given[0])
	}
	return c.ValidateArgs(given)
}

func TestEveryCommandLineInThePagesParses(t *testing.T) {
	counted := 0
	for _, page := range pages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shells(string(raw)) {
			name := fmt.Sprintf("%s:%d", filepath.Base(page), s.line)
			found, err := calls(t, s.text)
			if err != nil {
				t.Errorf("%s: %v in\n%s", name, err, s.text)
				continue
			}
			for _, args := range found {
				counted++
				if err := parses(args, s.mention); err != nil {
					t.Errorf("%s: chancery %s: %v", name, strings.Join(args, " "), err)
				}
			}
		}
	}
	if counted < 150 {
		t.Errorf("only %d command lines were found", counted)
	}
}

var links = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links within the repository lead to a file, and to a heading where they name one.
func TestEveryLinkInThePagesLeadsSomewhere(t *testing.T) {
	counted := 0
	for _, page := range pages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range links.FindAllStringSubmatch(string(raw), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			counted++
			path, heading, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if info, err := os.Stat(target); err != nil || info.IsDir() && heading != "" {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
				continue
			}
			if heading == "" {
				continue
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(anchors(string(text)), heading) {
				t.Errorf("%s: %s has no heading %s", page, path, heading)
			}
		}
	}
	if counted < 40 {
		t.Errorf("only %d links were found", counted)
	}
}

// anchors are the headings of a page as links name them.
func anchors(page string) (out []string) {
	for _, line := range strings.Split(page, "\n") {
		text, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		out = append(out, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_':
				return r
			default:
				return -1
			}
		}, strings.ToLower(text)))
	}
	return out
}

func TestEveryExampleInTheHelpParses(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		found, err := calls(t, c.Example)
		if err != nil {
			t.Errorf("%s: %v in\n%s", c.CommandPath(), err, c.Example)
		}
		for _, args := range found {
			if err := parses(args, false); err != nil {
				t.Errorf("%s: its example chancery %s: %v", c.CommandPath(), strings.Join(args, " "), err)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(tree())
}

// The checks above would be worth nothing if they let everything pass.
func TestWrongCommandLinesAreFound(t *testing.T) {
	for text, want := range map[string]int{
		"chancery status --node 127.0.0.1:1 | head":                                0,
		"bin/chancery tx consent withdra --id 00":                                  1,
		"x=$(chancery keys show) && echo":                                          1,
		"chancery status --colour red":                                             1,
		"chancery verify":                                                          1,
		"chancery testnet start --validators four":                                 1,
		"if env A=b chancery statsu; then :; fi":                                   1,
		"chancery tx consent give --from a --terms '{\n\"x\": 1}' \\\n  --nothing": 1,
		"chancery version; chancery version x":                                     1,
		"echo chancery":                                                            0,
	} {
		found, err := calls(t, text)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for _, args := range found {
			if parses(args, false) != nil {
				wrong++
			}
		}
		if wrong != want {
			t.Errorf("%s: %d wrong, want %d; found %q", text, wrong, want, found)
		}
	}
	if got := shells("a `chancery status` b\n```json\nchancery x\n```\n```sh\nchancery y\n```\n"); len(got) != 2 || !got[0].mention || got[1].mention || got[0].line != 1 || got[1].line != 6 {
		t.Errorf("%v", got)
	}
}
