package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/cometbft/cometbft/crypto/ed25519"

	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/intel"
	"github.com/chancery/chancery/node/rpc"
	"github.com/chancery/chancery/node/signer"
	"github.com/chancery/chancery/node/trace"
	"github.com/chancery/chancery/node/webhook"
)

// Config is chancery.toml. The doc tags are its documentation: they become the
// comments of the file that Default writes and the table in docs/operating.md.
type Config struct {
	Node      Node      `toml:"node" doc:"The node itself."`
	RPC       RPC       `toml:"rpc" doc:"The gRPC door for clients."`
	REST      REST      `toml:"rest" doc:"Where clients call over HTTP: the same methods, as JSON."`
	P2P       P2P       `toml:"p2p" doc:"The connection to the other nodes. It is encrypted and authenticated; who may connect is decided on the chain."`
	Consensus Consensus `toml:"consensus" doc:"Timers of consensus. All validators of a consortium should use the same."`
	Signer    Signer    `toml:"signer" doc:"Where the validator key is, and what keeps it from signing twice; see docs/keys.md."`
	Pool      Pool      `toml:"pool" doc:"Transactions that wait for a block."`
	State     State     `toml:"state" doc:"The databases."`
	Pruning   Pruning   `toml:"pruning" doc:"What the node keeps of the past, and how much disk it may take; see 'Disk' in docs/operating.md."`
	Snapshots Snapshots `toml:"snapshots" doc:"Copies of the state for nodes that join; see docs/joining.md."`
	Sync      Sync      `toml:"sync" doc:"How a node without a state begins with a snapshot of its peers'. 'chancery join' writes it; see docs/joining.md. Without servers it begins with the genesis and fetches every block."`
	Telemetry Telemetry `toml:"telemetry" doc:"Metrics and health, on loopback only."`
	Watchdog  Watchdog  `toml:"watchdog" doc:"What the node does when no block comes."`
	Forecast  Forecast  `toml:"forecast" doc:"What the node keeps to say what to expect of actors, organisations and resources; see docs/forecast.md. It is no part of consensus."`

	Checkpoint   Checkpoint   `toml:"checkpoint" doc:"Heads of the log of the chain's blocks, which witnesses outside of the consortium co-sign; see docs/checkpoints.md. They are no part of consensus."`
	Intelligence Intelligence `toml:"intelligence" doc:"What this node makes of others by itself and tells with its votes; see docs/intelligence.md."`
	OIDC         []OIDC       `toml:"oidc" doc:"A provider of OpenID Connect whose bearer tokens are taken at the doors, one table for each; see docs/doors.md."`
	Webhooks     []Webhook    `toml:"webhook" doc:"An endpoint that events are posted to, one table for each; see docs/webhooks.md."`
	Witnesses    []Witness    `toml:"witness" doc:"A witness that is asked to co-sign checkpoints, one table for each; see docs/checkpoints.md."`
}

// LeastGarbagePercent is the least that GarbagePercent may be.
const LeastGarbagePercent = 20

// Node is section [node].
type Node struct {
	Moniker   string `toml:"moniker" doc:"The node's name for people: letters, digits, dots, dashes, at most 64."`
	LogLevel  string `toml:"log_level" doc:"debug, info, warn or error."`
	LogFormat string `toml:"log_format" doc:"text or json, to standard error."`

	Workers        int `toml:"workers" doc:"On how many processors a block's transactions are looked at at the same time, before they are executed one after the other; results are the same for any number. 0: as many as the machine or the control group has, at most 8."`
	GarbagePercent int `toml:"garbage_percent" doc:"How much garbage may gather before it is collected, in per cent of the memory in use: more costs memory and saves processor time. Up to a fifth less by chance, drawn anew each time, so that validators do not all collect at once. The environment's GOGC goes before it."`
	MemoryLimit    int `toml:"memory_limit_bytes" doc:"Near so much memory, garbage is collected more often, whatever garbage_percent says. It refuses nothing, and follows the live heap: where that is more than a third, the limit is three times as much while that is at most two fifths of what the machine or the control group allows, and twice as much beyond, up to four fifths. 0: no limit. The environment's GOMEMLIMIT goes before it."`
}

// RPC is section [rpc].
type RPC struct {
	Listen         string   `toml:"listen" doc:"host:port. Empty: no door. It needs tls_cert and tls_key; on loopback, development may stand in for them."`
	Development    bool     `toml:"development" doc:"Whether the door may be without TLS, on loopback alone: then everybody on this machine is an administrator. For development; a node without it and without tls_cert does not start."`
	TLSCert        string   `toml:"tls_cert" doc:"PEM file of the server's certificate chain, relative to the home. Empty: no TLS, which takes development. It is read again when it changes."`
	TLSKey         string   `toml:"tls_key" doc:"PEM file of its private key."`
	ClientCA       string   `toml:"client_ca" doc:"PEM file of authorities whose certificates are of this node's administrators, besides those that organisations have on the chain. Empty: none. It is read again when it changes."`
	Policies       string   `toml:"policies" doc:"File of Cedar policies that say who may call what, relative to the home, in place of the built-in ones; see docs/doors.md. It is read again when it changes."`
	MaxConnections int      `toml:"max_connections" doc:"Open connections. One more takes the place of one that never made a call or has made none for a second, and is closed at once if there is none."`
	MaxStreams     uint32   `toml:"max_streams" doc:"Calls under way on one connection."`
	MaxCalls       int      `toml:"max_calls" doc:"Calls under way on all connections together, subscriptions not counted; one more is refused with node/32001."`
	MaxSubscribers int      `toml:"max_subscribers" doc:"Event subscriptions on all connections together."`
	IdentityCalls  int      `toml:"max_identity_calls" doc:"Calls under way of one identity, subscriptions counted; one more is refused with node/32004. 0: no bound but the others. It counts where clients show certificates."`
	IdentityRate   int      `toml:"max_identity_rate" doc:"Calls a second of one identity; a call beyond is refused with node/32004. 0: no bound. Transactions on a submission stream are one call."`
	MaxMessage     int      `toml:"max_message_bytes" doc:"Largest request."`
	Deadline       Duration `toml:"deadline" doc:"How long a call may take whose client names no deadline."`
	MaxDeadline    Duration `toml:"max_deadline" doc:"How long a call may take whatever its client names; subscriptions and submission streams excepted."`
	SlowReader     Duration `toml:"slow_reader" doc:"A stream is ended when its client takes nothing for so long; the client resumes at its cursor."`
	Handshake      Duration `toml:"handshake" doc:"A connection is closed that has not finished its handshake after so long."`
	Idle           Duration `toml:"idle" doc:"A connection is closed that has had no call for so long, and a submission stream that has had no request."`
	Keepalive      Duration `toml:"keepalive" doc:"How long a silent connection is left before the server asks whether the client is alive; it has 10 s to answer."`
	Heartbeat      Duration `toml:"heartbeat" doc:"How often a subscription without events tells its cursor."`
}

