package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery/chancery/node/internal/durable"
)

// The files of a log's folder. hashes holds every complete subtree of the tree as 32 bytes, in
// the order of tlog.StoredHashIndex: about 64 bytes a block. head is the checkpoint up to which
// hashes is flushed, sealed; what hashes holds beyond it is not believed after a start.
const (
	hashesFile = "hashes"
	headFile   = "head"
)

// Log is the tree of a chain's blocks on disk. It is safe for concurrent use; one goroutine
// appends.
type Log struct {
	origin string
	dir    string
	file   *os.File
	write  func(path string, raw []byte) error // durable.ReplaceSealed but in tests

	mu   sync.RWMutex // guards size
	size int64
}

// OpenLog opens the log in a folder, which is made. It begins with the blocks up to which the
// log was flushed; damaged says why it begins anew although there were some.
func OpenLog(dir, origin string) (l *Log, damaged error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, hashesFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	l = &Log{origin: origin, dir: dir, file: file, write: durable.ReplaceSealed}
	head, err := readHead(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		damaged = err
	case head.Origin != origin:
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrOtherLog.With("it is of %.64q, the chain's is %.64q", head.Origin, origin)), file.Close())
	default:
		l.size = head.Size
		if root, err := l.Root(head.Size); err != nil {
			damaged = err
		} else if root != head.Root {
			damaged = ErrDamaged
		}
	}
	if damaged != nil {
		l.size = 0
	}
	return l, damaged, nil
}

func readHead(dir string) (Checkpoint, error) {
	raw, err := durable.ReadSealed(filepath.Join(dir, headFile), MaxNote)
	if err != nil {
		return Checkpoint{}, err
	}
	return parseBody(string(raw))
}

// Close closes the file. What was not flushed is computed again.
func (l *Log) Close() error { return l.file.Close() }

// Size is how many blocks the log has.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.size
}

// ReadHashes implements tlog.HashReader.
func (l *Log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if _, err := l.file.ReadAt(out[i][:], at*tlog.HashSize); err != nil {
			return nil, ErrDamaged.With("hash %d: %v", at, err)
		}
	}
	return out, nil
}

// Append adds the next block.
func (l *Log) Append(hash []byte) error {
	n := l.Size()
	if len(hash) != HashBytes {
		return fmt.Errorf("the hash of block %d has %d bytes", n+1, len(hash))
	}
	hashes, err := tlog.StoredHashesForRecordHash(n, Block{Height: n + 1, Hash: hash}.leafHash(), l)
	if err != nil {
		return err
	}
	raw := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		raw = append(raw, h[:]...)
	}
	// An error leaves nothing that counts: the next try writes to the same place.
	if _, err := l.file.WriteAt(raw, tlog.StoredHashCount(n)*tlog.HashSize); err != nil {
		return fmt.Errorf("write the log of blocks: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size = n + 1
	return nil
}

// Flush makes the log outlast a power failure up to its present size.
func (l *Log) Flush() error {
	size := l.Size()
	if size == 0 {
		return nil
	}
	root, err := l.Root(size)
	if err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("flush the log of blocks: %w", err)
	}
	if err := l.write(filepath.Join(l.dir, headFile), []byte(Checkpoint{l.origin, size, root}.Body())); err != nil {
		return fmt.Errorf("write the head of the log of blocks: %w", err)
	}
	return nil
}

// Drop forgets blocks beyond a size. It is called by the goroutine that appends.
func (l *Log) Drop(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size = min(l.size, size)
}

// Holds tells whether a block is in the log with a hash.
func (l *Log) Holds(height int64, hash []byte) (bool, error) {
	have, err := l.ReadHashes([]int64{tlog.StoredHashIndex(0, height-1)})
	return err == nil && have[0] == Block{Height: height, Hash: hash}.leafHash(), err
}

// Root is the root of the first blocks.
func (l *Log) Root(size int64) (tlog.Hash, error) {
	if size < 1 || size > l.Size() {
		return tlog.Hash{}, ErrNoBlock.With("size %d of %d", size, l.Size())
	}
	return tlog.TreeHash(size, l)
}

// Inclusion proves a block in the tree of a checkpoint, and checks the proof: one that damaged
// hashes give is not handed out.
func (l *Log) Inclusion(height int64, of Checkpoint) (tlog.RecordProof, error) {
	path, err := tlog.ProveRecord(of.Size, height-1, l)
	if err != nil {
		return nil, ErrDamaged.With("%v", err)
	}
	leaf, err := l.ReadHashes([]int64{tlog.StoredHashIndex(0, height-1)})
	if err != nil {
		return nil, err
	}
	if err := tlog.CheckRecord(path, of.Size, of.Root, height-1, leaf[0]); err != nil {
		return nil, ErrDamaged.With("block %d", height)
	}
	return path, nil
}

// Consistency proves that a checkpoint goes on from the first old blocks, and checks the proof.
func (l *Log) Consistency(old int64, of Checkpoint) (tlog.TreeProof, error) {
	if old == 0 || old == of.Size {
		return nil, nil
	}
	root, err := l.Root(old)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveTree(of.Size, old, l)
	if err != nil {
		return nil, ErrDamaged.With("%v", err)
	}
	if err := tlog.CheckTree(path, of.Size, of.Root, old, root); err != nil {
		return nil, ErrDamaged.With("from %d to %d blocks", old, of.Size)
	}
	return path, nil
}

// CheckFolder computes every hash of a log anew from its leaves, and its head from them. hash
// gives the hash of a block's header, or nil where it is not known. It returns how many blocks
// it looked at. A folder without a log has none.
func CheckFolder(dir, origin string, hash func(height int64) []byte) (size int64, err error) {
	head, err := readHead(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if head.Origin != origin {
		return 0, ErrOtherLog.With("it is of %.64q", head.Origin)
	}
	file, err := os.Open(filepath.Join(dir, hashesFile))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	l := &Log{origin: origin, dir: dir, file: file, size: head.Size}
	for n := range head.Size {
		leaf, err := l.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return n, err
		}
		if known := hash(n + 1); known != nil && leaf[0] != (Block{Height: n + 1, Hash: known}).leafHash() {
			return n, ErrDamaged.With("block %d has another hash", n+1)
		}
		want, err := tlog.StoredHashesForRecordHash(n, leaf[0], l)
		if err != nil {
			return n, err
		}
		for i, h := range want {
			have, err := l.ReadHashes([]int64{tlog.StoredHashCount(n) + int64(i)})
			if err != nil {
				return n, err
			}
			if have[0] != h {
				return n, ErrDamaged.With("a hash above block %d", n+1)
			}
		}
	}
	if head.Size == 0 {
		return 0, ErrDamaged.With("its head has no block")
	}
	if root, err := l.Root(head.Size); err != nil || root != head.Root {
		return head.Size, errors.Join(err, ErrDamaged.With("its root is not that of its head"))
	}
	return head.Size, nil
}
