package consensus

import (
	"context"
	"fmt"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain/parallel"
	"github.com/chancery/chancery/chain/tx"
)

// ProcessProposal accepts a block of which every transaction passes the door at
// its place, SPEC B1, and whose docket says what this node finds, SPEC D3. The answer depends on the block and the previous state
// alone, so honest validators never disagree.
func (a *application) ProcessProposal(_ context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	if err := a.app.Executable(); err != nil {
		// The proposer may well know it: this is no lie.
		a.log.Error("a proposal is not judged", "height", req.Height, "reason", err)
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
	}
	begun := time.Now()
	p := proposalOf(req.Height, req.Time, req.Txs, req.Misbehavior)
	if block, ok := a.candidates.lookup(p); ok {
		a.metrics.proposals.WithLabelValues("accepted").Inc()
		a.speculate(block)
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
	}
	block, err := a.execute(p)
	a.took = time.Since(begun)
	a.metrics.processing.Observe(a.took.Seconds())
	a.pace.learn(len(req.Txs)-1, a.took)
	if err != nil {
		a.metrics.proposals.WithLabelValues("refused").Inc()
		a.metrics.rejected.WithLabelValues(code(err)).Inc()
		a.log.Warn("rejecting a proposal", "height", req.Height, "proposer", fmt.Sprintf("%X", req.ProposerAddress), "reason", err)
		if a.lied != nil {
			lie := Lie{Height: req.Height, Proposer: req.ProposerAddress, Reason: err}
			if len(req.Txs) > 0 {
				lie.Docket = req.Txs[0]
			}
			a.lied(lie)
		}
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
	}
	a.metrics.proposals.WithLabelValues("accepted").Inc()
	a.metrics.spanAll("process", begun, idsOf(block.Record))
	a.candidates.add(p, block)
	a.speculate(block)
	return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
}

// decoded are a block's transactions, in order, up to the first that cannot be decoded, and
// why it cannot.
func (a *application) decoded(txs [][]byte) (ds []*tx.Decoded, err error) {
	ds = make([]*tx.Decoded, len(txs))
	errs := make([]error, len(txs))
	parallel.Each(a.app.Workers(), len(txs), func(i int) { ds[i], errs[i] = a.app.Decode(txs[i]) })
	for i, err := range errs {
		if err != nil {
			return ds[:i], err
		}
	}
	return ds, nil
}
