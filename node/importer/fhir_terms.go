package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	"google.golang.org/protobuf/proto"
)

// answerWithin is how many milliseconds subjects have to answer a proposed consent.
const answerWithin = int64(30 * 24 * 3600 * 1000)

// categories are those that a rule is limited to. Two limits at once become one
// category, named by the hash of both: a resource that was labelled with one alone
// must not pass.
func (s rule) categories() ([]string, bool) {
	switch len(s.data) {
	case 0:
		return []string{AnyData}, true
	case 1:
		return s.data[0], true
	}
	sets := [][]string{nil}
	for _, list := range s.data {
		if len(sets)*len(list) > maxCategories {
			return nil, false
		}
		var longer [][]string
		for _, set := range sets {
			for _, iri := range list {
				longer = append(longer, append(slices.Clone(set), iri))
			}
		}
		sets = longer
	}
	var out []string
	for _, set := range sets {
		slices.Sort(set)
		if set = slices.Compact(set); len(set) == 1 {
			add(&out, set[0], maxCategories)
			continue
		}
		sum := sha256.Sum256([]byte(strings.Join(set, "\n")))
		add(&out, vocabulary+"all-of:"+hex.EncodeToString(sum[:]), maxCategories)
	}
	return out, true
}

// terms are what is agreed to.
func (c *consentReader) terms(m proto.Message, s rule, exclusions []*consentv1.Exclusion) (*consentv1.Terms, error) {
	t := &consentv1.Terms{
		Subject: c.subject, Controller: c.controller, Purposes: s.purposes, Processing: s.processing,
		LegalBasis:       consentv1.LegalBasis_LEGAL_BASIS_CONSENT,
		SpecialCondition: consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT,
		Jurisdiction:     c.o.Jurisdiction, ValidFrom: s.from, ValidUntil: s.until,
	}
	if len(t.Purposes) == 0 {
		t.Purposes = c.fallback
		if len(t.Purposes) == 0 && m != refusal {
			return nil, refuseAs(ErrInexpressible, c.r.at("scope"), "a rule names no purpose, and that of this scope is not known; say it with --purpose")
		}
		if len(t.Purposes) == 0 {
			t.Purposes = []string{Treatment} // a refusal permits none
		}
		c.assume(m, "terms.purposes", strings.Join(t.Purposes, " "), "a rule names no purpose; this is the narrowest reading of the consent's scope, or what --purpose says")
	}
	c.assume(m, "terms.legal_basis", "GDPR Art. 6(1)(a)", "the document is a consent")
	c.assume(m, "terms.special_condition", "GDPR Art. 9(2)(a)", "data about health is a special category, and the document is an explicit consent")
	c.assume(m, "terms.jurisdiction", t.Jurisdiction, "the document has none; --jurisdiction says it")
	categories, ok := s.categories()
	if !ok {
		return nil, refuseAs(ErrInexpressible, c.r.at("provision"), "more than %d combinations of limits to data", maxCategories)
	}
	for _, iri := range categories {
		t.Categories = append(t.Categories, &consentv1.Category{Iri: iri, Special: true})
	}
	for _, e := range exclusions {
		e = e.CloneVT()
		if len(e.Categories)+len(e.Recipients)+len(e.Purposes)+len(e.Processing) == 0 {
			e.Purposes = t.Purposes
		}
		t.Exclusions = append(t.Exclusions, e)
	}
	if err := c.recipients(t, s.actors); err != nil {
		return nil, err
	}
	var err error
	t.Notice, err = c.notice(m)
	return t, err
}

// recipients writes whom a rule is limited to. Terms always cover the controller
// and its members, so a rule for others alone excludes them.
func (c *consentReader) recipients(t *consentv1.Terms, actors []string) error {
	alone := len(actors) > 0 && !slices.Contains(actors, c.controller)
	for _, did := range actors {
		if did == c.controller {
			continue
		}
		if alone && strings.HasPrefix(did, c.controller+":") && !c.derived[did] {
			return refuseAs(ErrInexpressible, c.r.at("provision"), "it is for %s alone, and terms always cover all members of its organisation", did)
		}
		t.Recipients = append(t.Recipients, did)
	}
	if alone {
		if len(t.Exclusions) == maxExclusions {
			return refuseAs(ErrInexpressible, c.r.at("provision"), "more than %d exclusions", maxExclusions)
		}
		t.Exclusions = append(t.Exclusions, &consentv1.Exclusion{Recipients: []string{c.controller}})
	}
	return nil
}

