package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// The reasons of a verdict. Those of consent are consent/<code>.
const (
	reasonPermit        = "policy/permit"
	reasonForbid        = "policy/forbid"
	reasonNone          = "policy/none"
	reasonGuardRail     = "guard-rail/forbid"
	reasonBreakGlass    = "break-glass"
	reasonUnknown       = "principal/unknown"
	reasonInactive      = "principal/inactive"
	reasonUnlisted      = "purpose/unlisted"
	reasonPurpose       = "purpose/resource"
	reasonResource      = "resource/unknown"
	reasonRequestSchema = "request/schema"
	reasonEntitySchema  = "entity/schema"
	reasonSubject       = "consent/subject"
)

const (
	consentNotRequired = "not-required"
	consentGiven       = "given"
)

// Attributes of a resource that the module reads.
const (
	attrSubject         = "subject"
	attrCategories      = "categories"
	attrConsentRequired = "consentRequired"
	attrPurposes        = "purposes"
)

const inputsDomain = "chancery/access/inputs/v1"

// inputs is everything that a verdict depends on.
type inputs struct {
	request   *accessv1.Request
	principal *accessv1.Principal
	risk      uint32
	time      int64
	height    int64
	// glass is the id of an open break-glass of the principal that covers the
	// request; empty: none.
	glass []byte
	// consents finds the consent for an ask.
	consents func(consentAsk) *accessv1.ConsentFinding

	policies   *accessv1.PolicySet // nil: none
	guardRails *accessv1.PolicySet // nil: none
	schema     *accessv1.Schema    // nil: none
	settings   *accessv1.SettingsVersion
	source     func(types.EntityUID) (*entity, uint64, bool)
	charge     func(steps uint64)

	// What a sitting has at hand.
	sitting   *sitting   // nil: none, nor the rest
	house     *house     // of the request's organisation
	household *household // of the principal; nil: to be gathered
	near      *household // of the resource; nil: to be gathered

	consent *accessv1.ConsentFinding // found on the way
}

// consentAsk is what is asked of consent.
type consentAsk struct {
	subject    []byte
	categories []string
}

// evaluation is a verdict with what Explain shows of how it came about.
type evaluation struct {
	verdict  *accessv1.Verdict
	question *question // nil: denied before Cedar was asked
	answer   *answer   // nil: denied before Cedar was asked
}

// evaluate decides and puts together what is recorded of a decision.
func (c *caches) evaluate(in *inputs) (*evaluation, error) {
	out, err := c.outcome(in)
	if err != nil {
		return nil, err
	}
	v := out.verdict
	if out.answer != nil {
		v.Entities = out.answer.slice.versions()
		v.Steps = out.answer.steps
	}
	v.InputsHash = in.hash(out.answer)
	return out, nil
}

// outcome is the one function that decides. It reads nothing but its inputs. Of its
// verdict the entities, the steps and the hash of the inputs are missing.
func (c *caches) outcome(in *inputs) (*evaluation, error) {
	in.consent = &accessv1.ConsentFinding{Status: consentNotRequired}
	out := &evaluation{verdict: &accessv1.Verdict{
		Outcome:           accessv1.Outcome_OUTCOME_DENY,
		PoliciesVersion:   in.policies.GetVersion(),
		SchemaVersion:     in.schema.GetVersion(),
		SettingsVersion:   in.settings.GetVersion(),
		GuardRailsVersion: in.guardRails.GetVersion(),
	}}
	if err := c.decide(in, out); err != nil {
		return nil, err
	}
	out.verdict.Consent = in.consent
	return out, nil
}

