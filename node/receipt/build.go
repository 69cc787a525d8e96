package receipt

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Blocks gives signed headers: a node's engine.
type Blocks interface {
	// LightBlock is the signed header of a height and its validators.
	LightBlock(height int64) (*types.LightBlock, error)
}

// Builder makes receipts. It is safe for concurrent use.
type Builder struct {
	chainID  string
	registry *state.Registry
	blocks   Blocks

	mu    sync.Mutex // guards links
	links []link     // of one chain of changes, in order of height
}

// link is a change of the validator set that a header announces.
type link struct {
	height int64  // of the header
	to     []byte // hash of the set that it announces
	proto  *nodev1.Link
}

// NewBuilder makes receipts of a chain.
func NewBuilder(chainID string, registry *state.Registry, blocks Blocks) *Builder {
	return &Builder{chainID: chainID, registry: registry, blocks: blocks}
}

// Build proves keys, present or absent, in a snapshot of the state. The error is
// ErrNotYet when the header that holds the snapshot's root is not signed yet.
func (b *Builder) Build(snapshot state.Snapshot, keys [][]byte) ([]byte, error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	if len(keys) == 0 || len(keys) > MaxEntries {
		return nil, ErrNoEntries.With("%d records are asked for", len(keys))
	}
	r := &nodev1.Receipt{ChainId: b.chainID, Height: snapshot.Version()}
	for _, key := range keys {
		e, err := b.entry(snapshot, key)
		if err != nil {
			return nil, err
		}
		r.Entries = append(r.Entries, e)
	}
	light, err := b.blocks.LightBlock(r.Height + 1)
	if err != nil {
		return nil, ErrNotYet.Wrap(err)
	}
	if !bytes.Equal(light.AppHash, snapshot.Root()) {
		return nil, fmt.Errorf("the state of height %d has root %x, the header of %d says %x", r.Height, snapshot.Root(), r.Height+1, light.AppHash)
	}
	if r.SignedHeader, err = light.SignedHeader.ToProto().Marshal(); err != nil {
		return nil, fmt.Errorf("marshal header %d: %w", light.Height, err)
	}
	if r.History, err = b.history(light); err != nil {
		return nil, err
	}
	return Marshal(r)
}

func (b *Builder) entry(snapshot state.Snapshot, key []byte) (*nodev1.Entry, error) {
	c, ok := b.registry.Of(key)
	if !ok {
		return nil, ErrUnknownKeys.With("%x", key)
	}
	if _, err := c.DescribeKey(key); err != nil {
		return nil, ErrUnknownKeys.With("%x does not decode as a key of %s", key, c.Name)
	}
	proof, err := snapshot.Prove(key)
	if err != nil {
		return nil, err
	}
	raw, err := proof.Marshal()
	if err != nil {
		return nil, fmt.Errorf("marshal the proof of %x: %w", key, err)
	}
	return &nodev1.Entry{Collection: c.Name, Key: key, Value: snapshot.Lookup(key), Proof: raw}, nil
}

// history finds changes that lead from the first validator set to that of a
// block. Where a set came back after others, the changes between are left out:
// it may sign for itself.
func (b *Builder) history(target *types.LightBlock) ([]*nodev1.Link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first, err := b.blocks.LightBlock(1)
	if err != nil {
		return nil, fmt.Errorf("the first block, with which the history of validators begins: %w", err)
	}
	set, from := []byte(first.ValidatorsHash), int64(1)
	var out []*nodev1.Link
	for i := 0; !bytes.Equal(set, target.ValidatorsHash); i++ {
		if i < len(b.links) && b.links[i].height >= target.Height {
			// Known links lead beyond the target; from here it needs its own.
			b.links = b.links[:i]
		}
		if i == len(b.links) {
			l, err := b.change(set, from, target.Height)
			if err != nil {
				return nil, err
			}
			b.links = append(b.links, l)
		}
		l := b.links[i]
		out = append(out, l.proto)
		set, from = l.to, l.height+1
	}
	return out, nil
}

// change finds, by bisection, a header between from, which the set signs, and to,
// which it does not, whose next block has another set.
func (b *Builder) change(set []byte, from, to int64) (link, error) {
	for to-from > 1 {
		middle := from + (to-from)/2
		l, err := b.blocks.LightBlock(middle)
		if err != nil {
			return link{}, fmt.Errorf("look for a change of the validators: %w", err)
		}
		if bytes.Equal(l.ValidatorsHash, set) {
			from = middle
		} else {
			to = middle
		}
	}
	last, err := b.blocks.LightBlock(from)
	if err != nil {
		return link{}, fmt.Errorf("look for a change of the validators: %w", err)
	}
	next, err := b.blocks.LightBlock(to)
	if err != nil {
		return link{}, fmt.Errorf("look for a change of the validators: %w", err)
	}
	p := new(nodev1.Link)
	if p.SignedHeader, err = last.SignedHeader.ToProto().Marshal(); err != nil {
		return link{}, fmt.Errorf("marshal header %d: %w", from, err)
	}
	for _, v := range next.ValidatorSet.Validators {
		// A marshalled SimpleValidator, which is what the hash of the set is over.
		p.Validators = append(p.Validators, v.Bytes())
	}
	return link{height: from, to: last.NextValidatorsHash, proto: p}, nil
}
