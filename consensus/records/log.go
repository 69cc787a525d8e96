// Package records keeps what a node tells its readers about committed blocks:
// results and events. It is not part of consensus state; every node derives the
// same records from the same blocks.
//
// Keys: 'b' || height -> chancery.chain.v1.BlockRecord
//
//	't' || tx id  -> height || index
//	'h'           -> the latest height
//	'p'           -> how far the engine's stores are pruned, two heights; see Pruned
//	'v' || height -> chancery.node.v1.Link: a header that announces other validators, and these
//
// where heights are eight and indexes four bytes, big endian. The first three are
// written in one synced batch, before the state of the block is committed, so that
// a committed state always has its records. Records are pruned oldest first, a block
// with its transactions in one batch; links never are.
package records

import (
	"bytes"
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

var (
	headKey   = []byte{'h'}
	prunedKey = []byte{'p'}
)

// Log is the records of a node. It is safe for concurrent use; Append is called
// by one goroutine.
type Log struct {
	db   dbm.DB
	sync bool
	// recent are records in memory, the published among them: whoever follows the chain
	// reads these, and one that waits for its transaction reads a whole block for it.
	recent recent.Blocks[*chainv1.BlockRecord]

	mu      sync.Mutex // guards head, oldest and changed
	head    int64
	oldest  int64         // 0: there is no record
	changed chan struct{} // closed and replaced at each Publish
}

// placeBytes is what the place of a transaction takes in a batch, at most, and batchBytes
// what a batch takes beside places and the record.
const (
	placeBytes = 64
	batchBytes = 128
)

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
	if l.oldest, err = first(db); err != nil {
		return nil, fmt.Errorf("open the records: %w", err)
	}
	return l, nil
}

// first is the oldest block with a record, 0 when there is none.
func first(db dbm.DB) (height int64, err error) {
	it, err := db.Iterator([]byte{'b'}, []byte{'c'})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Valid() {
		return 0, it.Error()
	}
	if k, err := Kind(it.Key()); err != nil || k != Block {
		return 0, fmt.Errorf("the key %x is no block's", it.Key())
	}
	return int64(binary.BigEndian.Uint64(it.Key()[1:])), nil
}

// Append writes the record of a block, which must not be changed any more. Writing the
// same block again replaces it. Readers see it after Publish.
func (l *Log) Append(r *chainv1.BlockRecord) error {
	raw, err := r.MarshalVT()
	if err != nil {
		return fmt.Errorf("record of block %d: %w", r.Height, err)
	}
	b := l.db.NewBatchWithSize(len(raw) + len(r.Txs)*placeBytes + batchBytes)
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
	if err := l.write(b); err != nil {
		return fmt.Errorf("record of block %d: %w", r.Height, err)
	}
	l.recent.Put(r.Height, len(raw), r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest == 0 {
		l.oldest = r.Height
	}
	return nil
}

func (l *Log) write(b dbm.Batch) error {
	if l.sync {
		return b.WriteSync()
	}
	return b.Write()
}

func (l *Log) set(key, value []byte) error {
	if l.sync {
		return l.db.SetSync(key, value)
	}
	return l.db.Set(key, value)
}

// Begin makes a log without blocks start behind height: the state of that block came
// from a snapshot, and blocks up to it have no record here. Readers see it at once.
func (l *Log) Begin(height int64) error {
	if head := l.Head(); head != 0 {
		return fmt.Errorf("the records are at block %d already; they can begin behind block %d only where there are none", head, height)
	}
	if err := l.set(headKey, BlockKey(height)[1:]); err != nil {
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
func (l *Log) Oldest() (int64, error) { return l.begins(), nil }

func (l *Log) begins() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest
}

// Prune removes the records of the oldest blocks below a height, so many at most, and
// tells how many it removed. Nothing at or beyond Head is removed. One goroutine calls it,
// which may be another than Append's.
func (l *Log) Prune(below int64, most int) (int, error) {
	for n := range most {
		l.mu.Lock()
		height := l.oldest
		if height == 0 || height >= min(below, l.head) {
			l.mu.Unlock()
			return n, nil
		}
		// Nobody begins to read what is about to go.
		l.oldest = height + 1
		l.mu.Unlock()
		if err := l.prune(height); err != nil {
			return n, fmt.Errorf("prune the record of block %d: %w", height, err)
		}
	}
	return most, nil
}

func (l *Log) prune(height int64) error {
	raw, err := l.db.Get(BlockKey(height))
	if err != nil || raw == nil {
		return err
	}
	r := new(chainv1.BlockRecord)
	if err := r.UnmarshalVT(raw); err != nil {
		return err
	}
	b := l.db.NewBatch()
	defer func() { _ = b.Close() }()
	for i, t := range r.Txs {
		place, err := l.db.Get(TxKey(t.TxId))
		if err != nil {
			return err
		}
		if !bytes.Equal(place, PlaceOf(height, i)) {
			continue // of another block
		}
		if err := b.Delete(TxKey(t.TxId)); err != nil {
			return err
		}
	}
	if err := b.Delete(BlockKey(height)); err != nil {
		return err
	}
	// Without fsync: what a power failure brings back is pruned again.
	return b.Write()
}

// Pruned is how far the engine's stores are pruned beside their blocks.
type Pruned struct {
	// Trimmed is the height below which what only whole blocks need is gone, Swept that
	// below which headers, commits and validators are gone, too. 0: it never was begun.
	Trimmed, Swept int64
}

// Pruned tells how far the engine's stores are pruned.
func (l *Log) Pruned() (Pruned, error) {
	raw, err := l.db.Get(prunedKey)
	if err != nil {
		return Pruned{}, fmt.Errorf("read how far the engine is pruned: %w", err)
	}
	if raw == nil {
		return Pruned{}, nil
	}
	return ParsePruned(raw)
}

// ParsePruned reads what SetPruned wrote.
func ParsePruned(raw []byte) (Pruned, error) {
	if len(raw) != 16 {
		return Pruned{}, fmt.Errorf("how far the engine is pruned has %d bytes, where two heights have 16", len(raw))
	}
	p := Pruned{int64(binary.BigEndian.Uint64(raw)), int64(binary.BigEndian.Uint64(raw[8:]))}
	if p.Swept < 0 || p.Swept > p.Trimmed {
		return Pruned{}, fmt.Errorf("the engine is said to be pruned to %d and swept to %d", p.Trimmed, p.Swept)
	}
	return p, nil
}

// SetPruned remembers how far the engine's stores are pruned.
func (l *Log) SetPruned(p Pruned) error {
	raw := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(p.Trimmed)), uint64(p.Swept))
	if err := l.set(prunedKey, raw); err != nil {
		return fmt.Errorf("write how far the engine is pruned: %w", err)
	}
	return nil
}

