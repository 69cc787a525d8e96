package consensus

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/chain"
)

// InitChain reads the genesis state. The validators come from the state; where the
// genesis file lists validators too, they must be the same.
func (a *application) InitChain(_ context.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	if req.ChainId != a.app.ChainID() {
		return nil, fmt.Errorf("the genesis is of chain %q, the application of %q", req.ChainId, a.app.ChainID())
	}
	if req.InitialHeight != 1 {
		return nil, fmt.Errorf("initial_height is %d; chains start at 1", req.InitialHeight)
	}
	if h := req.ConsensusParams.GetAbci().GetVoteExtensionsEnableHeight(); h != 1 {
		return nil, fmt.Errorf("vote_extensions_enable_height is %d; it must be 1, extensions cannot be added later without care", h)
	}
	root, updates, err := a.app.InitGenesis(headerOf(req.InitialHeight, req.Time), req.AppStateBytes)
	if err != nil {
		return nil, err
	}
	if len(updates) == 0 {
		return nil, fmt.Errorf("the genesis state binds no validator; add one to section identity")
	}
	validators := abciUpdates(updates)
	if len(req.Validators) > 0 {
		want, have := sortedKeys(req.Validators), sortedKeys(validators)
		if !slices.EqualFunc(want, have, bytes.Equal) {
			return nil, fmt.Errorf("the genesis file lists other validators than the genesis state; leave its list empty")
		}
	}
	res := &abci.ResponseInitChain{Validators: validators, AppHash: root}
	if v := a.app.Latest().Version(); v != chain.FirstVersion {
		res.ConsensusParams = appVersion(v)
	}
	return res, nil
}

// appVersion changes, of the engine's parameters, the application's version in the headers
// of the blocks that follow.
func appVersion(version uint32) *cmtproto.ConsensusParams {
	return &cmtproto.ConsensusParams{Version: &cmtproto.VersionParams{App: uint64(version)}}
}

func sortedKeys(updates []abci.ValidatorUpdate) [][]byte {
	out := make([][]byte, len(updates))
	for i, u := range updates {
		out[i], _ = u.Marshal()
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}
