package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain/tx"
)

// sweepEvery is how much block time passes between two sweeps of the pool for
// void transactions, in milliseconds.
const sweepEvery = 1000

// Commit makes the decided block durable: its records first, then its state, so
// that a committed state always has its records. An error halts the node at the
// previous height, and the engine replays the block after a restart. RetainHeight stays
// 0: the engine would prune within the block, and leave behind headers that evidence
// needs; the pruner does it beside the blocks.
func (a *application) Commit(context.Context, *abci.RequestCommit) (*abci.ResponseCommit, error) {
	if a.decided == nil {
		return nil, errors.New("Commit without FinalizeBlock")
	}
	record, demanded, begun := a.decided.Record, a.decided.Demanded, time.Now()
	a.mu.Lock()
	appended := a.appended
	a.appended = nil
	a.mu.Unlock()
	if _, err := appended.wait(); err != nil {
		return nil, err
	}
	written := time.Now()
	if err := a.app.Commit(); err != nil {
		return nil, fmt.Errorf("commit block %d: %w", record.Height, err)
	}
	size := 0
	for _, raw := range a.decidedTxs {
		size += len(raw)
	}
	a.recent.Put(record.Height, size, a.decidedTxs)
	a.lately.Put(record.Height, size, a.decided.Txs)
	a.candidates.clear()
	ids := make([]tx.ID, len(record.Txs))
	for i, t := range record.Txs {
		ids[i] = tx.ID(t.TxId)
	}
	a.pool.Committed(size, a.decidedTxs, ids...)
	a.decided, a.decidedTxs = nil, nil
	// Where powers are equal, who came before this node the last time does so again.
	if len(a.before) > 0 && bytes.Equal(a.proposer, a.before) {
		a.pool.Soon()
	}
	a.metrics.committing.WithLabelValues("records").Observe(written.Sub(begun).Seconds())
	a.metrics.committing.WithLabelValues("state").Observe(time.Since(written).Seconds())
	a.metrics.committed(record, size)
	a.metrics.spanAll("commit", begun, idsOf(record))
	a.pool.Urge(demanded...)
	if record.Time-a.expired >= sweepEvery {
		a.expired = record.Time
		a.pool.Expire(record.Time)
	}
	a.records.Publish(record.Height)
	a.snapshot(record.Height)
	if err := a.app.Executable(); err != nil {
		a.stopAtUpgrade(err)
	}
	return &abci.ResponseCommit{}, nil
}
