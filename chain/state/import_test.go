package state_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
)

func export(t interface {
	Helper()
	Fatal(...any)
}, s state.Snapshot) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Export(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// step applies and saves a block of a few of so many keys.
func step(t *rapid.T, trees []state.Tree, space int) {
	writes := rapid.SliceOfNDistinct(rapid.IntRange(0, space-1), 0, min(space, 30), rapid.ID[int]).Draw(t, "writes")
	changes := []state.Change{{Key: []byte("head"), Value: fmt.Append(nil, trees[0].Version())}}
	for _, k := range writes {
		c := state.Change{Key: fmt.Appendf(nil, "k%05d", k)}
		if rapid.IntRange(0, 2).Draw(t, "what") > 0 {
			c.Value = []byte{byte(rapid.IntRange(1, 3).Draw(t, "value"))}
		}
		changes = append(changes, c)
	}
	sortChanges(changes)
	for _, tree := range trees {
		if _, err := tree.Apply(changes); err != nil {
			t.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tree := range trees[1:] {
		if !bytes.Equal(trees[0].Root(), tree.Root()) || trees[0].Version() != tree.Version() {
			t.Fatalf("version %d has root %x, and version %d root %x", trees[0].Version(), trees[0].Root(), tree.Version(), tree.Root())
		}
	}
}

// Both kinds of tree export the same image of a version, also of one that is not the
// latest. A tree of either kind that imports it has the same state and proofs, goes on
// with the same roots, and does so when it is opened again.
func TestAnImageMovesTheStateToEitherKindOfTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		space := rapid.SampledFrom([]int{1, 20, 500}).Draw(r, "keys")
		sources := []state.Tree{open(t, dbm.NewMemDB()), openMemory(t, statetest.NewDisk(), state.MemoryOptions{})}
		for range rapid.IntRange(1, 20).Draw(r, "blocks") {
			step(r, sources, space)
		}
		at := rapid.Int64Range(1, sources[0].Version()).Draw(r, "at")
		snapshot, err := sources[0].At(at)
		if err != nil {
			r.Fatal(err)
		}
		other, err := sources[1].At(at)
		if err != nil {
			r.Fatal(err)
		}
		image := export(r, snapshot)
		if !bytes.Equal(image, export(r, other)) {
			r.Fatal("the two kinds export different images of one version")
		}
		db, disk := kept{dbm.NewMemDB()}, statetest.NewDisk()
		restored := []state.Tree{open(t, db), openMemory(t, disk, state.MemoryOptions{})}
		for _, tree := range restored {
			if err := tree.Import(bytes.NewReader(image), at, snapshot.Root()); err != nil {
				r.Fatal(err)
			}
			if tree.Version() != at || tree.Oldest() != at {
				r.Fatalf("version %d and oldest %d, want %d", tree.Version(), tree.Oldest(), at)
			}
			if !bytes.Equal(export(r, tree.Latest()), image) {
				r.Fatal("what was imported exports another image")
			}
			equal(r, snapshot, tree.Latest(), [][]byte{[]byte("head"), []byte("k00000"), []byte("k00007"), []byte("z")})
		}
		for range 3 {
			step(r, restored, space)
		}
		for _, tree := range restored {
			if err := tree.Close(); err != nil {
				r.Fatal(err)
			}
		}
		again := []state.Tree{open(t, db), openMemory(t, disk, state.MemoryOptions{})}
		for range 3 {
			step(r, again, space)
		}
	})
}

// An image with any bit changed, one that is cut, and one of another version or root
// are refused, leave nothing to be seen, and do not keep the right one out.
func TestAWrongImageIsRefused(t *testing.T) {
	source := openMemory(t, statetest.NewDisk(), state.MemoryOptions{})
	fill(t, source, 12, map[int64][]byte{})
	image, root := export(t, source.Latest()), source.Root()
	for name, tree := range map[string]state.Tree{
		"disk": open(t, dbm.NewMemDB()), "memory": openMemory(t, statetest.NewDisk(), state.MemoryOptions{}),
	} {
		t.Run(name, func(t *testing.T) {
			refuse := func(what string, r io.Reader, version int64, root []byte) {
				t.Helper()
				if err := tree.Import(r, version, root); err == nil {
					t.Fatalf("%s is imported", what)
				}
				if tree.Version() != 0 || tree.Latest().Lookup([]byte("key-0-00")) != nil {
					t.Fatalf("%s left version %d", what, tree.Version())
				}
			}
			for i := range image {
				bent := bytes.Clone(image)
				bent[i] ^= 1 << (i % 8)
				refuse(fmt.Sprintf("byte %d bent", i), bytes.NewReader(bent), 12, root)
			}
			refuse("a cut image", bytes.NewReader(image[:len(image)-1]), 12, root)
			refuse("a longer image", io.MultiReader(bytes.NewReader(image), strings.NewReader("x")), 12, root)
			refuse("another version", bytes.NewReader(image), 11, root)
			refuse("another root", bytes.NewReader(image), 12, bytes.Repeat([]byte{1}, 32))
			if err := tree.Import(bytes.NewReader(image), 12, root); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(tree.Root(), root) {
				t.Fatalf("root %x, want %x", tree.Root(), root)
			}
			if err := tree.Import(bytes.NewReader(image), 12, root); err == nil {
				t.Fatal("a tree with a state imported another")
			}
		})
	}
}

// What an export reads is not pruned under it.
func TestPruneSparesAnExport(t *testing.T) {
	tree := open(t, dbm.NewMemDB())
	for v := range int64(3) {
		if _, err := tree.Apply(block(v + 1)); err != nil {
			t.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
	}
	old, err := tree.At(1)
	if err != nil {
		t.Fatal(err)
	}
	err = old.Export(pruning{tree: tree, t: t})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Prune(1); err != nil {
		t.Fatal(err)
	}
}

// pruning is where an export goes that somebody prunes meanwhile.
type pruning struct {
	tree state.Tree
	t    *testing.T
}

func (p pruning) Write(b []byte) (int, error) {
	if err := p.tree.Prune(1); err == nil {
		p.t.Error("a version was pruned that is exported")
	}
	return len(b), nil
}

func sortChanges(changes []state.Change) {
	slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
}
