package state

import "sync"

const (
	// memoSize is how many decoded values a map's memo holds, about.
	memoSize = 4096
	// memoLarge is the bytes beyond which a value is remembered by where it lies
	// rather than by its bytes, and memoLargeSize how many of those are, about.
	memoLarge     = 16 << 10
	memoLargeSize = 64
)

// place is where a value lies. State never changes bytes that it gave out, and as
// long as a place is kept its memory is not used for anything else.
type place struct {
	first *byte
	n     int
}

// memo remembers what values were decoded from which bytes. It never changes a
// result, for decoding depends on the bytes alone.
type memo[V any] struct {
	//determinism:allow guards a cache of a pure function
	mu    sync.Mutex // guards both
	small generations[string, V]
	large generations[place, V]
}

// generations is a bounded map that forgets what was not used lately.
type generations[K comparable, V any] struct{ young, old map[K]V }

// of is the value of raw, decoded at most once while it is remembered.
func (m *memo[V]) of(raw []byte, decode func([]byte) V) V {
	if len(raw) > memoLarge {
		at := place{&raw[0], len(raw)}
		m.mu.Lock()
		v, ok := m.large.lookup(at, memoLargeSize/2)
		m.mu.Unlock()
		if ok {
			return v
		}
		v = decode(raw)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.large.keep(at, v, memoLargeSize/2)
		return v
	}
	m.mu.Lock()
	// Spelled out, so that looking up does not copy raw.
	v, ok := m.small.young[string(raw)]
	if !ok {
		if v, ok = m.small.old[string(raw)]; ok {
			m.small.keep(string(raw), v, memoSize/2)
		}
	}
	m.mu.Unlock()
	if ok {
		return v
	}
	v = decode(raw)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.small.keep(string(raw), v, memoSize/2)
	return v
}

func (g *generations[K, V]) lookup(k K, most int) (V, bool) {
	v, ok := g.young[k]
	if !ok {
		if v, ok = g.old[k]; ok {
			g.keep(k, v, most)
		}
	}
	return v, ok
}

func (g *generations[K, V]) keep(k K, v V, most int) {
	if len(g.young) >= most || g.young == nil {
		g.old, g.young = g.young, make(map[K]V)
	}
	g.young[k] = v
}
