// Package merkle builds and checks the trees that anchors are about: RFC 6962
// section 2.1 with SHA-256, where the hash of a leaf is SHA-256(0x00 || leaf) and
// that of a node SHA-256(0x01 || left || right). It reads no state and runs outside
// the chain. Trees of any size up to MaxLeaves are handled in constant memory.
package merkle

import (
	"bytes"
	"crypto/sha256"
	"io"
	"iter"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/provenance/content"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// MaxLeaves is the most leaves that a tree may have.
const MaxLeaves = 1 << 32

// The errors of this package. Codes are permanent.
var (
	Errors      = errs.Module("merkle")
	ErrTooMany  = Errors.New(2, "a tree has at most 2^32 leaves; make several")
	ErrEmpty    = Errors.New(3, "a tree without leaves cannot be anchored")
	ErrChanged  = Errors.New(4, "the leaves are not as many as when they were counted; read them again")
	ErrNoLeaf   = Errors.New(5, "there is no leaf with this index")
	ErrNotProof = Errors.New(6, "the file is not an inclusion proof in its canonical form; make it again")
	ErrMismatch = Errors.New(7, "the proof does not show that the leaf is in the anchored tree")
	ErrFormat   = Errors.New(8, "leaves of this format are not made from files")
)

var factory = &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// Tree is a tree that is being built. Its memory grows with the logarithm of the
// number of leaves.
type Tree struct {
	leaves *compact.Range
	visit  compact.VisitFn
}

// New starts an empty tree.
func New() *Tree { return &Tree{leaves: factory.NewEmptyRange(0)} }

// Append adds a leaf.
func (t *Tree) Append(leaf []byte) error { return t.AppendHash(rfc6962.DefaultHasher.HashLeaf(leaf)) }

// AppendHash adds a leaf by its hash; see LeafHash.
func (t *Tree) AppendHash(hash []byte) error {
	if t.leaves.End() == MaxLeaves {
		return ErrTooMany
	}
	if len(hash) != sha256.Size {
		return ErrMismatch.With("a leaf hash has %d bytes", len(hash))
	}
	return t.leaves.Append(hash, t.visit)
}

// Leaves is how many there are.
func (t *Tree) Leaves() uint64 { return t.leaves.End() }

// Root is the root of the tree, 32 bytes.
func (t *Tree) Root() ([]byte, error) {
	if t.leaves.End() == 0 {
		return nil, ErrEmpty
	}
	return t.leaves.GetRootHash(nil)
}

// LeafHash is the hash of the leaf that stands for a file in a tree of a format. It
// reads r to its end in constant memory and tells progress the bytes read so far.
// The multihash of a file is that of its SHA-256.
func LeafHash(format pb.LeafFormat, r io.Reader, progress func(bytes int64)) ([]byte, error) {
	switch format {
	case pb.LeafFormat_LEAF_FORMAT_SHA256, pb.LeafFormat_LEAF_FORMAT_MULTIHASH:
		sum, err := content.Digest(r, progress)
		if err != nil {
			return nil, err
		}
		leaf := sum.SHA256()
		if format == pb.LeafFormat_LEAF_FORMAT_MULTIHASH {
			leaf = sum.Multihashes[0]
		}
		return rfc6962.DefaultHasher.HashLeaf(leaf), nil
	case pb.LeafFormat_LEAF_FORMAT_BYTES, pb.LeafFormat_LEAF_FORMAT_CANONICAL_JSON:
		h := sha256.New()
		h.Write([]byte{rfc6962.RFC6962LeafHashPrefix})
		if _, err := content.Copy(h, r, progress); err != nil {
			return nil, err
		}
		return h.Sum(nil), nil
	default:
		return nil, ErrFormat.With("%s", format)
	}
}

// Paths reads the hashes of all leaves of a tree of a known size once and returns
// the root and, for each index, the path that proves its inclusion: RFC 6962 section
// 2.1.1. Memory grows with the number of indices and the logarithm of the size.
// Errors of hashes are returned as they are.
func Paths(hashes iter.Seq2[[]byte, error], size uint64, indices ...uint64) (root []byte, paths [][][]byte, err error) {
	if size == 0 {
		return nil, nil, ErrEmpty
	}
	if size > MaxLeaves {
		return nil, nil, ErrTooMany
	}
	needed := make(map[compact.NodeID][]byte)
	shapes := make([]proof.Nodes, len(indices))
	for i, index := range indices {
		if index >= size {
			return nil, nil, ErrNoLeaf.With("index %d of %d leaves", index, size)
		}
		if shapes[i], err = proof.Inclusion(index, size); err != nil {
			return nil, nil, err
		}
		for _, id := range shapes[i].IDs {
			needed[id] = nil
		}
	}
	t := New()
	t.visit = func(id compact.NodeID, hash []byte) {
		if _, ok := needed[id]; ok {
			needed[id] = bytes.Clone(hash)
		}
	}
	for hash, err := range hashes {
		if err != nil {
			return nil, nil, err
		}
		if t.Leaves() == size {
			return nil, nil, ErrChanged.With("more than %d", size)
		}
		if err := t.AppendHash(hash); err != nil {
			return nil, nil, err
		}
	}
	if t.Leaves() != size {
		return nil, nil, ErrChanged.With("%d, not %d", t.Leaves(), size)
	}
	if root, err = t.Root(); err != nil {
		return nil, nil, err
	}
	for _, s := range shapes {
		nodes := make([][]byte, len(s.IDs))
		for i, id := range s.IDs {
			nodes[i] = needed[id]
		}
		path, err := s.Rehash(nodes, rfc6962.DefaultHasher.HashChildren)
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, path)
	}
	return root, paths, nil
}
