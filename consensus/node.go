package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/config"
	cs "github.com/cometbft/cometbft/consensus"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/consensus/recent"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/consensus/snapshots"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Options is what a Node is made of.
type Options struct {
	// Config is the engine's configuration. Open sets what the application rests
	// on: the application-side mempool, the peer filter.
	Config *config.Config
	// Genesis is the consortium's genesis document.
	Genesis *types.GenesisDoc
	// App and Records are closed by Stop.
	App     *chain.App
	Records *records.Log
	// Membership gates peers and knows the validators.
	Membership Membership
	// Voice is what the validator says with its votes; nil: nothing.
	Voice Voice
	// Signer holds the validator key, and is closed by Stop where it can be; nil: it is in
	// the files that Config names.
	Signer types.PrivValidator
	// MaySign says why the validator key must not sign now; nil: it always may. It is asked
	// before each signature and must not wait.
	MaySign func() error
	// Lied is told of proposals that the rules refuse; nil: nobody is. It must not wait.
	Lied func(Lie)
	// Pool bounds the pool; without MaxBytes it is DefaultPoolOptions.
	Pool PoolOptions
	// NextBlockDelay is the least time from the decision of a block to the proposal of the next.
	NextBlockDelay time.Duration
	// Watchdog bounds how long the height may stand still.
	Watchdog WatchdogOptions
	// Snapshots are kept for nodes that join, and closed by Stop; nil: none. One is
	// taken at heights that SnapshotInterval divides; 0: no further.
	Snapshots        *snapshots.Store
	SnapshotInterval int64
	// Pruning is what the node keeps of the past.
	Pruning PruningOptions
	// Sync makes a node without a state begin with a snapshot; nil: with the genesis.
	Sync *SyncOptions
	// Metrics are those of the stages, the same that observe App; nil: of this node's own.
	Metrics *Metrics
	// Registry takes what is measured; nil: nobody does.
	Registry prometheus.Registerer
	// EngineMetrics is the engine's own; nil: none.
	EngineMetrics cmtnode.MetricsProvider
	Log           *slog.Logger
	// Version is the binary's, for Status.
	Version string
	// Tree is the kind of App's tree, for peers: "disk" or "memory".
	Tree string
	// Parted keeps the report of a state that has parted from peers', and says where it is;
	// nil: nothing does but the log.
	Parted func(*divergence.Report) (path string, err error)
}

// Node is one validator or full node.
type Node struct {
	o     Options
	app   *application
	pool  *Pool
	node  *cmtnode.Node
	state *cs.State
	store sm.Store
	log   *slog.Logger

	signer  *signer
	turning context.Context // ends with Stop

	committed *committed
	databases databases

	cancel    context.CancelFunc
	unsyncing sync.WaitGroup // of stopBlockSync
	group     sync.WaitGroup
	watch     *watchdog
	peering   *peering
	parting   *parting
	ended     chan struct{} // closed when consensus has ended, by a fault or by Stop
	pruner    *pruner
	pruned    func() // ends pruning, and returns when it has ended; nil: it did not begin

	mu       sync.Mutex // guards stopping and err
	stopping bool
	err      error
	done     chan struct{}
}

// discoveryTime is how long peers are asked which snapshots they have, before the newest
// is begun with. The engine takes no less.
const discoveryTime = 5 * time.Second

