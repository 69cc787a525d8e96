package threat

import (
	"context"
	"iter"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// maxHoldsScanned bounds the records that are read for a page of one status.
const maxHoldsScanned = 2000

var (
	holdsAtCodec = state.PairOf(state.Int64, state.Bytes)
	holdsOfCodec = state.TripleOf(state.String, state.Int64, state.Bytes)
)

// Hold implements threatv1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Hold(ctx context.Context, req *threatv1.HoldRequest) (*threatv1.HoldResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkHash("tx_id", req.TxId); err != nil {
		return nil, err
	}
	h, ok := q.m.holds.Lookup(r, req.TxId)
	if !ok {
		return nil, ErrNotFound.With("%x", req.TxId)
	}
	return &threatv1.HoldResponse{Hold: h}, nil
}

// Holds implements threatv1.QueryServer.
func (q *queries) Holds(ctx context.Context, req *threatv1.HoldsRequest) (*threatv1.HoldsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(req.Limit)
	switch {
	case limit == 0:
		limit = 50
	case req.Limit > 500:
		return nil, ErrPage.With("limit %d", req.Limit)
	}
	if _, known := threatv1.HoldStatus_name[int32(req.Status)]; !known {
		return nil, ErrInvalid.With("status %d is unknown", req.Status)
	}
	ids, err := q.m.holdIDs(r, req.Organisation, req.PageToken)
	if err != nil {
		return nil, err
	}
	out := new(threatv1.HoldsResponse)
	var last []byte
	read := 0
	for token, id := range ids {
		if len(out.Holds) == limit || read == maxHoldsScanned {
			out.NextPageToken = last
			break
		}
		h, ok := q.m.holds.Lookup(r, id)
		if !ok {
			panic("threat: the index names a held transaction that has no record")
		}
		if req.Status == threatv1.HoldStatus_HOLD_STATUS_UNSPECIFIED || h.Status == req.Status {
			out.Holds = append(out.Holds, h)
		}
		last = token
		read++
	}
	return out, nil
}

// holdIDs are the ids of records of an organisation, or of all, beyond a token, the
// newest first, each with its token.
func (m *Module) holdIDs(r chain.ReadCtx, organisation string, token []byte) (iter.Seq2[[]byte, []byte], error) {
	if organisation == "" {
		if _, rest, err := holdsAtCodec.Decode(token); len(token) > 0 && (err != nil || len(rest) > 0) {
			return nil, ErrPage
		}
		return func(yield func(token, id []byte) bool) {
			for k := range m.holdsAt.Walk(r, state.All().Down().After(token)) {
				if !yield(holdsAtCodec.Encode(nil, k), k.B) {
					return
				}
			}
		}, nil
	}
	if k, rest, err := holdsOfCodec.Decode(token); len(token) > 0 && (err != nil || len(rest) > 0 || k.A != organisation) {
		return nil, ErrPage
	}
	return func(yield func(token, id []byte) bool) {
		for k := range m.holdsOf.Walk(r, state.Under(state.String, organisation).Down().After(token)) {
			if !yield(holdsOfCodec.Encode(nil, k), k.C) {
				return
			}
		}
	}, nil
}
