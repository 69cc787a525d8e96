package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain/state"
)

// grow saves a version with some new keys and some that change.
func grow(t *testing.T, tree state.Tree, v int64) {
	t.Helper()
	var changes []state.Change
	for i := range 20 {
		changes = append(changes,
			state.Change{Key: fmt.Appendf(nil, "k%04d-%02d", v, i), Value: fmt.Appendf(nil, "%d", v)},
			state.Change{Key: fmt.Appendf(nil, "same-%02d", i), Value: fmt.Appendf(nil, "%d", v)})
	}
	sortChanges(changes)
	if _, err := tree.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if err := tree.Save(); err != nil {
		t.Fatal(err)
	}
}

// Pruning beside blocks and readers takes away no node of a version that stays.
func TestPruneBesideBlocksAndReaders(t *testing.T) {
	db := dbm.NewMemDB()
	tree := open(t, kept{db})
	const versions, keep = 60, 10
	roots := map[int64][]byte{}
	var mu sync.Mutex // guards roots
	grow(t, tree, 1)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for pruned := int64(0); pruned < versions-keep; {
			if latest := tree.Version(); latest-keep > pruned {
				pruned++
				if err := tree.Prune(pruned); err != nil {
					t.Errorf("prune %d: %v", pruned, err)
					return
				}
			}
		}
	})
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			snap, err := tree.At(tree.Oldest() + 1)
			if err != nil {
				continue // pruned, or not there yet
			}
			func() {
				defer func() {
					var fault *state.Fault
					if p := recover(); p != nil {
						if err, ok := p.(error); !ok || !errors.As(err, &fault) || !errors.Is(err, state.ErrNoVersion) {
							t.Errorf("a read of a version that was pruned meanwhile: %v", p)
						}
					}
				}()
				n := 0
				for range snap.Walk(nil, nil, false) {
					n++
				}
				if want := 20 + 20*int(snap.Version()); n != want {
					t.Errorf("version %d has %d keys, want %d", snap.Version(), n, want)
				}
			}()
		}
	})
	for v := int64(2); v <= versions; v++ {
		grow(t, tree, v)
		mu.Lock()
		roots[v] = tree.Root()
		mu.Unlock()
	}
	close(done)
	group.Wait()
	if tree.Oldest() != versions-keep+1 {
		t.Fatalf("the oldest version is %d", tree.Oldest())
	}
	for _, tree := range []state.Tree{tree, open(t, kept{db})} {
		if tree.Oldest() != versions-keep+1 {
			t.Errorf("the oldest version is %d", tree.Oldest())
		}
		for v := tree.Oldest(); v <= versions; v++ {
			snap, err := tree.At(v)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(snap.Root(), roots[v]) {
				t.Errorf("version %d has another root", v)
			}
			n := 0
			for range snap.Walk(nil, nil, false) {
				n++
			}
			if want := 20 + 20*int(v); n != want {
				t.Errorf("version %d has %d keys, want %d", v, n, want)
			}
		}
	}
	// What went is gone from the disk, too: the same state without a history has no more.
	var image bytes.Buffer
	if err := tree.Prune(versions - 1); err != nil {
		t.Fatal(err)
	}
	if err := tree.Latest().Export(&image); err != nil {
		t.Fatal(err)
	}
	fresh := dbm.NewMemDB()
	if err := open(t, fresh).Import(&image, versions, tree.Root()); err != nil {
		t.Fatal(err)
	}
	if got, want := size(t, db), size(t, fresh); got > want+2 {
		t.Errorf("after pruning all but the latest version %d pairs are left, a tree that begins with it has %d", got, want)
	}
}

func size(t *testing.T, db dbm.DB) (n int) {
	t.Helper()
	it, err := db.Iterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for ; it.Valid(); it.Next() {
		n++
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		t.Fatal(err)
	}
	return n
}

// A process that is killed while it prunes leaves the tree with the versions or without
// them, and goes on from there.
func TestAKilledPruneLeavesWholeVersions(t *testing.T) {
	db := &crashing{kept: kept{dbm.NewMemDB()}}
	tree := open(t, db)
	const versions = 8
	for v := int64(1); v <= versions; v++ {
		grow(t, tree, v)
	}
	db.left = nil
	for _, v := range []int64{2, 3, 6} {
		if err := tree.Prune(v); err != nil {
			t.Fatal(err)
		}
	}
	if len(db.left) != 3 {
		t.Fatalf("%d writes for three calls: each must be one", len(db.left))
	}
	for i, oldest := range []int64{3, 4, 7} {
		tree := open(t, kept{db.left[i]})
		if tree.Oldest() != oldest || tree.Version() != versions {
			t.Fatalf("after write %d the versions are %d to %d, want %d to %d", i, tree.Oldest(), tree.Version(), oldest, versions)
		}
		if err := tree.Prune(versions - 1); err != nil {
			t.Fatal(err)
		}
		grow(t, tree, versions+1)
		n := 0
		for range tree.Latest().Walk(nil, nil, false) {
			n++
		}
		if want := 20 + 20*(versions+1); n != want {
			t.Fatalf("after write %d the tree has %d keys, want %d", i, n, want)
		}
	}
}
