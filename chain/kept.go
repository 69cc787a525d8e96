package chain

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
)

// keptStates is of how many committed states it is remembered what queries worked out.
const keptStates = 4

// stateID tells committed states apart.
type stateID struct {
	version int64
	root    string
}

// kept is what queries worked out of one committed state.
type kept struct {
	env     env
	written *written
	//determinism:allow guards what queries share; no transaction and no block reads it
	mu     sync.Mutex     // guards values
	values map[string]any // by owner
}

func newKeptStates() *lru.Cache[stateID, *kept] {
	c, err := lru.New[stateID, *kept](keptStates)
	if err != nil {
		panic("chain: a cache of fixed size: " + err.Error())
	}
	return c
}

// Kept is what an owner, a module by its name, keeps beside the committed state that a
// query reads: what work returned for it on the first call for that state. All queries share it,
// at the same time, so it must be safe for that, must depend on nothing but the state, and
// must bound itself. There is none in a transaction or a block, nor where it is noted for a
// proof what is read.
func Kept[V any](r ReadCtx, owner string, work func(ReadCtx) V) (V, bool) {
	v, ok := r.(*view)
	if !ok || v.kept == nil {
		var zero V
		return zero, false
	}
	v.kept.mu.Lock()
	defer v.kept.mu.Unlock()
	if value, ok := v.kept.values[owner].(V); ok {
		return value, true
	}
	value := work(r)
	v.kept.values[owner] = value
	return value, true
}
