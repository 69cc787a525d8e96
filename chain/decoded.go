package chain

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chancery/chancery/chain/tx"
)

const (
	// decodedEntries and decodedBytes bound what is kept of decoded transactions. The
	// bytes are those of the transactions; what they take decoded is about four times
	// as much.
	decodedEntries = 50_000
	decodedBytes   = 16 << 20
	// largeTx is from which size transactions are decoded one at a time.
	largeTx = 16 << 10
)

// decodedCache keeps decoded transactions by the hash of their bytes, so that each
// is decoded once on its way through the node. It is bounded in bytes and not in
// number alone, and takes only what Admit let in: the lists of other transactions may
// be of any length, and empty records take a hundred times their bytes when decoded.
// No result depends on it.
type decodedCache struct {
	entries *lru.Cache[[sha256.Size]byte, *tx.Decoded]
	//determinism:allow counts what a cache holds, whose content never changes a verdict
	bytes atomic.Int64 // of entries
	most  int64
}

func newDecodedCache(entries int, most int64) (*decodedCache, error) {
	c := &decodedCache{most: most}
	var err error
	c.entries, err = lru.NewWithEvict(entries, func(_ [sha256.Size]byte, d *tx.Decoded) { c.bytes.Add(-int64(len(d.Raw))) })
	if err != nil {
		return nil, fmt.Errorf("make the cache of decoded transactions: %w", err)
	}
	return c, nil
}

func (c *decodedCache) lookup(key [sha256.Size]byte) (*tx.Decoded, bool) { return c.entries.Get(key) }

func (c *decodedCache) add(key [sha256.Size]byte, d *tx.Decoded) {
	if known, _ := c.entries.ContainsOrAdd(key, d); known {
		return
	}
	c.bytes.Add(int64(len(d.Raw)))
	for c.bytes.Load() > c.most {
		if _, _, ok := c.entries.RemoveOldest(); !ok {
			return
		}
	}
}
