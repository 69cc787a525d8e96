package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// ReapTxs returns the transactions that the engine should broadcast now.
func (a *application) ReapTxs(_ context.Context, req *abci.RequestReapTxs) (*abci.ResponseReapTxs, error) {
	return &abci.ResponseReapTxs{Txs: a.pool.Reap(req.MaxBytes)}, nil
}
