// Package fsck checks all that a stopped node has on disk, and changes nothing.
//
// Blocks are checked against their hashes and the signatures of the validators of their
// height, the state against the roots in those headers, results and events against the
// results' hashes in them, and every file that has no such anchor against its own
// checksums. docs/recovery.md has a table of what covers which file.
package fsck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/snapshots"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
)

// Problem is something that is not as the node wrote it.
type Problem struct {
	// File is relative to the home.
	File string `json:"file"`
	// Height is the block that it is about, 0 where it is about none.
	Height int64  `json:"height,omitempty"`
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

// Report is what a check found.
type Report struct {
	ChainID string `json:"chain_id"`
	// Height is the latest block in the block store, Oldest the oldest.
	Height int64 `json:"height"`
	Oldest int64 `json:"oldest"`
	// State is the height of the state, Records that of the records.
	State    int64     `json:"state_height"`
	Records  int64     `json:"records_height"`
	Tree     string    `json:"tree"`
	Blocks   int64     `json:"blocks_checked"`
	Versions int64     `json:"state_versions_checked"`
	Problems []Problem `json:"problems"`
	// Notes are what is no damage: the node mends it by itself at its next start.
	Notes []string `json:"notes"`
}

// maxProblems bounds a report; a file that is badly damaged has one for each block.
const maxProblems = 1000

// Options tunes a check.
type Options struct {
	// Progress is told which part is being checked and how far it is; nil: nobody.
	Progress func(part string, done int64)
}

// The remedies.
const (
	fromBackup = "restore the home from a backup with 'chancery restore', or run 'chancery reset' and let the node fetch all blocks from its peers"
	unfinished = "if the machine or the node crashed, start the node once: it executes again what it lacks; stop it and run fsck again. If that does not help, restore the home from a backup"
)

type checker struct {
	home    config.Home
	config  config.Config
	options Options
	report  *Report
	ctx     context.Context

	headers map[int64]header // of all blocks
	engine  engineState
}

// Check checks a home. The caller holds the home's lock. The error is for what keeps it
// from checking; what it finds is in the report.
func Check(ctx context.Context, home config.Home, o Options) (*Report, error) {
	c := &checker{home: home, options: o, ctx: ctx, headers: make(map[int64]header), report: &Report{Problems: []Problem{}, Notes: []string{}}}
	var err error
	if c.config, err = config.Load(home); err != nil {
		return nil, err
	}
	for _, part := range []func() error{c.logs, c.genesis, c.blocks, c.state, c.records, c.keys, c.engineLog, c.sealed, c.checkpoints, c.snapshots, c.compare} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := part(); err != nil {
			return nil, err
		}
	}
	return c.report, nil
}

func (c *checker) progress(part string, done int64) {
	if c.options.Progress != nil {
		c.options.Progress(part, done)
	}
}

// rel is a path relative to the home.
func (c *checker) rel(path string) string {
	if r, err := filepath.Rel(string(c.home), path); err == nil {
		return filepath.ToSlash(r)
	}
	return path
}

func (c *checker) problem(path string, height int64, remedy, format string, args ...any) {
	switch n := len(c.report.Problems); {
	case n < maxProblems:
		c.report.Problems = append(c.report.Problems, Problem{File: c.rel(path), Height: height, What: fmt.Sprintf(format, args...), Remedy: remedy})
	case n == maxProblems:
		c.report.Problems = append(c.report.Problems, Problem{File: c.rel(path), What: "there are more problems, which are not shown", Remedy: fromBackup})
	}
}

func (c *checker) note(format string, args ...any) {
	c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, args...))
}

// guarded runs fn. The engine's stores panic where something does not decode, and the
// state does for what it cannot read.
func guarded(fn func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			err = r
		default:
			err = fmt.Errorf("%v", r)
		}
	}()
	return fn()
}

// database is the folder of a database by its name.
func (c *checker) recordsDir() string { return filepath.Join(c.home.Data(), "records.db") }

func (c *checker) engineDir(name string) string { return filepath.Join(c.home.Engine(), name+".db") }

