package state_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
)

// kept is a database that outlives its tree.
type kept struct{ dbm.DB }

func (kept) Close() error { return nil }

func open(t testing.TB, db dbm.DB) state.Tree {
	t.Helper()
	tree, err := state.OpenIAVL(kept{db}, state.IAVLOptions{NoSync: true, NodeCache: 100, ValueCache: 4})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// backends open each kind of tree on something that outlives it: what is returned
// opens it again.
var backends = map[string]func(testing.TB) func() state.Tree{
	"disk": func(t testing.TB) func() state.Tree {
		db := dbm.NewMemDB()
		return func() state.Tree { return open(t, db) }
	},
	"memory": func(t testing.TB) func() state.Tree {
		disk := statetest.NewDisk()
		return func() state.Tree { return openMemory(t, disk, state.MemoryOptions{}) }
	},
}

func onEachTree(t *testing.T, test func(*testing.T, func(testing.TB) func() state.Tree)) {
	for _, name := range slices.Sorted(maps.Keys(backends)) {
		t.Run(name, func(t *testing.T) { test(t, backends[name]) })
	}
}

func same(r *rapid.T, what string, got state.Reader, want map[string]string) {
	keys := slices.Sorted(maps.Keys(want))
	for _, reverse := range []bool{false, true} {
		var walked []string
		for k, v := range got.Walk([]byte("b"), []byte("y"), reverse) {
			if want[string(k)] != string(v) {
				r.Fatalf("%s: walk yields %s=%s, want %s", what, k, v, want[string(k)])
			}
			walked = append(walked, string(k))
		}
		var inRange []string
		for _, k := range keys {
			if k >= "b" && k < "y" {
				inRange = append(inRange, k)
			}
		}
		if reverse {
			slices.Reverse(inRange)
		}
		if !slices.Equal(walked, inRange) {
			r.Fatalf("%s: walk (reverse %v) yields %v, want %v", what, reverse, walked, inRange)
		}
	}
	for c := 'a'; c <= 'z'; c++ {
		if got := got.Lookup([]byte(string(c))); string(got) != want[string(c)] {
			r.Fatalf("%s: %c is %q, want %q", what, c, got, want[string(c)])
		}
	}
}

// An overlay with nested rollbacks over a tree with versions behaves as a plain
// map does, also after the tree is opened again, at every version.
func TestOverlayAndTreeBehaveAsAMap(t *testing.T) { onEachTree(t, testBehavesAsAMap) }

func testBehavesAsAMap(t *testing.T, backend func(testing.TB) func() state.Tree) {
	rapid.Check(t, func(r *rapid.T) {
		reopen := backend(t)
		tree := reopen()
		model := map[string]string{}
		versions := []map[string]string{nil}
		for range rapid.IntRange(1, 5).Draw(r, "blocks") {
			o := state.NewOverlay(tree.Latest())
			type saved struct {
				mark  int
				model map[string]string
			}
			var marks []saved
			for range rapid.IntRange(0, 40).Draw(r, "writes") {
				key := rapid.StringMatching("[a-z]").Draw(r, "key")
				switch rapid.IntRange(0, 5).Draw(r, "what") {
				case 0, 1, 2:
					value := rapid.StringMatching("[0-9]{1,3}").Draw(r, "value")
					o.Set([]byte(key), []byte(value))
					model[key] = value
				case 3:
					o.Remove([]byte(key))
					delete(model, key)
				case 4:
					marks = append(marks, saved{o.Mark(), maps.Clone(model)})
				case 5:
					if n := len(marks); n > 0 {
						o.Rollback(marks[n-1].mark)
						model = marks[n-1].model
						marks = marks[:n-1]
					}
				}
			}
			same(r, "overlay", o, model)
			changes := o.Changes()
			if !slices.IsSortedFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) }) {
				r.Fatal("changes are not sorted")
			}
			if len(versions) == 1 {
				same(r, "changes of the first block", state.Sorted(changes), model)
			}
			first, err := tree.Apply(changes)
			if err != nil {
				r.Fatal(err)
			}
			again, err := tree.Apply(changes)
			if err != nil || !bytes.Equal(first, again) {
				r.Fatalf("applying again: root %x, then %x, %v", first, again, err)
			}
			if err := tree.Save(); err != nil {
				r.Fatal(err)
			}
			if !bytes.Equal(tree.Root(), first) {
				r.Fatal("the saved root is not the applied one")
			}
			versions = append(versions, maps.Clone(model))
			same(r, "tree", tree.Latest(), model)
			if rapid.Bool().Draw(r, "restart") {
				tree = reopen()
			}
		}
		for v := 1; v < len(versions); v++ {
			snap, err := tree.At(int64(v))
			if err != nil {
				r.Fatal(err)
			}
			same(r, "history", snap, versions[v])
		}
	})
}

