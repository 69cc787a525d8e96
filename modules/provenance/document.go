package provenance

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	provNamespace     = "http://www.w3.org/ns/prov#"
	xsdNamespace      = "http://www.w3.org/2001/XMLSchema#"
	chanceryNamespace = "urn:chancery:provenance:"
	relationNamespace = "urn:chancery:provenance:relation:"

	qualifiedName = "prov:QUALIFIED_NAME"
	dateTime      = "xsd:dateTime"
	anyURI        = "xsd:anyURI"
)

// document is part of the graph that is to be written as a PROV document. Nodes and
// edges are in the order in which they are written.
type document struct {
	nodes []*pb.Node
	edges []*pb.Edge
}

// literal is a value and its datatype, which is empty for plain strings.
type literal struct{ text, datatype string }

// property is one attribute of a statement under its qualified name.
type property struct {
	name  string
	value literal
}

// argument is one formal argument of a statement: a qualified name or a time, empty
// when it is missing.
type argument struct{ name, value string }

// statement is one PROV statement, ready for either serialisation.
type statement struct {
	form       string // entity, used, …
	id         string // of relations without an identifier, a blank one
	bare       bool   // has neither identifier nor attributes in PROV-N
	arguments  []argument
	properties []property
}

// prefixes gives namespaces their prefixes, in order of first use.
type prefixes struct {
	byNamespace map[string]string
	list        []prefix
	externals   int
}

type prefix struct{ name, namespace string }

func newPrefixes() *prefixes {
	return &prefixes{byNamespace: map[string]string{provNamespace: "prov", xsdNamespace: "xsd"}}
}

func (p *prefixes) use(name, namespace string) string {
	if have, ok := p.byNamespace[namespace]; ok {
		return have
	}
	p.byNamespace[namespace] = name
	p.list = append(p.list, prefix{name, namespace})
	return name
}

// own is a name of this module's.
func (p *prefixes) own(local string) string {
	return p.use("chancery", chanceryNamespace) + ":" + local
}

// iri splits an IRI behind its last separator that something follows.
func (p *prefixes) iri(iri string) string {
	at := strings.LastIndexAny(iri[:len(iri)-1], "#/") + 1
	if at == 0 {
		at = strings.LastIndexByte(iri[:len(iri)-1], ':') + 1
	}
	namespace, local := iri[:at], iri[at:]
	have, ok := p.byNamespace[namespace]
	if !ok {
		p.externals++
		have = p.use("ext-"+strconv.Itoa(p.externals), namespace)
	}
	return have + ":" + local
}

// ref names a node: its version and its id within the organisation's DID.
func (p *prefixes) ref(r *pb.Ref) string {
	switch {
	case r == nil:
		return ""
	case r.External != "":
		return p.iri(r.External)
	}
	return p.use("org-"+strings.TrimPrefix(r.Organisation, didRoot), r.Organisation+"/") + ":" + strconv.FormatUint(uint64(r.Version), 10) + "/" + r.Id
}

func (p *prefixes) relation(id []byte) string {
	if len(id) == 0 {
		return ""
	}
	return p.use("relation", relationNamespace) + ":" + hex.EncodeToString(id)
}

