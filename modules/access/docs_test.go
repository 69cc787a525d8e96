package access

import (
	"fmt"
	"os"
	"strings"
	"testing"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// The module's page names every message, query, event, error and attribute of the
// context.
func TestThePageIsComplete(t *testing.T) {
	raw, err := os.ReadFile("../../docs/modules/access.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, e := range Errors.All() {
		if !strings.Contains(page, fmt.Sprintf("| %d | %s |", e.Code, e.Text)) {
			t.Errorf("the page lacks error %d as it is", e.Code)
		}
	}
	var names []string
	for _, r := range New(Deps{Identity: fakeIdentity{}, Consents: &fakeConsents{}}).Routes() {
		names = append(names, string(r.Message().Name()))
	}
	methods := accessv1.File_chancery_access_v1_query_proto.Services().ByName("Query").Methods()
	for i := range methods.Len() {
		names = append(names, string(methods.Get(i).Name()))
	}
	events := accessv1.File_chancery_access_v1_event_proto.Messages()
	for i := range events.Len() {
		names = append(names, string(events.Get(i).Name()))
	}
	for _, key := range systemKeys {
		names = append(names, key.name)
	}
	names = append(names, reasonUnknown, reasonInactive, reasonUnlisted, reasonResource, reasonPurpose, reasonRequestSchema,
		reasonEntitySchema, reasonGuardRail, reasonForbid, reasonNone, reasonSubject, reasonPermit, reasonBreakGlass)
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
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
	for _, c := range newStore().schema.Collections() {
		name := strings.TrimPrefix(c.Name, "access/")
		key := c.Key
		if key == "" {
			key = "()"
		}
		value := strings.TrimPrefix(c.Value, "chancery.") // the table leaves the root out
		found := false
		for _, line := range strings.Split(string(raw), "\n") {
			fields := strings.Join(strings.Fields(line), " ")
			found = found || strings.HasPrefix(fields, fmt.Sprintf("// 0x%02X 0x%02X %s %s -> %s ", c.Prefix[0], c.Prefix[1], name, key, value))
		}
		if !found {
			t.Errorf("doc.go lacks 0x%02X %s: %s -> %s", c.Prefix[1], name, key, value)
		}
	}
}
