package chain

import (
	"crypto/sha256"

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

// decodedCache keeps decoded transactions by the hash of their bytes, so that each
// is decoded once on its way into a block, and lets go of it then. It is bounded in bytes and not in
// number alone, and takes only what Admit let in: the lists of other transactions may
// be of any length, and empty records take a hundred times their bytes when decoded.
// No result depends on it.
type decodedCache = bounded.Cache[[sha256.Size]byte, *tx.Decoded]

func newDecodedCache(entries int, most int64) *decodedCache {
	return bounded.New(entries, most, func(_ [sha256.Size]byte, d *tx.Decoded) int { return len(d.Raw) })
}