func moment(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

var datatypes = [...]string{
	pb.ValueType_VALUE_TYPE_TEXT:    "",
	pb.ValueType_VALUE_TYPE_BOOLEAN: "xsd:boolean",
	pb.ValueType_VALUE_TYPE_INTEGER: "xsd:long",
	pb.ValueType_VALUE_TYPE_DECIMAL: "xsd:decimal",
	pb.ValueType_VALUE_TYPE_TIME:    dateTime,
	pb.ValueType_VALUE_TYPE_IRI:     anyURI,
	pb.ValueType_VALUE_TYPE_HEX:     "xsd:hexBinary",
}

// statements are the document's nodes and relations.
func (d document) statements(p *prefixes) []statement {
	out := make([]statement, 0, len(d.nodes)+len(d.edges))
	for _, n := range d.nodes {
		out = append(out, nodeStatement(p, n))
	}
	for _, e := range d.edges {
		out = append(out, relationStatement(p, e))
	}
	return out
}

func (s *statement) add(name, text, datatype string) {
	if text != "" {
		s.properties = append(s.properties, property{name, literal{text, datatype}})
	}
}

func (s *statement) describe(p *prefixes, types []string, attributes []*pb.Attribute) {
	for _, t := range types {
		s.add("prov:type", p.iri(t), qualifiedName)
	}
	for _, a := range attributes {
		s.add(p.iri(a.Key), a.Value, datatypes[a.Type])
	}
}

func nodeStatement(p *prefixes, n *pb.Node) statement {
	s := statement{id: p.ref(n.Ref)}
	switch d := n.Description.(type) {
	case *pb.Node_Entity:
		e := d.Entity
		s.form = "entity"
		s.describe(p, e.Types, e.Attributes)
		for _, h := range e.Hashes {
			s.add(p.own("multihash"), hex.EncodeToString(h), "xsd:hexBinary")
		}
		s.add(p.own("mediaType"), e.MediaType, "")
		if e.Size != 0 {
			s.add(p.own("size"), strconv.FormatUint(e.Size, 10), "xsd:unsignedLong")
		}
		s.add(p.own("generatedAt"), moment(e.GeneratedAt), dateTime)
		s.add(p.own("status"), lowerName(n.Status.String(), "STATUS_"), "")
		if n.Invalidation != nil {
			s.add(p.own("invalidationReason"), lowerName(n.Invalidation.Reason.String(), "INVALIDATION_REASON_"), "")
			s.add(p.own("invalidatedAt"), moment(n.Invalidation.InvalidatedAt), dateTime)
		}
	case *pb.Node_Activity:
		a := d.Activity
		s.form = "activity"
		s.arguments = []argument{{"prov:startTime", moment(a.StartedAt)}, {"prov:endTime", moment(a.EndedAt)}}
		s.describe(p, a.Types, a.Attributes)
		if a.Outcome != pb.Outcome_OUTCOME_UNSPECIFIED {
			s.add(p.own("outcome"), lowerName(a.Outcome.String(), "OUTCOME_"), "")
		}
	case *pb.Node_Agent:
		a := d.Agent
		s.form = "agent"
		s.add("prov:type", agentTypes[a.Kind], qualifiedName)
		s.describe(p, a.Types, a.Attributes)
		s.add(p.own("did"), a.Did, anyURI)
		s.add(p.own("iri"), a.Iri, anyURI)
		s.add(p.own("commitment"), hex.EncodeToString(a.Commitment), "xsd:hexBinary")
	}
	s.add(p.own("registeredBy"), n.Author, anyURI)
	s.add(p.own("registeredAt"), moment(n.RegisteredAt), dateTime)
	return s
}

var agentTypes = [...]string{
	pb.AgentKind_AGENT_KIND_PERSON:       "prov:Person",
	pb.AgentKind_AGENT_KIND_ORGANISATION: "prov:Organization",
	pb.AgentKind_AGENT_KIND_SOFTWARE:     "prov:SoftwareAgent",
	pb.AgentKind_AGENT_KIND_OTHER:        "",
}

func lowerName(value, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(value, prefix))
}

var derivationTypes = [...]string{
	pb.RelationKind_RELATION_KIND_DERIVATION:     "",
	pb.RelationKind_RELATION_KIND_REVISION:       "prov:Revision",
	pb.RelationKind_RELATION_KIND_QUOTATION:      "prov:Quotation",
	pb.RelationKind_RELATION_KIND_PRIMARY_SOURCE: "prov:PrimarySource",
}

