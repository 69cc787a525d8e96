package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// CheckTx submits a transaction that came through the engine's own RPC, which is
// off by default: clients use the node's gRPC service.
func (a *application) CheckTx(ctx context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	if err := a.pool.Submit(ctx, req.Tx); err != nil {
		r := new(abci.ResponseCheckTx)
		r.Code, r.Codespace, r.Log = codeOf(err)
		return r, nil
	}
	return &abci.ResponseCheckTx{Code: abci.CodeTypeOK}, nil
}
