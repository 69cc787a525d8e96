// Package keys is listed as one in which a mutex may stand, and nothing else that is concurrent.
package keys

import "sync"

type memory struct {
	mu   sync.Mutex
	rw   sync.RWMutex
	once sync.Once // want `sync.Once is refused`
}

func (m *memory) warm() {
	go m.once.Do(func() {}) // want `a goroutine is refused`
}
