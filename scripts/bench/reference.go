package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cometbft/cometbft/abci/example/kvstore"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/mempool"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/types"

	cmtconfig "github.com/cometbft/cometbft/config"

	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet/links"
)

// payloadSize is about the size of a transaction that gives one consent, in bytes.
const payloadSize = 430

// runReference is a validator of CometBFT's example application: the engine's own
// mempool, the same engine settings otherwise. Transactions come in over a plain
// TCP stream and commits go out over it, so that no door slows it down:
//
//	in   uint32 length, transaction; repeated
//	out  uint32 count, that many SHA-256 of transactions; for each block
func runReference(args []string) error {
	f := flag.NewFlagSet("reference", flag.ContinueOnError)
	homeDir := f.String("home", "", "home")
	defaultTimers := f.Bool("default-timers", false, "have the engine's default timers instead of Chancery's")
	if err := f.Parse(args); err != nil {
		return err
	}
	home := config.Home(*homeDir)
	c, err := config.Load(home)
	if err != nil {
		return err
	}
	// As for Chancery, whose node does the same.
	debug.SetGCPercent(c.Node.GarbagePercent)
	debug.SetMemoryLimit(int64(c.Node.MemoryLimit))
	engine, err := c.Engine(home)
	if err != nil {
		return err
	}
	// The least time between two blocks, for which a proposer of Chancery's waits itself.
	engine.Consensus.TimeoutCommit, engine.Consensus.SkipTimeoutCommit = c.Consensus.NextBlockDelay.Std(), false
	if *defaultTimers {
		stock := cmtconfig.DefaultConfig()
		stock.Consensus.RootDir, stock.Consensus.WalPath = engine.RootDir, engine.Consensus.WalPath
		engine.Consensus, engine.P2P.FlushThrottleTimeout = stock.Consensus, stock.P2P.FlushThrottleTimeout
	}
	engine.FilterPeers = false
	engine.Mempool.Type = cmtconfig.MempoolTypeFlood
	engine.Mempool.Size = 50_000
	engine.Mempool.CacheSize = 200_000
	engine.Mempool.Recheck = false
	key, err := p2p.LoadNodeKey(engine.NodeKeyFile())
	if err != nil {
		return err
	}
	n, err := node.NewNode(engine, privval.LoadFilePV(engine.PrivValidatorKeyFile(), engine.PrivValidatorStateFile()), key,
		proxy.NewLocalClientCreator(kvstore.NewPersistentApplication(home.Data())),
		node.DefaultGenesisDocProviderFunc(engine), cmtconfig.DefaultDBProvider,
		node.DefaultMetricsProvider(engine.Instrumentation), cmtlog.NewNopLogger())
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	profiles, err := net.Listen("tcp", c.Telemetry.Listen)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(profiles, nil) }() // with the handlers of net/http/pprof
	l, err := net.Listen("tcp", c.RPC.Listen)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go take(conn, n)
			go tell(conn, n)
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return n.Stop()
}

