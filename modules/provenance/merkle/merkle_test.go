package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// leaves and roots of trees of 1 to 8 leaves are the known answers that the
// implementations of Certificate Transparency (RFC 6962) share.
var leaves = [][]byte{
	{}, {0x00}, {0x10}, {0x20, 0x21}, {0x30, 0x31}, {0x40, 0x41, 0x42, 0x43},
	{0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57},
	{0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f},
}

var roots = []string{
	"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}

func leafHash(leaf []byte) []byte {
	sum := sha256.Sum256(append([]byte{0}, leaf...))
	return sum[:]
}

func nodeHash(left, right []byte) []byte {
	sum := sha256.Sum256(slices.Concat([]byte{1}, left, right))
	return sum[:]
}

// plain is MTH of RFC 6962 section 2.1, as it is written there.
func plain(hashes [][]byte) []byte {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	return nodeHash(plain(hashes[:k]), plain(hashes[k:]))
}

func hashesOf(leaves [][]byte) (out [][]byte) {
	for _, l := range leaves {
		out = append(out, leafHash(l))
	}
	return out
}

func stream(hashes [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, h := range hashes {
			if !yield(h, nil) {
				return
			}
		}
	}
}

func TestKnownRoots(t *testing.T) {
	tree := New()
	if _, err := tree.Root(); !errors.Is(err, ErrEmpty) {
		t.Fatal(err)
	}
	for i, leaf := range leaves {
		if err := tree.Append(leaf); err != nil {
			t.Fatal(err)
		}
		root, err := tree.Root()
		if err != nil || hex.EncodeToString(root) != roots[i] || tree.Leaves() != uint64(i+1) {
			t.Fatalf("%d leaves: %x, %v", i+1, root, err)
		}
	}
}

// The example of RFC 6962 section 2.1.3: the audit paths of d0, d3, d4 and d6 in a
// tree of seven leaves.
func TestAuditPathsOfTheRFC(t *testing.T) {
	h := hashesOf(leaves[:7])
	a, b, c, d, e, f, j := h[0], h[1], h[2], h[3], h[4], h[5], h[6]
	g, hh, i := nodeHash(a, b), nodeHash(c, d), nodeHash(e, f)
	k, l := nodeHash(g, hh), nodeHash(i, j)
	root, paths, err := Paths(stream(h), 7, 0, 3, 4, 6)
	if err != nil || !bytes.Equal(root, nodeHash(k, l)) {
		t.Fatalf("%x, %v", root, err)
	}
	for n, want := range [][][]byte{{b, hh, l}, {c, g, l}, {f, j, k}, {i, k}} {
		if !slices.EqualFunc(paths[n], want, bytes.Equal) {
			t.Errorf("path %d is %x, want %x", n, paths[n], want)
		}
	}
}

func anchorOf(root []byte, size int) *pb.Anchor {
	return &pb.Anchor{
		Organisation: "did:chancery:mercy", Id: "batch",
		Batch: &pb.Batch{Root: root, Leaves: uint64(size), Format: pb.LeafFormat_LEAF_FORMAT_BYTES},
	}
}

// Every leaf of a tree of any size is proven, through the file, and no other is.
func TestInclusion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 200).Draw(t, "size")
		hashes := make([][]byte, size)
		indices := make([]uint64, size)
		for i := range hashes {
			hashes[i], indices[i] = leafHash(fmt.Appendf(nil, "record %d", i)), uint64(i)
		}
		root, paths, err := Paths(stream(hashes), uint64(size), indices...)
		if err != nil || !bytes.Equal(root, plain(hashes)) {
			t.Fatalf("%x, %v", root, err)
		}
		anchor := anchorOf(root, size)
		for i, path := range paths {
			p := Proof{Organisation: anchor.Organisation, Anchor: anchor.Id, Index: uint64(i), Leaves: uint64(size), Root: root, Path: path}
			raw, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			back, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.Verify(hashes[i], anchor); err != nil {
				t.Fatal(err)
			}
			if other := (i + 1) % size; other != i {
				if err := back.Verify(hashes[other], anchor); !errors.Is(err, ErrMismatch) {
					t.Fatalf("leaf %d passes for %d: %v", other, i, err)
				}
			}
		}
	})
}

func example(t testing.TB) (raw, hash []byte, anchor *pb.Anchor) {
	t.Helper()
	hashes := hashesOf(leaves)
	root, paths, err := Paths(stream(hashes), 8, 5)
	if err != nil {
		t.Fatal(err)
	}
	anchor = anchorOf(root, 8)
	raw, err = Proof{Organisation: anchor.Organisation, Anchor: anchor.Id, Index: 5, Leaves: 8, Root: root, Path: paths[0]}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw, hashes[5], anchor
}

func check(raw, hash []byte, anchor *pb.Anchor) error {
	p, err := Parse(raw)
	if err != nil {
		return err
	}
	return p.Verify(hash, anchor)
}

