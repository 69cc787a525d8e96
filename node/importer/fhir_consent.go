package importer

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// The bounds of module consent's terms.
const (
	maxPurposes   = 16
	maxCategories = 32
	maxRecipients = 32
	maxProcessing = 16
	maxExclusions = 32
	maxGives      = 32
)

// What a report names as the message.
var (
	give     = &consentv1.Give{}
	refusal  = &consentv1.Refuse{}
	asking   = &consentv1.Request{}
	withdraw = &consentv1.Withdraw{}
)

// rule is what one provision is limited to. A nil list is no limit.
type rule struct {
	from, until int64
	purposes    []string
	processing  []string
	actors      []string // DIDs, with the controller's own where it is named
	// data are lists of categories. A resource must be labelled with one of each.
	data [][]string
}

// grant is one consent to give.
type grant struct {
	rule
	exclusions []*consentv1.Exclusion
}

type consentReader struct {
	*fhirReader
	r          *value
	kind       proto.Message // what provisions become
	controller string
	custodian  string // key of the organisation that the controller is
	subject    []byte
	fallback   []string // purposes where none is named
	derived    map[string]bool
	grants     []grant
	refused    *rule
}

// consent maps a Consent to Give, Refuse, Request or Withdraw.
func (f *fhirReader) consent(r *value) error {
	c := &consentReader{fhirReader: f, r: r, kind: give, derived: map[string]bool{}}
	if f.o.Jurisdiction == "" {
		return ErrOptions.With("the jurisdiction of consents, e.g. --jurisdiction NL")
	}
	if err := refuseForms(r); err != nil {
		return err
	}
	switch r.at("status").str() {
	case "active", "inactive":
	case "rejected":
		c.kind = refusal
	case "draft", "proposed":
		c.kind = asking
	case "entered-in-error":
		c.kind = withdraw
	default:
		return refuse(first(r.at("status"), r), "status must be one of draft, proposed, active, rejected, inactive, entered-in-error")
	}
	f.common(r, c.kind, "source.format")
	f.to(r.at("status"), c.kind, "(which message it is)")
	if err := c.parties(); err != nil {
		return err
	}
	c.scope()
	if err := c.provisions(); err != nil {
		return err
	}
	return c.emit()
}

// provisions reads what is permitted and what is refused.
func (c *consentReader) provisions() error {
	root := c.r.at("provision")
	if c.kind == withdraw {
		return nil
	}
	if c.kind == refusal {
		return c.refuse(root, true)
	}
	base, whole, err := c.base()
	if err != nil {
		return err
	}
	typed := root.at("type").str()
	if typed == "" && (c.o.RootRule == Limit || c.o.RootRule == Except) {
		if typed = base; c.o.RootRule == Except {
			typed = other(base)
		}
		if root != nil {
			c.assume(c.kind, "(how the first rule is read)", typed, "FHIR R4 leaves it without a type; --root-rule "+c.o.RootRule+" says so")
		}
	}
	switch {
	case base == Permit && typed == Deny:
		exclusions, err := c.exclude(root, nil)
		if err != nil {
			return err
		}
		return c.grant(root, rule{}, exclusions)
	case base == Permit && (root == nil || typed == Permit || !limited(root)):
		if period := root.at("period"); typed == "" && period != nil {
			c.note(period, remarkPeriod)
		}
		return c.allow(root, rule{}, nil)
	case base == Permit:
		return c.both(root)
	case typed == Permit:
		c.refused = &rule{}
		return c.allow(root, rule{}, nil)
	default:
		// Of an opt-out, a rule that denies says nothing more, unless it is the document's
		// only statement or is said to be its limit.
		return c.refuse(root, !whole || c.o.RootRule == Limit && root.at("type") == nil)
	}
}

func other(t string) string {
	if t == Permit {
		return Deny
	}
	return Permit
}

// limited tells whether a rule says more than when it holds.
func limited(p *value) bool {
	return slices.ContainsFunc(p.keys, func(k string) bool {
		return k != "type" && k != "period" && k != "provision" && k != "id"
	})
}

