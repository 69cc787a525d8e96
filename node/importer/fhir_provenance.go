package importer

import (
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

var record = &pb.Record{}

// people are the resource types that stand for a person.
var people = map[string]bool{
	"Patient": true, "Practitioner": true, "PractitionerRole": true, "RelatedPerson": true, "Person": true,
}

// agentKind is what an agent is, from the type of its resource.
func agentKind(resource string) (pb.AgentKind, bool) {
	switch {
	case people[resource]:
		return pb.AgentKind_AGENT_KIND_PERSON, true
	case resource == "Organization":
		return pb.AgentKind_AGENT_KIND_ORGANISATION, true
	case resource == "Device", resource == "Group", resource == "CareTeam", resource == "Location", resource == "HealthcareService":
		return pb.AgentKind_AGENT_KIND_OTHER, true
	}
	return pb.AgentKind_AGENT_KIND_UNSPECIFIED, false
}

// agent registers who a key names, as a salted commitment or by the DID that the
// options give. Two kinds of agents never share an id.
func (f *fhirReader) agent(p party, kind pb.AgentKind) (*pb.Ref, error) {
	commitment, err := f.commit(p.key)
	if err != nil {
		return nil, err
	}
	id := personID(commitment)
	if kind != pb.AgentKind_AGENT_KIND_PERSON {
		id = agentIDs[kind] + ":" + id
	}
	a := &pb.Agent{Kind: kind, Commitment: commitment}
	if did, ok := f.did(p); ok {
		a = &pb.Agent{Kind: kind, Did: did}
	}
	return f.graph.agent(id, a), nil
}

var agentIDs = map[pb.AgentKind]string{
	pb.AgentKind_AGENT_KIND_ORGANISATION: "organisation",
	pb.AgentKind_AGENT_KIND_SOFTWARE:     "software",
	pb.AgentKind_AGENT_KIND_OTHER:        "agent",
}

// who registers the agent that a Reference names, and accounts for it. It is nil
// when the Reference names nobody.
func (f *fhirReader) who(v *value, guess pb.AgentKind, format string, args ...any) (*pb.Ref, error) {
	p := f.party(v)
	if p.key == "" {
		f.rest(v, keptPersonal)
		return nil, nil
	}
	kind, ok := agentKind(p.resource)
	if !ok {
		kind = guess
	}
	ref, err := f.agent(p, kind)
	if err != nil {
		return nil, err
	}
	f.named(v, format, args...)
	return ref, nil
}

// named accounts for a Reference that became a commitment.
func (f *fhirReader) named(v *value, format string, args ...any) {
	used := v.at("reference")
	if used == nil {
		used = v.at("identifier")
	}
	if used == nil {
		used = v.at("display")
	}
	if used == nil {
		return
	}
	value := used.at("value")
	if value == nil {
		value = used
	} else {
		f.to(used.at("system"), record, format+" (salted commitment)", args...)
	}
	f.to(value, record, format+" (salted commitment)", args...)
	f.off(v.at("display"), keptPersonal)
	f.rest(v, keptPersonal)
}

// thing registers what a Reference names as an entity under a salted commitment,
// and the version that it names as a specialization of it. It is nil when the
// Reference names nothing.
func (f *fhirReader) thing(v *value, format string, args ...any) (*pb.Ref, error) {
	p := f.party(v)
	if p.key == "" {
		f.rest(v, keptPersonal)
		return nil, nil
	}
	commitment, err := f.commit(p.key)
	if err != nil {
		return nil, err
	}
	e := &pb.Entity{Attributes: []*pb.Attribute{hexAttribute(vocabulary+"commitment", commitment)}}
	if resourceName.MatchString(p.resource) {
		e.Types = []string{"http://hl7.org/fhir/" + p.resource}
	}
	id := localID("record", personID(commitment))
	ref := f.graph.entity(id, e)
	f.named(v, format, args...)
	if p.version == "" {
		return ref, nil
	}
	if commitment, err = f.commit(p.key + "/_history/" + p.version); err != nil {
		return nil, err
	}
	e = proto.CloneOf(e)
	e.Attributes = []*pb.Attribute{hexAttribute(vocabulary+"commitment", commitment)}
	version := f.graph.entity(localID("record", personID(commitment)), e)
	f.graph.link(pb.RelationKind_RELATION_KIND_SPECIALIZATION, version, ref)
	return version, nil
}

// provenance maps a Provenance to an activity with what it used and made, and who
// was responsible.
func (f *fhirReader) provenance(r *value) error {
	f.common(r, record, "nodes (types)")
	a := &pb.Activity{}
	var err error
	occurred := r.at("occurredPeriod")
	if occurred != nil {
		if a.StartedAt, a.EndedAt, err = f.period(occurred); err != nil {
			return err
		}
		f.to(occurred.at("start"), record, "activity.started_at")
		f.to(occurred.at("end"), record, "activity.ended_at")
	} else if occurred = r.at("occurredDateTime"); occurred != nil {
		if a.StartedAt, err = f.stamp(occurred, false); err != nil {
			return err
		}
		a.EndedAt = a.StartedAt
		f.to(occurred, record, "activity.started_at and ended_at")
	}
	recorded, err := f.stamp(r.at("recorded"), false)
	if err != nil {
		return refuse(first(r.at("recorded"), r), "recorded must be an instant")
	}
	f.to(r.at("recorded"), record, "document.generated_at")
	if len(r.at("target").list()) == 0 || len(r.at("agent").list()) == 0 {
		return refuse(r, "a Provenance has at least one target and one agent")
	}
	a.Types = []string{"http://hl7.org/fhir/Provenance"}
	for _, iri := range f.concept(r.at("activity"), record, "activity.types") {
		if !add(&a.Types, iri, maxNodeTypes) {
			f.note(r.at("activity"), unmappedMore)
		}
	}
	a.Attributes = f.reasons(r.at("reason"), "activity.attributes")
	document, entity, _ := f.document(r)
	entity.GeneratedAt = recorded
	activity := f.graph.activity(localID("activity", personID(f.sealed))+suffix(r), a)
	f.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_INFLUENCE, Subject: document, Object: activity})

	var targets []*pb.Ref
	for i, t := range r.at("target").list() {
		ref, err := f.thing(t, "target[%d]", i)
		if err != nil {
			return err
		}
		if ref == nil {
			return refuse(t, "a target needs a reference")
		}
		targets = append(targets, ref)
		f.graph.link(pb.RelationKind_RELATION_KIND_GENERATION, ref, activity)
	}
	if err := f.sources(r, activity, targets); err != nil {
		return err
	}
	for i, agent := range r.at("agent").list() {
		if err := f.participant(agent, activity, i); err != nil {
			return err
		}
	}
	if err := f.signatures(r, document); err != nil {
		return err
	}
	f.off(r.at("policy"), keptPolicy)
	f.off(r.at("location"), keptPersonal)
	return nil
}

