package client

import (
	"context"
	"strconv"

	"google.golang.org/grpc/metadata"
)

// heightKey is the call metadata that names the height of the state to read.
const heightKey = "chancery-height"

// Receipt is a proof that came with the answer to a query: what was looked up, and
// what was found or not found there. Package receipt verifies it offline.
type Receipt struct {
	// Bytes is the file form. Empty when the query could not be proven.
	Bytes []byte
	// Height of the state that answer and proof are about.
	Height int64
}

type proofKey struct{}

type heightOf struct{}

type wanted struct {
	receipt *Receipt
	height  int64
}

// AtHeight makes queries read the state of a height, 0 for the latest.
func AtHeight(ctx context.Context, height int64) context.Context {
	ctx = context.WithValue(ctx, heightOf{}, height)
	if height == 0 {
		return ctx
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	md = md.Copy()
	md.Set(heightKey, strconv.FormatInt(height, 10))
	return metadata.NewOutgoingContext(ctx, md)
}

// Prove makes the next query, a unary one, write its receipt to r. Without AtHeight
// it is about the node's latest state at that time, and waits for the block that
// signs it. It is written
// also when the query is refused because a record is absent: then it proves the
// absence. A query that walks a range is refused with chain.ErrNotProvable.
func Prove(ctx context.Context, r *Receipt) context.Context {
	return context.WithValue(ctx, proofKey{}, r)
}

func wantedProof(ctx context.Context) *wanted {
	r, _ := ctx.Value(proofKey{}).(*Receipt)
	if r == nil {
		return nil
	}
	h, _ := ctx.Value(heightOf{}).(int64)
	return &wanted{receipt: r, height: h}
}
