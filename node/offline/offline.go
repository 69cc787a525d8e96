// Package offline opens what a stopped node has on disk, for reading alone: nothing
// under the home is changed but for lock files.
package offline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	cmtdb "github.com/cometbft/cometbft-db"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/gofrs/flock"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
)

// ErrRunning says that a node runs in the home.
var ErrRunning = errors.New("a node is running in this home; stop it first")

// Lock takes the home's lock, which a running node holds. The data folder must exist.
func Lock(home config.Home) (*flock.Flock, error) {
	lock := flock.New(home.LockFile(), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", home, err)
	}
	if !held {
		return nil, fmt.Errorf("%s: %w", home, ErrRunning)
	}
	return lock, nil
}

// Engine opens a database of the consensus engine by its name: blockstore, state or
// evidence.
func Engine(home config.Home, name string) (cmtdb.DB, error) {
	db, err := cmtdb.NewGoLevelDBWithOpts(name, home.Engine(), readOnly())
	if err != nil {
		return nil, err
	}
	return db, nil
}

// readOnly demands that all checksums are right, also those of a log's last records.
func readOnly() *opt.Options {
	return &opt.Options{ReadOnly: true, ErrorIfMissing: true, Strict: opt.StrictAll}
}

// Database opens a database of the node: records, or the state of a tree on disk.
func Database(backend, name, dir string) (dbm.DB, error) {
	if backend != "pebble" {
		db, err := dbm.NewGoLevelDBWithOpts(name, dir, readOnly())
		if err != nil {
			return nil, err
		}
		return db, nil
	}
	return openPebble(filepath.Join(dir, name+dbm.DBFileSuffix))
}

// Each gives fn all pairs of a database in order of key.
func Each(db dbm.DB, fn func(key, value []byte) error) error {
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return err
	}
	return each(it, fn)
}

// iterator is what those of both kinds of database have in common.
type iterator interface {
	Valid() bool
	Next()
	Key() []byte
	Value() []byte
	Error() error
	Close() error
}

func each(it iterator, fn func(key, value []byte) error) error {
	for ; it.Valid(); it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// Pairs is a database as an inspection of a tree reads it.
type Pairs struct{ dbm.DB }

// Each implements state.Pairs.
func (p Pairs) Each(fn func(key, value []byte) error) error { return Each(p.DB, fn) }

// Folder is the state.Files of a folder that is only read. What would change it is
// refused, except the tidying up of what a crash left: that is left out.
type Folder string

var _ state.Files = Folder("")

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }

// List implements state.Files.
func (f Folder) List() ([]string, error) { return durable.Files(string(f), config.FolderLock) }

// Open implements state.Files.
func (f Folder) Open(name string) (io.ReadCloser, int64, error) { return durable.Open(f.path(name)) }

var errReadOnly = errors.New("the folder is opened for reading alone")

// Create implements state.Files.
func (Folder) Create(string) (state.File, error) { return nil, errReadOnly }

// Rename implements state.Files.
func (Folder) Rename(string, string) error { return errReadOnly }

// Truncate implements state.Files.
func (Folder) Truncate(string, int64) error { return nil }

// Remove implements state.Files.
func (Folder) Remove(string) error { return nil }

// Sync implements state.Files.
func (Folder) Sync() error { return nil }

// Close implements state.Files.
func (Folder) Close() error { return nil }

// Tree opens the state of a home, whichever kind it is of.
func Tree(home config.Home, backend string) (state.Tree, error) {
	switch kind, err := TreeKind(home); {
	case err != nil:
		return nil, err
	case kind == config.TreeMemory:
		return state.OpenMemory(Folder(home.MemoryTree()), state.MemoryOptions{})
	}
	db, err := Database(backend, "state", home.Data())
	if err != nil {
		return nil, err
	}
	tree, err := state.OpenIAVL(db, state.IAVLOptions{NodeCache: 50_000, ValueCache: 1000})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return tree, nil
}

// TreeKind is the kind of state that a home holds, disk or memory, and an error that is
// fs.ErrNotExist where it holds none.
func TreeKind(home config.Home) (string, error) {
	for _, k := range []struct{ kind, path string }{{config.TreeDisk, home.DiskTree()}, {config.TreeMemory, home.MemoryTree()}} {
		switch _, err := os.Stat(k.path); {
		case err == nil:
			return k.kind, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("%s holds no state: %w", home.Data(), fs.ErrNotExist)
}

// EnginePairs is a database of the engine as a backup reads it.
type EnginePairs struct{ cmtdb.DB }

// Each gives fn all pairs in order of key.
func (p EnginePairs) Each(fn func(key, value []byte) error) error {
	it, err := p.Iterator(nil, nil)
	if err != nil {
		return err
	}
	return each(it, fn)
}
