package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sync"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/iavl"
	iavldb "github.com/cosmos/iavl/db"
	ics23 "github.com/cosmos/ics23/go"
	lru "github.com/hashicorp/golang-lru/v2/simplelru"
)

// ErrNoVersion says that a version is not in the tree: it is in the future, or
// was pruned.
var ErrNoVersion = errors.New("no such state version")

// ErrExporting says that a version cannot be forgotten yet, because its image is being
// written.
var ErrExporting = errors.New("the state version is being exported")

// Tree is the authenticated store that commits what an Overlay gathered. Apply and
// Save are called one at a time, and so is Prune, which may be called beside them; At,
// Latest and Oldest by any goroutine, meanwhile too.
type Tree interface {
	// Version is the latest saved version, 0 when nothing was saved.
	Version() int64
	// Root is the root hash of the latest saved version.
	Root() []byte
	// Apply writes the changes, which must be sorted by key, to the working tree
	// and returns the root hash that Save would commit. What was applied before
	// and not saved is discarded first, so that Apply may be called again.
	Apply(changes []Change) (root []byte, err error)
	// Save makes the applied changes durable as the next version.
	Save() error
	// Latest is the state at the latest saved version.
	Latest() Snapshot
	// At is the state at a version, or ErrNoVersion.
	At(version int64) (Snapshot, error)
	// Oldest is the oldest version that At returns, 0 when nothing was saved.
	Oldest() int64
	// Prune forgets all versions up to and including the given one, durably and at once:
	// a crash leaves the tree as it was before or after. A Snapshot of a version that was
	// forgotten meanwhile raises a Fault that is ErrNoVersion where it is read. The error
	// is ErrExporting while one of the versions is exported.
	Prune(version int64) error
	// Import makes the tree, in which nothing was saved, the version of an image that
	// Export wrote. All of the image is checked, up to its end, and its root must be the
	// given one, before the version can be seen. After an error the tree is empty in
	// the eyes of readers, and Import may be called again; after a crash meanwhile, what
	// is on disk must be removed before the tree is opened. Nothing may be applied at
	// the same time.
	Import(image io.Reader, version int64, root []byte) error
	// Close releases the database.
	Close() error
}

// Snapshot is the state at one saved version. It is safe for concurrent use.
type Snapshot interface {
	Reader
	Version() int64
	Root() []byte
	// Prove returns the ICS23 proof that key has its value, or that it has none.
	Prove(key []byte) (*ics23.CommitmentProof, error)
	// Export writes the image of the state: the same bytes for the same version on
	// every node, whatever kind its tree is. It reads beside blocks that are applied.
	Export(out io.Writer) error
}

// ProofSpec is the ICS23 specification that every proof of a Tree follows.
var ProofSpec = ics23.IavlSpec

// IAVLOptions tunes an IAVL tree.
type IAVLOptions struct {
	// NodeCache is the number of tree nodes kept in memory. 0: 500 000.
	NodeCache int
	// ValueCache is the number of latest values kept in memory. 0: 200 000.
	ValueCache int
	// NoSync leaves out the fsync at each Save. For tests and measurements only:
	// a power failure may then lose versions that were reported as saved.
	NoSync bool
}

const (
	defaultNodeCache  = 500_000
	defaultValueCache = 200_000
)

// OpenIAVL opens the tree in db, which it then owns, at its latest version.
func OpenIAVL(db dbm.DB, o IAVLOptions) (Tree, error) {
	if o.NodeCache == 0 {
		o.NodeCache = defaultNodeCache
	}
	if o.ValueCache == 0 {
		o.ValueCache = defaultValueCache
	}
	tree := iavl.NewMutableTree(wholeVersions{iavldb.NewWrapper(db)}, o.NodeCache, true, iavl.NewNopLogger(),
		iavl.SyncOption(!o.NoSync), iavl.FlushThresholdOption(math.MaxInt))
	if _, err := tree.Load(); err != nil {
		return nil, fmt.Errorf("load the state tree: %w", err)
	}
	values, err := lru.NewLRU[string, []byte](o.ValueCache, nil)
	if err != nil {
		return nil, err
	}
	t := &iavlTree{db: db, tree: tree, cache: &valueCache{version: tree.Version(), values: values}, nodes: new(nodeGuard), noSync: o.NoSync}
	if err := t.refresh(); err != nil {
		return nil, err
	}
	return t, nil
}