// relationForms is indexed by kind: the name of the statement and of its subject,
// its object and its activity.
var relationForms = [lastKind + 1][4]string{
	pb.RelationKind_RELATION_KIND_DERIVATION:     {"wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity", "prov:activity"},
	pb.RelationKind_RELATION_KIND_REVISION:       {"wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity", "prov:activity"},
	pb.RelationKind_RELATION_KIND_QUOTATION:      {"wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity", "prov:activity"},
	pb.RelationKind_RELATION_KIND_PRIMARY_SOURCE: {"wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity", "prov:activity"},
	pb.RelationKind_RELATION_KIND_GENERATION:     {"wasGeneratedBy", "prov:entity", "prov:activity"},
	pb.RelationKind_RELATION_KIND_USAGE:          {"used", "prov:activity", "prov:entity"},
	pb.RelationKind_RELATION_KIND_COMMUNICATION:  {"wasInformedBy", "prov:informed", "prov:informant"},
	pb.RelationKind_RELATION_KIND_START:          {"wasStartedBy", "prov:activity", "prov:trigger", "prov:starter"},
	pb.RelationKind_RELATION_KIND_SPECIALIZATION: {"specializationOf", "prov:specificEntity", "prov:generalEntity"},
	pb.RelationKind_RELATION_KIND_MENTION:        {"mentionOf", "prov:specificEntity", "prov:generalEntity"},
	pb.RelationKind_RELATION_KIND_MEMBERSHIP:     {"hadMember", "prov:collection", "prov:entity"},
	pb.RelationKind_RELATION_KIND_END:            {"wasEndedBy", "prov:activity", "prov:trigger", "prov:ender"},
	pb.RelationKind_RELATION_KIND_INVALIDATION:   {"wasInvalidatedBy", "prov:entity", "prov:activity"},
	pb.RelationKind_RELATION_KIND_ATTRIBUTION:    {"wasAttributedTo", "prov:entity", "prov:agent"},
	pb.RelationKind_RELATION_KIND_ASSOCIATION:    {"wasAssociatedWith", "prov:activity", "prov:agent"},
	pb.RelationKind_RELATION_KIND_DELEGATION:     {"actedOnBehalfOf", "prov:delegate", "prov:responsible", "prov:activity"},
	pb.RelationKind_RELATION_KIND_INFLUENCE:      {"wasInfluencedBy", "prov:influencee", "prov:influencer"},
	pb.RelationKind_RELATION_KIND_ALTERNATE:      {"alternateOf", "prov:alternate1", "prov:alternate2"},
}

func relationStatement(p *prefixes, e *pb.Edge) statement {
	r := e.Relation
	form, of := relationForms[r.Kind], shapes[r.Kind]
	s := statement{form: form[0], bare: of.bare}
	if s.bare {
		s.id = "_:" + hex.EncodeToString(e.Id)
	} else {
		s.id = p.relation(e.Id)
	}
	s.arguments = []argument{{form[1], p.ref(r.Subject)}, {form[2], p.ref(r.Object)}}
	if of.activity {
		s.arguments = append(s.arguments, argument{form[3], p.ref(r.Activity)})
	}
	if of.derivation {
		s.arguments = append(s.arguments,
			argument{"prov:generation", p.relation(r.Generation)}, argument{"prov:usage", p.relation(r.Usage)})
		s.add("prov:type", derivationTypes[r.Kind], qualifiedName)
	}
	if of.plan {
		s.arguments = append(s.arguments, argument{"prov:plan", p.ref(r.Plan)})
	}
	if of.bundle {
		s.arguments = append(s.arguments, argument{"prov:bundle", p.ref(r.Bundle)})
	}
	if of.timed {
		s.arguments = append(s.arguments, argument{"prov:time", moment(r.HappenedAt)})
	}
	if isIRI(r.Role) {
		s.add("prov:role", p.iri(r.Role), qualifiedName)
	} else {
		s.add("prov:role", r.Role, "")
	}
	s.describe(p, r.Types, r.Attributes)
	if r.Name != "" {
		s.add(p.own("name"), r.Name, "")
	}
	return s
}
