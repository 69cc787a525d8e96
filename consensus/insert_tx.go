package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain"
)

// InsertTx takes a transaction from a peer. It is only queued here: the pool
// checks it in a batch. A full queue asks the engine to take it again later.
func (a *application) InsertTx(_ context.Context, req *abci.RequestInsertTx) (*abci.ResponseInsertTx, error) {
	if !a.pool.Offer(req.Tx) {
		return &abci.ResponseInsertTx{Code: chain.ErrBusy.Code}, nil
	}
	return &abci.ResponseInsertTx{Code: abci.CodeTypeOK}, nil
}
