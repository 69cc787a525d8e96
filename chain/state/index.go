package state

import (
	"bytes"
	"runtime"
	"sync"
)

// index finds the leaves of a tree's latest version by their keys' hashes. A path from the
// root of a large tree to a leaf is some twenty nodes and as many keys, most of them far from
// the processor; the index takes it there in two steps. It is of the keys alone, so that it
// never changes what a lookup finds.
type index struct {
	//determinism:allow guards a shortcut to what every node's tree holds
	mu      sync.RWMutex
	version int64
	leaves  *table
	clashes map[string]ref // leaves whose hash another key had first
	hash    func(key []byte) uint32
}

// indexSize is about what the index takes for each leaf, in bytes: a slot of the table at its
// usual load.
const indexSize = 14

func newIndex(s *memorySnapshot, hash func([]byte) uint64) *index {
	defer runtime.KeepAlive(s)
	t := &s.tree
	i := &index{
		version: s.version, leaves: new(table), clashes: make(map[string]ref),
		hash: func(key []byte) uint32 { return uint32(hash(key)) },
	}
	if t.root == none {
		return i
	}
	var p path
	t.outermost(t.root, left, &p)
	for more := true; more; more = t.next(&p, right) {
		i.put(&t.view, p.leaf())
	}
	return i
}

// put makes a leaf that of its key.
func (i *index) put(v *view, leaf ref) {
	key := v.leaf(leaf).key()
	h := i.hash(key)
	if old := i.leaves.get(h); old != none && !bytes.Equal(v.leaf(old).key(), key) {
		i.clashes[string(key)] = leaf
		return
	}
	i.leaves.set(h, leaf)
	i.forget(key)
}

// drop takes a key out.
func (i *index) drop(v *view, key []byte) {
	h := i.hash(key)
	if old := i.leaves.get(h); old != none && bytes.Equal(v.leaf(old).key(), key) {
		i.leaves.drop(h)
	}
	i.forget(key)
}

// forget takes a key out of the clashes, of which there are hardly ever any.
func (i *index) forget(key []byte) {
	if len(i.clashes) > 0 {
		delete(i.clashes, string(key))
	}
}

// advance takes the index to the next version.
func (i *index) advance(a *applied) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.version = a.version
	v := &a.tree.view
	for _, c := range a.changes {
		if c.Value == nil {
			i.drop(v, c.Key)
		}
	}
	for _, leaf := range a.by.leaves {
		i.put(v, leaf)
	}
}

// find is the leaf of key in a version, or none where it has none. It is not known where the
// key was changed after that version, or may have been removed.
func (i *index) find(s *memorySnapshot, key []byte) (_ ref, known bool) {
	h := i.hash(key)
	i.mu.RLock()
	defer i.mu.RUnlock()
	leaf := i.leaves.get(h)
	if !s.has(leaf, key) && len(i.clashes) > 0 {
		leaf = i.clashes[string(key)]
	}
	if !s.has(leaf, key) {
		return none, s.version == i.version
	}
	// A leaf comes to be when its key is set: one that is no younger than the version was
	// there at the version, and has not changed since.
	return leaf, s.tree.leaf(leaf).version() <= s.version
}

// has tells whether a leaf of the latest version is one of key. Where the snapshot does not
// reach it, it is younger than the snapshot.
func (s *memorySnapshot) has(leaf ref, key []byte) bool {
	return leaf != none && s.tree.holds(leaf) && bytes.Equal(s.tree.leaf(leaf).key(), key)
}
