package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/node/config"
)

// A restoring that was ended leaves nothing behind but the lock and what the validator
// key signed last, and a home without one is left alone.
func TestAnUnfinishedRestoringIsDiscarded(t *testing.T) {
	home := config.Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	put := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	state, engine := filepath.Join(home.Data(), diskTree, "000001.log"), filepath.Join(home.Data(), "engine", "blockstore.db", "CURRENT")
	kept := []string{home.ValidatorStateFile(), home.NextValidatorStateFile(), home.LockFile()}
	for _, path := range append([]string{state, engine}, kept...) {
		put(path)
	}
	n := &Node{home: home, log: slog.New(slog.DiscardHandler)}
	if err := n.discardUnfinished(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(state); err != nil {
		t.Fatalf("a state that is not being restored is gone: %v", err)
	}
	put(home.RestoringFile())
	if err := n.discardUnfinished(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{state, engine, home.RestoringFile()} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	for _, path := range kept {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// noBlocksBefore is a node that began with a snapshot.
type noBlocksBefore int64

func (first noBlocksBefore) LightBlock(height int64) (*types.LightBlock, error) {
	if height < int64(first) {
		return nil, chain.ErrBadHeight.With("height %d", height)
	}
	if height > int64(first)+5 {
		return nil, errors.New("the disk is broken")
	}
	return &types.LightBlock{SignedHeader: &types.SignedHeader{Commit: &types.Commit{Height: height}}}, nil
}

func (noBlocksBefore) Copied(int64) bool { return false }

// The guard of the validator key looks at the blocks that are there, and takes no other
// fault for their end.
func TestTheGuardEndsWhereBlocksBegin(t *testing.T) {
	home := config.Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(home.ValidatorStateFile(), fmt.Appendf(nil, `{"height": "0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := new(guardedKeys)
	keys.add(guardedKey{address: make([]byte, 20), state: home.ValidatorStateFile()})
	g := keyGuard{keys: keys, blocks: noBlocksBefore(50)}
	if err := g.startup(55); err != nil {
		t.Fatal(err)
	}
	if err := g.startup(56); err == nil {
		t.Fatal("a fault is taken for the end of the blocks")
	}
	if err := g.startup(40); err == nil {
		t.Fatal("a missing latest block is taken for the end of the blocks")
	}
}
