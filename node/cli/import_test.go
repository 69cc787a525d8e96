package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func consentOf(id, patient, more string) string {
	return `{"resourceType":"Consent","id":"` + id + `","status":"active","patient":{"reference":"Patient/` + patient + `","display":"Somebody Else"},` +
		`"policyRule":{"coding":[{"code":"OPTIN"}]}` + more + `}`
}

// lineageOf is a run that reads one data set and writes another.
func lineageOf(run, in, out string) string {
	return `{"eventType":"COMPLETE","eventTime":"2026-01-01T00:00:00Z","producer":"https://example.org/p","schemaURL":"https://example.org/s",` +
		`"run":{"runId":"` + run + `"},"job":{"namespace":"n","name":"j"},` +
		`"inputs":[{"namespace":"n","name":"` + in + `"}],"outputs":[{"namespace":"n","name":"` + out + `"}]}`
}

// summary is the part of an import's JSON that counts.
func (s *shell) summary(report string) map[string]float64 {
	s.t.Helper()
	var v struct {
		Summary map[string]float64 `json:"summary"`
	}
	if err := json.Unmarshal([]byte(report), &v); err != nil {
		s.t.Fatalf("%v in\n%s", err, report)
	}
	return v.Summary
}

func (s *shell) counts(report string, want map[string]float64) {
	s.t.Helper()
	got := s.summary(report)
	for name, n := range want {
		if got[name] != n {
			s.t.Errorf("%s is %v, want %v, in\n%s", name, got[name], n, report)
		}
	}
}

var actAsAlpha = []string{"--from", "one", "--from", "two", "--author", alpha}

func (s *shell) imports(args ...string) []string {
	return append(append([]string{"import"}, args...), actAsAlpha...)
}

func TestADryRunNeedsNeitherNodeNorKey(t *testing.T) {
	s := newShell(t)
	s.passphrase = nil
	file := s.file("consent.json", consentOf("c", "p", ""))
	out := s.ok("import", "fhir-consent", "--dry-run", "--jurisdiction", "NL", file)
	for _, want := range []string{
		"fhir-r4-consent, mapped", "mapped    /status -> consent.Give", "kept      /patient/display import/30 personal data",
		"assumed   consent.Give terms.jurisdiction = NL", "documents          1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "Somebody") {
		t.Error("the report repeats what stays off the chain")
	}
	if entries, err := os.ReadDir(string(s.home())); err != nil || len(entries) != 0 {
		t.Errorf("it wrote %v, %v", entries, err)
	}
	v := s.json("import", "fhir-consent", "--dry-run", "--jurisdiction", "NL", "--organisation", alpha, file)
	message := v["documents"].([]any)[0].(map[string]any)["messages"].([]any)[0].(map[string]any)
	terms := message["value"].(map[string]any)["terms"].(map[string]any)
	if message["type"] != "chancery.consent.v1.Give" || terms["controller"] != alpha || v["dry_run"] != true {
		t.Errorf("%v", v)
	}
}

