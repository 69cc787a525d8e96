package access

import (
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	cachedSets        = 64
	cachedNodes       = 4 * maxSetNodes // of the syntax trees of all cached sets
	cachedSchemas     = 32
	cachedEntities    = 65_536
	cachedBytes       = 8 << 20 // of the JSON of cached entities, which take some eight times as much parsed
	cachedEntityBytes = 2 << 10
)

// caches keep parsed forms by content, so no result depends on them. All
// goroutines of a node share them.
type caches struct {
	sets     *lru.Cache[string, *policySet]   // by documentsHash
	schemas  *lru.Cache[string, *cedarSchema] // by schemaHash
	entities *shelf[string, *entity]          // by stored JSON
}

func newCaches() *caches {
	return &caches{
		sets: cache[string, *policySet](cachedSets), schemas: cache[string, *cedarSchema](cachedSchemas),
		entities: newShelf(cachedEntities, cachedBytes, func(stored string, _ *entity) int { return len(stored) }),
	}
}

// keepSet keeps a parsed set and lets go of those that were used least until all
// together are within cachedNodes. Calls at the same time may keep a little more.
func (c *caches) keepSet(hash string, set *policySet) {
	c.sets.Add(hash, set)
	for c.sets.Len() > 1 {
		nodes := uint64(0)
		for _, s := range c.sets.Values() {
			nodes += s.nodes
		}
		if nodes <= cachedNodes {
			return
		}
		c.sets.RemoveOldest()
	}
}

func cache[K comparable, V any](size int) *lru.Cache[K, V] {
	c, err := lru.New[K, V](size)
	if err != nil {
		panic("access: a cache of fixed size: " + err.Error())
	}
	return c
}

// shelf is a cache that is bounded in bytes, too; what was used least gives way.
type shelf[K comparable, V any] struct {
	values *lru.Cache[K, V]
	size   func(K, V) int // bytes
	most   int64
	//determinism:allow counts what a cache holds, which no result depends on
	bytes atomic.Int64 // of values
}

func newShelf[K comparable, V any](entries int, most int64, size func(K, V) int) *shelf[K, V] {
	s := &shelf[K, V]{size: size, most: most}
	var err error
	s.values, err = lru.NewWithEvict(entries, func(k K, v V) { s.bytes.Add(-int64(size(k, v))) })
	if err != nil {
		panic("access: a cache of fixed size: " + err.Error())
	}
	return s
}

// Get is the value of a key, if it is there.
func (s *shelf[K, V]) Get(key K) (V, bool) { return s.values.Get(key) }

// Add keeps the value of a key, of which there is only one.
func (s *shelf[K, V]) Add(key K, value V) {
	if known, _ := s.values.ContainsOrAdd(key, value); known {
		return
	}
	s.bytes.Add(int64(s.size(key, value)))
	for s.bytes.Load() > s.most {
		if _, _, ok := s.values.RemoveOldest(); !ok {
			return
		}
	}
}
