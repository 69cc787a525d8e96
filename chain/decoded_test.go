package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/chancery/chancery/chain/tx"
)

func TestDecodedTransactionsAreBoundedInBytes(t *testing.T) {
	c, err := newDecodedCache(100, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	key := func(i int) [sha256.Size]byte { return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))) }
	held := func() (n int64) {
		for _, d := range c.entries.Values() {
			n += int64(len(d.Raw))
		}
		return n
	}
	for i := range 1000 {
		d := &tx.Decoded{Raw: make([]byte, i%3000)}
		c.add(key(i), d)
		c.add(key(i), d) // as two callers do that decode it at one time
		if have := held(); have > 10_000 || have != c.bytes.Load() || c.entries.Len() > 100 {
			t.Fatalf("after %d: %d bytes in %d entries, counted as %d", i+1, have, c.entries.Len(), c.bytes.Load())
		}
		if got, ok := c.lookup(key(i)); !ok || got != d {
			t.Fatalf("the latest is not there")
		}
	}
	// One that is larger than all may be leaves nothing behind.
	c.add(key(1000), &tx.Decoded{Raw: make([]byte, 10_001)})
	if c.entries.Len() != 0 || c.bytes.Load() != 0 {
		t.Fatalf("%d bytes in %d entries", c.bytes.Load(), c.entries.Len())
	}
}