// nodeGuard keeps readers from the nodes of saved versions while the writer copies
// one: the library then clears fields of the node that it copies, which are empty
// already, and which readers look at. It is held for one step at a time.
type nodeGuard struct {
	//determinism:allow guards fields of shared nodes that always hold the same
	sync.RWMutex
}

// wholeVersions is a database in which a version is written by one batch, however
// large. The library would write a batch each 100 kB, and the root's node with the
// last: a process killed in between would leave a version without a root, which
// nothing can open. With a threshold without bound no batch may be allocated by it.
type wholeVersions struct{ *iavldb.Wrapper }

// NewBatchWithSize implements iavldb.DB.
func (d wholeVersions) NewBatchWithSize(int) iavldb.Batch { return d.NewBatch() }

type iavlTree struct {
	db      dbm.DB
	tree    *iavl.MutableTree
	pending []Change
	cache   *valueCache
	nodes   *nodeGuard
	noSync  bool

	//determinism:allow guards a handle; what it protects is the same on every node
	mu      sync.RWMutex // guards latest, oldest and exports
	latest  *iavlSnapshot
	oldest  int64   // 0: nothing was saved
	exports []int64 // versions that are being exported
}

func (t *iavlTree) refresh() error {
	snap := &iavlSnapshot{version: t.tree.Version(), owner: t, cache: t.cache, nodes: t.nodes}
	if snap.version > 0 {
		im, err := t.tree.GetImmutable(snap.version)
		if err != nil {
			return fmt.Errorf("open state version %d: %w", snap.version, err)
		}
		snap.tree = im
		snap.root = im.Hash()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = snap
	if t.oldest == 0 && snap.version > 0 {
		t.oldest = int64(t.tree.AvailableVersions()[0])
	}
	return nil
}

func (t *iavlTree) Version() int64 { return t.Latest().Version() }
func (t *iavlTree) Root() []byte   { return t.Latest().Root() }

func (t *iavlTree) Latest() Snapshot {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.latest
}

func (t *iavlTree) At(version int64) (Snapshot, error) {
	t.mu.RLock()
	latest, oldest := t.latest, t.oldest
	t.mu.RUnlock()
	if version == latest.version {
		return latest, nil
	}
	if version <= 0 || version > latest.version {
		return nil, fmt.Errorf("%w: %d (latest is %d)", ErrNoVersion, version, latest.version)
	}
	if version < oldest {
		return nil, fmt.Errorf("%w: %d was pruned (oldest is %d)", ErrNoVersion, version, oldest)
	}
	t.nodes.RLock()
	defer t.nodes.RUnlock()
	im, err := t.tree.GetImmutable(version)
	if errors.Is(err, iavl.ErrVersionDoesNotExist) {
		return nil, fmt.Errorf("%w: %d was pruned", ErrNoVersion, version)
	}
	if err != nil {
		return nil, fmt.Errorf("open state version %d: %w", version, err)
	}
	return &iavlSnapshot{version: version, owner: t, tree: im, root: im.Hash(), nodes: t.nodes}, nil
}

func (t *iavlTree) Oldest() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.oldest
}

func (t *iavlTree) Apply(changes []Change) ([]byte, error) {
	if t.pending != nil {
		t.tree.Rollback()
	}
	t.pending = changes
	if t.pending == nil {
		t.pending = []Change{}
	}
	for _, c := range changes {
		if err := t.change(c); err != nil {
			return nil, fmt.Errorf("apply to the state tree: %w", err)
		}
	}
	return t.tree.WorkingHash(), nil
}

func (t *iavlTree) change(c Change) (err error) {
	t.nodes.Lock()
	defer t.nodes.Unlock()
	if c.Value == nil {
		_, _, err = t.tree.Remove(c.Key)
	} else {
		_, err = t.tree.Set(c.Key, c.Value)
	}
	return err
}

func (t *iavlTree) Save() error {
	if t.pending == nil {
		return errors.New("state: Save without Apply")
	}
	_, version, err := t.tree.SaveVersion()
	if err != nil {
		return fmt.Errorf("save the state tree: %w", err)
	}
	t.cache.advance(version, t.pending)
	t.pending = nil
	return t.refresh()
}

