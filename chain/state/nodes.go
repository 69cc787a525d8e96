package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe" //determinism:allow for where nodes lie, which changes nothing of what they are
)

// ref is the number of a node of the trees in memory, none for no node. Leaves have odd
// numbers. Nodes refer to each other by numbers and lie side by side in slabs, because the
// collector of garbage would otherwise look at each of them, at its key and at its value
// whenever it runs: at five million keys that was a quarter of all processor time.
type ref uint32

const (
	none ref = 0
	// nowhere is a leaf that there cannot be.
	nowhere ref = math.MaxUint32
)

func (r ref) leaf() bool { return r&1 != 0 }

const (
	slabBits = 12
	slabSize = 1 << slabBits // nodes
	// manySlabs are made at a time once there are as many, and a quarter of what there is, but
	// no more than mostSlabs, when there are more.
	manySlabs = 32
	mostSlabs = 256
	// mostSlots is how many nodes of a kind can have a number.
	mostSlots = 1<<31 - 1
)

var errTooMany = errors.New("the tree has as many nodes as it can")

// leaf is a key and its value.
type leaf struct {
	hash    [sha256.Size]byte
	born    uint64 // the version, and in the last 16 bits the length of the key
	content []byte // the key and the value behind it
}

const (
	keyBits     = 16
	mostKey     = 1<<keyBits - 1
	mostVersion = 1<<(63-keyBits) - 1
)

func leafOf(version int64, content []byte, key int) leaf {
	return leaf{born: uint64(version)<<keyBits | uint64(key), content: content}
}

func (l *leaf) version() int64 { return int64(l.born >> keyBits) }

func (l *leaf) key() []byte {
	n := l.born & mostKey
	return l.content[:n:n]
}

func (l *leaf) value() []byte { return l.content[l.born&mostKey:] }

// join is a key and a value in one piece: that in which they lie, where they do.
func join(key, value []byte) []byte {
	if n := len(key) + len(value); len(value) > 0 && cap(key) >= n {
		if both := key[:n:n]; &both[len(key)] == &value[0] {
			return both
		}
	}
	both := make([]byte, 0, len(key)+len(value))
	return append(append(both, key...), value...)
}

// inner is a node with two sides. It is named after the least key of its right side.
type inner struct {
	hash    [sha256.Size]byte // known once the version was applied
	version int64
	sides   [2]ref // left and right
	least   ref    // the leaf that it is named after
	size    uint32 // leaves
	height  int8
	// What a key is compared to on its way down, instead of names that are far away. That
	// these are no more than it says is all that counts.
	split  uint8            // how many bytes the name and the key before it begin with alike
	common uint8            // how many bytes all keys below begin with alike
	window [windowSize]byte // what the name has behind those
}

const (
	windowSize = 5
	longest    = math.MaxUint8 // that split and common can be
)

// The sides of a node, and steps of a path.
const left, right = 0, 1

// seen is the window as a number, and show makes it that of a name.
func (n *inner) seen() uint64 {
	return uint64(n.window[0])<<32 | uint64(binary.BigEndian.Uint32(n.window[1:]))
}

func (n *inner) show(name []byte) {
	seen := windowOf(name, int(n.common))
	n.window[0] = byte(seen >> 32)
	binary.BigEndian.PutUint32(n.window[1:], uint32(seen))
}

// nodeSize is what a node of either kind takes, without key and value.
const nodeSize = 64

// slots are the places of the nodes of one kind.
type slots struct {
	used int      // from the first on
	free []uint32 // of these, such as hold no node
}

// room adds slabs, which never move, until a slot is in one. It tells advise of their memory.
func room[T leaf | inner](slabs []*[slabSize]T, slot uint32, advise func([]byte)) []*[slabSize]T {
	if int(slot>>slabBits) < len(slabs) {
		return slabs
	}
	if len(slabs) < manySlabs {
		return append(slabs, new([slabSize]T))
	}
	more := make([][slabSize]T, max(manySlabs, min(len(slabs)/4, mostSlabs)))
	if advise != nil {
		advise(unsafe.Slice((*byte)(unsafe.Pointer(&more[0])), len(more)*slabSize*nodeSize)) //nolint:gosec // the whole of it, and no more
	}
	for i := range more {
		slabs = append(slabs, &more[i])
	}
	return slabs
}

// view reads the nodes that there were when it was made.
type view struct {
	leaves []*[slabSize]leaf
	inners []*[slabSize]inner
}

func (v *view) leaf(r ref) *leaf { return &v.leaves[r>>(slabBits+1)][r>>1%slabSize] }

func (v *view) inner(r ref) *inner { return &v.inners[r>>(slabBits+1)][r>>1%slabSize] }

// holds tells whether a leaf was there when the view was made, or has a slot that was.
func (v *view) holds(r ref) bool { return int(r>>(slabBits+1)) < len(v.leaves) }

