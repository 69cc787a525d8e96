package consensus

import (
	"context"
	"errors"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
)

// PrepareProposal builds a block, its docket first, from the pool and executes it on the way, so that
// whatever it proposes has passed the very rules by which ProcessProposal judges. What is
// demanded comes first; where something that is due has no place, nothing else has, SPEC I4.
// It stops at the block's size or work, at part of the time that proposing may take, and at
// what validators lately executed in as long. It begins no sooner than the pause after the latest block is over.
// When nothing waits it gives a first transaction a while to come, so that an idle chain
// makes few blocks and a busy one loses no time. It proposes nothing by a version of the
// state machine that this program does not know, SPEC U5.
func (a *application) PrepareProposal(_ context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	if err := a.app.Executable(); err != nil {
		return nil, err
	}
	a.before = a.proposer
	// The others wait since now: what it rests, and waits for a transaction, is of that time. An
	// idle chain needs little of the time for building, and waits a part of that as well.
	asked := time.Now()
	latest := asked.Add(a.idle + a.build)
	time.Sleep(min(time.Until(a.rested), a.idle))
	a.pool.Proposing(true)
	a.pool.Gather(a.build / 4)
	a.pool.Await(time.Until(asked.Add(a.idle + a.idle/4)))
	a.pool.Proposing(false)
	a.pool.Hush()
	defer a.pool.Speak()
	header, begun := headerOf(req.Height, req.Time), time.Now()
	build := min(a.build, time.Until(latest))
	deadline := begun.Add(build)
	votes := a.votes(req.Height, req.LocalLastCommit, req.MaxTxBytes)
	if a.deaf {
		votes = nil
	}
	x := a.app.Begin(header, votes...)
	reported := misbehaviour(req.Misbehavior)
	x.Report(reported)
	most := a.pace.within(build)
	var txs [][]byte
	bytes := 0
	var evict, later []tx.ID
	size := protoSize(chain.DocketSize(votes))
	take := func(d *tx.Decoded, due bool) Next {
		if a.omit != nil && a.omit(d, due) {
			return Continue
		}
		before := size
		size += protoSize(len(d.Raw)) + chain.MaxVerdict
		if size > req.MaxTxBytes {
			return Stop
		}
		_, err := x.Deliver(d)
		switch {
		case err == nil:
			txs, bytes = append(txs, d.Raw), bytes+len(d.Raw)
		case errors.Is(err, chain.ErrOverQuota):
			size = before
			return SkipLane
		case errors.Is(err, chain.ErrBlockFull):
			size = before
			return Stop
		default:
			size = before
			if !retryable(err) {
				evict = append(evict, d.ID)
				break
			}
			later = append(later, d.ID)
			if len(later) > mostRefused {
				return SkipLane
			}
		}
		if !due && len(txs) >= most || time.Now().After(deadline) {
			return Stop
		}
		return Continue
	}
	next, first := Continue, make(map[tx.ID]bool)
	for _, w := range x.Wanted() {
		if d := a.pool.lookup(w.ID); d != nil && next != Stop {
			first[w.ID] = true
			next = take(d, w.Due)
		}
	}
	if left := x.Wanted(); next != Stop && (len(left) == 0 || !left[0].Due || a.deaf) {
		foresee := func(ds []*tx.Decoded) { x.Foresee(ds, a.patience) }
		a.pool.Candidates(room{most - len(txs), req.MaxTxBytes - size}, foresee, func(d *tx.Decoded) Next {
			if first[d.ID] {
				return Continue
			}
			next = take(d, false)
			return next
		})
	}
	a.pool.Proposed(bytes, next == Stop)
	txs = slices.Insert(txs, 0, x.Docket(req.LocalLastCommit.Round, votes))
	block := x.End()
	a.candidates.add(proposal{header, txs, reported}, block)
	a.pool.Evict(evict...)
	a.pool.Postpone(later...)
	a.metrics.proposals.WithLabelValues("prepared").Inc()
	a.metrics.proposed.Observe(float64(len(block.Record.Txs)))
	a.took = time.Since(begun)
	a.metrics.preparing.Observe(a.took.Seconds())
	a.metrics.spanAll("propose", begun, idsOf(block.Record))
	if a.bend != nil {
		txs = a.bend(txs)
	}
	return &abci.ResponsePrepareProposal{Txs: txs}, nil
}

// patience lets what a proposer looks at together take a quarter of the time that it builds a
// block for. Of transactions that are much work each, a block would otherwise hold one, after
// many were looked at in vain.
func (a *application) patience() (lost func() bool) {
	begun := time.Now()
	return func() bool { return time.Since(begun) > a.build/4 }
}

// mostRefused is how many transactions a proposer tries for which there is no room, until
// each further one ends its organisation's turn. They are postponed, so the next block
// gets beyond them.
const mostRefused = 64

// protoSize is what a transaction of n bytes takes in a block: the engine's
// accounting of one tag byte and the length's varint besides the bytes.
func protoSize(n int) int64 {
	size := int64(n) + 2
	for n >= 0x80 {
		size++
		n >>= 7
	}
	return size
}