func take(conn net.Conn, n *node.Node) {
	r := bufio.NewReaderSize(conn, 1<<20)
	for {
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return
		}
		tx := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(r, tx); err != nil {
			return
		}
		for {
			err := n.Mempool().CheckTx(tx, nil, mempool.TxInfo{})
			var full mempool.ErrMempoolIsFull
			if !errors.As(err, &full) {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func tell(conn net.Conn, n *node.Node) {
	name := conn.RemoteAddr().String()
	sub, err := n.EventBus().Subscribe(context.Background(), name, types.EventQueryNewBlock, 1000)
	if err != nil {
		return
	}
	defer func() { _ = n.EventBus().UnsubscribeAll(context.Background(), name) }()
	w := bufio.NewWriter(conn)
	for {
		select {
		case m := <-sub.Out():
			txs := m.Data().(types.EventDataNewBlock).Block.Txs
			_ = binary.Write(w, binary.BigEndian, uint32(len(txs)))
			for _, tx := range txs {
				_, _ = w.Write(tx.Hash())
			}
			if w.Flush() != nil {
				return
			}
		case <-sub.Canceled():
			return
		}
	}
}

// kv is the reference as an application.
type kv struct {
	setting
	far    links.Regions
	net    *network
	count  int
	blocks atomic.Int64 // that Watch was told of
}

func (k *kv) start(ctx context.Context, dir string) error {
	var err error
	if k.net, err = layOut(dir, "disk", k.setting, k.far); err != nil {
		return err
	}
	params := types.DefaultConsensusParams()
	params.Block.MaxBytes = config.MaxBlockBytes
	g := &types.GenesisDoc{ChainID: "bench", GenesisTime: time.Now(), InitialHeight: 1, ConsensusParams: params}
	for _, m := range k.net.members {
		pub, err := m.pv.GetPubKey()
		if err != nil {
			return err
		}
		g.Validators = append(g.Validators, types.GenesisValidator{PubKey: ed25519.PubKey(pub.Bytes()), Power: 10})
	}
	for _, m := range k.net.members {
		if err := g.SaveAs(m.home.GenesisFile()); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := k.net.run(func(m *member) []string {
		return []string{self, "reference", "--home", string(m.home), fmt.Sprintf("--default-timers=%t", k.App == untuned)}
	}); err != nil {
		return err
	}
	return eventually(ctx, "the first block", func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		heard := errors.New("no block yet")
		_ = k.Watch(ctx, func() {}, func(bench.News) { heard = nil; cancel() })
		return heard
	})
}

func (k *kv) network() *network { return k.net }

func (k *kv) target() bench.Target { return k }

func (k *kv) workload() (bench.Workload, error) { return k, nil }

// Next implements bench.Workload: a key=value pair of the size of a consent transaction.
func (k *kv) Next() (*bench.Tx, error) {
	k.count++
	pad := make([]byte, (payloadSize-30)/2)
	_, _ = rand.Read(pad) // never fails: it ends the process instead
	raw := fmt.Appendf(nil, "consent-%020d=%s", k.count, hex.EncodeToString(pad))
	return &bench.Tx{Raw: raw, ID: sha256.Sum256(raw), Messages: 1, ValidUntil: time.Now().Add(time.Hour)}, nil
}

// Entries implements bench.Target.
func (k *kv) Entries() int { return len(k.net.members) }

// Open implements bench.Target. The reference takes everything: its door waits where its
// mempool is full.
func (k *kv) Open(ctx context.Context, i int, _ bool, answers func([]*bench.Tx, []bench.Answer)) (bench.Entry, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", k.net.members[i].config.RPC.Listen)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	return &kvEntry{conn, bufio.NewWriterSize(conn, 1<<20), answers}, nil
}

type kvEntry struct {
	conn    net.Conn
	w       *bufio.Writer
	answers func([]*bench.Tx, []bench.Answer)
}

func (e *kvEntry) Send(batch []*bench.Tx) error {
	for _, tx := range batch {
		_ = binary.Write(e.w, binary.BigEndian, uint32(len(tx.Raw)))
		_, _ = e.w.Write(tx.Raw)
	}
	err := e.w.Flush()
	if err == nil {
		e.answers(batch, make([]bench.Answer, len(batch)))
	}
	return err
}

func (e *kvEntry) Close() error { return e.conn.Close() }

// Watch implements bench.Target.
func (k *kv) Watch(ctx context.Context, ready func(), tell func(bench.News)) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", k.net.members[0].config.RPC.Listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	r := bufio.NewReaderSize(conn, 1<<20)
	for {
		var count uint32
		if err := binary.Read(r, binary.BigEndian, &count); err != nil {
			return err
		}
		var n bench.News
		n.Executed = make([]bench.ID, count)
		for i := range n.Executed {
			if _, err := io.ReadFull(r, n.Executed[i][:]); err != nil {
				return err
			}
		}
		ready() // from the first block that was told of, none is missed
		k.blocks.Add(1)
		tell(n)
	}
}

// Outcome implements bench.Target: blocks alone tell of the reference's transactions.
func (k *kv) Outcome(context.Context, bench.ID) (bench.Outcome, error) { return bench.Pending, nil }

func (k *kv) height(context.Context) (int64, error) { return k.blocks.Load(), nil }

func (k *kv) stop() { k.net.stop() }
