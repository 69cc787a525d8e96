package scenario

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/consent/commitment"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// documentsAtOnce is how many documents are on their way to the chain together.
const documentsAtOnce = 6

// imported is what became of a document.
type imported struct {
	Document string `json:"document"`
	// Became names the message that it was mapped to; empty when it stays off the
	// chain.
	Became string `json:"became,omitempty"`
	// Reason says what was left out or made smaller, and why.
	Reason string `json:"reason"`

	message proto.Message
	as      actor
}

// documents puts real documents on the chain: FHIR consents as the hospital's
// records, OpenLineage documents as the pharma company's provenance. A consent
// never permits more than its document: what cannot be said in terms is recorded
// as a refusal. No document, name or identifier of a person is on the chain, but
// commitments under a salt that is thrown away here.
func (r *run) documents(ctx context.Context) error {
	fhir, lineage, where, err := r.examples()
	if err != nil {
		return err
	}
	salt := make([]byte, 2*commitment.MinSalt)
	rand.Read(salt) // never fails: it ends the process instead
	tag := randomID()[:10]
	var all []*imported
	consents, given := 0, 0
	for _, d := range fhir {
		i := &imported{Document: d.name, as: r.cast.hospital.self}
		all = append(all, i)
		if kind := resourceType(d.raw); kind != "Consent" {
			i.Reason = kind + ": the demonstration puts consents and lineage on the chain; this resource stays off it"
			continue
		}
		consents++
		if i.message, i.Reason, err = r.mapConsent(d, salt); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if _, ok := i.message.(*consentv1.Give); ok {
			given++
		}
	}
	runs := 0
	for n, d := range lineage {
		i := &imported{Document: d.name, as: r.cast.pipeline}
		all = append(all, i)
		record, run, err := mapLineage(d, tag+"/"+strconv.Itoa(n), salt)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		i.message, i.Reason = record, "facets stay off the chain, which holds a commitment to the document"
		if run {
			runs++
		}
	}
	if consents == 0 || len(lineage) == 0 {
		return fmt.Errorf("%s holds %d FHIR consents and %d OpenLineage documents; there should be some of each", where, consents, len(lineage))
	}
	if err := r.submitAll(ctx, all); err != nil {
		return err
	}
	held, err := r.held(ctx)
	if err != nil {
		return err
	}
	if held < consents {
		return fmt.Errorf("the hospital holds %d consent records; %d were imported", held, consents)
	}
	report, err := r.report(all)
	if err != nil {
		return err
	}
	r.note("from %s:", where)
	r.note("%d FHIR consents: %d given; %d refused, by patients who opt out or in provisions that terms cannot hold", consents, given, consents-given)
	r.note("%d OpenLineage documents, %d of them runs with their inputs and outputs", len(lineage), runs)
	r.note("what became of each document, and of %d other FHIR resources: %s", len(fhir)-consents, report)
	return nil
}

// submitAll submits the messages, several at a time.
func (r *run) submitAll(ctx context.Context, all []*imported) error {
	faults := make([]error, len(all))
	slots := make(chan struct{}, documentsAtOnce)
	var group sync.WaitGroup
	for n, i := range all {
		if i.message == nil {
			continue
		}
		i.Became = string(proto.MessageName(i.message))
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if _, err := r.c.Do(ctx, i.as.did, i.as.signers, i.message); err != nil {
				faults[n] = fmt.Errorf("%s: %w", i.Document, err)
			}
		})
	}
	group.Wait()
	return errors.Join(faults...)
}

// held counts the hospital's consent records.
func (r *run) held(ctx context.Context) (int, error) {
	q, n := consentv1.NewQueryClient(r.c.Conn()), 0
	for token := []byte(nil); ; {
		page, err := q.ConsentsByController(ctx, &consentv1.ConsentsByControllerRequest{Controller: r.cast.hospital.Organisation, Limit: 500, PageToken: token})
		if err != nil {
			return 0, err
		}
		n += len(page.Consents)
		if token = page.NextPageToken; len(token) == 0 {
			return n, nil
		}
	}
}

