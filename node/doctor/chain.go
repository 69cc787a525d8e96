package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/node/telemetry"
)

const (
	// mostSkew is how far clocks may be apart: blocks carry the median of validators'
	// clocks, and what is valid until a moment depends on it.
	mostSkew = 2 * time.Second
	// mostBehind is how many blocks a node may be behind that has caught up.
	mostBehind = 20
)

var trapChecks = []Check{
	{
		Code: "trap-nosync", Level: Warning, Needs: needsConfig, What: "Blocks are on disk before they count: state.nosync is false.",
		Remedy: "Set state.nosync = false. A power failure may otherwise cost the node its state.",
		look: func(_ context.Context, e *exam) []string {
			if e.config.State.NoSync {
				return one("state.nosync is true")
			}
			return nil
		},
	},
	{
		Code: "trap-double-sign-heights", Level: Warning, Needs: needsConfig, What: "consensus.double_sign_check_height is 0: with more, validators that stop together never start again.",
		Remedy: "Set it to 0. The guard of the validator key is always on; see 'Two processes with one key' in docs/operating.md.",
		look: func(_ context.Context, e *exam) []string {
			if n := e.config.Consensus.DoubleSignHeights; n > 0 {
				return one("consensus.double_sign_check_height is %d", n)
			}
			return nil
		},
	},
	{
		Code: "trap-watch", Level: Warning, Needs: needsConfig, What: "A validator looks for a copy of itself before it signs: signer.watch_blocks is not 0.",
		Remedy: "Set signer.watch_blocks = 2.",
		look: func(_ context.Context, e *exam) []string {
			if e.config.Signer.WatchBlocks == 0 {
				return one("signer.watch_blocks is 0")
			}
			return nil
		},
	},
	{
		Code: "trap-exit", Level: Warning, Needs: needsConfig, What: "The node does not exit for want of a quorum, which a restart does not mend: watchdog.exit_seconds is 0 or at least 300.",
		Remedy: "Set watchdog.exit_seconds = 0, or 300 and more.",
		look: func(_ context.Context, e *exam) []string {
			if n := e.config.Watchdog.ExitSeconds; n > 0 && n < 300 {
				return one("watchdog.exit_seconds is %d", n)
			}
			return nil
		},
	},
	{
		Code: "trap-telemetry", Level: Warning, Needs: needsConfig, What: "The node can be watched: telemetry.listen is set.",
		Remedy: "Set telemetry.listen, such as 127.0.0.1:26660: without it there are no metrics, no alerts, and 'chancery health' cannot ask.",
		look: func(_ context.Context, e *exam) []string {
			if e.config.Telemetry.Listen == "" {
				return one("telemetry.listen is empty")
			}
			return nil
		},
	},
	{
		Code: "door", Level: Fault, Needs: needsConfig, What: "The door for clients has TLS, or the configuration asks for development: otherwise the node does not start.",
		Remedy: "Set rpc.tls_cert and rpc.tls_key; 'chancery certs issue' makes both. For development on this machine alone, set rpc.development = true.",
		look: func(_ context.Context, e *exam) []string {
			if r := e.config.RPC; (r.Listen != "" || e.config.REST.Listen != "") && !r.TLS() && !r.Development {
				return one("rpc.listen is %s, with neither TLS nor rpc.development", r.Listen)
			}
			return nil
		},
	},
	{
		Code: "trap-insecure", Level: Warning, Needs: needsConfig, What: "The door for clients has TLS.",
		Remedy: "Set rpc.tls_cert and rpc.tls_key. Without them any program on this machine may do what clients do.",
		look: func(_ context.Context, e *exam) []string {
			if e.config.RPC.Listen != "" && !e.config.RPC.TLS() {
				return one("rpc.listen is %s, without TLS", e.config.RPC.Listen)
			}
			return nil
		},
	},
	{
		Code: "trap-log", Level: Warning, Needs: needsConfig, What: "The log is at a level that a disk and a reader bear: not debug.",
		Remedy: "Set node.log_level = \"info\"; change the level of a running node with 'chancery loglevel' when something is to be found.",
		look: func(_ context.Context, e *exam) []string {
			if e.config.Node.LogLevel == "debug" {
				return one("node.log_level is debug")
			}
			return nil
		},
	},
	{
		Code: "trap-pprof", Level: Warning, Needs: needsConfig, What: "Profiles are not served: telemetry.pprof is false.",
		Remedy: "Set telemetry.pprof = false when you are done: a profile shows what is in memory, and costs time.",
		look: func(_ context.Context, e *exam) []string {
			if e.config.Telemetry.Pprof {
				return one("telemetry.pprof is true")
			}
			return nil
		},
	},
	{
		Code: "trap-environment", Level: Warning, What: "The environment does not change how the process collects garbage: GOGC and GOMEMLIMIT are unset.",
		Remedy: "Unset the variable, and set node.garbage_percent and node.memory_limit_bytes instead.",
		look: func(_ context.Context, e *exam) (found []string) {
			if e.Lookup == nil {
				return nil
			}
			for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
				if v, ok := e.Lookup(name); ok && v != "" {
					found = append(found, name+" is "+v+", and goes before the configuration")
				}
			}
			return found
		},
	},
	{
		Code: "trap-engine-file", Level: Warning, What: "There is no config/config.toml: the engine reads no file of its own, so what is in one has no effect (mempool type, empty blocks, adaptive_sync, libp2p).",
		Remedy: "Remove the file, and set what is meant in config/chancery.toml, as far as it can be chosen.",
		look: func(_ context.Context, e *exam) []string {
			path := strings.TrimSuffix(e.Home.ConfigFile(), "chancery.toml") + "config.toml"
			if missing(path) {
				return nil
			}
			return one("%s is there and is not read", path)
		},
	},
}

