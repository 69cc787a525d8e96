// Package snapshots keeps images of the application state in chunks, for nodes that
// join.
//
// A snapshot of height H is the files
//
//	chunk-H-I     the I-th part of the image of the state (state.Snapshot.Export), as a
//	              block of S2
//	snapshot-H    its description: the marshalled Description
//
// with H in twenty and I in eight digits. The description is put in its place last, when
// all chunks are durable: what has none is no snapshot, and is removed at the next
// start. Images of one height are the same on every node, so that a node that joins may
// take its chunks from several. They are compressed on disk alone, so that peers need not
// compress alike.
package snapshots

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/chancery/chancery/chain/state"
)

const (
	// Format is the version of images and descriptions.
	Format = 1
	// ChunkBytes is the size of every chunk but the last.
	ChunkBytes = 1 << 20
	// MaxChunks bounds a snapshot: 64 GiB. Its description has to fit into a message
	// of the engine, of 4 MB.
	MaxChunks = 1 << 16
	// MaxKept is how many snapshots the engine tells of.
	MaxKept = 10
	// rest is how many times as long as it worked on a part of an image Take rests: it has
	// time until the next snapshot, and blocks need the processor now.
	rest = 3
	// spared is how long a snapshot stays after a peer was told of it or given a chunk of it,
	// though there are newer ones: a node that joins takes a few seconds to choose one, and
	// on a quick chain it would be gone when it asks for it.
	spared = time.Minute
)

const (
	chunkPrefix    = "chunk-"
	snapshotPrefix = "snapshot-"
	temporary      = ".tmp"
)

var (
	// ErrDescription says that bytes are no description of a snapshot.
	ErrDescription = errors.New("this is no description of a snapshot")
	// ErrTooLarge says that a state has outgrown snapshots.
	ErrTooLarge = fmt.Errorf("the image of the state has more than %d bytes, the most that a snapshot holds", int64(MaxChunks)*ChunkBytes)
	// ErrNoChunk says that there is no such snapshot, or no such chunk of it.
	ErrNoChunk = errors.New("no such chunk of a snapshot")
	// ErrAbandoned says that a snapshot was not finished because the node stops.
	ErrAbandoned = errors.New("the node stops before the snapshot is whole")
)

// Description says what is in a snapshot. Its bytes are: root (32), size (8, big endian),
// and the SHA-256 of each chunk.
type Description struct {
	Root   []byte // of the state, 32 bytes
	Size   int64  // bytes of the image
	Chunks [][sha256.Size]byte
}

// Marshal gives the bytes that Parse reads.
func (d Description) Marshal() []byte {
	b := binary.BigEndian.AppendUint64(bytes.Clone(d.Root), uint64(d.Size))
	for _, c := range d.Chunks {
		b = append(b, c[:]...)
	}
	return b
}

// Parse reads a description, whoever sent it: the number of its chunks is that which its
// size needs, and within bounds.
func Parse(raw []byte) (Description, error) {
	const head = sha256.Size + 8
	if len(raw) < head || (len(raw)-head)%sha256.Size != 0 {
		return Description{}, fmt.Errorf("%w: it has %d bytes", ErrDescription, len(raw))
	}
	d := Description{Root: bytes.Clone(raw[:sha256.Size])}
	size, n := binary.BigEndian.Uint64(raw[sha256.Size:]), (len(raw)-head)/sha256.Size
	if n == 0 || n > MaxChunks || size == 0 || size > uint64(n)*ChunkBytes || size <= uint64(n-1)*ChunkBytes {
		return Description{}, fmt.Errorf("%w: %d chunks for %d bytes", ErrDescription, n, size)
	}
	d.Size = int64(size)
	for c := range slices.Chunk(raw[head:], sha256.Size) {
		d.Chunks = append(d.Chunks, [sha256.Size]byte(c))
	}
	return d, nil
}

// Snapshot is one that is whole.
type Snapshot struct {
	Height int64
	Description
}

// Hash identifies a snapshot's description.
func (s Snapshot) Hash() [sha256.Size]byte { return sha256.Sum256(s.Marshal()) }

