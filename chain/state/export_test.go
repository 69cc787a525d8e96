package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"
	"unsafe"
)

// ReadSegment counts the records of a segment.
func ReadSegment(raw []byte) (n int, err error) {
	_, err = readSegment(raw, func(record, int) error { n++; return nil })
	return n, err
}

// CheckRecord checks the codec of records on any bytes.
func CheckRecord(t *testing.T, raw []byte) {
	r, err := parseRecord(raw)
	if err != nil {
		return
	}
	segment, err := appendRecord([]byte(logMagic), int64(len(logMagic)), appendBody(nil, r))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	whole, err := readSegment(segment, func(got record, _ int) error {
		n++
		if !reflect.DeepEqual(got, r) {
			return errors.New("the record is another")
		}
		return nil
	})
	if err != nil || n != 1 || whole != len(segment) {
		t.Fatalf("%d records, %d of %d bytes, %v", n, whole, len(segment), err)
	}
}

// CheckImage checks the codec of images on any bytes.
func CheckImage(t *testing.T, raw []byte) {
	// Most of what a fuzzer makes fails at the root hash; the nodes are read alone, too.
	r := &imageReader{r: bufio.NewReader(bytes.NewReader(raw))}
	if top, err := r.nodes(1<<40, 3, newNodes(nil).load); err == nil && top != nil && top.size != 3 {
		t.Fatalf("a tree of %d leaves, want 3", top.size)
	}
	s, _, err := loadImage(expandImage(bytes.NewReader(raw)), 0, nil, nil)
	if err != nil {
		return
	}
	var out bytes.Buffer
	if err := writeImage(&out, s); err != nil {
		t.Fatal(err)
	}
	again, _, err := loadImage(&out, 0, nil, nil)
	if err != nil || again.version != s.version || !bytes.Equal(again.root, s.root) {
		t.Fatalf("the image is another: %v", err)
	}
}

// TestNodeSize: the bound of history counts with the true size of a node, which is that of
// a line of a processor's cache.
func TestNodeSize(t *testing.T) {
	if leaf, inner := int(unsafe.Sizeof(leaf{})), int(unsafe.Sizeof(inner{})); leaf != nodeSize || inner != nodeSize {
		t.Fatalf("a leaf takes %d bytes and an inner node %d, not %d", leaf, inner, nodeSize)
	}
}

// Segment is a segment with one record, whole in itself.
func Segment(t *testing.T, version int64, root []byte, changes []Change) []byte {
	b, err := appendRecord([]byte(logMagic), int64(len(logMagic)), appendBody(nil, record{version, root, changes}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// PlainSegment is a segment with one record as programs before compression wrote it.
func PlainSegment(version int64, root []byte, changes []Change) []byte {
	body := appendBody(nil, record{version, root, changes})
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
	head = binary.BigEndian.AppendUint32(head, headSum(head, int64(len(plainMagic))))
	return slices.Concat([]byte(plainMagic), head, body)
}

// NodeSize is what a node of the tree in memory takes.
const NodeSize = nodeSize

// IndexSize is what the index takes for a key.
const IndexSize = indexSize

// PoorHash lets most keys have a hash that others have, too.
func PoorHash(o MemoryOptions) MemoryOptions {
	o.hash = func(key []byte) uint64 { return uint64(len(key)+int(key[len(key)-1])) % 5 }
	return o
}

// FindInTree looks a key up as if there were no index.
func FindInTree(s Snapshot, key []byte) []byte {
	t := &s.(*memorySnapshot).tree
	if leaf := t.find(key); leaf != none {
		return t.leaf(leaf).value()
	}
	return nil
}

// Nodes is how many nodes a tree in memory holds once it has freed what nobody can read.
func Nodes(m *Memory) int {
	n := m.nodes
	for before := -1; before != len(n.generations); {
		before = len(n.generations)
		n.reclaim()
	}
	return n.ofLeaves.used - len(n.ofLeaves.free) + n.ofInners.used - 1 - len(n.ofInners.free)
}

// CheckNodes checks what the inner nodes of a version say of the keys below them.
func CheckNodes(s Snapshot) error {
	t := &s.(*memorySnapshot).tree
	var check func(r ref) (first, last []byte, err error)
	check = func(r ref) (first, last []byte, err error) {
		if r.leaf() {
			key := t.leaf(r).key()
			return key, key, nil
		}
		n := t.inner(r)
		first, before, err := check(n.sides[left])
		if err != nil {
			return nil, nil, err
		}
		name, last, err := check(n.sides[right])
		a, b := t.about(n.sides[left]), t.about(n.sides[right])
		switch {
		case err != nil:
			return nil, nil, err
		case !bytes.Equal(name, t.name(n)):
			err = fmt.Errorf("%q is named %q", name, t.name(n))
		case int(n.split) > alike(before, name):
			err = fmt.Errorf("%q and %q are not alike in %d bytes", before, name, n.split)
		case int(n.common) > alike(first, last):
			err = fmt.Errorf("%q and %q are not alike in %d bytes", first, last, n.common)
		case n.common != min(n.split, a.common, b.common):
			err = fmt.Errorf("%q has %d bytes in common, with %d, %d and %d below", name, n.common, n.split, a.common, b.common)
		case n.seen() != windowOf(name, int(n.common)):
			err = fmt.Errorf("the window of %q is %x", name, n.window)
		case n.size != a.size+b.size || n.height != max(a.height, b.height)+1:
			err = fmt.Errorf("%q has %d leaves and height %d", name, n.size, n.height)
		}
		return first, last, err
	}
	if t.root == none {
		return nil
	}
	_, _, err := check(t.root)
	return err
}