var chainChecks = []Check{
	{
		Code: "health", Level: Fault, Needs: needsRunning, What: "The node takes part.",
		Remedy: "waiting: too few validators are online; ask the other members. stuck: its peers get on without it; read the log, and restart it. halted: read the log before anything else. See docs/runbooks.md.",
		look: func(_ context.Context, e *exam) []string {
			if e.health.State == telemetry.Healthy || e.health.State == telemetry.CatchingUp {
				return nil
			}
			return one("the node is %s: %s", e.health.State, e.health.Reason)
		},
	},
	{
		Code: "behind", Level: Warning, Needs: needsRunning, What: "The node is in step with its peers.",
		Remedy: "Wait while it catches up. If it does not, look for a slow disk or processor: chancery_block_finalize_seconds and chancery_block_commit_seconds tell.",
		look: func(_ context.Context, e *exam) []string {
			if e.health.Behind > mostBehind || e.health.CatchingUp {
				return one("it is at block %d, and a peer has %d more", e.health.Height, e.health.Behind)
			}
			return nil
		},
	},
	{
		Code: "peers-connected", Level: Warning, Needs: needsRunning, What: "All listed peers are connected.",
		Remedy: "See what peers-reachable says. A peer that is reached and not connected is bound to no active organisation on the chain (identity bind-node), or this node is not.",
		look: func(_ context.Context, e *exam) []string {
			listed, ok := e.metric("chancery_peers_listed")
			if connected, known := e.metric("chancery_node_peers"); ok && known && connected < listed {
				return one("%.0f of %.0f are connected", connected, listed)
			}
			return nil
		},
	},
	{
		Code: "clock", Level: Fault, What: "The clock is within 2 s of the other validators'.",
		Remedy: "Let a time service (chrony, systemd-timesyncd) keep the clock, and see that it does: chronyc tracking, timedatectl.",
		look:   func(_ context.Context, e *exam) []string { return e.clock() },
	},
	{
		Code: "quorum", Level: Warning, Needs: needsRunning, What: "All validators sign.",
		Remedy: "'chancery status' names who is missing; ask that member. More than a third of the power missing stops the chain.",
		look: func(_ context.Context, e *exam) []string {
			all, ok := e.metric("chancery_validators_power")
			if signed, known := e.metric("chancery_validators_signed_power"); ok && known && signed < all {
				return one("%.0f of %.0f of the voting power signed the latest block", signed, all)
			}
			return nil
		},
	},
	{
		Code: "validator", Level: Warning, Needs: needsRunning, What: "The key of this home is a validator's.",
		Remedy: "Let the consortium bind it (identity bind-validator); on a node that is meant to follow alone, ignore this.",
		look: func(_ context.Context, e *exam) []string {
			if power, ok := e.metric("chancery_validators_self_power"); ok && power == 0 {
				return one("the key has no voting power")
			}
			return nil
		},
	},
	{
		Code: "signer", Level: Fault, Needs: needsRunning, What: "The process that signs for the node is connected.",
		Remedy: "Start it (chancery signer start), and read its log and the node's: both say whom they refuse and why. See docs/keys.md.",
		look: func(_ context.Context, e *exam) []string {
			if connected, ok := e.metric("chancery_signer_connected"); ok && connected == 0 {
				return one("it is away, and the validator signs nothing")
			}
			return nil
		},
	},
	{
		Code: "model", Level: Warning, Needs: needsRunning, What: "Where verdicts count, a model is active, and the breaker is closed.",
		Remedy: "Register and activate a model (chancery model register, chancery gov), or have the consortium reset the breaker (threat reset-breaker) when the cause is found; see docs/threat.md.",
		look: func(_ context.Context, e *exam) (found []string) {
			if mode, ok := e.metric("chancery_scorer_mode_set"); !ok || mode < 2 {
				return nil
			}
			if active, ok := e.metric("chancery_scorer_model_active"); ok && active == 0 {
				found = append(found, "no model is active that can score")
			}
			if open, ok := e.metric("chancery_scorer_breaker_open"); ok && open == 1 {
				found = append(found, "the circuit breaker is open: verdicts are logged and not carried out")
			}
			return found
		},
	},
	{
		Code: "members-answer", Level: Warning, Needs: needsPeers, What: "The nodes that --peer names answer.",
		Remedy: "Correct the address, or show a certificate that the node accepts (--tls-ca, --tls-cert, --tls-key).",
		look: func(_ context.Context, e *exam) (found []string) {
			for _, p := range e.peers {
				if p.Err != nil {
					found = append(found, fmt.Sprintf("%s: %v", p.Address, p.Err))
				}
			}
			return found
		},
	},
	{
		Code: "genesis-agrees", Level: Fault, Needs: needsPeers, What: "The genesis file is the members', byte for byte.",
		Remedy: "Get the file from another member ('chancery genesis show --node HOST:PORT'), compare its hash with what the consortium agreed on, and put it in place; then 'chancery reset'.",
		look: func(_ context.Context, e *exam) (found []string) {
			for _, p := range e.peers {
				if p.Err == nil && e.genesisErr == nil && len(p.Genesis) > 0 && !bytes.Equal(p.Genesis, e.genesisHash[:]) {
					found = append(found, fmt.Sprintf("%s has the genesis file %x of %q, here is %x of %q", p.Address, p.Genesis[:8], p.Status.ChainId, e.genesisHash[:8], e.genesis.ChainID))
				}
			}
			return found
		},
	},
	{
		Code: "version-agrees", Level: Warning, Needs: needsPeers, What: "The members run the same version.",
		Remedy: "Agree with the members when to upgrade, and run the version that they run.",
		look: func(_ context.Context, e *exam) (found []string) {
			for _, p := range e.peers {
				if p.Err == nil && e.Version != "" && p.Status.Version != e.Version {
					found = append(found, fmt.Sprintf("%s runs %s, this program is %s", p.Address, p.Status.Version, e.Version))
				}
			}
			return found
		},
	},
	{
		Code: "upgrade", Level: Fault, What: "The program knows the version of the state machine that the chain runs, and the one that an upgrade leads to.",
		Remedy: "Upgrade needed: install the release that the consortium decided on before the upgrade's height, and start it in the same home; 'chancery upgrade status' tells name, height and version, and docs/upgrades.md the rest.",
		look:   func(ctx context.Context, e *exam) []string { return e.upgrade(ctx) },
	},
	{
		Code: "upgrade-agrees", Level: Warning, Needs: needsRunning, What: "The members find one root in their dry runs of the upgrade that is to come, and none fails.",
		Remedy: "'chancery upgrade status' names who found what. Compare the programs with the checksums of the release, and take the plan back if it stays so.",
		look: func(_ context.Context, e *exam) (found []string) {
			if differ, _ := e.metric("chancery_upgrade_disagreement"); differ == 1 {
				found = append(found, "organisations found different roots on one state")
			}
			if failed, _ := e.metric("chancery_upgrade_failed_power"); failed > 0 {
				found = append(found, fmt.Sprintf("the dry runs of organisations with %.0f of the voting power failed", failed))
			}
			return found
		},
	},
	{
		Code: "foreign-signature", Level: Fault, Needs: needsPeers, What: "No block carries a signature of this home's validator key that this home did not make.",
		Remedy: "Do not start the node. Find and stop the other process that uses the key; then follow 'Two processes with one key' in docs/operating.md.",
		look:   func(ctx context.Context, e *exam) []string { return e.foreign(ctx) },
	},
}

