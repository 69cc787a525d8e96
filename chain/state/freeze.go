package state

import (
	"errors"
	"fmt"
	"io"

	dbm "github.com/cosmos/cosmos-db"
)

// Frozen is a tree as it was saved at one version, while the tree goes on. Of a tree on
// disk it holds the database's pairs, of one in memory it can write an image; the other of
// the two is nil.
type Frozen struct {
	Version int64
	Pairs   *FrozenPairs
	Image   func(io.Writer) error
}

// FrozenPairs is a database as it was at one moment. Each may be called once.
type FrozenPairs struct{ it dbm.Iterator }

// NewFrozenPairs freezes a database. Until it is closed, the database keeps the files that
// it needs.
func NewFrozenPairs(db dbm.DB) (*FrozenPairs, error) {
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return nil, err
	}
	return &FrozenPairs{it}, nil
}

// Each gives fn all pairs in order of key.
func (f *FrozenPairs) Each(fn func(key, value []byte) error) error {
	for ; f.it.Valid(); f.it.Next() {
		if err := fn(f.it.Key(), f.it.Value()); err != nil {
			return err
		}
	}
	return f.it.Error()
}

// Close lets the database go on without it.
func (f *FrozenPairs) Close() error { return f.it.Close() }

// Close gives back what Freeze holds.
func (f *Frozen) Close() error {
	if f.Pairs == nil {
		return nil
	}
	return f.Pairs.Close()
}

// freezeTries is how often a block may come in between.
const freezeTries = 100

// Freeze freezes a tree at its latest version. Any goroutine may call it.
func Freeze(tree Tree) (*Frozen, error) {
	switch t := tree.(type) {
	case *Memory:
		s := t.latest()
		return &Frozen{Version: s.version, Image: func(w io.Writer) error { return writeImage(w, s) }}, nil
	case *iavlTree:
		for range freezeTries {
			version := t.Version()
			pairs, err := NewFrozenPairs(t.db)
			if err != nil {
				return nil, err
			}
			if t.Version() == version {
				return &Frozen{Version: version, Pairs: pairs}, nil
			}
			if err := pairs.Close(); err != nil {
				return nil, err
			}
		}
		return nil, errors.New("state: a version was saved each time that the tree was to be frozen")
	default:
		return nil, fmt.Errorf("state: a tree of type %T cannot be frozen", tree)
	}
}

// ImageName is the name of the file that an image of a version has in the folder of a tree
// in memory.
func ImageName(version int64) string { return fileName(imagePrefix, version) }