// both keeps what a first rule without a type permits whether it limits the opt-in
// or is an exception to it: what it and a permission inside it name together.
func (c *consentReader) both(root *value) error {
	var permits []*value
	for _, q := range root.at("provision").list() {
		if q.at("type").str() == Permit {
			permits = append(permits, q)
		}
	}
	if len(permits) > 0 {
		return c.allow(root, rule{}, nil)
	}
	if c.kind == asking {
		return refuseAs(ErrNothing, root, "FHIR does not say whether this rule limits the opt-in or is an exception to it; say --root-rule limit or --root-rule except")
	}
	c.kind, c.refused = refusal, &rule{}
	c.assume(refusal, "(which message it is)", "Refuse", "FHIR does not say whether the first rule limits the opt-in or is an exception to it, and nothing is permitted both ways; --root-rule limit or --root-rule except says which")
	c.off(root, unmappedRoot)
	return nil
}

// base is what holds unless a provision says otherwise, and whether more than the
// first rule says so.
func (c *consentReader) base() (base string, whole bool, err error) {
	rule := c.r.at("policyRule")
	for _, coding := range rule.at("coding").list() {
		b, ok := bases[coding.at("code").str()]
		if ok && base != "" && b != base {
			return "", false, refuseAs(ErrUnclear, rule, "it opts in and out")
		}
		if ok {
			base = b
		}
	}
	if base != "" {
		return base, true, nil
	}
	if t := c.r.at("provision", "type").str(); t == Permit || t == Deny {
		return t, false, nil
	}
	if b := c.o.Base; b == Permit || b == Deny {
		c.assume(c.kind, "(which message it is)", b, "neither policyRule nor the first rule's type says what holds by default; --base says it")
		return b, true, nil
	}
	return "", false, refuseAs(ErrUnclear, first(c.r.at("policyRule"), c.r), "neither policyRule (OPTIN, OPTOUT) nor provision.type says it")
}

// parties reads who is the subject and who the controller.
func (c *consentReader) parties() error {
	patient := c.r.at("patient")
	p := c.party(patient)
	if p.key == "" {
		return refuse(first(patient, c.r), "the consent names no patient, so there is no subject")
	}
	var err error
	if c.subject, err = c.commit(p.key); err != nil {
		return err
	}
	const subject = "terms.subject (salted commitment)"
	c.to(patient.at("reference"), c.kind, subject)
	c.to(patient.at("identifier"), c.kind, subject)
	if patient.at("reference") == nil && patient.at("identifier") == nil {
		c.to(patient.at("display"), c.kind, subject)
	}
	c.rest(patient, keptPersonal)

	c.controller = c.o.Organisation
	for i, o := range c.r.at("organization").list() {
		if i > 0 {
			c.off(o, unmappedController)
			continue
		}
		p := c.party(o)
		c.custodian = p.key
		if did, ok := c.did(p); ok {
			c.controller = did
		} else {
			c.assume(c.kind, "terms.controller", c.controller, "the custodian's DID is not given (--did); it is taken to be the importing organisation")
		}
		c.to(o.at("reference"), c.kind, "terms.controller")
		c.to(o.at("identifier"), c.kind, "terms.controller")
		c.rest(o, keptPersonal)
	}
	if c.custodian == "" {
		c.assume(c.kind, "terms.controller", c.controller, "the consent names no custodian; it is taken to be the importing organisation")
	}
	if !organisationDID.MatchString(c.controller) {
		return ErrOptions.With("the controller %s is not the DID of an organisation", c.controller)
	}
	c.off(c.r.at("performer"), keptPersonal)
	c.off(c.r.at("verification"), keptVerification)
	return nil
}

// scope finds the purposes of provisions that name none.
func (c *consentReader) scope() {
	uncoded := func(concept *value) {
		for _, coding := range concept.at("coding").list() {
			c.off(coding.at("display"), keptPersonal)
			c.off(coding.at("version"), keptVersion)
		}
		c.off(concept.at("text"), keptText)
	}
	for _, category := range c.r.at("category").list() {
		uncoded(category)
		c.rest(category, unmappedForm)
	}
	s := c.r.at("scope")
	uncoded(s)
	for _, coding := range s.at("coding").list() {
		if p, ok := scopes[coding.at("code").str()]; ok && len(c.fallback) == 0 {
			c.fallback = []string{p}
			c.to(coding.at("code"), c.kind, "terms.purposes (where a rule names none)")
			c.to(coding.at("system"), c.kind, "terms.purposes (where a rule names none)")
		}
	}
	c.rest(s, unmappedForm)
	if len(c.o.Purposes) > 0 {
		c.fallback = c.o.Purposes
	}
	if len(c.fallback) == 0 && s == nil {
		c.fallback = []string{Treatment}
	}
}

