package config

import (
	"fmt"
	"strings"

	"github.com/cometbft/cometbft/config"

	"github.com/chancery/chancery/chain/tx"
)

// Engine derives the consensus engine's configuration. The engine never reads a
// file of its own.
func (c Config) Engine(h Home) (*config.Config, error) {
	e := config.DefaultConfig()
	e.SetRoot(string(h))
	e.Moniker = c.Node.Moniker
	e.Genesis = genesisPath
	e.NodeKey = nodeKeyPath
	e.PrivValidatorKey = validatorKeyPath
	e.PrivValidatorState = validatorStatePath
	e.DBPath = enginePath
	// The engine's database library has Pebble behind a build tag only; goleveldb is
	// what it has without cgo or tags.
	e.DBBackend = "goleveldb"
	// A peer is asked for by node id on the chain before it is let in.
	e.FilterPeers = true

	// Clients are served by node/rpc alone.
	e.RPC.ListenAddress = ""
	e.RPC.GRPCListenAddress = ""
	e.RPC.PprofListenAddress = ""

	e.P2P.ListenAddress = "tcp://" + c.P2P.Listen
	e.P2P.ExternalAddress = c.P2P.ExternalAddress
	e.P2P.PersistentPeers = strings.Join(c.P2P.PersistentPeers, ",")
	e.P2P.AddrBook = enginePath + "/addrbook.json"
	// Membership is on the chain and peers are listed, so nothing is discovered.
	e.P2P.PexReactor = false
	e.P2P.AddrBookStrict = !c.P2P.AllowPrivate
	e.P2P.AllowDuplicateIP = c.P2P.AllowDuplicateIP || Loopback(c.P2P.Listen)
	e.P2P.MaxNumInboundPeers = c.P2P.MaxInbound
	e.P2P.MaxNumOutboundPeers = c.P2P.MaxInbound
	e.P2P.FlushThrottleTimeout = c.Consensus.FlushThrottle.Std()
	e.P2P.SendRate = c.P2P.SendRate
	e.P2P.RecvRate = c.P2P.RecvRate

	e.Mempool.Type = config.MempoolTypeApp
	e.Mempool.ReapInterval = c.Consensus.ReapInterval.Std()
	e.Mempool.MaxTxBytes = tx.MaxBytes

	k := e.Consensus
	k.WalPath = enginePath + "/cs.wal/wal"
	k.TimeoutPropose = c.Consensus.Propose.Std()
	k.TimeoutProposeDelta = c.Consensus.ProposeDelta.Std()
	k.TimeoutPrevote = c.Consensus.Vote.Std()
	k.TimeoutPrevoteDelta = c.Consensus.VoteDelta.Std()
	k.TimeoutPrecommit = c.Consensus.Vote.Std()
	k.TimeoutPrecommitDelta = c.Consensus.VoteDelta.Std()
	k.TimeoutCommit = c.Consensus.Commit.Std()
	k.SkipTimeoutCommit = true
	// The engine knows nothing of the application's pool: with false it would never
	// start a block, and with an interval delay every block by it. An idle proposer
	// waits in PrepareProposal instead.
	k.CreateEmptyBlocks = true
	k.CreateEmptyBlocksInterval = 0
	k.PeerGossipSleepDuration = c.Consensus.GossipSleep.Std()
	k.DoubleSignCheckHeight = c.Consensus.DoubleSignHeights

	// A validator must not follow the network by block sync while it votes.
	e.BlockSync.AdaptiveSync = false
	e.StateSync.Enable = false
	// The records hold results and events.
	e.Storage.DiscardABCIResponses = !c.State.KeepResults
	e.TxIndex.Indexer = "null"

	e.Instrumentation.Prometheus = c.Telemetry.Listen != "" && c.Telemetry.Engine
	// Its measurements are served by node/telemetry.
	e.Instrumentation.PrometheusListenAddr = ""

	if err := e.ValidateBasic(); err != nil {
		return nil, fmt.Errorf("configure the consensus engine: %w", err)
	}
	return e, nil
}
