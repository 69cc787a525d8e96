package receipt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Blocks gives signed headers: a node's engine.
type Blocks interface {
	// LightBlock is the signed header of a height and its validators.
	LightBlock(height int64) (*types.LightBlock, error)
	// History is what there is to lead from the genesis to those headers.
	History() (History, error)
}

// History is what a node has of how its validators changed.
type History struct {
	// First is the hash of the genesis validators.
	First []byte
	// Oldest is the oldest height from which on the node has all headers.
	Oldest int64
	// Changes are kept of heights before that, and maybe of some after it, in order of
	// height: each begins with the validators that the one before it ends with, the first
	// with those of the genesis.
	Changes []*nodev1.Link
}

// Builder makes receipts. It is safe for concurrent use.
type Builder struct {
	chainID  string
	registry *state.Registry
	blocks   Blocks

	mu    sync.Mutex // guards links
	links []link     // changes that were looked for
}

// link is a change of the validator set that a header announces.
type link struct {
	height   int64  // of the header
	from, to []byte // hashes of the set that signs it, and of the one that it announces
	proto    *nodev1.Link
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

// Links are changes that lead from the genesis validators to those of a height, for
// somebody who has no older headers.
func (b *Builder) Links(height int64) ([]*nodev1.Link, error) {
	light, err := b.blocks.LightBlock(height)
	if err != nil {
		return nil, err
	}
	return b.history(light)
}

// history finds changes that lead from the first validator set to that of a
// block: those that are kept, and of headers that are here those that it looks for. Where
// a set came back after others, the changes between are left out: it may sign for itself.
func (b *Builder) history(target *types.LightBlock) ([]*nodev1.Link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, err := b.blocks.History()
	if err != nil {
		return nil, fmt.Errorf("the history of validators: %w", err)
	}
	known := slices.Clone(b.links)
	for _, p := range h.Changes {
		l, err := parseLink(p)
		if err != nil {
			return nil, fmt.Errorf("a change of validators that is kept: %w", err)
		}
		known = append(known, l)
	}
	set, from := h.First, int64(1)
	var out []*nodev1.Link
	for !bytes.Equal(set, target.ValidatorsHash) {
		l, ok := latest(known, set, from, target.Height)
		if !ok {
			if l, err = b.change(set, max(from, h.Oldest), target.Height); err != nil {
				return nil, err
			}
			known, b.links = append(known, l), append(b.links, l)
		}
		out = append(out, l.proto)
		set, from = l.to, l.height+1
	}
	return out, nil
}

// latest is the latest of the changes between two heights that a set signed.
func latest(known []link, set []byte, from, below int64) (found link, ok bool) {
	for _, l := range known {
		if l.height >= from && l.height < below && bytes.Equal(l.from, set) && (!ok || l.height > found.height) {
			found, ok = l, true
		}
	}
	return found, ok
}

func parseLink(p *nodev1.Link) (link, error) {
	h, err := HeaderOf(p)
	if err != nil {
		return link{}, err
	}
	return link{height: h.Height, from: h.ValidatorsHash, to: h.NextValidatorsHash, proto: p}, nil
}

// HeaderOf is the header of a change, which Follow verifies and this does not.
func HeaderOf(l *nodev1.Link) (*cmtproto.Header, error) {
	pb := new(cmtproto.SignedHeader)
	if err := pb.Unmarshal(l.GetSignedHeader()); err != nil {
		return nil, fmt.Errorf("the header of a change of validators: %w", err)
	}
	if pb.Header == nil {
		return nil, errors.New("a change of validators has no header")
	}
	return pb.Header, nil
}

// change finds, by bisection, a header between from, which the set signs, and to,
// which it does not, whose next block has another set.
func (b *Builder) change(set []byte, from, to int64) (link, error) {
	if from >= to {
		return link{}, ErrNoHistory.With("the changes of validators before block %d are not here", to)
	}
	first, err := b.blocks.LightBlock(from)
	if err != nil {
		return link{}, fmt.Errorf("look for a change of the validators: %w", err)
	}
	if !bytes.Equal(first.ValidatorsHash, set) {
		return link{}, ErrNoHistory.With("the changes of validators before block %d are not here", from)
	}
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
	p, err := newLink(last.SignedHeader, next.ValidatorSet)
	if err != nil {
		return link{}, err
	}
	return link{height: from, from: last.ValidatorsHash, to: last.NextValidatorsHash, proto: p}, nil
}

// newLink is a header that announces other validators, and these.
func newLink(h *types.SignedHeader, next *types.ValidatorSet) (*nodev1.Link, error) {
	l := new(nodev1.Link)
	var err error
	if l.SignedHeader, err = h.ToProto().Marshal(); err != nil {
		return nil, fmt.Errorf("marshal header %d: %w", h.Height, err)
	}
	for _, v := range next.Validators {
		// A marshalled SimpleValidator, which is what the hash of the set is over.
		l.Validators = append(l.Validators, v.Bytes())
	}
	return l, nil
}
