package chain_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
)

func TestWhatIsKeptIsOfOneCommittedState(t *testing.T) {
	n := net(t)
	worked := 0
	keep := func(r chain.ReadCtx, owner string) (int, bool) {
		return chain.Kept(r, owner, func(chain.ReadCtx) int { worked++; return worked })
	}
	want := func(r chain.ReadCtx, owner string, value int, ok bool) {
		t.Helper()
		if got, there := keep(r, owner); got != value || there != ok {
			t.Errorf("%s at %d: %d, %v; want %d, %v", owner, r.Height(), got, there, value, ok)
		}
	}
	first := n.Height()
	want(n.View(), "a", 1, true)
	want(n.View(), "a", 1, true)
	want(n.ViewAt(first), "a", 1, true)
	want(n.View(), "b", 2, true)

	n.Block()
	want(n.View(), "a", 3, true)
	want(n.ViewAt(first), "a", 1, true)
	if r := n.View(); r.Height() != first+1 || r.Time() != n.Now {
		t.Errorf("the second call at a state says height %d and time %d", r.Height(), r.Time())
	}

	// Readers that are not just the state have nothing kept.
	_, snapshot, err := n.App().View(0)
	if err != nil {
		t.Fatal(err)
	}
	want(n.App().ViewOf(snapshot, snapshot.Version()), "a", 0, false)

	// Few states are remembered.
	for range 4 {
		n.Block()
		_, _ = keep(n.View(), "a")
	}
	want(n.ViewAt(first), "a", 8, true)
}

// Collections are said to be as in an earlier state only where they are, and of the latest state it
// is known since when.
func TestSinceWhenCollectionsAreAsTheyAre(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{NoSync: true})
		if err != nil {
			r.Fatal(err)
		}
		open := func() *chain.App {
			app, err := chain.New(chain.Options{
				ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Rand: bytes.NewReader(make([]byte, 32)), Partial: true,
			})
			if err != nil {
				r.Fatal(err)
			}
			return app
		}
		commit := func(app *chain.App, changes []state.Change) {
			b := app.Begin(chain.Header{Height: tree.Version() + 1, Time: 1}).End()
			b.Changes = changes
			if _, err := app.Apply(b); err != nil {
				r.Fatal(err)
			}
			if err := app.Commit(); err != nil {
				r.Fatal(err)
			}
		}
		app := open()
		prefixes := [][]byte{{1, 1}, {1, 2}, {2, 1}}
		written := map[int64][3]int64{0: {}} // by version: in which one something of each was written last
		first, missed := int64(0), false     // from which one on the app saw all; whether it missed the latest
		for range rapid.IntRange(1, 12).Draw(r, "versions") {
			last := written[tree.Version()]
			var changes []state.Change
			for i, p := range prefixes {
				if rapid.IntRange(0, 2).Draw(r, "write") == 0 {
					changes = append(changes, state.Change{Key: append(bytes.Clone(p), byte(rapid.IntRange(0, 2).Draw(r, "key"))), Value: []byte{byte(tree.Version() + 1)}})
					last[i] = tree.Version() + 1
				}
			}
			how := rapid.IntRange(0, 9).Draw(r, "how")
			if how == 0 { // the process starts again
				app, first, missed = open(), tree.Version(), false
			}
			if how == 1 { // somebody else writes
				if _, err := tree.Apply(changes); err != nil {
					r.Fatal(err)
				}
				if err := tree.Save(); err != nil {
					r.Fatal(err)
				}
				missed = true
			} else {
				commit(app, changes)
				if missed {
					first, missed = tree.Version(), false
				}
			}
			latest := tree.Version()
			written[latest] = last
			for version := int64(1); version <= latest; version++ {
				view, _, err := app.View(version)
				if err != nil {
					r.Fatal(err)
				}
				for i := range prefixes {
					for k := range prefixes {
						since, ok := chain.Since(view, prefixes[i], prefixes[k])
						if ok && (written[since][i] != written[version][i] || written[since][k] != written[version][k]) {
							r.Errorf("%d and %d are said to be at %d as at %d, and are not", i, k, version, since)
						}
						if want := max(last[i], last[k], first); version == latest && !missed && (!ok || since != want) {
							r.Errorf("%d and %d at %d: since %d, %v; want %d", i, k, version, since, ok, want)
						}
					}
				}
			}
		}
		if _, ok := chain.Since(app.ViewOf(tree.Latest(), tree.Version()), prefixes[0]); ok {
			r.Error("it is known where nothing is kept")
		}
	})
}
