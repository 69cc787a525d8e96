package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	ics23 "github.com/cosmos/ics23/go"
)

// MemoryOptions tunes a tree in memory.
type MemoryOptions struct {
	// KeepVersions is how many versions stay readable. 0: 1000.
	KeepVersions int
	// KeepBytes bounds the memory of versions before the latest, but for the
	// fewest that are kept in any case. 0: 256 MiB.
	KeepBytes int64
	// SegmentBytes is how long a segment of the log may become before the next is
	// begun. 0: 16 MiB.
	SegmentBytes int64
	// ImageVersions and ImageBytes are after how many versions, or bytes of log, an
	// image is due, counted as they are before they are compressed; a large state waits
	// until the log is half as long as its last image. 0: 10 000 and 64 MiB.
	ImageVersions, ImageBytes int64
	// Images is how many images are kept, and with them the log since the oldest. With one, an
	// image is read back and checked before the one before it goes. 0: 2.
	Images int
	// NoSync leaves out the fsync at each Save, as in IAVLOptions.
	NoSync bool
	// Advise, where it is given, is told of memory for many nodes of a large tree before it is
	// used. It may ask the system to keep it in large pages, and must not write to it.
	Advise func(memory []byte)

	hash func(key []byte) uint64 // for the index; nil: XXH64
}

// The defaults of MemoryOptions.ImageVersions and MemoryOptions.ImageBytes.
const (
	DefaultImageVersions int64 = 10_000
	DefaultImageBytes    int64 = 64 << 20
)

// fewestVersions stay readable however much they take.
const fewestVersions = 16

// lateImage is by how many times an image may be overdue before Save writes it.
const lateImage = 4

func (o MemoryOptions) withDefaults() MemoryOptions {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	if o.KeepVersions == 0 {
		o.KeepVersions = 1000
	}
	if o.Images == 0 {
		o.Images = 2
	}
	if o.hash == nil {
		o.hash = xxhash.Sum64
	}
	set(&o.KeepBytes, 256<<20)
	set(&o.SegmentBytes, 16<<20)
	set(&o.ImageVersions, DefaultImageVersions)
	set(&o.ImageBytes, DefaultImageBytes)
	return o
}

// Memory is the Tree that holds all state in memory and on disk a log of every
// version since an image of the whole. Its roots and proofs are those of the tree
// that OpenIAVL opens.
type Memory struct {
	options   MemoryOptions
	recovered Recovery
	journal   journal

	// Of the goroutine that applies and saves.
	nodes   *nodes
	applied *applied // nil: nothing was applied
	failed  error
	index   *index

	//determinism:allow guards handles of committed versions, which are the same on every node
	mu      sync.RWMutex // guards history, costs and held
	history []*memorySnapshot
	costs   []int64 // bytes that a version added to the one before
	held    int64   // sum of costs but for the first

	//determinism:allow lets one image be written at a time; what is in it is the same on every node
	imaging sync.Mutex
}

// applied is a version that is not saved yet.
type applied struct {
	*memorySnapshot
	changes []Change
	by      *writer
	cost    int64 // bytes that it adds to the version before
}

// Recovery is what OpenMemory found.
type Recovery struct {
	// Image is the version of the image that was loaded, 0 when there was none.
	Image int64
	// Replayed is how many versions of the log followed it.
	Replayed int64
	// Cut is the length of what a crash had left of a version that was never
	// reported as saved.
	Cut int64
	// Damaged are the images that could not be read, each with the reason. An
	// older one stood in.
	Damaged []error
}

