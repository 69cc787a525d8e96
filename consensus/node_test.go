package consensus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/records"
)

// evidenceParams let single's chain forget quickly what evidence could be of.
var evidenceParams = types.EvidenceParams{MaxAgeNumBlocks: 60, MaxAgeDuration: time.Millisecond, MaxBytes: 1 << 20}

// pruning is what single's node keeps.
var pruning PruningOptions

// single starts a chain of one validator, whose probe runs hook at the end of each
// execution.
func single(t *testing.T, hook func(height int64), watch WatchdogOptions, bend ...func(*config.Config)) *Node {
	t.Helper()
	c := config.DefaultConfig()
	c.SetRoot(t.TempDir())
	for _, dir := range []string{"config", "data"} {
		if err := os.MkdirAll(filepath.Join(c.RootDir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.DBBackend = "memdb"
	c.RPC.ListenAddress = ""
	c.P2P.ListenAddress = "tcp://127.0.0.1:0"
	c.P2P.PexReactor = false
	c.TxIndex.Indexer = "null"
	c.Consensus.TimeoutCommit = 10 * time.Millisecond
	c.Consensus.TimeoutPropose = 200 * time.Millisecond
	for _, b := range bend {
		b(c)
	}
	if _, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile()); err != nil {
		t.Fatal(err)
	}
	pv := privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())
	pub, err := pv.GetPubKey()
	if err != nil {
		t.Fatal(err)
	}
	p := newProbe()
	p.validator = keys.Public{Type: keys.Ed25519, Bytes: pub.Bytes()}
	p.hook = hook
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{},
		Modules: []chain.Module{p}, Rand: rand.New(rand.NewSource(1)), Partial: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := records.Open(dbm.NewMemDB(), true)
	if err != nil {
		t.Fatal(err)
	}
	params := types.DefaultConsensusParams()
	params.ABCI.VoteExtensionsEnableHeight = 1
	params.Evidence = evidenceParams
	n, err := Open(Options{
		Config: c, App: app, Records: log, Membership: everybody{}, Watchdog: watch, Pruning: pruning, Log: slog.New(slog.DiscardHandler),
		Genesis: &types.GenesisDoc{
			ChainID: chaintest.ChainID, GenesisTime: time.Now().Add(-time.Second), InitialHeight: 1,
			ConsensusParams: params, AppState: []byte("{}"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop() })
	return n
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNode(t *testing.T) {
	n := single(t, nil, WatchdogOptions{})
	ctx := within(t, 20*time.Second)
	if err := n.Records().Wait(ctx, 3); err != nil {
		t.Fatal(err)
	}
	raw := setParams(chaintest.Consortium, time.Now().Add(time.Minute).UnixMilli())
	id, _, err := n.Submit(ctx, raw, true)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if err := n.Records().Wait(ctx, n.Records().Head()+1); err != nil {
			t.Fatal(err)
		}
		r, ok, err := n.Records().Tx(id)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			continue
		}
		if r.Code != 0 {
			t.Fatal(r.Log)
		}
		break
	}
	if _, _, err := n.Submit(ctx, raw, true); !errors.Is(err, chain.ErrSeen) {
		t.Fatalf("submitting again: %v", err)
	}
	s := n.Status()
	if !s.Healthy || s.Height < 3 || s.ChainID != chaintest.ChainID || s.PoolTxs != 0 {
		t.Fatalf("status %+v", s)
	}
	// The app hash of a height is in the header of the next, with a commit.
	h := n.Records().Head() - 1
	block, err := n.LightBlock(h + 1)
	if err != nil {
		t.Fatal(err)
	}
	_, snap, err := n.App().View(h)
	if err != nil {
		t.Fatal(err)
	}
	if string(block.AppHash) != string(snap.Root()) {
		t.Fatalf("header %d has app hash %X, state %d has root %X", h+1, block.AppHash, h, snap.Root())
	}
	if err := block.ValidateBasic(chaintest.ChainID); err != nil {
		t.Fatal(err)
	}
	if err := block.ValidatorSet.VerifyCommit(chaintest.ChainID, block.Commit.BlockID, block.Height, block.Commit); err != nil {
		t.Fatal(err)
	}
	// The record of the latest block is there for restart.
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if n.Err() != nil {
		t.Fatalf("a clean stop leaves an error: %v", n.Err())
	}
}

// Trap: a consensus panic leaves the engine's process alive.
func TestTrapHaltedConsensusExits(t *testing.T) {
	n := single(t, func(height int64) {
		if height == 4 {
			panic(&state.Fault{Where: "test", Err: errors.New("corrupt")})
		}
	}, WatchdogOptions{})
	select {
	case <-n.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("consensus panicked at height 4 and the node does not know")
	}
	if n.Err() == nil || !strings.Contains(n.Err().Error(), "halted") {
		t.Fatalf("reason: %v", n.Err())
	}
	if s := n.Status(); s.Healthy || s.Reason == "" || s.Height != 3 {
		t.Fatalf("status after the halt: %+v", s)
	}
}

// Trap: a flush of the engine's log that fails, before it signs or by its clock, is logged and
// no more. Consensus then waits for a vote that is never given.
func TestTrapALogThatCannotBeWrittenExits(t *testing.T) {
	started := make(chan struct{})
	var n *Node
	n = single(t, func(height int64) {
		if height != 4 {
			return
		}
		<-started
		if n.signer.may != nil {
			return
		}
		file := n.o.Config.Consensus.WalFile()
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
			t.Error(err)
		}
		time.Sleep(1200 * time.Millisecond) // every second the engine closes its log, to open it at the next write
		// What is signed is written down at once, and consensus would end there.
		n.signer.may = func() error { return errors.New("nothing is signed") }
	}, WatchdogOptions{})
	close(started)
	select {
	case <-n.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the engine cannot write its log and the node does not end")
	}
	if err := n.Err(); !errors.Is(err, syscall.EISDIR) || !strings.Contains(err.Error(), "log of consensus") {
		t.Fatalf("reason: %v", err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the node does not stop")
	}
}

// Only an error of the engine's own log, when it is written, ends the node.
func TestUnwritten(t *testing.T) {
	const wal = "/home/data/engine/cs.wal/wal"
	failed := func(op, path string) error {
		return fmt.Errorf("wrapped: %w", &fs.PathError{Op: op, Path: path, Err: syscall.EIO})
	}
	for _, x := range []struct {
		err  error
		ends bool
	}{
		{failed("write", wal), true}, {failed("sync", wal), true}, {failed("open", wal), true}, {failed("write", wal+".003"), true},
		{failed("read", wal), false}, {failed("write", "/home/data/engine/addrbook.json"), false},
		{errors.New("failed to write"), false}, {syscall.EIO, false},
	} {
		err := unwritten(wal, x.err)
		if (err != nil) != x.ends {
			t.Errorf("%v: %v", x.err, err)
		}
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: the cause is lost: %v", x.err, err)
		}
	}
}

// Trap: behind one mutex, queries would wait for consensus.
func TestTrapQueriesDoNotWait(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	first := true
	n := single(t, func(height int64) {
		if height == 3 && first {
			first = false
			close(reached)
			<-release
		}
	}, WatchdogOptions{})
	defer close(release)
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Fatal("height 3 was never executed")
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if res, err := n.node.ProxyApp().Query().Query(context.Background(), queryPeer("member")); err != nil || !res.IsOK() {
			t.Errorf("query: %v, %v", res, err)
		}
		if s := n.Status(); s.Height != 2 {
			t.Errorf("status while block 3 executes: %+v", s)
		}
	}()
	select {
	case <-answered:
	case <-time.After(5 * time.Second):
		t.Fatal("a query waits for the execution of a block")
	}
}

