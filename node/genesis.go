package node

import (
	"encoding/json"
	"time"

	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/receipt"
)

// NewGenesis builds the genesis document of a chain from its genesis state, a JSON
// object with a section per module.
func NewGenesis(chainID string, at time.Time, appState json.RawMessage) (*types.GenesisDoc, error) {
	return config.NewGenesis(chainID, at, appState, initial(chainID))
}

// CheckGenesis refuses a genesis document that a chain could not start with.
func CheckGenesis(g *types.GenesisDoc) error { return config.CheckGenesis(g, initial(g.ChainID)) }

// initial tries a genesis state on an empty chain in memory.
func initial(chainID string) config.Initial {
	return func(h chain.Header, appState json.RawMessage) ([]byte, []chain.ValidatorUpdate, error) {
		app, err := memory(chainID)
		if err != nil {
			return nil, nil, err
		}
		defer func() { _ = app.Close() }() // it is in memory
		return app.InitGenesis(h, appState)
	}
}

func memory(chainID string) (*chain.App, error) {
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		return nil, err
	}
	return Wire().App(chainID, tree)
}

// Registry is every collection of the chain, for describing keys and values.
func Registry() (*state.Registry, error) {
	app, err := memory("registry")
	if err != nil {
		return nil, err
	}
	defer func() { _ = app.Close() }() // it is in memory
	return app.Registry(), nil
}

// VerifyReceipt checks a receipt's file form against nothing but the genesis
// document; see receipt.Verify.
func VerifyReceipt(raw []byte, genesis *types.GenesisDoc) (*receipt.Report, error) {
	registry, err := Registry()
	if err != nil {
		return nil, err
	}
	return receipt.Verify(raw, genesis, registry)
}