// OpenMemory opens the tree in files, which it then owns, at its latest version.
func OpenMemory(files Files, o MemoryOptions) (*Memory, error) {
	m := &Memory{options: o.withDefaults()}
	m.journal = journal{files: files, options: m.options}
	base, nodes, err := m.journal.open(&m.recovered)
	if err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	m.begin(base, nodes)
	err = m.journal.replay(base.version, &m.recovered, func(r record) error {
		if _, err := m.Apply(r.changes); err != nil {
			return err
		}
		if !bytes.Equal(m.applied.root, r.root) {
			return fmt.Errorf("the log leads to root %x at version %d, and says %x", m.applied.root, r.version, r.root)
		}
		m.publish()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	m.index = newIndex(m.latest(), m.options.hash)
	for _, s := range m.history {
		s.index = m.index
	}
	return m, nil
}

// Recovered is what OpenMemory found.
func (m *Memory) Recovered() Recovery { return m.recovered }

// begin makes a version, which nodes are of, the first.
func (m *Memory) begin(s *memorySnapshot, n *nodes) {
	m.nodes = n
	n.publish(s, nil)
	m.push(s, 0)
}

// publish makes the applied version the latest.
func (m *Memory) publish() {
	a := m.applied
	m.applied = nil
	m.nodes.free(a.by.wasted)
	m.nodes.publish(a.memorySnapshot, a.by.orphans)
	m.push(a.memorySnapshot, a.cost)
}

// push makes a version the latest and forgets those that are beyond the bounds.
func (m *Memory) push(s *memorySnapshot, cost int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.history) == 1 && m.history[0].version == 0 {
		m.drop(1)
	}
	if len(m.history) > 0 {
		m.held += cost
	}
	m.history = append(m.history, s)
	m.costs = append(m.costs, cost)
	n := 0
	for held := m.held; len(m.history)-n > m.options.KeepVersions ||
		held > m.options.KeepBytes && len(m.history)-n > fewestVersions; n++ {
		held -= m.costs[n+1]
	}
	m.drop(n)
}

// drop forgets the n oldest versions. The caller holds mu.
func (m *Memory) drop(n int) {
	for i := range n {
		if i+1 < len(m.costs) {
			m.held -= m.costs[i+1]
		}
	}
	m.history = slices.Delete(m.history, 0, n)
	m.costs = slices.Delete(m.costs, 0, n)
}

func (m *Memory) latest() *memorySnapshot {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.history[len(m.history)-1]
}

// Version implements Tree.
func (m *Memory) Version() int64 { return m.latest().version }

// Size is how many keys the latest version has, about how many bytes of memory it takes,
// and how many more those before it take.
func (m *Memory) Size() (keys, bytes, past int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.history[len(m.history)-1]
	keys = int64(s.tree.size(s.tree.root))
	return keys, s.content + max(0, 2*keys-1)*nodeSize + keys*indexSize, m.held
}

// Root implements Tree.
func (m *Memory) Root() []byte { return m.latest().root }

// Latest implements Tree.
func (m *Memory) Latest() Snapshot { return m.latest() }

// At implements Tree.
func (m *Memory) At(version int64) (Snapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	latest := m.history[len(m.history)-1]
	switch oldest := m.history[0].version; {
	case version == latest.version:
		return latest, nil
	case version <= 0 || version > latest.version:
		return nil, fmt.Errorf("%w: %d (latest is %d)", ErrNoVersion, version, latest.version)
	case version < oldest:
		return nil, fmt.Errorf("%w: %d was pruned (oldest is %d)", ErrNoVersion, version, oldest)
	default:
		return m.history[version-oldest], nil
	}
}

// Oldest implements Tree.
func (m *Memory) Oldest() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.history[0].version
}

// Apply implements Tree.
func (m *Memory) Apply(changes []Change) ([]byte, error) {
	if m.failed != nil {
		return nil, m.failed
	}
	if m.applied != nil {
		m.applied.by.discard()
		m.applied = nil
	}
	saved := m.latest()
	if saved.version >= mostVersion {
		return nil, fmt.Errorf("state: version %d is the last that there can be", saved.version)
	}
	if err := acceptable(changes); err != nil {
		return nil, err
	}
	w := &writer{nodes: m.nodes, version: saved.version + 1}
	root := w.apply(saved.tree.root, changes)
	cost := int64(len(w.leaves)+len(w.inners)) * nodeSize
	for _, c := range changes {
		cost += int64(len(c.Key) + len(c.Value))
	}
	s := &memorySnapshot{version: w.version, tree: tree{m.nodes.view, root}, content: saved.content + w.content, index: m.index}
	s.root = s.tree.rootHash()
	m.applied = &applied{s, changes, w, cost}
	return s.root, nil
}

// Save implements Tree. After an error the tree takes no more changes: what is on
// disk is found out by opening it again.
func (m *Memory) Save() error {
	if m.failed != nil {
		return m.failed
	}
	if m.applied == nil {
		return errors.New("state: Save without Apply")
	}
	if err := m.save(); err != nil {
		m.failed = fmt.Errorf("save the state; it must be opened again: %w", err)
		return m.failed
	}
	return nil
}

func (m *Memory) save() error {
	err := m.journal.append(record{version: m.applied.version, root: m.applied.root, changes: m.applied.changes})
	if err != nil {
		return err
	}
	m.index.advance(m.applied)
	m.publish()
	if m.journal.due(lateImage) {
		return m.WriteImage()
	}
	return nil
}