// Open prepares a node: it replays what the engine has and the state lacks.
func Open(o Options) (*Node, error) {
	if o.Pool.MaxBytes == 0 {
		o.Pool = DefaultPoolOptions()
	}
	if head, version := o.Records.Head(), o.App.Tree().Version(); head < version {
		return nil, fmt.Errorf("the state is at height %d, the records only at %d: the records database was lost or is another node's; restore both from one backup", version, head)
	}
	o.Config.Mempool.Type = config.MempoolTypeApp
	o.Config.FilterPeers = true
	// The engine would wait its interval out even with transactions in the pool,
	// of which it knows nothing; PrepareProposal waits instead.
	o.Config.Consensus.CreateEmptyBlocks = true
	o.Config.Consensus.CreateEmptyBlocksInterval = 0
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	n := &Node{o: o, log: o.Log, done: make(chan struct{}), ended: make(chan struct{})}
	o.Pool.Full = func() bool { return n.pruner.full() }
	n.pool = NewPool(o.App, o.Pool, o.Metrics)
	if o.Registry != nil {
		if err := errors.Join(o.Metrics.Register(o.Registry), o.Registry.Register(newPoolCollector(n.pool))); err != nil {
			return nil, err
		}
	}
	n.app = &application{
		recent: recent.Blocks[[][]byte]{MaxBytes: recentBytes},
		lately: recent.Blocks[[]*tx.Decoded]{MaxBytes: latelyBytes},
		app:    o.App, pool: n.pool, records: o.Records, membership: o.Membership, voice: o.Voice, lied: o.Lied, metrics: o.Metrics, log: o.Log,
		// Together they leave a third of the time for the proposal to travel. A proposer that
		// builds for longer makes larger blocks, for which others' transactions wait longer.
		build: o.Config.Consensus.TimeoutPropose * 4 / 25,
		idle:  o.Config.Consensus.TimeoutPropose / 2,
		delay: o.NextBlockDelay, pause: o.Config.Consensus.TimeoutCommit,
		most: mostListed(o.Genesis.ConsensusParams.Block.MaxBytes),

		snapshots: o.Snapshots, interval: o.SnapshotInterval, halt: n.halt, unsync: n.stopBlockSync,
	}
	n.parting = newParting(n)
	options := []cmtnode.Option{cmtnode.CustomReactors(map[string]p2p.Reactor{"DIVERGENCE": n.parting.reactor})}
	if o.Sync != nil && o.App.Tree().Version() == 0 {
		provider, err := newStateProvider(*o.Sync, o.Genesis, o.Log.With("part", "sync"))
		if err != nil {
			return nil, err
		}
		n.app.begins = true
		options = append(options, cmtnode.StateProvider(provider))
		o.Config.StateSync.Enable = true
		o.Config.StateSync.DiscoveryTime = discoveryTime
		o.Config.StateSync.MaxSnapshotChunks = snapshots.MaxChunks
	}
	o.Records.Publish(o.App.Tree().Version())
	nodeKey, err := p2p.LoadNodeKey(o.Config.NodeKeyFile())
	if err != nil {
		return nil, fmt.Errorf("read the node key: %w", err)
	}
	if err := o.App.Executable(); err != nil {
		return nil, err
	}
	pv := o.Signer
	if pv == nil {
		pv = privval.LoadFilePV(o.Config.PrivValidatorKeyFile(), o.Config.PrivValidatorStateFile())
	}
	if n.signer, err = newSigner(pv, o.MaySign); err != nil {
		return nil, err
	}
	n.signer.state = func() (sm.State, error) { return n.store.Load() }
	n.app.self = n.signer.address
	metrics := o.EngineMetrics
	if metrics == nil {
		metrics = cmtnode.DefaultMetricsProvider(config.DefaultInstrumentationConfig())
	}
	cut, err := mendLog(o.Config.Consensus.WalFile())
	if err != nil {
		return nil, fmt.Errorf("open the engine's log: %w", err)
	}
	if cut > 0 {
		o.Log.Info("the engine's log ended in the middle of a record, which was cut off: the node was killed", "bytes", cut)
	}
	n.node, err = cmtnode.NewNode(o.Config, n.signer, nodeKey,
		// One mutex per connection: queries never wait for consensus.
		proxy.NewConnSyncLocalClientCreator(served(n)),
		func() (*types.GenesisDoc, error) { return o.Genesis, nil },
		n.databases.provide, metrics, logger{log: o.Log.With("part", "engine"), fault: n.fault}, options...,
	)
	if err != nil {
		return nil, fmt.Errorf("open the consensus engine: %w", err)
	}
	env, err := n.node.ConfigureRPC()
	if err != nil {
		return nil, fmt.Errorf("open the consensus engine: %w", err)
	}
	n.store = env.StateStore
	state, ok := env.ConsensusState.(*cs.State)
	if !ok {
		return nil, errors.New("open the consensus engine: its consensus state is of an unknown type")
	}
	n.state = state
	if n.committed, err = newCommitted(o.Records, n.inBlock); err != nil {
		return nil, err
	}
	n.turning, n.cancel = context.WithCancel(context.Background())
	n.watch = newWatchdog(n, o.Watchdog)
	if n.peering, err = newPeering(n, o.Config.P2P.PersistentPeers); err != nil {
		return nil, err
	}
	n.pruner = newPruner(n, o.Pruning)
	for _, l := range n.peering.peers {
		n.app.listed = append(n.app.listed, string(l.id))
	}
	n.app.fetching = n.node.ConsensusReactor().WaitSync
	return n, nil
}