// notice is what the subject was told: what the options say, or else what of the
// document says it, under its salt.
func (c *consentReader) notice(m proto.Message) (*consentv1.Notice, error) {
	n := &consentv1.Notice{Version: c.o.Notice.Version, Hash: c.o.Notice.Hash, Language: c.o.Notice.Language, Url: c.o.Notice.URL}
	var said []byte
	for _, name := range []string{"policy", "policyRule", "sourceAttachment", "sourceReference"} {
		v := c.r.at(name)
		if v == nil {
			continue
		}
		said = append(said, v.canonical()...)
		if len(n.Hash) == 0 {
			c.toRest(v, m, "terms.notice.hash (salted commitment)")
		} else {
			c.rest(v, keptNotice)
		}
	}
	if n.Version == "" {
		n.Version = "imported"
		if rule := c.r.at("policyRule", "coding").list(); len(rule) > 0 && isCode(rule[0].at("code").str()) && len(rule[0].at("code").str()) <= 64 {
			n.Version = rule[0].at("code").str()
			c.to(rule[0].at("code"), m, "terms.notice.version")
		} else {
			c.assume(m, "terms.notice.version", n.Version, "the document has none")
		}
	}
	if n.Language == "" {
		n.Language = "und"
		for _, v := range []*value{c.r.at("sourceAttachment", "language"), c.r.at("language")} {
			if isLanguage(v.str()) {
				n.Language = v.str()
				c.to(v, m, "terms.notice.language")
				break
			}
		}
		if n.Language == "und" {
			c.assume(m, "terms.notice.language", n.Language, "the document does not say in which language the notice is")
		}
	}
	if uri := c.r.at("policy").list(); n.Url == "" && len(uri) > 0 {
		if u := uri[0].at("uri"); strings.HasPrefix(u.str(), "https://") && isIRI(u.str()) {
			n.Url = u.str()
			c.to(u, m, "terms.notice.url")
		}
	}
	if len(n.Hash) == 0 {
		if said == nil {
			said = c.raw
		}
		var err error
		if n.Hash, err = c.secrets.seal("notice", said); err != nil {
			return nil, err
		}
		c.assume(m, "terms.notice.hash", hex.EncodeToString(n.Hash), "the text of the notice is not given (--notice FILE); this is a salted commitment to what the document says of it")
	}
	return n, nil
}

// isLanguage tells whether s has the form of a tag of BCP 47.
func isLanguage(s string) bool {
	primary, rest, more := strings.Cut(s, "-")
	letters := func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' }
	if len(s) > 35 || len(primary) < 2 || len(primary) > 8 || strings.IndexFunc(primary, letters) >= 0 {
		return false
	}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, "-")
		if part == "" || len(part) > 8 || strings.IndexFunc(part, func(r rune) bool { return letters(r) && (r < '0' || r > '9') }) >= 0 {
			return false
		}
	}
	return true
}

// emit makes the messages, without those whose records the chain has. Other records
// of the same Consent that are in force are withdrawn.
func (c *consentReader) emit() error {
	id := c.r.at("id").str()
	if id != "" {
		if c.ids[id] {
			return refuse(c.r.at("id"), "the Bundle holds this Consent twice; leave in the version that is in force")
		}
		c.ids[id] = true
	}
	evidence, err := c.evidence(id)
	if err != nil {
		return err
	}
	var records, asked []*consentv1.ConsentResponse
	if c.o.Chain != nil {
		all, err := c.o.Chain.Consents(c.subject, c.controller)
		if err != nil {
			return err
		}
		for _, r := range all {
			switch {
			case r.Record.RequestedAt != 0: // on which the chain keeps no evidence
				asked = append(asked, r)
			case bytes.Equal(r.Record.EvidenceHash, evidence):
				records = append(records, r)
			}
		}
	}
	if c.kind == withdraw && len(records) == 0 {
		return refuseAs(ErrNothing, c.r.at("status"), "the consent was entered in error and the chain has no record of it")
	}
	if c.kind == withdraw || c.r.at("status").str() == "inactive" && len(records) > 0 {
		for _, r := range records {
			if !c.withdraw(r) {
				c.present(r)
			}
		}
		c.rest(c.r, keptEnded)
		return nil
	}
	return c.answers(evidence, records, asked)
}

// evidence is the commitment that all versions of a Consent have: to its id, or
// without one to its place in the document.
func (c *consentReader) evidence(id string) ([]byte, error) {
	switch {
	case id != "":
		return c.commit("Consent/" + id)
	case c.r.parent == nil:
		return c.sealed, nil
	}
	return c.secrets.seal("document "+c.r.pointer(), c.raw)
}

// present says that the chain has a record, and where it stands.
func (c *consentReader) present(r *consentv1.ConsentResponse) {
	status := strings.ToLower(strings.TrimPrefix(r.EffectiveStatus.String(), "STATUS_"))
	c.result.Present = append(c.result.Present, hex.EncodeToString(r.Record.Id)+" "+status)
}