// Any flipped bit of a proof file is refused.
func TestFlippedProofs(t *testing.T) {
	raw, hash, anchor := example(t)
	if err := check(raw, hash, anchor); err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			flipped := bytes.Clone(raw)
			flipped[i] ^= 1 << bit
			if err := check(flipped, hash, anchor); !errors.Is(err, ErrNotProof) && !errors.Is(err, ErrMismatch) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
	}
	for name, change := range map[string]func(a *pb.Anchor){
		"organisation": func(a *pb.Anchor) { a.Organisation = "did:chancery:acme" },
		"id":           func(a *pb.Anchor) { a.Id = "other" },
		"leaves":       func(a *pb.Anchor) { a.Batch.Leaves = 7 },
		"root":         func(a *pb.Anchor) { a.Batch.Root[0] ^= 1 },
		"batch":        func(a *pb.Anchor) { a.Batch = nil },
	} {
		other := anchor.CloneVT()
		change(other)
		if err := check(raw, hash, other); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "{}", "null", strings.Repeat(" ", maxProof+1), string(raw[:len(raw)-1]), string(raw) + " ", strings.Replace(string(raw), `"form"`, `"Form"`, 1)} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrNotProof) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

// Nothing but the proof of a leaf verifies for it.
func FuzzProof(f *testing.F) {
	raw, hash, anchor := example(f)
	f.Add(raw)
	f.Add([]byte(`{"form":"chancery/inclusion/v1","path":[]}`))
	f.Fuzz(func(t *testing.T, mutated []byte) {
		if !bytes.Equal(mutated, raw) && check(mutated, hash, anchor) == nil {
			t.Fatalf("accepted:\n%s", mutated)
		}
		if p, err := Parse(mutated); err == nil {
			if again, err := p.Marshal(); err != nil || !bytes.Equal(again, mutated) {
				t.Fatal("two files for one proof")
			}
		}
	})
}

func TestPathsRefuse(t *testing.T) {
	hashes := hashesOf(leaves)
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct {
		want error
		call func() error
	}{
		"no leaves":      {ErrEmpty, func() error { _, _, err := Paths(stream(nil), 0); return err }},
		"too many":       {ErrTooMany, func() error { _, _, err := Paths(stream(nil), MaxLeaves+1); return err }},
		"beyond the end": {ErrNoLeaf, func() error { _, _, err := Paths(stream(hashes), 8, 8); return err }},
		"one less":       {ErrChanged, func() error { _, _, err := Paths(stream(hashes), 9, 0); return err }},
		"one more":       {ErrChanged, func() error { _, _, err := Paths(stream(hashes), 7, 0); return err }},
		"no hash":        {ErrMismatch, func() error { _, _, err := Paths(stream([][]byte{{1}}), 1); return err }},
		"broken": {broken, func() error {
			_, _, err := Paths(func(yield func([]byte, error) bool) { yield(nil, broken) }, 1)
			return err
		}},
	} {
		if err := c.call(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeafHash(t *testing.T) {
	const content = `{"a":1}`
	digest := sha256.Sum256([]byte(content))
	for format, leaf := range map[pb.LeafFormat][]byte{
		pb.LeafFormat_LEAF_FORMAT_SHA256:         digest[:],
		pb.LeafFormat_LEAF_FORMAT_MULTIHASH:      append([]byte{0x12, 32}, digest[:]...),
		pb.LeafFormat_LEAF_FORMAT_BYTES:          []byte(content),
		pb.LeafFormat_LEAF_FORMAT_CANONICAL_JSON: []byte(content),
	} {
		var told int64
		got, err := LeafHash(format, strings.NewReader(content), func(n int64) { told = n })
		if err != nil || !bytes.Equal(got, leafHash(leaf)) || told != int64(len(content)) {
			t.Errorf("%s: %x, %v, %d bytes", format, got, err, told)
		}
	}
	if _, err := LeafHash(0, strings.NewReader(content), nil); !errors.Is(err, ErrFormat) {
		t.Fatal(err)
	}
}

// A million leaves need no more memory than their path.
func TestTreesAreStreamed(t *testing.T) {
	const size = 1 << 20
	hash := leafHash(nil)
	root, paths, err := Paths(func(yield func([]byte, error) bool) {
		for range size {
			if !yield(hash, nil) {
				return
			}
		}
	}, size, 0, size/2, size-1)
	if err != nil {
		t.Fatal(err)
	}
	for i, index := range []uint64{0, size / 2, size - 1} {
		p := Proof{Organisation: "did:chancery:mercy", Anchor: "batch", Index: index, Leaves: size, Root: root, Path: paths[i]}
		if err := p.Verify(hash, anchorOf(root, size)); err != nil || len(p.Path) != 20 {
			t.Fatalf("%d: %v", index, err)
		}
	}
}