func TestPrune(t *testing.T) { onEachTree(t, testPrune) }

func testPrune(t *testing.T, backend func(testing.TB) func() state.Tree) {
	tree := backend(t)()
	for i := range 10 {
		if _, err := tree.Apply([]state.Change{{Key: []byte("k"), Value: []byte{byte(i + 1)}}}); err != nil {
			t.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Prune(10); err == nil {
		t.Fatal("the latest version was pruned")
	}
	if err := tree.Prune(7); err != nil {
		t.Fatal(err)
	}
	if tree.Oldest() != 8 {
		t.Fatalf("oldest is %d", tree.Oldest())
	}
	if _, err := tree.At(7); err == nil {
		t.Fatal("a pruned version opens")
	}
	snap, err := tree.At(8)
	if err != nil || !bytes.Equal(snap.Lookup([]byte("k")), []byte{8}) {
		t.Fatalf("version 8: %v", err)
	}
}

// Encoded keys sort as their parts do, and decode to themselves.
func TestKeysKeepTheOrder(t *testing.T) {
	codec := state.TripleOf(state.String, state.Int64, state.Bytes)
	compare := func(a, b state.Triple[string, int64, []byte]) int {
		if c := bytes.Compare([]byte(a.A), []byte(b.A)); c != 0 {
			return c
		}
		if a.B != b.B {
			if a.B < b.B {
				return -1
			}
			return 1
		}
		return bytes.Compare(a.C, b.C)
	}
	key := rapid.Custom(func(r *rapid.T) state.Triple[string, int64, []byte] {
		return state.Join3(
			string(rapid.SliceOfN(rapid.ByteMax(2), 0, 3).Draw(r, "a")),
			rapid.Int64Range(-2, 2).Draw(r, "b"),
			rapid.SliceOfN(rapid.ByteMax(2), 0, 3).Draw(r, "c"))
	})
	rapid.Check(t, func(r *rapid.T) {
		a, b := key.Draw(r, "x"), key.Draw(r, "y")
		ea, eb := codec.Encode(nil, a), codec.Encode(nil, b)
		if sign(bytes.Compare(ea, eb)) != sign(compare(a, b)) {
			r.Fatalf("%v and %v encode to %x and %x", a, b, ea, eb)
		}
		got, rest, err := codec.Decode(append(bytes.Clone(ea), 9))
		if err != nil || compare(got, a) != 0 || !bytes.Equal(rest, []byte{9}) {
			r.Fatalf("%v decodes to %v, rest %x, %v", a, got, rest, err)
		}
	})
}

func sign(i int) int { return max(-1, min(1, i)) }

// FuzzKeys: no bytes make a key decoder panic, and what decodes encodes to itself.
func FuzzKeys(f *testing.F) {
	codec := state.TripleOf(state.Bytes, state.Bool, state.PairOf(state.Uint64, state.String))
	f.Add([]byte{0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, rest, err := codec.Decode(raw)
		if err != nil {
			return
		}
		if again := append(codec.Encode(nil, k), rest...); !bytes.Equal(raw, again) {
			t.Fatalf("%x decodes and encodes to %x", raw, again)
		}
	})
}
