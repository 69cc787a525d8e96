package consensus

import (
	"sync"
	"time"
)

// banFor is how long a peer that was caught lying may not connect.
const banFor = 10 * time.Minute

// bans are peers that were caught lying, until when they may not connect. A start forgets
// them.
type bans struct {
	mu    sync.Mutex // guards until
	until map[string]time.Time
}

// add bans a node.
func (b *bans) add(nodeID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = make(map[string]time.Time)
	}
	b.until[nodeID] = now().Add(banFor)
}

// has tells whether a node is banned.
func (b *bans) has(nodeID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.until[nodeID]
	if ok && !now().Before(until) {
		delete(b.until, nodeID)
		ok = false
	}
	return ok
}
