package importer

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// fhirReader reads one FHIR resource, or those of a Bundle.
type fhirReader struct {
	*ledger
	secrets
	o        Options
	raw      []byte
	sealed   []byte // commitment to the document
	graph    *graph
	messages []proto.Message // of module consent
	bundle   bool
	ids      map[string]bool // of the Consents so far
	assumed  bool            // a time zone was
}

// FHIR maps a FHIR R4 resource in JSON: a Consent, AuditEvent, Provenance or
// Contract, or a Bundle of them.
func FHIR(raw []byte, o Options) (*Result, error) {
	root, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	resource := root.at("resourceType").str()
	f := &fhirReader{
		ledger: newLedger(raw, "fhir-r4"), o: o, raw: raw,
		secrets: secrets{o.Salts, o.Organisation}, graph: newGraph(o.Chain),
		ids: map[string]bool{},
	}
	if f.sealed, err = f.secrets.seal("document", raw); err != nil {
		return nil, err
	}
	if err := f.resource(root); err != nil {
		return nil, err
	}
	// The name of a resource that is mapped is one of five.
	f.result.Format = "fhir-r4-" + strings.ToLower(resource)
	return f.result.with(root, f.ledger, f.graph, f.messages)
}

func (o Options) check() error {
	if !organisationDID.MatchString(o.Organisation) {
		return ErrOptions.With("organisation is not a DID of the form did:chancery:ORGANISATION")
	}
	if o.Salts == nil {
		return ErrOptions.With("a place to keep salts")
	}
	return nil
}

var (
	organisationDID = regexp.MustCompile(`^did:chancery:[a-z][a-z0-9-]{1,40}$`)
)

func (f *fhirReader) resource(r *value) error {
	if !r.is(object) {
		return refuse(r, "a resource is an object")
	}
	if err := refuseModifiers(r); err != nil {
		return err
	}
	switch resource := r.at("resourceType").str(); resource {
	case "Consent":
		return f.consent(r)
	case "AuditEvent":
		return f.auditEvent(r)
	case "Provenance":
		return f.provenance(r)
	case "Contract":
		return f.contract(r)
	case "Bundle":
		if f.bundle {
			return refuse(r, "a Bundle inside a Bundle")
		}
		f.bundle = true
		return f.entries(r)
	case "":
		return refuseAs(ErrKind, r, "resourceType is missing; this is no FHIR resource")
	default:
		return refuseAs(ErrKind, r.at("resourceType"), "only Consent, AuditEvent, Provenance, Contract and Bundle are")
	}
}

func (f *fhirReader) entries(r *value) error {
	known := 0
	for _, e := range r.at("entry").list() {
		resource := e.at("resource")
		switch resource.at("resourceType").str() {
		case "Consent", "AuditEvent", "Provenance", "Contract":
			known++
			if err := f.resource(resource); err != nil {
				return err
			}
		default:
			f.off(resource, keptResource)
		}
		f.rest(e, keptHousekeeping)
	}
	if known == 0 {
		return refuseAs(ErrKind, r, "the Bundle holds no Consent, AuditEvent, Provenance or Contract")
	}
	f.rest(r, keptHousekeeping)
	return nil
}

// refuseModifiers refuses what changes the meaning of the rest in a way that only
// its author knows; FHIR R4 section 2.4.0.3 forbids to go on.
func refuseModifiers(v *value) error {
	if v == nil {
		return nil
	}
	for _, k := range v.keys {
		if k == "modifierExtension" || k == "implicitRules" {
			return refuseAs(ErrModifier, v.fields[k], "%s", k)
		}
		if err := refuseModifiers(v.fields[k]); err != nil {
			return err
		}
	}
	for _, item := range v.items {
		if err := refuseModifiers(item); err != nil {
			return err
		}
	}
	return nil
}

// common accounts for what every resource may have.
func (f *fhirReader) common(r *value, m proto.Message, field string) {
	f.to(r.at("resourceType"), m, "%s", field)
	f.off(r.at("id"), keptPersonal)
	f.off(r.at("identifier"), keptPersonal)
	f.off(r.at("text"), keptPersonal)
	f.off(r.at("contained"), keptPersonal)
	f.off(r.at("meta"), keptHousekeeping)
	f.off(r.at("language"), keptHousekeeping)
}

// coding is the IRI of a Coding: system#code, and where it went. Empty when it has
// no code.
func (f *fhirReader) coding(c *value, m proto.Message, format string, args ...any) string {
	code, system := c.at("code"), c.at("system")
	f.off(c.at("display"), keptPersonal)
	f.off(c.at("version"), keptVersion)
	f.off(c.at("userSelected"), keptHousekeeping)
	iri := codeIRI(system.str(), code.str())
	if iri == "" {
		f.rest(c, unmappedUncoded)
		return ""
	}
	f.to(system, m, format, args...)
	f.to(code, m, format, args...)
	return iri
}

func codeIRI(system, code string) string {
	if !isCode(code) {
		return ""
	}
	iri := vocabulary + "code:" + escapeIRI(code)
	if system != "" {
		iri = system + "#" + escapeIRI(code)
	}
	if !isIRI(iri) {
		return ""
	}
	return iri
}

