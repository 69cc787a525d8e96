package consensus

import (
	"bytes"
	"context"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/parallel"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// FinalizeBlock applies a decided block to the working tree. A block that was
// executed as a candidate is neither executed nor applied again. Of the state nothing is
// written to disk; the records, which nobody sees before Commit, begin to be.
func (a *application) FinalizeBlock(_ context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	if err := a.app.Executable(); err != nil {
		return nil, err
	}
	begun := time.Now()
	p := proposalOf(req.Height, req.Time, req.Txs, req.Misbehavior)
	block, ok := a.candidates.lookup(p)
	from := "candidate"
	if !ok {
		from, block = "executed", a.replay(p)
	}
	root, err := a.apply(block)
	if err != nil {
		return nil, err
	}
	a.rested = begun.Add(a.rest())
	a.metrics.finalized.WithLabelValues(from).Inc()
	a.metrics.foreseen.WithLabelValues("held").Add(float64(block.Foresight.Held))
	a.metrics.foreseen.WithLabelValues("anew").Add(float64(block.Foresight.Anew))
	a.metrics.finalizing.Observe(time.Since(begun).Seconds())
	a.metrics.evidence.Add(float64(len(req.Misbehavior)))
	a.metrics.spanAll("finalize", begun, idsOf(block.Record))
	a.watchSignature(req.DecidedLastCommit)
	a.record(block.Record)
	a.decided, a.decidedTxs, a.proposer = block, req.Txs, req.ProposerAddress
	res := &abci.ResponseFinalizeBlock{AppHash: root}
	// The docket is the first transaction to the engine, and none to the chain.
	for range len(req.Txs) - len(block.Record.Txs) {
		res.TxResults = append(res.TxResults, &abci.ExecTxResult{})
	}
	results := make([]*abci.ExecTxResult, len(block.Record.Txs))
	parallel.Each(a.app.Workers(), len(results), func(i int) { results[i] = Result(block.Record.Txs[i]) })
	res.TxResults = append(res.TxResults, results...)
	if block.Version != 0 {
		res.ConsensusParamUpdates = appVersion(block.Version)
		a.log.Info("the upgrade is carried out: a version of the state machine is in force", "height", req.Height, "version", block.Version)
	}
	// They act two blocks later. The genesis validators went out with InitChain.
	res.ValidatorUpdates = abciUpdates(block.Updates)
	return res, nil
}

// rest is how long nothing is proposed after a block: as long as the block took to execute, in
// which what was submitted meanwhile is checked, and then a further one holds more and costs each transaction less;
// but no less than the delay, and no more than late votes are waited for.
func (a *application) rest() time.Duration { return max(a.delay, min(a.took, a.pause)) }

// watchSignature counts a commit that this node's validator did not sign.
func (a *application) watchSignature(commit abci.CommitInfo) {
	for _, v := range commit.Votes {
		if bytes.Equal(v.Validator.Address, a.self()) && v.BlockIdFlag != cmtproto.BlockIDFlagCommit {
			a.metrics.missed.Inc()
		}
	}
}

// replay executes a decided block. More than two thirds accepted it, so a docket or a
// transaction that the rules refuse is possible only when they broke the rules; the
// docket's votes then do not count, and the transaction gets a result without effect,
// the same on every node.
func (a *application) replay(p proposal) *chain.Block {
	height := p.header.Height
	docket, err := a.docket(height, p.txs)
	if err != nil {
		a.log.Error("a decided block holds a docket that the rules refuse", "height", height, "reason", err)
		docket = new(chainv1.Docket)
	}
	txs := p.txs[min(1, len(p.txs)):]
	ds, _ := a.decoded(txs) // what cannot be decoded is refused below, and what follows it is looked at all the same
	x := a.app.Begin(p.header, docket.Votes...)
	x.Report(p.reported)
	x.Foresee(ds, nil)
	for i, raw := range txs {
		var d *tx.Decoded
		var err error
		if i < len(ds) {
			d = ds[i]
		} else {
			d, err = a.app.Decode(raw)
		}
		if err == nil {
			_, err = x.Deliver(d)
		}
		if err != nil {
			a.log.Error("a decided block holds a transaction that the rules refuse", "height", height, "index", i, "reason", err)
			x.Refuse(raw, err)
		}
	}
	if err == nil {
		if err := x.CheckDocket(docket); err != nil {
			a.log.Error("a decided block holds a docket that lies", "height", height, "reason", err)
		}
		if err := x.CheckInclusion(); err != nil {
			a.log.Error("a decided block leaves out what is due", "height", height, "reason", err)
		}
	}
	return x.End()
}