// Store is the snapshots of a node. It is safe for concurrent use.
type Store struct {
	files state.Files
	keep  int

	taking    sync.Mutex // held while a snapshot is written
	abandon   sync.Once
	abandoned chan struct{} // closed by abandon

	mu    sync.Mutex          // guards whole and asked
	whole []Snapshot          // ascending by height
	asked map[int64]time.Time // by height, of those that are whole: when a peer last was told of it, or given a chunk
}

// Open opens the snapshots in files, which it then owns, and removes what is not whole.
// The latest keep snapshots are kept, and as many before them while peers ask for them.
func Open(files state.Files, keep int) (*Store, error) {
	s := &Store{files: files, keep: keep, abandoned: make(chan struct{}), asked: make(map[int64]time.Time)}
	names, err := files.List()
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	var chunks []string
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, temporary):
			err = files.Remove(name)
		case strings.HasPrefix(name, chunkPrefix):
			chunks = append(chunks, name)
		case strings.HasPrefix(name, snapshotPrefix):
			err = s.load(name)
		}
		if err != nil {
			return nil, fmt.Errorf("open the snapshots: %s: %w", name, err)
		}
	}
	slices.SortFunc(s.whole, byHeight)
	for _, name := range chunks {
		height, index, ok := parseChunk(name)
		if known, found := s.find(height); ok && found && index < len(known.Chunks) {
			continue
		}
		if err := files.Remove(name); err != nil {
			return nil, fmt.Errorf("open the snapshots: %s: %w", name, err)
		}
	}
	if err := s.Trim(s.keep); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) load(name string) error {
	height, d, err := s.described(name)
	if errors.Is(err, ErrDescription) {
		// A snapshot is a copy: one that is damaged goes.
		return s.files.Remove(name)
	}
	if err != nil {
		return err
	}
	s.whole = append(s.whole, Snapshot{height, d})
	return nil
}

// described reads a description.
func (s *Store) described(name string) (height int64, d Description, err error) {
	height, err = strconv.ParseInt(strings.TrimPrefix(name, snapshotPrefix), 10, 64)
	if err != nil || snapshotName(height) != name {
		return 0, d, errors.New("the name of this file is no snapshot's")
	}
	raw, err := s.read(name, 40+MaxChunks*sha256.Size)
	if err != nil {
		return height, d, err
	}
	d, err = Parse(raw)
	return height, d, err
}

func (s *Store) read(name string, limit int64) ([]byte, error) {
	r, size, err := s.files.Open(name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.Join(fmt.Errorf("%s has %d bytes, more than the %d it may have", name, size, limit), r.Close())
	}
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	return raw, errors.Join(err, r.Close())
}

// Inspect reads every whole snapshot in files, oldest first, and changes nothing. each is
// told of one with what is not as Take wrote it, nil where all of it is; its error ends
// the reading.
func Inspect(files state.Files, each func(height int64, root []byte, damage error) error) error {
	names, err := files.List()
	if err != nil {
		return err
	}
	slices.Sort(names) // by height, since heights are in twenty digits
	s := &Store{files: files}
	for _, name := range names {
		if !strings.HasPrefix(name, snapshotPrefix) || strings.HasSuffix(name, temporary) {
			continue
		}
		height, d, damage := s.inspect(name)
		if err := each(height, d.Root, damage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) inspect(name string) (height int64, d Description, damage error) {
	height, d, err := s.described(name)
	if err != nil {
		return height, d, err
	}
	size := int64(0)
	for i, want := range d.Chunks {
		raw, err := s.chunk(height, i, want)
		if err != nil {
			return height, d, fmt.Errorf("chunk %d: %w", i, err)
		}
		size += int64(len(raw))
	}
	if size != d.Size {
		return height, d, fmt.Errorf("its chunks have %d bytes, its description says %d", size, d.Size)
	}
	return height, d, nil
}

// chunk reads a chunk of which the hash is known. Programs before wrote chunks as they are.
func (s *Store) chunk(height int64, index int, want [sha256.Size]byte) ([]byte, error) {
	stored, err := s.read(chunkName(height, index), int64(s2.MaxEncodedLen(ChunkBytes)))
	if err != nil {
		return nil, err
	}
	if n, err := s2.DecodedLen(stored); err == nil && n <= ChunkBytes {
		if raw, err := s2.Decode(nil, stored); err == nil && sha256.Sum256(raw) == want {
			return raw, nil
		}
	}
	if len(stored) > ChunkBytes || sha256.Sum256(stored) != want {
		return nil, errors.New("its hash is another than its description says")
	}
	return stored, nil
}

// List are the whole snapshots, oldest first.
func (s *Store) List() []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.whole)
}

