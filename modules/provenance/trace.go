package provenance

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	defaultDepth = 32
	maxDepth     = 1000
	// maxTraced is how many relations one request may read.
	maxTraced = 200_000
	// maxExported is how many relations one export may read.
	maxExported = 20_000
)

// hop is one relation of a node, seen from that node.
type hop struct {
	kind         pb.RelationKind
	id           []byte
	subject      nodeKey
	other        *pb.Ref // the node at the other end
	registeredAt int64
	edge         *pb.Edge // nil when only the backlink was read
}

// hops yields the relations of a node that have another end, in order of kind and
// id: those it is the subject of, or those it is the object of.
func (m *Module) hops(r state.Reader, of nodeKey, down bool, yield func(hop) bool) {
	span := state.Under(nodeCodec, of)
	if down {
		for k, b := range m.in.Walk(r, span) {
			if !yield(hop{pb.RelationKind(k.B.A), k.B.B, keyOf(b.Subject), b.Subject, b.RegisteredAt, nil}) {
				return
			}
		}
		return
	}
	for k, e := range m.out.Walk(r, span) {
		if e.Relation.Object != nil && !yield(hop{pb.RelationKind(k.B.A), k.B.B, of, e.Relation.Object, e.RegisteredAt, e}) {
			return
		}
	}
}

// via is the relation of a hop.
func (m *Module) via(r state.Reader, h hop) *pb.Edge {
	if h.edge != nil {
		return h.edge
	}
	e, ok := m.out.Lookup(r, state.Join(h.subject, state.Join(uint32(h.kind), h.id)))
	if !ok {
		panic(&state.Fault{Where: "provenance: a backlink leads to a relation", Err: ErrNoRelation})
	}
	return e
}

// present is a node that something in state refers to.
func (m *Module) present(r state.Reader, k nodeKey) *pb.Node {
	n, ok := m.node(r, k.A, k.B, k.C)
	if !ok {
		panic(&state.Fault{Where: "provenance: a reference leads to a node", Err: ErrNotFound})
	}
	return n
}

// reached is one node of a trace.
type reached struct {
	node  nodeKey
	depth uint32
	hop   hop
}

// trace is what to follow from where.
type trace struct {
	start    nodeKey
	down     bool
	maxDepth uint32
	kinds    [lastKind + 1]bool
	asOf     int64 // relations registered later are not followed
}

// follow walks breadth first and returns the nodes from position skip on, at most
// limit and one more, so that the caller knows whether more follow.
func (m *Module) follow(r state.Reader, t trace, skip, limit int) ([]reached, error) {
	var page []reached
	seen := map[nodeKey]bool{t.start: true}
	count, read := 0, 0
	// The last kind that is followed: what comes after it need not be read.
	last := lastKind
	for last > 0 && !t.kinds[last] {
		last--
	}
	for queue := []reached{{node: t.start}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at.depth == t.maxDepth {
			break
		}
		full := false
		m.hops(r, at.node, t.down, func(h hop) bool {
			if read++; read > maxTraced {
				return false
			}
			other := keyOf(h.other)
			if h.kind > last {
				return false
			}
			if !t.kinds[h.kind] || h.registeredAt > t.asOf || seen[other] {
				return true
			}
			seen[other] = true
			next := reached{node: other, depth: at.depth + 1, hop: h}
			if count >= skip {
				page = append(page, next)
			}
			count++
			next.hop = hop{}
			queue = append(queue, next)
			full = len(page) > limit
			return !full
		})
		if read > maxTraced {
			return nil, ErrTraceTooLarge.With("more than %d", maxTraced)
		}
		if full {
			break
		}
	}
	return page, nil
}

// traceToken is where the next page starts: the version of the start, the time of
// the first page, how many nodes were returned, and what the request asked for.
type traceToken struct {
	version  uint32
	asOf     int64
	returned uint64
	digest   [8]byte
}

const traceTokenSize = 4 + 8 + 8 + 8

func (t traceToken) encode() []byte {
	out := binary.BigEndian.AppendUint32(nil, t.version)
	out = binary.BigEndian.AppendUint64(out, uint64(t.asOf))
	out = binary.BigEndian.AppendUint64(out, t.returned)
	return append(out, t.digest[:]...)
}

func decodeTraceToken(b []byte) (t traceToken, ok bool) {
	if len(b) != traceTokenSize {
		return t, false
	}
	t.version = binary.BigEndian.Uint32(b)
	t.asOf = int64(binary.BigEndian.Uint64(b[4:]))
	t.returned = binary.BigEndian.Uint64(b[12:])
	copy(t.digest[:], b[20:])
	return t, t.asOf >= 0 && t.returned < maxTraced
}

// digestOf is what must be the same in the requests for all pages of a trace.
func digestOf(req *pb.TraceRequest, down bool) (out [8]byte) {
	same := &pb.TraceRequest{Start: req.Start, MaxDepth: req.MaxDepth, Kinds: req.Kinds}
	raw, err := same.MarshalVT()
	if err != nil {
		panic(&state.Fault{Where: "marshal a request", Err: err})
	}
	if down {
		raw = append(raw, 1)
	}
	sum := sha256.Sum256(raw)
	copy(out[:], sum[:])
	return out
}

