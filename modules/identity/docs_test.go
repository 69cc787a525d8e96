package identity

import (
	"fmt"
	"os"
	"strings"
	"testing"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// The module's page names every message, query, event and error.
func TestThePageIsComplete(t *testing.T) {
	raw, err := os.ReadFile("../../docs/modules/identity.md")
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
	for _, r := range New().Routes() {
		names = append(names, string(r.Message().Name()))
	}
	methods := identityv1.File_chancery_identity_v1_query_proto.Services().ByName("Query").Methods()
	for i := range methods.Len() {
		names = append(names, string(methods.Get(i).Name()))
	}
	events := identityv1.File_chancery_identity_v1_event_proto.Messages()
	for i := range events.Len() {
		names = append(names, string(events.Get(i).Name()))
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("the page lacks %s", name)
		}
	}
}
