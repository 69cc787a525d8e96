package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/consensus/snapshots"
)

// ListSnapshots tells peers of the snapshots that this node has whole.
func (a *application) ListSnapshots(context.Context, *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	res := new(abci.ResponseListSnapshots)
	if a.snapshots == nil {
		return res, nil
	}
	for _, s := range a.snapshots.Offer() {
		hash := s.Hash()
		res.Snapshots = append(res.Snapshots, &abci.Snapshot{
			Height: uint64(s.Height), Format: snapshots.Format, Chunks: uint32(len(s.Chunks)), Hash: hash[:], Metadata: s.Marshal(),
		})
	}
	return res, nil
}
