package node

import (
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain/state"
)

// TestWiringIsWhole boots the state machine, which refuses clashing prefixes and
// any arm of a transaction without exactly one route.
func TestWiringIsWhole(t *testing.T) {
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	app, err := Wire().App("wiring-test", tree)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range app.Modules() {
		names[m.Name()] = true
	}
	for _, want := range []string{"identity", "consent", "access", "provenance"} {
		if !names[want] {
			t.Errorf("module %s is not wired", want)
		}
	}
}