func TestImportsHappenOnce(t *testing.T) {
	s := onChain(t)
	salts := s.path("salts")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.json": consentOf("once-a", "once-1", ""), "b.json": consentOf("once-b", "once-2", `,"provision":{"type":"deny","class":[{"code":"X"}]}`),
		"notes.txt": "not looked at", "patient.json": `{"resourceType":"Patient"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := s.imports("fhir-consent", "--jurisdiction", "NL", "--salts", salts, "--output", "json", dir)
	first := s.ok(args...)
	s.counts(first, map[string]float64{"documents": 3, "committed": 2, "skipped": 1, "messages": 2, "transactions": 1})
	again := s.ok(args...)
	s.counts(again, map[string]float64{"committed": 0, "present": 2, "messages": 0, "transactions": 0})

	id := s.decode(first)["documents"].([]any)[0].(map[string]any)["messages"].([]any)[0].(map[string]any)["records"].([]any)[0].(string)
	if out := s.ok("query", "consent", "consent", "--id", id); !strings.Contains(out, "given") || strings.Contains(out, "once-1") {
		t.Errorf("the record:\n%s", out)
	}
	// A later version of the same Consent withdraws the earlier one.
	changed := s.file("a.json", consentOf("once-a", "once-1", `,"provision":{"period":{"end":"2040-01-01"}}`))
	s.counts(s.ok(s.imports("fhir-consent", "--jurisdiction", "NL", "--salts", salts, "--output", "json", changed)...), map[string]float64{"committed": 1, "messages": 2})
	if out := s.ok("query", "consent", "consent", "--id", id); !strings.Contains(out, "withdrawn") {
		t.Errorf("the earlier record:\n%s", out)
	}
	// Without the salts nobody can tell that it is the same.
	s.counts(s.ok(s.imports("fhir-consent", "--jurisdiction", "NL", "--salts", s.path("others"), "--output", "json", changed)...), map[string]float64{"committed": 1})
	if info, err := os.Stat(salts); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the salt file: %v, %v", info, err)
	}
}

// A document that the chain refuses does not keep out those that came with it, also
// not one that builds on what it would have made.
func TestOneRefusedDocumentKeepsNoOtherOut(t *testing.T) {
	s := onChain(t)
	lines := strings.Join([]string{
		consentOf("mixed-a", "mixed-1", ""),
		consentOf("mixed-b", "mixed-2", `,"dateTime":"2999-01-01"`),
		`{"resourceType":"Consent"`,
		consentOf("mixed-c", "mixed-3", ""),
		consentOf("mixed-c", "mixed-3", ""),
	}, "\n")
	s.in = strings.NewReader(lines)
	o := s.fails(1, "2 of 5 documents were refused", s.imports("fhir-consent", "--jurisdiction", "NL", "--salts", s.path("salts"), "--output", "json", "-")...)
	s.counts(o.out, map[string]float64{"documents": 5, "committed": 2, "refused": 2, "present": 1, "messages": 2})
	for _, want := range []string{`"module": "consent"`, `"code": 13`, `"module": "import"`, `"document": "-:2"`} {
		if !strings.Contains(o.out, want) {
			t.Errorf("the report lacks %s:\n%s", want, o.out)
		}
	}
}

// Those that come with a refused document go in few transactions all the same, and a
// document that says the same as a refused one is refused with it.
func TestARefusedDocumentCostsFewTransactions(t *testing.T) {
	s := onChain(t)
	var lines []string
	for i := range 32 {
		more := ""
		if i == 19 {
			more = `,"dateTime":"2999-01-01"`
		}
		lines = append(lines, consentOf(fmt.Sprintf("few-%d", i), fmt.Sprintf("few-%d", i), more))
	}
	lines = append(lines, lines[19], lines[18])
	s.in = strings.NewReader(strings.Join(lines, "\n"))
	o := s.fails(1, "2 of 34 documents were refused", s.imports("fhir-consent", "--jurisdiction", "NL", "--salts", s.path("salts"), "--output", "json", "-")...)
	// 16, 8, 4, 2 and 1 beside the refused one.
	s.counts(o.out, map[string]float64{"committed": 31, "refused": 2, "present": 1, "messages": 31, "transactions": 5})
}

// A version of a Consent waits for the withdrawal of the one before.
func TestVersionsOfAConsentInOneImport(t *testing.T) {
	s := onChain(t)
	args := s.imports("fhir-consent", "--jurisdiction", "NL", "--salts", s.path("salts"), "--output", "json", "-")
	s.in = strings.NewReader(consentOf("turn", "turn", ""))
	s.ok(args...)
	ended := strings.Replace(consentOf("turn", "turn", ""), `"active"`, `"inactive"`, 1)
	s.in = strings.NewReader(ended + "\n" + consentOf("turn", "turn", `,"language":"nl"`) + "\n")
	s.counts(s.ok(args...), map[string]float64{"committed": 2, "messages": 2, "transactions": 2})
}

func TestLineageFromStandardInput(t *testing.T) {
	s := onChain(t)
	const first, second = "0193c2a1-0000-7000-8000-00000000000a", "0193c2a1-0000-7000-8000-00000000000b"
	lines := lineageOf(first, "raw", "clean") + "\n" + lineageOf(second, "clean", "sum") + "\n"
	args := s.imports("openlineage", "--salts", s.path("salts"), "--output", "json", "-")
	s.in = strings.NewReader(lines)
	s.counts(s.ok(args...), map[string]float64{"documents": 2, "committed": 2, "transactions": 1, "refused": 0})
	s.in = strings.NewReader(lines)
	s.counts(s.ok(args...), map[string]float64{"present": 2, "messages": 0})
	out := s.ok("query", "provenance", "ancestors", "--start", `{"organisation":"`+alpha+`","id":"dataset:n,sum"}`)
	for _, want := range []string{"run:" + second, "dataset:n,clean", "run:" + first, "dataset:n,raw"} {
		if !strings.Contains(out, want) {
			t.Errorf("the ancestors lack %s:\n%s", want, out)
		}
	}
	// One document on several lines is one document.
	var pretty strings.Builder
	e := json.NewEncoder(&pretty)
	e.SetIndent("", " ")
	if err := e.Encode(json.RawMessage(lineageOf("0193c2a1-0000-7000-8000-00000000000c", "sum", "end"))); err != nil {
		t.Fatal(err)
	}
	s.in = strings.NewReader(pretty.String())
	s.counts(s.ok(s.imports("openlineage", "--salts", s.path("more"), "--output", "json", "-")...), map[string]float64{"documents": 1, "committed": 1})
}

func TestCedarFilesBelongTogether(t *testing.T) {
	s := onChain(t)
	policies := s.file("ward.cedar", "// who\npermit (principal is U, action == Action::\"a\", resource);\n")
	schema := s.file("ward.cedarschema", "entity U; entity R { level: Long }; action a appliesTo { principal: U, resource: R };\n")
	entities := s.file("records.json", `[{"uid":{"type":"R","id":"1"},"attrs":{"level":3},"parents":[]}]`)
	bad := s.file("bad.cedar", "permit (principal, action, resource);\n\nforbid (")
	o := s.fails(1, "were refused", s.imports("cedar", policies, bad)...)
	for _, want := range []string{"access/5", "3:", "import/17"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("the report lacks %q:\n%s", want, o.out)
		}
	}
	args := s.imports("cedar", "--output", "json", policies, schema, entities)
	s.counts(s.ok(args...), map[string]float64{"committed": 3, "messages": 2, "transactions": 1})
	s.counts(s.ok(args...), map[string]float64{"present": 3, "messages": 0})
	// Another set replaces it, and only that.
	other := s.file("ward.cedar", "forbid (principal, action, resource);\n")
	if out := s.ok(s.imports("cedar", other)...); !strings.Contains(out, "import/80 it replaces what the organisation has: policy set version") {
		t.Errorf("the report does not say that it replaces:\n%s", out)
	}
}

// What relates old runs anew has long ways to follow: a document of which 48 messages
// are more work than a transaction may be takes more transactions.
func TestADocumentOfMuchWork(t *testing.T) {
	s := onChain(t)
	var events []string
	for i := range 160 {
		events = append(events, lineageOf(fmt.Sprintf("0193c2a1-0000-7000-8000-0000000f%04x", i), fmt.Sprintf("work%d", i%7), fmt.Sprintf("work%d", (i+1)%7)))
	}
	s.in = strings.NewReader(strings.Join(events, "\n"))
	s.ok(s.imports("openlineage", "--salts", s.path("salts"), "--output", "json", "-")...)
	s.in = strings.NewReader("[" + strings.Join(events, ",") + "]")
	out := s.ok(s.imports("openlineage", "--hide-names", "--salts", s.path("others"), "--output", "json", "-")...)
	s.counts(out, map[string]float64{"documents": 1, "committed": 1})
}

// A file of a folder that is a link counts: a policy set without it permits more.
func TestLinksInAFolder(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	forbid := s.file("forbid.txt", "forbid (principal, action, resource);")
	for name, to := range map[string]string{"forbid.cedar": forbid, "folder.cedar": t.TempDir(), "notes": forbid} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skipf("no links here: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "permit.cedar"), []byte("permit (principal, action, resource);"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.counts(s.ok("import", "cedar", "--dry-run", "--output", "json", dir), map[string]float64{"documents": 2, "mapped": 2})
	if err := os.Symlink(s.path("absent"), filepath.Join(dir, "lost.cedar")); err != nil {
		t.Fatal(err)
	}
	s.fails(1, "were refused", "import", "cedar", "--dry-run", dir)
}

func TestWrongImports(t *testing.T) {
	s := newShell(t)
	file := s.file("c.json", consentOf("c", "p", ""))
	s.fails(2, "name the files", "import", "cedar", "--dry-run")
	s.fails(2, "--from", "import", "fhir-consent", file)
	s.fails(2, "--dry-run", "import", "fhir-consent", "--from", "x", "--organisation", alpha, file)
	s.fails(2, "KEY=DID", "import", "fhir-consent", "--dry-run", "--did", "nobody", file)
	s.fails(2, "--root-rule", "import", "fhir-consent", "--dry-run", "--root-rule", "both", file)
	s.fails(2, "--base", "import", "fhir-consent", "--dry-run", "--base", "both", file)
	s.fails(1, "import/9", "import", "fhir-consent", "--dry-run", file)
	s.fails(1, "import/14", "import", "cedar", "--dry-run", t.TempDir())
	s.fails(1, "were refused", "import", "cedar", "--dry-run", s.path("absent.cedar"))
	open := s.file("salts", "")
	s.fails(1, "chmod 600", "import", "fhir-consent", "--dry-run", "--jurisdiction", "NL", "--salts", open, file)
	s.fails(2, "no command", "import", "csv", file)
}
