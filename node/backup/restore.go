package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cmtdb "github.com/cometbft/cometbft-db"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
)

func sortedKeys(m map[string][]byte) []string { return slices.Sorted(maps.Keys(m)) }

// enginePrefix begins the names of the engine's databases in a backup.
const enginePrefix = "engine/"

// EngineName is the name of a database of the engine in a backup.
func EngineName(name string) string { return enginePrefix + name }

// The names of the node's own databases in a backup.
const (
	StateName   = "state"
	RecordsName = "records"
)

// Keys says which keys a restored home gets.
type Keys struct {
	// Passphrase opens the keys in the backup; empty: they are not taken.
	Passphrase string
}

// Extract builds a home in an empty folder from a backup whose manifest was checked
// before. All of it is on disk when it returns.
func Extract(ctx context.Context, in io.Reader, home config.Home, k Keys, progress func(int64)) (*Manifest, error) {
	if err := home.Create(); err != nil {
		return nil, err
	}
	e := &extraction{home: home, keys: k}
	m, err := Read(ctx, in, progress, e.entry)
	err = errors.Join(err, e.finish())
	if err != nil {
		return nil, err
	}
	return m, syncTree(string(home))
}

type extraction struct {
	home   config.Home
	keys   Keys
	header Header
	name   string // of the database or image that is being written
	own    dbm.DB
	engine cmtdb.DB
	image  *os.File
}

func (e *extraction) entry(name string, raw []byte) error {
	folder, isPart := partOf(name)
	if e.name != "" && folder != e.name {
		if err := e.finish(); err != nil {
			return err
		}
	}
	switch {
	case name == headerName:
		if err := json.Unmarshal(raw, &e.header); err != nil {
			return damaged("%s does not decode", name)
		}
		if e.header.Format != Format {
			return fmt.Errorf("the backup is of format %d, this program reads %d", e.header.Format, Format)
		}
		return nil
	case e.header.Format == 0:
		return damaged("it does not begin with %s", headerName)
	case name == keysName:
		return e.takeKeys(raw)
	case isPart && folder == imageName:
		return e.imagePart(raw)
	case isPart:
		return e.databasePart(strings.TrimPrefix(folder, databasePath), raw)
	case allowedFile(name):
		path := filepath.Join(string(e.home), filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, raw, 0o600)
	default:
		return damaged("%q is no entry of a backup", name)
	}
}

// partOf is the folder of a numbered entry.
func partOf(name string) (folder string, ok bool) {
	folder, number := name[:max(0, strings.LastIndexByte(name, '/'))], name[strings.LastIndexByte(name, '/')+1:]
	return folder, len(number) == 8 && (folder == imageName || strings.HasPrefix(folder, databasePath))
}

// allowedFile tells whether a backup may hold a file of that path: nothing leads out of the
// home, and no key is among them.
func allowedFile(name string) bool {
	if name == "config/chancery.toml" || name == "config/genesis.json" || name == "config/indicators.jsonl" || name == "config/opinions.jsonl" {
		return true
	}
	for _, folder := range []string{"data/judgement/", "data/webhooks/"} {
		if base, ok := strings.CutPrefix(name, folder); ok && filepath.IsLocal(base) && !strings.ContainsAny(base, `/\`) {
			return true
		}
	}
	return false
}

func (e *extraction) takeKeys(raw []byte) error {
	if e.keys.Passphrase == "" {
		return nil
	}
	k, err := openKeys(raw, e.keys.Passphrase)
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.home.NodeKeyFile(), k.Node, 0o600); err != nil {
		return err
	}
	if len(k.Validator) == 0 {
		return nil // it is in a signer
	}
	return os.WriteFile(e.home.ValidatorKeyFile(), k.Validator, 0o600)
}

func (e *extraction) imagePart(raw []byte) error {
	if e.image == nil {
		if err := os.MkdirAll(e.home.MemoryTree(), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(e.home.MemoryTree(), state.ImageName(e.header.Height)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		e.image, e.name = f, imageName
	}
	_, err := e.image.Write(raw)
	return err
}

func (e *extraction) databasePart(name string, raw []byte) error {
	if e.name == "" {
		if err := e.open(name); err != nil {
			return err
		}
		e.name = databasePath + name
	}
	if e.own != nil {
		b := e.own.NewBatch()
		if err := eachPair(raw, b.Set); err != nil {
			return errors.Join(err, b.Close())
		}
		return errors.Join(b.WriteSync(), b.Close())
	}
	b := e.engine.NewBatch()
	if err := eachPair(raw, b.Set); err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(b.WriteSync(), b.Close())
}

func (e *extraction) open(name string) (err error) {
	engine, isEngine := strings.CutPrefix(name, enginePrefix)
	switch {
	case isEngine && (engine == "blockstore" || engine == "state" || engine == "evidence"):
		e.engine, err = cmtdb.NewGoLevelDB(engine, e.home.Engine())
	case name != StateName && name != RecordsName:
		return damaged("%q is no database of a node", name)
	case e.header.Backend == "pebble":
		e.own, err = dbm.NewPebbleDB(name, e.home.Data(), nil)
	case e.header.Backend == "goleveldb":
		var db *dbm.GoLevelDB
		if db, err = dbm.NewGoLevelDB(name, e.home.Data(), nil); err == nil {
			e.own = db
		}
	default:
		return damaged("%q is no database that this program knows", e.header.Backend)
	}
	return err
}

// finish closes what is being written.
func (e *extraction) finish() error {
	var err error
	if e.own != nil {
		err = e.own.Close()
	}
	if e.engine != nil {
		err = errors.Join(err, e.engine.Close())
	}
	if e.image != nil {
		err = errors.Join(err, e.image.Sync(), e.image.Close())
	}
	e.own, e.engine, e.image, e.name = nil, nil, nil, ""
	return err
}

// syncTree makes all files under a folder durable, and which there are.
func syncTree(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it was only read
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
