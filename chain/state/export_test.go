package state

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"unsafe"
)

// ReadSegment counts the records of a segment.
func ReadSegment(raw []byte) (n int, err error) {
	_, err = readSegment(raw, func(record) error { n++; return nil })
	return n, err
}

// CheckRecord checks the codec of records on any bytes.
func CheckRecord(t *testing.T, raw []byte) {
	r, err := parseRecord(raw)
	if err != nil {
		return
	}
	segment, err := appendRecord([]byte(logMagic), int64(len(logMagic)), r)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	whole, err := readSegment(segment, func(got record) error {
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
	r := &imageReader{left: int64(len(raw))}
	r.r = newImageBuffer(bytes.NewReader(raw))
	if tree, err := r.nodes(1<<40, 3, func(*node) error { return nil }); err == nil && tree != nil && tree.size != 3 {
		t.Fatalf("a tree of %d leaves, want 3", tree.size)
	}
	s, err := readImage(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return
	}
	var out bytes.Buffer
	if err := writeImage(&out, s); err != nil {
		t.Fatal(err)
	}
	again, err := readImage(&out, int64(out.Len()))
	if err != nil || again.version != s.version || !bytes.Equal(again.root, s.root) {
		t.Fatalf("the image is another: %v", err)
	}
}

// TestNodeSize: the bound of history counts with the true size of a node.
func TestNodeSize(t *testing.T) {
	if got := int(unsafe.Sizeof(node{})); got != nodeSize {
		t.Fatalf("a node takes %d bytes, not %d", got, nodeSize)
	}
}

// Segment is a segment with one record, whole in itself.
func Segment(t *testing.T, version int64, root []byte, changes []Change) []byte {
	b, err := appendRecord([]byte(logMagic), int64(len(logMagic)), record{version, root, changes})
	if err != nil {
		t.Fatal(err)
	}
	return b
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
	if leaf := s.(*memorySnapshot).tree.find(key); leaf != nil {
		return leaf.value
	}
	return nil
}
