package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
)

type memPairs struct{ dbm.DB }

func (m memPairs) Each(fn func(k, v []byte) error) error {
	it, err := m.Iterator(nil, nil)
	if err != nil {
		return err
	}
	var pairs [][2][]byte // the database in memory is locked while it is walked
	for ; it.Valid(); it.Next() {
		pairs = append(pairs, [2][]byte{it.Key(), it.Value()})
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	for _, p := range pairs {
		if err := fn(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

// inspected makes a tree of 12 versions in a database and returns their roots.
func inspected(t *testing.T, db dbm.DB) [][]byte {
	t.Helper()
	// The tree closes what it owns; the test reads on.
	tree, err := OpenIAVL(kept{db}, IAVLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var roots [][]byte
	for v := range 12 {
		var changes []Change
		for i := range v {
			k := fmt.Appendf(nil, "k%03d", (i*7+v*3)%60)
			changes = append(changes, Change{Key: k, Value: fmt.Appendf(nil, "v%d", v)})
		}
		if v > 6 {
			changes = append(changes, Change{Key: fmt.Appendf(nil, "k%03d", v)})
		}
		slices.SortFunc(changes, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
		changes = slices.CompactFunc(changes, func(a, b Change) bool { return bytes.Equal(a.Key, b.Key) })
		if _, err := tree.Apply(changes); err != nil {
			t.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
		roots = append(roots, tree.Root())
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	return roots
}

type kept struct{ dbm.DB }

func (kept) Close() error { return nil }

func TestInspectionOfATreeOnDiskFindsEveryVersionAndEveryFlippedBit(t *testing.T) {
	db := dbm.NewMemDB()
	roots := inspected(t, db)
	look := func() (found [][]byte, damage []Damage) {
		damage, err := InspectIAVL(memPairs{db}, func(version int64, root []byte) error {
			found = append(found, root)
			if !bytes.Equal(root, roots[version-1]) {
				return fmt.Errorf("root %x", root)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found, damage
	}
	if found, damage := look(); len(found) != len(roots) || len(damage) > 0 {
		t.Fatalf("%d versions, %v", len(found), damage)
	}
	// Every node is reached: a flip of any bit of any value is found.
	type pair struct{ k, v []byte }
	var pairs []pair
	_ = memPairs{db}.Each(func(k, v []byte) error {
		pairs = append(pairs, pair{bytes.Clone(k), bytes.Clone(v)})
		return nil
	})
	for n, p := range pairs {
		if p.k[0] != iavlNode || len(p.v) == 0 {
			continue
		}
		for at := n % 29; at < len(p.v); at += 29 {
			bad := bytes.Clone(p.v)
			bad[at] ^= 1 << (n % 8)
			if err := db.Set(p.k, bad); err != nil {
				t.Fatal(err)
			}
			if _, damage := look(); len(damage) == 0 {
				t.Errorf("version %d: a flipped bit of byte %d of key %x is not found", binary.BigEndian.Uint64(p.k[1:]), at, p.k)
			}
		}
		if err := db.Set(p.k, p.v); err != nil {
			t.Fatal(err)
		}
	}
}
