package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
)

const (
	// MaxBlockBytes is the largest block of a new chain.
	MaxBlockBytes = 4 << 20
	// MaxGenesisBytes is the largest genesis file that is read.
	MaxGenesisBytes = 64 << 20
)

var chainID = regexp.MustCompile(`^[a-z][a-z0-9-]{2,47}$`)

// Initial reads a genesis state into an empty chain and returns the validators
// that it begins with: chain.App.InitGenesis.
type Initial func(h chain.Header, appState json.RawMessage) (root []byte, validators []chain.ValidatorUpdate, err error)

// NewGenesis builds the genesis document of a chain from its genesis state, a JSON
// object with a section per module. The state says who validates; the document
// repeats it, so that whoever holds the file alone can verify signatures. at is
// rounded down to milliseconds.
func NewGenesis(chain string, at time.Time, appState json.RawMessage, initial Initial) (*types.GenesisDoc, error) {
	params := types.DefaultConsensusParams()
	params.Block.MaxBytes = MaxBlockBytes
	// Work is metered by the chain itself.
	params.Block.MaxGas = -1
	// Extensions cannot be added to a running chain without care.
	params.ABCI.VoteExtensionsEnableHeight = 1
	var state bytes.Buffer
	if err := json.Compact(&state, appState); err != nil {
		return nil, fmt.Errorf("the genesis state is not JSON: %w", err)
	}
	g := &types.GenesisDoc{
		ChainID: chain, GenesisTime: at.UTC().Truncate(time.Millisecond), InitialHeight: 1,
		ConsensusParams: params, AppState: state.Bytes(),
	}
	validators, err := validatorsOf(g, initial)
	if err != nil {
		return nil, err
	}
	g.Validators = validators
	return g, CheckGenesis(g, initial)
}

// CheckGenesis refuses a genesis document that a chain could not start with.
// initial may be nil; then the document is looked at alone.
func CheckGenesis(g *types.GenesisDoc, initial Initial) error {
	switch {
	case !chainID.MatchString(g.ChainID):
		return fmt.Errorf("genesis: chain_id %q must be 3 to 48 of a-z, 0-9 and dashes, and begin with a letter", g.ChainID)
	case g.GenesisTime.IsZero():
		return errors.New("genesis: genesis_time is missing")
	case g.InitialHeight != 1:
		return fmt.Errorf("genesis: initial_height is %d; chains start at 1", g.InitialHeight)
	case len(g.AppHash) != 0:
		return errors.New("genesis: app_hash is set; the genesis state gives it")
	case len(g.AppState) == 0:
		return errors.New("genesis: app_state is missing")
	case g.ConsensusParams == nil:
		return errors.New("genesis: consensus_params is missing")
	case len(g.Validators) == 0:
		return errors.New("genesis: validators is empty; list those that the genesis state binds, so that receipts can be verified with this file alone")
	}
	p := g.ConsensusParams
	switch {
	case p.ABCI.VoteExtensionsEnableHeight != 1:
		return fmt.Errorf("genesis: vote_extensions_enable_height is %d; it must be 1, extensions cannot be added later without care", p.ABCI.VoteExtensionsEnableHeight)
	case p.Block.MaxBytes < 1<<20 || p.Block.MaxBytes > 16<<20:
		return fmt.Errorf("genesis: block.max_bytes is %d, want 1048576 to 16777216", p.Block.MaxBytes)
	case p.Block.MaxGas != -1:
		return fmt.Errorf("genesis: block.max_gas is %d; it must be -1, the chain meters work itself", p.Block.MaxGas)
	case !slices.Equal(p.Validator.PubKeyTypes, []string{types.ABCIPubKeyTypeEd25519}):
		return errors.New("genesis: validator.pub_key_types must be ed25519 alone: mixed key types lose batched commit checks")
	}
	if err := g.ValidateAndComplete(); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	if initial == nil {
		return nil
	}
	want, err := validatorsOf(g, initial)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(want, g.Validators, func(a, b types.GenesisValidator) bool {
		return a.Power == b.Power && a.PubKey.Equals(b.PubKey)
	})
	if !same {
		return fmt.Errorf("genesis: validators lists %d, which are not the %d that the genesis state binds, in order of key", len(g.Validators), len(want))
	}
	return nil
}

func validatorsOf(g *types.GenesisDoc, initial Initial) ([]types.GenesisValidator, error) {
	_, updates, err := initial(chain.Header{Height: g.InitialHeight, Time: g.GenesisTime.UnixMilli()}, g.AppState)
	if err != nil {
		return nil, err
	}
	out := make([]types.GenesisValidator, len(updates))
	for i, u := range updates {
		if u.Key.Type != keys.Ed25519 {
			return nil, fmt.Errorf("genesis: validator %d has a key that is not Ed25519", i)
		}
		k := ed25519.PubKey(u.Key.Bytes)
		out[i] = types.GenesisValidator{Address: k.Address(), PubKey: k, Power: u.Power}
	}
	if len(out) == 0 {
		return nil, errors.New("genesis: the genesis state binds no validator; add one to section identity")
	}
	return out, nil
}

// ReadGenesis reads a genesis document from a file, with its bytes, and looks at
// the document alone.
func ReadGenesis(path string) (*types.GenesisDoc, []byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s does not exist; get the genesis file from the consortium", path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the genesis file: %w", err)
	}
	if info.Size() > MaxGenesisBytes {
		return nil, nil, fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), MaxGenesisBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the genesis file: %w", err)
	}
	g, err := ParseGenesis(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return g, raw, nil
}

// ParseGenesis reads a genesis document and looks at it alone.
func ParseGenesis(raw []byte) (*types.GenesisDoc, error) {
	g, err := types.GenesisDocFromJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return g, CheckGenesis(g, nil)
}

// WriteGenesis writes the document as the engine reads it.
func WriteGenesis(path string, g *types.GenesisDoc) error {
	if err := CheckGenesis(g, nil); err != nil {
		return err
	}
	return g.SaveAs(path)
}
