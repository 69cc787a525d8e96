package state

import (
	"testing"

	"pgregory.net/rapid"
)

// TestTableIsAMap: a table does what a map does, also where hashes crowd and wrap around at the
// end of a part, and while entries are taken out between others.
func TestTableIsAMap(t *testing.T) {
	// The first slots of a part, its last ones, and some of others.
	hash := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) uint32 { return rapid.Uint32Range(0, 40).Draw(t, "low") }),
		rapid.Custom(func(t *rapid.T) uint32 { return 1<<(32-partBits) - 1 - rapid.Uint32Range(0, 40).Draw(t, "high") }),
		rapid.Uint32(),
	)
	rapid.Check(t, func(t *rapid.T) {
		var table table
		want := make(map[uint32]ref)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			h := hash.Draw(t, "hash")
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				table.drop(h)
				delete(want, h)
			} else {
				r := ref(rapid.Uint32Range(1, 1<<32-1).Draw(t, "node"))
				table.set(h, r)
				want[h] = r
			}
			if got := table.get(h); got != want[h] {
				t.Fatalf("%x has node %d, want %d", h, got, want[h])
			}
		}
		for h, r := range want {
			if got := table.get(h); got != r {
				t.Fatalf("%x has node %d, want %d", h, got, r)
			}
		}
		n, used := 0, 0
		for i := range table {
			n += table[i].n
			for _, s := range table[i].slots {
				if s != 0 {
					used++
				}
			}
		}
		if n != len(want) || used != len(want) {
			t.Fatalf("%d entries in %d slots, want %d", n, used, len(want))
		}
	})
}

// BenchmarkTable looks up hashes of a large table beside those of a map.
func BenchmarkTable(b *testing.B) {
	const n = 4 << 20
	var t table
	m := make(map[uint32]ref)
	spread := func(i int) uint32 { return uint32(i) * 2654435769 }
	for i := range n {
		t.set(spread(i), ref(i+1))
		m[spread(i)] = ref(i + 1)
	}
	b.Run("table", func(b *testing.B) {
		for i := range b.N {
			if t.get(spread(i*7919%n)) == none {
				b.Fatal("an entry is missing")
			}
		}
	})
	b.Run("map", func(b *testing.B) {
		for i := range b.N {
			if m[spread(i*7919%n)] == none {
				b.Fatal("an entry is missing")
			}
		}
	})
}
