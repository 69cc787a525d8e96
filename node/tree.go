package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
)

// The two kinds of state tree lie in the data folder under names of their own.
const (
	diskTree   = "state.db"
	memoryTree = "state.memory"
)

// openTree opens the state of a home as its configuration says. It refuses to begin
// a tree of one kind where there is one of the other: a validator would start
// without its state.
func openTree(c config.State, data string, log *slog.Logger) (state.Tree, error) {
	other, kind := memoryTree, "memory"
	if c.Tree == "memory" {
		other, kind = diskTree, "disk"
	}
	switch _, err := os.Stat(filepath.Join(data, other)); {
	case err == nil:
		return nil, fmt.Errorf("state.tree is %q, but %s holds a state of the kind %q: set state.tree = %q, or stop the node, run 'chancery reset' and let it fetch all blocks from its peers into the other kind", c.Tree, filepath.Join(data, other), kind, kind)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if c.Tree != "memory" {
		db, err := openDB(c.Backend, "state", data)
		if err != nil {
			return nil, err
		}
		tree, err := state.OpenIAVL(db, state.IAVLOptions{NodeCache: c.NodeCache, ValueCache: c.ValueCache, NoSync: c.NoSync})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return tree, nil
	}
	files, err := openFolder(filepath.Join(data, memoryTree))
	if err != nil {
		return nil, err
	}
	tree, err := state.OpenMemory(files, state.MemoryOptions{KeepVersions: c.KeepVersions, KeepBytes: int64(c.KeepBytes), NoSync: c.NoSync})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", files.dir, err), files.Close())
	}
	found := tree.Recovered()
	for _, err := range found.Damaged {
		log.Error("an image of the state is damaged; an older one stood in", "folder", files.dir, "error", err)
	}
	if found.Cut > 0 {
		log.Warn("cut off what a crash had left of an unfinished block", "folder", files.dir, "bytes", found.Cut)
	}
	log.Info("state loaded", "version", tree.Version(), "image", found.Image, "replayed", found.Replayed, "oldest", tree.Oldest())
	return tree, nil
}

const (
	imageInterval = time.Second // between looks whether an image is due
	imagePause    = time.Minute // after one that failed
)

// writeImages writes the images of a tree in memory as they fall due, beside the
// blocks, until ctx ends.
func writeImages(ctx context.Context, tree state.Tree, log *slog.Logger) {
	memory, ok := tree.(*state.Memory)
	if !ok {
		return
	}
	wait := imageInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = imageInterval
		if !memory.ImageDue() {
			continue
		}
		start := time.Now()
		if err := memory.WriteImage(); err != nil {
			log.Error("the state's image is not written; the log grows until it is", "error", err)
			wait = imagePause
			continue
		}
		log.Info("wrote an image of the state", "took", time.Since(start))
	}
}
