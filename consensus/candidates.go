package consensus

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// candidateKey identifies an executed block by everything its execution depends
// on: height, time, transactions and misbehaviour.
type candidateKey [sha256.Size]byte

func keyOf(h chain.Header, txs [][]byte, misbehaviour []*chainv1.Misbehaviour) candidateKey {
	hash := sha256.New()
	number := func(v int64) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(v))
		hash.Write(n[:])
	}
	number(h.Height)
	number(h.Time)
	number(int64(len(misbehaviour)))
	for _, m := range misbehaviour {
		number(int64(m.Kind))
		number(int64(len(m.Validator)))
		hash.Write(m.Validator)
		for _, v := range []int64{m.Height, m.Time, m.Power, m.Total} {
			number(v)
		}
	}
	for _, t := range txs {
		number(int64(len(t)))
		hash.Write(t)
	}
	return candidateKey(hash.Sum(nil))
}

// maxCandidates is how many executed blocks of one height are kept: one per round
// that got as far as a proposal.
const maxCandidates = 4

// candidates are blocks that were executed once and may be decided.
type candidates struct {
	mu     sync.Mutex // guards all below
	blocks map[candidateKey]*chain.Block
	order  []candidateKey // oldest first
}

func (c *candidates) lookup(k candidateKey) (*chain.Block, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.blocks[k]
	return b, ok
}

func (c *candidates) add(k candidateKey, b *chain.Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks == nil {
		c.blocks = make(map[candidateKey]*chain.Block)
	}
	if _, ok := c.blocks[k]; ok {
		return
	}
	if len(c.order) == maxCandidates {
		delete(c.blocks, c.order[0])
		c.order = c.order[1:]
	}
	c.blocks[k] = b
	c.order = append(c.order, k)
}

func (c *candidates) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.blocks)
	c.order = nil
}
