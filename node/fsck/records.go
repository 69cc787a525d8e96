package fsck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	abci "github.com/cometbft/cometbft/abci/types"
	sm "github.com/cometbft/cometbft/state"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
	"github.com/chancery/chancery/node/receipt"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// records checks what the node keeps for readers: every result against the hash of
// results in the next header, every block's own form, and the index of transactions.
func (c *checker) records() error {
	dir := c.recordsDir()
	if !exists(dir) {
		if c.report.State > 0 {
			c.problem(dir, 0, fromBackup, "there is a state and there are no records")
		}
		return nil
	}
	err := guarded(func() (err error) {
		db, err := offline.Database(c.config.State.Backend, "records", c.home.Data())
		if err != nil {
			return err
		}
		return errors.Join(c.allRecords(db), db.Close())
	})
	if err != nil && c.ctx.Err() == nil {
		c.problem(dir, 0, fromBackup, "the records cannot be read: %v", err)
	}
	return c.ctx.Err()
}

func (c *checker) allRecords(db dbm.DB) error {
	dir := c.recordsDir()
	var blocks, txs, places int64
	var changes []*nodev1.Link
	err := offline.Each(db, func(key, value []byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		kind, err := records.Kind(key)
		if err != nil {
			c.problem(dir, 0, fromBackup, "%v", err)
			return nil
		}
		switch kind {
		case records.Block:
			blocks++
			c.progress("records of blocks", blocks)
			height := int64(binary.BigEndian.Uint64(key[1:]))
			n, err := c.blockRecord(db, height, value)
			txs += n
			if err != nil {
				c.problem(dir, height, fromBackup, "the record of block %d: %v", height, err)
			}
		case records.Place:
			places++
		case records.Head:
			if len(value) != 8 {
				c.problem(dir, 0, fromBackup, "the height of the records has %d bytes", len(value))
				break
			}
			c.report.Records = int64(binary.BigEndian.Uint64(value))
		case records.Extent:
			if _, err := records.ParsePruned(value); err != nil {
				c.problem(dir, 0, fromBackup, "%v", err)
			}
		case records.Change:
			height := int64(binary.BigEndian.Uint64(key[1:]))
			l := new(nodev1.Link)
			err := l.UnmarshalVT(value)
			if again, _ := l.MarshalVT(); err == nil && !bytes.Equal(again, value) {
				err = errors.New("it is not as the node writes it")
			}
			if err != nil {
				c.problem(dir, height, fromBackup, "the change of validators of block %d: %v", height, err)
				break
			}
			changes = append(changes, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.changes(changes); err != nil {
		c.problem(dir, 0, fromBackup, "the changes of validators that are kept for receipts: %v", err)
	}
	if txs != places {
		c.problem(dir, 0, fromBackup, "there are %d transactions and %d places of them", txs, places)
	}
	for height := max(c.report.Oldest, 1); height <= min(c.report.Records, c.report.Height); height++ {
		if ok, err := db.Has(records.BlockKey(height)); err != nil || !ok {
			c.problem(dir, height, fromBackup, "the record of block %d is missing", height)
		}
	}
	return nil
}

// changes checks the headers that lead from the genesis validators to others, and each
// signature of them.
func (c *checker) changes(links []*nodev1.Link) error {
	if len(links) == 0 {
		return nil
	}
	genesis, _, err := config.ReadGenesis(c.home.GenesisFile())
	if err != nil {
		return nil //nolint:nilerr // it was reported before
	}
	if !receipt.Begins(links[0], genesis) && c.report.Oldest > 1 {
		c.note("the node began with a snapshot and has yet to fetch the headers that lead from the genesis to it; until then it makes no receipts")
		return nil
	}
	_, err = receipt.Follow(genesis, links, math.MaxInt64)
	return err
}

func (c *checker) blockRecord(db dbm.DB, height int64, raw []byte) (txs int64, err error) {
	r := new(chainv1.BlockRecord)
	if err := r.UnmarshalVT(raw); err != nil {
		return 0, err
	}
	if again, err := r.MarshalVT(); err != nil || !bytes.Equal(again, raw) {
		return 0, errors.New("it is not as the node writes it")
	}
	txs = int64(len(r.Txs))
	if r.Height != height {
		return txs, fmt.Errorf("it is of height %d", r.Height)
	}
	var errs []error
	for i, t := range r.Txs {
		place, err := db.Get(records.TxKey(t.TxId))
		if err != nil {
			return txs, err
		}
		if !bytes.Equal(place, records.PlaceOf(height, i)) {
			errs = append(errs, fmt.Errorf("transaction %x is not found at its place", t.TxId))
		}
		if t.Height != height || int(t.Index) != i || t.Time != r.Time {
			errs = append(errs, fmt.Errorf("the result of transaction %x says another block, place or time", t.TxId))
		}
	}
	h, known := c.headers[height]
	if !known {
		return txs, errors.Join(errs...) // the block is not here, or is damaged
	}
	if h.time != r.Time {
		errs = append(errs, fmt.Errorf("its time is %d, that of the block %d", r.Time, h.time))
	}
	var want []byte
	if next, ok := c.headers[height+1]; ok {
		want = next.resultsHash
	} else if c.engine.height == height {
		want = c.engine.results
	}
	if want != nil {
		results := make([]*abci.ExecTxResult, 0, len(h.txs))
		for range len(h.txs) - len(r.Txs) {
			results = append(results, new(abci.ExecTxResult))
		}
		for _, t := range r.Txs {
			results = append(results, consensus.Result(t))
		}
		if got := sm.TxResultsHash(results); !bytes.Equal(got, want) {
			errs = append(errs, fmt.Errorf("its results have hash %X, the next header holds %X", got, want))
		}
	}
	return txs, errors.Join(errs...)
}
