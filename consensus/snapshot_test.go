package consensus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/consensus/snapshots"
)

// serving is a host with snapshots of every third block, the last of block 6; its state
// takes several chunks.
func serving(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	kept, err := snapshots.Open(statetest.NewDisk(), 2)
	if err != nil {
		t.Fatal(err)
	}
	h.snapshots, h.interval = kept, 3
	h.probe.grow = 700_000
	for h.height() < 6 {
		h.commit(t, h.decide(t, h.block(setParams("did:chancery:mercy", h.now.UnixMilli()+60_000))))
		if h.taking != nil {
			if _, err := h.taking.wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

// joining is an application without a state, whose tree is of a kind.
func joining(t *testing.T, tree state.Tree) *application {
	t.Helper()
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{},
		Modules: []chain.Module{newProbe()}, Rand: rand.New(rand.NewSource(1)), Partial: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := records.Open(dbm.NewMemDB(), true)
	if err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(nil)
	return &application{
		app: app, pool: NewPool(app, DefaultPoolOptions(), metrics), metrics: metrics, records: log, membership: everybody{}, log: slog.New(slog.DiscardHandler),
		self:  func() types.Address { return nil },
		build: time.Second, begins: true, listed: []string{"friend"},
		halt: func(err error) { t.Errorf("the node ends: %v", err) },
	}
}

// onEachTree runs a test with a node that joins on either kind of tree.
func onEachTree(t *testing.T, test func(*testing.T, *host, *application)) {
	t.Run("disk", func(t *testing.T) {
		tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		test(t, serving(t), joining(t, tree))
	})
	t.Run("memory", func(t *testing.T) {
		tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		test(t, serving(t), joining(t, tree))
	})
}

// newest is the newest snapshot that a host tells of, and its chunks as a peer gets them.
func newest(t *testing.T, h *host) (*abci.Snapshot, [][]byte) {
	t.Helper()
	list, err := h.ListSnapshots(context.Background(), nil)
	if err != nil || len(list.Snapshots) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	s := list.Snapshots[1]
	var chunks [][]byte
	for i := range s.Chunks {
		res, err := h.LoadSnapshotChunk(context.Background(), &abci.RequestLoadSnapshotChunk{Height: s.Height, Format: s.Format, Chunk: i})
		if err != nil || res.Chunk == nil {
			t.Fatalf("chunk %d: %v, %v", i, res, err)
		}
		chunks = append(chunks, res.Chunk)
	}
	if s.Height != 6 || len(chunks) < 4 {
		t.Fatalf("height %d, %d chunks", s.Height, len(chunks))
	}
	return s, chunks
}

func offer(t *testing.T, a *application, s *abci.Snapshot, root []byte) abci.ResponseOfferSnapshot_Result {
	t.Helper()
	res, err := a.OfferSnapshot(context.Background(), &abci.RequestOfferSnapshot{Snapshot: s, AppHash: root})
	if err != nil {
		t.Fatal(err)
	}
	return res.Result
}

func feed(t *testing.T, a *application, i int, chunk []byte, sender string) *abci.ResponseApplySnapshotChunk {
	t.Helper()
	res, err := a.ApplySnapshotChunk(context.Background(), &abci.RequestApplySnapshotChunk{Index: uint32(i), Chunk: chunk, Sender: sender})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// A restored application has the state, the ids it remembers, and goes on with the roots
// of the one that made the snapshot.
func TestARestoredApplicationGoesOn(t *testing.T) {
	onEachTree(t, func(t *testing.T, h *host, a *application) {
		s, chunks := newest(t, h)
		of, err := h.app.Tree().At(6)
		if err != nil {
			t.Fatal(err)
		}
		if !a.beginning() || a.allowed(a.app.Latest(), "somebody") || !a.allowed(a.app.Latest(), "friend") {
			t.Error("a node without a state knows its listed peers alone")
		}
		if r := offer(t, a, s, of.Root()); r != abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatal(r)
		}
		for i, c := range chunks {
			if a.app.Tree().Version() != 0 {
				t.Fatalf("something is seen before chunk %d", i)
			}
			if r := feed(t, a, i, c, "honest"); r.Result != abci.ResponseApplySnapshotChunk_ACCEPT {
				t.Fatalf("chunk %d: %v", i, r)
			}
		}
		info, err := a.Info(context.Background(), nil)
		if err != nil || info.LastBlockHeight != 6 || !bytes.Equal(info.LastBlockAppHash, of.Root()) {
			t.Fatalf("%v, %v", info, err)
		}
		if a.records.Head() != 6 || a.beginning() || !a.allowed(a.app.Latest(), "somebody") {
			t.Errorf("records at %d", a.records.Head())
		}
		record, err := h.records.Block(6)
		if err != nil {
			t.Fatal(err)
		}
		if !a.app.Seen(tx.ID(record.Txs[0].TxId)) {
			t.Error("a transaction of before the snapshot could be committed again")
		}
		a.app.Modules()[0].(*probe).grow = h.probe.grow
		txs := h.block(setParams("did:chancery:mercy", h.now.UnixMilli()+60_000))
		want := h.decide(t, txs)
		got, err := a.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{Height: 7, Time: h.now, Txs: txs})
		if err != nil || !bytes.Equal(got.AppHash, want.AppHash) || len(got.TxResults) != len(want.TxResults) {
			t.Fatalf("block 7: %v, root %x, want %x", err, got.GetAppHash(), want.AppHash)
		}
		if _, err := a.Commit(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		if oldest, err := a.records.Oldest(); err != nil || oldest != 7 {
			t.Errorf("records from %d on, %v", oldest, err)
		}
		if r := offer(t, a, s, of.Root()); r != abci.ResponseOfferSnapshot_ABORT {
			t.Errorf("a snapshot over a state: %v", r)
		}
	})
}

// A chunk with any change is refused before it is applied, its sender rejected and the
// chunk fetched from another, whose chunk is taken.
func TestACorruptedChunkIsRefusedAndItsSenderRejected(t *testing.T) {
	onEachTree(t, func(t *testing.T, h *host, a *application) {
		s, chunks := newest(t, h)
		of, err := h.app.Tree().At(6)
		if err != nil {
			t.Fatal(err)
		}
		if r := offer(t, a, s, of.Root()); r != abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatal(r)
		}
		for i, c := range chunks {
			bent := bytes.Clone(c)
			bent[rand.Intn(len(bent))] ^= 1
			for _, bad := range [][]byte{bent, c[:len(c)-1], append(bytes.Clone(c), 0), nil} {
				r := feed(t, a, i, bad, "liar")
				if r.Result != abci.ResponseApplySnapshotChunk_RETRY || !slices.Equal(r.RejectSenders, []string{"liar"}) || !slices.Equal(r.RefetchChunks, []uint32{uint32(i)}) {
					t.Fatalf("chunk %d: %v", i, r)
				}
			}
			if r := feed(t, a, i, c, "honest"); r.Result != abci.ResponseApplySnapshotChunk_ACCEPT || len(r.RejectSenders) > 0 {
				t.Fatalf("chunk %d: %v", i, r)
			}
		}
		if !bytes.Equal(a.app.Tree().Root(), of.Root()) {
			t.Fatal("another root")
		}
		asked := func(id string) uint32 {
			t.Helper()
			res, err := a.Query(context.Background(), queryPeer(id))
			if err != nil {
				t.Fatal(err)
			}
			return res.Code
		}
		if asked("liar") != codeBanned || asked("honest") != 0 {
			t.Fatalf("the liar is answered %d, the honest %d", asked("liar"), asked("honest"))
		}
		clock := now
		t.Cleanup(func() { now = clock })
		now = func() time.Time { return clock().Add(banFor) }
		if asked("liar") != 0 {
			t.Fatal("the ban never ends")
		}
		now = clock
	})
}

// A description that is not in form, or whose root is not the trusted app hash, is
// refused with its senders. One that is, and whose chunks hold another state, is refused
// at the latest with its last chunk; nothing of it is seen, and the honest one is taken.
func TestALyingSnapshotIsRefused(t *testing.T) {
	onEachTree(t, func(t *testing.T, h *host, a *application) {
		s, chunks := newest(t, h)
		of, err := h.app.Tree().At(6)
		if err != nil {
			t.Fatal(err)
		}
		description, err := snapshots.Parse(s.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		with := func(change func(*abci.Snapshot)) *abci.Snapshot {
			c := *s
			change(&c)
			return &c
		}
		described := func(d snapshots.Description) *abci.Snapshot {
			return with(func(c *abci.Snapshot) {
				c.Metadata = d.Marshal()
				sum := sha256.Sum256(c.Metadata)
				c.Hash = sum[:]
			})
		}
		for name, try := range map[string]struct {
			s    *abci.Snapshot
			root []byte
			want abci.ResponseOfferSnapshot_Result
		}{
			"none":             {nil, of.Root(), abci.ResponseOfferSnapshot_REJECT},
			"format":           {with(func(c *abci.Snapshot) { c.Format = 2 }), of.Root(), abci.ResponseOfferSnapshot_REJECT_FORMAT},
			"no description":   {with(func(c *abci.Snapshot) { c.Metadata = nil }), of.Root(), abci.ResponseOfferSnapshot_REJECT_SENDER},
			"its hash":         {with(func(c *abci.Snapshot) { c.Hash = make([]byte, 32) }), of.Root(), abci.ResponseOfferSnapshot_REJECT_SENDER},
			"number of chunks": {with(func(c *abci.Snapshot) { c.Chunks++ }), of.Root(), abci.ResponseOfferSnapshot_REJECT_SENDER},
			"size":             {described(snapshots.Description{Root: of.Root(), Size: 1 << 60, Chunks: description.Chunks}), of.Root(), abci.ResponseOfferSnapshot_REJECT_SENDER},
			"untrusted root":   {s, make([]byte, 32), abci.ResponseOfferSnapshot_REJECT_SENDER},
		} {
			if r := offer(t, a, try.s, try.root); r != try.want {
				t.Errorf("%s: %v, want %v", name, r, try.want)
			}
		}

		short := description
		short.Size--
		if r := offer(t, a, described(short), of.Root()); r != abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatal(r)
		}
		for i, c := range chunks {
			want := abci.ResponseApplySnapshotChunk_ACCEPT
			if i == len(chunks)-1 {
				want = abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT
			}
			if r := feed(t, a, i, c, "liar"); r.Result != want {
				t.Fatalf("chunk %d of a snapshot that says another size: %v, want %v", i, r, want)
			}
		}
		if a.app.Tree().Version() != 0 || a.records.Head() != 0 {
			t.Fatal("something of a snapshot that says another size is seen")
		}

		lies := slices.Clone(chunks)
		last := bytes.Clone(lies[len(lies)-1])
		last[len(last)/2] ^= 1 // within a value
		lies[len(lies)-1] = last
		d := description
		d.Chunks = slices.Clone(d.Chunks)
		d.Chunks[len(lies)-1] = sha256.Sum256(last)
		lie := described(d)
		if r := offer(t, a, lie, of.Root()); r != abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatal(r)
		}
		for i, c := range lies {
			r := feed(t, a, i, c, fmt.Sprintf("liar-%d", i%2))
			if i < len(lies)-1 {
				if r.Result != abci.ResponseApplySnapshotChunk_ACCEPT {
					t.Fatalf("chunk %d: %v", i, r)
				}
				continue
			}
			if r.Result != abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT || !slices.Equal(r.RejectSenders, []string{"liar-0", "liar-1"}) {
				t.Fatalf("the last chunk: %v", r)
			}
		}
		if a.app.Tree().Version() != 0 || a.records.Head() != 0 {
			t.Fatal("something of the lie is seen")
		}
		if r := offer(t, a, s, of.Root()); r != abci.ResponseOfferSnapshot_ACCEPT {
			t.Fatal(r)
		}
		for i, c := range chunks {
			if i == 2 { // begun once more in between, as the engine may
				if r := offer(t, a, s, of.Root()); r != abci.ResponseOfferSnapshot_ACCEPT {
					t.Fatal(r)
				}
				for k := range i {
					feed(t, a, k, chunks[k], "honest")
				}
			}
			feed(t, a, i, c, "honest")
		}
		if !bytes.Equal(a.app.Tree().Root(), of.Root()) {
			t.Fatal("another root")
		}
	})
}

// peerSource is a node of the same process that headers are asked of.
type peerSource struct{ n *Node }

func (p peerSource) Name() string { return string(p.n.node.NodeInfo().ID()) }
func (p peerSource) LightBlock(_ context.Context, height int64) (*types.LightBlock, error) {
	if height == 0 {
		height = p.n.Records().Head()
	}
	return p.n.LightBlock(height)
}

// Over the network, a node takes its state from peers of whom one corrupts every chunk:
// it has the right state, follows the others, and gave up on the liar.
func TestNetworkGivesANodeItsStateDespiteALiar(t *testing.T) {
	if os.Getenv("CHANCERY_LONG") != "1" {
		t.Skip("runs four nodes for about half a minute; CHANCERY_LONG=1 runs it")
	}
	var mu sync.Mutex // guards said and given
	var said strings.Builder
	given := 0
	nodes := network(t, 4, func(_ int, o *Options) {
		kept, err := snapshots.Open(statetest.NewDisk(), 10)
		if err != nil {
			t.Fatal(err)
		}
		o.Snapshots, o.SnapshotInterval = kept, 50
		o.Membership.(circle).grow = 3_000_000
	})
	liar, late := nodes[0], nodes[3]
	liar.app.bendChunk = func(chunk []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		given++
		bent := bytes.Clone(chunk)
		bent[len(bent)/2] ^= 1
		return bent
	}
	for _, n := range nodes[:3] {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 5*time.Minute)
	if err := nodes[1].Records().Wait(ctx, 53); err != nil {
		t.Fatal(err)
	}
	trusted, err := nodes[1].LightBlock(2)
	if err != nil {
		t.Fatal(err)
	}
	// The fourth was opened to begin with the genesis: it is opened anew.
	o := late.o
	if err := late.Stop(); err != nil {
		t.Fatal(err)
	}
	tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if o.App, err = chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Screen: judging,
		Modules: []chain.Module{o.Membership.(circle)}, Rand: rand.New(rand.NewSource(1)), Partial: true,
	}); err != nil {
		t.Fatal(err)
	}
	if o.Records, err = records.Open(dbm.NewMemDB(), true); err != nil {
		t.Fatal(err)
	}
	o.Snapshots, o.SnapshotInterval = nil, 0
	o.Sync = &SyncOptions{
		Sources: []LightSource{peerSource{nodes[1]}, peerSource{nodes[0]}, peerSource{nodes[2]}}, TrustHeight: 2, TrustHash: trusted.Hash(), TrustPeriod: time.Hour,
	}
	o.Log = slog.New(slog.NewTextHandler(writer(func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		said.Write(b)
	}), nil))
	joined, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = joined.Stop() })
	if err := joined.Start(); err != nil {
		t.Fatal(err)
	}
	fail := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%s: %v\n%s", what, err, said.String())
	}
	if s := joined.Status(); s.Height == 0 && (s.Healthy || !s.CatchingUp || !strings.Contains(s.Reason, "snapshot")) {
		t.Errorf("a node without a state says %+v", s)
	}
	if err := joined.Records().Wait(ctx, 54); err != nil {
		fail("the node does not begin", err)
	}
	if oldest := joined.App().Tree().Oldest(); oldest < 50 {
		t.Errorf("it has the state of height %d: it fetched all blocks", oldest)
	}
	height := nodes[1].Records().Head() + 3
	for _, n := range []*Node{joined, nodes[2]} {
		if err := n.Records().Wait(ctx, height); err != nil {
			fail("it does not follow", err)
		}
	}
	_, want, err := nodes[2].App().View(height)
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := joined.App().View(height)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Root(), want.Root()) {
		t.Fatalf("at height %d its root is %x, and another's %x", height, got.Root(), want.Root())
	}
	mu.Lock()
	defer mu.Unlock()
	if slices.Contains(joined.peers(), string(liar.node.NodeInfo().ID())) {
		t.Error("the liar is still connected")
	}
	if given == 0 || !strings.Contains(said.String(), "corrupted chunk") || !strings.Contains(said.String(), string(liar.node.NodeInfo().ID())) {
		t.Errorf("the liar gave %d chunks, and the node says\n%s", given, said.String())
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}
