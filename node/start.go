package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cometbft/cometbft/blocksync"
	cmtconfig "github.com/cometbft/cometbft/config"
	cs "github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/mempool"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/proxy"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/internal/background"
	"github.com/chancery/chancery/node/receipt"
	"github.com/chancery/chancery/node/rpc"
	"github.com/chancery/chancery/node/signer"
	"github.com/chancery/chancery/node/telemetry"
	"github.com/chancery/chancery/node/trace"
	"github.com/chancery/chancery/node/webhook"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// stopTime is how long calls may take to finish when the node stops.
const stopTime = 5 * time.Second

// Options is what a Node needs besides its home.
type Options struct {
	// Config is used instead of the home's file when it is set.
	Config *config.Config
	// Version is the binary's.
	Version string
	// Log is used instead of standard error when it is set.
	Log *slog.Logger
	// Now is the clock by which certificates end; time.Now where it is nil.
	Now func() time.Time
	// Level changes what Log writes while the node runs; nil: nothing does.
	Level *slog.LevelVar
}

// Node is a running node.
type Node struct {
	home      config.Home
	config    config.Config
	log       *slog.Logger
	level     *slog.LevelVar // nil: it does not change
	genesis   *types.GenesisDoc
	engine    *consensus.Node
	door      *rpc.Server
	listener  net.Listener      // nil: no door
	web       net.Listener      // of HTTP; nil: none
	telemetry *telemetry.Server // nil: none
	metrics   *consensus.Metrics
	registry  *registry
	tracer    *trace.Tracer // nil: none
	admin     *admin        // nil: none
	memory    *memoryLimit  // nil: none of the node's own
	version   string
	forecasts *forecast.Store // nil: none
	guard     keyGuard
	hold      *signingHold // nil: the home is no restored one
	keys      *guardedKeys
	remote    *signer.Remote // nil: the validator key is in the home
	watch     *startWatch    // nil: the key may sign at once
	foreign   atomic.Bool    // whether somebody else was found to sign with the key
	modules   Modules
	deeds     *deeds
	judgement *judgement
	webhooks  *webhook.Dispatcher // nil: none
	sources   []*lightSource      // of headers, while the node begins with a snapshot

	checkpoints *checkpoint.Publisher // nil: none

	secrets *secrets // nil: no TLS and no policies of the operator's own

	cancel context.CancelFunc
	group  sync.WaitGroup
	failed chan error // the first part that failed by itself
}

// Run runs the node of a home until ctx ends, or until it fails: then the error
// says why. It returns when everything is on disk.
func Run(ctx context.Context, home config.Home, o Options) error {
	large := roomyHeap()
	n, err := Open(home, o)
	if err != nil {
		return err
	}
	n.log.Debug("memory of the heap", "large_pages", large)
	var g *garbage // the environment's goes before it
	if os.Getenv("GOGC") == "" {
		g = newGarbage(n.config.Node.GarbagePercent)
	}
	defer followHeap(n.memory, g)()
	if err := n.Start(); err != nil {
		err = errors.Join(err, n.Stop())
		n.linger(ctx, err)
		return err
	}
	select {
	case <-ctx.Done():
		n.log.Info("stopping")
	case err = <-n.failed:
		n.log.Error("the node failed and stops", "error", err)
	}
	err = errors.Join(err, n.Stop())
	n.linger(ctx, err)
	return err
}

// lingerTime is how long the process of a node that the guard, an upgrade or a parted state
// stopped goes on telling so: longer than collectors take to come by.
const lingerTime = 45 * time.Second

// linger tells collectors that the guard stopped the node, that it needs another version of
// the program, or that its state has parted, before the process ends: of all reasons these
// are the ones that a restart must not paper over.
func (n *Node) linger(ctx context.Context, err error) {
	mark, state := telemetry.NewRefused(), telemetry.Halted
	switch {
	case n.config.Telemetry.Listen == "":
		return
	case errors.Is(err, chain.ErrUpgradeNeeded):
		mark, state = telemetry.NewUpgradeNeeded(), telemetry.UpgradeNeeded
	case errors.Is(err, divergence.ErrParted):
		mark = telemetry.NewParted()
	case !errors.Is(err, errForeign):
		return
	}
	n.log.Error("the node has stopped; its telemetry tells so for a while before the process ends", "for", lingerTime)
	ctx, cancel := context.WithTimeout(ctx, lingerTime)
	defer cancel()
	if err := telemetry.Refused(ctx, n.config.Telemetry.Listen, mark, state, err, n.log); err != nil {
		n.log.Warn("collectors are not told why the node stopped", "error", err)
	}
}