// upgrade tells whether the program can go on, of a running node by what it measures.
func (e *exam) upgrade(ctx context.Context) []string {
	if e.running {
		height, _ := e.metric("chancery_upgrade_height")
		version, _ := e.metric("chancery_upgrade_version")
		if stopped, _ := e.metric("chancery_upgrade_stopped"); stopped == 1 {
			return one("the node stopped: %s", e.health.Reason)
		}
		if needed, _ := e.metric("chancery_upgrade_needed"); needed == 1 {
			return one("the program does not know version %.0f of the state machine, which is in force from block %.0f on", version, height)
		}
		return nil
	}
	if e.locked || e.Executable == nil {
		return nil
	}
	if err := e.Executable(ctx); err != nil {
		return one("%v", err)
	}
	return nil
}

// clock compares this machine's with the running node's measurement and with peers.
func (e *exam) clock() (found []string) {
	if s, ok := e.metric("chancery_node_clock_offset_seconds"); ok && time.Duration(s*float64(time.Second)).Abs() > mostSkew {
		found = append(found, fmt.Sprintf("it is %.1f s off the other validators' (ahead where positive)", s))
	}
	for _, p := range e.peers {
		if p.Err != nil || p.Status.Time == 0 {
			continue
		}
		// The peer's latest block is as old as it says; so this is its consensus' time now.
		theirs := time.UnixMilli(p.Status.Time).Add(time.Duration(p.Status.LatestBlockAgeMs) * time.Millisecond)
		if off := p.At.Sub(theirs); off.Abs() > mostSkew+time.Second {
			found = append(found, fmt.Sprintf("it is %s off the time of %s (ahead where positive)", off.Round(100*time.Millisecond), p.Address))
		}
	}
	return found
}

