package importer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// The bounds of one Record, below what module provenance and a transaction allow.
const (
	maxID             = 128
	maxIRI            = 256
	maxText           = 128
	maxAttributes     = 16
	recordNodes       = 100
	recordRelations   = 200
	recordBytes       = 96 << 10
	maxRelationTypes  = 4
	maxNodeTypes      = 8
	relationAttribute = 8

	// maxStatements is how many relations one document may come to: each of its targets
	// comes from each of its sources.
	maxStatements = 1 << 16
)

const (
	provPlan   = "http://www.w3.org/ns/prov#Plan"
	provBundle = "http://www.w3.org/ns/prov#Bundle"
	// vocabulary names what the importers say in attributes and types; the table is in
	// docs/importers.md.
	vocabulary = "urn:chancery:import:"
)

// graph gathers nodes and relations for messages of module provenance.
type graph struct {
	chain  Chain
	made   map[string]*pb.Node // as they will be after the messages
	known  map[string]*pb.Node // what the chain said: nil where it has none
	phases []*phase
	ends   []*pb.EndActivity
	// last are ids of entities that are registered after all else: where they are on
	// the chain, so is the whole document.
	last    map[string]bool
	present bool  // a document is on the chain already
	count   int   // relations
	err     error // of chain
}

// phase is what is registered before the next phase.
type phase struct {
	nodes     []*pb.NewNode
	index     map[string]int
	relations []*pb.Relation
	have      map[string]bool
}

func newGraph(chain Chain) *graph {
	g := &graph{chain: chain, made: map[string]*pb.Node{}, known: map[string]*pb.Node{}, last: map[string]bool{}}
	g.next()
	return g
}

// next starts a phase.
func (g *graph) next() {
	g.phases = append(g.phases, &phase{index: map[string]int{}, have: map[string]bool{}})
}

func (g *graph) phase() *phase { return g.phases[len(g.phases)-1] }

// node is the latest version of a node, as far as is known.
func (g *graph) node(id string) *pb.Node {
	if n := g.made[id]; n != nil {
		return n
	}
	if g.chain == nil || g.err != nil {
		return nil
	}
	n, asked := g.known[id]
	if !asked {
		n, g.err = g.chain.Node(id)
		g.known[id] = n
	}
	return n
}

// document registers the entity that stands for a document, after all else, and
// tells whether the chain has it already.
func (g *graph) document(id string, e *pb.Entity) (ref *pb.Ref, present bool) {
	if g.node(id) != nil {
		g.present = true
		return &pb.Ref{Id: id}, true
	}
	g.last[id] = true
	return g.entity(id, e), false
}

// entity registers an entity unless there is one of that id, whatever it says.
func (g *graph) entity(id string, e *pb.Entity) *pb.Ref {
	if g.node(id) == nil {
		g.put(&pb.NewNode{Id: id, Description: &pb.NewNode_Entity{Entity: e}}, 1)
	}
	return &pb.Ref{Id: id}
}

// revise registers an entity, or a new version of it when it says something else.
func (g *graph) revise(id string, e *pb.Entity) *pb.Ref {
	latest := g.node(id)
	switch {
	case latest == nil:
		g.put(&pb.NewNode{Id: id, Revise: true, Description: &pb.NewNode_Entity{Entity: e}}, 1)
	case !proto.Equal(latest.GetEntity(), e):
		g.put(&pb.NewNode{Id: id, Revise: true, Description: &pb.NewNode_Entity{Entity: e}}, latest.Ref.GetVersion()+1)
	}
	return &pb.Ref{Id: id}
}

func (g *graph) activity(id string, a *pb.Activity) *pb.Ref {
	if g.node(id) == nil {
		g.put(&pb.NewNode{Id: id, Description: &pb.NewNode_Activity{Activity: a}}, 1)
	}
	return &pb.Ref{Id: id}
}

