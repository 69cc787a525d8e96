package consensus

import (
	"context"
	"errors"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/consensus/snapshots"
)

// LoadSnapshotChunk gives a peer a chunk, or none where it is not here any more.
func (a *application) LoadSnapshotChunk(_ context.Context, req *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	if a.snapshots == nil || req.Format != snapshots.Format {
		return &abci.ResponseLoadSnapshotChunk{}, nil
	}
	chunk, err := a.snapshots.Chunk(int64(req.Height), int(req.Chunk))
	if err != nil {
		if !errors.Is(err, snapshots.ErrNoChunk) {
			a.log.Error("a chunk of a snapshot cannot be given to a peer", "height", req.Height, "chunk", req.Chunk, "error", err)
		}
		return &abci.ResponseLoadSnapshotChunk{}, nil
	}
	if a.bendChunk != nil {
		chunk = a.bendChunk(chunk)
	}
	return &abci.ResponseLoadSnapshotChunk{Chunk: chunk}, nil
}
