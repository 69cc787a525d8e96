package state

import (
	"fmt"

	"github.com/cockroachdb/pebble"
	dbm "github.com/cosmos/cosmos-db"
)

// Compact gives the room of what was removed from a database back to the disk. Of a kind
// of database that cannot be told to, nothing is done: it does so in its own time.
func Compact(db dbm.DB) error {
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return fmt.Errorf("compact a database: %w", err)
	}
	empty := !it.Valid()
	if err := it.Close(); err != nil || empty {
		return err
	}
	switch db := db.(type) {
	case interface{ DB() *pebble.DB }:
		err = db.DB().Compact([]byte{0}, []byte{0xff, 0xff}, false)
	case interface {
		ForceCompact(start, limit []byte) error
	}:
		err = db.ForceCompact(nil, nil)
	}
	if err != nil {
		return fmt.Errorf("compact a database: %w", err)
	}
	return nil
}

// Reclaim gives the room of pruned versions back to the disk; of a tree in memory, whose
// images hold none, it does nothing. It may be called beside everything else but Close.
func Reclaim(tree Tree) error {
	if t, ok := tree.(*iavlTree); ok {
		return Compact(t.db)
	}
	return nil
}
