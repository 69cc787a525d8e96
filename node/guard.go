package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/node/signer"
)

// keyGuard finds blocks and votes that a validator key of this home signed although this
// home did not: another process uses the key, or the record of what was signed is an
// old copy. Either way the node must not sign, or two blocks of one height may
// carry its signature.
type keyGuard struct {
	keys *guardedKeys
	hold *signingHold // nil: the home is no restored one
	// since is when the node started, Unix milliseconds, where the key is in a signer, which
	// may have signed for another home before; else 0.
	since int64
	// saw is told of each block that was looked at; nil: nobody is.
	saw    func()
	blocks interface {
		LightBlock(height int64) (*types.LightBlock, error)
		Copied(height int64) bool
	}
}

// guardedKey is a validator key and the file of what it signed last.
type guardedKey struct {
	address types.Address
	state   string
}

// guardedKeys are the current key, and the one that takes over where there is one.
type guardedKeys struct {
	mu   sync.Mutex // guards list
	list []guardedKey
}

func (k *guardedKeys) add(key guardedKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, key)
}

func (k *guardedKeys) of(address types.Address) (guardedKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.list, func(g guardedKey) bool { return bytes.Equal(g.address, address) })
	if i < 0 {
		return guardedKey{}, false
	}
	return k.list[i], true
}

// last is the latest height that this home signed something of, with any of the keys.
func (k *guardedKeys) last() (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := int64(0)
	for _, key := range k.list {
		s, err := signer.ReadState(key.state)
		if err != nil {
			return 0, fmt.Errorf("read what the validator key signed last: %w", err)
		}
		last = max(last, s.Height)
	}
	return last, nil
}

// errForeign says that somebody else signs with this home's validator key.
var errForeign = errors.New("the guard of the validator key found a foreign signature")

// advice ends what the guard says.
const advice = "Another process uses the key, or %s is an old copy. Stop the other process, or restore the newest copy of that file; see 'Two processes with one key' in docs/operating.md"

// check looks at the block of one height.
func (g keyGuard) check(height int64) error {
	light, err := g.blocks.LightBlock(height)
	if err != nil {
		return fmt.Errorf("look for this node's signature: %w", err)
	}
	for _, s := range light.Commit.Signatures {
		key, own := g.keys.of(s.ValidatorAddress)
		if s.BlockIDFlag != types.BlockIDFlagCommit || !own {
			continue
		}
		if g.hold != nil && g.hold.before(height) || g.before(light.Time.UnixMilli()) {
			return nil
		}
		// What this process signs is on disk before anybody sees it.
		last, err := signer.ReadState(key.state)
		if err != nil {
			return fmt.Errorf("read what the validator key signed last: %w", err)
		}
		if last.Height < height {
			return fmt.Errorf("%w: block %d carries a signature of this node's validator key, but this home signed nothing after block %d. "+advice, errForeign, height, last.Height, key.state)
		}
	}
	return nil
}

// before tells whether a key in a signer may have signed at a time for another home.
func (g keyGuard) before(at int64) bool { return g.since > 0 && at <= g.since+skew.Milliseconds() }

// skew is how far the clocks of validators may differ.
const skew = 5 * time.Second

// heard looks at a vote of an own key.
func (g keyGuard) heard(v *types.Vote) error {
	key, own := g.keys.of(v.ValidatorAddress)
	if !own || g.hold != nil && g.hold.before(v.Height) || g.before(v.Timestamp.UnixMilli()) {
		return nil
	}
	last, err := signer.ReadState(key.state)
	if err != nil {
		return fmt.Errorf("read what the validator key signed last: %w", err)
	}
	// Prevotes and precommits are numbered as the steps in the file are, from 2 on.
	if at := (signer.State{Height: v.Height, Round: v.Round, Step: int8(v.Type) + 1}); after(at, last) {
		return fmt.Errorf("%w: a vote for height %d, round %d was given with this node's validator key, but this home signed nothing after height %d, round %d. "+advice, errForeign, v.Height, v.Round, last.Height, last.Round, key.state)
	}
	return nil
}

// after tells whether a is of a later step than b.
func after(a, b signer.State) bool {
	return cmp.Or(cmp.Compare(a.Height, b.Height), cmp.Compare(a.Round, b.Round), cmp.Compare(a.Step, b.Step)) > 0
}

// startup looks at the blocks that the node has and this home did not sign.
func (g keyGuard) startup(head int64) error {
	if g.since > 0 {
		return nil
	}
	last, err := g.keys.last()
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
		if g.blocks.Copied(height - 1) {
			return fmt.Errorf("%w: block %d carries a vote of this node's validator key for block %d that is not the one that this node gave: a copy signs in step with it. Stop both, keep one home, and see 'Two processes with one key' in docs/operating.md", errForeign, height, height-1)
		}
		if g.saw != nil {
			g.saw()
		}
	}
}
