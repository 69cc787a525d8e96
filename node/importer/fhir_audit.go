package importer

import (
	"regexp"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

var resourceName = regexp.MustCompile(`^[A-Z][A-Za-z]{1,63}$`)

// auditEvent maps an AuditEvent to an activity with its agents and what it was
// about.
func (f *fhirReader) auditEvent(r *value) error {
	f.common(r, record, "nodes (types)")
	recorded, err := f.stamp(r.at("recorded"), false)
	if err != nil {
		return refuse(first(r.at("recorded"), r), "recorded must be an instant")
	}
	a := &pb.Activity{Types: []string{"http://hl7.org/fhir/AuditEvent"}, StartedAt: recorded, EndedAt: recorded}
	if p := r.at("period"); p != nil {
		from, until, err := f.period(p)
		if err != nil {
			return err
		}
		if from != 0 || until != 0 {
			a.StartedAt, a.EndedAt = from, until
		}
		f.to(p, record, "activity.started_at and ended_at")
		f.to(r.at("recorded"), record, "document.generated_at")
	} else {
		f.to(r.at("recorded"), record, "activity.started_at and ended_at, document.generated_at")
	}
	for _, coding := range append([]*value{r.at("type")}, r.at("subtype").list()...) {
		if iri := f.coding(coding, record, "activity.types"); iri != "" && !add(&a.Types, iri, maxNodeTypes) {
			f.note(coding, unmappedMore)
		}
	}
	action := r.at("action")
	if code := action.str(); len(code) == 1 && code[0] >= 'A' && code[0] <= 'Z' {
		a.Attributes = append(a.Attributes, codeAttribute("http://hl7.org/fhir/AuditEvent.action", code))
		f.to(action, record, "activity.attributes")
	}
	if outcome := r.at("outcome"); outcome != nil {
		switch outcome.str() {
		case "0":
			a.Outcome = pb.Outcome_OUTCOME_COMPLETED
		case "4", "8", "12":
			a.Outcome = pb.Outcome_OUTCOME_FAILED
			a.Attributes = append(a.Attributes, codeAttribute("http://hl7.org/fhir/AuditEvent.outcome", outcome.str()))
		default:
			return refuse(outcome, "outcome must be one of 0, 4, 8, 12")
		}
		f.to(outcome, record, "activity.outcome")
		if a.EndedAt == 0 {
			a.EndedAt = max(recorded, a.StartedAt)
		}
	}
	f.off(r.at("outcomeDesc"), keptText)
	a.Attributes = append(a.Attributes, f.reasons(r.at("purposeOfEvent"), "activity.attributes")...)
	activity := f.graph.activity(localID("audit", personID(f.sealed))+suffix(r), a)
	document, entity, _ := f.document(r)
	entity.GeneratedAt = recorded
	f.graph.link(pb.RelationKind_RELATION_KIND_INFLUENCE, document, activity)
	for i, agent := range r.at("agent").list() {
		if err := f.auditAgent(agent, activity, i); err != nil {
			return err
		}
	}
	if err := f.auditSource(r.at("source"), activity, document); err != nil {
		return err
	}
	for i, e := range r.at("entity").list() {
		if err := f.auditEntity(e, activity, action.str(), i); err != nil {
			return err
		}
	}
	return nil
}

func (f *fhirReader) auditAgent(v *value, activity *pb.Ref, i int) error {
	human := has(v.at("type"), "humanuser")
	guess := pb.AgentKind_AGENT_KIND_PERSON
	if !human && v.at("media") != nil || !human && v.at("network") != nil && v.at("requestor").is(boolean) && v.at("requestor").text == "false" {
		guess = pb.AgentKind_AGENT_KIND_SOFTWARE
	}
	p := f.party(v.at("who"))
	kind, ok := agentKind(p.resource)
	if !ok {
		kind = guess
	}
	used := v.at("who")
	for _, name := range []string{"altId", "name"} {
		if p.key == "" && v.at(name).str() != "" {
			p.key, used = name+"|"+v.at(name).str(), nil
			f.to(v.at(name), record, "agent[%d] (salted commitment)", i)
		}
	}
	if p.key == "" {
		p.key = f.within(v.pointer())
	}
	ref, err := f.agent(p, kind)
	if err != nil {
		return err
	}
	if used != nil {
		f.named(used, "agent[%d]", i)
	}
	f.off(v.at("altId"), keptPersonal)
	f.off(v.at("name"), keptPersonal)
	f.off(v.at("location"), keptPersonal)
	f.off(v.at("policy"), keptPolicy)
	f.off(v.at("network"), keptNetwork)
	rel := &pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ASSOCIATION, Subject: activity, Object: ref}
	f.roles(v, rel, append(f.concept(v.at("type"), record, "agent[%d] (role)", i), f.concepts(v.at("role"), record, "agent[%d] (role)", i)...))
	if q := v.at("requestor"); q.is(boolean) {
		rel.Attributes = append(rel.Attributes, attribute("http://hl7.org/fhir/AuditEvent.agent.requestor", pb.ValueType_VALUE_TYPE_BOOLEAN, q.text))
		f.to(q, record, "agent[%d].attributes", i)
	}
	if media := v.at("media"); media != nil {
		if iri := f.coding(media, record, "agent[%d].attributes", i); iri != "" {
			rel.Attributes = append(rel.Attributes, iriAttribute("http://hl7.org/fhir/AuditEvent.agent.media", iri))
		}
	}
	for _, a := range f.reasons(v.at("purposeOfUse"), "agent.attributes") {
		addAttribute(&rel.Attributes, a, relationAttribute)
	}
	f.graph.relate(rel)
	return nil
}