// REST is section [rest].
type REST struct {
	Listen string `toml:"listen" doc:"host:port of the HTTP door, such as 127.0.0.1:8080. Empty: none. It has the certificate, policies and bounds of [rpc]; see docs/rest.md."`
}

// P2P is section [p2p].
type P2P struct {
	Listen           string   `toml:"listen" doc:"host:port."`
	PersistentPeers  []string `toml:"persistent_peers" doc:"The other nodes, as NODEID@HOST:PORT. There is no discovery: list every member's node that this one can reach."`
	ExternalAddress  string   `toml:"external_address" doc:"host:port under which others reach this node, where that is not the address it listens on."`
	AllowPrivate     bool     `toml:"allow_private" doc:"Whether peers may have private addresses (10.0.0.0/8 and the like)."`
	AllowDuplicateIP bool     `toml:"allow_duplicate_ip" doc:"Whether several peers may come from one address. Always so when listen is loopback."`
	MaxInbound       int      `toml:"max_inbound" doc:"Connections that others made."`
	SendRate         int64    `toml:"send_rate" doc:"Bytes a second to one peer."`
	RecvRate         int64    `toml:"recv_rate" doc:"Bytes a second from one peer."`
}

// Consensus is section [consensus].
type Consensus struct {
	Propose           Duration `toml:"timeout_propose" doc:"How long validators wait for a proposal before they ask for another proposer. With nothing to do a proposer waits five eighths of it for a first transaction, so an idle chain makes a block about every two thirds of timeout_propose."`
	ProposeDelta      Duration `toml:"timeout_propose_delta" doc:"How much longer they wait in each further round."`
	Vote              Duration `toml:"timeout_vote" doc:"How long they wait for stragglers' votes when two thirds have voted for different things."`
	VoteDelta         Duration `toml:"timeout_vote_delta" doc:"How much longer they wait in each further round."`
	Commit            Duration `toml:"timeout_commit" doc:"How long after a block votes that come late are waited for. With all of them the next block begins."`
	NextBlockDelay    Duration `toml:"next_block_delay" doc:"The least pause from the decision of a block to the next proposal, with which a proposer gathers transactions. Where blocks take longer than that to execute, the pause is as long as that, up to timeout_commit. Less makes latency shorter, and more blocks of fewer transactions, each of which costs more."`
	GossipSleep       Duration `toml:"gossip_sleep" doc:"How often to look for something that a peer lacks."`
	FlushThrottle     Duration `toml:"flush_throttle" doc:"How long small messages to a peer are gathered."`
	ReapInterval      Duration `toml:"reap_interval" doc:"How often new transactions are offered to peers."`
	DoubleSignHeights int64    `toml:"double_sign_check_height" doc:"Refuse to start consensus when this node's validator key signed one of so many latest blocks. 0: off. See 'Two processes with one key'."`
}

// Signer is section [signer].
type Signer struct {
	Listen    string   `toml:"listen" doc:"Where the node awaits the process that signs for it: unix://PATH, relative to the home, or tcp://HOST:PORT. Empty: the key is in config/priv_validator_key.json."`
	PublicKey string   `toml:"public_key" doc:"With listen: the validator's public key, 64 hexadecimal digits, as 'chancery signer show' prints it. A signer with another is refused."`
	ID        string   `toml:"id" doc:"With listen over TCP: the signer's connection id, 40 hexadecimal digits. Whoever else connects is refused."`
	Timeout   Duration `toml:"timeout" doc:"With listen: how long a signature may take. The vote is left out when it takes longer."`

	WatchBlocks int64    `toml:"watch_blocks" doc:"After a start, the key signs nothing until the others have made so many blocks without it, and for up to watch_time from then on by chance; the node stops when one of them carries its signature. 0: it signs at once. See 'Two processes with one key'."`
	WatchTime   Duration `toml:"watch_time" doc:"With watch_blocks: when no block came for so long, and up to half as long by chance, the key signs all the same, since the others may need it."`
}

// Remote tells whether another process holds the key.
func (s Signer) Remote() bool { return s.Listen != "" }

// Pool is section [pool].
type Pool struct {
	MaxBytes     int      `toml:"max_bytes" doc:"Bytes of all waiting transactions."`
	MaxLaneBytes int      `toml:"max_organisation_bytes" doc:"Bytes of one organisation's waiting transactions."`
	MaxWait      Duration `toml:"max_wait" doc:"Of what an organisation submits to this node no more may wait than blocks take in as long; more is refused with when to come back. 0: as much as max_organisation_bytes."`
}

// Where the state tree lives.
const (
	TreeMemory = "memory"
	TreeDisk   = "disk"
)

// State is section [state].
type State struct {
	Tree         string `toml:"tree" doc:"Where the state tree lives: memory, with a log and images on disk, or disk, which is slower and takes little memory. Roots and proofs are the same. It cannot be changed later."`
	Backend      string `toml:"backend" doc:"Database of records, and of the state where tree is disk: pebble or goleveldb. It cannot be changed later."`
	BlockCache   int    `toml:"block_cache" doc:"Where backend is goleveldb: bytes of the state's database kept in memory, as they are on disk. What node_cache lacks is read from there."`
	NodeCache    int    `toml:"node_cache" doc:"Where tree is disk: nodes of the state tree kept in memory, about 300 bytes each. The more of the working set fits, the faster are blocks."`
	ValueCache   int    `toml:"value_cache" doc:"Where tree is disk: latest values kept in memory."`
	KeepVersions int    `toml:"keep_versions" doc:"Where tree is memory: past versions that can be read and proved. A tree on disk keeps all."`
	KeepBytes    int    `toml:"keep_bytes" doc:"Where tree is memory: about how much memory past versions may take, whatever keep_versions says, but for the latest 16."`
	MemoryBytes  int    `toml:"memory_bytes" doc:"Where tree is memory: the node complains while the state takes more. It refuses nothing, since validators must hold the same state. 0: half of the memory of the machine, or of the control group that the node runs in."`
	NoSync       bool   `toml:"nosync" doc:"Leave out the fsync of each block. A power failure may then cost the node its state: for tests and measurements only."`
	KeepResults  bool   `toml:"keep_engine_results" doc:"Whether the engine keeps its own copy of block results. The node's records hold them in any case."`
}

