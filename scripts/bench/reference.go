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

	"github.com/chancery/chancery/node/config"
)

// runReference is a validator of CometBFT's example application: the engine's own
// mempool, the same engine settings otherwise. Transactions come in over a plain
// TCP stream and commits go out over it, so that no door slows it down:
//
//	in   uint32 length, transaction; repeated
//	out  uint32 count, that many SHA-256 of transactions; for each block
func runReference(args []string) error {
	f := flag.NewFlagSet("reference", flag.ContinueOnError)
	homeDir := f.String("home", "", "home")
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
	engine.FilterPeers = false
	engine.Mempool.Type = cmtconfig.MempoolTypeFlood
	engine.Mempool.Size = 50_000
	engine.Mempool.CacheSize = 200_000
	engine.Mempool.Recheck = false
	engine.Consensus.CreateEmptyBlocks = true
	engine.Consensus.CreateEmptyBlocksInterval = 0
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

// kv is the reference as a target.
type kv struct {
	nodes  int // validators
	net    *network
	count  int
	blocks atomic.Int64 // that watch was told of
}

func newKVStore(o options) *kv { return &kv{nodes: o.nodes} }

func (k *kv) name() string { return reference }

func (k *kv) start(ctx context.Context, dir string) error {
	var err error
	if k.net, err = layOut(dir, "disk", k.nodes); err != nil {
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
	if err := k.net.run(func(m *member) []string { return []string{self, "reference", "--home", string(m.home)} }); err != nil {
		return err
	}
	return eventually(ctx, "the first block", func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		heard := errors.New("no block yet")
		_ = k.watch(ctx, func([][32]byte) { heard = nil; cancel() })
		return heard
	})
}

// payloads are key=value pairs of the size of a consent transaction.
func (k *kv) payloads(n int) ([][]byte, [][32]byte, error) {
	txs, ids := make([][]byte, n), make([][32]byte, n)
	pad := make([]byte, (payloadSize-30)/2)
	for i := range txs {
		k.count++
		if _, err := rand.Read(pad); err != nil {
			return nil, nil, err
		}
		txs[i] = fmt.Appendf(nil, "consent-%020d=%s", k.count, hex.EncodeToString(pad))
		ids[i] = sha256.Sum256(txs[i])
	}
	return txs, ids, nil
}

func (k *kv) sender(ctx context.Context, i int) (func([][]byte) error, error) {
	conn, err := net.Dial("tcp", k.net.members[i].config.RPC.Listen)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	w := bufio.NewWriterSize(conn, 1<<20)
	return func(batch [][]byte) error {
		for _, tx := range batch {
			_ = binary.Write(w, binary.BigEndian, uint32(len(tx)))
			_, _ = w.Write(tx)
		}
		return w.Flush()
	}, nil
}

func (k *kv) watch(ctx context.Context, fn func([][32]byte)) error {
	conn, err := net.Dial("tcp", k.net.members[0].config.RPC.Listen)
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
		ids := make([][32]byte, count)
		for i := range ids {
			if _, err := io.ReadFull(r, ids[i][:]); err != nil {
				return err
			}
		}
		k.blocks.Add(1)
		fn(ids)
	}
}

func (k *kv) height(context.Context) (int64, error) { return k.blocks.Load(), nil }

func (k *kv) profile(context.Context, int, string) error {
	return errors.New("the reference has no profile")
}

func (k *kv) cpu() (time.Duration, error) { return k.net.cpu() }

func (k *kv) stop() { k.net.stop() }
