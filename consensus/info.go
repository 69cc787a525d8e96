package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// AppVersion is the version of the consensus rules of chain/SPEC.md.
const AppVersion = 1

// Info tells the engine the last durable height, from which it replays.
func (a *application) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	return &abci.ResponseInfo{
		Data: "chancery", AppVersion: AppVersion,
		LastBlockHeight: a.app.Tree().Version(), LastBlockAppHash: a.app.Tree().Root(),
	}, nil
}