// The modes of [pruning].
const (
	PruningArchive = "archive"
	PruningFull    = "full"
	PruningPruned  = "pruned"
)

// MinDiskBytes is the least budget of the data folder: below it the databases' own logs
// would take most.
const MinDiskBytes = 384 << 20

// Pruning is section [pruning].
type Pruning struct {
	Mode         string   `toml:"mode" doc:"archive keeps all, and needs state.tree = disk; full keeps all blocks, results and events, and of states on disk the window; pruned keeps the window of all of them, and of a state in memory one image instead of two."`
	WindowBlocks int64    `toml:"window_blocks" doc:"So many of the latest blocks are in the window, at least 100."`
	Window       Duration `toml:"window" doc:"Blocks that are no older, in block time, are in the window too. 0s: window_blocks alone says."`
	DiskBytes    int64    `toml:"disk_bytes" doc:"Budget of the data folder. At 80 % of it a node that prunes keeps less than its window; at 90 % it raises an alarm, and at 95 % it takes no new transactions until less is used. 0: none, else at least 402653184."`
}

// Images is how many images are kept of a state in memory. A node that prunes is to be small, and
// has peers that give it a state whose only image its disk has lost.
func (p Pruning) Images() int {
	if p.Mode == PruningPruned {
		return 1
	}
	return 2
}

// Snapshots is section [snapshots].
type Snapshots struct {
	Interval int64 `toml:"interval" doc:"A snapshot is taken at heights that it divides. 0: none is."`
	Keep     int   `toml:"keep" doc:"How many snapshots are kept, 1 to 10, and up to as many before them that a peer was told of, or given a chunk of, within a minute. Each takes about half as much disk as the state, without its history."`
}

// Sync is section [sync].
type Sync struct {
	Servers     []string `toml:"servers" doc:"host:port of the gRPC doors of at least two members' nodes, whose signed headers are compared. Empty: no state sync."`
	TrustHeight int64    `toml:"trust_height" doc:"Height of a header that you trust."`
	TrustHash   string   `toml:"trust_hash" doc:"Its hash, 64 hexadecimal digits, which you should have compared with more than one member."`
	TrustPeriod Duration `toml:"trust_period" doc:"How old that header may be when the node begins: so long, validators answer for what they signed."`
	TLSCA       string   `toml:"tls_ca" doc:"PEM file of the authorities that sign the servers' certificates, relative to the home."`
	TLSCert     string   `toml:"tls_cert" doc:"PEM file of the certificate chain that is shown to the servers."`
	TLSKey      string   `toml:"tls_key" doc:"PEM file of its private key."`
}

// Enabled tells whether a node without a state begins with a snapshot.
func (s Sync) Enabled() bool { return len(s.Servers) > 0 }

// Telemetry is section [telemetry].
type Telemetry struct {
	Listen string `toml:"listen" doc:"Loopback host:port of /metrics (Prometheus), /livez, /readyz, /startupz, /health, /status and /loglevel. Empty: none."`
	Pprof  bool   `toml:"pprof" doc:"Whether that listener serves /debug/pprof too."`
	Engine bool   `toml:"engine" doc:"Whether /metrics includes the consensus engine's own measurements, which begin with cometbft_."`

	Traces          string  `toml:"traces_endpoint" doc:"OTLP receiver of traces over gRPC: http://HOST:PORT on loopback, or https://HOST:PORT. Empty: none."`
	TracesCA        string  `toml:"traces_tls_ca" doc:"PEM file of the authorities that sign that receiver's certificate, relative to the home. Empty: the system's."`
	TracesFile      string  `toml:"traces_file" doc:"File that traces are written to as lines of OTLP JSON, relative to the home. Empty: none."`
	TracesFileBytes int64   `toml:"traces_file_bytes" doc:"With how many bytes that file is renamed to .1, in whose place another begins."`
	TracesRatio     float64 `toml:"traces_ratio" doc:"Share of transactions that are traced, 0 to 1. Nodes with the same share trace the same transactions."`
}

// Watchdog is section [watchdog].
type Watchdog struct {
	StallSeconds int `toml:"stall_seconds" doc:"The node reports itself unhealthy when it has seen no block for so many seconds."`
	ExitSeconds  int `toml:"exit_seconds" doc:"The node exits, for a supervisor to start it anew, when it has seen no block for so many seconds. 0: never, since a missing quorum mends itself."`
}

// Checkpoint is section [checkpoint].
type Checkpoint struct {
	Interval int64 `toml:"interval" doc:"A checkpoint is signed at heights that it divides. The log takes about 64 bytes of disk a block. 0: no log and no checkpoints."`
	Quorum   int   `toml:"quorum" doc:"How many of the witnesses must have co-signed a checkpoint before the node hands it out. It is as if 0 where there are no witnesses."`
}

// maxWitnesses bounds [[witness]].
const maxWitnesses = 32

// Witness is a table [[witness]].
type Witness struct {
	URL     string   `toml:"url" doc:"Where the witness takes checkpoints (its submission prefix): https, or http to loopback."`
	Key     string   `toml:"key" doc:"Its verifier key, as 'chancery witness show' or its operator says."`
	CA      string   `toml:"tls_ca" doc:"PEM file of the authorities that sign its certificate, relative to the home. Empty: the system's."`
	Timeout Duration `toml:"timeout" doc:"How long one request may take, 100ms to 2m."`
}

// DefaultWitness is a witness with nothing but bounds.
func DefaultWitness() Witness { return Witness{Timeout: Duration(10 * time.Second)} }

// Needed is how many witnesses must have co-signed.
func (c Config) Needed() int { return min(c.Checkpoint.Quorum, len(c.Witnesses)) }

