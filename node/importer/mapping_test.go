package importer_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/node/importer"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// Documents of our own: what they come to is pinned, and the chain takes it.
func TestGolden(t *testing.T) {
	for _, set := range []struct {
		folder string
		mapper importer.Mapper
	}{{"fhir", importer.FHIR}, {"openlineage", importer.OpenLineage}} {
		all := files(t, "testdata/"+set.folder)
		for _, name := range names(all) {
			r, err := set.mapper(all[name], options())
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			accounted(t, name, all[name], r)
			golden(t, set.folder+"-"+name, r)
			if result := newLedger(t).do(r.Messages...); result.Code != 0 {
				t.Errorf("%s: the chain refuses it: %s/%d %s", name, result.Codespace, result.Code, result.Log)
			}
			for _, secret := range []string{"Ann", "Bob", "4711", "0815", "6789", "s3cr3t", "ann.example", "ward 7", "192.0.2", "Data against"} {
				for _, m := range r.Messages {
					if raw, _ := proto.Marshal(m); bytes.Contains(raw, []byte(secret)) {
						t.Errorf("%s: law 1: %q is in a message", name, secret)
					}
				}
			}
		}
	}
}

func TestCedarGolden(t *testing.T) {
	all := files(t, "testdata/cedar")
	var list []importer.File
	for _, name := range names(all) {
		list = append(list, importer.File{Name: name, Raw: all[name]})
	}
	messages, results, err := importer.Cedar(list, nil, options())
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if i == 0 {
			r.Messages = messages
			accounted(t, list[i].Name, list[i].Raw, r)
		}
		golden(t, "cedar-"+list[i].Name, r)
	}
	if result := newLedger(t).do(messages...); result.Code != 0 {
		t.Errorf("the chain refuses it: %s/%d %s", result.Codespace, result.Code, result.Log)
	}
	o := options()
	o.StripComments = true
	stripped, _, err := importer.Cedar(list, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := proto.Marshal(stripped[0])
	if bytes.Contains(raw, []byte("Someone")) || bytes.Contains(raw, []byte("secret ones")) || !bytes.Contains(raw, []byte("nurses-read")) {
		t.Errorf("comments stay: %q", raw)
	}
}

// What is wrong in a file is told with the file, its line and the code of module
// access, and no other file is imported either.
func TestCedarRefusals(t *testing.T) {
	good := importer.File{Name: "good.cedar", Raw: []byte(`permit (principal, action, resource);`)}
	schema := importer.File{Name: "s.cedarschema", Raw: []byte("entity U; action a appliesTo { principal: U, resource: U };")}
	for _, c := range []struct {
		file importer.File
		want *errs.Error
		say  string
	}{
		{importer.File{Name: "bad.cedar", Raw: []byte("permit (principal, action, resource);\n\nforbid (principal")}, access.ErrSyntax, "3"},
		{importer.File{Name: "deep.cedar", Raw: []byte("permit (principal, action, resource) when {\n" + strings.Repeat("(", 5000))}, access.ErrTooDeep, "line 2"},
		{importer.File{Name: "big.cedar", Raw: bytes.Repeat([]byte("permit (principal, action, resource);\n"), 2000)}, access.ErrTooLarge, "at most"},
		{importer.File{Name: "s2.cedarschema", Raw: []byte("entity U;")}, importer.ErrClash, "file 2"},
		{importer.File{Name: "typo.cedar", Raw: []byte("permit (principal, action == Action::\"b\", resource);")}, access.ErrPolicies, ""},
		{importer.File{Name: "x/good.cedar", Raw: []byte("")}, importer.ErrClash, "good"},
		{importer.File{Name: "float.json", Raw: []byte(`[{"uid":{"type":"U","id":"1"},"attrs":{"x":1.5},"parents":[]}]`)}, access.ErrNumber, "/0"},
		{importer.File{Name: "twice.json", Raw: []byte(`[{"uid":{"type":"U","id":"1"},"attrs":{},"parents":[]},{"uid":{"type":"U","id":"1"},"attrs":{},"parents":[]}]`)}, importer.ErrClash, "/1"},
		{importer.File{Name: "request.json", Raw: []byte(`{"principal":{"type":"U","id":"1"}}`)}, importer.ErrKind, "/principal"},
		{importer.File{Name: "huge.json", Raw: []byte(`["` + strings.Repeat("x", importer.MaxBytes) + `"]`)}, importer.ErrTooLarge, ""},
		{importer.File{Name: "nest.json", Raw: []byte(strings.Repeat("[", 100000))}, importer.ErrTooDeep, "line 1"},
	} {
		_, _, err := importer.Cedar([]importer.File{good, schema, c.file}, nil, options())
		var f *importer.FileError
		if !errors.Is(err, c.want) || !errors.As(err, &f) || f.File != 2 || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want %v at file 2 with %q", c.file.Name, err, c.want, c.say)
		}
	}
}

