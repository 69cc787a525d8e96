package state_test

import (
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Peek sees what Lookup sees at every version and in every overlay, however often a
// value changes and comes back.
func TestPeekSeesWhatLookupSees(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		heads := state.NewMap(state.NewSchema("test", 0x7f), 0x01, "heads", state.Uint64, state.Proto[chainv1.Head]())
		tree := open(t, dbm.NewMemDB())
		defer func() { _ = tree.Close() }()
		var snaps []state.Snapshot
		agree := func(reader state.Reader) {
			for k := range uint64(4) {
				want, wantOK := heads.Lookup(reader, k)
				got, ok := heads.Peek(reader, k)
				if ok != wantOK || ok && !got.EqualVT(want) {
					r.Fatalf("key %d: Peek says %v %v, Lookup %v %v", k, got, ok, want, wantOK)
				}
			}
		}
		for range rapid.IntRange(1, 6).Draw(r, "versions") {
			o := state.NewOverlay(tree.Latest())
			for range rapid.IntRange(0, 8).Draw(r, "writes") {
				k := rapid.Uint64Range(0, 3).Draw(r, "key")
				mark := o.Mark()
				if v := rapid.Int64Range(0, 3).Draw(r, "value"); v == 0 {
					heads.Remove(o, k)
				} else {
					put := heads.Put
					if rapid.Bool().Draw(r, "shared") {
						put = heads.PutShared
					}
					put(o, k, &chainv1.Head{Height: v})
				}
				agree(o)
				if rapid.Bool().Draw(r, "rollback") {
					o.Rollback(mark)
					agree(o)
				}
			}
			if _, err := tree.Apply(o.Changes()); err != nil {
				r.Fatal(err)
			}
			if err := tree.Save(); err != nil {
				r.Fatal(err)
			}
			snaps = append(snaps, tree.Latest())
			for _, s := range snaps {
				agree(s)
			}
		}
	})
}

// A changed value of Lookup never shows in Peek.
func TestPeekIsNotWhatLookupReturns(t *testing.T) {
	heads := state.NewMap(state.NewSchema("test", 0x7f), 0x01, "heads", state.Uint64, state.Proto[chainv1.Head]())
	o := state.NewOverlay(open(t, dbm.NewMemDB()).Latest())
	heads.Put(o, 1, &chainv1.Head{Height: 7})
	before, _ := heads.Peek(o, 1)
	mine, _ := heads.Lookup(o, 1)
	mine.Height = 8
	after, _ := heads.Peek(o, 1)
	if before.Height != 7 || after.Height != 7 {
		t.Fatalf("Peek says %d and %d, want 7", before.Height, after.Height)
	}
	heads.Put(o, 1, mine)
	if changed, _ := heads.Peek(o, 1); changed.Height != 8 {
		t.Fatalf("after Put, Peek says %d, want 8", changed.Height)
	}
}

// A large value is remembered by where it lies: Peek sees what Lookup sees when it is
// written, replaced by as many bytes, rolled back and read at an earlier version.
func TestPeekSeesLargeValues(t *testing.T) {
	large := state.NewMap(state.NewSchema("test", 0x7f), 0x01, "large", state.Uint64, state.StringValue)
	tree := open(t, dbm.NewMemDB())
	agree := func(r state.Reader) {
		t.Helper()
		for k := range uint64(100) {
			want, wantOK := large.Lookup(r, k)
			if got, ok := large.Peek(r, k); ok != wantOK || got != want {
				t.Fatalf("key %d: Peek says %.4q… %v, Lookup %.4q… %v", k, got, ok, want, wantOK)
			}
		}
	}
	var snaps []state.Snapshot
	for v := range 3 {
		o := state.NewOverlay(tree.Latest())
		for k := range uint64(100) {
			large.Put(o, k, strings.Repeat(string(rune('a'+v)), 20<<10))
			mark := o.Mark()
			large.Put(o, k, strings.Repeat("z", 20<<10))
			large.Peek(o, k)
			o.Rollback(mark)
		}
		agree(o)
		if _, err := tree.Apply(o.Changes()); err != nil {
			t.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
		snaps = append(snaps, tree.Latest())
		for _, s := range snaps {
			agree(s)
			agree(s)
		}
	}
}
