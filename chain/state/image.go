package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
)

// An image is a file with the whole tree of one version: imageMagic, the version
// (uvarint), the root hash (32 bytes), the number of leaves (uvarint), and the nodes,
// each behind the two sides below it. A node is its height (1 byte) and its version
// (uvarint), and of a leaf also the lengths (uvarint) and bytes of key and value.
// Whoever reads it computes every hash; the root's must be the one at the front. In the
// folder of a tree in memory it is compressed; see compress.go.
const imageMagic = "CHSTIMG1"

// ErrImage says that bytes are not the image that they should be.
var ErrImage = errors.New("the image does not decode")

func writeImage(out io.Writer, s *memorySnapshot) error {
	defer runtime.KeepAlive(s)
	w := bufio.NewWriterSize(out, 1<<18)
	if err := writeImageHeader(w, s.version, s.root, uint64(s.tree.size(s.tree.root))); err != nil {
		return err
	}
	if s.tree.root != none {
		i := imageWriter{w: w, view: &s.tree.view}
		if err := i.write(s.tree.root, false); err != nil {
			return err
		}
	}
	return w.Flush()
}

func writeImageHeader(w *bufio.Writer, version int64, root []byte, leaves uint64) error {
	b := binary.AppendUvarint([]byte(imageMagic), uint64(version))
	b = append(b, root...)
	_, err := w.Write(binary.AppendUvarint(b, leaves))
	return err
}

// imageWriter writes the nodes of a tree.
type imageWriter struct {
	*view
	w     *bufio.Writer
	level [2][fetched]ref
	seen  byte // of what was fetched
}

// fetched is of how many leaves at most the nodes are fetched before they are written.
const fetched = 64

// write writes r and all below it, behind each other; near says that they were fetched.
func (w *imageWriter) write(r ref, near bool) error {
	if r.leaf() {
		l := w.leaf(r)
		return writeImageNode(w.w, 0, l.version(), l.key(), l.value())
	}
	n := w.inner(r)
	if !near && n.size <= fetched {
		w.fetch(r)
		near = true
	}
	for _, side := range n.sides {
		if err := w.write(side, near); err != nil {
			return err
		}
	}
	return writeImageNode(w.w, n.height, n.version, nil, nil)
}

// fetch looks at all nodes below r, level by level, and at both ends of what leaves hold: in the
// order in which they are written, the processor would wait for one after the other.
func (w *imageWriter) fetch(r ref) {
	level, next := append(w.level[0][:0], r), w.level[1][:0]
	for len(level) > 0 {
		for _, r := range level {
			if r.leaf() {
				if content := w.leaf(r).content; len(content) > 0 {
					w.seen += content[0] + content[len(content)-1]
				}
				continue
			}
			n := w.inner(r)
			next = append(next, n.sides[left], n.sides[right])
		}
		level, next = next, level[:0]
	}
}

// writeImageNode writes one node; key and value are those of a leaf.
func writeImageNode(w *bufio.Writer, height int8, version int64, key, value []byte) error {
	b := append(w.AvailableBuffer(), byte(height))
	b = binary.AppendUvarint(b, uint64(version))
	if height == 0 {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(b, uint64(len(value)))
		b = append(b, value...)
	}
	_, err := w.Write(b)
	return err
}

// loadImage reads an image and checks all of it; see streamImage.
func loadImage(in io.Reader, of int64, hash []byte, advise func([]byte)) (*memorySnapshot, *nodes, error) {
	nodes := newNodes(advise)
	h, top, err := streamImage(in, of, hash, nodes.load)
	if err != nil {
		return nil, nil, err
	}
	s := &memorySnapshot{version: h.version, root: h.root, content: h.content, tree: tree{view: nodes.view}}
	if top != nil {
		s.tree.root = top.ref
	}
	return s, nodes, nil
}

// load makes a node that was read.
func (n *nodes) load(i *imageNode, left, right *imageNode) error {
	if i.height == 0 {
		var l *leaf
		i.ref, l = n.newLeaf()
		*l = leafOf(i.version, i.content, i.key)
		l.hash = i.hash
		i.least = i.ref
		return nil
	}
	var x *inner
	i.ref, x = n.newInner()
	*x = inner{
		hash: i.hash, version: i.version, sides: [2]ref{left.ref, right.ref}, least: right.least,
		size: i.size, height: i.height, split: uint8(min(alike(left.most, right.first()), longest)),
	}
	x.common = min(x.split, n.about(left.ref).common, n.about(right.ref).common)
	x.show(right.first())
	i.least = left.least
	return nil
}

// imageHeader is what an image says of itself, and the bytes of its keys and values.
type imageHeader struct {
	version int64
	root    []byte
	content int64
}

// imageNode is a node that was read. A leaf has its key and its value, an inner node those of
// its least leaf.
type imageNode struct {
	height  int8
	size    uint32
	version int64
	hash    [sha256.Size]byte
	content []byte // key and value
	key     int    // length
	most    []byte // the greatest key

	ref, least ref // of load
}

func (i *imageNode) first() []byte { return i.content[:i.key] }