func (c *caches) decide(in *inputs, out *evaluation) error {
	v := out.verdict
	uid, ok := principalUID(in.request.Principal, in.principal.Kind)
	switch {
	case !ok:
		v.Reason = reasonUnknown
		return nil
	case !in.principal.Active:
		v.Reason = reasonInactive
		return nil
	}
	basis, listed := legalBasis(in.settings.GetSettings(), in.request.Purpose)
	if !listed {
		v.Reason = reasonUnlisted
		return nil
	}
	v.LegalBasis = basis

	at := toCedar(in.request.Resource)
	resource, version, registered := in.source(at)
	if !registered && !in.settings.GetSettings().GetUnregisteredResources() {
		v.Reason = reasonResource
		return nil
	}
	attributes := types.Record{}
	if registered {
		attributes = resource.cedar.Attributes
	}
	if purposes, ok := iris(attributes, attrPurposes); ok && !slices.Contains(purposes, in.request.Purpose) {
		v.Reason = reasonPurpose
		return nil
	}
	ask, required, sound := consentNeeded(attributes)
	switch {
	case required && !sound:
		in.consent = &accessv1.ConsentFinding{Status: reasonSubject}
	case required:
		in.consent = in.consents(ask)
	}

	q, err := c.question(in, uid)
	if err != nil {
		return err
	}
	q.source = func(uid types.EntityUID) (*entity, uint64, bool) {
		if uid == at {
			return resource, version, registered
		}
		return in.source(uid)
	}
	out.question = q
	if out.answer, err = judge(q); err != nil {
		return err
	}
	conclude(in, out)
	return nil
}

// conclude orders what speaks: the form of the request, guard rails, policies,
// consent, and break-glass over the last two.
func conclude(in *inputs, out *evaluation) {
	v, a := out.verdict, out.answer
	v.GuardRails, v.Policies, v.Errors = a.guardRails, a.policies, a.errors
	switch {
	case a.malformed != "":
		v.Reason = a.malformed
		return
	case a.forbidden:
		v.Reason = reasonGuardRail
		return
	case !a.allowed && len(a.policies) > 0:
		v.Reason = reasonForbid
	case !a.allowed:
		v.Reason = reasonNone
	case in.consent.Status != consentNotRequired && in.consent.Status != consentGiven:
		v.Reason = in.consent.Status
	default:
		v.Outcome, v.Reason = accessv1.Outcome_OUTCOME_ALLOW, reasonPermit
		return
	}
	if len(in.glass) > 0 {
		v.Outcome, v.Reason, v.BreakGlassId = accessv1.Outcome_OUTCOME_ALLOW, reasonBreakGlass, in.glass
	}
}

// question puts the inputs into Cedar's terms.
func (c *caches) question(in *inputs, principal types.EntityUID) (*question, error) {
	q := &question{
		request:   types.Request{Principal: principal, Action: toCedar(in.request.Action), Resource: toCedar(in.request.Resource)},
		charge:    in.charge,
		household: in.household,
		near:      in.near,
	}
	if q.household == nil {
		q.memberships = memberships(in.principal)
	}
	var err error
	if q.policies, err = c.policiesOf(in.policies); err != nil {
		return nil, err
	}
	if q.guardRails, err = c.policiesOf(in.guardRails); err != nil {
		return nil, err
	}
	if in.house != nil {
		q.schema = in.house.cedar
	} else if q.schema, err = c.parseSchema(in.schema.GetSchema()); err != nil {
		return nil, err
	}
	given, err := parseContext(in.request.Context)
	if err != nil {
		return nil, err
	}
	q.framed = in.frame(given, q.request.Action, q.schema)
	q.request.Context = q.framed.record
	return q, nil
}

// policiesOf is a stored set, parsed; the empty one where there is none.
func (c *caches) policiesOf(stored *accessv1.PolicySet) (*policySet, error) {
	if stored == nil {
		return emptySet, nil
	}
	return c.policySet(stored.Hash, stored.Documents)
}

// Cedar types of what identity knows.
const (
	typePrefix       = "Chancery::"
	typePerson       = "Chancery::Person"
	typeOrganisation = "Chancery::Organisation"
	typeDevice       = "Chancery::Device"
	typeService      = "Chancery::Service"
	typeRole         = "Chancery::Role"
	typeGroup        = "Chancery::Group"
)

// principalUID is the Cedar entity of a DID of a kind.
func principalUID(did, kind string) (types.EntityUID, bool) {
	switch kind {
	case "person":
		return types.NewEntityUID(typePerson, types.String(did)), true
	case "organisation":
		return types.NewEntityUID(typeOrganisation, types.String(did)), true
	case "device":
		return types.NewEntityUID(typeDevice, types.String(did)), true
	case "service":
		return types.NewEntityUID(typeService, types.String(did)), true
	}
	return types.EntityUID{}, false
}