func (g *graph) agent(id string, a *pb.Agent) *pb.Ref {
	if g.node(id) == nil {
		g.put(&pb.NewNode{Id: id, Description: &pb.NewNode_Agent{Agent: a}}, 1)
	}
	return &pb.Ref{Id: id}
}

func (g *graph) put(n *pb.NewNode, version uint32) {
	p := g.phase()
	if i, ok := p.index[n.Id]; ok {
		p.nodes[i] = n
		version = g.made[n.Id].Ref.Version
	} else {
		p.index[n.Id] = len(p.nodes)
		p.nodes = append(p.nodes, n)
	}
	made := &pb.Node{Ref: &pb.Ref{Id: n.Id, Version: version}}
	switch d := n.Description.(type) {
	case *pb.NewNode_Entity:
		made.Description = &pb.Node_Entity{Entity: d.Entity}
	case *pb.NewNode_Activity:
		made.Description = &pb.Node_Activity{Activity: d.Activity}
	case *pb.NewNode_Agent:
		made.Description = &pb.Node_Agent{Agent: d.Agent}
	}
	g.made[n.Id] = made
}

// end says how an activity ended, unless that is known. It tells whether it could.
func (g *graph) end(id string, at int64, outcome pb.Outcome) bool {
	n := g.node(id)
	a := n.GetActivity()
	switch {
	case a == nil || at < a.StartedAt || a.EndedAt != 0 && (a.EndedAt != at || a.Outcome != outcome):
		return false
	case a.EndedAt == at:
		return true
	}
	a = proto.CloneOf(a)
	a.EndedAt, a.Outcome = at, outcome
	g.ends = append(g.ends, &pb.EndActivity{Id: id, EndedAt: at, Outcome: outcome})
	g.made[id] = &pb.Node{Ref: n.Ref, Description: &pb.Node_Activity{Activity: a}}
	return true
}

// same tells whether a relation would relate a thing to itself.
func same(r *pb.Relation) bool {
	return r.Object != nil && r.Subject.Id == r.Object.Id && r.Subject.Version == r.Object.Version
}

// relate states a relation, once. Nothing is related to itself.
func (g *graph) relate(r *pb.Relation) bool {
	if same(r) || g.err != nil {
		return false
	}
	if g.count++; g.count > maxStatements {
		g.err = ErrTooLarge.With("it comes to more than %d relations", maxStatements)
		return false
	}
	p := g.phase()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		panic("importer: a relation does not marshal: " + err.Error())
	}
	if !p.have[string(raw)] {
		p.have[string(raw)] = true
		p.relations = append(p.relations, r)
	}
	return true
}

func (g *graph) link(kind pb.RelationKind, subject, object *pb.Ref) bool {
	return g.relate(&pb.Relation{Kind: kind, Subject: subject, Object: object})
}

// messages are the phases as Records within the bounds, nodes before relations,
// then the ends, and then the documents with what relates them to the rest.
func (g *graph) messages() []proto.Message {
	var out []proto.Message
	final := &phase{}
	for _, p := range g.phases {
		now := &phase{}
		for _, n := range p.nodes {
			if g.last[n.Id] {
				final.nodes = append(final.nodes, n)
			} else {
				now.nodes = append(now.nodes, n)
			}
		}
		for _, r := range p.relations {
			if g.last[r.Subject.GetId()] || g.last[r.Object.GetId()] {
				final.relations = append(final.relations, r)
			} else {
				now.relations = append(now.relations, r)
			}
		}
		out = append(out, now.records()...)
	}
	for _, e := range g.ends {
		out = append(out, e)
	}
	return append(out, final.records()...)
}

// records are a phase as Records within the bounds.
func (p *phase) records() []proto.Message {
	var out []proto.Message
	record, size := &pb.Record{}, 0
	room := func(full bool, n int) {
		if full || size+n > recordBytes && size > 0 {
			out = append(out, record)
			record, size = &pb.Record{}, 0
		}
		size += n
	}
	for _, n := range p.nodes {
		room(len(record.Nodes) == recordNodes, n.SizeVT())
		record.Nodes = append(record.Nodes, n)
	}
	for _, r := range p.relations {
		room(len(record.Relations) == recordRelations, r.SizeVT())
		record.Relations = append(record.Relations, r)
	}
	if len(record.Nodes)+len(record.Relations) > 0 {
		out = append(out, record)
	}
	return out
}