// reasons are purposes as attributes.
func (f *fhirReader) reasons(list *value, field string) []*pb.Attribute {
	var out []*pb.Attribute
	for _, reason := range list.list() {
		for _, coding := range reason.at("coding").list() {
			iri := f.coding(coding, record, "%s", field)
			if own, ok := purposes[iri]; ok {
				iri = own
			}
			if iri != "" && !addAttribute(&out, iriAttribute(vocabulary+"purpose", iri), relationAttribute) {
				f.off(coding, unmappedMore)
			}
		}
		f.off(reason.at("text"), keptText)
	}
	return out
}

// sources relates what the activity used.
func (f *fhirReader) sources(r *value, activity *pb.Ref, targets []*pb.Ref) error {
	kinds := map[string]pb.RelationKind{
		"derivation": pb.RelationKind_RELATION_KIND_DERIVATION,
		"revision":   pb.RelationKind_RELATION_KIND_REVISION,
		"quotation":  pb.RelationKind_RELATION_KIND_QUOTATION,
		"source":     pb.RelationKind_RELATION_KIND_PRIMARY_SOURCE,
		"removal":    pb.RelationKind_RELATION_KIND_UNSPECIFIED,
	}
	for i, e := range r.at("entity").list() {
		role := e.at("role")
		kind, ok := kinds[role.str()]
		if !ok {
			return refuse(first(role, e), "role must be one of derivation, revision, quotation, source, removal")
		}
		source, err := f.thing(e.at("what"), "entity[%d]", i)
		if err != nil {
			return err
		}
		if source == nil {
			return refuse(e, "an entity needs a reference or an identifier")
		}
		f.to(role, record, "relations (kind)")
		same := false
		for _, target := range targets {
			same = same || target.Id == source.Id
		}
		if same {
			f.note(e, unmappedSelf)
			continue
		}
		f.graph.link(pb.RelationKind_RELATION_KIND_USAGE, activity, source)
		if kind == pb.RelationKind_RELATION_KIND_UNSPECIFIED {
			f.graph.link(pb.RelationKind_RELATION_KIND_INVALIDATION, source, activity)
			continue
		}
		for _, target := range targets {
			f.graph.relate(&pb.Relation{Kind: kind, Subject: target, Object: source, Activity: activity})
		}
		if f.graph.err != nil {
			return f.graph.err
		}
		for j, agent := range e.at("agent").list() {
			ref, err := f.who(agent.at("who"), pb.AgentKind_AGENT_KIND_PERSON, "entity[%d].agent[%d]", i, j)
			if err != nil {
				return err
			}
			if ref != nil {
				f.graph.link(pb.RelationKind_RELATION_KIND_ATTRIBUTION, source, ref)
			}
		}
	}
	return nil
}

