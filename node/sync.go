package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/consensus/snapshots"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func openSnapshots(home config.Home, c config.Snapshots) (*snapshots.Store, error) {
	files, err := openFolder(home.Snapshots())
	if err != nil {
		return nil, err
	}
	s, err := snapshots.Open(files, c.Keep)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return s, nil
}

// discardUnfinished empties the data folder where a node was ended while it restored its
// state: between them, state, records and the engine's stores may then hold any part of
// it. What the validator key signed last stays.
func (n *Node) discardUnfinished() error {
	if _, err := os.Stat(n.home.RestoringFile()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	n.log.Warn("the node was stopped while it restored its state; it begins again", "data", n.home.Data())
	if err := EmptyData(n.home, n.home.RestoringFile()); err != nil {
		return fmt.Errorf("remove a state that is restored in part: %w", err)
	}
	// The mark goes last, so that a crash in between does not leave the rest standing.
	if err := os.Remove(n.home.RestoringFile()); err != nil {
		return err
	}
	return syncDir(n.home.Data())
}

// EmptyData removes what is in the data folder of a home, but for the home's lock, the
// file that says what the validator key signed last, and those named.
func EmptyData(h config.Home, but ...string) (err error) {
	entries, err := os.ReadDir(h.Data())
	if err != nil {
		return err
	}
	but = append(but, h.ValidatorStateFile(), h.NextValidatorStateFile(), h.LockFile())
	for _, e := range entries {
		path := filepath.Join(h.Data(), e.Name())
		if slices.Contains(but, path) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return syncDir(h.Data())
}

// beginWithSnapshot prepares a node without a state to begin with a snapshot, where its
// configuration says so; else it returns nil.
func (n *Node) beginWithSnapshot(tree state.Tree) (*consensus.SyncOptions, error) {
	c := n.config.Sync
	if !c.Enabled() || tree.Version() != 0 {
		return nil, nil
	}
	hash, err := hex.DecodeString(c.TrustHash)
	if err != nil {
		return nil, fmt.Errorf("sync.trust_hash: %w", err)
	}
	options, err := n.syncClient()
	if err != nil {
		return nil, err
	}
	o := &consensus.SyncOptions{TrustHeight: c.TrustHeight, TrustHash: hash, TrustPeriod: c.TrustPeriod.Std()}
	for _, address := range c.Servers {
		s := &lightSource{address: address, options: options}
		n.sources = append(n.sources, s)
		o.Sources = append(o.Sources, s)
	}
	if err := durable.Replace(n.home.RestoringFile(), []byte("The state of this node is being restored from a snapshot. Leave this file alone.\n")); err != nil {
		return nil, err
	}
	// The engine keeps chunks in the folder of temporary files: they are the
	// consortium's data and go with the rest.
	if err := os.MkdirAll(n.home.SyncFolder(), 0o700); err != nil {
		return nil, err
	}
	return o, os.Setenv("TMPDIR", n.home.SyncFolder())
}

// syncClient is how the servers of [sync] are asked.
func (n *Node) syncClient() ([]client.Option, error) {
	c := n.config.Sync
	options := []client.Option{client.ChainID(n.genesis.ChainID), client.UserAgent("chancery-node")}
	if c.TLSCA != "" || c.TLSCert != "" || c.TLSKey != "" {
		path := func(p string) string {
			if p == "" {
				return p
			}
			return n.home.Resolve(p)
		}
		security, err := client.TLSFiles(path(c.TLSCA), path(c.TLSCert), path(c.TLSKey))
		if err != nil {
			return nil, err
		}
		options = append(options, client.TLS(security))
	}
	return options, nil
}

// begun waits until there is a block and returns the first that is to be looked at; head
// is the one that there was at the start. It returns false when ctx ends.
func (n *Node) begun(ctx context.Context, head int64) (from int64, ok bool) {
	if head > 0 {
		return head + 1, true
	}
	blocks := n.engine.Records()
	if blocks.Wait(ctx, 1) != nil {
		return 0, false
	}
	if _, err := os.Stat(n.home.RestoringFile()); errors.Is(err, fs.ErrNotExist) {
		return 1, true // of a new chain, or of all its blocks
	}
	// The engine's stores are on disk before the block behind the snapshot is.
	for head = blocks.Head(); ; head = blocks.Head() {
		oldest, err := blocks.Oldest()
		if err != nil {
			n.fail(err)
			return 0, false
		}
		if oldest > 0 {
			from = oldest
			break
		}
		if blocks.Wait(ctx, head+1) != nil {
			return 0, false
		}
	}
	err := os.RemoveAll(n.home.SyncFolder())
	if err == nil {
		err = os.Remove(n.home.RestoringFile())
	}
	if err = errors.Join(err, syncDir(n.home.Data())); err != nil {
		n.fail(fmt.Errorf("finish the restoring of the state: %w", err))
		return 0, false
	}
	n.log.Info("the node follows the chain from a snapshot on", "from", from)
	return from, true
}

// lightSource is a member's node that signed headers are asked of.
type lightSource struct {
	address string
	options []client.Option

	mu     sync.Mutex     // guards client
	client *client.Client // nil: not reached yet
}

var _ consensus.LightSource = (*lightSource)(nil)

// Name implements consensus.LightSource.
func (s *lightSource) Name() string { return s.address }

func (s *lightSource) dial(ctx context.Context) (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	c, err := client.Dial(ctx, s.address, s.options...)
	if err != nil {
		return nil, err
	}
	s.client = c
	return c, nil
}

func (s *lightSource) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	return s.client.Close()
}

// LightBlock implements consensus.LightSource.
func (s *lightSource) LightBlock(ctx context.Context, height int64) (*types.LightBlock, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return AskLightBlock(ctx, c, height)
}

// AskLightBlock asks a node for the signed header of a height, 0 for the latest, and its
// validators. What it returns is in form and not verified.
func AskLightBlock(ctx context.Context, c *client.Client, height int64) (*types.LightBlock, error) {
	r, err := nodev1.NewNodeClient(c.Conn()).LightBlock(ctx, &nodev1.LightBlockRequest{Height: height})
	if err != nil {
		return nil, err
	}
	var pb cmtproto.LightBlock
	if err := pb.Unmarshal(r.LightBlock); err != nil {
		return nil, fmt.Errorf("%s gives a light block that does not decode: %w", c.Address(), err)
	}
	return types.LightBlockFromProto(&pb)
}