const opt = `{"resourceType":"Consent","id":"c","status":"active","patient":{"reference":"Patient/1"},"policyRule":{"coding":[{"code":"%s"}]}%s}`

func consents(t *testing.T, o importer.Options, rule, more string) (out []string) {
	t.Helper()
	raw := fmt.Appendf(nil, opt, rule, more)
	r, err := importer.FHIR(raw, o)
	if err != nil {
		return []string{err.Error()}
	}
	accounted(t, more, raw, r)
	for _, m := range r.Messages {
		switch m := m.(type) {
		case *consentv1.Give:
			out = append(out, say("give", m.Terms))
		case *consentv1.Refuse:
			out = append(out, say("refuse", m.Terms))
		}
	}
	return out
}

func say(what string, t *consentv1.Terms) string {
	for _, c := range t.Categories {
		if c.Iri != importer.AnyData {
			what += " data"
		}
	}
	if len(t.Recipients) > 0 {
		what += fmt.Sprintf(" to %d", len(t.Recipients))
	}
	for _, e := range t.Exclusions {
		what += fmt.Sprintf(" but %d,%d,%d,%d", len(e.Recipients), len(e.Purposes), len(e.Processing), len(e.Categories))
		if slices.Contains(e.Recipients, hospital) {
			what += " controller"
		}
	}
	if t.ValidUntil != 0 {
		what += " until"
	}
	return what
}

