// Package bounded has a cache that is bounded in bytes, too. No result may depend on what is in one.
package bounded

import (
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache keeps values by key, each key's first, within a number and a number of bytes; what was used
// least gives way. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	entries *lru.Cache[K, V]
	size    func(K, V) int
	most    int64
	//determinism:allow counts what a cache holds, which no result depends on
	bytes atomic.Int64 // of entries
}

// New makes a cache of at most so many entries, at least one, and at most most bytes, of which size
// says how many one counts.
func New[K comparable, V any](entries int, most int64, size func(K, V) int) *Cache[K, V] {
	c := &Cache[K, V]{size: size, most: most}
	var err error
	c.entries, err = lru.NewWithEvict(entries, func(k K, v V) { c.bytes.Add(-int64(size(k, v))) })
	if err != nil {
		panic(fmt.Sprintf("bounded: a cache of %d entries: %v", entries, err))
	}
	return c
}

// Get is the value of a key, if it is there.
func (c *Cache[K, V]) Get(key K) (V, bool) { return c.entries.Get(key) }

// Add keeps the value of a key, unless there is one already.
func (c *Cache[K, V]) Add(key K, value V) {
	if known, _ := c.entries.ContainsOrAdd(key, value); known {
		return
	}
	c.bytes.Add(int64(c.size(key, value)))
	for c.bytes.Load() > c.most {
		if _, _, ok := c.entries.RemoveOldest(); !ok {
			return
		}
	}
}

// Remove lets go of the value of a key, if it is there.
func (c *Cache[K, V]) Remove(key K) { c.entries.Remove(key) }

// Len is how many values are kept.
func (c *Cache[K, V]) Len() int { return c.entries.Len() }

// Bytes is how many bytes they count.
func (c *Cache[K, V]) Bytes() int64 { return c.bytes.Load() }

// Values are all that are kept, those used least first.
func (c *Cache[K, V]) Values() []V { return c.entries.Values() }