// Link is a header that announces other validators, kept forever.
type Link struct {
	Height int64
	Raw    []byte // a marshalled chancery.node.v1.Link
}

// PutLinks keeps links, all or none, durably.
func (l *Log) PutLinks(links ...Link) error {
	b := l.db.NewBatch()
	defer func() { _ = b.Close() }()
	for _, k := range links {
		if err := b.Set(LinkKey(k.Height), k.Raw); err != nil {
			return fmt.Errorf("keep the change of validators of block %d: %w", k.Height, err)
		}
	}
	if err := l.write(b); err != nil {
		return fmt.Errorf("keep %d changes of validators: %w", len(links), err)
	}
	return nil
}

// Links are all that are kept, in order of height.
func (l *Log) Links() (links []Link, err error) {
	it, err := l.db.Iterator([]byte{'v'}, []byte{'w'})
	if err != nil {
		return nil, fmt.Errorf("read the changes of validators: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ; it.Valid(); it.Next() {
		if k, err := Kind(it.Key()); err != nil || k != Change {
			return nil, fmt.Errorf("the key %x is no change of validators", it.Key())
		}
		links = append(links, Link{int64(binary.BigEndian.Uint64(it.Key()[1:])), bytes.Clone(it.Value())})
	}
	return links, it.Error()
}

// Block is the record of a published block, or ErrNoBlock. Others read it too: it must
// not be changed.
func (l *Log) Block(height int64) (*chainv1.BlockRecord, error) {
	if height > l.Head() {
		return nil, fmt.Errorf("%w: %d is in the future", ErrNoBlock, height)
	}
	if oldest := l.begins(); height < oldest {
		return nil, fmt.Errorf("%w: %d is not kept; the oldest is %d", ErrNoBlock, height, oldest)
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
	if errors.Is(err, ErrNoBlock) && height < l.begins() {
		return nil, false, nil // it was pruned just now
	}
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

// LinkKey is the key of a header that announces other validators.
func LinkKey(height int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'v'}, uint64(height))
}

// PlaceOf is the value under TxKey: which block holds the transaction, and where.
func PlaceOf(height int64, index int) []byte {
	return binary.BigEndian.AppendUint32(BlockKey(height)[1:], uint32(index))
}

// Key is what is stored under a key.
type Key byte

// The kinds of keys.
const (
	Block  Key = 'b'
	Place  Key = 't'
	Head   Key = 'h'
	Extent Key = 'p'
	Change Key = 'v'
)

// Kind tells what is stored under a key; an error says that the log has no such key.
func Kind(key []byte) (Key, error) {
	if len(key) > 0 {
		k, n := Key(key[0]), len(key)-1
		if (k == Block || k == Change) && n == 8 || k == Place && n == len(tx.ID{}) || (k == Head || k == Extent) && n == 0 {
			return k, nil
		}
	}
	return 0, fmt.Errorf("the key %x is none of the records", key)
}

// Compact gives the room of what was removed back to the disk, as far as the database can.
func (l *Log) Compact() error { return state.Compact(l.db) }

// Freeze is the records as they are now; see state.FrozenPairs.
func (l *Log) Freeze() (*state.FrozenPairs, error) { return state.NewFrozenPairs(l.db) }