func (f *fhirReader) auditSource(v *value, activity, document *pb.Ref) error {
	if v == nil {
		return nil
	}
	f.off(v.at("site"), keptText)
	ref, err := f.who(v.at("observer"), pb.AgentKind_AGENT_KIND_SOFTWARE, "source.observer")
	if err != nil {
		return err
	}
	var types []string
	for _, coding := range v.at("type").list() {
		if iri := f.coding(coding, record, "source.observer (types)"); iri != "" {
			add(&types, iri, maxRelationTypes)
		}
	}
	if ref == nil {
		return nil
	}
	f.graph.link(pb.RelationKind_RELATION_KIND_ATTRIBUTION, document, ref)
	f.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ASSOCIATION, Subject: activity, Object: ref, Role: "observer", Types: types})
	return nil
}

// auditEntity relates what the event was about.
func (f *fhirReader) auditEntity(v *value, activity *pb.Ref, action string, i int) error {
	what, err := f.thing(v.at("what"), "entity[%d]", i)
	if err != nil {
		return err
	}
	f.off(v.at("name"), keptPersonal)
	f.off(v.at("description"), keptText)
	f.off(v.at("query"), keptPersonal)
	f.off(v.at("detail"), keptPersonal)
	if what == nil {
		key := f.within(v.pointer())
		commitment, err := f.commit(key)
		if err != nil {
			return err
		}
		what = f.graph.entity(localID("record", personID(commitment)), &pb.Entity{
			Attributes: []*pb.Attribute{hexAttribute(vocabulary+"commitment", commitment)},
		})
	}
	rel := &pb.Relation{Kind: pb.RelationKind_RELATION_KIND_USAGE, Subject: activity, Object: what}
	if action == "C" {
		rel = &pb.Relation{Kind: pb.RelationKind_RELATION_KIND_GENERATION, Subject: what, Object: activity}
	}
	var roles []string
	for _, name := range []string{"role", "lifecycle", "type"} {
		if coding := v.at(name); coding != nil {
			if iri := f.coding(coding, record, "entity[%d] (role, types)", i); iri != "" {
				roles = append(roles, iri)
			}
		}
	}
	f.roles(v, rel, roles)
	for _, coding := range v.at("securityLabel").list() {
		iri := f.coding(coding, record, "entity[%d].attributes", i)
		if iri != "" && !addAttribute(&rel.Attributes, iriAttribute(vocabulary+"security-label", iri), relationAttribute) {
			f.note(coding, unmappedMore)
		}
	}
	f.graph.relate(rel)
	return nil
}