// name is the key that an inner node is named after.
func (v *view) name(n *inner) []byte { return v.leaf(n.least).key() }

func (v *view) hash(r ref) *[sha256.Size]byte {
	if r.leaf() {
		return &v.leaf(r).hash
	}
	return &v.inner(r).hash
}

// about is what a node is to the one above it.
type about struct {
	size   uint32 // leaves
	height int8
	common uint8
}

func (v *view) about(r ref) about {
	if r.leaf() {
		return about{size: 1, common: longest}
	}
	n := v.inner(r)
	return about{n.size, n.height, n.common}
}

// size is how many leaves are below r, which may be none.
func (v *view) size(r ref) uint32 {
	if r == none {
		return 0
	}
	return v.about(r).size
}

func (v *view) height(r ref) int8 { return v.about(r).height }

// nodes holds all nodes of the versions of a tree. One goroutine makes and frees them; those
// of saved versions never change, and are free once nobody can read a version that has them.
type nodes struct {
	view
	ofLeaves, ofInners slots
	advise             func([]byte)  // may be nil
	generations        []*generation // of the versions that may be read, ascending
	//determinism:allow counts what the collector found; which slot a node has changes nothing
	unread *atomic.Int64 // generations that nobody can read any more
}

// generation is what nodes know of a saved version.
type generation struct {
	version int64
	// orphans are nodes that the version has and that the next one that may be read has not.
	orphans []ref
	//determinism:allow tells what the collector found; which slot a node has changes nothing
	unread atomic.Bool
}

func newNodes(advise func([]byte)) *nodes {
	n := &nodes{advise: advise, unread: new(atomic.Int64)} //determinism:allow see nodes
	// Whoever follows a node that was freed comes to none, and no further.
	_, x := n.newInner()
	*x = inner{sides: [2]ref{nowhere, nowhere}}
	return n
}

// publish makes the next version, in which the orphans of the latest one are not.
func (n *nodes) publish(s *memorySnapshot, orphans []ref) {
	if last := len(n.generations) - 1; last >= 0 {
		n.generations[last].orphans = orphans
	}
	g := &generation{version: s.version}
	n.generations = append(n.generations, g)
	unread := n.unread
	//determinism:allow which slots are free changes where nodes lie, and nothing else
	runtime.AddCleanup(s, func(g *generation) {
		g.unread.Store(true)
		unread.Add(1)
	}, g)
}

// reclaim frees what only the oldest of the versions that nobody can read any more had. It
// is called when a node is to be made and no slot is free, so that the work is spread.
func (n *nodes) reclaim() {
	if n.unread.Load() == 0 {
		return
	}
	i := slices.IndexFunc(n.generations, func(g *generation) bool { return g.unread.Load() })
	if i < 0 {
		return // it is being told of
	}
	n.unread.Add(-1)
	orphans := n.generations[i].orphans
	n.generations = slices.Delete(n.generations, i, i+1)
	if i == 0 {
		n.free(orphans)
		return
	}
	before := n.generations[i-1]
	for _, r := range orphans {
		if n.version(r) > before.version {
			n.give(r)
		} else {
			before.orphans = append(before.orphans, r)
		}
	}
}

func (n *nodes) version(r ref) int64 {
	if r.leaf() {
		return n.leaf(r).version()
	}
	return n.inner(r).version
}

func (n *nodes) free(refs []ref) {
	for _, r := range refs {
		n.give(r)
	}
}

// give frees a node. What was in it is gone, so that nobody mistakes it for one.
func (n *nodes) give(r ref) {
	if r.leaf() {
		*n.leaf(r) = leaf{}
		n.ofLeaves.free = append(n.ofLeaves.free, uint32(r>>1))
		return
	}
	*n.inner(r) = inner{}
	n.ofInners.free = append(n.ofInners.free, uint32(r>>1))
}

// take is a slot that holds no node. There may be no room for it yet.
func (n *nodes) take(s *slots) uint32 {
	if len(s.free) == 0 {
		n.reclaim()
	}
	if last := len(s.free) - 1; last >= 0 {
		slot := s.free[last]
		s.free = s.free[:last]
		return slot
	}
	if s.used >= mostSlots {
		fault("make a node", errTooMany)
	}
	s.used++
	return uint32(s.used - 1)
}

// newLeaf and newInner make nodes without anything in them.
func (n *nodes) newLeaf() (ref, *leaf) {
	slot := n.take(&n.ofLeaves)
	n.leaves = room(n.leaves, slot, n.advise)
	r := ref(slot<<1 | 1)
	return r, n.leaf(r)
}

func (n *nodes) newInner() (ref, *inner) {
	slot := n.take(&n.ofInners)
	n.inners = room(n.inners, slot, n.advise)
	r := ref(slot << 1)
	return r, n.inner(r)
}