// streamImage reads an image to its end and checks all of it; where a version is given, the
// image must be of that version and root. It gives visit every node behind those below it,
// hashed, and returns the last. What was visited is forgotten, so that the memory does not
// grow with the tree.
func streamImage(in io.Reader, of int64, hash []byte, visit func(n, left, right *imageNode) error) (*imageHeader, *imageNode, error) {
	r := &imageReader{r: bufio.NewReaderSize(in, 1<<18)}
	magic := r.bytes(nil, uint64(len(imageMagic)))
	version := r.number()
	root := r.bytes(nil, sha256.Size)
	leaves := r.number()
	switch {
	case r.err != nil:
		return nil, nil, r.err
	case string(magic) != imageMagic, version == 0, version > mostVersion, leaves > math.MaxUint32:
		return nil, nil, ErrImage
	case of != 0 && (uint64(of) != version || !bytes.Equal(hash, root)):
		return nil, nil, fmt.Errorf("%w: it is of version %d and root %x, where version %d and root %x is wanted", ErrImage, version, root, of, hash)
	}
	top, err := r.nodes(int64(version), leaves, visit)
	if err != nil {
		return nil, nil, err
	}
	switch _, err := r.r.Peek(1); {
	case err == nil:
		return nil, nil, fmt.Errorf("%w: it goes on behind its last node", ErrImage)
	case err != io.EOF:
		return nil, nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	got := emptyRoot()
	if top != nil {
		got = top.hash[:]
	}
	if !bytes.Equal(got, root) {
		return nil, nil, fmt.Errorf("%w: the image of version %d has root %x, and says %x", ErrImage, version, got, root)
	}
	return &imageHeader{int64(version), root, r.content}, top, nil
}

type imageReader struct {
	r   *bufio.Reader
	err error
	key []byte // the latest

	content int64 // bytes of the keys and values that were read
}

// nodes reads the nodes of a tree with so many leaves; see streamImage.
func (r *imageReader) nodes(version int64, leaves uint64, visit func(n, left, right *imageNode) error) (*imageNode, error) {
	var buf []byte
	var stack []*imageNode
	for seen := uint64(0); seen < leaves || len(stack) > 1; {
		height := r.byte()
		born := r.number()
		if r.err != nil {
			return nil, r.err
		}
		if born == 0 || born > uint64(version) || height > maxHeight {
			return nil, ErrImage
		}
		n := &imageNode{version: int64(born), height: int8(height)}
		var left, right *imageNode
		if n.height == 0 {
			if err := r.leaf(n); err != nil {
				return nil, err
			}
			if seen++; seen > leaves {
				return nil, ErrImage
			}
			n.hash, buf = hashLeaf(buf, n.version, n.first(), n.content[n.key:])
		} else {
			if len(stack) < 2 {
				return nil, ErrImage
			}
			left, right = stack[len(stack)-2], stack[len(stack)-1]
			stack = stack[:len(stack)-2]
			n.size, n.content, n.key, n.most = left.size+right.size, left.content, left.key, right.most
			tilt := left.height - right.height
			if n.height != max(left.height, right.height)+1 || tilt < -1 || tilt > 1 || bytes.Compare(left.most, right.first()) >= 0 ||
				n.version < max(left.version, right.version) {
				return nil, ErrImage
			}
			n.hash, buf = hashInner(buf, n.height, n.size, n.version, &left.hash, &right.hash)
		}
		if err := visit(n, left, right); err != nil {
			return nil, err
		}
		stack = append(stack, n)
	}
	if len(stack) == 0 {
		return nil, nil
	}
	return stack[0], nil
}

// leaf reads key and value into one piece.
func (r *imageReader) leaf(n *imageNode) error {
	length := r.number()
	if length > mostKey {
		return ErrImage
	}
	r.key = r.bytes(r.key[:0], length)
	size := r.number()
	if r.err != nil {
		return r.err
	}
	n.size, n.key = 1, len(r.key)
	n.content = r.bytes(append(make([]byte, 0, len(r.key)+int(min(size, imageStep))), r.key...), size)
	if r.err != nil {
		return r.err
	}
	n.most = n.first()
	r.content += int64(len(n.content))
	return nil
}

func (r *imageReader) byte() byte {
	if r.err != nil {
		return 0
	}
	b, err := r.r.ReadByte()
	if err != nil {
		r.err = fmt.Errorf("%w: %w", ErrImage, err)
	}
	return b
}

func (r *imageReader) number() uint64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(r.r)
	if err != nil {
		r.err = fmt.Errorf("%w: %w", ErrImage, err)
	}
	return v
}

// imageStep is how many bytes are allocated before they are known to be there.
const imageStep = 1 << 16

// bytes appends n bytes to b.
func (r *imageReader) bytes(b []byte, n uint64) []byte {
	for n > 0 && r.err == nil {
		step := int(min(n, imageStep))
		at := len(b)
		b = slices.Grow(b, step)[:at+step]
		if _, err := io.ReadFull(r.r, b[at:]); err != nil {
			r.err = fmt.Errorf("%w: %w", ErrImage, err)
			return nil
		}
		n -= uint64(step)
	}
	return b
}
