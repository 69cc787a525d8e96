package provenance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/multiformats/go-multihash"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	defaultPage = 50
	maxPage     = 500
	// listScan is how many pairs a page of Nodes reads at most per node of its limit.
	listScan         = 20
	maxOrigins       = 16
	maxAttributions  = 4
	maxExportDepth   = 32
	defaultExportMax = 500
	maxExportNodes   = 5000
)

// Queries is the module's query service.
type Queries struct {
	pb.UnimplementedQueryServer
	module    *Module
	snapshots chain.Snapshots
}

func pageSize(limit uint32) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit > maxPage:
		return 0, ErrBadPage.With("limit is %d", limit)
	default:
		return int(limit), nil
	}
}

// at is the state that a query reads, and the size of its pages.
func (q *Queries) at(ctx context.Context, limit uint32) (chain.ReadCtx, int, error) {
	size, err := pageSize(limit)
	if err != nil {
		return nil, 0, err
	}
	r, err := q.snapshots.At(ctx)
	return r, size, err
}

// pageOf is the part of a span, whose keys start with prefix, that follows the
// token.
func pageOf(span state.Span, prefix, token []byte) (state.Span, error) {
	if len(token) > 0 && !bytes.HasPrefix(token, prefix) {
		return span, ErrBadPage.With("the token belongs to another request")
	}
	return span.After(token), nil
}

func (q *Queries) point(ctx context.Context, req *pb.NodeRequest, want pb.NodeKind) (*pb.NodeResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	if !isOrganisation(req.Organisation) || !isID(req.Id) {
		return nil, ErrBadQuery.With("organisation or id is missing or malformed")
	}
	n, ok := q.module.node(r, req.Organisation, req.Id, req.Version)
	if !ok {
		return nil, ErrNotFound.With("%s of %s, version %d", req.Id, req.Organisation, req.Version)
	}
	if err := fitting(req.Id, n, want); err != nil {
		return nil, err
	}
	return &pb.NodeResponse{Node: n}, nil
}

// Node implements pb.QueryServer with point lookups alone.
func (q *Queries) Node(ctx context.Context, req *pb.NodeRequest) (*pb.NodeResponse, error) {
	return q.point(ctx, req, anyKind)
}

// Entity implements pb.QueryServer with point lookups alone.
func (q *Queries) Entity(ctx context.Context, req *pb.NodeRequest) (*pb.NodeResponse, error) {
	return q.point(ctx, req, entityKind)
}

// Activity implements pb.QueryServer with point lookups alone.
func (q *Queries) Activity(ctx context.Context, req *pb.NodeRequest) (*pb.NodeResponse, error) {
	return q.point(ctx, req, activityKind)
}

// Agent implements pb.QueryServer with point lookups alone.
func (q *Queries) Agent(ctx context.Context, req *pb.NodeRequest) (*pb.NodeResponse, error) {
	return q.point(ctx, req, agentKind)
}