// withdraw ends a record that is in force, and tells whether it was.
func (c *consentReader) withdraw(r *consentv1.ConsentResponse) bool {
	if r.EffectiveStatus != consentv1.Status_STATUS_GIVEN && r.EffectiveStatus != consentv1.Status_STATUS_NARROWED {
		return false
	}
	c.assume(withdraw, "id", hex.EncodeToString(r.Record.Id), "the record that an earlier version or reading of this Consent became")
	c.messages = append(c.messages, &consentv1.Withdraw{Id: r.Record.Id})
	return true
}

// answers makes the Refuse, Give and Request messages. records are those of the same
// Consent, and asked are those that began with a request.
func (c *consentReader) answers(evidence []byte, records, asked []*consentv1.ConsentResponse) error {
	if c.refused == nil && len(c.grants) == 0 {
		return refuseAs(ErrNothing, first(c.r.at("provision"), c.r), "its rules exclude one another")
	}
	given, err := c.given()
	if err != nil {
		return err
	}
	subject := c.o.DIDs[c.party(c.r.at("patient")).key]
	source := &consentv1.Source{Hash: c.sealed, Format: "fhir-r4-consent"}
	// present consumes the record that a message would make, if there is one.
	present := func(t *consentv1.Terms, refused bool) bool {
		i := slices.IndexFunc(records, func(r *consentv1.ConsentResponse) bool {
			x := r.Record
			return bytes.Equal(x.Source.GetHash(), c.sealed) && (x.Status == consentv1.Status_STATUS_REFUSED) == refused &&
				(x.Version > 1 || x.Terms.EqualVT(t))
		})
		if i < 0 {
			return false
		}
		c.present(records[i])
		records = slices.Delete(slices.Clone(records), i, i+1)
		return true
	}
	var made []proto.Message
	if c.refused != nil {
		t, err := c.terms(refusal, *c.refused, nil)
		if err != nil {
			return err
		}
		c.note(first(c.r.at("policyRule"), c.r.at("status")), remarkRefusal)
		if !present(t, true) {
			made = append(made, &consentv1.Refuse{
				Terms: t, Method: consentv1.Method_METHOD_IMPORTED, EvidenceHash: evidence, GivenAt: given,
				SubjectDid: subject, Source: source,
			})
		}
	}
	for _, g := range c.grants {
		if c.r.at("status").str() == "inactive" {
			g.until = c.ended(g.until)
			g.from = min(g.from, g.until-1)
		}
		if c.kind == asking {
			t, err := c.terms(asking, g.rule, g.exclusions)
			if err != nil {
				return err
			}
			c.assume(asking, "answer_until", "30 days from now", "the document does not say until when it may be answered")
			if i := slices.IndexFunc(asked, func(r *consentv1.ConsentResponse) bool { return r.Record.Terms.EqualVT(t) }); i >= 0 {
				c.present(asked[i])
			} else {
				made = append(made, &consentv1.Request{Terms: t, SubjectDid: subject, AnswerUntil: c.o.Now + answerWithin})
			}
			continue
		}
		t, err := c.terms(give, g.rule, g.exclusions)
		if err != nil {
			return err
		}
		if !present(t, false) {
			made = append(made, &consentv1.Give{
				Terms: t, Method: consentv1.Method_METHOD_IMPORTED, EvidenceHash: evidence, GivenAt: given,
				SubjectDid: subject, Source: source,
			})
		}
	}
	for _, r := range records {
		c.withdraw(r)
	}
	c.messages = append(c.messages, made...)
	return nil
}

// given is when the consent was given or refused; 0 for block time.
func (c *consentReader) given() (int64, error) {
	t := c.r.at("dateTime")
	switch {
	case t != nil && c.kind == asking:
		c.off(t, keptTime)
	case t != nil:
		c.to(t, c.kind, "given_at")
		return c.stamp(t, false)
	case c.kind != asking:
		c.assume(c.kind, "given_at", "block time", "the document does not say when it was given")
	}
	return 0, nil
}

// ended is when a consent that is no longer in force ended at the latest, unless it
// was to end before.
func (c *consentReader) ended(until int64) int64 {
	at := int64(1)
	t := c.r.at("meta", "lastUpdated")
	if t == nil {
		t = c.r.at("dateTime")
	}
	if t != nil {
		if changed, err := c.stamp(t, false); err == nil && changed > 0 {
			if at = changed; c.o.Now > 0 {
				at = min(at, c.o.Now)
			}
			c.to(t, give, "terms.valid_until")
		}
	}
	if until != 0 && until < at {
		return until
	}
	c.assume(give, "terms.valid_until", strconv.FormatInt(at, 10), "the consent is no longer in force; the document does not say since when, so this is when it was last changed, or given")
	return at
}