// foreign looks at the latest block of the peers.
func (e *exam) foreign(ctx context.Context) (found []string) {
	raw, err := os.ReadFile(e.Home.ValidatorKeyFile())
	if err != nil {
		return nil // validator-key says so
	}
	var key struct {
		Address types.Address `json:"address"`
	}
	last, err := e.lastSigned()
	if err != nil || json.Unmarshal(raw, &key) != nil {
		return nil // validator-state says so
	}
	for _, p := range e.peers {
		if p.Err != nil || p.Light == nil {
			continue
		}
		for _, s := range p.Light.Commit.Signatures {
			if s.BlockIDFlag != types.BlockIDFlagCommit || !bytes.Equal(s.ValidatorAddress, key.Address) {
				continue
			}
			// The home may sign on while the peer is asked.
			if now, err := e.lastSigned(); err == nil {
				last = now
			}
			if p.Light.Height > last {
				found = append(found, fmt.Sprintf("block %d at %s is signed with it, and this home signed nothing after block %d", p.Light.Height, p.Address, last))
			}
		}
	}
	return found
}

// validatorsOf counts the validators of a genesis state.
func validatorsOf(appState json.RawMessage) int {
	var sections struct {
		Identity struct {
			Validators []json.RawMessage `json:"validators"`
		} `json:"identity"`
	}
	if json.Unmarshal(appState, &sections) != nil {
		return 0
	}
	return len(sections.Identity.Validators)
}