func (c Config) checkWitnesses(want func(ok bool, key, format string, args ...any)) {
	want(c.Checkpoint.Interval >= 0 && c.Checkpoint.Interval <= 1_000_000, "checkpoint.interval", "%d, want 0 to 1000000", c.Checkpoint.Interval)
	n := len(c.Witnesses)
	want(n <= maxWitnesses, "witness", "%d, at most %d", n, maxWitnesses)
	want(n == 0 || c.Checkpoint.Interval > 0, "witness", "nothing is submitted while checkpoint.interval is 0")
	want(c.Checkpoint.Quorum >= 0 && (n == 0 || c.Checkpoint.Quorum <= n), "checkpoint.quorum", "%d of %d witnesses", c.Checkpoint.Quorum, n)
	seen := map[string]bool{}
	for _, w := range c.Witnesses {
		err := checkpoint.CheckWitness(w.URL)
		want(err == nil, "witness.url", "%v", err)
		key, err := checkpoint.ParseVerifier(w.Key)
		want(err == nil && key.Role() == checkpoint.WitnessRole, "witness.key", "%.256q is no key of a witness", w.Key)
		want(!seen[w.Key], "witness.key", "%.256q is given twice", w.Key)
		seen[w.Key] = true
		want(w.Timeout.Std() >= 100*time.Millisecond && w.Timeout.Std() <= 2*time.Minute, "witness.timeout", "%s, want 100ms to 2m", w.Timeout)
	}
}

// Forecast is section [forecast].
type Forecast struct {
	Subjects int      `toml:"subjects" doc:"How many actors, organisations and resources, of each so many, are followed; one more takes the place of the one that was active the longest ago. The memory for all is at most 3 · subjects · (7 · (buckets + hours) + 1024) bytes. 0: no forecasts."`
	Bucket   Duration `toml:"bucket" doc:"Width of a bucket of block time: a whole part of an hour, at least 1s."`
	Buckets  int      `toml:"buckets" doc:"How many of the latest buckets are kept of each subject."`
	Hours    int      `toml:"hours" doc:"How many of the latest hours are kept of each subject, for the profile of its day."`
	LookBack Duration `toml:"look_back" doc:"How far back, in block time, a node that starts reads its records, so that it has its history again."`
}

// Intelligence is section [intelligence].
type Intelligence struct {
	Indicators  string   `toml:"indicators" doc:"File of indicators, .csv or .jsonl, relative to the home. Empty: config/indicators.jsonl, which need not be there."`
	Opinions    string   `toml:"opinions" doc:"File of what the operator says of others, in the same form. Empty: config/opinions.jsonl, which need not be there."`
	Poll        Duration `toml:"poll" doc:"How often those files are looked at."`
	LookBack    int64    `toml:"look_back_blocks" doc:"How many of the latest blocks a node that starts learns from."`
	Adaptive    bool     `toml:"adaptive" doc:"Whether the node learns what is usual and suspects what is not."`
	Budget      int      `toml:"adaptive_budget" doc:"How many actors may newly come under that suspicion in an hour."`
	Feed        string   `toml:"feed_address" doc:"host:port of the organisation's own service that is asked about actors. Empty: none. One that is not on loopback needs the three keys that follow."`
	FeedCA      string   `toml:"feed_tls_ca" doc:"PEM file of the authorities that sign the service's certificate, relative to the home."`
	FeedCert    string   `toml:"feed_tls_cert" doc:"PEM file of the node's certificate chain for the service."`
	FeedKey     string   `toml:"feed_tls_key" doc:"PEM file of its private key."`
	FeedTimeout Duration `toml:"feed_timeout" doc:"How long one call may take."`
	FeedPause   Duration `toml:"feed_interval" doc:"Least time between two calls."`
	FeedQueue   int      `toml:"feed_queue" doc:"How many actors may wait to be asked about; of more, the oldest is dropped."`
	Failures    int      `toml:"feed_failures" doc:"After how many failures, one after the other, the service is left alone for a while."`
	OpenFor     Duration `toml:"feed_open_for" doc:"How long it is left alone first, and twice as long each time that the call after it fails."`
	MaxOpen     Duration `toml:"feed_max_open" doc:"How long it is left alone at most."`
}

// AdaptiveOptions are those of the adaptive model.
func (i Intelligence) AdaptiveOptions() intel.AdaptiveOptions {
	o := intel.DefaultAdaptiveOptions()
	o.Budget = i.Budget
	return o
}

// FeedOptions are those of the feed, of which no address means none.
func (i Intelligence) FeedOptions() intel.FeedOptions {
	return intel.FeedOptions{
		Address: i.Feed, CA: i.FeedCA, Cert: i.FeedCert, Key: i.FeedKey, Timeout: i.FeedTimeout.Std(), Interval: i.FeedPause.Std(),
		Queue: i.FeedQueue, Failures: i.Failures, OpenFor: i.OpenFor.Std(), MaxOpen: i.MaxOpen.Std(),
	}
}

// IndicatorsOptions are those of the file of indicators of a home.
func (i Intelligence) IndicatorsOptions(h Home) intel.IndicatorsOptions {
	return i.fileOptions(h, i.Indicators, h.IndicatorFile(), intel.OriginIndicators)
}

// OpinionsOptions are those of the file of what the operator of a home says.
func (i Intelligence) OpinionsOptions(h Home) intel.IndicatorsOptions {
	return i.fileOptions(h, i.Opinions, h.OpinionFile(), intel.OriginOperator)
}

func (i Intelligence) fileOptions(h Home, path, otherwise string, origin intel.Origin) intel.IndicatorsOptions {
	o := intel.IndicatorsOptions{Path: otherwise, Poll: i.Poll.Std(), Optional: path == "", Origin: origin}
	if path != "" {
		o.Path = h.Resolve(path)
	}
	return o
}