// ImageDue tells whether the log is so long that an image should be written. Any
// goroutine may ask.
func (m *Memory) ImageDue() bool { return m.journal.due(1) }

// WriteImage writes the latest version as a whole, from which the next start goes
// on, and removes what lies before the images that are kept. Any goroutine may call it:
// blocks are applied and saved meanwhile. Where nobody calls it, Save does when the
// log has become four times as long as ImageDue allows.
func (m *Memory) WriteImage() error {
	return m.WriteImageBy(atOnce)
}

func atOnce(sync func() error) error { return sync() }

// WriteImageBy is WriteImage, and has durable make each part of the image durable, which it does
// by calling sync. It may take its time over it, so that the disk is free for blocks.
func (m *Memory) WriteImageBy(durable func(sync func() error) error) error {
	m.imaging.Lock()
	defer m.imaging.Unlock()
	s := m.latest()
	if s.version == 0 {
		return nil
	}
	if err := m.journal.writeImage(s, durable); err != nil {
		return fmt.Errorf("write an image of the state at version %d: %w", s.version, err)
	}
	return nil
}

// Prune implements Tree. What it forgets is kept in memory no longer; the log may
// bring some of it back at the next start.
func (m *Memory) Prune(version int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldest, latest := m.history[0].version, m.history[len(m.history)-1].version
	if version >= latest {
		return fmt.Errorf("state: refusing to prune version %d, the latest is %d", version, latest)
	}
	if version >= oldest {
		m.drop(int(version - oldest + 1))
	}
	return nil
}

// Import implements Tree. The image becomes the first of the folder.
func (m *Memory) Import(image io.Reader, version int64, root []byte) error {
	if m.failed != nil {
		return m.failed
	}
	if v := m.Version(); v != 0 || m.applied != nil {
		return fmt.Errorf("state: an image is for an empty tree; this one is at version %d", v)
	}
	s, nodes, err := loadImage(image, version, root, m.options.Advise)
	if err != nil {
		return err
	}
	m.imaging.Lock()
	defer m.imaging.Unlock()
	if err := m.journal.writeImage(s, atOnce); err != nil {
		m.failed = fmt.Errorf("write the imported state at version %d; it must be opened again: %w", version, err)
		return m.failed
	}
	m.index = newIndex(s, m.options.hash)
	s.index = m.index
	m.begin(s, nodes)
	return nil
}

// Close implements Tree. It waits for an image that is being written.
func (m *Memory) Close() error {
	m.imaging.Lock()
	defer m.imaging.Unlock()
	if m.failed == nil {
		m.failed = errors.New("the state was closed")
	}
	return m.journal.close()
}

// memorySnapshot is one version. What it reaches never changes. Its nodes are used for others
// once nobody has it any more, so whoever reads them keeps it alive meanwhile.
type memorySnapshot struct {
	version int64
	root    []byte
	tree    tree
	content int64  // bytes of keys and values
	index   *index // nil: there is none
}

func (s *memorySnapshot) Version() int64 { return s.version }
func (s *memorySnapshot) Root() []byte   { return s.root }

// Lookup implements Reader.
func (s *memorySnapshot) Lookup(key []byte) []byte {
	defer runtime.KeepAlive(s)
	leaf, known := none, false
	if s.index != nil {
		leaf, known = s.index.find(s, key)
	}
	if !known {
		leaf = s.tree.find(key)
	}
	if leaf == none {
		return nil
	}
	return s.tree.leaf(leaf).value()
}

func (s *memorySnapshot) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		defer runtime.KeepAlive(s)
		s.tree.walk(start, end, reverse, yield)
	}
}

// Export implements Snapshot.
func (s *memorySnapshot) Export(out io.Writer) error {
	if s.version == 0 {
		return fmt.Errorf("%w: nothing was committed yet", ErrNoVersion)
	}
	return writeImage(out, s)
}

func (s *memorySnapshot) Prove(key []byte) (*ics23.CommitmentProof, error) {
	if s.version == 0 {
		return nil, fmt.Errorf("%w: nothing was committed yet", ErrNoVersion)
	}
	if s.tree.root == none {
		return nil, fmt.Errorf("prove key %x at version %d: the state is empty", key, s.version)
	}
	defer runtime.KeepAlive(s)
	return s.tree.prove(key), nil
}
