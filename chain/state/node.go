package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	ics23 "github.com/cosmos/ics23/go"
)

// node is a node of the tree in memory. Its shape and its hash are those of IAVL:
// a leaf holds a key and its value; an inner node holds the least key of its right
// side; the heights of two sides differ by one at most; and the version is that in
// which the node came to be. Nodes of saved versions never change.
type node struct {
	key     []byte
	value   []byte // of a leaf
	left    *node  // nil: a leaf
	right   *node
	version int64
	hash    [sha256.Size]byte
	size    uint32 // leaves
	height  int8
	hashed  bool
}

// nodeSize is what a node takes, without its key and value.
const nodeSize = 112

func (n *node) leaf() bool { return n.left == nil }

// content is the bytes of a leaf's key and value.
func (n *node) content() int64 { return int64(len(n.key) + len(n.value)) }

// measure computes height and size from the two sides.
func (n *node) measure() {
	n.height = max(n.left.height, n.right.height) + 1
	n.size = n.left.size + n.right.size
}

// writer changes a tree to its next version. It copies a node of a saved version
// and changes one of its own version in place.
type writer struct {
	version int64
	created int   // nodes
	content int64 // bytes of keys and values, more than before
	leaves  []*node
	buf     []byte
}

func (w *writer) leaf(key, value []byte) *node {
	w.created++
	w.content += int64(len(key) + len(value))
	n := &node{key: key, value: value, version: w.version, size: 1}
	w.leaves = append(w.leaves, n)
	return n
}

func (w *writer) inner(key []byte, left, right *node) *node {
	w.created++
	n := &node{key: key, left: left, right: right, version: w.version}
	n.measure()
	return n
}

// own is the inner node to change: n, or a copy of it.
func (w *writer) own(n *node) *node {
	if n.version != w.version {
		w.created++
		n = &node{key: n.key, left: n.left, right: n.right, version: w.version, size: n.size, height: n.height}
	}
	n.hashed = false
	return n
}

// apply makes one change to the tree of root, nil for the empty one.
func (w *writer) apply(root *node, c Change) *node {
	switch {
	case c.Value != nil && root == nil:
		return w.leaf(c.Key, c.Value)
	case c.Value != nil:
		root, _ = w.set(root, c.Key, c.Value)
	case root.find(c.Key) != nil:
		root, _ = w.remove(root, c.Key)
	}
	return root
}

func (w *writer) set(n *node, key, value []byte) (_ *node, added bool) {
	order := bytes.Compare(key, n.key)
	if n.leaf() {
		switch {
		case order < 0:
			return w.inner(n.key, w.leaf(key, value), n), true
		case order > 0:
			return w.inner(key, n, w.leaf(key, value)), true
		default:
			w.content -= n.content()
			return w.leaf(n.key, value), false
		}
	}
	n = w.own(n)
	if order < 0 {
		n.left, added = w.set(n.left, key, value)
	} else {
		n.right, added = w.set(n.right, key, value)
	}
	if !added {
		return n, false
	}
	n.measure()
	return w.balance(n), true
}

// remove takes out a key that the tree of n holds. It returns what stands in n's
// place, nil for nothing, and the new least key of that, when it has become another.
func (w *writer) remove(n *node, key []byte) (_ *node, least []byte) {
	if n.leaf() {
		w.content -= n.content()
		return nil, nil
	}
	if bytes.Compare(key, n.key) < 0 {
		left, least := w.remove(n.left, key)
		if left == nil {
			return n.right, n.key
		}
		n = w.own(n)
		n.left = left
		n.measure()
		return w.balance(n), least
	}
	right, least := w.remove(n.right, key)
	if right == nil {
		return n.left, nil
	}
	n = w.own(n)
	n.right = right
	if least != nil {
		n.key = least
	}
	n.measure()
	return w.balance(n), nil
}

// balance rotates n, which is the writer's own, where one side is higher by two.
func (w *writer) balance(n *node) *node {
	switch tilt := n.left.height - n.right.height; {
	case tilt > 1:
		if n.left.left.height < n.left.right.height {
			n.left = w.rotateLeft(w.own(n.left))
		}
		return w.rotateRight(n)
	case tilt < -1:
		if n.right.left.height > n.right.right.height {
			n.right = w.rotateRight(w.own(n.right))
		}
		return w.rotateLeft(n)
	default:
		return n
	}
}

func (w *writer) rotateRight(n *node) *node {
	top := w.own(n.left)
	n.left, top.right = top.right, n
	n.measure()
	top.measure()
	return top
}

func (w *writer) rotateLeft(n *node) *node {
	top := w.own(n.right)
	n.right, top.left = top.left, n
	n.measure()
	top.measure()
	return top
}