// OIDC is a table [[oidc]].
type OIDC struct {
	Issuer       string   `toml:"issuer" doc:"Its address, https, as the claim iss has it."`
	Organisation string   `toml:"organisation" doc:"DID of the organisation for whose DIDs its tokens speak."`
	Audience     string   `toml:"audience" doc:"What the claim aud must name."`
	Algorithms   []string `toml:"algorithms" doc:"By which tokens may be signed: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA."`
	Claim        string   `toml:"claim" doc:"Claim that names the DID. Empty where subjects lists them."`
	Subjects     []string `toml:"subjects" doc:"DIDs by the claim sub, each as SUBJECT=DID, in place of a claim."`
	Keys         string   `toml:"keys" doc:"File of its keys (JWKS), relative to the home, which is read again. Empty: they are where its configuration says (discovery)."`
	CA           string   `toml:"tls_ca" doc:"PEM file of the authorities that sign its certificate, relative to the home. Empty: the system's."`
	Skew         Duration `toml:"skew" doc:"By how much its clock may differ from the node's, at most 5m."`
}

// DefaultOIDC is a provider without an address.
func DefaultOIDC() OIDC {
	return OIDC{Algorithms: []string{"RS256", "ES256", "EdDSA"}, Claim: "did", Skew: Duration(30 * time.Second)}
}

// subjects are the DIDs by subject; nil: there are none.
func (o OIDC) subjects() (map[string]string, error) {
	if len(o.Subjects) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(o.Subjects))
	for _, s := range o.Subjects {
		// Subjects may have any character, DIDs have no =.
		at := strings.LastIndex(s, "=")
		if at < 1 {
			return nil, fmt.Errorf("%q is not SUBJECT=DID", s)
		}
		if _, twice := out[s[:at]]; twice {
			return nil, fmt.Errorf("%q is given twice", s[:at])
		}
		out[s[:at]] = s[at+1:]
	}
	return out, nil
}

// Provider is the settings of the provider, without its keys and its client.
func (o OIDC) Provider() (rpc.Issuer, error) {
	subjects, err := o.subjects()
	if err != nil {
		return rpc.Issuer{}, fmt.Errorf("subjects: %w", err)
	}
	i := rpc.Issuer{
		URL: o.Issuer, Organisation: o.Organisation, Audience: o.Audience, Algorithms: o.Algorithms, Claim: o.Claim, Subjects: subjects, Skew: o.Skew.Std(),
	}
	if subjects != nil {
		i.Claim = ""
	}
	return i, i.Check()
}

// Webhook is a table [[webhook]].
type Webhook struct {
	Name         string   `toml:"name" doc:"What stands for the endpoint in logs and measurements: letters, digits, dots and dashes, at most 64."`
	URL          string   `toml:"url" doc:"Where events are posted to: https, or http to loopback."`
	SecretFiles  []string `toml:"secret_files" doc:"Files with a secret a line, relative to the home. Requests are signed with each secret."`
	SecretEnv    []string `toml:"secret_env" doc:"Names of environment variables with a secret each."`
	Types        []string `toml:"types" doc:"Full names of the events that are posted, such as chancery.threat.v1.TxHeld. Empty: what wants somebody's attention."`
	Timeout      Duration `toml:"timeout" doc:"How long one request may take."`
	MaxAttempts  int      `toml:"max_attempts" doc:"After how many requests an event is given up. 0: never."`
	AllowPrivate bool     `toml:"allow_private" doc:"Whether the URL may lead to private and link-local addresses."`
}

// DefaultWebhook is an endpoint with nothing but bounds.
func DefaultWebhook() Webhook {
	e := webhook.DefaultEndpoint()
	return Webhook{Timeout: Duration(e.Timeout), MaxAttempts: e.MaxAttempts}
}

// Endpoint is the options of the endpoint.
func (w Webhook) Endpoint() webhook.Endpoint {
	return webhook.Endpoint{
		Name: w.Name, URL: w.URL, SecretFiles: w.SecretFiles, SecretEnv: w.SecretEnv, Types: w.Types,
		Timeout: w.Timeout.Std(), MaxAttempts: w.MaxAttempts, AllowPrivate: w.AllowPrivate,
	}
}

// Endpoints are the options of all webhooks.
func (c Config) Endpoints() webhook.Options {
	var o webhook.Options
	for _, w := range c.Webhooks {
		o.Endpoints = append(o.Endpoints, w.Endpoint())
	}
	return o
}

// Settings are those of the store of forecasts.
func (f Forecast) Settings() forecast.Settings {
	return forecast.Settings{
		Bucket: f.Bucket.Std(), Buckets: f.Buckets, Hours: f.Hours, Subjects: f.Subjects, LookBack: f.LookBack.Std(),
	}
}

// Duration is a time.Duration written like 500ms or 10s.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is no duration; write it like 500ms or 10s", b)
	}
	*d = Duration(v)
	return nil
}

func (d Duration) String() string { return time.Duration(d).String() }