// Offer is List, for a peer that may ask for one of them soon.
func (s *Store) Offer() []Snapshot {
	list := s.List()
	for _, one := range list {
		s.ask(one.Height)
	}
	return list
}

// ask notes that a peer asks for a snapshot.
func (s *Store) ask(height int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index(height) >= 0 {
		s.asked[height] = time.Now()
	}
}

// spares tells whether a peer asked for a snapshot lately.
func (s *Store) spares(height int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.asked[height]
	return ok && time.Since(at) < spared
}

func (s *Store) find(height int64) (Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(height)
	if i < 0 {
		return Snapshot{}, false
	}
	return s.whole[i], true
}

// index is where the snapshot of a height is in whole, -1 where there is none. It needs mu held.
func (s *Store) index(height int64) int {
	return slices.IndexFunc(s.whole, func(w Snapshot) bool { return w.Height == height })
}

// Chunk is a chunk of a snapshot, or ErrNoChunk. One that the disk has changed is not
// given away: its snapshot goes, since peers would take this node for a liar.
func (s *Store) Chunk(height int64, index int) ([]byte, error) {
	known, ok := s.find(height)
	if !ok || index < 0 || index >= len(known.Chunks) {
		return nil, fmt.Errorf("%w: chunk %d of height %d", ErrNoChunk, index, height)
	}
	raw, err := s.chunk(height, index, known.Chunks[index])
	if err == nil {
		s.ask(height)
		return raw, nil
	}
	err = fmt.Errorf("chunk %d of the snapshot of height %d is damaged on disk; the snapshot is removed: %w", index, height, err)
	if _, still := s.find(height); !still {
		return nil, fmt.Errorf("%w: the snapshot of height %d was removed just now", ErrNoChunk, height)
	}
	return nil, errors.Join(err, s.remove(height))
}

// Take writes the snapshot of a state and removes those beyond the number that is kept, unless
// a peer asked for one lately: of such ones as many again may stay.
// Where there is one of that height it does nothing. It returns what it wrote. It takes
// a quarter of one processor at most, and less where others need them all.
func (s *Store) Take(of state.Snapshot) (Snapshot, error) {
	s.taking.Lock()
	defer s.taking.Unlock()
	height := of.Version()
	if known, ok := s.find(height); ok {
		return known, nil
	}
	w := &chunkWriter{files: s.files, height: height, abandoned: s.abandoned, resumed: time.Now()}
	err := of.Export(w)
	if err == nil {
		err = w.flush()
	}
	taken := Snapshot{height, Description{Root: of.Root(), Size: w.size, Chunks: w.chunks}}
	if err == nil {
		err = s.describe(taken)
	}
	if err != nil {
		for i := range len(w.chunks) + 1 {
			_ = s.files.Remove(chunkName(height, i)) // the next start does it otherwise
		}
		return Snapshot{}, fmt.Errorf("take a snapshot of height %d: %w", height, err)
	}
	s.mu.Lock()
	s.whole = append(s.whole, taken)
	slices.SortFunc(s.whole, byHeight)
	s.mu.Unlock()
	return taken, s.trim(s.keep, s.keep)
}

// Trim removes the oldest snapshots beyond a number, whoever asks for them.
func (s *Store) Trim(keep int) error { return s.trim(keep, 0) }

