package threat

import (
	"context"

	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Response implements threatv1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Response(ctx context.Context, req *threatv1.ResponseRequest) (*threatv1.ResponseResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkHash("id", req.Id); err != nil {
		return nil, err
	}
	rec, ok := q.m.responses.Lookup(r, req.Id)
	if !ok {
		return nil, ErrNotFound.With("%x", req.Id)
	}
	return &threatv1.ResponseResponse{Response: rec}, nil
}

// Responses implements threatv1.QueryServer. They come by their ids.
func (q *queries) Responses(ctx context.Context, req *threatv1.ResponsesRequest) (*threatv1.ResponsesResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if req.Limit > 500 || len(req.PageToken) > 512 {
		return nil, ErrPage.With("limit %d, and a token of %d bytes", req.Limit, len(req.PageToken))
	}
	limit := int(req.Limit)
	if limit == 0 {
		limit = 50
	}
	out := new(threatv1.ResponsesResponse)
	if req.Subject == "" {
		out.Responses, out.NextPageToken = q.m.responses.Page(r, state.All().After(req.PageToken), limit)
		return out, nil
	}
	if !isSubject(req.Subject) {
		return nil, ErrInvalid.With("subject is no DID")
	}
	keys, next := q.m.responsesOf.Page(r, state.Under(state.String, req.Subject).After(req.PageToken), limit)
	for _, k := range keys {
		out.Responses = append(out.Responses, q.m.response(r, k.B))
	}
	out.NextPageToken = next
	return out, nil
}
