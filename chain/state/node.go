package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	ics23 "github.com/cosmos/ics23/go"
)

// tree is a tree in memory. Its shape and its hashes are those of IAVL: a leaf holds a key
// and its value; an inner node is named after the least key of its right side; the heights of
// two sides differ by one at most; and the version of a node is that in which it came to be.
type tree struct {
	view
	root ref // none: empty
}

// maxHeight is more than a balanced tree of as many leaves as there may be needs.
const maxHeight = 60

// path is the way from the root of a tree down to a leaf.
type path struct {
	nodes [maxHeight + 1]ref
	steps [maxHeight]uint8 // left or right, from there on
	n     int              // of nodes, the leaf with them
	order int              // how the key that was sought compares to that of the leaf
	alike int              // bytes that these two begin with alike, where they differ
}

// down goes on from n, which is r, and returns where that leads.
func (p *path) down(r ref, n *inner, step uint8) ref {
	p.nodes[p.n], p.steps[p.n] = r, step
	p.n++
	return n.sides[step&1]
}

// end ends the path at a leaf.
func (p *path) end(r ref) {
	p.nodes[p.n] = r
	p.n++
}

// leaf is where the path ends.
func (p *path) leaf() ref { return p.nodes[p.n-1] }

// turn is the last of the first n nodes where the path goes to the right, -1 where it never does.
func (p *path) turn(n int) int {
	for n--; n >= 0 && p.steps[n] == left; n-- {
	}
	return n
}

// seek finds the path from root, which is not none, to the leaf of key, or else to one that
// key would stand beside. On the way it looks at windows of keys alone, as in a String B-tree
// (Ferragina and Grossi, Journal of the ACM 46(2), 1999, section 3): right for a key that is
// in the tree. For one that is not, the leaf that it finds tells how far down it was right.
func (v *view) seek(root ref, key []byte, p *path) {
	p.n = 0
	r := root
	for !r.leaf() {
		n := v.inner(r)
		r = p.down(r, n, v.step(key, n))
	}
	p.end(r)
	found := v.leaf(r).key()
	if p.order = bytes.Compare(key, found); p.order == 0 {
		return
	}
	p.alike = alike(key, found)
	for i := range p.n - 1 {
		if int(v.inner(p.nodes[i]).common) <= p.alike {
			continue
		}
		// All keys from here on are alike where key differs from them.
		r, p.n = p.nodes[i], i
		if p.order > 0 {
			v.outermost(r, right, p)
		} else {
			v.outermost(r, left, p)
		}
		return
	}
}

// outermost goes on from r to the first leaf below it, or to the last.
func (v *view) outermost(r ref, step uint8, p *path) {
	for !r.leaf() {
		r = p.down(r, v.inner(r), step)
	}
	p.end(r)
}

// step is to which side of n a key belongs. It is right where the key begins with what all keys
// below n begin with. No branch depends on which it is, so that the processor can go on before
// it knows.
func (v *view) step(key []byte, n *inner) uint8 {
	a, b := windowOf(key, int(n.common)), n.seen()
	if a == b {
		return step(bytes.Compare(key, v.name(n)) >= 0)
	}
	return step(a > b)
}

func step(toRight bool) uint8 {
	if toRight {
		return right
	}
	return left
}

// windowOf is the window of a key: as many bytes as a node keeps, from a place on. Beyond its
// end a key has zeros.
func windowOf(key []byte, at int) uint64 {
	const unseen = 64 - 8*windowSize
	if len(key) >= at+8 {
		return binary.BigEndian.Uint64(key[at:]) >> unseen
	}
	var b [8]byte
	copy(b[:], key[min(at, len(key)):])
	return binary.BigEndian.Uint64(b[:]) >> unseen
}

