package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/light"
	"github.com/cometbft/cometbft/light/provider"
	lightdb "github.com/cometbft/cometbft/light/store/db"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	"github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"

	"github.com/chancery/chancery/chain"
)

// LightSource is a node of another member that signed headers are asked of. Nothing it
// says is believed unless the validators signed it.
type LightSource interface {
	// Name is what the log calls it, such as its address.
	Name() string
	// LightBlock is the signed header of a height and its validators, 0 for the latest.
	// An error that is chain.ErrBadHeight says that the node has no such block.
	LightBlock(ctx context.Context, height int64) (*types.LightBlock, error)
}

// SyncOptions make a node without a state begin with a snapshot of its peers'.
type SyncOptions struct {
	// Sources are two at least: what the first says is compared with the others.
	Sources []LightSource
	// TrustHeight and TrustHash are a header that the operator trusts, not older than
	// TrustPeriod: the time for which validators answer for what they signed.
	TrustHeight int64
	TrustHash   []byte
	TrustPeriod time.Duration
}

const (
	// sourcePatience bounds one question to a source.
	sourcePatience = 10 * time.Second
	// sourcePause is the pause before sources are asked again.
	sourcePause = time.Second
)

// stateProvider tells the engine which app hash a snapshot must have, and makes the
// state with which the engine begins. It rests on the trusted header, the signatures of
// validators, and the genesis document.
type stateProvider struct {
	o       SyncOptions
	genesis *types.GenesisDoc
	log     *slog.Logger

	mu     sync.Mutex    // guards client, which is used by one goroutine at a time
	client *light.Client // nil: to be made
}

var _ statesync.StateProvider = (*stateProvider)(nil)

func newStateProvider(o SyncOptions, genesis *types.GenesisDoc, log *slog.Logger) (*stateProvider, error) {
	if len(o.Sources) < 2 {
		return nil, fmt.Errorf("state sync compares what two members' nodes say at least; %d are named", len(o.Sources))
	}
	return &stateProvider{o: o, genesis: genesis, log: log}, nil
}

// verify are the verified light blocks of heights. It asks again until ctx ends: a
// snapshot that is refused for want of a header is never tried again by the engine, and
// the blocks behind a new one are still to come.
func (p *stateProvider) verify(ctx context.Context, heights ...uint64) ([]*types.LightBlock, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		blocks, err := p.try(ctx, heights)
		if err == nil {
			return blocks, nil
		}
		p.log.Warn("the headers behind a snapshot are not verified yet", "heights", heights, "error", err)
		p.client = nil // it drops sources that failed once
		select {
		case <-ctx.Done():
			// Not wrapped: the engine gives up for good on some of the client's errors.
			return nil, fmt.Errorf("verify the headers of heights %v: %v", heights, err) //nolint:errorlint // see above
		case <-time.After(sourcePause):
		}
	}
}

func (p *stateProvider) try(ctx context.Context, heights []uint64) ([]*types.LightBlock, error) {
	if p.client == nil {
		sources := make([]provider.Provider, len(p.o.Sources))
		for i, s := range p.o.Sources {
			sources[i] = lightProvider{s, p.genesis.ChainID, p.log}
		}
		var err error
		p.client, err = light.NewClient(ctx, p.genesis.ChainID,
			light.TrustOptions{Period: p.o.TrustPeriod, Height: p.o.TrustHeight, Hash: p.o.TrustHash},
			sources[0], sources[1:], lightdb.New(dbm.NewMemDB(), ""), light.Logger(logger{log: p.log}))
		if err != nil {
			return nil, err
		}
	}
	blocks := make([]*types.LightBlock, len(heights))
	for i, h := range heights {
		var err error
		if blocks[i], err = p.client.VerifyLightBlockAtHeight(ctx, int64(h), now()); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}

// AppHash implements statesync.StateProvider: it is in the next header. The header after
// that is needed by State, and so it is asked for before anything is fetched.
func (p *stateProvider) AppHash(ctx context.Context, height uint64) ([]byte, error) {
	blocks, err := p.verify(ctx, height+1, height+2)
	if err != nil {
		return nil, err
	}
	return blocks[0].AppHash, nil
}

// Commit implements statesync.StateProvider.
func (p *stateProvider) Commit(ctx context.Context, height uint64) (*types.Commit, error) {
	blocks, err := p.verify(ctx, height)
	if err != nil {
		return nil, err
	}
	return blocks[0].Commit, nil
}

// State implements statesync.StateProvider. The consensus parameters are those of the
// genesis, which nothing changes; the header says whether they still are.
func (p *stateProvider) State(ctx context.Context, height uint64) (sm.State, error) {
	blocks, err := p.verify(ctx, height, height+1, height+2)
	if err != nil {
		return sm.State{}, err
	}
	last, current, next := blocks[0], blocks[1], blocks[2]
	params := *p.genesis.ConsensusParams
	params.Version.App = current.Version.App
	if !bytes.Equal(params.Hash(), current.ConsensusHash) {
		return sm.State{}, fmt.Errorf("the consensus parameters of block %d are not those of the genesis file", current.Height)
	}
	return sm.State{
		ChainID: p.genesis.ChainID, InitialHeight: p.genesis.InitialHeight,
		Version:         cmtstate.Version{Consensus: current.Version, Software: version.TMCoreSemVer},
		LastBlockHeight: last.Height, LastBlockTime: last.Time, LastBlockID: last.Commit.BlockID,
		AppHash: current.AppHash, LastResultsHash: current.LastResultsHash,
		LastValidators: last.ValidatorSet, Validators: current.ValidatorSet, NextValidators: next.ValidatorSet,
		LastHeightValidatorsChanged: next.Height,
		ConsensusParams:             params, LastHeightConsensusParamsChanged: current.Height,
	}, nil
}

// lightProvider is a source as the light client asks it.
type lightProvider struct {
	source LightSource
	chain  string
	log    *slog.Logger
}

func (p lightProvider) ChainID() string { return p.chain }
func (p lightProvider) String() string  { return p.source.Name() }

func (p lightProvider) LightBlock(ctx context.Context, height int64) (*types.LightBlock, error) {
	within, cancel := context.WithTimeout(ctx, sourcePatience)
	defer cancel()
	b, err := p.source.LightBlock(within, height)
	switch {
	case errors.Is(err, chain.ErrBadHeight):
		return nil, provider.ErrLightBlockNotFound
	case err != nil:
		p.log.Warn("a member's node does not give a header", "node", p.source.Name(), "height", height, "error", err)
		return nil, provider.ErrNoResponse
	}
	if err := b.ValidateBasic(p.chain); err != nil {
		return nil, provider.ErrBadLightBlock{Reason: err}
	}
	if height != 0 && b.Height != height {
		return nil, provider.ErrBadLightBlock{Reason: fmt.Errorf("it is of height %d, where %d was asked for", b.Height, height)}
	}
	return b, nil
}

func (p lightProvider) ReportEvidence(_ context.Context, e types.Evidence) error {
	p.log.Error("two members' nodes show different headers of one height, both signed: tell the consortium", "evidence", e.String())
	return nil
}
