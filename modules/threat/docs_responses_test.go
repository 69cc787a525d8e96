package threat

import (
	"os"
	"strings"
	"testing"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// The page on responses names every attribute that a condition may ask for and every
// action, and its example is a condition.
func TestThePageOnResponsesIsComplete(t *testing.T) {
	raw, err := os.ReadFile("../../docs/threat-responses.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for name := range contextAttributes {
		if !strings.Contains(page, "`"+string(name)+"`") {
			t.Errorf("the page lacks context.%s", name)
		}
	}
	for name := range principalAttributes {
		if !strings.Contains(page, "`"+string(name)+"`") {
			t.Errorf("the page lacks principal.%s", name)
		}
	}
	for n, name := range threatv1.Action_name {
		if n != 0 && !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("the page lacks %s", name)
		}
	}
	_, rest, _ := strings.Cut(page, "```\n")
	example, _, _ := strings.Cut(rest, "```")
	if err := checkPlaybook(book("example", example, notify)); err != nil {
		t.Errorf("the example: %v", err)
	}
}
