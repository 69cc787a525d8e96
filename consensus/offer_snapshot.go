package consensus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/consensus/snapshots"
)

// OfferSnapshot begins to restore a snapshot, in place of one that was begun. Its
// description comes from a peer and must be in form; its root must be the app hash that
// the light client trusts.
func (a *application) OfferSnapshot(_ context.Context, req *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	answer := func(r abci.ResponseOfferSnapshot_Result, reason string) (*abci.ResponseOfferSnapshot, error) {
		a.log.Warn("refusing a snapshot", "height", req.Snapshot.GetHeight(), "reason", reason)
		return &abci.ResponseOfferSnapshot{Result: r}, nil
	}
	s := req.Snapshot
	a.restoringMu.Lock()
	defer a.restoringMu.Unlock()
	a.restoring.abandon()
	a.restoring = nil
	switch {
	case s == nil || s.Height == 0 || s.Height > math.MaxInt64:
		return answer(abci.ResponseOfferSnapshot_REJECT, "it has no height")
	case a.app.Tree().Version() != 0:
		return answer(abci.ResponseOfferSnapshot_ABORT, "there is a state already")
	case s.Format != snapshots.Format:
		return answer(abci.ResponseOfferSnapshot_REJECT_FORMAT, "its format is unknown to this version of the program")
	}
	d, err := snapshots.Parse(s.Metadata)
	if err != nil {
		return answer(abci.ResponseOfferSnapshot_REJECT_SENDER, err.Error())
	}
	hash := sha256.Sum256(s.Metadata)
	switch {
	case !bytes.Equal(hash[:], s.Hash) || int(s.Chunks) != len(d.Chunks):
		return answer(abci.ResponseOfferSnapshot_REJECT_SENDER, "its description is not what its hash or its number of chunks say")
	case !bytes.Equal(d.Root, req.AppHash):
		return answer(abci.ResponseOfferSnapshot_REJECT_SENDER, "its root is not the app hash of that height, which the validators signed")
	}
	a.restored.Store(0)
	a.wanted.Store(int64(len(d.Chunks)))
	a.restoring = restore(a.app, int64(s.Height), d)
	a.log.Info("restoring a snapshot", "height", s.Height, "bytes", d.Size, "chunks", len(d.Chunks))
	return &abci.ResponseOfferSnapshot{Result: abci.ResponseOfferSnapshot_ACCEPT}, nil
}
