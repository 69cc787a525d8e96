package consensus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain/state"
)

// ApplySnapshotChunk restores the next chunk. One whose hash is not that of the
// description is fetched again from another peer and its sender rejected. With the last
// chunk, the root of what was restored must be the trusted one before anything of it
// can be seen; where it is not, the description lied, and so did all who gave chunks of
// it.
func (a *application) ApplySnapshotChunk(_ context.Context, req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	a.restoringMu.Lock()
	defer a.restoringMu.Unlock()
	r := a.restoring
	if r == nil {
		return nil, fmt.Errorf("ApplySnapshotChunk without OfferSnapshot")
	}
	if int(req.Index) != r.next {
		// The engine applies them in order; anything else begins anew.
		a.log.Error("a chunk of a snapshot comes out of order", "chunk", req.Index, "expected", r.next)
		r.abandon()
		a.restoring = restore(a.app, r.height, r.of)
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_RETRY_SNAPSHOT}, nil
	}
	if sha256.Sum256(req.Chunk) != r.of.Chunks[r.next] {
		// The connection is authenticated and whole, and a member's node does not give away
		// what its own disk has changed.
		if len(req.Chunk) > 0 { // else it has none any more
			a.bans.add(req.Sender)
		}
		a.log.Warn("a peer sent a corrupted chunk of a snapshot; it is disconnected and may not connect for a while, and the chunk is fetched from another", "node", req.Sender, "banned_for", banFor, "height", r.height, "chunk", req.Index)
		return &abci.ResponseApplySnapshotChunk{
			Result: abci.ResponseApplySnapshotChunk_RETRY, RefetchChunks: []uint32{req.Index}, RejectSenders: []string{req.Sender},
		}, nil
	}
	if !slices.Contains(r.senders, req.Sender) {
		r.senders = append(r.senders, req.Sender)
	}
	done, err := r.feed(req.Chunk)
	a.restored.Store(int64(r.next))
	switch {
	case err != nil && !errors.Is(err, state.ErrImage):
		// This node's own disk: another snapshot would not help.
		a.halt(fmt.Errorf("restore the snapshot of height %d: %w", r.height, err))
		a.restoring = nil
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ABORT}, nil
	case err != nil:
		a.log.Error("a snapshot does not hold the state that its description promises; it and its senders are rejected", "height", r.height, "senders", r.senders, "error", err)
		a.restoring = nil
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT, RejectSenders: r.senders}, nil
	case done:
		a.restoring = nil
		if err := a.app.Executable(); err != nil {
			// The next start, by another program, begins anew.
			a.stopAtUpgrade(err)
			return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ABORT}, nil
		}
		if err := a.records.Begin(r.height); err != nil {
			a.halt(err)
			return nil, err
		}
		a.log.Info("restored a snapshot; its root is the app hash that the validators signed", "height", r.height, "root", fmt.Sprintf("%x", r.of.Root))
	}
	return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ACCEPT}, nil
}