// alike is how many bytes two keys begin with alike.
func alike(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// writer changes a tree to its next version. It copies an inner node of a saved version and
// changes one of its own version in place.
type writer struct {
	*nodes
	version int64
	leaves  []ref // that it made
	inners  []ref // that it made
	orphans []ref // of saved versions, which it replaced or took out
	wasted  []ref // that it made, and took out
	content int64 // bytes of keys and values, more than before
	path    path
	buf     []byte
	seen    byte // of what was fetched
}

// discard frees all that was made.
func (w *writer) discard() {
	w.free(w.leaves)
	w.free(w.inners)
}

// measure computes what n knows of its two sides. Where they begin with other bytes than
// before, or where it has another name, the window is another, too.
func (w *writer) measure(n *inner, renamed bool) {
	a, b := w.about(n.sides[left]), w.about(n.sides[right])
	n.height, n.size = max(a.height, b.height)+1, a.size+b.size
	if common := min(n.split, a.common, b.common); common != n.common || renamed {
		n.common = common
		n.show(w.name(n))
	}
}

// create makes a leaf.
func (w *writer) create(c Change) ref {
	r, l := w.newLeaf()
	*l = leafOf(w.version, join(c.Key, c.Value), len(c.Key))
	l.hash, w.buf = hashLeaf(w.buf, w.version, c.Key, c.Value)
	w.leaves = append(w.leaves, r)
	w.content += int64(len(l.content))
	return r
}

// over makes an inner node over two leaves, of which the right one gives it its name.
func (w *writer) over(a, b ref, split int) ref {
	r, n := w.newInner()
	*n = inner{version: w.version, sides: [2]ref{a, b}, least: b, split: uint8(min(split, longest))}
	w.measure(n, true)
	w.inners = append(w.inners, r)
	return r
}

// own is the inner node to change: r, or a copy of it.
func (w *writer) own(r ref) (ref, *inner) {
	old := w.inner(r)
	if old.version == w.version {
		return r, old
	}
	own, n := w.newInner()
	*n = *old
	n.version = w.version
	w.inners = append(w.inners, own)
	w.orphans = append(w.orphans, r)
	return own, n
}

// drop takes a node out.
func (w *writer) drop(r ref) {
	switch {
	case r.leaf():
		w.content -= int64(len(w.leaf(r).content))
		w.orphans = append(w.orphans, r)
	case w.inner(r).version == w.version:
		w.wasted = append(w.wasted, r)
	default:
		w.orphans = append(w.orphans, r)
	}
}

// apply makes changes to the tree of root.
func (w *writer) apply(root ref, changes []Change) ref {
	for i, c := range changes {
		if root == none {
			if c.Value != nil {
				root = w.create(c)
			}
			continue
		}
		if i%together == 0 {
			w.fetch(root, changes[i:min(i+together, len(changes))])
		}
		w.seek(root, c.Key, &w.path)
		switch found := w.path.order == 0; {
		case found && c.Value != nil:
			root = w.replace(root, c)
		case found:
			root = w.remove()
		case c.Value != nil:
			root = w.insert(c)
		}
	}
	if root != none {
		w.hash(root)
	}
	return root
}

// together is of how many changes the nodes are fetched at a time.
const together = 16

// fetch looks at the nodes that changes will need, and at those beside them, and does nothing
// with them. Most of a large tree is far from the processor, which waits for one node after
// the other on one way down, but for many at a time on many ways that do not depend on each other.
func (w *writer) fetch(root ref, changes []Change) {
	var at [together]ref
	for i := range changes {
		at[i] = root
	}
	for more := true; more; {
		more = false
		for i, c := range changes {
			r := at[i]
			if r.leaf() {
				continue
			}
			more = true
			n := w.inner(r)
			on := w.step(c.Key, n)
			at[i] = n.sides[on&1]
			w.seen += w.view.hash(n.sides[1-on&1])[0]
		}
	}
	for i := range changes {
		w.seen += byte(bytes.Compare(changes[i].Key, w.leaf(at[i]).key()))
	}
}

// replace puts another value under the key that the path ends at.
func (w *writer) replace(root ref, c Change) ref {
	p := &w.path
	w.drop(p.leaf())
	added := w.create(c)
	named := p.turn(p.n - 1) // the node that is named after the key
	below := added
	for i := p.n - 2; i >= 0; i-- {
		r, n := w.own(p.nodes[i])
		n.sides[p.steps[i]] = below
		if i == named {
			n.least = added
		}
		if r == p.nodes[i] {
			// It is the writer's own, and so are all above it.
			if i > named && named >= 0 {
				w.inner(p.nodes[named]).least = added
			}
			return root
		}
		below = r
	}
	return below
}

// insert adds a key beside the leaf that the path ends at.
func (w *writer) insert(c Change) ref {
	p := &w.path
	beside, added := p.leaf(), w.create(c)
	var below ref
	if p.order < 0 {
		below = w.over(added, beside, p.alike)
	} else {
		below = w.over(beside, added, p.alike)
	}
	for i := p.n - 2; i >= 0; i-- {
		r, n := w.own(p.nodes[i])
		n.sides[p.steps[i]] = below
		w.measure(n, false)
		below = w.balance(r)
	}
	return below
}

// remove takes out the leaf that the path ends at. What is left is none where it was the last.
func (w *writer) remove() ref {
	p := &w.path
	w.drop(p.leaf())
	if p.n == 1 {
		return none
	}
	over := p.n - 2
	gone := w.inner(p.nodes[over])
	below, split := gone.sides[1-p.steps[over]], gone.split
	named := -1 // the node that was named after the key, if it stays
	if p.steps[over] == left {
		named = p.turn(over)
	}
	w.drop(p.nodes[over])
	for i := over - 1; i >= 0; i-- {
		r, n := w.own(p.nodes[i])
		n.sides[p.steps[i]] = below
		// One of these two gaps is now part of that of a node on the path.
		n.split = min(n.split, split)
		if i == named {
			n.least = gone.least
		}
		w.measure(n, i == named)
		below = w.balance(r)
	}
	return below
}

// balance rotates r, which is the writer's own, where one side is higher by two.
func (w *writer) balance(r ref) ref {
	n := w.inner(r)
	switch tilt := w.height(n.sides[left]) - w.height(n.sides[right]); {
	case tilt > 1:
		return w.lift(r, left)
	case tilt < -1:
		return w.lift(r, right)
	default:
		return r
	}
}

// lift puts the higher side of r above it, or what is highest below that side.
func (w *writer) lift(r ref, higher uint8) ref {
	n := w.inner(r)
	if side := w.inner(n.sides[higher]); w.height(side.sides[higher]) < w.height(side.sides[1-higher]) {
		own, _ := w.own(n.sides[higher])
		n.sides[higher] = w.rotate(own, 1-higher)
	}
	return w.rotate(r, higher)
}

// rotate puts one side of r, which is the writer's own, above it.
func (w *writer) rotate(r ref, side uint8) ref {
	n := w.inner(r)
	top, t := w.own(n.sides[side])
	n.sides[side] = t.sides[1-side]
	t.sides[1-side] = r
	w.measure(n, false)
	w.measure(t, false)
	return top
}

// hash computes the hashes of the inner nodes of this version, from r on.
func (w *writer) hash(r ref) *[sha256.Size]byte {
	if r.leaf() {
		return &w.leaf(r).hash
	}
	n := w.inner(r)
	if n.version == w.version {
		n.hash, w.buf = hashInner(w.buf, n.height, n.size, n.version, w.hash(n.sides[left]), w.hash(n.sides[right]))
	}
	return &n.hash
}

// hashLeaf and hashInner compute the hash of a node. They use buf and return it for the next.
func hashLeaf(buf []byte, version int64, key, value []byte) (_ [sha256.Size]byte, used []byte) {
	b := appendHead(buf[:0], 0, 1, version)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	sum := sha256.Sum256(value)
	b = append(b, sha256.Size)
	b = append(b, sum[:]...)
	return sha256.Sum256(b), b
}

func hashInner(buf []byte, height int8, size uint32, version int64, left, right *[sha256.Size]byte) (_ [sha256.Size]byte, used []byte) {
	b := appendHead(buf[:0], height, size, version)
	b = append(b, sha256.Size)
	b = append(b, left[:]...)
	b = append(b, sha256.Size)
	b = append(b, right[:]...)
	return sha256.Sum256(b), b
}

// appendHead appends what the hash of a node begins with.
func appendHead(dst []byte, height int8, size uint32, version int64) []byte {
	dst = binary.AppendVarint(dst, int64(height))
	dst = binary.AppendVarint(dst, int64(size))
	return binary.AppendVarint(dst, version)
}

// emptyRoot is the root hash of the empty tree: the hash of nothing.
func emptyRoot() []byte {
	sum := sha256.Sum256(nil)
	return sum[:]
}

func (t *tree) rootHash() []byte {
	if t.root == none {
		return emptyRoot()
	}
	return bytes.Clone(t.hash(t.root)[:])
}

// find is the leaf of key, or none.
func (t *tree) find(key []byte) ref {
	r := t.root
	if r == none {
		return none
	}
	for !r.leaf() {
		n := t.inner(r)
		r = n.sides[t.step(key, n)]
	}
	if !bytes.Equal(t.leaf(r).key(), key) {
		return none
	}
	return r
}

// walk yields the pairs of Reader.Walk.
func (t *tree) walk(start, end []byte, reverse bool, yield func(k, v []byte) bool) {
	var p path
	if t.root == none || !t.first(start, end, reverse, &p) {
		return
	}
	for on := step(!reverse); ; {
		l := t.leaf(p.leaf())
		key := l.key()
		if reverse && bytes.Compare(key, start) < 0 || !reverse && end != nil && bytes.Compare(key, end) >= 0 {
			return
		}
		if !yield(key, l.value()) || !t.next(&p, on) {
			return
		}
	}
}

// first goes to the leaf that a walk begins with, and tells whether there may be one.
func (t *tree) first(start, end []byte, reverse bool, p *path) bool {
	switch {
	case reverse && end == nil:
		t.outermost(t.root, right, p)
		return true
	case reverse:
		t.seek(t.root, end, p)
		return p.order > 0 || t.next(p, left)
	case len(start) == 0:
		t.outermost(t.root, left, p)
		return true
	default:
		t.seek(t.root, start, p)
		return p.order <= 0 || t.next(p, right)
	}
}

// next goes to the leaf on the right of the one that the path ends at, or on the left, and
// tells whether there is one.
func (v *view) next(p *path, on uint8) bool {
	for i := p.n - 2; i >= 0; i-- {
		if r := p.nodes[i]; p.steps[i] != on {
			p.n = i
			v.outermost(p.down(r, v.inner(r), on), 1-on, p)
			return true
		}
	}
	return false
}

// prove is the proof that key has its value, or that it has none.
func (t *tree) prove(key []byte) *ics23.CommitmentProof {
	var p path
	t.seek(t.root, key, &p)
	here := t.existence(&p)
	if p.order == 0 {
		return &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Exist{Exist: here}}
	}
	absent := &ics23.NonExistenceProof{Key: key}
	near, far := &absent.Left, &absent.Right
	if p.order < 0 {
		near, far = far, near
	}
	*near = here
	if t.next(&p, step(p.order > 0)) {
		*far = t.existence(&p)
	}
	return &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Nonexist{Nonexist: absent}}
}

