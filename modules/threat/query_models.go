package threat

import (
	"context"

	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Models implements threatv1.QueryServer. There are at most 1000.
func (q *queries) Models(ctx context.Context, _ *threatv1.ModelsRequest) (*threatv1.ModelsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	out := &threatv1.ModelsResponse{Schedule: q.m.scheduleIn(r)}
	for _, rec := range q.m.models.Walk(r, state.All()) {
		out.Models = append(out.Models, rec)
	}
	return out, nil
}

// Model implements threatv1.QueryServer.
func (q *queries) Model(ctx context.Context, req *threatv1.ModelRequest) (*threatv1.ModelResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkHash("hash", req.Hash); err != nil {
		return nil, err
	}
	rec, ok := q.m.models.Lookup(r, req.Hash)
	if !ok {
		return nil, ErrNotFound.With("%x", req.Hash)
	}
	out := &threatv1.ModelResponse{Model: rec}
	if rec.Stage != threatv1.Stage_STAGE_LOADING {
		out.Bytes = q.m.modelBytes(r, rec)
	}
	return out, nil
}
