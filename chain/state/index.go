package state

import (
	"bytes"
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
	leaves  map[uint64]*node
	clashes map[string]*node // leaves whose hash another key had first
	hash    func(key []byte) uint64
}

// indexSize is about what the index takes for each leaf, in bytes: a slot of the map and its
// control byte, at the map's usual load.
const indexSize = 28

func newIndex(s *memorySnapshot, hash func([]byte) uint64) *index {
	i := &index{version: s.version, leaves: make(map[uint64]*node), clashes: make(map[string]*node), hash: hash}
	if s.tree != nil {
		i.leaves = make(map[uint64]*node, s.tree.size)
		s.tree.each(i.put)
	}
	return i
}

// each visits the leaves of n.
func (n *node) each(visit func(*node)) {
	if n.leaf() {
		visit(n)
		return
	}
	n.left.each(visit)
	n.right.each(visit)
}

// put makes a leaf that of its key.
func (i *index) put(leaf *node) {
	h := i.hash(leaf.key)
	if old, ok := i.leaves[h]; ok && !bytes.Equal(old.key, leaf.key) {
		i.clashes[string(leaf.key)] = leaf
		return
	}
	i.leaves[h] = leaf
	i.forget(leaf.key)
}

// drop takes a key out.
func (i *index) drop(key []byte) {
	h := i.hash(key)
	if old, ok := i.leaves[h]; ok && bytes.Equal(old.key, key) {
		delete(i.leaves, h)
	}
	i.forget(key)
}

// forget takes a key out of the clashes, of which there are hardly ever any.
func (i *index) forget(key []byte) {
	if len(i.clashes) > 0 {
		delete(i.clashes, string(key))
	}
}

// advance takes the index to the next version, which came to be by changes and made leaves
// for those that set something.
func (i *index) advance(version int64, changes []Change, leaves []*node) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.version = version
	for _, c := range changes {
		if c.Value == nil {
			i.drop(c.Key)
		}
	}
	for _, leaf := range leaves {
		i.put(leaf)
	}
}

// find is the leaf of key at a version, or nil where it has none. It is not known where the
// key was changed after that version, or may have been removed.
func (i *index) find(version int64, key []byte) (leaf *node, known bool) {
	h := i.hash(key)
	i.mu.RLock()
	defer i.mu.RUnlock()
	leaf = i.leaves[h]
	if (leaf == nil || !bytes.Equal(leaf.key, key)) && len(i.clashes) > 0 {
		leaf = i.clashes[string(key)]
	}
	if leaf == nil || !bytes.Equal(leaf.key, key) {
		return nil, version == i.version
	}
	// A leaf comes to be when its key is set: one that is no younger than the version was
	// there at the version, and has not changed since.
	return leaf, leaf.version <= version
}