// Std is the duration as the standard library's.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Default is the configuration of a new node: everything on loopback, with the
// timers that were measured to be best.
func Default() Config {
	f := forecast.DefaultSettings()
	feed := intel.DefaultFeedOptions()
	return Config{
		Node: Node{Moniker: "chancery", LogLevel: "info", LogFormat: "text", GarbagePercent: 400, MemoryLimit: 2 << 30},
		RPC: RPC{
			Listen:         "127.0.0.1:9090",
			MaxConnections: 1024,
			MaxStreams:     64,
			MaxCalls:       2048,
			MaxSubscribers: 256,
			IdentityCalls:  512,
			IdentityRate:   5000,
			MaxMessage:     1<<20 + 64<<10,
			Deadline:       Duration(10 * time.Second),
			MaxDeadline:    Duration(130 * time.Second),
			SlowReader:     Duration(30 * time.Second),
			Handshake:      Duration(5 * time.Second),
			Idle:           Duration(5 * time.Minute),
			Keepalive:      Duration(30 * time.Second),
			Heartbeat:      Duration(5 * time.Second),
		},
		P2P: P2P{
			Listen:       "127.0.0.1:26656",
			AllowPrivate: true,
			MaxInbound:   64,
			SendRate:     50_000_000,
			RecvRate:     50_000_000,
		},
		Consensus: Consensus{
			Propose:        Duration(500 * time.Millisecond),
			ProposeDelta:   Duration(250 * time.Millisecond),
			Vote:           Duration(250 * time.Millisecond),
			VoteDelta:      Duration(250 * time.Millisecond),
			Commit:         Duration(100 * time.Millisecond),
			NextBlockDelay: Duration(25 * time.Millisecond),
			GossipSleep:    Duration(10 * time.Millisecond),
			FlushThrottle:  Duration(time.Millisecond),
			ReapInterval:   Duration(5 * time.Millisecond),
		},
		Signer: Signer{Timeout: Duration(time.Second), WatchBlocks: 2, WatchTime: Duration(5 * time.Second)},
		Pool:   Pool{MaxBytes: 256 << 20, MaxLaneBytes: 64 << 20, MaxWait: Duration(2 * time.Second)},
		State: State{
			Tree:         TreeMemory,
			KeepVersions: 2000,
			KeepBytes:    256 << 20,
			Backend:      "goleveldb",
			BlockCache:   128 << 20,
			NodeCache:    500_000,
			ValueCache:   200_000,
		},
		Pruning:    Pruning{Mode: PruningFull, WindowBlocks: 100_000, Window: Duration(168 * time.Hour)},
		Snapshots:  Snapshots{Interval: 2000, Keep: 2},
		Sync:       Sync{Servers: []string{}, TrustPeriod: Duration(168 * time.Hour)},
		Telemetry:  Telemetry{Listen: "127.0.0.1:26660", Engine: true, TracesFileBytes: 64 << 20, TracesRatio: 0.01},
		Watchdog:   Watchdog{StallSeconds: 15},
		Checkpoint: Checkpoint{Quorum: 1},
		Forecast: Forecast{
			Subjects: f.Subjects, Bucket: Duration(f.Bucket), Buckets: f.Buckets, Hours: f.Hours, LookBack: Duration(f.LookBack),
		},
		Intelligence: Intelligence{
			Poll: Duration(2 * time.Second), LookBack: 2000, Adaptive: true, Budget: intel.DefaultAdaptiveOptions().Budget,
			FeedTimeout: Duration(feed.Timeout), FeedPause: Duration(feed.Interval), FeedQueue: feed.Queue,
			Failures: feed.Failures, OpenFor: Duration(feed.OpenFor), MaxOpen: Duration(feed.MaxOpen),
		},
	}
}

// Load reads the configuration of a home, before which the overrides go, the last of them
// first. A key that is given nowhere has its default; a key that this version does not
// know is an error.
func Load(h Home, overrides ...Override) (Config, error) {
	raw, err := os.ReadFile(h.ConfigFile())
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%s does not exist; make a home with 'chancery init --home %s'", h.ConfigFile(), h)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	c, err := decode(raw)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", h.ConfigFile(), err)
	}
	for _, o := range overrides {
		if err := c.apply(o); err != nil {
			return Config{}, err
		}
	}
	if err := c.Check(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", h.ConfigFile(), err)
	}
	return c, nil
}

// With is the configuration with some values replaced, checked.
func (c Config) With(overrides ...Override) (Config, error) {
	for _, o := range overrides {
		if err := c.apply(o); err != nil {
			return Config{}, err
		}
	}
	return c, c.Check()
}

// Parse reads a configuration file over the defaults and checks it.
func Parse(raw []byte) (Config, error) {
	c, err := decode(raw)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

// decode reads a configuration file over the defaults.
func decode(raw []byte) (Config, error) {
	c := Default()
	// Each table of a list has the defaults before it is read.
	var tables struct {
		OIDC      []struct{} `toml:"oidc"`
		Webhooks  []struct{} `toml:"webhook"`
		Witnesses []struct{} `toml:"witness"`
	}
	if _, err := toml.Decode(string(raw), &tables); err == nil {
		for range tables.OIDC {
			c.OIDC = append(c.OIDC, DefaultOIDC())
		}
		for range tables.Webhooks {
			c.Webhooks = append(c.Webhooks, DefaultWebhook())
		}
		for range tables.Witnesses {
			c.Witnesses = append(c.Witnesses, DefaultWitness())
		}
	}
	meta, err := toml.NewDecoder(bytes.NewReader(raw)).Decode(&c)
	if err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return Config{}, fmt.Errorf("line %d: %s", at.Position.Line, at.Message)
		}
		return Config{}, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		list := make([]string, len(unknown))
		for i, k := range unknown {
			list[i] = k.String() + strings.Replace(didYouMean(k.String(), names()), ";", ",", 1)
		}
		return Config{}, fmt.Errorf("unknown keys: %s; remove them or correct their spelling", strings.Join(list, "; "))
	}
	return c, nil
}