// concept are the IRIs of a CodeableConcept.
func (f *fhirReader) concept(c *value, m proto.Message, format string, args ...any) []string {
	var out []string
	for _, coding := range c.at("coding").list() {
		if iri := f.coding(coding, m, format, args...); iri != "" && !slices.Contains(out, iri) {
			out = append(out, iri)
		}
	}
	f.off(c.at("text"), keptText)
	return out
}

func (f *fhirReader) concepts(list *value, m proto.Message, format string, args ...any) []string {
	var out []string
	for _, c := range list.list() {
		for _, iri := range f.concept(c, m, format, args...) {
			if !slices.Contains(out, iri) {
				out = append(out, iri)
			}
		}
	}
	return out
}

// has tells whether a CodeableConcept has one of the codes, whatever their system.
func has(c *value, codes ...string) bool {
	for _, coding := range c.at("coding").list() {
		for _, code := range codes {
			if coding.at("code").str() == code {
				return true
			}
		}
	}
	return false
}

// party is whom or what a Reference or Identifier names.
type party struct {
	key      string // in the words of the document, without a version
	resource string // e.g. Patient; empty when unknown
	version  string // of the resource; empty when none is named
}

// first is the first of the values that is there.
func first(values ...*value) *value {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

var relative = regexp.MustCompile(`(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}$`)

// party reads a Reference. The zero party is none.
func (f *fhirReader) party(v *value) party {
	p := party{resource: v.at("type").str()}
	ref := v.at("reference").str()
	id := v.at("identifier")
	switch {
	case strings.HasPrefix(ref, "#"):
		p.key = f.within(ref)
	case ref != "":
		p.key = ref
		if base, version, ok := strings.Cut(ref, "/_history/"); ok {
			p.key, p.version = base, version
		}
		if m := relative.FindStringSubmatch(p.key); m != nil {
			p.resource = m[1]
		}
	case id.at("value").str() != "":
		p.key = id.at("system").str() + "|" + id.at("value").str()
	case v.at("display").str() != "":
		p.key = "display|" + v.at("display").str()
	}
	return p
}

// within is the key of what a document names for itself alone.
func (f *fhirReader) within(part string) string { return "document sha256:" + f.sha256 + part }

// did is the DID that the options give a party.
func (f *fhirReader) did(p party) (string, bool) {
	did, ok := f.o.DIDs[p.key]
	return did, ok && p.key != ""
}

// stamp is a FHIR date, dateTime or instant in Unix milliseconds. end means the
// first moment after it when it is a day, month or year. Times before 1970 are 0.
func (f *fhirReader) stamp(v *value, end bool) (int64, error) {
	s := v.str()
	for _, form := range []struct {
		layout              string
		years, months, days int
		zoned               bool
	}{
		{"2006-01-02T15:04:05Z07:00", 0, 0, 0, true},
		{"2006-01-02T15:04Z07:00", 0, 0, 0, true},
		{"2006-01-02", 0, 0, 1, false},
		{"2006-01", 0, 1, 0, false},
		{"2006", 1, 0, 0, false},
	} {
		t, err := time.Parse(form.layout, s)
		if err != nil {
			continue
		}
		if end {
			t = t.AddDate(form.years, form.months, form.days)
		}
		if !form.zoned && !f.assumed {
			f.note(v, remarkZone)
			f.assumed = true
		}
		return max(0, t.UnixMilli()), nil
	}
	return 0, refuse(v, "not a date or time of FHIR R4")
}

// period is a Period; 0 where it is open.
func (f *fhirReader) period(v *value) (from, until int64, err error) {
	if start := v.at("start"); start != nil {
		if from, err = f.stamp(start, false); err != nil {
			return 0, 0, err
		}
	}
	if stop := v.at("end"); stop != nil {
		if until, err = f.stamp(stop, true); err != nil {
			return 0, 0, err
		}
		if until == 0 {
			until = 1 // before 1970, but not open
		}
	}
	if until != 0 && from >= until {
		return 0, 0, refuse(v, "the period ends before it starts")
	}
	return from, until, nil
}

// document is the entity that stands for a resource itself, and whether the chain
// has it, and with it the whole resource, already.
func (f *fhirReader) document(r *value) (ref *pb.Ref, e *pb.Entity, present bool) {
	e = &pb.Entity{
		MediaType:  "application/fhir+json",
		Types:      []string{"http://hl7.org/fhir/" + r.at("resourceType").str()},
		Attributes: []*pb.Attribute{hexAttribute(vocabulary+"commitment", f.sealed)},
	}
	if r.parent == nil {
		e.Size = uint64(len(f.raw))
	}
	id := localID("document", personID(f.sealed)) + suffix(r)
	ref, present = f.graph.document(id, e)
	if present {
		f.result.Present = append(f.result.Present, id)
	}
	return ref, e, present
}

// suffix tells the nodes of a resource in a Bundle, or of a part, from others.
func suffix(r *value) string {
	if r.parent == nil {
		return ""
	}
	return localID("", r.pointer())
}