// hash computes the hashes of n and below that are not known.
func (w *writer) hash(n *node) {
	if n.hashed {
		return
	}
	if !n.leaf() {
		w.hash(n.left)
		w.hash(n.right)
	}
	b := n.prefix(w.buf[:0])
	if n.leaf() {
		b = binary.AppendUvarint(b, uint64(len(n.key)))
		b = append(b, n.key...)
		sum := sha256.Sum256(n.value)
		b = append(b, sha256.Size)
		b = append(b, sum[:]...)
	} else {
		b = append(b, sha256.Size)
		b = append(b, n.left.hash[:]...)
		b = append(b, sha256.Size)
		b = append(b, n.right.hash[:]...)
	}
	n.hash, n.hashed = sha256.Sum256(b), true
	w.buf = b
}

// prefix appends what the hash of a node begins with.
func (n *node) prefix(dst []byte) []byte {
	dst = binary.AppendVarint(dst, int64(n.height))
	dst = binary.AppendVarint(dst, int64(n.size))
	return binary.AppendVarint(dst, n.version)
}

// rootHash is the hash of a tree whose hashes are known: of the empty one, the
// hash of nothing.
func rootHash(n *node) []byte {
	if n == nil {
		sum := sha256.Sum256(nil)
		return sum[:]
	}
	return bytes.Clone(n.hash[:])
}

// find is the leaf of key, or nil.
func (n *node) find(key []byte) *node {
	if n == nil {
		return nil
	}
	for !n.leaf() {
		if bytes.Compare(key, n.key) < 0 {
			n = n.left
		} else {
			n = n.right
		}
	}
	if !bytes.Equal(n.key, key) {
		return nil
	}
	return n
}

// walk yields the pairs of Reader.Walk below n and tells whether to go on.
func (n *node) walk(start, end []byte, reverse bool, yield func(k, v []byte) bool) bool {
	if n.leaf() {
		if bytes.Compare(n.key, start) < 0 || end != nil && bytes.Compare(n.key, end) >= 0 {
			return true
		}
		return yield(n.key, n.value)
	}
	left := bytes.Compare(start, n.key) < 0
	right := end == nil || bytes.Compare(n.key, end) < 0
	if reverse {
		return (!right || n.right.walk(start, end, reverse, yield)) && (!left || n.left.walk(start, end, reverse, yield))
	}
	return (!left || n.left.walk(start, end, reverse, yield)) && (!right || n.right.walk(start, end, reverse, yield))
}

// neighbours are the leaf before key and the leaf after it, nil where there is none.
func (n *node) neighbours(key []byte) (before, after *node) {
	for !n.leaf() {
		if bytes.Compare(key, n.key) < 0 {
			after, n = n.right, n.left
		} else {
			before, n = n.left, n.right
		}
	}
	// The two found so far are the nearest sides; their outermost leaves count.
	for before != nil && !before.leaf() {
		before = before.right
	}
	for after != nil && !after.leaf() {
		after = after.left
	}
	if bytes.Compare(n.key, key) < 0 {
		return n, after
	}
	return before, n
}

// prove is the proof that key has its value, or that it has none.
func (n *node) prove(key []byte) *ics23.CommitmentProof {
	if n.find(key) != nil {
		return &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Exist{Exist: n.proveExistence(key)}}
	}
	absent := &ics23.NonExistenceProof{Key: key}
	before, after := n.neighbours(key)
	if before != nil {
		absent.Left = n.proveExistence(before.key)
	}
	if after != nil {
		absent.Right = n.proveExistence(after.key)
	}
	return &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Nonexist{Nonexist: absent}}
}

// proveExistence is the proof of a key that the tree holds.
func (n *node) proveExistence(key []byte) *ics23.ExistenceProof {
	path := make([]*ics23.InnerOp, n.height)
	i := len(path) // filled from the end: the root's step is the last
	for ; !n.leaf(); i-- {
		op := &ics23.InnerOp{Hash: ics23.HashOp_SHA256, Prefix: n.prefix(nil)}
		if bytes.Compare(key, n.key) < 0 {
			op.Prefix = append(op.Prefix, sha256.Size)
			op.Suffix = append([]byte{sha256.Size}, n.right.hash[:]...)
			n = n.left
		} else {
			op.Prefix = append(op.Prefix, sha256.Size)
			op.Prefix = append(op.Prefix, n.left.hash[:]...)
			op.Prefix = append(op.Prefix, sha256.Size)
			n = n.right
		}
		path[i-1] = op
	}
	return &ics23.ExistenceProof{
		Key: n.key, Value: n.value, Path: path[i:],
		Leaf: &ics23.LeafOp{
			Hash: ics23.HashOp_SHA256, PrehashValue: ics23.HashOp_SHA256, Length: ics23.LengthOp_VAR_PROTO,
			Prefix: n.prefix(nil),
		},
	}
}
