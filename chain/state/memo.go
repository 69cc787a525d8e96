package state

import "sync"

// memoSize is how many decoded values a map's memo holds, about.
const memoSize = 4096

// memo remembers what values were decoded from which bytes. It never changes a
// result, for decoding depends on the bytes alone.
type memo[V any] struct {
	//determinism:allow guards a cache of a pure function
	mu         sync.Mutex // guards young and old
	young, old map[string]V
}

// of is the value of raw, decoded at most once while it is remembered.
func (m *memo[V]) of(raw []byte, decode func([]byte) V) V {
	m.mu.Lock()
	v, ok := m.young[string(raw)]
	if !ok {
		if v, ok = m.old[string(raw)]; ok {
			m.keep(raw, v)
		}
	}
	m.mu.Unlock()
	if ok {
		return v
	}
	v = decode(raw)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(raw, v)
	return v
}

// keep needs mu held.
func (m *memo[V]) keep(raw []byte, v V) {
	if len(m.young) >= memoSize/2 || m.young == nil {
		m.old, m.young = m.young, make(map[string]V)
	}
	m.young[string(raw)] = v
}
