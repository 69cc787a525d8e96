package keys

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"sync"
)

// Memory remembers signatures that were found good, so that a node checks each
// one once on its way from the mempool into a block. It is safe for concurrent
// use. What it holds never changes a verdict, only its cost.
type Memory struct {
	seed       [32]byte
	generation int // the size at which young becomes old

	mu         sync.RWMutex // guards young and old
	young, old map[fingerprint]struct{}
}

type fingerprint [sha256.Size]byte

// NewMemory returns a Memory of at most capacity signatures, which forgets the
// oldest first, half its capacity at a time. A capacity below 2 remembers
// nothing. The seed should be random and private to the process, so that nobody
// can prepare entries that collide.
func NewMemory(capacity int, seed [32]byte) *Memory {
	return &Memory{
		seed:       seed,
		generation: max(capacity/2, 0),
		young:      make(map[fingerprint]struct{}),
	}
}

// Knows reports whether item was given to Remember and is not yet forgotten.
func (m *Memory) Knows(item Item) bool {
	f := m.fingerprint(&item)
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.knows(f)
}

// Remember records that item's signature is valid. The caller vouches for it.
func (m *Memory) Remember(item Item) {
	f := m.fingerprint(&item)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remember(f)
}

// Verify returns what VerifyBatch returns for items, checks only those that it
// does not know, and remembers the good ones.
func (m *Memory) Verify(rand io.Reader, items []Item) []bool {
	good := make([]bool, len(items))
	fingerprints := make([]fingerprint, len(items))
	for i := range items {
		fingerprints[i] = m.fingerprint(&items[i])
	}

	var unknown []int
	m.mu.RLock()
	for i, f := range fingerprints {
		if good[i] = m.knows(f); !good[i] {
			unknown = append(unknown, i)
		}
	}
	m.mu.RUnlock()
	if len(unknown) == 0 {
		return good
	}

	claims := make([]Item, len(unknown))
	for j, i := range unknown {
		claims[j] = items[i]
	}
	verdicts := VerifyBatch(rand, claims)

	m.mu.Lock()
	defer m.mu.Unlock()
	for j, i := range unknown {
		if good[i] = verdicts[j]; good[i] {
			m.remember(fingerprints[i])
		}
	}
	return good
}

// Len returns the number of signatures that m remembers.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.young) + len(m.old)
}

// knows needs mu held for reading.
func (m *Memory) knows(f fingerprint) bool {
	if _, ok := m.young[f]; ok {
		return true
	}
	_, ok := m.old[f]
	return ok
}

// remember needs mu held for writing.
func (m *Memory) remember(f fingerprint) {
	if m.generation == 0 || m.knows(f) {
		return
	}
	if len(m.young) >= m.generation {
		m.old, m.young = m.young, make(map[fingerprint]struct{}, m.generation)
	}
	m.young[f] = struct{}{}
}

// fingerprint is SHA-256 over the seed, the type (4 bytes, big-endian) and the
// key, the message and the signature, each after its length (8 bytes, big-endian).
func (m *Memory) fingerprint(item *Item) fingerprint {
	h := sha256.New()
	h.Write(m.seed[:])
	var number [8]byte
	binary.BigEndian.PutUint32(number[:4], uint32(item.Key.Type))
	h.Write(number[:4])
	for _, field := range [...][]byte{item.Key.Bytes, item.Message, item.Signature} {
		binary.BigEndian.PutUint64(number[:], uint64(len(field)))
		h.Write(number[:])
		h.Write(field)
	}
	var f fingerprint
	h.Sum(f[:0])
	return f
}
