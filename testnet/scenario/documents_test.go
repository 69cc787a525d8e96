package scenario

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

var testSalt = bytes.Repeat([]byte{7}, 32)

func mapped(t *testing.T, raw string) proto.Message {
	t.Helper()
	r := &run{}
	r.cast.hospital.Organisation = "did:chancery:mercy-hospital"
	m, why, err := r.mapConsent(document{name: "c.json", raw: []byte(raw)}, testSalt)
	if err != nil || why == "" {
		t.Fatalf("%s: %v, reason %q", raw, err, why)
	}
	return m
}

// A consent never permits more than its document.
func TestOnlyAPlainOptInIsGiven(t *testing.T) {
	const head = `{"resourceType":"Consent","patient":{"reference":"Patient/p-1"},`
	optIn, optOut := `"policyRule":{"coding":[{"code":"OPTIN"}]}`, `"policyRule":{"coding":[{"code":"OPTOUT"}]}`
	g, ok := mapped(t, head+`"status":"active",`+optIn+`,"provision":{"period":{"start":"1964-01-01","end":"2016-01-01"}}}`).(*consentv1.Give)
	if !ok || g.Terms.ValidFrom != 0 || g.Terms.ValidUntil != 1451606400000 || len(g.Terms.Recipients) != 0 {
		t.Errorf("a plain opt-in became %v", g)
	}
	for _, raw := range []string{
		head + `"status":"proposed",` + optIn + `}`,
		head + `"status":"active"}`,
		head + `"status":"active",` + optOut + `}`,
		head + `"status":"active",` + optOut + `,"provision":{"provision":[{"type":"permit"}]}}`,
		head + `"status":"active",` + optIn + `,"provision":{"type":"deny"}}`,
		head + `"status":"active",` + optIn + `,"provision":{"provision":[{"type":"deny"}]}}`,
		head + `"status":"active",` + optIn + `,"provision":{"dataPeriod":{"start":"2015-01-01"}}}`,
		head + `"status":"active",` + optIn + `,"provision":{"period":{"end":"soon"}}}`,
		head + `"status":"active",` + optIn + `,"provision":{"period":{"start":"soon"}}}`,
	} {
		if m, ok := mapped(t, raw).(*consentv1.Refuse); !ok {
			t.Errorf("%s became %v", raw, m)
		}
	}
}

// law 1: no identifier or text of a document is in what goes to the chain.
func TestDocumentsStayOffTheChain(t *testing.T) {
	m := mapped(t, `{"resourceType":"Consent","status":"active","patient":{"reference":"Patient/f001","display":"somebody"},"policyRule":{"coding":[{"code":"OPTIN"}]}}`)
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	record, run, err := mapLineage(document{name: "l.json", raw: []byte(`{"run":{},"job":{},"inputs":[{"namespace":"n","name":"somebody"}],"outputs":[{"namespace":"n","name":"f001"}]}`)}, "t/0", testSalt)
	if err != nil || !run || len(record.Nodes) != 4 || len(record.Relations) != 2 {
		t.Fatalf("%v, run %v, %v", record, run, err)
	}
	more, err := proto.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"f001", "somebody"} {
		if bytes.Contains(append(raw, more...), []byte(secret)) {
			t.Errorf("%s is on the chain", secret)
		}
	}
}

func TestOwnExamplesAreOfBothKinds(t *testing.T) {
	fhir, lineage, where, err := (&run{}).examples()
	if err != nil || len(fhir) == 0 || len(lineage) == 0 || !strings.Contains(where, "own") {
		t.Errorf("%d and %d from %s, %v", len(fhir), len(lineage), where, err)
	}
	dir := t.TempDir()
	if _, _, _, err := (&run{o: Options{Documents: dir}}).examples(); err == nil {
		t.Error("an empty folder has examples")
	}
	for _, f := range []string{"fhir/a.json", "fhir/package.json", "openlineage/examples/x/1.json"} {
		at := filepath.Join(dir, filepath.FromSlash(f))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		raw := `{}`
		if f == "fhir/a.json" {
			raw = `{"resourceType":"Consent"}`
		}
		if err := os.WriteFile(at, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fhir, lineage, _, err = (&run{o: Options{Documents: dir}}).examples()
	if err != nil || len(fhir) != 1 || len(lineage) != 1 {
		t.Errorf("%d and %d, %v", len(fhir), len(lineage), err)
	}
}