// localID makes the id of a node from the parts of its name in their own format,
// so that different parts never make the same id: bytes outside a set are percent-
// encoded and parts are joined by commas, which the set lacks. A longer one is the
// SHA-256 of the parts after "~" in place of ":".
func localID(what string, parts ...string) string {
	var b strings.Builder
	b.WriteString(what)
	b.WriteByte(':')
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
		}
		for j := range len(p) {
			c := p[j]
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._~:/#+=-", c) >= 0 {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
			}
		}
	}
	if b.Len() <= maxID {
		return b.String()
	}
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return what + "~" + hex.EncodeToString(h.Sum(nil))
}

// address finds what looks like an e-mail address, or the user of a connection.
var address = regexp.MustCompile(`[A-Za-z0-9._%+-]+(@|%40)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}|//[^/?#\s]+@|^[^/?#\s:]+:[^/?#\s]+@`)

// isIRI tells whether s may stand on the chain as an IRI: absolute, in ASCII, at
// most 256 bytes, without user information, an address or inline data.
func isIRI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || scheme == "" || rest == "" || len(s) > maxIRI || (scheme[0]|0x20) < 'a' || (scheme[0]|0x20) > 'z' || address.MatchString(s) {
		return false
	}
	switch strings.ToLower(scheme) {
	case "mailto", "tel", "sms", "data":
		return false
	}
	for i := range len(scheme) {
		if c := scheme[i]; !isAlphanumeric(c) && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	for i := range len(rest) {
		c := rest[i]
		if !isAlphanumeric(c) && strings.IndexByte("._~:/#+=%-,;!$&*()?[]", c) < 0 {
			return false
		}
		if c == '%' && (i+2 >= len(rest) || !isHex(rest[i+1]) || !isHex(rest[i+2])) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// escapeIRI percent-encodes what an IRI on the chain may not hold.
func escapeIRI(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlphanumeric(c) || strings.IndexByte("._~:/+=-", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// isCode tells whether s is short, has no white space and no e-mail address: a code, a
// version or a technical name rather than prose.
func isCode(s string) bool {
	if s == "" || len(s) > maxText || !utf8.ValidString(s) || address.MatchString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7F {
			return false
		}
	}
	return true
}

func attribute(key string, t pb.ValueType, v string) *pb.Attribute {
	return &pb.Attribute{Key: key, Type: t, Value: v}
}

func hexAttribute(key string, v []byte) *pb.Attribute {
	return attribute(key, pb.ValueType_VALUE_TYPE_HEX, hex.EncodeToString(v))
}

func codeAttribute(key, v string) *pb.Attribute {
	return attribute(key, pb.ValueType_VALUE_TYPE_TEXT, v)
}

func iriAttribute(key, v string) *pb.Attribute {
	return attribute(key, pb.ValueType_VALUE_TYPE_IRI, v)
}

// add appends to a list without repetition, up to a bound; it tells whether the
// entry is in the list.
func add[T comparable](list *[]T, v T, most int) bool {
	for _, o := range *list {
		if o == v {
			return true
		}
	}
	if len(*list) >= most {
		return false
	}
	*list = append(*list, v)
	return true
}

func addAttribute(list *[]*pb.Attribute, a *pb.Attribute, most int) bool {
	for _, o := range *list {
		if o.EqualVT(a) {
			return true
		}
	}
	if len(*list) >= most {
		return false
	}
	*list = append(*list, a)
	return true
}

func sortAttributes(list []*pb.Attribute) {
	slices.SortFunc(list, func(a, b *pb.Attribute) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		if a.Type != b.Type {
			return int(a.Type) - int(b.Type)
		}
		return strings.Compare(a.Value, b.Value)
	})
}
