// Package records keeps what a node tells its readers about committed blocks:
// results and events. It is not part of consensus state; every node derives the
// same records from the same blocks.
//
// Keys: 'b' || height -> chancery.chain.v1.BlockRecord
//
//	't' || tx id  -> height || index
//	'h'           -> the latest height
//
// where heights are eight and indexes four bytes, big endian. The three are
// written in one synced batch, before the state of the block is committed, so that
// a committed state always has its records.
package records

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/recent"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// ErrNoBlock says that there is no record of a block: it is in the future, or was
// pruned.
var ErrNoBlock = errors.New("no record of this block")

var headKey = []byte{'h'}

// Log is the records of a node. It is safe for concurrent use; Append is called
// by one goroutine.
type Log struct {
	db   dbm.DB
	sync bool
	// recent are records in memory, the published among them: whoever follows the chain
	// reads these, and one that waits for its transaction reads a whole block for it.
	recent recent.Blocks[*chainv1.BlockRecord]

	mu      sync.Mutex // guards head and changed
	head    int64
	changed chan struct{} // closed and replaced at each Publish
}

// recentBytes is how much the records in memory may take, as they are stored; decoded
// it is about three times as much.
const recentBytes = 8 << 20

// Open opens the log in db, which it then owns. noSync leaves out the fsync at each
// Append, for tests and measurements.
func Open(db dbm.DB, noSync bool) (*Log, error) {
	l := &Log{db: db, sync: !noSync, changed: make(chan struct{})}
	l.recent.MaxBytes = recentBytes
	raw, err := db.Get(headKey)
	if err != nil {
		return nil, fmt.Errorf("open the records: %w", err)
	}
	if raw != nil {
		if len(raw) != 8 {
			return nil, fmt.Errorf("open the records: head of %d bytes", len(raw))
		}
		l.head = int64(binary.BigEndian.Uint64(raw))
	}
	return l, nil
}

// Append writes the record of a block, which must not be changed any more. Writing the
// same block again replaces it. Readers see it after Publish.
func (l *Log) Append(r *chainv1.BlockRecord) error {
	raw, err := r.MarshalVT()
	if err != nil {
		return fmt.Errorf("record of block %d: %w", r.Height, err)
	}
	b := l.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := b.Set(BlockKey(r.Height), raw); err != nil {
		return fmt.Errorf("record of block %d: %w", r.Height, err)
	}
	for i, t := range r.Txs {
		if err := b.Set(TxKey(t.TxId), PlaceOf(r.Height, i)); err != nil {
			return fmt.Errorf("record of block %d: %w", r.Height, err)
		}
	}
	if err := b.Set(headKey, BlockKey(r.Height)[1:]); err != nil {
		return fmt.Errorf("record of block %d: %w", r.Height, err)
	}
	write := b.Write
	if l.sync {
		write = b.WriteSync
	}
	if err := write(); err != nil {
		return fmt.Errorf("record of block %d: %w", r.Height, err)
	}
	l.recent.Put(r.Height, len(raw), r)
	return nil
}

// Begin makes a log without blocks start behind height: the state of that block came
// from a snapshot, and blocks up to it have no record here. Readers see it at once.
func (l *Log) Begin(height int64) error {
	if head := l.Head(); head != 0 {
		return fmt.Errorf("the records are at block %d already; they can begin behind block %d only where there are none", head, height)
	}
	set := l.db.Set
	if l.sync {
		set = l.db.SetSync
	}
	if err := set(headKey, BlockKey(height)[1:]); err != nil {
		return fmt.Errorf("begin the records behind block %d: %w", height, err)
	}
	l.Publish(height)
	return nil
}

// Publish shows readers all records up to height: the state of that block is
// committed.
func (l *Log) Publish(height int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = height
	close(l.changed)
	l.changed = make(chan struct{})
}

// Head is the latest published block, 0 before the first.
func (l *Log) Head() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Wait returns when Head is at least height, or with the context's error.
func (l *Log) Wait(ctx context.Context, height int64) error {
	for {
		l.mu.Lock()
		head, changed := l.head, l.changed
		l.mu.Unlock()
		if head >= height {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Oldest is the oldest block with a record, 0 when there is none.
func (l *Log) Oldest() (int64, error) {
	it, err := l.db.Iterator([]byte{'b'}, []byte{'c'})
	if err != nil {
		return 0, fmt.Errorf("read the records: %w", err)
	}
	defer func() { _ = it.Close() }()
	if !it.Valid() {
		return 0, it.Error()
	}
	return int64(binary.BigEndian.Uint64(it.Key()[1:])), nil
}

// Block is the record of a published block, or ErrNoBlock. Others read it too: it must
// not be changed.
func (l *Log) Block(height int64) (*chainv1.BlockRecord, error) {
	if height > l.Head() {
		return nil, fmt.Errorf("%w: %d is in the future", ErrNoBlock, height)
	}
	if r, ok := l.recent.Get(height); ok {
		return r, nil
	}
	raw, err := l.db.Get(BlockKey(height))
	if err != nil {
		return nil, fmt.Errorf("read the record of block %d: %w", height, err)
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: %d", ErrNoBlock, height)
	}
	r := new(chainv1.BlockRecord)
	if err := r.UnmarshalVT(raw); err != nil {
		return nil, fmt.Errorf("the record of block %d is corrupt: %w", height, err)
	}
	return r, nil
}

// Tx is the result of a transaction in a published block, and whether there is one. It
// must not be changed.
func (l *Log) Tx(id tx.ID) (*chainv1.TxResult, bool, error) {
	raw, err := l.db.Get(TxKey(id[:]))
	if err != nil {
		return nil, false, fmt.Errorf("read the result of %s: %w", id, err)
	}
	if raw == nil {
		return nil, false, nil
	}
	if len(raw) != 12 {
		return nil, false, fmt.Errorf("the place of %s is corrupt", id)
	}
	height, index := int64(binary.BigEndian.Uint64(raw)), binary.BigEndian.Uint32(raw[8:])
	if height > l.Head() {
		return nil, false, nil
	}
	b, err := l.Block(height)
	if err != nil {
		return nil, false, err
	}
	if int(index) >= len(b.Txs) {
		return nil, false, fmt.Errorf("block %d has no transaction %d, where %s should be", height, index, id)
	}
	return b.Txs[index], true, nil
}

// Close releases the database.
func (l *Log) Close() error { return l.db.Close() }

// BlockKey is the key of a block's record.
func BlockKey(height int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'b'}, uint64(height))
}

// TxKey is the key of a transaction's place.
func TxKey(id []byte) []byte { return append([]byte{'t'}, id...) }

// PlaceOf is the value under TxKey: which block holds the transaction, and where.
func PlaceOf(height int64, index int) []byte {
	return binary.BigEndian.AppendUint32(BlockKey(height)[1:], uint32(index))
}

// Key is what is stored under a key.
type Key byte

// The kinds of keys.
const (
	Block Key = 'b'
	Place Key = 't'
	Head  Key = 'h'
)

// Kind tells what is stored under a key; an error says that the log has no such key.
func Kind(key []byte) (Key, error) {
	if len(key) > 0 {
		k, n := Key(key[0]), len(key)-1
		if k == Block && n == 8 || k == Place && n == len(tx.ID{}) || k == Head && n == 0 {
			return k, nil
		}
	}
	return 0, fmt.Errorf("the key %x is none of the records", key)
}

// Freeze is the records as they are now; see state.FrozenPairs.
func (l *Log) Freeze() (*state.FrozenPairs, error) { return state.NewFrozenPairs(l.db) }
