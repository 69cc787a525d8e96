package consensus

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/config"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/chancery/chancery/chain/state"
)

// EngineDatabases are the names of the engine's databases, in the order in which Freeze
// takes them: what is written last of a block first.
var EngineDatabases = []string{"state", "evidence", "blockstore"}

// databases are the engine's, as it opened them.
type databases struct {
	mu   sync.Mutex // guards open
	open map[string]cmtdb.DB
}

// engineCache is what the engine's databases keep of their blocks in memory, each.
const engineCache = 8 << 20

const (
	// writeBuffer is how much of a database is in memory before it is written as a table, about:
	// validators write the same, and each of their buffers would be full after the same block.
	writeBuffer = 16 << 20
	// firstLevel is how large the first sorted level of tables may become, each further one ten
	// times as much. Whatever goes from one level to the next is written anew with what it
	// belongs between: the keys of records are hashes, which belong anywhere.
	firstLevel = 64 << 20
	tableSize  = 8 << 20
)

// LevelDB are the options of a database that grows with the chain and is mostly written. cache
// is bytes of its blocks that are kept in memory; with a large one, as of a state on disk, of which
// versions come in batches of megabytes, its buffer is a quarter of it. Each call draws another size
// of the buffer, by a quarter more or less.
func LevelDB(cache int) *opt.Options {
	buffer := max(writeBuffer, cache/4)
	return &opt.Options{
		Filter: filter.NewBloomFilter(10), BlockCacheCapacity: cache,
		WriteBuffer:         buffer/4*3 + rand.IntN(buffer/2), //nolint:gosec // no secret
		CompactionTableSize: tableSize, CompactionTotalSize: firstLevel,
	}
}

// provide implements config.DBProvider.
func (d *databases) provide(c *config.DBContext) (cmtdb.DB, error) {
	var db cmtdb.DB
	var err error
	if c.Config.DBBackend == string(cmtdb.GoLevelDBBackend) {
		db, err = cmtdb.NewGoLevelDBWithOpts(c.ID, c.Config.DBDir(), LevelDB(engineCache))
	} else {
		db, err = config.DefaultDBProvider(c)
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = make(map[string]cmtdb.DB)
	}
	d.open[c.ID] = db
	return db, nil
}

// EnginePairs is a database of the engine as it was at one moment. Each may be called once.
type EnginePairs struct{ it cmtdb.Iterator }

// Each gives fn all pairs in order of key.
func (p *EnginePairs) Each(fn func(key, value []byte) error) error {
	for ; p.it.Valid(); p.it.Next() {
		if err := fn(p.it.Key(), p.it.Value()); err != nil {
			return err
		}
	}
	return p.it.Error()
}

// Frozen is all that a node has on disk, while it goes on. The state is of State.Version,
// the records and the engine of that height or a little later, as a crash could leave them:
// a node that starts from it executes again what the state lacks.
type Frozen struct {
	State   *state.Frozen
	Records *state.FrozenPairs
	Engine  map[string]*EnginePairs
}

// Close lets the databases go on without it.
func (f *Frozen) Close() error {
	var err error
	if f.State != nil {
		err = f.State.Close()
	}
	if f.Records != nil {
		err = errors.Join(err, f.Records.Close())
	}
	return errors.Join(err, f.closeEngine())
}

func (f *Frozen) closeEngine() error {
	var err error
	for _, p := range f.Engine {
		err = errors.Join(err, p.it.Close())
	}
	f.Engine = nil
	return err
}

// freezeTries is how often two blocks may come in between.
const freezeTries = 100

// Freeze freezes all that the node has on disk. It holds up nothing: blocks are made
// meanwhile. The caller closes it before the node stops.
func (n *Node) Freeze() (f *Frozen, err error) {
	f = new(Frozen)
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
			f = nil
		}
	}()
	if f.State, err = state.Freeze(n.o.App.Tree()); err != nil {
		return f, err
	}
	if f.State.Version == 0 {
		return f, errors.New("no block was committed yet")
	}
	if f.Records, err = n.o.Records.Freeze(); err != nil {
		return f, err
	}
	for range freezeTries {
		s, err := n.store.Load()
		if err != nil {
			return f, err
		}
		f.Engine = make(map[string]*EnginePairs)
		for _, name := range EngineDatabases {
			it, err := n.databases.open[name].Iterator(nil, nil)
			if err != nil {
				return f, fmt.Errorf("the engine's database %s: %w", name, err)
			}
			f.Engine[name] = &EnginePairs{it}
		}
		// The engine starts when its blocks are one ahead of its state at most.
		if n.node.BlockStore().Height() <= s.LastBlockHeight+1 {
			return f, nil
		}
		if err := f.closeEngine(); err != nil {
			return f, err
		}
	}
	return f, errors.New("blocks came each time that the engine's databases were to be frozen")
}
