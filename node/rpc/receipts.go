package rpc

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/receipt"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

type receiptsService struct {
	nodev1.UnimplementedReceiptsServer
	s *Server
}

// Build implements nodev1.ReceiptsServer.
func (r *receiptsService) Build(ctx context.Context, req *nodev1.BuildRequest) (*nodev1.BuildResponse, error) {
	if req.Height < 0 {
		return nil, ErrBadRequest.With("height is %d", req.Height)
	}
	if n := len(req.Keys); n == 0 || n > receipt.MaxEntries {
		return nil, receipt.ErrNoEntries.With("%d keys", n)
	}
	keys := make([][]byte, len(req.Keys))
	for i, k := range req.Keys {
		if k == nil {
			return nil, ErrBadRequest.With("keys[%d] is empty", i)
		}
		if c, ok := r.s.app.Registry().Of(k.Key); k.Collection != "" && (!ok || c.Name != k.Collection) {
			return nil, receipt.ErrUnknownKeys.With("keys[%d] is not one of %s", i, k.Collection)
		}
		keys[i] = k.Key
	}
	height, err := r.s.provable(ctx, req.Height)
	if err != nil {
		return nil, err
	}
	_, snapshot, err := r.s.app.View(height)
	if err != nil {
		return nil, err
	}
	raw, err := r.s.builder.Build(snapshot, keys)
	if err != nil {
		return nil, err
	}
	return &nodev1.BuildResponse{Receipt: raw, Height: snapshot.Version()}, nil
}

// History implements nodev1.ReceiptsServer.
func (r *receiptsService) History(_ context.Context, req *nodev1.HistoryRequest) (*nodev1.HistoryResponse, error) {
	if req.Height < 1 {
		return nil, ErrBadRequest.With("height is %d", req.Height)
	}
	links, err := r.s.builder.Links(req.Height)
	if err != nil {
		return nil, err
	}
	return &nodev1.HistoryResponse{History: links}, nil
}

// Prove implements nodev1.ReceiptsServer.
func (r *receiptsService) Prove(ctx context.Context, req *nodev1.ProveRequest) (*nodev1.ProveResponse, error) {
	q, ok := r.s.methods[req.Method]
	if !ok {
		return nil, ErrNoMethod.With("%.256q", req.Method)
	}
	if req.Height < 0 {
		return nil, ErrBadRequest.With("height is %d", req.Height)
	}
	// Who may not ask for something may not have it proven either.
	if _, _, err := r.s.allowed(ctx, req.Method); err != nil {
		return nil, err
	}
	read := &reading{height: req.Height, prove: true}
	out, err := q.handler(q.service, withReading(ctx, read), func(into any) error {
		if err := proto.Unmarshal(req.Request, into.(proto.Message)); err != nil {
			return ErrBadRequest.With("request does not parse as the request of %s", req.Method)
		}
		return nil
	}, nil)
	resp := new(nodev1.ProveResponse)
	if err != nil {
		if !answered(err) || read.snapshot == nil {
			return nil, err
		}
		e := asError(err)
		resp.Code, resp.Codespace, resp.Log = e.Code, e.Module, e.Error()
	} else {
		m, ok := out.(proto.Message)
		if !ok {
			return nil, chain.ErrInternal.With("%s answers with no message", req.Method)
		}
		if resp.Response, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
			return nil, err
		}
	}
	if resp.Receipt, err = r.s.receipt(read); err != nil {
		return nil, err
	}
	resp.Height = read.snapshot.Version()
	return resp, nil
}

// asError is the refusal in an error that answered accepts.
func asError(err error) *errs.Error {
	var e *errs.Error
	errors.As(err, &e)
	return e
}
