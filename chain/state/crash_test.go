package state_test

import (
	"fmt"
	"maps"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain/state"
)

// crashing is a database that keeps what it held after each batch that was written:
// what a process killed at that moment would leave.
type crashing struct {
	kept
	left []*dbm.MemDB
}

func (c *crashing) NewBatch() dbm.Batch            { return &crashingBatch{c.kept.NewBatch(), c} }
func (c *crashing) NewBatchWithSize(int) dbm.Batch { return c.NewBatch() }
func (c *crashing) written(err error) error {
	if err != nil {
		return err
	}
	copied := dbm.NewMemDB()
	it, err := c.Iterator(nil, nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for ; it.Valid(); it.Next() {
		if err := copied.Set(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	c.left = append(c.left, copied)
	return it.Error()
}

type crashingBatch struct {
	dbm.Batch
	db *crashing
}

func (b *crashingBatch) Write() error     { return b.db.written(b.Batch.Write()) }
func (b *crashingBatch) WriteSync() error { return b.db.written(b.Batch.WriteSync()) }

// A process that is killed while it saves a large version leaves the version before
// or the whole of it, never a part that cannot be opened.
func TestAKilledSaveLeavesAWholeVersion(t *testing.T) {
	db := &crashing{kept: kept{dbm.NewMemDB()}}
	tree, err := state.OpenIAVL(db, state.IAVLOptions{NodeCache: 100, ValueCache: 4})
	if err != nil {
		t.Fatal(err)
	}
	const versions, keys = 3, 2000
	roots := map[string]int64{"": 0}
	for v := range versions {
		changes := make([]state.Change, keys)
		for i := range changes {
			changes[i] = state.Change{Key: fmt.Appendf(nil, "key-%06d", i*versions+v), Value: fmt.Appendf(nil, "%0300d", i)}
		}
		root, err := tree.Apply(changes)
		if err != nil {
			t.Fatal(err)
		}
		roots[string(root)] = int64(v + 1)
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
	}
	if len(db.left) < versions {
		t.Fatalf("%d writes for %d versions", len(db.left), versions)
	}
	seen := map[int64]bool{}
	for i, left := range db.left {
		tree, err := state.OpenIAVL(kept{left}, state.IAVLOptions{NodeCache: 100, ValueCache: 4})
		if err != nil {
			t.Fatalf("after write %d of %d the tree does not open: %v", i+1, len(db.left), err)
		}
		root := ""
		if tree.Version() > 0 {
			root = string(tree.Root())
		}
		if version, ok := roots[root]; !ok || version != tree.Version() {
			t.Fatalf("after write %d of %d: version %d with root %x", i+1, len(db.left), tree.Version(), root)
		}
		n := 0
		for range tree.Latest().Walk(nil, nil, false) {
			n++
		}
		if want := int(tree.Version()) * keys; n != want {
			t.Fatalf("after write %d of %d: version %d has %d keys, want %d", i+1, len(db.left), tree.Version(), n, want)
		}
		seen[tree.Version()] = true
	}
	if want := map[int64]bool{1: true, 2: true, 3: true}; !maps.Equal(seen, want) {
		t.Fatalf("the writes leave the versions %v, want %v", seen, want)
	}
}