// Nodes implements pb.QueryServer.
func (q *Queries) Nodes(ctx context.Context, req *pb.NodesRequest) (*pb.NodesResponse, error) {
	r, limit, err := q.at(ctx, req.Limit)
	if err != nil {
		return nil, err
	}
	if !isOrganisation(req.Organisation) {
		return nil, ErrBadQuery.With("organisation is missing or malformed")
	}
	span, err := pageOf(state.Under(state.String, req.Organisation), state.String.Encode(nil, req.Organisation), req.PageToken)
	if err != nil {
		return nil, err
	}
	out, scanned := &pb.NodesResponse{}, 0
	var last []byte
	for k, n := range q.module.nodes.Walk(r, span) {
		if len(out.Nodes) == limit || scanned == limit*listScan {
			out.NextPageToken = last
			break
		}
		scanned++
		last = nodeCodec.Encode(nil, k)
		if k.C == 0 && (req.Kind == anyKind || kindOf(n) == req.Kind) {
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out, nil
}

// Versions implements pb.QueryServer with point lookups alone.
func (q *Queries) Versions(ctx context.Context, req *pb.VersionsRequest) (*pb.VersionsResponse, error) {
	r, limit, err := q.at(ctx, req.Limit)
	if err != nil {
		return nil, err
	}
	first := uint32(0)
	switch len(req.PageToken) {
	case 0:
	case 4:
		first = binary.BigEndian.Uint32(req.PageToken)
	default:
		return nil, ErrBadPage.With("the token is of another query")
	}
	n, ok := q.module.node(r, req.Organisation, req.Id, first)
	if !ok {
		return nil, ErrNotFound.With("%s of %s", req.Id, req.Organisation)
	}
	if err := fitting(req.Id, n, entityKind); err != nil {
		return nil, err
	}
	out := &pb.VersionsResponse{}
	for v := n.Ref.Version; v > 0; v-- {
		if len(out.Versions) == limit {
			out.NextPageToken = binary.BigEndian.AppendUint32(nil, v)
			break
		}
		if v != n.Ref.Version {
			n = q.module.present(r, state.Join3(req.Organisation, req.Id, v))
		}
		out.Versions = append(out.Versions, n)
	}
	return out, nil
}

// Relation implements pb.QueryServer with point lookups alone.
func (q *Queries) Relation(ctx context.Context, req *pb.RelationRequest) (*pb.RelationResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	if !isKind(req.Kind) || len(req.Id) != sha256.Size {
		return nil, ErrBadQuery.With("kind or id is missing or malformed")
	}
	subject, err := q.module.startOf(r, req.Subject, false)
	if err != nil {
		return nil, err
	}
	e, ok := q.module.out.Lookup(r, edgeKeyOf(subject, req.Kind, req.Id))
	if !ok {
		return nil, ErrNoRelation.With("%x", req.Id)
	}
	return &pb.RelationResponse{Edge: e}, nil
}

// Relations implements pb.QueryServer.
func (q *Queries) Relations(ctx context.Context, req *pb.RelationsRequest) (*pb.RelationsResponse, error) {
	r, limit, err := q.at(ctx, req.Limit)
	if err != nil {
		return nil, err
	}
	if req.Direction != pb.Direction_DIRECTION_OUT && req.Direction != pb.Direction_DIRECTION_IN {
		return nil, ErrBadQuery.With("direction is missing")
	}
	if req.Kind != 0 && !isKind(req.Kind) {
		return nil, ErrBadQuery.With("kind %d is unknown", req.Kind)
	}
	down := req.Direction == pb.Direction_DIRECTION_IN
	node, err := q.module.startOf(r, req.Node, down)
	if err != nil {
		return nil, err
	}
	span, prefix := state.Under(nodeCodec, keyOf(node)), nodeCodec.Encode(nil, keyOf(node))
	if req.Kind != 0 {
		span = state.Under2(nodeCodec, state.Uint32, keyOf(node), uint32(req.Kind))
		prefix = state.Uint32.Encode(prefix, uint32(req.Kind))
	}
	if span, err = pageOf(span, prefix, req.PageToken); err != nil {
		return nil, err
	}
	out := &pb.RelationsResponse{}
	if !down {
		out.Edges, out.NextPageToken = q.module.out.Page(r, span, limit)
		return out, nil
	}
	var last []byte
	for k, b := range q.module.in.Walk(r, span) {
		if len(out.Edges) == limit {
			out.NextPageToken = last
			break
		}
		last = edgeCodec.Encode(nil, k)
		out.Edges = append(out.Edges, q.module.via(r, hop{kind: pb.RelationKind(k.B.A), id: k.B.B, subject: keyOf(b.Subject)}))
	}
	return out, nil
}

// Ancestors implements pb.QueryServer.
func (q *Queries) Ancestors(ctx context.Context, req *pb.TraceRequest) (*pb.TraceResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	return q.module.trace(r, req, false)
}

// Descendants implements pb.QueryServer.
func (q *Queries) Descendants(ctx context.Context, req *pb.TraceRequest) (*pb.TraceResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	return q.module.trace(r, req, true)
}

// ByHash implements pb.QueryServer.
func (q *Queries) ByHash(ctx context.Context, req *pb.ByHashRequest) (*pb.ByHashResponse, error) {
	r, limit, err := q.at(ctx, req.Limit)
	if err != nil {
		return nil, err
	}
	hash := req.Hash
	if len(hash) == sha256.Size {
		if hash, err = multihash.Encode(hash, multihash.SHA2_256); err != nil {
			return nil, ErrBadHash.Wrap(err)
		}
	}
	if _, err := checkHash(hash); err != nil {
		return nil, err
	}
	span, err := pageOf(state.Under(state.Bytes, hash), state.Bytes.Encode(nil, hash), req.PageToken)
	if err != nil {
		return nil, err
	}
	out := &pb.ByHashResponse{}
	keys, next := q.module.hashes.Page(r, span, limit)
	for _, k := range keys {
		out.Registrations = append(out.Registrations, q.module.registration(r, k.C))
	}
	out.NextPageToken = next
	return out, nil
}

// registration is an entity with what it came from and who it is ascribed to.
func (m *Module) registration(r state.Reader, k nodeKey) *pb.Registration {
	out := &pb.Registration{Node: m.present(r, k)}
	for ek, e := range m.out.Walk(r, state.Under(nodeCodec, k)) {
		if ek.B.A > uint32(lastLineage) || len(out.Edges) == maxOrigins {
			break
		}
		out.Edges = append(out.Edges, e)
	}
	attributions, _ := m.out.Page(r, state.Under2(nodeCodec, state.Uint32, k, uint32(pb.RelationKind_RELATION_KIND_ATTRIBUTION)), maxAttributions)
	out.Edges = append(out.Edges, attributions...)
	return out
}

// Anchor implements pb.QueryServer with point lookups alone.
func (q *Queries) Anchor(ctx context.Context, req *pb.AnchorRequest) (*pb.AnchorResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	if !isOrganisation(req.Organisation) || !isID(req.Id) {
		return nil, ErrBadQuery.With("organisation or id is missing or malformed")
	}
	a, ok := q.module.anchors.Lookup(r, state.Join(req.Organisation, req.Id))
	if !ok {
		return nil, ErrNoAnchor.With("%s of %s", req.Id, req.Organisation)
	}
	return &pb.AnchorResponse{Anchor: a}, nil
}

// AnchorsByRoot implements pb.QueryServer.
func (q *Queries) AnchorsByRoot(ctx context.Context, req *pb.AnchorsByRootRequest) (*pb.AnchorsByRootResponse, error) {
	r, limit, err := q.at(ctx, req.Limit)
	if err != nil {
		return nil, err
	}
	if len(req.Root) != sha256.Size {
		return nil, ErrBadQuery.With("root has %d bytes", len(req.Root))
	}
	span, err := pageOf(state.Under(state.Bytes, req.Root), state.Bytes.Encode(nil, req.Root), req.PageToken)
	if err != nil {
		return nil, err
	}
	out := &pb.AnchorsByRootResponse{}
	keys, next := q.module.roots.Page(r, span, limit)
	for _, k := range keys {
		a, ok := q.module.anchors.Lookup(r, k.C)
		if !ok {
			panic(&state.Fault{Where: "provenance: a root leads to an anchor", Err: ErrNoAnchor})
		}
		out.Anchors = append(out.Anchors, a)
	}
	out.NextPageToken = next
	return out, nil
}

// Export implements pb.QueryServer.
func (q *Queries) Export(ctx context.Context, req *pb.ExportRequest) (*pb.ExportResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	depth, most := req.MaxDepth, req.MaxNodes
	if depth == 0 {
		depth = 1
	}
	if most == 0 {
		most = defaultExportMax
	}
	if depth > maxExportDepth || most > maxExportNodes {
		return nil, ErrBadQuery.With("max_depth is at most %d, max_nodes at most %d", maxExportDepth, maxExportNodes)
	}
	start, err := q.module.startOf(r, req.Start, false)
	if err != nil {
		return nil, err
	}
	out := &pb.ExportResponse{}
	d := document{}
	d.nodes, d.edges, out.Truncated = q.module.neighbourhood(r, start, depth, int(most))
	switch req.Format {
	case pb.ExportFormat_EXPORT_FORMAT_UNSPECIFIED, pb.ExportFormat_EXPORT_FORMAT_PROV_JSON:
		out.Document, out.MediaType = d.json(), "application/json"
	case pb.ExportFormat_EXPORT_FORMAT_PROV_N:
		out.Document, out.MediaType = d.provN(), "text/provenance-notation"
	default:
		return nil, ErrBadQuery.With("format %d is unknown", req.Format)
	}
	return out, nil
}
