package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// An image is a file with the whole tree of one version: imageMagic, the version
// (uvarint), the root hash (32 bytes), the number of leaves (uvarint), and the nodes,
// each behind the two sides below it. A node is its height (1 byte) and its version
// (uvarint), and of a leaf also the lengths (uvarint) and bytes of key and value.
// Whoever reads it computes every hash; the root's must be the one at the front.
const imageMagic = "CHSTIMG1"

// maxHeight is more than a balanced tree of as many leaves as there may be needs.
const maxHeight = 60

// ErrImage says that bytes are not the image that they should be.
// ErrImage says that bytes are not the image that they should be.
var ErrImage = errors.New("the image does not decode")

func writeImage(out io.Writer, s *memorySnapshot) error {
	w := bufio.NewWriterSize(out, 1<<18)
	leaves := uint32(0)
	if s.tree != nil {
		leaves = s.tree.size
	}
	if err := writeImageHeader(w, s.version, s.root, uint64(leaves)); err != nil {
		return err
	}
	if s.tree != nil {
		if err := s.tree.write(w); err != nil {
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

func (n *node) write(w *bufio.Writer) error {
	if !n.leaf() {
		if err := n.left.write(w); err != nil {
			return err
		}
		if err := n.right.write(w); err != nil {
			return err
		}
	}
	return writeImageNode(w, n.height, n.version, n.key, n.value)
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

// readImage reads an image of so many bytes and checks all of it.
func readImage(in io.Reader, size int64) (*memorySnapshot, error) {
	return streamImage(in, size, 0, nil, func(*node) error { return nil })
}

// streamImage reads an image of so many bytes and checks all of it; where a version is
// given, the image must be of that version and root. It gives visit every node behind
// those below it, hashed; visit may take its sides and its value from it, which are not
// needed any more, so that the memory does not grow with the tree.
func streamImage(in io.Reader, size, of int64, hash []byte, visit func(*node) error) (*memorySnapshot, error) {
	r := &imageReader{r: newImageBuffer(in), left: size}
	magic := r.bytes(uint64(len(imageMagic)))
	version := r.number()
	root := r.bytes(32)
	leaves := r.number()
	switch {
	case r.err != nil:
		return nil, r.err
	case string(magic) != imageMagic, version == 0, version > math.MaxInt64, leaves > math.MaxUint32:
		return nil, ErrImage
	case of != 0 && (uint64(of) != version || !bytes.Equal(hash, root)):
		return nil, fmt.Errorf("%w: it is of version %d and root %x, where version %d and root %x is wanted", ErrImage, version, root, of, hash)
	}
	tree, err := r.nodes(int64(version), leaves, visit)
	if err != nil {
		return nil, err
	}
	if r.left != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrImage, r.left)
	}
	if got := rootHash(tree); !bytes.Equal(got, root) {
		return nil, fmt.Errorf("%w: the image of version %d has root %x, and says %x", ErrImage, version, got, root)
	}
	return &memorySnapshot{version: int64(version), root: root, tree: tree, content: r.content}, nil
}

func newImageBuffer(in io.Reader) *bufio.Reader { return bufio.NewReaderSize(in, 1<<18) }

type imageReader struct {
	r    *bufio.Reader
	left int64
	err  error

	content int64 // bytes of the keys and values that were read
}

// nodes reads the nodes of a tree with so many leaves; see streamImage.
func (r *imageReader) nodes(version int64, leaves uint64, visit func(*node) error) (*node, error) {
	var w writer
	type side struct {
		*node
		least, most []byte
	}
	var stack []side
	for seen := uint64(0); seen < leaves || len(stack) > 1; {
		height := r.bytes(1)
		born := r.number()
		if r.err != nil {
			return nil, r.err
		}
		if born == 0 || born > uint64(version) || height[0] > maxHeight {
			return nil, ErrImage
		}
		n := &node{version: int64(born), height: int8(height[0])}
		if n.height == 0 {
			n.size = 1
			n.key = r.bytes(r.number())
			n.value = r.bytes(r.number())
			if r.err != nil {
				return nil, r.err
			}
			r.content += n.content()
			if seen++; seen > leaves {
				return nil, ErrImage
			}
			w.hash(n)
			if err := visit(n); err != nil {
				return nil, err
			}
			stack = append(stack, side{n, n.key, n.key})
			continue
		}
		if len(stack) < 2 {
			return nil, ErrImage
		}
		left, right := stack[len(stack)-2], stack[len(stack)-1]
		stack = stack[:len(stack)-2]
		n.key, n.left, n.right = right.least, left.node, right.node
		n.measure()
		tilt := n.left.height - n.right.height
		if n.height != int8(height[0]) || tilt < -1 || tilt > 1 || bytes.Compare(left.most, right.least) >= 0 ||
			n.version < max(n.left.version, n.right.version) {
			return nil, ErrImage
		}
		w.hash(n)
		if err := visit(n); err != nil {
			return nil, err
		}
		stack = append(stack, side{n, left.least, right.most})
	}
	if len(stack) == 0 {
		return nil, nil
	}
	return stack[0].node, nil
}

func (r *imageReader) number() uint64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(countedReader{r})
	if err != nil {
		r.err = fmt.Errorf("%w: %w", ErrImage, err)
	}
	return v
}

// bytes reads n bytes, of which no more are allocated than the file has.
func (r *imageReader) bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(max(r.left, 0)) {
		r.err = fmt.Errorf("%w: it ends early", ErrImage)
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.err = fmt.Errorf("%w: %w", ErrImage, err)
		return nil
	}
	r.left -= int64(n)
	return b
}

type countedReader struct{ *imageReader }

func (c countedReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.left--
	}
	return b, err
}
