package rpc

import (
	"bytes"
	"context"
	_ "embed"
	"errors"

	"google.golang.org/genproto/googleapis/api/httpbody"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/consensus/records"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

type nodeService struct {
	nodev1.UnimplementedNodeServer
	s *Server
}

// Status implements nodev1.NodeServer.
func (n *nodeService) Status(context.Context, *nodev1.StatusRequest) (*nodev1.StatusResponse, error) {
	oldest, err := n.s.records.Oldest()
	if err != nil {
		return nil, err
	}
	status := n.s.engine.Status()
	status.OldestRecord = oldest
	status.OldestState = n.s.app.Tree().Oldest()
	return status, nil
}

//go:embed openapi.json
var openAPI []byte

// OpenAPI implements nodev1.NodeServer.
func (n *nodeService) OpenAPI(context.Context, *nodev1.OpenAPIRequest) (*httpbody.HttpBody, error) {
	return &httpbody.HttpBody{ContentType: "application/json", Data: openAPI}, nil
}

// Genesis implements nodev1.NodeServer.
func (n *nodeService) Genesis(_ *nodev1.GenesisRequest, stream nodev1.Node_GenesisServer) error {
	for part := range parts(n.s.genesis) {
		if err := stream.Send(&nodev1.GenesisResponse{Part: part}); err != nil {
			return err
		}
	}
	return nil
}

// parts cuts bytes for a stream.
func parts(raw []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(raw) > 0 {
			n := min(len(raw), partBytes)
			if !yield(raw[:n]) {
				return
			}
			raw = raw[n:]
		}
	}
}

// Block implements nodev1.NodeServer.
func (n *nodeService) Block(_ context.Context, req *nodev1.BlockRequest) (*nodev1.BlockResponse, error) {
	height, err := n.height(req.Height)
	if err != nil {
		return nil, err
	}
	record, err := n.s.records.Block(height)
	if errors.Is(err, records.ErrNoBlock) {
		return nil, ErrNoBlock.With("block %d; those from %d to %d are here", height, n.s.oldest(), n.s.records.Head())
	}
	if err != nil {
		return nil, err
	}
	resp := &nodev1.BlockResponse{Record: record}
	light, err := n.s.engine.LightBlock(height)
	if errors.Is(err, chain.ErrBadHeight) {
		return resp, nil
	}
	if err != nil {
		return nil, err
	}
	resp.SignedHeader, err = light.SignedHeader.ToProto().Marshal()
	return resp, err
}

func (n *nodeService) height(asked int64) (int64, error) {
	if asked < 0 {
		return 0, ErrBadRequest.With("height is %d", asked)
	}
	if asked == 0 {
		return n.s.records.Head(), nil
	}
	return asked, nil
}

// LightBlock implements nodev1.NodeServer.
func (n *nodeService) LightBlock(_ context.Context, req *nodev1.LightBlockRequest) (*nodev1.LightBlockResponse, error) {
	height, err := n.height(req.Height)
	if err != nil {
		return nil, err
	}
	light, err := n.s.engine.LightBlock(height)
	if err != nil {
		return nil, err
	}
	pb, err := light.ToProto()
	if err != nil {
		return nil, err
	}
	raw, err := pb.Marshal()
	if err != nil {
		return nil, err
	}
	return &nodev1.LightBlockResponse{LightBlock: raw}, nil
}

// maxHeaders is the most headers of one answer.
const maxHeaders = 500

// Headers implements nodev1.NodeServer.
func (n *nodeService) Headers(_ context.Context, req *nodev1.HeadersRequest) (*nodev1.HeadersResponse, error) {
	if req.Height < 1 {
		return nil, ErrBadRequest.With("height is %d", req.Height)
	}
	limit := int64(req.Limit)
	if limit == 0 || limit > maxHeaders {
		limit = maxHeaders
	}
	resp := new(nodev1.HeadersResponse)
	for height := req.Height; height < req.Height+limit && height <= n.s.records.Head(); height++ {
		header, ok := n.s.engine.Header(height)
		if !ok {
			break
		}
		raw, err := header.ToProto().Marshal()
		if err != nil {
			return nil, err
		}
		resp.Headers = append(resp.Headers, raw)
	}
	if len(resp.Headers) == 0 {
		return nil, chain.ErrBadHeight.With("no header of block %d", req.Height)
	}
	return resp, nil
}

