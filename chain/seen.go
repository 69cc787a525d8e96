package chain

import (
	"fmt"
	"sync"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// maxForgotten bounds how many blocks' ids one block forgets.
const maxForgotten = 64

// seenSet is the ids in the collection chain/seen, in memory. It is derived from
// committed state at boot and follows each commit.
type seenSet struct {
	//determinism:allow guards the set against the pool's readers; block execution alone changes it
	mu  sync.RWMutex // guards ids
	ids map[tx.ID]struct{}
}

func (s *seenSet) has(id tx.ID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[id]
	return ok
}

func (s *seenSet) add(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; len(raw) >= len(tx.ID{}); raw = raw[len(tx.ID{}):] {
		s.ids[tx.ID(raw[:len(tx.ID{})])] = struct{}{}
	}
}

func (s *seenSet) forget(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; len(raw) >= len(tx.ID{}); raw = raw[len(tx.ID{}):] {
		delete(s.ids, tx.ID(raw[:len(tx.ID{})]))
	}
}

// loadSeen adds to the set what is in committed state.
func (a *App) loadSeen(r state.Reader) {
	for height, s := range a.core.seen.Walk(r, state.All()) {
		if len(s.Ids)%len(tx.ID{}) != 0 {
			panic(&state.Fault{Where: "chain/seen", Err: fmt.Errorf("block %d holds a broken list of ids", height)})
		}
		a.seen.add(s.Ids)
	}
}

// rememberSeen writes the block's ids and forgets those of blocks of which every
// transaction is void, SPEC T9.
func (a *App) rememberSeen(ctx *Ctx, ids []byte, until int64) (forgotten [][]byte) {
	var old []uint64
	for height, s := range a.core.seen.Walk(ctx, state.All()) {
		if s.Until >= ctx.Time() || len(old) == maxForgotten {
			break
		}
		old = append(old, height)
		forgotten = append(forgotten, s.Ids)
	}
	for _, height := range old {
		a.core.seen.Remove(ctx, height)
	}
	if len(ids) > 0 {
		a.core.seen.Put(ctx, uint64(ctx.Height()), &chainv1.Seen{Ids: ids, Until: until})
	}
	return forgotten
}