// Prune works on a handle of its own, whose one batch holds all that is removed: what
// Save writes is in another. Nodes that later versions need are left alone.
func (t *iavlTree) Prune(version int64) error {
	if version >= t.Version() {
		return fmt.Errorf("state: refusing to prune version %d, the latest is %d", version, t.Version())
	}
	t.mu.Lock()
	before := t.oldest
	if version < before {
		t.mu.Unlock()
		return nil
	}
	if slices.ContainsFunc(t.exports, func(v int64) bool { return v <= version }) {
		t.mu.Unlock()
		return fmt.Errorf("%w: %d, or one before it", ErrExporting, version)
	}
	// Nobody begins to read or to export what is about to go.
	t.oldest = version + 1
	t.mu.Unlock()
	handle := t.apart()
	if err := errors.Join(handle.DeleteVersionsTo(version), handle.Close()); err != nil {
		return fmt.Errorf("prune the state tree up to %d: %w", version, err)
	}
	return nil
}

// gone is the error of a read at a version: that it was pruned meanwhile, where it was.
func (s *iavlSnapshot) gone(err error) error {
	if oldest := s.owner.Oldest(); s.version < oldest {
		return fmt.Errorf("%w: %d was pruned while it was read (oldest is %d)", ErrNoVersion, s.version, oldest)
	}
	return err
}

func (t *iavlTree) Close() error { return errors.Join(t.tree.Close(), t.db.Close()) }

type iavlSnapshot struct {
	version int64
	owner   *iavlTree
	root    []byte
	tree    *iavl.ImmutableTree // nil: the empty state
	cache   *valueCache         // nil: a historical version, not cached
	nodes   *nodeGuard
}

func (s *iavlSnapshot) Version() int64 { return s.version }
func (s *iavlSnapshot) Root() []byte   { return s.root }

func (s *iavlSnapshot) Lookup(key []byte) []byte {
	if s.tree == nil {
		return nil
	}
	if s.cache != nil {
		if v, ok := s.cache.lookup(s.version, key); ok {
			return v
		}
	}
	s.nodes.RLock()
	v, err := s.tree.Get(bytes.Clone(key)) // what the library keeps of it is its own affair
	s.nodes.RUnlock()
	if err != nil {
		fault(fmt.Sprintf("read key %x at version %d", key, s.version), s.gone(err))
	}
	if s.cache != nil {
		s.cache.add(s.version, key, v)
	}
	return v
}

func (s *iavlSnapshot) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		if s.tree == nil {
			return
		}
		s.nodes.RLock()
		it, err := s.tree.Iterator(start, end, !reverse)
		s.nodes.RUnlock()
		if err != nil {
			fault(fmt.Sprintf("walk version %d", s.version), s.gone(err))
		}
		defer func() { _ = it.Close() }()
		// The caller may read and write while it has a pair, so nothing is held then.
		next := func() {
			s.nodes.RLock()
			defer s.nodes.RUnlock()
			it.Next()
		}
		for ; it.Valid(); next() {
			if !yield(it.Key(), it.Value()) {
				return
			}
		}
		// The library ends where it misses a node, and does not say so.
		if err := s.gone(it.Error()); err != nil {
			fault(fmt.Sprintf("walk version %d", s.version), err)
		}
	}
}

func (s *iavlSnapshot) Prove(key []byte) (*ics23.CommitmentProof, error) {
	if s.tree == nil {
		return nil, fmt.Errorf("%w: nothing was committed yet", ErrNoVersion)
	}
	s.nodes.RLock()
	p, err := s.tree.GetProof(key)
	s.nodes.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("prove key %x at version %d: %w", key, s.version, s.gone(err))
	}
	return p, nil
}

// valueCache holds values (nil for absence) of the latest version. Entries are
// added and served only for exactly that version, so that a reader of an older
// snapshot can neither poison it nor see the future.
type valueCache struct {
	//determinism:allow guards a cache of committed values, which holds no state of its own
	mu      sync.Mutex // guards version and values
	version int64
	values  *lru.LRU[string, []byte]
}

func (c *valueCache) lookup(version int64, key []byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version != version {
		return nil, false
	}
	return c.values.Get(string(key))
}

func (c *valueCache) add(version int64, key, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version {
		c.values.Add(string(key), value)
	}
}

func (c *valueCache) advance(version int64, changes []Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range changes {
		c.values.Add(string(ch.Key), ch.Value)
	}
	c.version = version
}

// Root computes the root hash that a tree holding exactly the changes would have.
func Root(changes []Change) ([]byte, error) {
	t, err := OpenIAVL(dbm.NewMemDB(), IAVLOptions{NoSync: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.Close() }()
	return t.Apply(changes)
}