// A consent never permits more than its document.
func TestNoPermissionGrows(t *testing.T) {
	const (
		nurse  = `"actor":[{"role":{"coding":[{"code":"PRCP"}]},"reference":{"reference":"Practitioner/2"}}]`
		clinic = `"actor":[{"role":{"coding":[{"code":"CST"}]},"reference":{"reference":"Organization/1"}}]`
		treat  = `"purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT"}]`
		label  = `"securityLabel":[{"code":"N"}]`
		class  = `"class":[{"code":"Observation"}]`
	)
	strict, limit, except := options(), options(), options()
	limit.RootRule, except.RootRule = importer.Limit, importer.Except
	for _, c := range []struct {
		o          importer.Options
		rule, more string
		want       string
	}{
		{strict, "OPTIN", ``, "give"},
		{strict, "OPTOUT", ``, "refuse"},
		// A first rule without a type: what both readings permit.
		{strict, "OPTIN", `,"provision":{` + nurse + `}`, "refuse"},
		{limit, "OPTIN", `,"provision":{` + nurse + `}`, "give to 1 but 1,0,0,0 controller"},
		{except, "OPTIN", `,"provision":{` + nurse + `}`, "give but 0,1,0,0"}, // nobody knows the nurse's DID
		{strict, "OPTIN", `,"provision":{"period":{"end":"2030-01-01"}}`, "give until"},
		{except, "OPTIN", `,"provision":{"period":{"end":"2030-01-01"}}`, "give but 0,1,0,0"},
		{strict, "OPTIN", `,"provision":{"dataPeriod":{"start":"2015-01-01"}}`, "refuse"},
		{strict, "OPTIN", `,"provision":{` + nurse + `,"provision":[{"type":"permit",` + class + `}]}`, "give data to 1 but 1,0,0,0 controller"},
		{strict, "OPTIN", `,"provision":{` + nurse + `,"provision":[{"type":"deny",` + class + `}]}`, "refuse"},
		{strict, "OPTOUT", `,"provision":{` + nurse + `}`, "refuse"},
		{strict, "OPTOUT", `,"provision":{` + treat + `,"provision":[{"type":"permit",` + class + `}]}`, "refuse; give data"},
		{except, "OPTOUT", `,"provision":{` + class + `}`, "refuse; give data"},
		// With a type.
		{strict, "OPTIN", `,"provision":{"type":"permit",` + nurse + `}`, "give to 1 but 1,0,0,0 controller"},
		{strict, "OPTIN", `,"organization":[{"reference":"Organization/1"}],"provision":{"type":"permit",` + clinic + `}`, "give"},
		{strict, "OPTIN", `,"provision":{"type":"deny",` + label + `}`, "give but 0,0,0,1"},
		{strict, "OPTIN", `,"provision":{"type":"deny",` + label + `,` + class + `}`, "give but 0,0,0,2"},
		{strict, "OPTIN", `,"provision":{"type":"permit",` + label + `,` + class + `}`, "give data"},
		{strict, "OPTOUT", `,"provision":{"type":"permit",` + treat + `}`, "refuse; give"},
		// An exception to a prohibition does not open it.
		{strict, "OPTIN", `,"provision":{"type":"deny",` + label + `,"provision":[{"type":"permit",` + treat + `}]}`, "give but 0,0,0,1"},
		// A prohibition beside a permission limits it, also where all else is prohibited.
		{strict, "OPTOUT", `,"provision":{"provision":[{"type":"permit",` + class + `},{"type":"deny",` + treat + `}]}`, "refuse; give data but 0,1,0,0"},
		{strict, "OPTOUT", `,"provision":{"type":"deny","provision":[{"type":"permit",` + class + `},{"type":"deny",` + label + `}]}`, "refuse; give data but 0,0,0,1"},
		// A prohibition with an entry that has no code is of more than those that have one.
		{strict, "OPTIN", `,"provision":{"type":"deny","code":[{"coding":[{"code":"X"}]},{"text":"all about my genes"}]}`, "give but 0,1,0,0"},
		// Rules that exclude one another leave nothing.
		{strict, "OPTIN", `,"organization":[{"reference":"Organization/1"}],"provision":{"type":"permit",` + clinic + `,"provision":[{"type":"permit",` + nurse + `}]}`,
			"import/12: " + importer.ErrNothing.Text + " (/provision: its rules exclude one another)"},
	} {
		if got := strings.Join(consents(t, c.o, c.rule, c.more), "; "); got != c.want {
			t.Errorf("%s%s came to %q, want %q", c.rule, c.more, got, c.want)
		}
	}
}

// A limit in a form that FHIR R4 does not have is not read as if it were not there.
func TestForeignFormsAreRefused(t *testing.T) {
	const nurse = `"actor":[{"reference":{"reference":"Practitioner/2"}}]`
	for more, place := range map[string]string{
		`,"provision":[{"type":"deny"}]`:                                             "/provision", // R5
		`,"decision":"deny"`:                                                         "/decision",  // R5
		`,"except":[{"type":"deny"}]`:                                                "/except",    // STU3
		`,"provision":{"type":"permit","documentType":[{"code":"X"}]}`:               "/provision/documentType",
		`,"provision":{"type":"Deny",` + nurse + `}`:                                 "/provision/type",
		`,"provision":{"type":"permit","provision":[{"type":"DENY",` + nurse + `}]}`: "/provision/provision/0/type",
		`,"provision":{"type":"permit","provision":[{` + nurse + `}]}`:               "/provision/provision/0",
		`,"provision":{"provision":[{` + nurse + `}]}`:                               "/provision/provision/0",
		`,"provision":{"type":"permit","provision":{"type":"deny",` + nurse + `}}`:   "/provision/provision",
		`,"provision":{"type":"permit","purpose":{"code":"TREAT"}}`:                  "/provision/purpose",
		`,"provision":{"type":"permit","period":"2020"}`:                             "/provision/period",
		`,"provision":{"type":"permit","actor":null}`:                                "/provision/actor",
		`,"provision":{"type":"permit","actor":[]}`:                                  "/provision/actor",
		`,"provision":{"type":"permit","class":["X"]}`:                               "/provision/class/0",
		`,"provision":{"_period":{}}`:                                                "/provision/_period",
		`,"organization":{"reference":"Organization/1"}`:                             "/organization",
	} {
		_, err := importer.FHIR(fmt.Appendf(nil, opt, "OPTIN", more), options())
		if !errors.Is(err, importer.ErrInvalid) || !strings.Contains(err.Error(), "("+place+":") {
			t.Errorf("%s: %v, want a refusal at %s", more, err, place)
		}
	}
	if got := consents(t, options(), "OPTIN", `,"_dateTime":{"id":"d"},"provision":{"type":"permit","_type":{"id":"t"}}`); strings.Join(got, "; ") != "give" {
		t.Errorf("extensions of strings: %v", got)
	}
}