// Open reads the home, opens its databases and its listeners, and starts nothing.
// A node that was opened must be stopped.
func Open(home config.Home, o Options) (*Node, error) {
	c := o.Config
	if c == nil {
		read, err := config.Load(home)
		if err != nil {
			return nil, err
		}
		c = &read
	} else if err := c.Check(); err != nil {
		return nil, err
	}
	log, level := o.Log, o.Level
	if log == nil {
		var err error
		if log, level, err = c.Node.Logger(os.Stderr); err != nil {
			return nil, err
		}
	}
	n := &Node{home: home, config: *c, log: log, level: level, version: o.Version, failed: make(chan error, 1)}
	if err := n.open(o); err != nil {
		n.closeListeners()
		return nil, err
	}
	return n, nil
}

func (n *Node) open(o Options) error {
	genesis, raw, err := config.ReadGenesis(n.home.GenesisFile())
	if err != nil {
		return err
	}
	if err := CheckGenesis(genesis); err != nil {
		return err
	}
	n.genesis = genesis
	if err := n.takeNextNodeKey(); err != nil {
		return err
	}
	keys, err := n.config.Keys(n.home)
	if err != nil {
		return err
	}
	if n.config.RPC.TLS() || n.config.RPC.Policies != "" {
		if n.secrets, err = openSecrets(n.home, n.config.RPC, n.log.With("part", "rpc"), o.Now); err != nil {
			return err
		}
	}
	if door := cmp.Or(n.config.RPC.Listen, n.config.REST.Listen); door != "" && !n.config.RPC.TLS() && !n.config.RPC.Development {
		return fmt.Errorf("rpc.listen: the door at %s has no TLS: set rpc.tls_cert and rpc.tls_key ('chancery certs issue' makes both), or for development rpc.development = true, with which everybody on this machine may do what an administrator may", door)
	}
	if n.config.RPC.Listen != "" {
		if n.listener, err = net.Listen("tcp", n.config.RPC.Listen); err != nil {
			return fmt.Errorf("listen for clients: %w", err)
		}
	}
	if n.config.REST.Listen != "" {
		if n.web, err = net.Listen("tcp", n.config.REST.Listen); err != nil {
			return fmt.Errorf("listen for clients over HTTP: %w", err)
		}
	}
	registry := newRegistry()
	n.registry = registry
	registry.MustRegister(telemetry.NewRefused(), telemetry.NewUpgradeNeeded(), telemetry.NewParted(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.memory = newMemoryLimit(n.config.Node, n.log)
	registry.MustRegister(newMemoryCollector(n.memory))
	if err := n.openTracer(o.Version, keys.NodeID, registry); err != nil {
		return err
	}
	if err := n.openEngine(o.Version, registry); err != nil {
		return errors.Join(err, n.closeTracer())
	}
	if err := registry.Register(newCollector(n, o.Version)); err != nil {
		return errors.Join(fmt.Errorf("register the node's metrics: %w", err), n.engine.Stop())
	}
	address, err := hex.DecodeString(keys.ValidatorAddress)
	if err != nil {
		return errors.Join(fmt.Errorf("the validator's address: %w", err), n.engine.Stop())
	}
	n.guard = keyGuard{keys: n.keys, hold: n.hold, blocks: n.engine}
	if n.remote != nil {
		n.guard.since = time.Now().UnixMilli()
	}
	if n.watch != nil {
		n.guard.saw = func() { n.watch.saw(n.engine.Status().CatchingUp) }
	}
	n.deeds = newDeeds(n.engine.Decoded)
	if err := n.openWebhooks(o.Version, registry); err != nil {
		return errors.Join(err, n.engine.Stop())
	}
	if err := n.openCheckpoints(o.Version, registry); err != nil {
		return errors.Join(err, n.engine.Stop())
	}
	if err := n.openDoors(raw, registry, o.Now); err != nil {
		return errors.Join(err, n.closeCheckpoints(), n.engine.Stop())
	}
	n.openSources(address)
	if n.admin, err = openAdmin(n); err != nil {
		return errors.Join(err, n.closeCheckpoints(), n.engine.Stop())
	}
	return nil
}

// openTracer begins with traces, where the configuration says where they go.
func (n *Node) openTracer(version, nodeID string, registry *registry) error {
	c := n.config.Telemetry
	o := trace.Options{
		Endpoint: c.Traces, FileBytes: c.TracesFileBytes, Ratio: c.TracesRatio, Moniker: n.config.Node.Moniker, Version: version,
		Node: nodeID, ChainID: n.genesis.ChainID, Metrics: registry, Log: n.log.With("part", "trace"),
	}
	if c.TracesCA != "" {
		o.CA = n.home.Resolve(c.TracesCA)
	}
	if c.TracesFile != "" {
		o.File = n.home.Resolve(c.TracesFile)
	}
	var spans consensus.Spans
	if o.Enabled() {
		var err error
		if n.tracer, err = trace.New(context.Background(), o); err != nil {
			return err
		}
		spans = n.tracer
	}
	n.metrics = consensus.NewMetrics(spans)
	return nil
}

// closeTracer exports what waits.
func (n *Node) closeTracer() error {
	if n.tracer == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return n.tracer.Close(ctx)
}

// engineMetrics lets the engine register its measurements, for which it knows the
// process's default registry alone.
func engineMetrics(c *cmtconfig.InstrumentationConfig, registry *registry) cmtnode.MetricsProvider {
	provide := cmtnode.DefaultMetricsProvider(c)
	return func(chainID string) (*cs.Metrics, *p2p.Metrics, *mempool.Metrics, *sm.Metrics, *proxy.Metrics, *blocksync.Metrics, *statesync.Metrics) {
		defaultRegistry.Lock()
		defer defaultRegistry.Unlock()
		before := prometheus.DefaultRegisterer
		prometheus.DefaultRegisterer = registry
		defer func() { prometheus.DefaultRegisterer = before }()
		return provide(chainID)
	}
}

// mostWorkers is the most that are taken unless the configuration asks for more: beyond, what
// is executed one after the other takes most of the time.
const mostWorkers = 8

// workers is on how many processors blocks are looked at.
func workers(configured int) int {
	if configured > 0 {
		return configured
	}
	return min(runtime.GOMAXPROCS(0), mostWorkers)
}

// defaultRegistry guards prometheus.DefaultRegisterer.
var defaultRegistry sync.Mutex

func (n *Node) openEngine(version string, registry *registry) error {
	c := n.config
	if err := n.discardUnfinished(); err != nil {
		return err
	}
	n.modules = Wire()
	n.modules.Observer, n.modules.Workers = n.metrics, workers(c.Node.Workers)
	tree, err := openTree(c.State, c.Pruning.Images(), n.home.Data(), n.log)
	if err != nil {
		return err
	}
	if err := refuseParted(n.home, tree); err != nil {
		return errors.Join(err, tree.Close())
	}
	app, err := n.modules.App(n.genesis.ChainID, tree)
	if err != nil {
		return errors.Join(err, tree.Close())
	}
	recordsDB, err := openDB(c.State.Backend, "records", n.home.Data(), smallCache)
	if err != nil {
		return errors.Join(err, app.Close())
	}
	log, err := records.Open(recordsDB, c.State.NoSync)
	if err != nil {
		return errors.Join(err, recordsDB.Close(), app.Close())
	}
	if err := n.openJudgement(app, registry); err != nil {
		return errors.Join(err, log.Close(), app.Close())
	}
	engine, err := c.Engine(n.home)
	if err != nil {
		return errors.Join(err, log.Close(), app.Close())
	}
	begin, err := n.beginWithSnapshot(tree)
	if err != nil {
		return errors.Join(err, log.Close(), app.Close())
	}
	kept, err := openSnapshots(n.home, c.Snapshots)
	if err != nil {
		return errors.Join(err, log.Close(), app.Close())
	}
	if n.hold, err = newSigningHold(n.home, n.log); err != nil {
		return errors.Join(err, log.Close(), app.Close())
	}
	key, err := n.openValidator(tree.Version())
	if err != nil {
		return errors.Join(err, kept.Close(), log.Close(), app.Close())
	}
	pool := consensus.DefaultPoolOptions()
	pool.MaxBytes, pool.MaxLaneBytes, pool.MaxWait, pool.Urgent = c.Pool.MaxBytes, c.Pool.MaxLaneBytes, c.Pool.MaxWait.Std(), threat.NeverHeld
	n.engine, err = consensus.Open(consensus.Options{
		Config: engine, Genesis: n.genesis, App: app, Records: log, Membership: n.modules.Identity, Pool: pool,
		Voice: &voice{book: n.judgement.book, log: n.log}, Lied: n.judgement.accuser.tell, Signer: key, MaySign: n.maySign,
		NextBlockDelay: c.Consensus.NextBlockDelay.Std(),
		Watchdog: consensus.WatchdogOptions{
			Unhealthy: time.Duration(c.Watchdog.StallSeconds) * time.Second,
			Exit:      time.Duration(c.Watchdog.ExitSeconds) * time.Second,
		},
		Snapshots: kept, SnapshotInterval: c.Snapshots.Interval, Sync: begin,
		Pruning: consensus.PruningOptions{
			Blocks: c.Pruning.Mode == config.PruningPruned, States: c.Pruning.Mode != config.PruningArchive,
			WindowBlocks: c.Pruning.WindowBlocks, Window: c.Pruning.Window.Std(),
			Budget: c.Pruning.DiskBytes, Used: func() int64 { return bytesUnder(n.home.Data()) },
		},
		Metrics: n.metrics, Registry: registry, EngineMetrics: engineMetrics(engine.Instrumentation, registry),
		Log: n.log, Version: version, Tree: c.State.Tree, Parted: func(r *divergence.Report) (string, error) { return keepReport(n.home, r) },
	})
	if err != nil {
		err = errors.Join(err, kept.Close(), log.Close(), app.Close())
		if n.remote != nil {
			err = errors.Join(err, n.remote.Close())
		}
		return err
	}
	return nil
}

// smallCache is the cache of blocks of a database that is mostly written.
const smallCache = 16 << 20

// openDB opens or makes a database of the node. cache is bytes of its blocks that are kept
// in memory; the wrapper of pebble takes no options and keeps 8 MiB, without filters.
func openDB(backend, name, dir string, cache int) (dbm.DB, error) {
	var db dbm.DB
	var err error
	switch backend {
	case "pebble":
		db, err = dbm.NewPebbleDB(name, dir, nil)
	case "goleveldb":
		db, err = dbm.NewGoLevelDBWithOpts(name, dir, consensus.LevelDB(cache))
	default:
		return nil, fmt.Errorf("state.backend: %q must be pebble or goleveldb", backend)
	}
	if err != nil {
		return nil, fmt.Errorf("open the database %s in %s (is another node running in this home?): %w", name, dir, err)
	}
	return db, nil
}

func (n *Node) openDoors(genesis []byte, registry *registry, clock func() time.Time) error {
	r := n.config.RPC
	var err error
	options := rpc.Options{
		App: n.engine.App(), Records: n.engine.Records(), Engine: n.face(), Genesis: genesis,
		Limits: Limits(r), Identities: n.modules.Identity, Now: clock, Log: n.log.With("part", "rpc"), Metrics: registry, Evidence: n.judgement.evidence,
	}
	for _, o := range n.config.OIDC {
		issuer, err := issuerOf(n.home, o)
		if err != nil {
			return err
		}
		options.Issuers = append(options.Issuers, issuer)
	}
	if n.secrets != nil {
		options.Administrators, options.Policies = n.secrets.administrators, n.secrets.policies
		options.TLS = n.secrets.server()
	}
	if n.config.Forecast.Subjects > 0 {
		if n.forecasts, err = forecast.NewStore(n.config.Forecast.Settings()); err != nil {
			return err
		}
		options.Forecasts = forecast.NewService(n.forecasts)
	}
	options.Checkpoints = checkpoint.NewService(n.checkpoints)
	n.door, err = rpc.New(options)
	if err != nil {
		return err
	}
	if n.config.Telemetry.Listen == "" {
		return nil
	}
	status := n.face().Status
	if err := registry.Register(telemetry.NewCollector(status)); err != nil {
		return fmt.Errorf("register the node's metrics: %w", err)
	}
	n.telemetry, err = telemetry.Listen(telemetry.Options{
		Address: n.config.Telemetry.Listen, Pprof: n.config.Telemetry.Pprof, Gatherer: registry, Status: status,
		Halted: func() bool { return n.engine.Err() != nil }, Level: n.level, Log: n.log.With("part", "telemetry"),
	})
	return err
}

// issuerOf is a provider of OpenID Connect with its keys, or what they are called by.
func issuerOf(h config.Home, o config.OIDC) (rpc.Issuer, error) {
	i, err := o.Provider()
	if err != nil {
		return i, fmt.Errorf("oidc: issuer %s: %w", o.Issuer, err)
	}
	if o.Keys != "" {
		path := h.Resolve(o.Keys)
		i.Keys = func() ([]byte, error) { return os.ReadFile(path) } //nolint:gosec // of the configuration
		if _, err := i.Keys(); err != nil {
			return i, fmt.Errorf("oidc: keys: %w", err)
		}
	}
	if o.CA != "" {
		raw, err := os.ReadFile(h.Resolve(o.CA))
		if err != nil {
			return i, fmt.Errorf("oidc: tls_ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(raw) {
			return i, fmt.Errorf("oidc: tls_ca: %s has no certificate", o.CA)
		}
		i.Client = &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
			Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
		}}
	}
	return i, nil
}

// Limits are the door's bounds that a configuration sets.
func Limits(r config.RPC) rpc.Limits {
	return rpc.Limits{
		Connections: r.MaxConnections, Streams: r.MaxStreams, Calls: r.MaxCalls, Subscribers: r.MaxSubscribers,
		IdentityCalls: r.IdentityCalls, IdentityRate: r.IdentityRate,
		Message: r.MaxMessage, Deadline: r.Deadline.Std(), MaxDeadline: r.MaxDeadline.Std(), SlowReader: r.SlowReader.Std(),
		Handshake: r.Handshake.Std(), Idle: r.Idle.Std(), Keepalive: r.Keepalive.Std(), Heartbeat: r.Heartbeat.Std(),
	}
}

// Start joins the network and lets clients in. After an error the node must be
// stopped.
func (n *Node) Start() error {
	if err := n.guard.startup(n.engine.Records().Head()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	head := n.engine.Records().Head()
	if err := n.engine.Start(); err != nil {
		return err
	}
	n.group.Go(func() {
		select {
		case <-n.engine.Done():
			n.fail(n.engine.Err())
		case <-ctx.Done():
		}
	})
	n.group.Go(func() { n.watchHealth(ctx) })
	own := func(a types.Address) bool { _, own := n.keys.of(a); return own }
	n.group.Go(func() {
		n.engine.Heard(ctx, own, func(v *types.Vote) {
			if err := n.guard.heard(v); err != nil {
				n.fail(err)
			}
		})
	})
	if n.watch != nil {
		n.group.Go(func() { n.watch.run(ctx) })
	}
	if n.remote == nil {
		n.group.Go(func() { n.followNext(ctx) })
	}
	n.group.Go(func() {
		if from, ok := n.begun(ctx, head); ok {
			n.follow(ctx, from)
		}
	})
	if n.secrets != nil {
		n.group.Go(func() { n.secrets.follow(ctx, n.expiries) })
	}
	if n.hold != nil {
		n.group.Go(func() { n.followHold(ctx) })
	}
	n.group.Go(func() {
		background.Yield()
		writeImages(ctx, n.config.State, n.engine.App().Tree(), n.log)
	})
	if n.listener != nil {
		if !n.config.RPC.TLS() {
			n.log.Warn("INSECURE: loopback development mode: rpc.development is set: clients on this machine are neither encrypted nor authenticated, and each may do what an administrator may; set rpc.tls_cert and rpc.tls_key instead for anything but development", "listen", n.listener.Addr().String())
		}
		n.group.Go(func() {
			if err := n.door.Serve(n.listener); err != nil {
				n.fail(fmt.Errorf("serve clients: %w", err))
			}
		})
	}
	if n.web != nil {
		if !n.config.RPC.TLS() {
			n.log.Warn("INSECURE: loopback development mode over HTTP: rpc.development is set: each program of this machine may do what an administrator may; set rpc.tls_cert and rpc.tls_key instead for anything but development", "listen", n.web.Addr().String())
		}
		n.group.Go(func() {
			if err := n.door.ServeREST(n.web); err != nil {
				n.fail(fmt.Errorf("serve clients over HTTP: %w", err))
			}
		})
	}
	if n.admin != nil {
		n.group.Go(func() {
			if err := n.admin.serve(); err != nil {
				n.fail(err)
			}
		})
	}
	if n.telemetry != nil {
		n.group.Go(func() {
			if err := n.telemetry.Serve(); err != nil {
				n.fail(fmt.Errorf("serve telemetry: %w", err))
			}
		})
	}
	status := n.engine.Status()
	n.log.Info("the node runs", "chain", status.ChainID, "height", status.Height, "node", status.NodeID,
		"validator", status.ValidatorAddress, "rpc", n.Address(), "telemetry", n.TelemetryAddress(), "version", status.Version)
	return nil
}

// follow starts what reads the chain block by block, from a height on.
func (n *Node) follow(ctx context.Context, from int64) {
	n.group.Go(func() {
		if err := n.guard.follow(ctx, from, n.engine.Records().Wait); err != nil {
			n.fail(err)
		}
	})
	n.group.Go(func() { n.fetchHistory(ctx) })
	n.runJudgement(ctx)
	if n.forecasts != nil {
		n.group.Go(func() {
			background.Yield()
			forecast.Follow(ctx, n.forecasts, n.engine.Records(), n.deeds.forecast, n.log.With("part", "forecast"))
		})
	}
	if n.checkpoints != nil {
		n.group.Go(func() { n.checkpoints.Run(ctx) })
	}
	if n.webhooks != nil {
		n.group.Go(func() {
			if err := n.webhooks.Run(ctx); err != nil {
				n.log.Error("the node goes on without webhooks", "error", err)
			}
		})
	}
}

// followHold lets the key of a restored validator sign when it is safe.
func (n *Node) followHold(ctx context.Context) {
	for height := n.engine.Records().Head() + 1; n.hold.may() != nil; height++ {
		if err := n.engine.Records().Wait(ctx, height); err != nil {
			return // the node is being stopped
		}
		r, err := n.engine.Records().Block(height)
		if err == nil {
			err = n.hold.saw(height, r.Time, n.engine.Status().CatchingUp)
		}
		if err != nil {
			n.fail(err)
			return
		}
	}
}

// fail reports the first failure to Run.
func (n *Node) fail(err error) {
	if errors.Is(err, errForeign) {
		n.foreign.Store(true) // until the engine has stopped, nothing more is signed
	}
	select {
	case n.failed <- err:
	default:
		n.log.Error("another part of the node failed", "error", err)
	}
}

// watchHealth keeps the health service's answer true.
func (n *Node) watchHealth(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		n.door.SetHealthy(n.engine.Status().Healthy)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Stop lets calls finish, leaves the network and closes the databases. It returns
// when all is on disk.
func (n *Node) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	n.door.Shutdown(ctx)
	if n.telemetry != nil {
		n.telemetry.Shutdown(ctx)
	}
	var closed error
	if n.admin != nil {
		closed = n.admin.close()
	}
	if n.cancel != nil {
		n.cancel()
	}
	n.group.Wait()
	err := errors.Join(closed, n.closeCheckpoints(), n.engine.Stop())
	for _, s := range n.sources {
		err = errors.Join(err, s.close())
	}
	n.closeListeners()
	err = errors.Join(err, n.closeTracer())
	// The engine votes until it stops, after the book's own goroutine has ended.
	return errors.Join(err, n.judgement.book.Save())
}

// closeListeners closes what a server that never served left open.
func (n *Node) closeListeners() {
	if n.listener != nil {
		_ = n.listener.Close() // closed already when the door served
	}
	if n.web != nil {
		_ = n.web.Close()
	}
	if n.telemetry != nil {
		n.telemetry.Shutdown(context.Background())
	}
}

// Engine is the node's consensus.
func (n *Node) Engine() *consensus.Node { return n.engine }

// Failed delivers the first failure of the node by itself.
func (n *Node) Failed() <-chan error { return n.failed }

// Address is where clients connect, empty when there is no door.
func (n *Node) Address() string {
	if n.listener == nil {
		return ""
	}
	return n.listener.Addr().String()
}

// WebAddress is where clients connect over HTTP, empty when there is no such door.
func (n *Node) WebAddress() string {
	if n.web == nil {
		return ""
	}
	return n.web.Addr().String()
}

// TelemetryAddress is where collectors connect, empty when there is none.
func (n *Node) TelemetryAddress() string {
	if n.telemetry == nil {
		return ""
	}
	return n.telemetry.Address()
}

// engine is consensus as the door needs it.
type engine struct {
	n        *consensus.Node
	expiries func() []*nodev1.CertificateExpiry
	pruning  config.Pruning
	reach    func() (bool, string)
}

// face is the engine as the doors see it.
func (n *Node) face() engine {
	return engine{n: n.engine, expiries: n.expiries, pruning: n.config.Pruning, reach: n.signerReach}
}

func (e engine) Submit(ctx context.Context, raw []byte, hint bool) (tx.ID, *chainv1.Verdict, error) {
	return e.n.Submit(ctx, raw, hint)
}

func (e engine) Txs(height int64) ([][]byte, bool) { return e.n.Txs(height) }

func (e engine) LightBlock(height int64) (*types.LightBlock, error) { return e.n.LightBlock(height) }

func (e engine) Header(height int64) (*types.Header, bool) { return e.n.Header(height) }
func (e engine) Hashes(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	return e.n.Hashes(ctx, q)
}

func (e engine) History() (receipt.History, error) {
	h := receipt.History{First: receipt.FirstValidators(e.n.Genesis()), Oldest: e.n.Pruning().OldestHeader}
	links, err := e.n.Records().Links()
	if err != nil {
		return h, err
	}
	for _, k := range links {
		l := new(nodev1.Link)
		if err := l.UnmarshalVT(k.Raw); err != nil {
			return h, fmt.Errorf("the change of validators of block %d is corrupt: %w", k.Height, err)
		}
		h.Changes = append(h.Changes, l)
	}
	return h, nil
}

func (e engine) Status() *nodev1.StatusResponse {
	s, pruning := e.n.Status(), e.n.Pruning()
	_, signer := e.reach()
	return &nodev1.StatusResponse{
		ChainId: s.ChainID, Height: s.Height, Time: s.Time, AppHash: s.AppHash, CatchingUp: s.CatchingUp,
		Peers: uint32(len(s.Peers)), PoolTxs: uint64(s.PoolTxs), PoolBytes: uint64(s.PoolBytes),
		Healthy: s.Healthy, Reason: s.Reason, NodeId: s.NodeID, ValidatorAddress: s.ValidatorAddress,
		Moniker: s.Moniker, LatestBlockAgeMs: s.LatestBlockAgeMs, Version: s.Version,
		Certificates: e.expiries(), Signer: signer,
		PeerIds: s.Peers, BehindBlocks: uint64(max(0, e.n.Behind())),
		OldestBlock: pruning.OldestBlock, Pruning: e.pruning.Mode,
		DiskUsedBytes: pruning.Used, DiskBudgetBytes: pruning.Budget, DiskAlarm: diskAlarm(pruning),
		StateVersion: s.StateVersion, OldestVersion: s.OldestVersion, NewestVersion: s.NewestVersion, Upgrade: s.Upgrade,
	}
}

// diskAlarm is what an operator should know of the node's disk, empty for nothing.
func diskAlarm(s consensus.PruningStatus) string {
	switch {
	case s.Level == consensus.DiskRefuses:
		return "the budget is reached: no new transactions are taken until less is used; raise pruning.disk_bytes"
	case s.Failure != "":
		return "nothing is pruned: " + s.Failure
	case s.Level == consensus.DiskAlarm:
		return "the budget is nearly reached; raise pruning.disk_bytes"
	}
	return ""
}

var _ rpc.Engine = engine{}