var (
	moniker = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$`)
	nodeID  = regexp.MustCompile(`^[0-9a-f]{40}$`)
	peer    = regexp.MustCompile(`^[0-9a-f]{40}@[^@\s,]+:[0-9]+$`)
)

// Check refuses a configuration that a node could not or should not run with,
// naming the key.
func (c Config) Check() error {
	var faults []error
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(key+": "+format, args...))
		}
	}
	address := func(key, a string) {
		want(validAddress(a), key, "%q is not host:port", a)
	}
	atLeast := func(key string, d, least time.Duration) {
		want(d >= least, key, "%s is too short; at least %s", d, least)
	}

	want(moniker.MatchString(c.Node.Moniker), "node.moniker", "%q must be letters, digits, dots and dashes, at most 64", c.Node.Moniker)
	_, levelErr := Level(c.Node.LogLevel)
	want(levelErr == nil, "node.log_level", "%q must be debug, info, warn or error", c.Node.LogLevel)
	want(c.Node.LogFormat == "text" || c.Node.LogFormat == "json", "node.log_format", "%q must be text or json", c.Node.LogFormat)

	want(c.Node.Workers >= 0 && c.Node.Workers <= 256, "node.workers", "%d, want 0 to 256", c.Node.Workers)
	want(c.Node.GarbagePercent >= LeastGarbagePercent && c.Node.GarbagePercent <= 10_000, "node.garbage_percent", "%d, want %d to 10000", c.Node.GarbagePercent, LeastGarbagePercent)
	want(c.Node.MemoryLimit == 0 || c.Node.MemoryLimit >= 64<<20, "node.memory_limit_bytes", "%d, want 0 or at least 67108864", c.Node.MemoryLimit)

	r := c.RPC
	if r.Listen != "" {
		address("rpc.listen", r.Listen)
		want(r.TLS() || Loopback(r.Listen), "rpc.listen", "%s is not loopback, so it needs tls_cert and tls_key", r.Listen)
	}
	if l := c.REST.Listen; l != "" {
		address("rest.listen", l)
		want(r.TLS() || Loopback(l), "rest.listen", "%s is not loopback, so it needs rpc.tls_cert and rpc.tls_key", l)
		want(l != r.Listen || strings.HasSuffix(l, ":0"), "rest.listen", "%s is rpc.listen too", l)
	}
	want((r.TLSCert == "") == (r.TLSKey == ""), "rpc.tls_cert", "tls_cert and tls_key go together")
	want(r.TLS() || r.ClientCA == "", "rpc.client_ca", "only a door with tls_cert and tls_key asks for certificates")
	want(r.IdentityCalls >= 0, "rpc.max_identity_calls", "must not be negative")
	want(r.IdentityRate >= 0, "rpc.max_identity_rate", "must not be negative")
	want(r.MaxConnections > 0 && r.MaxConnections <= 1_000_000, "rpc.max_connections", "%d, want 1 to 1000000", r.MaxConnections)
	want(r.MaxStreams > 0 && r.MaxStreams <= 10_000, "rpc.max_streams", "%d, want 1 to 10000", r.MaxStreams)
	want(r.MaxCalls > 0, "rpc.max_calls", "must be positive")
	want(r.MaxSubscribers > 0, "rpc.max_subscribers", "must be positive")
	want(r.MaxMessage >= 64<<10 && r.MaxMessage <= 64<<20, "rpc.max_message_bytes", "%d, want 65536 to 67108864", r.MaxMessage)
	atLeast("rpc.deadline", r.Deadline.Std(), 100*time.Millisecond)
	want(r.MaxDeadline >= r.Deadline, "rpc.max_deadline", "must be at least rpc.deadline")
	atLeast("rpc.slow_reader", r.SlowReader.Std(), 100*time.Millisecond)
	atLeast("rpc.handshake", r.Handshake.Std(), 100*time.Millisecond)
	atLeast("rpc.idle", r.Idle.Std(), time.Second)
	atLeast("rpc.keepalive", r.Keepalive.Std(), time.Second)
	atLeast("rpc.heartbeat", r.Heartbeat.Std(), 100*time.Millisecond)

	address("p2p.listen", c.P2P.Listen)
	if c.P2P.ExternalAddress != "" {
		address("p2p.external_address", c.P2P.ExternalAddress)
	}
	for _, p := range c.P2P.PersistentPeers {
		want(peer.MatchString(p), "p2p.persistent_peers", "%q is not NODEID@HOST:PORT with a node id of 40 hexadecimal digits in lower case", p)
	}
	want(c.P2P.MaxInbound > 0, "p2p.max_inbound", "must be positive")
	want(c.P2P.SendRate >= 1<<20, "p2p.send_rate", "%d, want at least 1048576", c.P2P.SendRate)
	want(c.P2P.RecvRate >= 1<<20, "p2p.recv_rate", "%d, want at least 1048576", c.P2P.RecvRate)

	k := c.Consensus
	atLeast("consensus.timeout_propose", k.Propose.Std(), 20*time.Millisecond)
	atLeast("consensus.timeout_propose_delta", k.ProposeDelta.Std(), time.Millisecond)
	atLeast("consensus.timeout_vote", k.Vote.Std(), 10*time.Millisecond)
	atLeast("consensus.timeout_vote_delta", k.VoteDelta.Std(), time.Millisecond)
	atLeast("consensus.timeout_commit", k.Commit.Std(), 0)
	want(k.NextBlockDelay >= 0 && k.NextBlockDelay <= k.Propose/2, "consensus.next_block_delay", "%s, want 0s to half of consensus.timeout_propose, in which the others wait for the proposal", k.NextBlockDelay.Std())
	atLeast("consensus.gossip_sleep", k.GossipSleep.Std(), time.Millisecond)
	atLeast("consensus.flush_throttle", k.FlushThrottle.Std(), 100*time.Microsecond)
	atLeast("consensus.reap_interval", k.ReapInterval.Std(), time.Millisecond)
	want(k.DoubleSignHeights >= 0, "consensus.double_sign_check_height", "must not be negative")

	c.Signer.check(want)
	want(c.Pool.MaxBytes >= 1<<20, "pool.max_bytes", "%d, want at least 1048576", c.Pool.MaxBytes)
	atLeast("pool.max_wait", c.Pool.MaxWait.Std(), 0)
	want(c.Pool.MaxLaneBytes >= 1<<20 && c.Pool.MaxLaneBytes <= c.Pool.MaxBytes, "pool.max_organisation_bytes", "%d, want 1048576 to pool.max_bytes", c.Pool.MaxLaneBytes)

	want(c.State.Backend == "pebble" || c.State.Backend == "goleveldb", "state.backend", "%q must be pebble or goleveldb", c.State.Backend)
	want(c.State.Tree == TreeDisk || c.State.Tree == TreeMemory, "state.tree", "%q must be disk or memory", c.State.Tree)
	want(c.State.KeepVersions > 0 && c.State.KeepVersions <= 1_000_000, "state.keep_versions", "%d, want 1 to 1000000", c.State.KeepVersions)
	want(c.State.KeepBytes > 0, "state.keep_bytes", "must be positive")
	want(c.State.MemoryBytes >= 0, "state.memory_bytes", "%d, want 0 or more", c.State.MemoryBytes)
	want(c.State.BlockCache >= 1<<20, "state.block_cache", "%d, want at least 1048576", c.State.BlockCache)
	want(c.State.NodeCache > 0, "state.node_cache", "must be positive")
	want(c.State.ValueCache > 0, "state.value_cache", "must be positive")

	u := c.Pruning
	want(u.Mode == PruningArchive || u.Mode == PruningFull || u.Mode == PruningPruned, "pruning.mode", "%q must be archive, full or pruned", u.Mode)
	want(u.Mode != PruningArchive || c.State.Tree == TreeDisk, "pruning.mode", "an archive keeps every version of the state, so it needs state.tree = \"disk\"")
	want(u.WindowBlocks >= consensus.MinWindow, "pruning.window_blocks", "%d, want at least %d", u.WindowBlocks, consensus.MinWindow)
	atLeast("pruning.window", u.Window.Std(), 0)
	want(u.DiskBytes == 0 || u.DiskBytes >= MinDiskBytes, "pruning.disk_bytes", "%d, want 0 or at least %d", u.DiskBytes, MinDiskBytes)

	want(c.Snapshots.Interval >= 0, "snapshots.interval", "must not be negative")
	want(c.Snapshots.Keep >= 1 && c.Snapshots.Keep <= 10, "snapshots.keep", "%d, want 1 to 10", c.Snapshots.Keep)
	if s := c.Sync; s.Enabled() {
		want(len(s.Servers) >= 2, "sync.servers", "one server could lie unseen; name at least two members' nodes")
		for i, a := range s.Servers {
			address("sync.servers", a)
			want(!slices.Contains(s.Servers[:i], a), "sync.servers", "%s is named twice, and would be compared with itself", a)
		}
		want(s.TrustHeight > 0, "sync.trust_height", "must be positive")
		hash, err := hex.DecodeString(s.TrustHash)
		want(err == nil && len(hash) == 32, "sync.trust_hash", "%q is not 64 hexadecimal digits", s.TrustHash)
		atLeast("sync.trust_period", s.TrustPeriod.Std(), time.Hour)
		want(len(c.P2P.PersistentPeers) > 0, "sync.servers", "snapshots come from peers; list some in p2p.persistent_peers")
	}

	if c.Telemetry.Listen != "" {
		address("telemetry.listen", c.Telemetry.Listen)
		want(Loopback(c.Telemetry.Listen), "telemetry.listen", "%s is not loopback; let a collector on this machine read it", c.Telemetry.Listen)
	}
	if e := c.Telemetry.Traces; e != "" {
		err := trace.CheckEndpoint(e)
		want(err == nil, "telemetry.traces_endpoint", "%v", err)
		host, plain := strings.CutPrefix(e, "http://")
		want(err != nil || !plain || Loopback(strings.TrimSuffix(host, "/")), "telemetry.traces_endpoint", "%s is not loopback, so it needs https", e)
	}
	want(c.Telemetry.TracesRatio >= 0 && c.Telemetry.TracesRatio <= 1, "telemetry.traces_ratio", "%v, want 0 to 1", c.Telemetry.TracesRatio)
	want(c.Telemetry.TracesFileBytes >= 1<<20, "telemetry.traces_file_bytes", "%d, want at least 1048576", c.Telemetry.TracesFileBytes)
	want(c.Watchdog.StallSeconds > 0, "watchdog.stall_seconds", "must be positive")
	want(c.Watchdog.ExitSeconds == 0 || c.Watchdog.ExitSeconds > c.Watchdog.StallSeconds, "watchdog.exit_seconds", "must be 0 or more than stall_seconds")
	if f := c.Forecast.Settings(); f.Subjects != 0 {
		if err := f.Check(); err != nil {
			faults = append(faults, fmt.Errorf("forecast.%w", err))
		}
	}
	each := func(prefix string, err error) {
		if all, ok := err.(interface{ Unwrap() []error }); ok {
			for _, err := range all.Unwrap() {
				faults = append(faults, fmt.Errorf("%s%w", prefix, err))
			}
		} else if err != nil {
			faults = append(faults, fmt.Errorf("%s%w", prefix, err))
		}
	}
	i := c.Intelligence
	want(i.Poll.Std() >= 100*time.Millisecond, "intelligence.poll", "%s is too short; at least 100ms", i.Poll)
	want(i.LookBack >= 0 && i.LookBack <= 1_000_000, "intelligence.look_back_blocks", "%d, want 0 to 1000000", i.LookBack)
	file := func(key, path string) {
		_, err := intel.FormatOf(path)
		want(path == "" || err == nil, key, "%v", err)
	}
	file("intelligence.indicators", i.Indicators)
	file("intelligence.opinions", i.Opinions)
	each("intelligence.adaptive_", i.AdaptiveOptions().Check())
	each("intelligence.feed_", i.FeedOptions().Check())
	for i, o := range c.OIDC {
		_, err := o.Provider()
		want(err == nil, "oidc", "issuer %q: %v", o.Issuer, err)
		want(r.TLS(), "oidc", "issuer %q: without rpc.tls_cert and rpc.tls_key the doors take no tokens, which others could read", o.Issuer)
		want(o.Keys == "" || o.CA == "", "oidc", "issuer %q: nobody is called where keys are in a file, so tls_ca has no effect", o.Issuer)
		want(!slices.ContainsFunc(c.OIDC[:i], func(b OIDC) bool { return b.Issuer == o.Issuer }), "oidc", "issuer %q is given twice", o.Issuer)
	}
	each("webhook: ", c.Endpoints().Check())
	c.checkWitnesses(want)
	return errors.Join(faults...)
}

func (s Signer) check(want func(ok bool, key, format string, args ...any)) {
	want(s.Timeout.Std() >= 50*time.Millisecond && s.Timeout.Std() <= 10*time.Second, "signer.timeout", "%s, want 50ms to 10s", s.Timeout)
	want(s.WatchBlocks >= 0 && s.WatchBlocks <= 1000, "signer.watch_blocks", "%d, want 0 to 1000", s.WatchBlocks)
	want(s.WatchBlocks == 0 || s.WatchTime.Std() >= time.Second, "signer.watch_time", "%s is too short; at least 1s", s.WatchTime)
	if !s.Remote() {
		want(s.PublicKey == "" && s.ID == "", "signer.listen", "public_key and id are of a signer; say with listen where it is awaited")
		return
	}
	network, _, err := signer.SplitAddress(s.Listen)
	want(err == nil, "signer.listen", "%v", err)
	key, err := hex.DecodeString(s.PublicKey)
	want(err == nil && len(key) == ed25519.PubKeySize, "signer.public_key", "%q is not 64 hexadecimal digits; 'chancery signer show' prints it", s.PublicKey)
	want(network != "tcp" || nodeID.MatchString(s.ID), "signer.id", "%q is not 40 hexadecimal digits in lower case; 'chancery signer show' prints it", s.ID)
	want(network != "unix" || s.ID == "", "signer.id", "a Unix socket is guarded by its permissions; leave id out")
}

// TLS tells whether the door has a certificate and its key.
func (r RPC) TLS() bool { return r.TLSCert != "" && r.TLSKey != "" }

func validAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
}

// Loopback tells whether a listen address accepts connections of this machine
// alone. A name other than localhost is taken to be another machine's.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
