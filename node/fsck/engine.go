package fsck

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/consensus"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
)

// engineDatabases are the databases of the consensus engine.
var engineDatabases = []string{"blockstore", "state", "evidence"}

// header is what later parts need of a block.
type header struct {
	hash, appHash, resultsHash []byte
	time                       int64    // Unix milliseconds
	txs                        [][]byte // SHA-256 of each, the docket first
}

// engineState is how far the engine's own state is.
type engineState struct {
	height  int64
	appHash []byte
	results []byte
}

// genesis checks the genesis file. What the engine keeps of it is compared in blocks.
func (c *checker) genesis() error {
	doc, _, err := config.ReadGenesis(c.home.GenesisFile())
	if err == nil {
		err = node.CheckGenesis(doc)
	}
	if err != nil {
		c.problem(c.home.GenesisFile(), 0, "put the consortium's genesis file there", "the genesis file cannot be used: %v", err)
		return nil
	}
	c.report.ChainID = doc.ChainID
	return nil
}

// scan reads every pair of a database, and so every checksum of what is in use.
func (c *checker) scan(name string, db cmtdb.DB) error {
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return err
	}
	n := int64(0)
	for ; it.Valid(); it.Next() {
		if n++; n%1024 == 0 {
			c.progress("pairs of the engine's database "+name, n)
			if err := c.ctx.Err(); err != nil {
				return errors.Join(err, it.Close())
			}
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// blocks checks the engine's databases.
func (c *checker) blocks() error {
	if !exists(c.home.Engine()) {
		c.note("the home holds no blocks yet")
		return nil
	}
	dbs := make(map[string]cmtdb.DB)
	defer func() {
		for _, db := range dbs {
			_ = db.Close() // it was only read
		}
	}()
	for _, name := range engineDatabases {
		err := guarded(func() error {
			db, err := offline.Engine(c.home, name)
			if err != nil {
				return err
			}
			dbs[name] = db
			return c.scan(name, db)
		})
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			c.problem(c.engineDir(name), 0, fromBackup, "the database cannot be read: %v", err)
		}
	}
	blocks, states := dbs["blockstore"], dbs["state"]
	if blocks == nil || states == nil {
		return nil
	}
	if err := guarded(func() error { return c.chain(blocks, states) }); err != nil {
		c.problem(c.home.Engine(), 0, fromBackup, "the blocks cannot be read: %v", err)
	}
	return c.ctx.Err()
}

// decodable makes an error of what cannot be decoded before the library ends the process
// over it.
func decodable(db cmtdb.DB, key string, into interface{ Unmarshal([]byte) error }) error {
	raw, err := db.Get([]byte(key))
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return fmt.Errorf("%s is missing", key)
	}
	if err := into.Unmarshal(raw); err != nil {
		return fmt.Errorf("%s does not decode: %w", key, err)
	}
	return nil
}

func (c *checker) chain(blockDB, stateDB cmtdb.DB) error {
	blocks := store.NewBlockStore(blockDB)
	c.report.Oldest, c.report.Height = blocks.Base(), blocks.Height()
	if err := c.storedGenesis(stateDB); err != nil {
		c.problem(c.engineDir("state"), 0, fromBackup, "%v", err)
	}
	if blocks.Height() == 0 {
		c.note("the home holds no blocks yet")
		return nil
	}
	if err := decodable(stateDB, "stateKey", new(cmtstate.State)); err != nil {
		return err
	}
	states := sm.NewStore(stateDB, sm.StoreOptions{})
	s, err := states.Load()
	if err != nil {
		return err
	}
	c.engine = engineState{height: s.LastBlockHeight, appHash: s.AppHash, results: s.LastResultsHash}
	if c.report.ChainID != "" && s.ChainID != c.report.ChainID {
		c.problem(c.engineDir("state"), 0, fromBackup, "it is of the chain %q, the genesis file of %q", s.ChainID, c.report.ChainID)
	}
	k := &chainCheck{checker: c, chainID: s.ChainID, blocks: blocks, states: states, blockDB: blockDB, stateDB: stateDB}
	last, err := k.keptHeaders()
	if err != nil {
		return err
	}
	for height := blocks.Base(); height <= blocks.Height(); height++ {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.progress("blocks", height)
		var id types.BlockID
		err := guarded(func() (err error) {
			id, err = k.block(height, last)
			return err
		})
		if err != nil {
			c.problem(c.engineDir("blockstore"), height, fromBackup, "block %d: %v", height, err)
		}
		last = id
		c.report.Blocks++
	}
	if err := guarded(func() error { return k.head(s) }); err != nil {
		c.problem(c.engineDir("state"), s.LastBlockHeight, fromBackup, "the engine's state: %v", err)
	}
	return nil
}