// participant relates one agent of a Provenance.
func (f *fhirReader) participant(v *value, activity *pb.Ref, i int) error {
	ref, err := f.who(v.at("who"), pb.AgentKind_AGENT_KIND_PERSON, "agent[%d]", i)
	if err != nil {
		return err
	}
	f.off(v.at("id"), keptPersonal)
	if ref == nil {
		return refuse(v, "an agent needs a reference or an identifier")
	}
	rel := &pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ASSOCIATION, Subject: activity, Object: ref}
	roles := append(f.concept(v.at("type"), record, "agent[%d] (role)", i), f.concepts(v.at("role"), record, "agent[%d] (role)", i)...)
	f.roles(v, rel, roles)
	f.graph.relate(rel)
	if behalf := v.at("onBehalfOf"); behalf != nil {
		responsible, err := f.who(behalf, pb.AgentKind_AGENT_KIND_ORGANISATION, "agent[%d].onBehalfOf", i)
		if err != nil {
			return err
		}
		if responsible != nil {
			f.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_DELEGATION, Subject: ref, Object: responsible, Activity: activity})
		}
	}
	return nil
}

// roles puts the first role that fits as the role and the others as types.
func (f *fhirReader) roles(v *value, rel *pb.Relation, roles []string) {
	for _, role := range roles {
		if rel.Role == "" && len(role) <= maxText && !strings.ContainsAny(role, "[]") {
			rel.Role = role
		} else if !add(&rel.Types, role, maxRelationTypes) {
			f.note(v, unmappedMore)
		}
	}
}

// signatures registers signatures of the document.
func (f *fhirReader) signatures(r *value, document *pb.Ref) error {
	for i, s := range r.at("signature").list() {
		at, err := f.stamp(s.at("when"), false)
		if err != nil {
			return refuse(first(s.at("when"), s), "when must be an instant")
		}
		f.to(s.at("when"), record, "signature[%d].generated_at", i)
		e := &pb.Entity{GeneratedAt: at, Types: []string{"http://hl7.org/fhir/Signature"}}
		for _, coding := range s.at("type").list() {
			if iri := f.coding(coding, record, "signature[%d].types", i); iri != "" {
				add(&e.Types, iri, maxNodeTypes)
			}
		}
		if data := s.at("data"); data != nil {
			sum, err := f.secrets.seal("signature", []byte(data.str()))
			if err != nil {
				return err
			}
			e.Attributes = []*pb.Attribute{hexAttribute(vocabulary+"commitment", sum)}
			f.to(data, record, "signature[%d].attributes (salted commitment)", i)
		}
		if format := s.at("sigFormat"); isMedia(format.str()) {
			e.MediaType = format.str()
			f.to(format, record, "signature[%d].media_type", i)
		}
		f.off(s.at("targetFormat"), keptHousekeeping)
		ref := f.graph.entity(localID("signature", personID(f.sealed), hex.EncodeToString([]byte{byte(i >> 8), byte(i)}))+suffix(r), e)
		f.graph.link(pb.RelationKind_RELATION_KIND_DERIVATION, ref, document)
		who, err := f.who(s.at("who"), pb.AgentKind_AGENT_KIND_PERSON, "signature[%d].attributed_to", i)
		if err != nil {
			return err
		}
		if who != nil {
			f.graph.link(pb.RelationKind_RELATION_KIND_ATTRIBUTION, ref, who)
		}
		if behalf := s.at("onBehalfOf"); behalf != nil && who != nil {
			responsible, err := f.who(behalf, pb.AgentKind_AGENT_KIND_ORGANISATION, "signature[%d].onBehalfOf", i)
			if err != nil {
				return err
			}
			if responsible != nil {
				f.graph.link(pb.RelationKind_RELATION_KIND_DELEGATION, who, responsible)
			}
		}
	}
	return nil
}

func isMedia(s string) bool {
	if s == "" || len(s) > maxText {
		return false
	}
	slash := false
	for i := range len(s) {
		c := s[i]
		if c == '/' && i > 0 && i < len(s)-1 {
			slash = true
		} else if !isAlphanumeric(c) && c != '.' && c != '-' && c != '+' && c != '_' {
			return false
		}
	}
	return slash
}
