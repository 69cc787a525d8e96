package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/node/config"
)

// keyGuard finds blocks that this home's validator key signed although this home
// did not: another process uses the key, or the record of what was signed is an
// old copy. Either way the node must not sign, or two blocks of one height may
// carry its signature.
type keyGuard struct {
	home    config.Home
	address types.Address
	hold    *signingHold // nil: the home is no restored one
	blocks  interface {
		LightBlock(height int64) (*types.LightBlock, error)
	}
}

// errForeign says that somebody else signs with this home's validator key.
var errForeign = errors.New("the guard of the validator key found a foreign signature")

// lastSigned is the latest height that this home signed something of.
func (g keyGuard) lastSigned() (int64, error) {
	raw, err := os.ReadFile(g.home.ValidatorStateFile())
	if err != nil {
		return 0, fmt.Errorf("read what the validator key signed last: %w", err)
	}
	var s struct {
		Height string `json:"height"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, fmt.Errorf("read what the validator key signed last: %w", err)
	}
	return strconv.ParseInt(s.Height, 10, 64)
}

// check looks at the block of one height.
func (g keyGuard) check(height int64) error {
	light, err := g.blocks.LightBlock(height)
	if err != nil {
		return fmt.Errorf("look for this node's signature: %w", err)
	}
	for _, s := range light.Commit.Signatures {
		if s.BlockIDFlag != types.BlockIDFlagCommit || !bytes.Equal(s.ValidatorAddress, g.address) {
			continue
		}
		if g.hold != nil && g.hold.before(height) {
			return nil
		}
		// What this process signs is on disk before anybody sees it.
		last, err := g.lastSigned()
		if err != nil {
			return err
		}
		if last < height {
			return fmt.Errorf("%w: block %d carries a signature of this node's validator key, but this home signed nothing after block %d. Another process uses the key, or %s is an old copy. Stop the other process, or restore the newest copy of that file; see 'Two processes with one key' in docs/operating.md", errForeign, height, last, g.home.ValidatorStateFile())
		}
	}
	return nil
}

// startup looks at the blocks that the node has and this home did not sign.
func (g keyGuard) startup(head int64) error {
	last, err := g.lastSigned()
	if err != nil {
		return err
	}
	for height := head; height > last && height > head-guardDepth && height > 0; height-- {
		err := g.check(height)
		if errors.Is(err, chain.ErrBadHeight) && height < head {
			return nil // the node began with a snapshot of a later block
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// guardDepth is how many of the latest blocks startup looks at.
const guardDepth = 1000

// follow looks at each block from a height on, as the node commits it.
func (g keyGuard) follow(ctx context.Context, from int64, wait func(context.Context, int64) error) error {
	for height := from; ; height++ {
		if err := wait(ctx, height); err != nil {
			return nil //nolint:nilerr // the node is being stopped
		}
		if err := g.check(height); err != nil {
			return err
		}
	}
}