// storedGenesis compares what the engine kept of the genesis file with the file.
func (c *checker) storedGenesis(db cmtdb.DB) error {
	raw, err := db.Get([]byte("genesisDoc"))
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return errors.New("the engine's copy of the genesis file is missing")
	}
	var stored *types.GenesisDoc
	if err := cmtjson.Unmarshal(raw, &stored); err != nil {
		return fmt.Errorf("the engine's copy of the genesis file does not decode: %w", err)
	}
	doc, _, err := config.ReadGenesis(c.home.GenesisFile())
	if err != nil {
		return nil //nolint:nilerr // it was reported before
	}
	if err := doc.ValidateAndComplete(); err != nil {
		return nil //nolint:nilerr // it was reported before
	}
	have, err := canonical(stored)
	if err != nil {
		return err
	}
	want, err := canonical(doc)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		c.problem(c.home.GenesisFile(), 0, "put the consortium's genesis file there; if it is the right one, restore the home from a backup",
			"the genesis file has the hash %x, the one that the node began with %x", sha256.Sum256(want), sha256.Sum256(have))
	}
	return nil
}

// canonical is JSON of a genesis document without differences of form.
func canonical(doc *types.GenesisDoc) ([]byte, error) {
	raw, err := cmtjson.Marshal(doc)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v) // keys in order
}

type chainCheck struct {
	*checker
	chainID          string
	blocks           *store.BlockStore
	states           sm.Store
	blockDB, stateDB cmtdb.DB
}

// validators are those of a height.
func (k *chainCheck) validators(height int64) (*types.ValidatorSet, error) {
	if err := decodable(k.stateDB, fmt.Sprintf("validatorsKey:%d", height), new(cmtstate.ValidatorsInfo)); err != nil {
		return nil, err
	}
	return k.states.LoadValidators(height)
}

// block checks a block and all that is kept of it. last is the block before, zero where
// that is not known.
func (k *chainCheck) block(height int64, last types.BlockID) (id types.BlockID, err error) {
	meta := k.blocks.LoadBlockMeta(height)
	if meta == nil {
		return id, errors.New("its header is missing")
	}
	id = meta.BlockID
	size := 0
	for i := range int(id.PartSetHeader.Total) {
		part := k.blocks.LoadBlockPart(height, i)
		if part == nil {
			return id, fmt.Errorf("its part %d is missing", i)
		}
		if err := part.ValidateBasic(); err != nil {
			return id, fmt.Errorf("part %d: %w", i, err)
		}
		if int(part.Index) != i || part.Proof.Index != int64(i) || part.Proof.Total != int64(id.PartSetHeader.Total) {
			return id, fmt.Errorf("part %d is another", i)
		}
		if err := part.Proof.Verify(id.PartSetHeader.Hash, part.Bytes); err != nil {
			return id, fmt.Errorf("part %d: %w", i, err)
		}
		size += len(part.Bytes)
	}
	b := k.blocks.LoadBlock(height)
	if b == nil {
		return id, errors.New("it is missing")
	}
	switch {
	case b.Height != height:
		return id, fmt.Errorf("it is of height %d", b.Height)
	case !bytes.Equal(b.Hash(), id.Hash):
		return id, fmt.Errorf("its hash is %X, and says %X", b.Hash(), id.Hash)
	case !bytes.Equal(meta.Header.Hash(), id.Hash):
		return id, fmt.Errorf("the header kept beside it has hash %X", meta.Header.Hash())
	case meta.BlockSize != size || meta.NumTxs != len(b.Txs):
		return id, fmt.Errorf("it has %d bytes and %d transactions, and says %d and %d", size, len(b.Txs), meta.BlockSize, meta.NumTxs)
	case b.ChainID != k.chainID:
		return id, fmt.Errorf("it is of the chain %q", b.ChainID)
	case !last.IsZero() && !b.LastBlockID.Equals(last):
		return id, fmt.Errorf("it follows the block %v, the one before it is %v", b.LastBlockID, last)
	}
	if err := b.ValidateBasic(); err != nil {
		return id, err
	}
	h := header{hash: id.Hash, appHash: b.AppHash, resultsHash: b.LastResultsHash, time: b.Time.UnixMilli()}
	for _, t := range b.Txs {
		sum := sha256.Sum256(t)
		h.txs = append(h.txs, sum[:])
	}
	k.headers[height] = h
	if other := k.blocks.LoadBlockByHash(id.Hash); other == nil || other.Height != height {
		return id, errors.New("it is not found by its hash")
	}
	return id, errors.Join(k.commits(height, id, b), k.rules(b))
}

