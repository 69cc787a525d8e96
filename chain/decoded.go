package chain

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"github.com/chancery/chancery/chain/bounded"
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

// decodedCache keeps decoded transactions by their bytes, so that each
// is decoded once on its way into a block, and lets go of it then. It is bounded in bytes and not in
// number alone, and takes only what Admit let in: the lists of other transactions may
// be of any length, and empty records take a hundred times their bytes when decoded.
// No result depends on it.
type decodedCache struct {
	// Entries are under XXH64 of their bytes, much quicker than a hash that nobody can forge, and
	// the bytes themselves tell whether it is the one. Of two with the same hash one is kept.
	*bounded.Cache[uint64, *tx.Decoded]
}

func newDecodedCache(entries int, most int64) decodedCache {
	return decodedCache{bounded.New(entries, most, func(_ uint64, d *tx.Decoded) int { return len(d.Raw) })}
}

func (c decodedCache) find(raw []byte) (*tx.Decoded, bool) {
	d, ok := c.Get(xxhash.Sum64(raw))
	return d, ok && bytes.Equal(d.Raw, raw)
}

func (c decodedCache) keep(d *tx.Decoded) { c.Add(xxhash.Sum64(d.Raw), d) }

func (c decodedCache) drop(d *tx.Decoded) { c.Remove(xxhash.Sum64(d.Raw)) }