// Params implements nodev1.NodeServer.
func (n *nodeService) Params(ctx context.Context, _ *nodev1.ParamsRequest) (*nodev1.ParamsResponse, error) {
	r, err := snapshots{n.s}.At(ctx)
	if err != nil {
		return nil, err
	}
	return &nodev1.ParamsResponse{Params: n.s.app.Params(r)}, nil
}

// Collections implements nodev1.NodeServer.
func (n *nodeService) Collections(context.Context, *nodev1.CollectionsRequest) (*nodev1.CollectionsResponse, error) {
	resp := new(nodev1.CollectionsResponse)
	for _, c := range n.s.app.Registry().Collections() {
		resp.Collections = append(resp.Collections, &nodev1.Collection{Name: c.Name, Prefix: c.Prefix, Key: c.Key, Value: c.Value})
	}
	return resp, nil
}

// Export implements nodev1.NodeServer.
func (n *nodeService) Export(req *nodev1.ExportRequest, stream nodev1.Node_ExportServer) error {
	if !n.s.heavy.take() {
		return ErrBusy.With("another export or walk of the state is under way")
	}
	defer n.s.heavy.give()
	if req.Height < 0 {
		return ErrBadRequest.With("height is %d", req.Height)
	}
	r, snapshot, err := n.s.app.View(req.Height)
	if err != nil {
		return err
	}
	raw, err := n.s.app.ExportGenesis(r)
	if err != nil {
		return err
	}
	height := snapshot.Version()
	for part := range parts(raw) {
		resp := &nodev1.ExportResponse{Part: part, Height: height}
		height = 0
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	return nil
}

// State implements nodev1.NodeServer.
func (n *nodeService) State(req *nodev1.StateRequest, stream nodev1.Node_StateServer) error {
	if !n.s.heavy.take() {
		return ErrBusy.With("another export or walk of the state is under way")
	}
	defer n.s.heavy.give()
	if req.Height < 0 {
		return ErrBadRequest.With("height is %d", req.Height)
	}
	_, snapshot, err := n.s.app.View(req.Height)
	if err != nil {
		return err
	}
	start, end := req.Prefix, state.After(req.Prefix)
	if bytes.Compare(req.After, start) >= 0 && len(req.After) > 0 {
		start = append(bytes.Clone(req.After), 0)
	}
	resp := &nodev1.StateResponse{Height: snapshot.Version()}
	size := 0
	flush := func() error {
		out := resp
		resp, size = &nodev1.StateResponse{Height: snapshot.Version()}, 0
		return stream.Send(out)
	}
	if end != nil && bytes.Compare(start, end) >= 0 {
		return flush()
	}
	for k, v := range snapshot.Walk(start, end, false) {
		resp.Pairs = append(resp.Pairs, &nodev1.Pair{Key: k, Value: v})
		if size += len(k) + len(v); size >= partBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// Hashes implements nodev1.NodeServer.
func (n *nodeService) Hashes(ctx context.Context, req *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	if !n.s.heavy.take() {
		return nil, ErrBusy.With("another export or walk of the state is under way")
	}
	defer n.s.heavy.give()
	resp, err := n.s.engine.Hashes(ctx, req)
	if errors.Is(err, divergence.ErrQuestion) {
		return nil, ErrBadRequest.Wrap(err)
	}
	if fault := new(state.Fault); errors.As(err, &fault) {
		panic(fault) // as other reads raise it
	}
	return resp, err
}
