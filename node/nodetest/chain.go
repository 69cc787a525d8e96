// Package nodetest is a chain for tests of what surrounds a node: a chain.App whose
// blocks are made on demand and signed by validators' keys, as an engine would,
// without a network.
package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/crypto/tmhash"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"
	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/receipt"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Config is what a Chain is made of.
type Config struct {
	// Modules and their authenticator; nil: none, and chaintest.Actors.
	Modules       []chain.Module
	Authenticator chain.Authenticator
	// Screen judges transactions; nil: none is judged.
	Screen chain.Screen
	// Genesis is the genesis state. Empty: {}.
	Genesis string
	// Validators is how many sign, with powers 10, 11, 12… 0: 4.
	Validators int
}

// Chain is a chain whose blocks the test makes. It is safe for concurrent use.
type Chain struct {
	App     *chain.App
	Records *records.Log
	Genesis *types.GenesisDoc

	t testing.TB

	mu      sync.Mutex // guards all below
	now     int64
	salt    uint64
	pool    [][]byte
	inPool  map[tx.ID]bool
	lights  []*types.LightBlock // of heights 1, 2, …
	txs     map[int64][][]byte  // of each height
	keys    map[string]ed25519.PrivKey
	current *types.ValidatorSet // of the next block
	next    *types.ValidatorSet // of the block after
}

// New starts a chain at block 1.
func New(t testing.TB, c Config) *Chain {
	t.Helper()
	if c.Genesis == "" {
		c.Genesis = "{}"
	}
	if c.Validators == 0 {
		c.Validators = 4
	}
	if c.Authenticator == nil {
		c.Authenticator = chaintest.Actors{}
	}
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 10_000, ValueCache: 1000})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: c.Authenticator, Screen: c.Screen, Modules: c.Modules,
		Rand: rand.New(rand.NewSource(1)), Workers: 2, Partial: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := records.Open(dbm.NewMemDB(), true)
	if err != nil {
		t.Fatal(err)
	}
	n := &Chain{
		App: app, Records: log, t: t, now: chaintest.GenesisTime,
		inPool: make(map[tx.ID]bool), keys: make(map[string]ed25519.PrivKey), txs: make(map[int64][][]byte),
	}
	if _, _, err := app.InitGenesis(chain.Header{Height: 1, Time: n.now}, json.RawMessage(c.Genesis)); err != nil {
		t.Fatal(err)
	}
	n.Genesis = &types.GenesisDoc{
		ChainID: chaintest.ChainID, GenesisTime: time.UnixMilli(n.now).UTC(), InitialHeight: 1,
		ConsensusParams: types.DefaultConsensusParams(), AppState: json.RawMessage(c.Genesis),
	}
	var list []*types.Validator
	for i := range c.Validators {
		v := n.validator(i)
		list = append(list, v)
		n.Genesis.Validators = append(n.Genesis.Validators, types.GenesisValidator{Address: v.Address, PubKey: v.PubKey, Power: v.VotingPower})
	}
	n.current = types.NewValidatorSet(list)
	n.next = n.current
	n.Block()
	return n
}

// validator is the i-th validator that a chain may have.
func (n *Chain) validator(i int) *types.Validator {
	key := ed25519.GenPrivKeyFromSecret(fmt.Appendf(nil, "nodetest/%d", i))
	n.keys[string(key.PubKey().Address())] = key
	return types.NewValidator(key.PubKey(), int64(10+i))
}

// SetValidators lets the given validators, by number, sign from two blocks after
// the next one on, as an engine does.
func (n *Chain) SetValidators(numbers ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*types.Validator
	for _, i := range numbers {
		list = append(list, n.validator(i))
	}
	n.next = types.NewValidatorSet(list)
}

// Now is the latest block's time in Unix milliseconds.
func (n *Chain) Now() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// Height is the latest block.
func (n *Chain) Height() int64 { return n.App.Tree().Version() }

// Submit puts a transaction into the next block.
func (n *Chain) Submit(_ context.Context, raw []byte, hint bool) (tx.ID, *chainv1.Verdict, error) {
	d, err := n.App.Decode(raw)
	if err != nil {
		return tx.ID{}, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inPool[d.ID] {
		return d.ID, nil, nil
	}
	ask := chain.AskRoom
	if hint {
		ask = chain.AskHint
	}
	admitted := n.App.AdmitWithHints([]*tx.Decoded{d}, []chain.Ask{ask})[0]
	if admitted.Err != nil {
		return d.ID, nil, admitted.Err
	}
	n.inPool[d.ID] = true
	n.pool = append(n.pool, raw)
	return d.ID, admitted.Hint, nil
}

// Pooled is how many transactions wait for the next block.
func (n *Chain) Pooled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.pool)
}

// Tx builds a transaction of the author with the author's own key.
func (n *Chain) Tx(author string, messages ...proto.Message) []byte {
	n.t.Helper()
	n.mu.Lock()
	n.salt++
	salt, now := n.salt, n.now
	n.mu.Unlock()
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: author, ValidUntil: now + chaintest.Validity,
		Salt: fmt.Appendf(nil, "%016d", salt), Messages: messages,
	}.Sign(chaintest.Actor(author))
	if err != nil {
		n.t.Fatal(err)
	}
	return raw
}

