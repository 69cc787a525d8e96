package provenance

import (
	"math/rand"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
)

// emptyApp calls fn with a chain of this module before its genesis.
func emptyApp(t *testing.T, fn func(*chain.App) error) error {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 1000, ValueCache: 1000})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Modules: []chain.Module{New(deps)},
		Rand: rand.New(rand.NewSource(1)), Partial: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return fn(app)
}