// trim removes the oldest snapshots beyond a number, but for the latest of those that a peer asked
// for lately, of which it spares so many.
func (s *Store) trim(keep, spare int) error {
	list := s.List()
	var gone []Snapshot // latest first
	for _, one := range slices.Backward(list[:max(0, len(list)-keep)]) {
		if spare > 0 && s.spares(one.Height) {
			spare--
			continue
		}
		gone = append(gone, one)
	}
	for _, one := range slices.Backward(gone) {
		if err := s.remove(one.Height); err != nil {
			return err
		}
	}
	return nil
}

func byHeight(a, b Snapshot) int { return cmp.Compare(a.Height, b.Height) }

// describe makes a snapshot whole. The chunks are on disk.
func (s *Store) describe(taken Snapshot) error {
	if err := s.files.Sync(); err != nil {
		return err
	}
	name := snapshotName(taken.Height)
	if err := write(s.files, name+temporary, taken.Marshal()); err != nil {
		return err
	}
	if err := s.files.Rename(name+temporary, name); err != nil {
		return err
	}
	return s.files.Sync()
}

// remove removes a snapshot, its description first and durably: no part of one is told of.
func (s *Store) remove(height int64) error {
	s.mu.Lock()
	i := s.index(height)
	if i < 0 {
		s.mu.Unlock()
		return nil
	}
	n := len(s.whole[i].Chunks)
	s.whole = slices.Delete(s.whole, i, i+1)
	delete(s.asked, height)
	s.mu.Unlock()
	err := s.files.Remove(snapshotName(height))
	if err == nil {
		err = s.files.Sync()
	}
	for i := 0; i < n && err == nil; i++ {
		err = s.files.Remove(chunkName(height, i))
	}
	if err != nil {
		return fmt.Errorf("remove the snapshot of height %d: %w", height, err)
	}
	return nil
}

// Abandon makes a snapshot that is being taken, and every later one, end with
// ErrAbandoned: the node stops.
func (s *Store) Abandon() { s.abandon.Do(func() { close(s.abandoned) }) }

// Close gives the folder back. It waits for a snapshot that is being written.
func (s *Store) Close() error {
	s.taking.Lock()
	defer s.taking.Unlock()
	return s.files.Close()
}

// chunkWriter cuts what is written to it into chunks, each durable when the next begins.
type chunkWriter struct {
	files     state.Files
	height    int64
	abandoned <-chan struct{}
	resumed   time.Time // when the last rest ended

	chunks     [][sha256.Size]byte
	size       int64
	buf        []byte
	compressed []byte
}

func (w *chunkWriter) Write(b []byte) (int, error) {
	select {
	case <-w.abandoned:
	case <-time.After(rest * time.Since(w.resumed)):
	}
	select {
	case <-w.abandoned:
		return 0, ErrAbandoned
	default:
	}
	w.resumed = time.Now()
	n := len(b)
	for len(b) > 0 {
		part := b[:min(len(b), ChunkBytes-len(w.buf))]
		b = b[len(part):]
		if w.buf = append(w.buf, part...); len(w.buf) == ChunkBytes {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *chunkWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if len(w.chunks) == MaxChunks {
		return ErrTooLarge
	}
	w.compressed = s2.Encode(w.compressed, w.buf)
	if err := write(w.files, chunkName(w.height, len(w.chunks)), w.compressed); err != nil {
		return err
	}
	w.chunks = append(w.chunks, sha256.Sum256(w.buf))
	w.size += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

func write(files state.Files, name string, raw []byte) error {
	f, err := files.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func snapshotName(height int64) string { return fmt.Sprintf("%s%020d", snapshotPrefix, height) }

func chunkName(height int64, index int) string {
	return fmt.Sprintf("%s%020d-%08d", chunkPrefix, height, index)
}

func parseChunk(name string) (height int64, index int, ok bool) {
	h, i, cut := strings.Cut(strings.TrimPrefix(name, chunkPrefix), "-")
	height, err := strconv.ParseInt(h, 10, 64)
	index, err2 := strconv.Atoi(i)
	return height, index, cut && err == nil && err2 == nil && chunkName(height, index) == name
}
