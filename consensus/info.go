package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// Info tells the engine the last durable height, from which it replays, and the version of
// the state machine in force in its state.
func (a *application) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	return &abci.ResponseInfo{
		Data: "chancery", AppVersion: uint64(a.app.VersionIn(a.app.Tree().Latest())),
		LastBlockHeight: a.app.Tree().Version(), LastBlockAppHash: a.app.Tree().Root(),
	}, nil
}