// Security labels are the parts of one label: a permission is for data that has all.
func TestSecurityLabelsAreOneLabel(t *testing.T) {
	for kind, want := range map[string]int{"permit": 1, "deny": 2} {
		r, err := importer.FHIR(fmt.Appendf(nil, opt, "OPTIN", `,"provision":{"type":"`+kind+`","securityLabel":[{"code":"R"},{"code":"HIV"}]}`), options())
		if err != nil {
			t.Fatal(err)
		}
		terms := r.Messages[0].(*consentv1.Give).Terms
		n := len(terms.Categories)
		if kind == "deny" {
			n = len(terms.Exclusions[0].Categories)
		}
		if n != want {
			t.Errorf("%s: %v", kind, terms)
		}
	}
}

// A label of confidentiality stands for the lower ones too (FHIR R4, Consent.provision.
// securityLabel), and one that is denied for the higher ones: a prohibition covers all.
func TestProhibitedConfidentiality(t *testing.T) {
	const system = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	for kind, want := range map[string]string{"permit": "N", "deny": "U L M N R V"} {
		r, err := importer.FHIR(fmt.Appendf(nil, opt, "OPTIN", `,"provision":{"type":"`+kind+`","securityLabel":[{"system":"`+system+`","code":"N"}]}`), options())
		if err != nil {
			t.Fatal(err)
		}
		terms := r.Messages[0].(*consentv1.Give).Terms
		var got []string
		for _, c := range terms.Categories {
			got = append(got, strings.TrimPrefix(c.Iri, system+"#"))
		}
		if kind == "deny" {
			got = nil
			for _, iri := range terms.Exclusions[0].Categories {
				got = append(got, strings.TrimPrefix(iri, system+"#"))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s is of %v, want %s", kind, got, want)
		}
	}
}

// A period that ends with a second holds in all of it.
func TestProhibitionsEndAfterTheirLastSecond(t *testing.T) {
	const rule = `,"provision":{"type":"%s","class":[{"code":"X"}],"period":{"end":"2030-01-01T10:00:00Z"}}`
	const end = 1893492000000
	r, err := importer.FHIR(fmt.Appendf(nil, opt, "OPTIN", fmt.Sprintf(rule, "deny")), options())
	if err != nil {
		t.Fatal(err)
	}
	if until := r.Messages[0].(*consentv1.Give).Terms.Exclusions[0].Until; until != end+1000 {
		t.Errorf("the prohibition ends at %d", until)
	}
	if r, err = importer.FHIR(fmt.Appendf(nil, opt, "OPTIN", fmt.Sprintf(rule, "permit")), options()); err != nil {
		t.Fatal(err)
	}
	if until := r.Messages[0].(*consentv1.Give).Terms.ValidUntil; until > end+1000 {
		t.Errorf("the permission ends at %d", until)
	}
}

// A consent that is no longer in force ended before the import, whatever the document says.
func TestInactiveEnded(t *testing.T) {
	raw := strings.Replace(fmt.Sprintf(opt, "OPTIN", `,"meta":{"lastUpdated":"2999-01-01T00:00:00Z"}`), `"active"`, `"inactive"`, 1)
	r, err := importer.FHIR([]byte(raw), options())
	if err != nil {
		t.Fatal(err)
	}
	if until := r.Messages[0].(*consentv1.Give).Terms.ValidUntil; until == 0 || until > later {
		t.Errorf("it ends at %d, after the import", until)
	}
}

// A purpose is not made up for a consent of another scope, nor a policy chosen of two.
func TestUnclearConsents(t *testing.T) {
	for _, c := range []struct {
		rule, more string
		want       *errs.Error
	}{
		{"OPTIN", `,"scope":{"coding":[{"code":"marketing"}]}`, importer.ErrInexpressible},
		{"OPTIN", `,"scope":{"text":"advertising"}`, importer.ErrInexpressible},
		{`OPTIN"},{"code":"OPTOUT`, ``, importer.ErrUnclear},
		{`OPTOUT"},{"code":"OPTIN`, ``, importer.ErrUnclear},
	} {
		if _, err := importer.FHIR(fmt.Appendf(nil, opt, c.rule, c.more), options()); !errors.Is(err, c.want) {
			t.Errorf("%s%s: %v, want %v", c.rule, c.more, err, c.want)
		}
	}
	named := options()
	named.Purposes = []string{importer.Research}
	if got := consents(t, named, "OPTIN", `,"scope":{"text":"advertising"}`); strings.Join(got, "; ") != "give" {
		t.Errorf("with --purpose: %v", got)
	}
	if got := consents(t, options(), "OPTOUT", `,"scope":{"text":"advertising"}`); strings.Join(got, "; ") != "refuse" {
		t.Errorf("a refusal needs no purpose: %v", got)
	}
}

// A code that is narrower than a purpose of DPV does not become that purpose.
func TestNarrowCodesStayThemselves(t *testing.T) {
	r, err := importer.FHIR(fmt.Appendf(nil, opt, "OPTIN", `,"provision":{"type":"permit","purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"CLINTRCH"}]}`), options())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Messages[0].(*consentv1.Give).Terms.Purposes; len(got) != 1 || got[0] != "http://terminology.hl7.org/CodeSystem/v3-ActReason#CLINTRCH" {
		t.Errorf("purposes %v", got)
	}
}

// heard is a chain that holds the records of earlier messages.
type heard struct{ records []*consentv1.ConsentResponse }

func (h *heard) Node(string) (*provenancev1.Node, error) { return nil, nil }
func (h *heard) Consents([]byte, string) ([]*consentv1.ConsentResponse, error) {
	return h.records, nil
}

func (h *heard) hear(messages []proto.Message) {
	for _, m := range messages {
		switch m := m.(type) {
		case *consentv1.Give:
			h.records = append(h.records, &consentv1.ConsentResponse{
				Record:          &consentv1.Record{Id: []byte{byte(len(h.records) + 1)}, Version: 1, Status: consentv1.Status_STATUS_GIVEN, Terms: m.Terms, EvidenceHash: m.EvidenceHash, Source: m.Source},
				EffectiveStatus: consentv1.Status_STATUS_GIVEN,
			})
		case *consentv1.Request: // it has neither evidence nor a source
			h.records = append(h.records, &consentv1.ConsentResponse{
				Record:          &consentv1.Record{Id: []byte{byte(len(h.records) + 1)}, Version: 1, Status: consentv1.Status_STATUS_REQUESTED, Terms: m.Terms, RequestedAt: later},
				EffectiveStatus: consentv1.Status_STATUS_REQUESTED,
			})
		case *consentv1.Withdraw:
			for _, r := range h.records {
				if bytes.Equal(r.Record.Id, m.Id) {
					r.Record.Status, r.EffectiveStatus = consentv1.Status_STATUS_WITHDRAWN, consentv1.Status_STATUS_WITHDRAWN
					r.Record.Version++
				}
			}
		}
	}
}

// Importing again registers nothing twice; a later version of the same Consent
// replaces the earlier one, and one that ended or was an error withdraws it.
func TestConsentsAgain(t *testing.T) {
	h := &heard{}
	o := options()
	o.Chain = h
	step := func(status, more, want string) {
		t.Helper()
		raw := strings.Replace(fmt.Sprintf(opt, "OPTIN", more), `"active"`, `"`+status+`"`, 1)
		r, err := importer.FHIR([]byte(raw), o)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		accounted(t, status, []byte(raw), r)
		var got []string
		for _, m := range r.Messages {
			got = append(got, string(proto.MessageName(m).Name()))
		}
		if len(got) == 0 && len(r.Present) > 0 {
			got = []string{"present"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s%s came to %v, want %s", status, more, got, want)
		}
		h.hear(r.Messages)
	}
	step("active", ``, "Give")
	step("active", ``, "present")
	step("active", `,"provision":{"period":{"end":"2030-01-01"}}`, "Withdraw Give")
	step("active", `,"provision":{"period":{"end":"2030-01-01"}}`, "present")
	step("inactive", ``, "Withdraw")
	step("inactive", ``, "present")
	step("entered-in-error", ``, "present")
	step("active", `,"language":"nl"`, "Give")
	// Another reading of the same document replaces the first.
	o.RootRule = importer.Limit
	const nurse = `,"provision":{"actor":[{"role":{"coding":[{"code":"PRCP"}]},"reference":{"reference":"Practitioner/2"}}]}`
	step("active", nurse, "Withdraw Give")
	o.RootRule = importer.Strict
	step("active", nurse, "Withdraw Refuse")
	// What was withdrawn is not given again by the document that gave it.
	step("active", `,"language":"nl"`, "present")
	step("active", `,"language":"de"`, "Give")
	step("entered-in-error", ``, "Withdraw")
	// What was asked is not asked again.
	step("proposed", ``, "Request")
	step("proposed", ``, "present")
	step("draft", `,"language":"fr"`, "Request")
}

// A Bundle is imported once like any document, also where the Consents in it have no
// id; of a history, which is in force is not guessed.
func TestBundlesOfConsents(t *testing.T) {
	h := &heard{}
	o := options()
	o.Chain = h
	one := func(id, class string) string {
		return `{"resource":` + strings.Replace(fmt.Sprintf(opt, "OPTIN", `,"provision":{"type":"permit","class":[{"code":"`+class+`"}]}`), `"id":"c",`, id, 1) + `}`
	}
	bundle := func(entries ...string) ([]proto.Message, error) {
		r, err := importer.FHIR([]byte(`{"resourceType":"Bundle","type":"collection","entry":[`+strings.Join(entries, ",")+`]}`), o)
		if err != nil {
			return nil, err
		}
		h.hear(r.Messages)
		return r.Messages, nil
	}
	for _, want := range []int{2, 0} {
		if m, err := bundle(one("", "X"), one("", "Y")); err != nil || len(m) != want {
			t.Errorf("%d messages, want %d: %v, %v", len(m), want, m, err)
		}
	}
	if _, err := bundle(one(`"id":"c",`, "X"), one(`"id":"c",`, "Y")); !errors.Is(err, importer.ErrInvalid) {
		t.Errorf("two versions of a Consent: %v", err)
	}
}

// asked is a chain that has a node of any id, and counts what it was asked.
type asked struct {
	heard
	nodes int
}

func (a *asked) Node(id string) (*provenancev1.Node, error) {
	a.nodes++
	return &provenancev1.Node{Ref: &provenancev1.Ref{Id: id, Version: 1}}, nil
}

// A document that names a thing many times asks the chain for it once.
func TestTheChainIsAskedOnce(t *testing.T) {
	a := &asked{}
	o := options()
	o.Chain = a
	inputs := strings.Repeat(`{"namespace":"n","name":"d"},`, 500)
	raw := `{"eventType":"START","eventTime":"2026-01-01T00:00:00Z","producer":"https://example.org/p","schemaURL":"https://example.org/s",` +
		`"run":{"runId":"0193c2a1-0000-7000-8000-00000000000a"},"job":{"namespace":"n","name":"j"},"inputs":[` + strings.TrimSuffix(inputs, ",") + `]}`
	if _, err := importer.OpenLineage([]byte(raw), o); err != nil {
		t.Fatal(err)
	}
	if a.nodes > 5 { // event, producer, job, run, data set
		t.Errorf("the chain was asked %d times", a.nodes)
	}
}

func TestRefusedDocuments(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	wide := "[" + strings.Repeat("1,", importer.MaxNodes) + "1]"
	names := `{"` + strings.Repeat("n", 2000) + `":1}`
	many := func(n int, format string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(format, i))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	noRegion := options()
	noRegion.Jurisdiction = ""
	for _, c := range []struct {
		o      importer.Options
		mapper importer.Mapper
		raw    string
		want   *errs.Error
		say    string
	}{
		{options(), importer.FHIR, "{\n\"a\":\n}", importer.ErrSyntax, "line 3"},
		{options(), importer.FHIR, `{"a":1,"a":2}`, importer.ErrSyntax, "twice"},
		{options(), importer.FHIR, `{"a":"\ud800"}`, importer.ErrSyntax, "surrogate"},
		{options(), importer.FHIR, `{} {}`, importer.ErrSyntax, "follows"},
		{options(), importer.FHIR, "\xff", importer.ErrSyntax, "UTF-8"},
		{options(), importer.FHIR, `<Consent/>`, importer.ErrXML, ""},
		{options(), importer.FHIR, deep, importer.ErrTooDeep, ""},
		{options(), importer.FHIR, wide, importer.ErrTooLarge, ""},
		{options(), importer.FHIR, names, importer.ErrTooLarge, ""},
		{options(), importer.FHIR, strings.Repeat(" ", importer.MaxBytes) + "{}", importer.ErrTooLarge, ""},
		{options(), importer.FHIR, `{"resourceType":"Patient"}`, importer.ErrKind, "/resourceType"},
		{options(), importer.FHIR, `{"resourceType":"Consent","modifierExtension":[{}]}`, importer.ErrModifier, "/modifierExtension"},
		{noRegion, importer.FHIR, fmt.Sprintf(opt, "OPTIN", ""), importer.ErrOptions, "--jurisdiction"},
		{options(), importer.FHIR, `{"resourceType":"Consent","status":"active","patient":{"reference":"Patient/1"}}`, importer.ErrUnclear, ""},
		{options(), importer.FHIR, `{"resourceType":"Consent","status":"active","policyRule":{"coding":[{"code":"OPTIN"}]}}`, importer.ErrInvalid, "patient"},
		{options(), importer.FHIR, `{"resourceType":"Provenance","recorded":"2026-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/1"}}],"target":` +
			many(3000, `{"reference":"Observation/%d"}`) + `,"entity":` + many(3000, `{"role":"source","what":{"reference":"Specimen/%d"}}`) + `}`, importer.ErrTooLarge, "relations"},
		{options(), importer.OpenLineage, `1`, importer.ErrKind, ""},
		{options(), importer.OpenLineage, `{"nothing":{}}`, importer.ErrKind, "/nothing"},
		{options(), importer.OpenLineage, `{"eventTime":"soon","producer":"p","schemaURL":"s","job":{"namespace":"n","name":"m"}}`, importer.ErrInvalid, "/eventTime"},
		{options(), importer.OpenLineage, `{"eventTime":"2026-01-01T00:00:00Z","producer":"p","schemaURL":"s","run":{"runId":"7"},"job":{"namespace":"n","name":"m"}}`, importer.ErrInvalid, "/run/runId"},
	} {
		_, err := c.mapper([]byte(c.raw), c.o)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%.60q: %v, want %v with %q", c.raw, err, c.want, c.say)
		}
	}
}

// With --hide-names no name of a dataset, job or column is in a message.
func TestHiddenNames(t *testing.T) {
	o := options()
	o.HideNames = true
	raw := files(t, "testdata/openlineage")["column.json"]
	r, err := importer.OpenLineage(raw, o)
	if err != nil {
		t.Fatal(err)
	}
	accounted(t, "column.json", raw, r)
	for _, m := range r.Messages {
		b, _ := proto.Marshal(m)
		for _, name := range []string{"warehouse", "measurements", "summary", "nightly", "mean"} {
			if bytes.Contains(b, []byte(name)) {
				t.Errorf("%q is in a message", name)
			}
		}
	}
}

// Neither the user and password of a connection nor an address that is percent-encoded
// is in a message.
func TestNoUserOfAConnection(t *testing.T) {
	raw := []byte(`{"eventType":"COMPLETE","eventTime":"2026-01-01T00:00:00Z","producer":"https://example.org/p?by=jdoe%40example.org","schemaURL":"https://jdoe:hunter2@schemas/s",
		"run":{"runId":"0193c2a1-0000-7000-8000-00000000000a"},"job":{"namespace":"postgres://jdoe:hunter2@db:5432","name":"j","facets":{
			"sourceCodeLocation":{"url":"https://jdoe:hunter2@git/x","repoUrl":"https://git/x?u=jdoe%40example.org"}}},
		"inputs":[{"namespace":"n","name":"jdoe%40example.org","facets":{"dataSource":{"name":"jdoe:hunter2@db","uri":"jdbc:postgresql://jdoe:hunter2@10.0.0.1/x"}}}],
		"outputs":[{"namespace":"mysql://jdoe@localhost","name":"t","facets":{"jdoe@example.org":{"a":1}}}]}`)
	r, err := importer.OpenLineage(raw, options())
	if err != nil {
		t.Fatal(err)
	}
	accounted(t, "connection", raw, r)
	for _, m := range r.Messages {
		text, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"jdoe", "hunter2"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s is in %q", secret, text)
			}
		}
	}
}

