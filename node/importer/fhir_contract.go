package importer

import (
	"strconv"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// contract maps a Contract to an entity with its types and a digest of all of it,
// ascribed to its parties. Its terms have no meaning in PROV.
func (f *fhirReader) contract(r *value) error {
	f.common(r, record, "document.types")
	var issued int64
	var err error
	if v := r.at("issued"); v != nil {
		if issued, err = f.stamp(v, false); err != nil {
			return err
		}
		f.to(v, record, "document.generated_at")
	}
	var types []string
	for _, iri := range f.concept(r.at("type"), record, "document.types") {
		add(&types, iri, maxNodeTypes)
	}
	for _, iri := range f.concepts(r.at("subType"), record, "document.types") {
		add(&types, iri, maxNodeTypes)
	}
	var attributes []*pb.Attribute
	for _, name := range []string{"status", "legalState", "contentDerivative"} {
		v := r.at(name)
		if code := v.str(); code != "" && isCode(code) {
			attributes = append(attributes, codeAttribute("http://hl7.org/fhir/Contract."+name, code))
			f.to(v, record, "document.attributes")
		} else if iris := f.concept(v, record, "document.attributes"); len(iris) > 0 {
			attributes = append(attributes, iriAttribute("http://hl7.org/fhir/Contract."+name, iris[0]))
		}
	}
	if applies := r.at("applies"); applies != nil {
		from, until, err := f.period(applies)
		if err != nil {
			return err
		}
		for _, bound := range []struct {
			name string
			at   int64
		}{{"start", from}, {"end", until}} {
			if bound.at != 0 {
				key := "http://hl7.org/fhir/Contract.applies." + bound.name
				attributes = append(attributes, attribute(key, pb.ValueType_VALUE_TYPE_INTEGER, strconv.FormatInt(bound.at, 10)))
				f.to(applies.at(bound.name), record, "document.attributes")
			}
		}
	}
	document, entity, _ := f.document(r)
	entity.GeneratedAt, entity.Attributes = issued, append(entity.Attributes, attributes...)
	for _, t := range types {
		if !add(&entity.Types, t, maxNodeTypes) {
			f.note(r.at("type"), unmappedMore)
		}
	}
	for _, role := range []struct {
		name  string
		guess pb.AgentKind
	}{
		{"subject", pb.AgentKind_AGENT_KIND_PERSON},
		{"authority", pb.AgentKind_AGENT_KIND_ORGANISATION},
		{"author", pb.AgentKind_AGENT_KIND_PERSON},
	} {
		list := r.at(role.name).list()
		if v := r.at(role.name); v.is(object) {
			list = []*value{v}
		}
		for i, v := range list {
			who, err := f.who(v, role.guess, "%s[%d]", role.name, i)
			if err != nil {
				return err
			}
			if who != nil {
				f.graph.relate(&pb.Relation{
					Kind: pb.RelationKind_RELATION_KIND_ATTRIBUTION, Subject: document, Object: who,
					Types: []string{"http://hl7.org/fhir/Contract." + role.name},
				})
			}
		}
	}
	for i, s := range r.at("signer").list() {
		if err := f.signer(s, document, i); err != nil {
			return err
		}
	}
	f.off(r.at("domain"), keptPersonal)
	f.off(r.at("site"), keptPersonal)
	for _, name := range []string{"title", "subtitle", "alias", "name"} {
		f.off(r.at(name), keptText)
	}
	f.rest(r, keptTerm)
	return nil
}

func (f *fhirReader) signer(v *value, document *pb.Ref, i int) error {
	who, err := f.who(v.at("party"), pb.AgentKind_AGENT_KIND_PERSON, "signer[%d].party", i)
	if err != nil {
		return err
	}
	rel := &pb.Relation{
		Kind: pb.RelationKind_RELATION_KIND_ATTRIBUTION, Subject: document, Object: who,
		Types: []string{"http://hl7.org/fhir/Contract.signer"},
	}
	if iri := f.coding(v.at("type"), record, "signer[%d] (types)", i); iri != "" {
		add(&rel.Types, iri, maxRelationTypes)
	}
	if who != nil {
		f.graph.relate(rel)
	}
	return f.signatures(v, document)
}
