// Package recent keeps what belongs to the latest blocks in memory, within a bound of
// bytes: whoever follows the chain reads the same few blocks at the same time.
package recent

import (
	"cmp"
	"slices"
	"sync"
)

// Blocks is one value for each of the latest blocks. It is safe for concurrent use; the
// values are shared and must not be changed. Its zero value keeps only the latest one.
type Blocks[T any] struct {
	// MaxBytes is how much all values may take, but for the latest, which is always kept.
	MaxBytes int

	mu  sync.Mutex // guards all
	all []entry[T] // ascending heights
}

type entry[T any] struct {
	height int64
	size   int // bytes
	value  T
}

// Put keeps a block's value of so many bytes, in place of all from its height on.
func (b *Blocks[T]) Put(height int64, size int, value T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, _ := b.find(height)
	clear(b.all[at:])
	b.all = append(b.all[:at], entry[T]{height, size, value})
	bytes := 0
	for i := len(b.all) - 1; i >= 0; i-- {
		if bytes += b.all[i].size; bytes > b.MaxBytes && i < len(b.all)-1 {
			b.all = slices.Delete(b.all, 0, i+1)
			return
		}
	}
}

// Get is the value of a block, and whether it is kept.
func (b *Blocks[T]) Get(height int64) (value T, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.find(height)
	if !ok {
		return value, false
	}
	return b.all[at].value, true
}

func (b *Blocks[T]) find(height int64) (int, bool) {
	return slices.BinarySearchFunc(b.all, height, func(e entry[T], h int64) int { return cmp.Compare(e.height, h) })
}