// keptHeaders checks the headers and commits that pruning left for evidence, and returns
// the id of the latest; there need be none.
func (k *chainCheck) keptHeaders() (last types.BlockID, err error) {
	var heights []int64
	it, err := k.blockDB.Iterator([]byte("H:"), []byte("H;"))
	if err != nil {
		return last, err
	}
	for ; it.Valid(); it.Next() {
		height, err := strconv.ParseInt(strings.TrimPrefix(string(it.Key()), "H:"), 10, 64)
		if err != nil {
			k.problem(k.engineDir("blockstore"), 0, fromBackup, "the key %q is no header's", it.Key())
		} else if height < k.blocks.Base() {
			heights = append(heights, height)
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return last, err
	}
	slices.Sort(heights)
	for i, height := range heights {
		if err := k.ctx.Err(); err != nil {
			return last, err
		}
		k.progress("headers without their blocks", height)
		var id types.BlockID
		err := guarded(func() (err error) {
			if next := k.blocks.Base(); i+1 < len(heights) && heights[i+1] != height+1 || i+1 == len(heights) && next != height+1 {
				return errors.New("the one after it is missing")
			}
			id, err = k.keptHeader(height, last)
			return err
		})
		if err != nil {
			k.problem(k.engineDir("blockstore"), height, fromBackup, "the header of block %d: %v", height, err)
		}
		last = id
	}
	return last, nil
}

func (k *chainCheck) keptHeader(height int64, last types.BlockID) (id types.BlockID, err error) {
	if err := decodable(k.blockDB, fmt.Sprintf("H:%d", height), new(cmtproto.BlockMeta)); err != nil {
		return id, err
	}
	meta := k.blocks.LoadBlockMeta(height)
	id = meta.BlockID
	switch {
	case meta.Header.Height != height:
		return id, fmt.Errorf("it is of height %d", meta.Header.Height)
	case !bytes.Equal(meta.Header.Hash(), id.Hash):
		return id, fmt.Errorf("its hash is %X, and says %X", meta.Header.Hash(), id.Hash)
	case !last.IsZero() && !meta.Header.LastBlockID.Equals(last):
		return id, fmt.Errorf("it follows the block %v, the one before it is %v", meta.Header.LastBlockID, last)
	}
	set, err := k.validators(height)
	if err != nil {
		return id, err
	}
	if !bytes.Equal(set.Hash(), meta.Header.ValidatorsHash) {
		return id, fmt.Errorf("the engine's validators of this height have hash %X, it holds %X", set.Hash(), meta.Header.ValidatorsHash)
	}
	commit := k.blocks.LoadBlockCommit(height)
	if commit == nil {
		return id, errors.New("its commit is missing")
	}
	return id, types.VerifyCommit(k.chainID, set, id, height, commit)
}

// commits checks what was signed of a block, each signature.
func (k *chainCheck) commits(height int64, id types.BlockID, b *types.Block) error {
	set, err := k.validators(height)
	if err != nil {
		return err
	}
	if !bytes.Equal(set.Hash(), b.ValidatorsHash) {
		return fmt.Errorf("the engine's validators of this height have hash %X, the header holds %X", set.Hash(), b.ValidatorsHash)
	}
	verify := func(what string, commit *types.Commit) error {
		if commit == nil {
			return fmt.Errorf("%s is missing", what)
		}
		if err := types.VerifyCommit(k.chainID, set, id, height, commit); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	seen := k.blocks.LoadSeenCommit(height)
	extended := k.blocks.LoadBlockExtendedCommit(height)
	if seen != nil || height == k.blocks.Height() {
		err = verify("the commit that the node saw", seen)
	}
	if extended != nil {
		err = errors.Join(err, verify("the commit with extensions", extended.ToCommit()), k.extensions(set, extended))
	}
	if height == k.blocks.Height() {
		return err
	}
	commit := k.blocks.LoadBlockCommit(height)
	err = errors.Join(err, verify("its commit", commit))
	if next := k.blocks.LoadBlock(height + 1); next != nil && commit != nil && !bytes.Equal(next.LastCommit.Hash(), commit.Hash()) {
		err = errors.Join(err, errors.New("its commit is not the one in the next block"))
	}
	return err
}

func (k *chainCheck) extensions(set *types.ValidatorSet, commit *types.ExtendedCommit) error {
	for i, s := range commit.ExtendedSignatures {
		if s.BlockIDFlag != types.BlockIDFlagCommit {
			continue
		}
		_, v := set.GetByIndex(int32(i))
		if v == nil {
			return errors.New("the commit with extensions has more votes than there are validators")
		}
		if err := commit.GetExtendedVote(int32(i)).VerifyExtension(k.chainID, v.PubKey); err != nil {
			return fmt.Errorf("the extension of %X: %w", v.Address, err)
		}
	}
	return nil
}

// rules checks what the engine remembers of the rules of a height.
func (k *chainCheck) rules(b *types.Block) error {
	if err := decodable(k.stateDB, fmt.Sprintf("consensusParamsKey:%d", b.Height), new(cmtstate.ConsensusParamsInfo)); err != nil {
		return err
	}
	params, err := k.states.LoadConsensusParams(b.Height)
	if err != nil {
		return err
	}
	if !bytes.Equal(params.Hash(), b.ConsensusHash) {
		return fmt.Errorf("the engine's consensus parameters have hash %X, the header holds %X", params.Hash(), b.ConsensusHash)
	}
	return nil
}

// head checks the engine's own state against the latest blocks.
func (k *chainCheck) head(s sm.State) error {
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	meta := k.blocks.LoadBlockMeta(s.LastBlockHeight)
	if s.LastBlockHeight > 0 && meta != nil {
		if !meta.BlockID.Equals(s.LastBlockID) || !meta.Header.Time.Equal(s.LastBlockTime) {
			say("it says that its latest block is %v of %v", s.LastBlockID, s.LastBlockTime)
		}
		if !bytes.Equal(meta.Header.ValidatorsHash, s.LastValidators.Hash()) || !bytes.Equal(meta.Header.NextValidatorsHash, s.Validators.Hash()) {
			say("its validators are others than those of block %d", s.LastBlockHeight)
		}
	}
	if next := k.blocks.LoadBlockMeta(s.LastBlockHeight + 1); next != nil {
		h := next.Header
		if !bytes.Equal(h.AppHash, s.AppHash) || !bytes.Equal(h.LastResultsHash, s.LastResultsHash) || !bytes.Equal(h.NextValidatorsHash, s.NextValidators.Hash()) {
			say("it does not lead to block %d", h.Height)
		}
	}
	if set, err := k.validators(s.LastBlockHeight + 2); err != nil || !bytes.Equal(set.Hash(), s.NextValidators.Hash()) {
		say("its next validators are others than those of height %d", s.LastBlockHeight+2)
	}
	return errors.Join(errs...)
}

// engineLog reads the engine's log of votes.
func (c *checker) engineLog() error {
	dir := filepath.Join(c.home.Engine(), "cs.wal")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // a node begins one where there is none
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "wal") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := readEngineLog(path); err != nil {
			c.problem(path, 0, "the engine mends it at its start, or goes on without it: it holds votes of blocks that are decided, and of the one that was not", "%v", err)
		}
	}
	return nil
}

func readEngineLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it is only read
	d := consensus.NewWALDecoder(f)
	for {
		err := guarded(func() error {
			_, err := d.Decode()
			return err
		})
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
