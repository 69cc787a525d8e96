package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Damage is something of a stored tree that is not as it was written.
type Damage struct {
	File    string // the file, or the key of the database
	Version int64  // 0: of none, or not known
	Err     error
}

// Version tells an inspection what the root of a version is that was computed anew.
// Its error is damage of that version.
type Version func(version int64, root []byte) error

// InspectMemory reads every image and every record of the log of a tree in memory,
// computes all hashes anew, and changes no file. Each version that can be computed is
// given to fn, ascending.
func InspectMemory(files Files, fn Version) ([]Damage, error) {
	names, err := files.List()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var damage []Damage
	var logs []int64
	var images []*memorySnapshot // without their trees, ascending
	first, firstNodes := (*memorySnapshot)(nil), (*nodes)(nil)
	for _, name := range names {
		if version, ok := versionIn(name, imagePrefix); ok {
			j := journal{files: files}
			s, nodes, err := j.loadImage(version)
			if err != nil {
				damage = append(damage, Damage{File: name, Version: version, Err: err})
				continue
			}
			if first == nil {
				first, firstNodes = s, nodes
			}
			images = append(images, &memorySnapshot{version: version, root: s.root})
		} else if version, ok := versionIn(name, logPrefix); ok {
			logs = append(logs, version)
		} else if !strings.HasSuffix(name, temporary) {
			damage = append(damage, Damage{File: name, Err: errors.New("it is no file of a tree in memory")})
		}
	}
	tree := &Memory{options: MemoryOptions{KeepVersions: 1}.withDefaults()}
	base, nodes := first, firstNodes
	if base == nil || len(logs) > 0 && logs[0] == 1 {
		base, nodes = &memorySnapshot{}, newNodes(nil)
	}
	tree.begin(base, nodes)
	if base.version > 0 {
		if err := fn(base.version, base.root); err != nil {
			damage = append(damage, Damage{File: fileName(imagePrefix, base.version), Version: base.version, Err: err})
		}
	}
	for i, begin := range logs {
		name := fileName(logPrefix, begin)
		segment, err := readAll(files, name)
		if err != nil {
			return damage, err
		}
		expected := begin
		whole, err := readSegment(segment, func(r record, _ int) error {
			if r.version != expected {
				return fmt.Errorf("version %d stands where %d should", r.version, expected)
			}
			expected++
			if r.version <= tree.latest().version {
				return nil
			}
			if want := tree.latest().version + 1; r.version != want {
				return fmt.Errorf("version %d is in no file", want)
			}
			if _, err := tree.Apply(r.changes); err != nil {
				return err
			}
			if !bytes.Equal(tree.applied.root, r.root) {
				return fmt.Errorf("the log leads to root %x at version %d, and says %x", tree.applied.root, r.version, r.root)
			}
			tree.publish()
			if i := slices.IndexFunc(images, func(s *memorySnapshot) bool { return s.version == r.version }); i >= 0 && !bytes.Equal(images[i].root, r.root) {
				return fmt.Errorf("the log leads to root %x at version %d, the image holds %x", r.root, r.version, images[i].root)
			}
			if err := fn(r.version, r.root); err != nil {
				damage = append(damage, Damage{File: name, Version: r.version, Err: err})
			}
			return nil
		})
		switch {
		case err != nil:
			damage = append(damage, Damage{File: name, Version: expected, Err: err})
		case whole < len(segment):
			damage = append(damage, Damage{File: name, Version: expected, Err: fmt.Errorf("no whole record stands at byte %d of %d", whole, len(segment))})
		case i+1 < len(logs) && logs[i+1] != expected:
			damage = append(damage, Damage{File: name, Version: expected, Err: fmt.Errorf("it ends before version %d, the next file begins with %d", expected, logs[i+1])})
		}
	}
	for _, image := range images {
		if image.version <= tree.latest().version {
			continue
		}
		if err := fn(image.version, image.root); err != nil {
			damage = append(damage, Damage{File: fileName(imagePrefix, image.version), Version: image.version, Err: err})
		}
	}
	return damage, nil
}

// Pairs is a database of a tree on disk, as an inspection reads it.
type Pairs interface {
	Get(key []byte) ([]byte, error)
	// Each gives fn all pairs in order of key, until fn fails.
	Each(fn func(key, value []byte) error) error
}

// The keys of a tree on disk, as IAVL 1.2 writes them: iavlNode || version (8 bytes) ||
// nonce (4 bytes) is a node, the root of its version where the nonce is 1; there a value
// of such a key names the root of an older version, and an empty one is the empty tree.
// iavlMeta begins the keys of the library's own settings.
const (
	iavlNode    = 's'
	iavlMeta    = 'm'
	iavlKeySize = 1 + 8 + 4
)

var errNode = errors.New("the node does not decode")

// InspectIAVL reads every pair of a tree on disk and computes the hash of every node of
// every version anew from the leaves. Each version is given to fn, ascending.
func InspectIAVL(db Pairs, fn Version) ([]Damage, error) {
	i := &inspector{db: db}
	var damage []Damage
	err := db.Each(func(key, value []byte) error {
		switch {
		case len(key) == iavlKeySize && key[0] == iavlNode:
		case len(key) > 0 && key[0] == iavlMeta:
			return nil
		default:
			damage = append(damage, Damage{File: fmt.Sprintf("key %x", key), Err: errors.New("it is no key of a tree")})
			return nil
		}
		if binary.BigEndian.Uint32(key[9:]) != 1 {
			return nil // reached from a root
		}
		version := int64(binary.BigEndian.Uint64(key[1:]))
		root, err := i.root(version, value)
		i.since = version + 1
		if err == nil {
			err = fn(version, root)
		}
		if err != nil {
			damage = append(damage, Damage{File: fmt.Sprintf("key %x", key), Version: version, Err: err})
		}
		return nil
	})
	return damage, err
}