// Start joins the network.
func (n *Node) Start() error {
	ctx := n.turning
	n.group.Go(func() { n.pool.Run(ctx) })
	if err := n.node.Start(); err != nil {
		n.cancel()
		return fmt.Errorf("start the consensus engine: %w", err)
	}
	n.group.Go(func() { n.watch.run(ctx) })
	n.group.Go(func() { n.peering.run(ctx) })
	n.group.Go(func() { n.pruner.watch(ctx) })
	n.prune(ctx)
	n.group.Go(func() { n.catchUp(ctx) })
	go func() {
		// The engine recovers a panic of consensus, logs it and goes on without
		// consensus; a node in that state is of no use to anybody.
		n.state.Wait()
		close(n.ended)
	}()
	n.group.Go(func() { n.parting.run(ctx) })
	return nil
}

// prune begins to prune beside the blocks. Data that cannot be read ends the node.
func (n *Node) prune(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	work := begin(func() (struct{}, error) {
		defer func() {
			if fault := recover(); fault != nil {
				n.halt(fmt.Errorf("pruning met data that cannot be read; stop the node and run 'chancery fsck': %v", fault))
			}
		}()
		n.pruner.run(ctx)
		return struct{}{}, nil
	})
	n.pruned = func() {
		cancel()
		<-work.done
	}
}

// halt ends the node for a reason, unless it is being stopped.
func (n *Node) halt(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping || n.err != nil {
		return
	}
	n.err = err
	close(n.done)
}

// fault ends the node where an error that the engine only logs leaves it of no use.
func (n *Node) fault(err error) {
	if err := unwritten(n.o.Config.Consensus.WalFile(), err); err != nil {
		n.halt(err)
	}
}

// Done is closed when consensus has halted by itself; Err says why.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why consensus halted, nil while it runs.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Stop leaves the network and closes the databases. It returns when all is on disk.
func (n *Node) Stop() error {
	n.mu.Lock()
	again := n.stopping
	n.stopping = true
	n.mu.Unlock()
	if again {
		return nil
	}
	var err error
	if n.pruned != nil {
		// The engine closes the databases that are pruned.
		n.pruned()
	}
	n.unsyncing.Wait()
	if n.node.IsRunning() {
		err = n.node.Stop()
		n.node.Wait()
	}
	if n.cancel != nil {
		n.cancel()
	}
	n.group.Wait()
	err = errors.Join(err, n.signer.Close())
	n.app.settle()
	if n.o.Snapshots != nil {
		err = errors.Join(err, n.o.Snapshots.Close())
	}
	return errors.Join(err, n.o.Records.Close(), n.o.App.Close())
}

// Submit checks a transaction and puts it into the pool; see Pool.Submit. The hint is
// what the screen would say of it now, where that is asked for, and nil where it is not known:
// it takes as long to judge as in a block. Bytes
// whose signatures are others than those of the committed transaction of the same
// id give chain.ErrOtherBytes.
func (n *Node) Submit(ctx context.Context, raw []byte, hint bool) (tx.ID, *chainv1.Verdict, error) {
	begun := time.Now()
	a := n.pool.submit(ctx, raw, hint)
	n.o.Metrics.span(a.id, "submit", begun, true)
	if !errors.Is(a.err, chain.ErrSeen) {
		return a.id, a.hint, a.err
	}
	switch other, err := n.committed.other(a.id, raw); {
	case err != nil:
		return a.id, nil, err
	case other:
		return a.id, nil, chain.ErrOtherBytes.With("%s", a.id)
	}
	return a.id, nil, a.err
}

// App is the state machine.
func (n *Node) App() *chain.App { return n.o.App }

// Records are what the node keeps for readers.
func (n *Node) Records() *records.Log { return n.o.Records }

