package consensus

import (
	"bytes"
	"slices"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// proposal is all that the execution of a block depends on, besides the state.
type proposal struct {
	header   chain.Header
	txs      [][]byte // the docket first
	reported []*chainv1.Misbehaviour
}

func proposalOf(height int64, t time.Time, txs [][]byte, reported []abci.Misbehavior) proposal {
	return proposal{headerOf(height, t), txs, misbehaviour(reported)}
}

// same compares byte by byte, which is much quicker than hashing them.
func (p proposal) same(q proposal) bool {
	return p.header == q.header && slices.EqualFunc(p.txs, q.txs, bytes.Equal) &&
		slices.EqualFunc(p.reported, q.reported, func(a, b *chainv1.Misbehaviour) bool { return proto.Equal(a, b) })
}

// maxCandidates is how many executed blocks of one height are kept: one per round
// that got as far as a proposal.
const maxCandidates = 4

// candidates are blocks that were executed once and may be decided.
type candidates struct {
	mu       sync.Mutex  // guards executed
	executed []candidate // of different proposals, oldest first
}

type candidate struct {
	proposal
	block *chain.Block
}

func (c *candidates) lookup(p proposal) (*chain.Block, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.index(p); i >= 0 {
		return c.executed[i].block, true
	}
	return nil, false
}

// index is where a proposal's block is, -1 where it is not. It needs mu held.
func (c *candidates) index(p proposal) int {
	return slices.IndexFunc(c.executed, func(e candidate) bool { return e.same(p) })
}

// add keeps a block, unless there is one of the same proposal.
func (c *candidates) add(p proposal, b *chain.Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index(p) >= 0 {
		return
	}
	if len(c.executed) == maxCandidates {
		c.executed = slices.Delete(c.executed, 0, 1)
	}
	p.txs = slices.Clone(p.txs)
	c.executed = append(c.executed, candidate{p, b})
}

func (c *candidates) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.executed = nil
}