// SetParams builds a transaction of the consortium that sets the parameters to the
// defaults: one that every chain knows, and that has one event.
func (n *Chain) SetParams() []byte {
	n.t.Helper()
	return n.Tx(chaintest.Consortium, setParams())
}

// Block commits a block of what was submitted and of the given transactions.
func (n *Chain) Block(raws ...[]byte) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	height := n.App.Tree().Version() + 1
	if height > 1 {
		n.now += chaintest.BlockTime
	}
	x := n.App.Begin(chain.Header{Height: height, Time: n.now})
	for _, raw := range slices.Concat(n.pool, raws) {
		d, err := n.App.Decode(raw)
		if err == nil {
			_, err = x.Deliver(d)
		}
		if err != nil {
			n.t.Fatalf("block %d: %v", height, err)
		}
		n.txs[height] = append(n.txs[height], raw)
	}
	n.pool, n.inPool = nil, make(map[tx.ID]bool)
	n.sign(height)
	block := x.End()
	if _, err := n.App.Apply(block); err != nil {
		n.t.Fatal(err)
	}
	if err := n.Records.Append(block.Record); err != nil {
		n.t.Fatal(err)
	}
	if err := n.App.Commit(); err != nil {
		n.t.Fatal(err)
	}
	n.Records.Publish(height)
}

// sign makes the header of a block on top of the committed state, and its commit.
func (n *Chain) sign(height int64) {
	hash := func(what string) []byte { return tmhash.Sum(fmt.Appendf(nil, "%s %d", what, height)) }
	h := types.Header{
		Version: cmtversion.Consensus{Block: version.BlockProtocol},
		ChainID: chaintest.ChainID, Height: height, Time: time.UnixMilli(n.now).UTC(),
		LastCommitHash: hash("last commit"), DataHash: hash("data"),
		ValidatorsHash: n.current.Hash(), NextValidatorsHash: n.next.Hash(),
		ConsensusHash: hash("params"), AppHash: n.App.Tree().Root(),
		LastResultsHash: hash("results"), EvidenceHash: hash("evidence"),
		ProposerAddress: n.current.Validators[0].Address,
	}
	if height > 1 {
		h.LastBlockID = n.lights[height-2].Commit.BlockID
	}
	n.lights = append(n.lights, n.Sign(h, n.current, 0))
	n.current = n.next
}

// Sign makes a light block of a header that the set signs, except the last
// abstain of its validators.
func (n *Chain) Sign(h types.Header, set *types.ValidatorSet, abstain int) *types.LightBlock {
	n.t.Helper()
	id := types.BlockID{Hash: h.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: tmhash.Sum(h.Hash())}}
	commit := &types.Commit{Height: h.Height, Round: 0, BlockID: id}
	for i, v := range set.Validators {
		if i >= set.Size()-abstain {
			commit.Signatures = append(commit.Signatures, types.NewCommitSigAbsent())
			continue
		}
		at := h.Time.Add(time.Duration(i) * time.Millisecond)
		vote := &cmtproto.Vote{
			Type: cmtproto.PrecommitType, Height: h.Height, Round: 0, BlockID: id.ToProto(),
			Timestamp: at, ValidatorAddress: v.Address, ValidatorIndex: int32(i),
		}
		sig, err := n.keys[string(v.Address)].Sign(types.VoteSignBytes(h.ChainID, vote))
		if err != nil {
			n.t.Fatal(err)
		}
		commit.Signatures = append(commit.Signatures, types.CommitSig{
			BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: v.Address, Timestamp: at, Signature: sig,
		})
	}
	return &types.LightBlock{SignedHeader: &types.SignedHeader{Header: &h, Commit: commit}, ValidatorSet: set}
}

// Txs are the transactions of a block that was committed, in order.
func (n *Chain) Txs(height int64) ([][]byte, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	txs, ok := n.txs[height]
	return txs, ok
}

// Forget lets the chain have a block's transactions no more, as an engine that prunes.
func (n *Chain) Forget(height int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.txs, height)
}

// LightBlock is the signed header of a block that was committed.
func (n *Chain) LightBlock(height int64) (*types.LightBlock, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if height < 1 || height > int64(len(n.lights)) || height > n.App.Tree().Version() {
		return nil, chain.ErrBadHeight.With("no block %d", height)
	}
	return n.lights[height-1], nil
}

// Header is the header of a block that was committed.
func (n *Chain) Header(height int64) (*types.Header, bool) {
	light, err := n.LightBlock(height)
	if err != nil {
		return nil, false
	}
	return light.Header, true
}

// Hashes answers a question about the state.
func (n *Chain) Hashes(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	_, s, err := n.App.View(q.Height)
	if err != nil {
		return nil, err
	}
	return divergence.Answer(ctx, s, q)
}

// History implements receipt.Blocks: the chain has all its headers.
func (n *Chain) History() (receipt.History, error) {
	return receipt.History{First: n.lights[0].ValidatorsHash, Oldest: 1}, nil
}

// Snapshot is the state at a height.
func (n *Chain) Snapshot(height int64) state.Snapshot {
	n.t.Helper()
	_, s, err := n.App.View(height)
	if err != nil {
		n.t.Fatal(err)
	}
	if l, err := n.LightBlock(height + 1); err == nil && !bytes.Equal(l.AppHash, s.Root()) {
		n.t.Fatalf("the header of %d does not hold the root of %d", height+1, height)
	}
	return s
}