// allow reads a rule that permits, and those inside it. Permissions inside a
// permission narrow it; prohibitions are exclusions.
func (c *consentReader) allow(p *value, parent rule, exclusions []*consentv1.Exclusion) error {
	c.to(p.at("type"), c.kind, "(which message it is)")
	own, err := c.limits(p, false, "terms")
	if err != nil {
		return err
	}
	s, ok := parent.and(own)
	if !ok {
		c.note(p, remarkEmpty)
		c.rest(p.at("provision"), unmappedCovered)
		return nil
	}
	var permits []*value
	for _, q := range p.at("provision").list() {
		if q.at("type").str() == Deny {
			if exclusions, err = c.exclude(q, exclusions); err != nil {
				return err
			}
			continue
		}
		if q.at("type") == nil && c.o.RootRule != Limit {
			return refuse(q, "a rule inside another says permit or deny; --root-rule limit reads it like the one around it")
		}
		c.untyped(q)
		permits = append(permits, q)
	}
	for _, q := range permits {
		if err := c.allow(q, s, exclusions); err != nil {
			return err
		}
	}
	if len(permits) > 0 {
		return nil
	}
	return c.grant(p, s, exclusions)
}

func (c *consentReader) untyped(q *value) {
	if q.at("type") == nil {
		c.note(q, remarkUntyped)
	}
}

func (c *consentReader) grant(p *value, s rule, exclusions []*consentv1.Exclusion) error {
	if len(c.grants) == maxGives {
		return refuseAs(ErrInexpressible, p, "more than %d separate permissions", maxGives)
	}
	c.grants = append(c.grants, grant{s, exclusions})
	return nil
}

// exclude reads a rule that denies, and those inside it, into a longer list.
func (c *consentReader) exclude(p *value, exclusions []*consentv1.Exclusion) ([]*consentv1.Exclusion, error) {
	if len(exclusions) == maxExclusions {
		return nil, refuseAs(ErrInexpressible, p, "more than %d exclusions", maxExclusions)
	}
	where := fmt.Sprintf("terms.exclusions[%d]", len(exclusions))
	c.to(p.at("type"), c.kind, "%s", where)
	s, err := c.limits(p, true, where)
	if err != nil {
		return nil, err
	}
	e := &consentv1.Exclusion{Recipients: s.actors, Purposes: s.purposes, Processing: s.processing, From: s.from, Until: s.until}
	for _, list := range s.data {
		for _, label := range list {
			if !add(&e.Categories, label, maxCategories) {
				return nil, refuseAs(ErrInexpressible, p, "more than %d categories", maxCategories)
			}
		}
	}
	if len(s.data) > 1 {
		c.note(p, remarkUnion)
	}
	exclusions = append(slices.Clip(exclusions), e)
	for _, q := range p.at("provision").list() {
		if q.at("type").str() == Permit {
			c.off(q, unmappedException)
			continue
		}
		c.untyped(q)
		if exclusions, err = c.exclude(q, exclusions); err != nil {
			return nil, err
		}
	}
	return exclusions, nil
}

// refuse reads the first rule of a refusal: only says whether the refusal is of what
// the rule names alone. Permissions inside it become consents beside the refusal,
// unless all of it was rejected.
func (c *consentReader) refuse(p *value, only bool) error {
	rejected := c.kind == refusal
	if c.kind == asking {
		return refuseAs(ErrNothing, c.r.at("status"), "a refusal that is only proposed says nothing yet")
	}
	c.kind, c.refused = refusal, &rule{}
	c.to(p.at("type"), refusal, "(which message it is)")
	permits := !rejected && slices.ContainsFunc(p.at("provision").list(), func(q *value) bool { return q.at("type").str() == Permit })
	if only || permits {
		if permits {
			c.kind = give // what the rule names limits these
		}
		s, err := c.limits(p, false, "terms")
		if err != nil {
			return err
		}
		if only {
			c.refused = &s
		}
		exclusions, err := c.beside(p, permits)
		if err != nil {
			return err
		}
		for _, q := range p.at("provision").list() {
			if !permits || q.at("type").str() != Permit {
				continue
			}
			if err := c.allow(q, s, exclusions); err != nil {
				return err
			}
		}
		c.kind = refusal
	}
	c.rest(p, unmappedCovered)
	return nil
}

// beside reads the rules inside a prohibition that deny: beside permissions they limit
// these, and otherwise the prohibition covers them.
func (c *consentReader) beside(p *value, permits bool) (exclusions []*consentv1.Exclusion, err error) {
	for _, q := range p.at("provision").list() {
		switch {
		case !permits:
			c.off(q, unmappedCovered)
		case q.at("type").str() != Permit:
			c.untyped(q)
			if exclusions, err = c.exclude(q, exclusions); err != nil {
				return nil, err
			}
		}
	}
	return exclusions, nil
}