// Trap: the engine knows nothing of the application's pool, so its interval between
// empty blocks would delay full blocks as well.
func TestTrapFullBlocksDoNotWait(t *testing.T) {
	n := single(t, nil, WatchdogOptions{}, func(c *config.Config) { c.Consensus.TimeoutPropose = 3 * time.Second })
	ctx := within(t, 30*time.Second)
	if err := n.Records().Wait(ctx, 2); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 5 {
		id, _, err := n.Submit(ctx, setParams(chaintest.Consortium, time.Now().Add(time.Minute).UnixMilli()), true)
		if err != nil {
			t.Fatal(err)
		}
		for ok := false; !ok; {
			if err := n.Records().Wait(ctx, n.Records().Head()); err != nil {
				t.Fatal(err)
			}
			if _, ok, err = n.Records().Tx(id); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Fatalf("five transactions took %v on a chain that is idle in between", took)
	}
}

func TestWatchdog(t *testing.T) {
	stop := make(chan struct{})
	n := single(t, func(height int64) {
		if height == 3 {
			<-stop
		}
	}, WatchdogOptions{Unhealthy: 300 * time.Millisecond, Exit: 2 * time.Second})
	defer close(stop)
	deadline := time.Now().Add(20 * time.Second)
	for n.Status().Healthy {
		if time.Now().After(deadline) {
			t.Fatal("the height stands still and the node reports itself healthy")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if s := n.Status(); !strings.Contains(s.Reason, "no block for") {
		t.Fatalf("reason %q", s.Reason)
	}
	select {
	case <-n.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the watchdog did not give up")
	}
}
