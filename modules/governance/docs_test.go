package governance

import (
	"fmt"
	"os"
	"strings"
	"testing"

	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// The module's page names every message, query, event, error and status.
func TestThePageIsComplete(t *testing.T) {
	raw, err := os.ReadFile("../../docs/modules/governance.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, e := range Errors.All() {
		if !strings.Contains(page, fmt.Sprintf("\n| %d | ", e.Code)) {
			t.Errorf("the page lacks error %d", e.Code)
		}
	}
	var names []string
	for _, r := range New(Deps{}).Routes() {
		names = append(names, string(r.Message().Name()))
	}
	methods := governancev1.File_chancery_governance_v1_query_proto.Services().ByName("Query").Methods()
	for i := range methods.Len() {
		names = append(names, string(methods.Get(i).Name()))
	}
	events := governancev1.File_chancery_governance_v1_event_proto.Messages()
	for i := range events.Len() {
		names = append(names, string(events.Get(i).Name()))
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("the page lacks %s", name)
		}
	}
	for n, name := range governancev1.Status_name {
		if n != 0 && !strings.Contains(page, " "+strings.TrimPrefix(name, "STATUS_")+":") {
			t.Errorf("the page lacks %s", name)
		}
	}
}

// The table of keys in doc.go is the schema.
func TestTheKeyTableIsComplete(t *testing.T) {
	raw, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range newCollections().schema.Collections() {
		key := c.Key
		if key == "" {
			key = "()"
		}
		found := false
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if len(fields) < 5 || fields[1] != fmt.Sprintf("0x%02x", c.Prefix[1]) || fields[2] != strings.TrimPrefix(c.Name, "governance/") {
				continue
			}
			rest := strings.Join(fields[3:], " ")
			// The table names what the parts of a key are.
			types := strings.NewReplacer(" id", "", " ms", "", " organisation", "", " status", "", " validator", "", " height", "", " kind", "").Replace(rest)
			found = found || strings.HasPrefix(types, key+" -> "+c.Value)
		}
		if !found {
			t.Errorf("doc.go lacks 0x%02x %s: %s -> %s", c.Prefix[1], c.Name, key, c.Value)
		}
	}
}
