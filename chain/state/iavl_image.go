package state

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/iavl"
	iavldb "github.com/cosmos/iavl/db"
)

const (
	// imageCache is how many nodes an export or import has in memory: enough for a path
	// down the tree, since each node is needed once.
	imageCache = 1000
	// clearBatch is how many keys one batch of clear removes.
	clearBatch = 10_000
)

// apart is a handle on the database of its own. It shares no node with the tree that
// blocks are applied to, so that neither waits for the other.
func (t *iavlTree) apart() *iavl.MutableTree {
	return iavl.NewMutableTree(wholeVersions{iavldb.NewWrapper(t.db)}, imageCache, true, iavl.NewNopLogger(),
		iavl.SyncOption(!t.noSync), iavl.FlushThresholdOption(math.MaxInt))
}

// Export implements Snapshot.
func (s *iavlSnapshot) Export(out io.Writer) (err error) {
	if s.tree == nil {
		return fmt.Errorf("%w: nothing was committed yet", ErrNoVersion)
	}
	done, err := s.owner.exporting(s.version)
	if err != nil {
		return err
	}
	defer done()
	im, err := s.owner.apart().GetImmutable(s.version)
	if err != nil {
		return fmt.Errorf("export state version %d: %w", s.version, err)
	}
	w := bufio.NewWriterSize(out, 1<<18)
	if err := writeImageHeader(w, s.version, s.root, uint64(im.Size())); err != nil {
		return err
	}
	if im.Size() > 0 {
		if err := exportNodes(w, im); err != nil {
			return fmt.Errorf("export state version %d: %w", s.version, err)
		}
	}
	return w.Flush()
}

func exportNodes(w *bufio.Writer, im *iavl.ImmutableTree) error {
	nodes, err := im.Export()
	if err != nil {
		return err
	}
	defer nodes.Close()
	var least [][]byte // of the trees whose parent is to come
	for {
		n, err := nodes.Next()
		if errors.Is(err, iavl.ErrorExportDone) {
			break
		}
		if err != nil {
			return err
		}
		if n.Height == 0 {
			least = append(least, n.Key)
		} else {
			// An image leaves these keys out; its reader takes the least of the right side.
			if len(least) < 2 || !bytes.Equal(n.Key, least[len(least)-1]) {
				return fmt.Errorf("the inner node %x is not named after the least key on its right", n.Key)
			}
			least = least[:len(least)-1]
		}
		if err := writeImageNode(w, n.Height, n.Version, n.Key, n.Value); err != nil {
			return err
		}
	}
	if len(least) != 1 {
		return fmt.Errorf("%d trees were read, where one is", len(least))
	}
	return nil
}

// exporting keeps Prune from a version until the returned function is called.
func (t *iavlTree) exporting(version int64) (done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version < t.oldest {
		return nil, fmt.Errorf("%w: %d was pruned (oldest is %d)", ErrNoVersion, version, t.oldest)
	}
	t.exports = append(t.exports, version)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		i := slices.Index(t.exports, version)
		t.exports = slices.Delete(t.exports, i, i+1)
	}, nil
}

// Import implements Tree.
func (t *iavlTree) Import(image io.Reader, version int64, root []byte) error {
	if err := t.importable(); err != nil {
		return err
	}
	// What an attempt that failed, or that a crash ended, has left.
	if err := clearDB(t.db); err != nil {
		return fmt.Errorf("empty the state's database: %w", err)
	}
	if version <= 0 || version > maxImported {
		return fmt.Errorf("%w: version %d", ErrImage, version)
	}
	importer, err := t.apart().Import(version)
	if err != nil {
		return fmt.Errorf("import the state: %w", err)
	}
	defer importer.Close()
	h, _, err := streamImage(image, version, root, func(n, _, right *imageNode) error {
		if n.height == 0 {
			return importer.Add(&iavl.ExportNode{Key: n.first(), Value: n.content[n.key:], Version: n.version})
		}
		return importer.Add(&iavl.ExportNode{Key: right.first(), Version: n.version, Height: n.height})
	})
	if err != nil {
		return err
	}
	if err := importer.Commit(); err != nil {
		return fmt.Errorf("import the state: %w", err)
	}
	if _, err := t.tree.Load(); err != nil {
		return fmt.Errorf("load the imported state: %w", err)
	}
	if got := t.tree.Hash(); !bytes.Equal(got, h.root) {
		return fmt.Errorf("the imported state has root %x, and its image %x", got, h.root)
	}
	t.cache.advance(version, nil)
	return t.refresh()
}

// maxImported bounds the version of an image: the library allocates four bytes for
// each version up to it.
const maxImported = 1 << 30

func (t *iavlTree) importable() error {
	if v := t.Version(); v != 0 || t.pending != nil {
		return fmt.Errorf("state: an image is for an empty tree; this one is at version %d", v)
	}
	return nil
}

// clearDB removes every key.
func clearDB(db dbm.DB) error {
	for {
		var keys [][]byte
		it, err := db.Iterator(nil, nil)
		if err != nil {
			return err
		}
		for ; it.Valid() && len(keys) < clearBatch; it.Next() {
			keys = append(keys, bytes.Clone(it.Key()))
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil || len(keys) == 0 {
			return err
		}
		b := db.NewBatch()
		for _, k := range keys {
			if err := b.Delete(k); err != nil {
				return errors.Join(err, b.Close())
			}
		}
		if err := errors.Join(b.WriteSync(), b.Close()); err != nil {
			return err
		}
	}
}