// limits reads what a rule is limited to. For a prohibition, a limit that cannot be
// expressed is dropped, which makes it larger; for a permission it becomes a
// category that nothing is labelled with yet, which makes it smaller.
func (c *consentReader) limits(p *value, prohibition bool, where string) (rule, error) {
	var s rule
	var err error
	if s.from, s.until, err = c.period(p.at("period")); err != nil {
		return s, err
	}
	from, until := "valid_from", "valid_until"
	if prohibition {
		from, until = "from", "until"
	}
	if prohibition && s.until != 0 && strings.Contains(p.at("period", "end").str(), "T") {
		s.until += 1000 // the second that is named belongs to the period
	}
	c.to(p.at("period", "start"), c.kind, "%s.%s", where, from)
	c.to(p.at("period", "end"), c.kind, "%s.%s", where, until)
	if start := p.at("period", "start"); start != nil && s.from == 0 {
		c.note(start, remarkEpoch)
	}
	purpose := func(coding *value) []string {
		iri := c.coding(coding, c.kind, "%s.purposes", where)
		if own, ok := purposes[iri]; ok {
			iri = own
		}
		return some(iri)
	}
	if s.purposes, err = c.listed(p.at("purpose"), prohibition, maxPurposes, purpose); err != nil {
		return s, err
	}
	action := func(cc *value) []string {
		iris := c.concept(cc, c.kind, "%s.processing", where)
		for i, iri := range iris {
			if own, ok := processing[iri]; ok {
				iris[i] = own
			}
		}
		return iris
	}
	if s.processing, err = c.listed(p.at("action"), prohibition, maxProcessing, action); err != nil {
		return s, err
	}
	class := func(coding *value) []string { return some(c.coding(coding, c.kind, "%s.categories", where)) }
	label := func(coding *value) []string {
		iris := class(coding)
		if prohibition && coding.at("system").str() == confidentiality {
			// FHIR R4 has it stand for the lower ones too; who denies means the higher ones.
			c.note(coding, unmappedLimit)
			return confidentialities
		}
		return iris
	}
	code := func(cc *value) []string { return c.concept(cc, c.kind, "%s.categories", where) }
	for _, l := range []struct {
		name string
		iris func(*value) []string
	}{{"securityLabel", label}, {"class", class}, {"code", code}} {
		list, err := c.listed(p.at(l.name), prohibition, maxCategories, l.iris)
		if err != nil {
			return s, err
		}
		switch {
		case list == nil:
		case l.name == "securityLabel" && !prohibition:
			// They are the fields of one label: a resource must have all of them.
			for _, iri := range list {
				s.data = append(s.data, []string{iri})
			}
		default:
			s.data = append(s.data, list)
		}
	}
	if err := c.data(p, prohibition, where, &s); err != nil {
		return s, err
	}
	return s, c.actors(p, prohibition, where, &s)
}

func some(iri string) []string {
	if iri == "" {
		return nil
	}
	return []string{iri}
}

// listed are the IRIs of the items of a list; nil when it is no limit.
func (c *consentReader) listed(v *value, prohibition bool, most int, iris func(*value) []string) ([]string, error) {
	var out []string
	uncoded := false
	for _, item := range v.list() {
		coded := iris(item)
		uncoded = uncoded || len(coded) == 0
		for _, iri := range coded {
			if !add(&out, iri, most) {
				return nil, refuseAs(ErrInexpressible, v, "more than %d entries", most)
			}
		}
	}
	switch {
	case prohibition && uncoded:
		// Limited to the entries with a code it would not exclude the others.
		c.note(v, unmappedLimit)
		return nil, nil
	case uncoded && len(out) == 0:
		return nil, refuseAs(ErrInexpressible, v, "no entry has a code")
	}
	return out, nil
}

const labelled = "%s.categories (a category that resources must be labelled with)"