// logs reads the logs of all databases: what they hold and nobody flushed is covered by
// nothing else.
func (c *checker) logs() error {
	dirs := []string{c.recordsDir(), c.home.DiskTree()}
	for _, name := range engineDatabases {
		dirs = append(dirs, c.engineDir(name))
	}
	for i, dir := range dirs {
		c.progress("logs of databases", int64(i))
		err := offline.CheckLogs(dir)
		var log *offline.LogError
		switch {
		case errors.As(err, &log):
			c.problem(filepath.Join(dir, log.File), 0, unfinished, "the log is damaged or unfinished: %v", log.Err)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// root is what the blocks say is the root of a version of the state, nil where they do
// not say.
func (c *checker) root(version int64) []byte {
	if h, ok := c.headers[version+1]; ok {
		return h.appHash
	}
	if version == c.engine.height {
		return c.engine.appHash
	}
	return nil
}

// state computes every root of the state anew.
func (c *checker) state() error {
	kind, err := offline.TreeKind(c.home)
	if errors.Is(err, fs.ErrNotExist) {
		if c.report.Height > 0 {
			c.problem(c.home.Data(), 0, fromBackup, "there are blocks and no state")
		}
		return nil
	}
	if err != nil {
		return err
	}
	c.report.Tree = kind
	if kind != c.config.State.Tree {
		c.problem(c.home.ConfigFile(), 0, fmt.Sprintf("set state.tree = %q", kind), "state.tree is %q, the home holds a state of the kind %q", c.config.State.Tree, kind)
	}
	check := func(version int64, root []byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.report.Versions++
		c.report.State = max(c.report.State, version)
		c.progress("versions of the state", c.report.Versions)
		if want := c.root(version); want != nil && string(want) != string(root) {
			return fmt.Errorf("the root is %x, the header of block %d holds %x", root, version+1, want)
		}
		return nil
	}
	path, damage := c.home.MemoryTree(), []state.Damage(nil)
	if kind == config.TreeMemory {
		damage, err = state.InspectMemory(offline.Folder(path), check)
	} else {
		path = c.home.DiskTree()
		err = guarded(func() error {
			db, err := offline.Database(c.config.State.Backend, "state", c.home.Data())
			if err != nil {
				return err
			}
			damage, err = state.InspectIAVL(offline.Pairs{DB: db}, check)
			return errors.Join(err, db.Close())
		})
	}
	for _, d := range damage {
		c.problem(filepath.Join(path, d.File), d.Version, fromBackup, "%v", d.Err)
	}
	if err != nil {
		c.problem(path, 0, fromBackup, "the state cannot be read: %v", err)
	}
	return c.ctx.Err()
}

// snapshots checks the copies of the state that the node gives to those that join.
func (c *checker) snapshots() error {
	if exists(c.home.RestoringFile()) {
		c.note("the node was stopped while it restored its state from a snapshot; it begins again at its next start")
	}
	dir := c.home.Snapshots()
	if !exists(dir) {
		return nil
	}
	done := int64(0)
	err := snapshots.Inspect(offline.Folder(dir), func(height int64, root []byte, damage error) error {
		c.progress("snapshots", done)
		done++
		if want := c.root(height); damage == nil && want != nil && !bytes.Equal(want, root) {
			damage = fmt.Errorf("its root is %x, the header of block %d holds %x", root, height+1, want)
		}
		if damage != nil {
			c.problem(dir, height, "remove the files of that height from the folder; the node takes another snapshot in time", "the snapshot of height %d: %v", height, damage)
		}
		return c.ctx.Err()
	})
	if err != nil && c.ctx.Err() == nil {
		c.problem(dir, 0, "remove the folder; the node takes other snapshots in time", "the snapshots cannot be read: %v", err)
	}
	return c.ctx.Err()
}

// compare looks at how far each part is.
func (c *checker) compare() error {
	r := c.report
	if len(r.Problems) > 0 {
		return nil // the heights are not known for certain
	}
	if r.State > r.Height {
		c.problem(c.home.Engine(), r.State, fromBackup, "the state is at height %d, the block store only at %d", r.State, r.Height)
	}
	if r.Records < r.State {
		c.problem(c.recordsDir(), r.Records, fromBackup, "the state is at height %d, the records only at %d", r.State, r.Records)
	}
	if r.State < r.Height {
		c.note("the state is %d blocks behind the block store; the node executes them at its start", r.Height-r.State)
	}
	if c.engine.height+1 < r.Height {
		c.problem(c.engineDir("state"), c.engine.height, fromBackup, "the engine's state is at height %d, the block store at %d: more than a crash can part", c.engine.height, r.Height)
	}
	if c.engine.height > r.Height {
		c.problem(c.engineDir("blockstore"), r.Height, fromBackup, "the engine's state is at height %d, the block store only at %d", c.engine.height, r.Height)
	}
	return nil
}

// exists tells whether there is a file or folder.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
