package state_test

import (
	"slices"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
)

// What was read of the base is untouched in an overlay until one of it is written, also
// where that changes nothing, and again when that is undone.
func TestUntouched(t *testing.T) {
	tree := open(t, dbm.NewMemDB())
	o := state.NewOverlay(tree.Latest())
	o.Set([]byte("a"), []byte("1"))
	o.Set([]byte("c"), []byte("1"))
	if _, err := tree.Apply(o.Changes()); err != nil {
		t.Fatal(err)
	}
	if err := tree.Save(); err != nil {
		t.Fatal(err)
	}
	r := state.NewReading(tree.Latest())
	r.Lookup([]byte("a"))
	r.Lookup([]byte("absent"))
	keys := r.Take()
	for range r.Walk([]byte("b"), []byte("d"), true) {
		break // the rest of the span counts as read
	}
	walked := r.Take()
	for range r.Walk([]byte("b"), nil, false) {
	}
	toTheEnd := r.Take()
	nothing := r.Take()

	o = state.NewOverlay(tree.Latest())
	o.Lookup([]byte("a"))
	check := func(when string, want ...bool) {
		t.Helper()
		got := []bool{o.Untouched(&keys), o.Untouched(&walked), o.Untouched(&toTheEnd), o.Untouched(&nothing)}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("nothing was written", true, true, true, true)
	start := o.Mark()
	o.Set([]byte("d"), []byte("1"))
	check("beyond one span", true, true, false, true)
	o.Set([]byte("bb"), []byte("1"))
	check("within both", true, false, false, true)
	o.Rollback(start)
	check("undone", true, true, true, true)
	o.Set([]byte("absent"), []byte("1"))
	check("what was absent", false, true, true, true)
	o.Rollback(start)
	o.Remove([]byte("c"))
	check("removed", true, false, false, true)
	o.Rollback(start)
	o.Set([]byte("a"), []byte("1"))
	check("the same value", false, true, true, true)
	first := o.Mark()
	o.Remove([]byte("a"))
	o.Rollback(first)
	check("the second write undone", false, true, true, true)
}

// Where an overlay says that what was read is untouched, reading it there gives the same.
func TestUntouchedReadsTheSame(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		key := func(what string) []byte { return []byte{byte(rapid.IntRange(0, 7).Draw(r, what))} }
		tree := open(t, dbm.NewMemDB())
		defer func() { _ = tree.Close() }()
		write := func(o *state.Overlay, what string) {
			if k := key(what); rapid.Bool().Draw(r, "remove") {
				o.Remove(k)
			} else {
				o.Set(k, []byte{byte(rapid.IntRange(1, 3).Draw(r, "value"))})
			}
		}
		o := state.NewOverlay(tree.Latest())
		for range rapid.IntRange(0, 6).Draw(r, "before") {
			write(o, "written before")
		}
		if _, err := tree.Apply(o.Changes()); err != nil {
			r.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			r.Fatal(err)
		}
		// What is read is a function of the seed alone.
		from, to, looked := key("from"), key("to"), key("looked")
		reverse := rapid.Bool().Draw(r, "reverse")
		read := func(s state.Reader) (out []byte) {
			out = append(out, s.Lookup(looked)...)
			for k, v := range s.Walk(from, to, reverse) {
				out = append(append(out, k...), v...)
				if len(out) > 4 {
					break
				}
			}
			return out
		}
		reading := state.NewReading(tree.Latest())
		want := read(reading)
		reads := reading.Take()
		o = state.NewOverlay(tree.Latest())
		for range rapid.IntRange(0, 4).Draw(r, "after") {
			mark := o.Mark()
			write(o, "written after")
			if rapid.Bool().Draw(r, "undo") {
				o.Rollback(mark)
			}
			if got := read(o); o.Untouched(&reads) && !slices.Equal(got, want) {
				r.Fatalf("read %x, and %x of what is said to be untouched", want, got)
			}
		}
	})
}