// data reads the limits to data that have no category of their own.
func (c *consentReader) data(p *value, prohibition bool, where string, s *rule) error {
	condition := func(v *value, iris ...string) {
		if prohibition {
			c.rest(v, unmappedLimit)
			return
		}
		s.data = append(s.data, iris)
		c.toRest(v, c.kind, labelled, where)
	}
	if span := p.at("dataPeriod"); span != nil {
		from, until, err := c.period(span)
		if err != nil {
			return err
		}
		condition(span, fmt.Sprintf("%sdata-period:%d-%d", vocabulary, from, until))
	}
	var instances []string
	for _, d := range p.at("data").list() {
		party := c.party(d.at("reference"))
		meaning := d.at("meaning").str()
		if party.key == "" || !isCode(meaning) {
			return refuse(d, "data needs a meaning and a reference")
		}
		commitment, err := c.commit(party.key)
		if err != nil {
			return err
		}
		if !add(&instances, fmt.Sprintf("%sdata:%s:%s", vocabulary, escapeIRI(meaning), hex.EncodeToString(commitment)), maxCategories) {
			return refuseAs(ErrInexpressible, p.at("data"), "more than %d entries", maxCategories)
		}
		c.off(d.at("reference", "display"), keptPersonal)
	}
	if len(instances) > 0 {
		condition(p.at("data"), instances...)
	}
	return nil
}

// actors reads whom a rule is about.
func (c *consentReader) actors(p *value, prohibition bool, where string, s *rule) error {
	var actors, authors []string
	limited, open := false, false
	for _, a := range p.at("actor").list() {
		reference, role := a.at("reference"), a.at("role")
		for _, coding := range role.at("coding").list() {
			c.off(coding.at("display"), keptPersonal)
			c.off(coding.at("version"), keptVersion)
		}
		c.off(role.at("text"), keptText)
		party := c.party(reference)
		if party.key == "" {
			return refuse(a, "an actor needs a reference")
		}
		if reference.at("reference") != nil || reference.at("identifier") != nil {
			c.off(reference.at("display"), keptPersonal)
		}
		if has(role, "GRANTOR", "CONSENTER", "DELEGATOR", "SUBJ") {
			c.rest(a, keptPersonal)
			continue
		}
		commitment, err := c.commit(party.key)
		if err != nil {
			return err
		}
		did, known := c.did(party)
		switch {
		case has(role, "AUT", "INF"):
			if prohibition {
				c.rest(a, unmappedLimit)
				continue
			}
			if !add(&authors, vocabulary+"author:"+hex.EncodeToString(commitment), maxCategories) {
				return refuseAs(ErrInexpressible, p.at("actor"), "more than %d authors", maxCategories)
			}
			c.toRest(a, c.kind, labelled, where)
			continue
		case party.key == c.custodian || c.custodian == "" && has(role, "CST"):
			did = c.controller
		case !known && prohibition:
			open = true
			c.rest(a, unmappedLimit.With("its DID is not given (--did REFERENCE=DID), so it excludes everybody"))
			continue
		case !known:
			did = c.stand(party, commitment)
			c.assume(c.kind, where+".recipients", did, "no DID is given for this actor; this one is derived from its salted commitment and stands for nobody until --did REFERENCE=DID names the real one")
		}
		limited = true
		if !add(&actors, did, maxRecipients) {
			return refuseAs(ErrInexpressible, p.at("actor"), "more than %d actors", maxRecipients)
		}
		c.toRest(a, c.kind, "%s.recipients", where)
	}
	if len(authors) > 0 {
		s.data = append(s.data, authors)
	}
	if limited && !open {
		s.actors = actors
	}
	return nil
}

// stand is a DID for a party that has none on the chain. Nobody holds it.
func (c *consentReader) stand(p party, commitment []byte) string {
	did := c.controller + ":" + personID(commitment)
	if p.resource == "Organization" {
		did = "did:chancery:x-" + personID(commitment)
	}
	c.derived[did] = true
	return did
}

// and is what both rules cover; false when that is nothing.
func (s rule) and(o rule) (rule, bool) {
	out := rule{from: max(s.from, o.from), until: s.until, data: append(slices.Clone(s.data), o.data...)}
	if s.until == 0 || o.until != 0 && o.until < s.until {
		out.until = o.until
	}
	ok := out.until == 0 || out.from < out.until
	for _, l := range []struct {
		to   *[]string
		a, b []string
	}{{&out.purposes, s.purposes, o.purposes}, {&out.actors, s.actors, o.actors}, {&out.processing, s.processing, o.processing}} {
		switch {
		case l.a == nil:
			*l.to = l.b
		case l.b == nil:
			*l.to = l.a
		default:
			*l.to = slices.DeleteFunc(slices.Clone(l.a), func(x string) bool { return !slices.Contains(l.b, x) })
			ok = ok && len(*l.to) > 0
		}
	}
	return out, ok
}
