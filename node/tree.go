package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/clock"
)

// The two kinds of state tree lie in the data folder under names of their own.
const (
	diskTree   = "state.db"
	memoryTree = "state.memory"
)

// openTree opens the state of a home as its configuration says. It refuses to begin
// a tree of one kind where there is one of the other: a validator would start
// without its state. Of one in memory so many images are kept.
func openTree(c config.State, images int, data string, log *slog.Logger) (state.Tree, error) {
	other, kind := memoryTree, config.TreeMemory
	if c.Tree == config.TreeMemory {
		other, kind = diskTree, config.TreeDisk
	}
	switch _, err := os.Stat(filepath.Join(data, other)); {
	case err == nil:
		return nil, fmt.Errorf("state.tree is %q, but %s holds a state of the kind %q: set state.tree = %q, or stop the node, run 'chancery reset' and let it fetch all blocks from its peers into the other kind", c.Tree, filepath.Join(data, other), kind, kind)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if c.Tree != config.TreeMemory {
		db, err := openDB(c.Backend, "state", data, c.BlockCache)
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
	tree, err := state.OpenMemory(files, state.MemoryOptions{
		KeepVersions: c.KeepVersions, KeepBytes: int64(c.KeepBytes), Images: images, NoSync: c.NoSync, Advise: largePages,
		// Where all validators wrote their images after the same block, all would be slow at once.
		ImageVersions: spread(state.DefaultImageVersions), ImageBytes: spread(state.DefaultImageBytes),
	})
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
	keys, bytes, _ := tree.Size()
	log.Info("state loaded", "version", tree.Version(), "keys", keys, "bytes", bytes, "image", found.Image, "replayed", found.Replayed, "oldest", tree.Oldest())
	return tree, nil
}

// spread is n and a random part of half as much.
func spread[T ~int64](n T) T { return n + rand.N(n/2+1) } //nolint:gosec // no secret

const (
	imageInterval = time.Second      // between looks whether an image is due
	imagePause    = time.Minute      // after one that failed
	sizeInterval  = 10 * time.Minute // between complaints that the state is large
)

// memoryFor is how many bytes a state in memory may take before the node complains.
func memoryFor(c config.State) (int64, error) {
	if c.MemoryBytes > 0 {
		return int64(c.MemoryBytes), nil
	}
	allowed, err := allowedMemory()
	if err != nil {
		return 0, fmt.Errorf("set state.memory_bytes: %w", err)
	}
	return allowed / 2, nil
}

// imageRest is how many times as long as a part of an image took to be written and made durable
// its writer rests after it, and longestRest at most: processors and the disk are the blocks' then.
const (
	imageRest   = 3
	longestRest = time.Second
)

// unhurried is called at the end of each part of some work, with what is to be done last, and
// rests, unless ctx ends. The first part begins now.
func unhurried(ctx context.Context) func(last func() error) error {
	resumed := time.Now()
	return func(last func() error) error {
		if err := last(); err != nil {
			return err
		}
		clock.Wait(ctx, min(imageRest*time.Since(resumed), longestRest))
		resumed = time.Now()
		return nil
	}
}

// writeImages writes the images of a tree in memory as they fall due, beside the
// blocks, and complains while the tree takes more memory than it may, until ctx ends.
func writeImages(ctx context.Context, c config.State, tree state.Tree, log *slog.Logger) {
	memory, ok := tree.(*state.Memory)
	if !ok {
		return
	}
	most, err := memoryFor(c)
	if err != nil {
		log.Warn("the state's memory is not watched", "error", err)
		most = math.MaxInt64
	}
	var complained time.Time
	wait := imageInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = imageInterval
		if keys, bytes, past := memory.Size(); bytes > most && time.Since(complained) > sizeInterval {
			log.Error("the state takes more memory than state.memory_bytes says: give the machine more and raise that, or keep the state on disk (state.tree = \"disk\", in a home that fetches the blocks anew), before the node is killed for want of memory",
				"keys", keys, "bytes", bytes, "past_bytes", past, "memory_bytes", most)
			complained = time.Now()
		}
		if !memory.ImageDue() {
			continue
		}
		start := time.Now()
		if err := memory.WriteImageBy(unhurried(ctx)); err != nil {
			log.Error("the state's image is not written; the log grows until it is", "error", err)
			wait = imagePause
			continue
		}
		log.Info("wrote an image of the state", "took", time.Since(start))
	}
}