func (m *Module) trace(r chain.ReadCtx, req *pb.TraceRequest, down bool) (*pb.TraceResponse, error) {
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	t := trace{down: down, maxDepth: req.MaxDepth, asOf: r.Time()}
	if t.maxDepth == 0 {
		t.maxDepth = defaultDepth
	}
	if t.maxDepth > maxDepth {
		return nil, ErrBadQuery.With("max_depth is at most %d", maxDepth)
	}
	if t.kinds, err = kindSet(req.Kinds); err != nil {
		return nil, err
	}
	digest, start := digestOf(req, down), req.Start.CloneVT()
	var token traceToken
	if len(req.PageToken) > 0 {
		var ok bool
		if token, ok = decodeTraceToken(req.PageToken); !ok || token.digest != digest || token.asOf > r.Time() {
			return nil, ErrBadPage.With("the token belongs to another request")
		}
		t.asOf, start.Version = token.asOf, token.version
	}
	ref, err := m.startOf(r, start, down)
	if err != nil {
		return nil, err
	}
	t.start = keyOf(ref)
	page, err := m.follow(r, t, int(token.returned), limit)
	if err != nil {
		return nil, err
	}
	out := &pb.TraceResponse{AsOf: t.asOf}
	if len(page) > limit {
		page = page[:limit]
		out.NextPageToken = traceToken{ref.Version, t.asOf, token.returned + uint64(limit), digest}.encode()
	}
	for _, p := range page {
		s := &pb.Step{Node: refOf(p.node), Depth: p.depth, Via: m.via(r, p.hop)}
		if p.node.A != "" {
			n := m.present(r, p.node)
			s.Kind, s.Status = kindOf(n), n.Status
		}
		out.Steps = append(out.Steps, s)
	}
	return out, nil
}

// startOf finds the node that a query starts from. An external one must be allowed.
func (m *Module) startOf(r chain.ReadCtx, ref *pb.Ref, external bool) (*pb.Ref, error) {
	if err := checkRef("start", ref); err != nil {
		return nil, ErrBadQuery.Wrap(err)
	}
	if ref.External != "" {
		if !external {
			return nil, ErrBadQuery.With("nothing is known of what an external reference came from")
		}
		return ref, nil
	}
	if ref.Organisation == "" {
		return nil, ErrBadQuery.With("organisation is missing")
	}
	n, ok := m.node(r, ref.Organisation, ref.Id, ref.Version)
	if !ok {
		return nil, ErrNotFound.With("%s of %s, version %d", ref.Id, ref.Organisation, ref.Version)
	}
	return n.Ref, nil
}

func kindSet(kinds []pb.RelationKind) (set [lastKind + 1]bool, err error) {
	for _, k := range kinds {
		if !isKind(k) {
			return set, ErrBadQuery.With("kind %d is unknown", k)
		}
		set[k] = true
	}
	if len(kinds) == 0 {
		for k := pb.RelationKind(1); k <= lastTraced; k++ {
			set[k] = true
		}
	}
	return set, nil
}

// neighbourhood is a node and what is near it, in both directions over every kind:
// at most maxNodes nodes, and every relation that was passed and has both ends
// among them or external.
func (m *Module) neighbourhood(r state.Reader, start *pb.Ref, depth uint32, maxNodes int) (nodes []*pb.Node, edges []*pb.Edge, truncated bool) {
	seen, passed := map[nodeKey]bool{keyOf(start): true}, map[string]bool{}
	read := 0
	for queue := []reached{{node: keyOf(start)}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		nodes = append(nodes, m.present(r, at.node))
		pass := func(e *pb.Edge, other *pb.Ref) bool {
			if read++; read > maxExported {
				truncated = true
				return false
			}
			if other != nil && other.External == "" && !seen[keyOf(other)] {
				k := keyOf(other)
				if at.depth == depth {
					return true
				}
				if len(seen) == maxNodes {
					truncated = true
					return true
				}
				seen[k] = true
				queue = append(queue, reached{node: k, depth: at.depth + 1})
			}
			if !passed[string(e.Id)] {
				passed[string(e.Id)] = true
				edges = append(edges, e)
			}
			return true
		}
		for _, e := range m.out.Walk(r, state.Under(nodeCodec, at.node)) {
			if !pass(e, e.Relation.Object) {
				break
			}
		}
		m.hops(r, at.node, true, func(h hop) bool { return pass(m.via(r, h), h.other) })
	}
	slices.SortFunc(nodes, func(a, b *pb.Node) int {
		return bytes.Compare(nodeCodec.Encode(nil, keyOf(a.Ref)), nodeCodec.Encode(nil, keyOf(b.Ref)))
	})
	slices.SortFunc(edges, func(a, b *pb.Edge) int {
		if a.Relation.Kind != b.Relation.Kind {
			return int(a.Relation.Kind) - int(b.Relation.Kind)
		}
		return bytes.Compare(a.Id, b.Id)
	})
	return nodes, edges, truncated
}
