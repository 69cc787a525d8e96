package access

import lru "github.com/hashicorp/golang-lru/v2"

const (
	cachedSets        = 64
	cachedSchemas     = 32
	cachedEntities    = 8192
	cachedEntityBytes = 2 << 10
)

// caches keep parsed forms by content, so no result depends on them. All
// goroutines of a node share them.
type caches struct {
	sets     *lru.Cache[string, *policySet]   // by documentsHash
	schemas  *lru.Cache[string, *cedarSchema] // by schemaHash
	entities *lru.Cache[string, *entity]      // by stored JSON
}

func newCaches() *caches {
	return &caches{sets: cache[*policySet](cachedSets), schemas: cache[*cedarSchema](cachedSchemas), entities: cache[*entity](cachedEntities)}
}

func cache[V any](size int) *lru.Cache[string, V] {
	c, err := lru.New[string, V](size)
	if err != nil {
		panic("access: a cache of fixed size: " + err.Error())
	}
	return c
}
