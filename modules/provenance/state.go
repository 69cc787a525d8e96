package provenance

import (
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const statePrefix = 0x13

// nodeKey is (organisation, id, version).
type nodeKey = state.Triple[string, string, uint32]

// edgeKey is (end of the relation, (kind, id)).
type edgeKey = state.Pair[nodeKey, state.Pair[uint32, []byte]]

var (
	nodeCodec = state.TripleOf(state.String, state.String, state.Uint32)
	edgeCodec = state.PairOf(nodeCodec, state.PairOf(state.Uint32, state.Bytes))
	hashCodec = state.TripleOf(state.Bytes, state.Int64, nodeCodec)
	rootCodec = state.TripleOf(state.Bytes, state.Int64, state.PairOf(state.String, state.String))
)

type collections struct {
	schema  *state.Schema
	nodes   state.Map[nodeKey, *pb.Node]
	out     state.Map[edgeKey, *pb.Edge]
	in      state.Map[edgeKey, *pb.Backlink]
	hashes  state.Index[state.Triple[[]byte, int64, nodeKey]]
	anchors state.Map[state.Pair[string, string], *pb.Anchor]
	roots   state.Index[state.Triple[[]byte, int64, state.Pair[string, string]]]
}

func newCollections() collections {
	s := state.NewSchema(name, statePrefix)
	return collections{
		schema:  s,
		nodes:   state.NewMap(s, 0x01, "nodes", nodeCodec, state.Proto[pb.Node]()),
		out:     state.NewMap(s, 0x02, "out", edgeCodec, state.Proto[pb.Edge]()),
		in:      state.NewMap(s, 0x03, "in", edgeCodec, state.Proto[pb.Backlink]()),
		hashes:  state.NewIndex(s, 0x04, "hashes", hashCodec),
		anchors: state.NewMap(s, 0x05, "anchors", state.PairOf(state.String, state.String), state.Proto[pb.Anchor]()),
		roots:   state.NewIndex(s, 0x06, "roots", rootCodec),
	}
}

// keyOf is the key of a reference whose fields are filled.
func keyOf(r *pb.Ref) nodeKey {
	if r.External != "" {
		return state.Join3("", r.External, uint32(0))
	}
	return state.Join3(r.Organisation, r.Id, r.Version)
}

// refOf is the reference that keyOf made the key of.
func refOf(k nodeKey) *pb.Ref {
	if k.A == "" {
		return &pb.Ref{External: k.B}
	}
	return &pb.Ref{Organisation: k.A, Id: k.B, Version: k.C}
}

func edgeKeyOf(end *pb.Ref, kind pb.RelationKind, id []byte) edgeKey {
	return state.Join(keyOf(end), state.Join(uint32(kind), id))
}

// latest is the latest version of a node.
func (c *collections) latest(r state.Reader, organisation, id string) (*pb.Node, bool) {
	return c.nodes.Lookup(r, state.Join3(organisation, id, uint32(0)))
}

// node is one version of a node, the latest for version 0.
func (c *collections) node(r state.Reader, organisation, id string, version uint32) (*pb.Node, bool) {
	n, ok := c.latest(r, organisation, id)
	if !ok || version == 0 || version == n.Ref.Version {
		return n, ok
	}
	if version > n.Ref.Version {
		return nil, false
	}
	return c.nodes.Lookup(r, state.Join3(organisation, id, version))
}

// replace writes a node that exists back to where it is.
func (c *collections) replace(w state.Writer, n *pb.Node) {
	k := keyOf(n.Ref)
	if !c.nodes.Has(w, k) {
		k.C = 0
	}
	c.nodes.Put(w, k, n)
}

// kindOf tells what a node is.
func kindOf(n *pb.Node) pb.NodeKind {
	switch n.Description.(type) {
	case *pb.Node_Entity:
		return pb.NodeKind_NODE_KIND_ENTITY
	case *pb.Node_Activity:
		return pb.NodeKind_NODE_KIND_ACTIVITY
	case *pb.Node_Agent:
		return pb.NodeKind_NODE_KIND_AGENT
	default:
		return pb.NodeKind_NODE_KIND_UNSPECIFIED
	}
}