// Genesis is the consortium's genesis document.
func (n *Node) Genesis() *types.GenesisDoc { return n.o.Genesis }

// Status is a node's view of itself.
type Status struct {
	ChainID          string
	Moniker          string
	Version          string
	NodeID           string
	ValidatorAddress string // upper-case hexadecimal
	Height           int64
	Time             int64 // of the latest block, Unix milliseconds
	AppHash          []byte
	CatchingUp       bool
	Peers            []string // node ids, sorted
	PoolTxs          int
	PoolBytes        int
	LatestBlockAgeMs int64
	Healthy          bool
	Reason           string // why it is not healthy

	StateVersion                 uint32               // of the state machine, in force
	OldestVersion, NewestVersion uint32               // that the program knows
	Upgrade                      *chainv1.UpgradePlan // that is to come; nil: none
}

// Status tells how the node is.
func (n *Node) Status() Status {
	head := n.o.App.Head()
	s := Status{
		ChainID: n.o.App.ChainID(), Moniker: n.o.Config.Moniker, Version: n.o.Version,
		NodeID: string(n.node.NodeInfo().ID()), ValidatorAddress: n.ValidatorAddress().String(),
		Height: head.Height, Time: head.Time, AppHash: n.o.App.Tree().Root(),
		CatchingUp: n.node.ConsensusReactor().WaitSync(), Peers: n.peers(),
	}
	latest := n.o.App.Latest()
	s.StateVersion, s.Upgrade = latest.Version(), n.o.App.Plan(latest)
	s.OldestVersion, s.NewestVersion = n.o.App.Versions()
	s.PoolTxs, s.PoolBytes = n.pool.Size()
	s.LatestBlockAgeMs, s.Healthy, s.Reason = n.watch.health()
	if n.app.beginning() {
		s.CatchingUp, s.Healthy, s.Reason = true, false, n.app.progress()
	}
	if note := n.parting.note(s.Height); note != "" && !s.Healthy {
		s.Reason += "; " + note
	}
	if err := n.Err(); err != nil {
		s.Healthy, s.Reason = false, err.Error()
	}
	return s
}

// Listed is how many peers the configuration lists, itself not counted.
func (n *Node) Listed() int {
	listed := 0
	for _, l := range n.peering.peers {
		if l.id != n.node.NodeInfo().ID() {
			listed++
		}
	}
	return listed
}

// ValidatorAddress is the address of the consensus key that this node signs with.
func (n *Node) ValidatorAddress() types.Address { return n.signer.address() }

// Behind is how many blocks the node lacks of what a peer has, 0 where none has more.
func (n *Node) Behind() int64 {
	own := n.o.App.Tree().Version()
	var behind int64
	n.node.Switch().Peers().ForEach(func(p p2p.Peer) {
		// A peer's height is that of the block that it is deciding.
		if s, ok := p.Get(types.PeerStateKey).(interface{ GetHeight() int64 }); ok {
			behind = max(behind, s.GetHeight()-1-own)
		}
	})
	return behind
}

// ClockOffset is how far this machine's clock was ahead of the other validators' when it
// committed its latest block: against the median of the times that they put on their
// votes for that block. It holds the time that votes travel, so that small values mean
// nothing. False where it is not known: before the first block, while the node catches
// up, and without other validators.
func (n *Node) ClockOffset() (time.Duration, bool) {
	height, at := n.o.Metrics.Committed()
	if height == 0 || n.node.ConsensusReactor().WaitSync() {
		return 0, false
	}
	commit := n.node.BlockStore().LoadSeenCommit(height)
	if commit == nil {
		return 0, false
	}
	self, times := n.ValidatorAddress(), []time.Time(nil)
	for _, s := range commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagCommit && !bytes.Equal(s.ValidatorAddress, self) {
			times = append(times, s.Timestamp)
		}
	}
	if len(times) == 0 {
		return 0, false
	}
	slices.SortFunc(times, time.Time.Compare)
	return at.Sub(times[len(times)/2]), true
}

