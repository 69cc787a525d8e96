package chain_test

import (
	"testing"

	"github.com/chancery/chancery/chain"
)

func TestWhatIsKeptIsOfOneCommittedState(t *testing.T) {
	n := net(t)
	worked := 0
	keep := func(r chain.ReadCtx, owner string) (int, bool) {
		return chain.Kept(r, owner, func() int { worked++; return worked })
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