// memberships are the Cedar parents that identity gives a principal.
func memberships(p *accessv1.Principal) []types.EntityUID {
	slug := p.Organisation[strings.LastIndexByte(p.Organisation, ':')+1:]
	var out []types.EntityUID
	if p.Organisation != "" && p.Kind != "organisation" {
		out = append(out, types.NewEntityUID(typeOrganisation, types.String(p.Organisation)))
	}
	for _, role := range p.Roles {
		out = append(out, types.NewEntityUID(typeRole, types.String(slug+"/"+role)))
	}
	for _, group := range p.Groups {
		out = append(out, types.NewEntityUID(typeGroup, types.String(group)))
	}
	return out
}

func legalBasis(s *accessv1.Settings, purpose string) (string, bool) {
	for _, p := range s.GetPurposes() {
		if p.Iri == purpose {
			return p.LegalBasis, true
		}
	}
	return "", false
}

// iris reads an attribute that is a set of strings, sorted. An attribute of
// another form counts as an empty set, so that it opens nothing.
func iris(attributes types.Record, name string) ([]string, bool) {
	v, ok := attributes.Get(types.String(name))
	if !ok {
		return nil, false
	}
	set, ok := v.(types.Set)
	if !ok {
		return nil, true
	}
	var out []string
	for e := range set.All() {
		s, ok := e.(types.String)
		if !ok {
			return nil, true
		}
		out = append(out, string(s))
	}
	slices.Sort(out)
	return out, true
}

// consentNeeded reads what a resource says of its subject. sound is false when it
// needs consent but does not say whose.
func consentNeeded(attributes types.Record) (ask consentAsk, required, sound bool) {
	subject, has := attributes.Get(attrSubject)
	required = has
	if v, ok := attributes.Get(attrConsentRequired); ok {
		b, isBool := v.(types.Boolean)
		required = !isBool || bool(b)
	}
	if !required {
		return ask, false, true
	}
	text, ok := subject.(types.String)
	if !ok {
		return ask, true, false
	}
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != sha256.Size {
		return ask, true, false
	}
	categories, _ := iris(attributes, attrCategories)
	return consentAsk{subject: raw, categories: categories}, true, true
}

// hash is SHA-256 over every input, each part preceded by its length as eight
// bytes, big endian.
func (in *inputs) hash(a *answer) []byte {
	h := sha256.New()
	part(h, []byte(inputsDomain))
	for _, m := range []state.Message{in.request, in.principal, in.consent} {
		raw, err := m.MarshalVT()
		if err != nil {
			panic(&state.Fault{Where: "marshal the inputs of a decision", Err: err})
		}
		part(h, raw)
	}
	number(h, uint64(in.risk))
	number(h, uint64(in.time))
	number(h, uint64(in.height))
	part(h, in.glass)
	part(h, in.policies.GetHash())
	part(h, in.guardRails.GetHash())
	part(h, in.schema.GetHash())
	settings := in.settings.GetSettings()
	if settings == nil {
		settings = &accessv1.Settings{}
	}
	raw, err := settings.MarshalVT()
	if err != nil {
		panic(&state.Fault{Where: "marshal the settings of a decision", Err: err})
	}
	part(h, raw)
	if a == nil {
		return h.Sum(nil)
	}
	number(h, uint64(len(a.slice.found)))
	for _, f := range a.slice.found {
		part(h, []byte(f.entity.json))
	}
	return h.Sum(nil)
}

func part(h hash.Hash, raw []byte) {
	number(h, uint64(len(raw)))
	h.Write(raw)
}

func number(h hash.Hash, n uint64) {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], n)
	h.Write(raw[:])
}

// same tells whether a finding is about an ask.
func (a consentAsk) same(f *accessv1.ConsentFinding) bool {
	return bytes.Equal(a.subject, f.GetSubject()) && slices.Equal(a.categories, f.GetCategories())
}
