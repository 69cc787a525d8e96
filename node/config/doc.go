// Package config is a node's home folder, its configuration file and its genesis
// file, and what the consensus engine is told on their account.
//
//	<home>/config/chancery.toml              Config; every key is in docs/operating.md
//	<home>/config/genesis.json               the consortium's genesis document
//	<home>/config/node_key.json              the key that peers know the node by
//	<home>/config/priv_validator_key.json    the key that signs blocks
//	<home>/data/priv_validator_state.json    what that key signed last
//	<home>/data/state.db, records.db         state and records
//	<home>/data/state.memory/                the state, where it is held in memory
//	<home>/data/engine/                      the engine's stores and its log
//	<home>/keyring/                          keys of people, encrypted
package config