// With --hide-names neither is where a job's code is, which names it.
func TestHiddenCode(t *testing.T) {
	o := options()
	o.HideNames = true
	raw := []byte(`{"eventTime":"2026-01-01T00:00:00Z","producer":"https://example.org/p","schemaURL":"https://example.org/s","job":{"namespace":"n","name":"nightly","facets":{
		"sourceCodeLocation":{"type":"git","url":"https://git.example.org/etl/nightly.py","repoUrl":"https://git.example.org/nightly","path":"nightly.py","branch":"nightly","tag":"nightly-1","version":"abc"}}}}`)
	r, err := importer.OpenLineage(raw, o)
	if err != nil {
		t.Fatal(err)
	}
	accounted(t, "code", raw, r)
	for _, m := range r.Messages {
		if b, _ := proto.Marshal(m); bytes.Contains(b, []byte("nightly")) {
			t.Errorf("the name is in %q", b)
		}
	}
}

// With --publish-hash a document is found by its content.
func TestPublishedHash(t *testing.T) {
	o := options()
	o.PublishHash = true
	r, err := importer.OpenLineage(files(t, "testdata/openlineage")["column.json"], o)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range r.Messages {
		for _, n := range m.(*provenancev1.Record).GetNodes() {
			found += len(n.GetEntity().GetHashes())
		}
	}
	if found != 1 {
		t.Errorf("%d hashes, want that of the document", found)
	}
}

// The same document, options and salts give the same messages, and other salts
// other commitments (law 2).
func TestDeterminism(t *testing.T) {
	raw := files(t, "testdata/fhir")["bundle.json"]
	a, err := importer.FHIR(raw, options())
	if err != nil {
		t.Fatal(err)
	}
	b, _ := importer.FHIR(raw, options())
	o := options()
	o.Salts = &importer.MemorySalts{}
	c, _ := importer.FHIR(raw, o)
	for i := range a.Messages {
		if !proto.Equal(a.Messages[i], b.Messages[i]) {
			t.Errorf("message %d differs", i)
		}
		if proto.Equal(a.Messages[i], c.Messages[i]) {
			t.Errorf("message %d does not depend on the salts", i)
		}
	}
}