// existence is the proof of the leaf that a path ends at.
func (t *tree) existence(p *path) *ics23.ExistenceProof {
	ops := make([]*ics23.InnerOp, p.n-1)
	for i := range ops {
		n, on := t.inner(p.nodes[i]), p.steps[i]
		op := &ics23.InnerOp{Hash: ics23.HashOp_SHA256, Prefix: appendHead(nil, n.height, n.size, n.version)}
		op.Prefix = append(op.Prefix, sha256.Size)
		if beside := t.hash(n.sides[1-on])[:]; on == left {
			op.Suffix = append([]byte{sha256.Size}, beside...)
		} else {
			op.Prefix = append(append(op.Prefix, beside...), sha256.Size)
		}
		ops[len(ops)-1-i] = op // the root's step is the last
	}
	l := t.leaf(p.leaf())
	return &ics23.ExistenceProof{
		Key: l.key(), Value: l.value(), Path: ops,
		Leaf: &ics23.LeafOp{
			Hash: ics23.HashOp_SHA256, PrehashValue: ics23.HashOp_SHA256, Length: ics23.LengthOp_VAR_PROTO,
			Prefix: appendHead(nil, 0, 1, l.version()),
		},
	}
}

// acceptable refuses changes that Apply does not take.
func acceptable(changes []Change) error {
	for i, c := range changes {
		if len(c.Key) > mostKey {
			return fmt.Errorf("state: a key of %d bytes, where %d is the most", len(c.Key), mostKey)
		}
		if i > 0 && bytes.Compare(changes[i-1].Key, c.Key) >= 0 {
			return fmt.Errorf("state: the change of %x stands behind that of %x", c.Key, changes[i-1].Key)
		}
	}
	return nil
}
