package state

import "sync"

const (
	// memoSize is how many decoded values a map's memo holds, about, and memoBytes how
	// many bytes they were decoded from.
	memoSize  = 32 << 10
	memoBytes = 64 << 20
	// memoLarge is the bytes beyond which a value is remembered by where it lies alone, and
	// not by its bytes too.
	memoLarge = 1 << 10
)

// place is where a value lies. State never changes bytes that it gave out, and as
// long as a place is kept its memory is not used for anything else.
type place struct {
	first *byte
	n     int
}

// memo remembers what values were decoded from which bytes. It never changes a
// result, for decoding depends on the bytes alone. Where they lie is asked first: that
// touches none of them, which are far from the processor where many authors take turns. A
// tree on disk hands out the same bytes at another place now and then.
type memo[V any] struct {
	//determinism:allow guards a cache of a pure function
	mu       sync.Mutex // guards both
	at       generations[place, V]
	contents generations[string, V] // of small values
}

// of is the value of raw, decoded at most once while it is remembered.
func (m *memo[V]) of(raw []byte, decode func([]byte) V) V {
	v, ok := m.lookup(raw)
	if !ok {
		v = decode(raw)
		m.keep(raw, v)
	}
	return v
}

func (m *memo[V]) lookup(raw []byte) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.at.lookup(placeOf(raw), len(raw))
	if ok || len(raw) > memoLarge {
		return v, ok
	}
	// Spelled out, so that looking up does not copy raw.
	v, ok = m.contents.young[string(raw)]
	if !ok {
		if v, ok = m.contents.old[string(raw)]; ok {
			m.contents.keep(string(raw), v, len(raw))
		}
	}
	if ok {
		m.at.keep(placeOf(raw), v, len(raw))
	}
	return v, ok
}

func (m *memo[V]) keep(raw []byte, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at.keep(placeOf(raw), v, len(raw))
	if len(raw) <= memoLarge {
		m.contents.keep(string(raw), v, len(raw))
	}
}

func placeOf(raw []byte) place { return place{&raw[0], len(raw)} }

// generations is a bounded map that forgets what was not used lately.
type generations[K comparable, V any] struct {
	young, old map[K]V
	bytes      int // of young
}

func (g *generations[K, V]) lookup(k K, size int) (V, bool) {
	v, ok := g.young[k]
	if !ok {
		if v, ok = g.old[k]; ok {
			g.keep(k, v, size)
		}
	}
	return v, ok
}

func (g *generations[K, V]) keep(k K, v V, size int) {
	if len(g.young) >= memoSize/2 || g.bytes+size > memoBytes/2 || g.young == nil {
		g.old, g.young, g.bytes = g.young, make(map[K]V), 0
	}
	g.young[k], g.bytes = v, g.bytes+size
}
