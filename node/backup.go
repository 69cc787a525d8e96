package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/node/backup"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
)

// backupFiles are the small files of a home that go into a backup. The record of what the
// validator key signed is none of them: an old copy of it is a danger.
func backupFiles(home config.Home) (map[string][]byte, error) {
	paths := []string{home.ConfigFile(), home.GenesisFile(), home.IndicatorFile(), home.OpinionFile()}
	for _, dir := range []string{home.Judgement(), home.Webhooks()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	files := make(map[string][]byte)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(string(home), path)
		if err != nil {
			return nil, err
		}
		files[filepath.ToSlash(rel)] = raw
	}
	return files, nil
}

// Backup writes a backup of the running node. keys are its encrypted keys, nil for none.
func (n *Node) Backup(ctx context.Context, out io.Writer, keys []byte) (_ *backup.Manifest, err error) {
	f, err := n.engine.Freeze()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	files, err := backupFiles(n.home)
	if err != nil {
		return nil, err
	}
	s := backup.Source{
		Header: backup.Header{
			ChainID: n.genesis.ChainID, Height: f.State.Version, Tree: n.config.State.Tree, Backend: n.config.State.Backend,
			Version: n.version, Made: time.Now().UTC(),
		},
		Files: files, Keys: keys, Image: f.State.Image,
		Databases: []backup.Database{{Name: backup.RecordsName, Pairs: f.Records}},
	}
	if f.State.Pairs != nil {
		s.Databases = append(s.Databases, backup.Database{Name: backup.StateName, Pairs: f.State.Pairs})
	}
	for _, name := range consensus.EngineDatabases {
		s.Databases = append(s.Databases, backup.Database{Name: backup.EngineName(name), Pairs: f.Engine[name]})
	}
	return backup.Write(ctx, out, s)
}

// BackupStopped writes a backup of a home whose lock the caller holds.
func BackupStopped(ctx context.Context, home config.Home, version string, out io.Writer, keys []byte) (_ *backup.Manifest, err error) {
	c, err := config.Load(home)
	if err != nil {
		return nil, err
	}
	genesis, _, err := config.ReadGenesis(home.GenesisFile())
	if err != nil {
		return nil, err
	}
	kind, err := offline.TreeKind(home)
	if err != nil {
		return nil, err
	}
	files, err := backupFiles(home)
	if err != nil {
		return nil, err
	}
	tree, err := offline.Tree(home, c.State.Backend)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	frozen, err := state.Freeze(tree)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(frozen.Close(), err) }()
	if frozen.Version == 0 {
		return nil, fmt.Errorf("%s holds no block yet", home)
	}
	s := backup.Source{
		Header: backup.Header{
			ChainID: genesis.ChainID, Height: frozen.Version, Tree: kind, Backend: c.State.Backend, Version: version, Made: time.Now().UTC(),
		},
		Files: files, Keys: keys, Image: frozen.Image,
	}
	records, err := offline.Database(c.State.Backend, "records", home.Data())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	s.Databases = append(s.Databases, backup.Database{Name: backup.RecordsName, Pairs: offline.Pairs{DB: records}})
	if frozen.Pairs != nil {
		s.Databases = append(s.Databases, backup.Database{Name: backup.StateName, Pairs: frozen.Pairs})
	}
	for _, name := range consensus.EngineDatabases {
		db, err := offline.Engine(home, name)
		if err != nil {
			return nil, fmt.Errorf("the engine's database %s: %w", name, err)
		}
		defer func() { _ = db.Close() }() // it was only read
		s.Databases = append(s.Databases, backup.Database{Name: backup.EngineName(name), Pairs: offline.EnginePairs{DB: db}})
	}
	return backup.Write(ctx, out, s)
}