// inspector checks a tree on disk version by version. What an older version holds was
// checked with that.
type inspector struct {
	db Pairs
	// since is the version before which all was checked: 0 for the oldest version, which
	// may hold what pruning left of older ones.
	since int64
}

// stored is a node on disk. Of a leaf the hash is computed, of an inner node it is what
// is stored.
type stored struct {
	key         []byte // of the database, without the first byte
	height      int64
	size        int64
	search      []byte // key of a leaf; of an inner node the least key of its right side
	hash        []byte
	left, right []byte // keys of the database, without the first byte
}

func (s *stored) version() int64 { return int64(binary.BigEndian.Uint64(s.key)) }

// root checks what is new in a version and returns its root hash.
func (i *inspector) root(version int64, value []byte) ([]byte, error) {
	if len(value) == 0 {
		return emptyRoot(), nil
	}
	if value[0] == iavlNode {
		if len(value) != iavlKeySize {
			return nil, errNode
		}
		n, _, err := i.check(value[1:], maxHeight+1)
		if err != nil {
			return nil, err
		}
		if n.version() >= version {
			return nil, fmt.Errorf("the root of version %d is said to be that of %d", version, n.version())
		}
		return n.hash, nil
	}
	key := binary.BigEndian.AppendUint64(nil, uint64(version))
	n, _, err := i.check(binary.BigEndian.AppendUint32(key, 1), maxHeight+1)
	if err != nil {
		return nil, err
	}
	return n.hash, nil
}

// load reads a node, which must be lower than the given height: what is damaged may
// lead back to itself.
func (i *inspector) load(key []byte, below int64) (*stored, error) {
	value, err := i.db.Get(append([]byte{iavlNode}, key...))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, fmt.Errorf("the node %x is missing", key)
	}
	n, err := parseStored(key, value)
	if err != nil {
		return nil, fmt.Errorf("node %x: %w", key, err)
	}
	if n.height >= below {
		return nil, fmt.Errorf("the node %x is of height %d, that above it of %d", key, n.height, below)
	}
	return n, nil
}

// check checks a node and what is under it as far as it was not checked before. least is
// the least key under it.
func (i *inspector) check(key []byte, below int64) (n *stored, least []byte, err error) {
	n, err = i.load(key, below)
	if err != nil {
		return nil, nil, err
	}
	if n.height == 0 {
		return n, n.search, nil
	}
	if n.version() < i.since {
		least, err = i.least(n)
		return n, least, err
	}
	left, least, err := i.check(n.left, n.height)
	if err != nil {
		return nil, nil, err
	}
	right, split, err := i.check(n.right, n.height)
	if err != nil {
		return nil, nil, err
	}
	tilt := left.height - right.height
	switch {
	case n.height != max(left.height, right.height)+1, n.size != left.size+right.size, tilt < -1, tilt > 1,
		max(left.version(), right.version()) > n.version():
		return nil, nil, fmt.Errorf("the node %x does not fit those under it", key)
	case !bytes.Equal(n.search, split), bytes.Compare(least, split) >= 0:
		return nil, nil, fmt.Errorf("the keys under node %x are not in order", key)
	case !bytes.Equal(n.hash, innerHash(n, left.hash, right.hash)):
		return nil, nil, fmt.Errorf("the node %x has hash %x, and says %x", key, innerHash(n, left.hash, right.hash), n.hash)
	}
	return n, least, nil
}

func (i *inspector) least(n *stored) ([]byte, error) {
	for n.height > 0 {
		var err error
		if n, err = i.load(n.left, n.height); err != nil {
			return nil, err
		}
	}
	return n.search, nil
}

func parseStored(key, raw []byte) (*stored, error) {
	ok := len(key) == iavlKeySize-1
	number := func() int64 {
		v, n := binary.Varint(raw)
		if n <= 0 {
			ok, raw = false, nil
			return 0
		}
		raw = raw[n:]
		return v
	}
	take := func() []byte {
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) {
			ok, raw = false, nil
			return nil
		}
		out := raw[n : n+int(size)]
		raw = raw[n+int(size):]
		return out
	}
	side := func() []byte {
		version, nonce := number(), number()
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, uint64(version)), uint32(nonce))
	}
	s := &stored{key: key, height: number(), size: number(), search: take()}
	switch {
	case !ok || s.height < 0 || s.height > maxHeight:
		return nil, errNode
	case s.height == 0:
		value := take()
		if ok {
			s.hash = leafHash(s, value)
		}
	default:
		s.hash = take()
		if mode := number(); mode != 0 {
			return nil, errNode
		}
		s.left, s.right = side(), side()
	}
	if !ok || len(raw) != 0 {
		return nil, errNode
	}
	return s, nil
}

// front is what the hash of a node begins with.
func (s *stored) front() []byte {
	b := binary.AppendVarint(nil, s.height)
	b = binary.AppendVarint(b, s.size)
	return binary.AppendVarint(b, s.version())
}

func withLength(b, x []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(x))), x...) }

func leafHash(s *stored, value []byte) []byte {
	sum := sha256.Sum256(value)
	hash := sha256.Sum256(withLength(withLength(s.front(), s.search), sum[:]))
	return hash[:]
}

func innerHash(s *stored, left, right []byte) []byte {
	hash := sha256.Sum256(withLength(withLength(s.front(), left), right))
	return hash[:]
}
