package config

import (
	"fmt"
	"os"
	"path/filepath"
)

// Home is a node's folder.
type Home string

// The engine's paths, relative to the home.
const (
	genesisPath        = "config/genesis.json"
	nodeKeyPath        = "config/node_key.json"
	nextNodeKeyPath    = "config/node_key.next.json"
	lastNodeKeyPath    = "config/node_key.last.json"
	validatorKeyPath   = "config/priv_validator_key.json"
	validatorStatePath = "data/priv_validator_state.json"
	dataPath           = "data"
	// The engine names one of its stores "state" too.
	enginePath = "data/engine"
)

func (h Home) path(p string) string { return filepath.Join(string(h), filepath.FromSlash(p)) }

// ConfigFile is the configuration file.
func (h Home) ConfigFile() string { return h.path("config/chancery.toml") }

// GenesisFile is the genesis document.
func (h Home) GenesisFile() string { return h.path(genesisPath) }

// IndicatorFile is the file of indicators that 'chancery intel import' writes where no
// other is named.
func (h Home) IndicatorFile() string { return h.path("config/indicators.jsonl") }

// OpinionFile is the file of what the operator says of others, that 'chancery intel
// opine' writes where no other is named.
func (h Home) OpinionFile() string { return h.path("config/opinions.jsonl") }

// Resolve is a path of the configuration, which is relative to the home.
func (h Home) Resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return h.path(path)
}

// NodeKeyFile is the peer-to-peer key.
func (h Home) NodeKeyFile() string { return h.path(nodeKeyPath) }

// NextNodeKeyFile is the peer-to-peer key that a start takes once the chain binds it.
// Mostly there is none.
func (h Home) NextNodeKeyFile() string { return h.path(nextNodeKeyPath) }

// LastNodeKeyFile is the peer-to-peer key before the latest change.
func (h Home) LastNodeKeyFile() string { return h.path(lastNodeKeyPath) }

// ValidatorKeyFile is the key that signs blocks.
func (h Home) ValidatorKeyFile() string { return h.path(validatorKeyPath) }

// ValidatorStateFile is what the validator key signed last. A validator that is
// started without it, or with an old copy, may sign two blocks of one height.
func (h Home) ValidatorStateFile() string { return h.path(validatorStatePath) }

// NextValidatorKeyFile is the key that is to take the place of the validator key; see
// docs/keys.md.
func (h Home) NextValidatorKeyFile() string { return h.path("config/next_validator_key.json") }

// NextValidatorStateFile is what that key signed last.
func (h Home) NextValidatorStateFile() string { return h.path("data/next_validator_state.json") }

// RetiredKeys is the folder of validator keys whose place another has taken.
func (h Home) RetiredKeys() string { return h.path("config/retired") }

// Data is the folder of the databases.
func (h Home) Data() string { return h.path(dataPath) }

// DiskTree is the folder of a state tree on disk. A home has one of this and
// MemoryTree.
func (h Home) DiskTree() string { return h.path("data/state.db") }

// MemoryTree is the folder of a state tree in memory.
func (h Home) MemoryTree() string { return h.path("data/state.memory") }

// FolderLock is the name of the file in MemoryTree whose lock the node holds.
const FolderLock = "LOCK"

// Engine is the folder of the consensus engine's databases.
func (h Home) Engine() string { return h.path(enginePath) }

// LockFile is the file whose lock a running node holds.
func (h Home) LockFile() string { return h.path("data/node.lock") }

// RestoredFile says that the home was restored from a backup, and when its validator may
// sign again.
func (h Home) RestoredFile() string { return h.path("data/restored.json") }

// AdminSocket is the socket of a running node for the operator of this machine.
func (h Home) AdminSocket() string { return h.path("data/admin.sock") }

// Judgement is the folder of what the node believes of others.
func (h Home) Judgement() string { return h.path("data/judgement") }

// Webhooks is the folder of how far each webhook is.
func (h Home) Webhooks() string { return h.path("data/webhooks") }

// Checkpoints is the folder of the log of blocks and of what was signed of it.
func (h Home) Checkpoints() string { return h.path("data/checkpoints") }

// CheckpointKeyFile is the key that signs checkpoints. Mostly there is none.
func (h Home) CheckpointKeyFile() string { return h.path("config/checkpoint_key") }

// Snapshots is the folder of copies of the state for nodes that join.
func (h Home) Snapshots() string { return h.path("data/snapshots") }

// RestoringFile is in the home while its state is being restored from a snapshot. A node
// that finds it at its start empties the data folder and begins again.
func (h Home) RestoringFile() string { return h.path("data/restoring") }

// SyncFolder is where chunks of a snapshot wait while the state is restored.
func (h Home) SyncFolder() string { return h.path("data/sync") }

// Keyring is the folder of people's keys.
func (h Home) Keyring() string { return h.path("keyring") }

// Create makes the folders, readable by the owner alone.
func (h Home) Create() error {
	for _, dir := range []string{h.path("config"), h.Data(), h.Keyring()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create the home: %w", err)
		}
	}
	return nil
}
