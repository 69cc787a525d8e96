package consensus

import (
	"log/slog"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/consensus/records"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Membership says who may connect. The module identity is one.
type Membership interface {
	// NodeAllowed tells whether a node id is bound to an active organisation.
	NodeAllowed(r chain.ReadCtx, nodeID string) bool
}

// application is the ABCI application. The consensus connection calls
// InitChain, PrepareProposal, ProcessProposal, FinalizeBlock and Commit one at a
// time; everything else is concurrent.
type application struct {
	abci.BaseApplication

	app        *chain.App
	pool       *Pool
	records    *records.Log
	membership Membership
	log        *slog.Logger
	build      time.Duration // the most that building a proposal may take
	idle       time.Duration // how long a proposal waits for a first transaction

	candidates candidates
	decided    *chain.Block // applied by FinalizeBlock, not yet committed
	expired    int64        // block time of the latest sweep of the pool
}

var _ abci.Application = (*application)(nil)

func headerOf(height int64, t time.Time) chain.Header {
	return chain.Header{Height: height, Time: t.UnixMilli()}
}

// execute runs a whole block; the first transaction refused at the door ends it.
func (a *application) execute(h chain.Header, txs [][]byte) (*chain.Block, error) {
	a.preverify(txs)
	x := a.app.Begin(h)
	for _, raw := range txs {
		d, err := a.app.Decode(raw)
		if err != nil {
			return nil, err
		}
		if _, err := x.Deliver(d); err != nil {
			return nil, err
		}
	}
	return x.End(), nil
}

func abciResult(r *chainv1.TxResult) *abci.ExecTxResult {
	return &abci.ExecTxResult{
		Code: r.Code, Codespace: r.Codespace, Log: r.Log, GasUsed: int64(r.Units),
		Data: chain.Outcome(r),
	}
}

func abciUpdates(updates []chain.ValidatorUpdate) []abci.ValidatorUpdate {
	out := make([]abci.ValidatorUpdate, len(updates))
	for i, u := range updates {
		out[i] = abci.Ed25519ValidatorUpdate(u.Key.Bytes, u.Power)
	}
	return out
}

func codeOf(err error) (code uint32, codespace, log string) {
	e := errs.As(err)
	return e.Code, e.Module, err.Error()
}