// LightBlock is the signed header of a height and its validators. The commit of a
// block exists as soon as the node has committed it.
func (n *Node) LightBlock(height int64) (*types.LightBlock, error) {
	blocks := n.node.BlockStore()
	meta := blocks.LoadBlockMeta(height)
	if meta == nil {
		return nil, chain.ErrBadHeight.With("no header of height %d; the blocks from %d to %d are here", height, blocks.Base(), blocks.Height())
	}
	commit := blocks.LoadBlockCommit(height)
	if commit == nil {
		commit = blocks.LoadSeenCommit(height)
	}
	if commit == nil {
		return nil, chain.ErrBadHeight.With("no commit of height %d yet", height)
	}
	validators, err := n.store.LoadValidators(height)
	if err != nil {
		return nil, fmt.Errorf("validators of height %d: %w", height, err)
	}
	return &types.LightBlock{
		SignedHeader: &types.SignedHeader{Header: &meta.Header, Commit: commit},
		ValidatorSet: validators,
	}, nil
}

// Header is the header of a committed block; false where the node does not have it, or has it
// no more.
func (n *Node) Header(height int64) (*types.Header, bool) {
	meta := n.node.BlockStore().LoadBlockMeta(height)
	if meta == nil {
		return nil, false
	}
	return &meta.Header, true
}

// Hashes answers a question about the node's state, as it does to peers. The error is
// divergence.ErrQuestion for what may not be asked, and chain.ErrBadHeight for a state that
// is not here.
func (n *Node) Hashes(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	return n.parting.reactor.Answer(ctx, q)
}

// link is the header of a height, which announces other validators, and these.
func (n *Node) link(height int64) ([]byte, error) {
	light, err := n.LightBlock(height)
	if err != nil {
		return nil, err
	}
	next, err := n.store.LoadValidators(height + 1)
	if err != nil {
		return nil, fmt.Errorf("validators of height %d: %w", height+1, err)
	}
	l := new(nodev1.Link)
	if l.SignedHeader, err = light.SignedHeader.ToProto().Marshal(); err != nil {
		return nil, fmt.Errorf("marshal header %d: %w", height, err)
	}
	for _, v := range next.Validators {
		// A marshalled SimpleValidator, which is what the hash of the set is over.
		l.Validators = append(l.Validators, v.Bytes())
	}
	return l.MarshalVT()
}

// recentBytes is how much the transactions of committed blocks may take in memory, and
// latelyBytes how many of them are kept decoded, which takes some six times as much: those
// who follow the chain are done with a block soon.
const (
	recentBytes = 8 << 20
	latelyBytes = 1 << 20
)

// Txs are the bytes of a block's transactions, without its docket, in order; false
// where the engine no longer has the block.
func (n *Node) Txs(height int64) ([][]byte, bool) {
	all, ok := n.inBlock(height)
	if !ok || len(all) == 0 {
		return nil, false
	}
	return all[1:], true
}

// Decoded are a block's transactions, in order and not to be changed, nil for one that this program
// cannot decode; false where the engine no longer has the block.
func (n *Node) Decoded(height int64) ([]*tx.Decoded, bool) {
	if ds, ok := n.app.lately.Get(height); ok {
		return ds, true
	}
	raws, ok := n.Txs(height)
	if !ok {
		return nil, false
	}
	ds := make([]*tx.Decoded, len(raws))
	for i, raw := range raws {
		if d, err := n.app.app.Decode(raw); err == nil {
			ds[i] = d
		}
	}
	return ds, true
}

// inBlock are the bytes of a block's transactions, its docket first, not to be changed;
// false where the engine no longer has the block.
func (n *Node) inBlock(height int64) ([][]byte, bool) {
	if txs, ok := n.app.recent.Get(height); ok {
		return txs, true
	}
	b := n.node.BlockStore().LoadBlock(height)
	if b == nil {
		return nil, false
	}
	return b.Txs.ToSliceOfBytes(), true
}

// Docket is the docket of a block; false where the engine no longer has the block, or
// the block has none in form.
func (n *Node) Docket(height int64) (*chainv1.Docket, bool) {
	all, ok := n.inBlock(height)
	if !ok || len(all) == 0 {
		return nil, false
	}
	d, err := chain.DecodeDocket(all[0])
	return d, err == nil
}

// now is the wall clock, a seam for tests.
var now = time.Now