// fhirConsent is the part of an R4 Consent that is looked at.
type fhirConsent struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Patient struct {
		Reference string `json:"reference"`
	} `json:"patient"`
	PolicyRule concept    `json:"policyRule"`
	Provision  *provision `json:"provision"`
}

type concept struct {
	Coding []struct {
		Code string `json:"code"`
	} `json:"coding"`
}

func (c concept) has(code string) bool {
	for _, k := range c.Coding {
		if k.Code == code {
			return true
		}
	}
	return false
}

type provision struct {
	Type   string `json:"type"`
	Period struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"period"`
	// The rest makes a provision narrower; it is looked at for whether it is there.
	Narrower map[string]json.RawMessage `json:"-"`
}

// UnmarshalJSON reads the two fields that are understood and keeps the others.
func (p *provision) UnmarshalJSON(raw []byte) error {
	type plain provision
	if err := json.Unmarshal(raw, (*plain)(p)); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &p.Narrower); err != nil {
		return err
	}
	delete(p.Narrower, "type")
	delete(p.Narrower, "period")
	return nil
}

// mapConsent makes a consent for medical care of a document that opts in and says
// nothing else but a period, and a refusal of every other one.
func (r *run) mapConsent(d document, salt []byte) (proto.Message, string, error) {
	var c fhirConsent
	if err := json.Unmarshal(d.raw, &c); err != nil {
		return nil, "", fmt.Errorf("read the resource: %w", err)
	}
	// A subject of its own for each document, so that they do not decide together.
	subject, err := commitment.New(salt, []byte(d.name+" "+c.Patient.Reference))
	if err != nil {
		return nil, "", err
	}
	seal, err := commitment.New(salt, d.raw)
	if err != nil {
		return nil, "", err
	}
	terms := &consentv1.Terms{
		Subject: subject, Controller: r.cast.hospital.Organisation, Purposes: []string{care},
		Categories:       []*consentv1.Category{{Iri: consent.AnyData, Special: true}},
		LegalBasis:       consentv1.LegalBasis_LEGAL_BASIS_CONSENT,
		SpecialCondition: consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT,
		Jurisdiction:     "NL", Notice: &consentv1.Notice{Version: "fhir-r4", Hash: seal, Language: "en"},
	}
	source := &consentv1.Source{Hash: seal, Format: "fhir-r4-consent"}
	refuse := func(why string) (proto.Message, string, error) {
		return &consentv1.Refuse{Terms: terms, Method: consentv1.Method_METHOD_IMPORTED, Source: source}, why, nil
	}
	switch p := c.Provision; {
	case c.Status != "active":
		return refuse("its status is " + c.Status)
	case p != nil && p.Type == "deny" || c.PolicyRule.has("OPTOUT"):
		return refuse("the patient opts out")
	case p != nil && len(p.Narrower) > 0:
		return refuse("it allows less than all of a purpose, in provisions that terms cannot hold")
	case !c.PolicyRule.has("OPTIN") && (p == nil || p.Type != "permit"):
		return refuse("it does not say that the patient opts in")
	case p != nil:
		terms.ValidFrom, terms.ValidUntil = dateOf(p.Period.Start), dateOf(p.Period.End)
		if unread(p.Period.Start) || unread(p.Period.End) || p.Period.End != "" && terms.ValidUntil == 0 {
			return refuse("its period cannot be read")
		}
	}
	return &consentv1.Give{Terms: terms, Method: consentv1.Method_METHOD_IMPORTED, Source: source},
		"for medical care, at the hospital alone, within its period; text and codes stay off the chain", nil
}

// parseDate reads a FHIR date or dateTime.
func parseDate(s string) (time.Time, bool) {
	for _, form := range []string{time.RFC3339, time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// unread tells whether there is a date that cannot be read.
func unread(s string) bool {
	_, ok := parseDate(s)
	return s != "" && !ok
}

// dateOf is a FHIR date in Unix milliseconds, 0 when it is none or before 1970.
func dateOf(s string) int64 {
	t, ok := parseDate(s)
	if !ok {
		return 0
	}
	return max(0, t.UnixMilli())
}

// lineageEvent is the part of an OpenLineage event that is looked at.
type lineageEvent struct {
	EventType string    `json:"eventType"`
	EventTime string    `json:"eventTime"`
	Run       *struct{} `json:"run"`
	Job       *struct{} `json:"job"`
	Inputs    []dataset `json:"inputs"`
	Outputs   []dataset `json:"outputs"`
}

type dataset struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// openLineage is the vocabulary of OpenLineage's types.
const openLineage = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"

// mapLineage makes an entity of a document and, of a run's event, the run with what
// it read and wrote. Names of data sets are on the chain as commitments.
func mapLineage(d document, tag string, salt []byte) (record *provenancev1.Record, run bool, err error) {
	var e lineageEvent
	// Some examples are facets alone, whose fields are others of the same names.
	if json.Unmarshal(d.raw, &e) != nil {
		e = lineageEvent{}
	}
	record = new(provenancev1.Record)
	add := func(id string, what []byte, kind string) error {
		seal, err := commitment.New(salt, what)
		if err != nil {
			return err
		}
		record.Nodes = append(record.Nodes, &provenancev1.NewNode{Id: id, Description: &provenancev1.NewNode_Entity{Entity: &provenancev1.Entity{
			Types: []string{openLineage + kind},
			Attributes: []*provenancev1.Attribute{
				{Key: "urn:chancery:testnet:commitment", Type: provenancev1.ValueType_VALUE_TYPE_HEX, Value: hex.EncodeToString(seal)},
			},
		}}})
		return nil
	}
	kind := "BaseFacet"
	if run = e.Run != nil && e.Job != nil; run {
		kind = "RunEvent"
	}
	event := "lineage/" + tag
	if err := add(event, d.raw, kind); err != nil || !run {
		return record, run, err
	}
	runID := event + "/run"
	activity := &provenancev1.Activity{Types: []string{openLineage + "Run"}}
	if at := dateOf(e.EventTime); e.EventType == "COMPLETE" && at > 0 {
		activity.EndedAt, activity.Outcome = at, provenancev1.Outcome_OUTCOME_COMPLETED
	}
	record.Nodes = append(record.Nodes, &provenancev1.NewNode{Id: runID, Description: &provenancev1.NewNode_Activity{Activity: activity}})
	link := func(kind provenancev1.RelationKind, subject, object string) {
		record.Relations = append(record.Relations, &provenancev1.Relation{
			Kind: kind, Subject: &provenancev1.Ref{Id: subject}, Object: &provenancev1.Ref{Id: object},
		})
	}
	for i, in := range e.Inputs {
		id := fmt.Sprintf("%s/in/%d", event, i)
		if err := add(id, []byte(in.Namespace+" "+in.Name), "InputDataset"); err != nil {
			return nil, run, err
		}
		link(provenancev1.RelationKind_RELATION_KIND_USAGE, runID, id)
	}
	for i, out := range e.Outputs {
		id := fmt.Sprintf("%s/out/%d", event, i)
		if err := add(id, []byte(out.Namespace+" "+out.Name), "OutputDataset"); err != nil {
			return nil, run, err
		}
		link(provenancev1.RelationKind_RELATION_KIND_GENERATION, id, runID)
	}
	return record, run, nil
}

// report writes what became of every document.
func (r *run) report(all []*imported) (string, error) {
	if err := os.MkdirAll(r.o.Folder, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of reports: %w", err)
	}
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the report of the import: %w", err)
	}
	at := filepath.Join(r.o.Folder, "import.json")
	if err := os.WriteFile(at, raw, 0o600); err != nil {
		return "", fmt.Errorf("write the report of the import: %w", err)
	}
	return at, nil
}

// verifyFile asks the program who registered a file.
func (r *run) verifyFile(ctx context.Context, f file) error {
	out, err := r.program(ctx, "verify", f.path, "--kind", "file", "--node", r.o.Addresses)
	if err != nil {
		return fmt.Errorf("verify %s: %w: %s", f.path, err, out)
	}
	for _, want := range []string{hex.EncodeToString(f.sum[:]), r.cast.pipeline.did, r.facts.entity} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("verify %s does not say %s: %s", f.path, want, out)
		}
	}
	return nil
}
