package consensus

import (
	"crypto/sha256"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/records"
)

// committedBlocks is how many blocks' hashes are kept.
const committedBlocks = 64

// committed knows the bytes of committed transactions. A transaction's id does not
// cover its signatures, so bytes that somebody altered there have the id of the
// original, and must not be answered as it is.
type committed struct {
	records *records.Log
	inBlock func(height int64) ([][]byte, bool) // a block's transactions, its docket first; false: it is no longer here
	hashes  *lru.Cache[int64, [][sha256.Size]byte]
}

func newCommitted(r *records.Log, inBlock func(int64) ([][]byte, bool)) (*committed, error) {
	hashes, err := lru.New[int64, [][sha256.Size]byte](committedBlocks)
	if err != nil {
		return nil, fmt.Errorf("make the cache of committed blocks: %w", err)
	}
	return &committed{records: r, inBlock: inBlock, hashes: hashes}, nil
}

// other tells whether a transaction is on record as committed with other bytes
// than these.
func (c *committed) other(id tx.ID, bytes []byte) (bool, error) {
	r, ok, err := c.records.Tx(id)
	if err != nil || !ok {
		return false, err
	}
	hashes, ok := c.hashes.Get(r.Height)
	if !ok {
		txs, ok := c.inBlock(r.Height)
		if !ok {
			return false, nil
		}
		txs = txs[min(1, len(txs)):] // without the docket
		hashes = make([][sha256.Size]byte, len(txs))
		for i, raw := range txs {
			hashes[i] = sha256.Sum256(raw)
		}
		c.hashes.Add(r.Height, hashes)
	}
	if int(r.Index) >= len(hashes) {
		return false, fmt.Errorf("transaction %s is on record as number %d of block %d, which has %d", id, r.Index, r.Height, len(hashes))
	}
	return hashes[r.Index] != sha256.Sum256(bytes), nil
}
