package access

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chancery/chancery/chain/bounded"
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
	entities *bounded.Cache[string, *entity]  // by stored JSON
}

func newCaches() *caches {
	return &caches{
		sets: cache[string, *policySet](cachedSets), schemas: cache[string, *cedarSchema](cachedSchemas),
		entities: bounded.New(cachedEntities, cachedBytes, func(stored string, _ *entity) int { return len(stored) }),
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
