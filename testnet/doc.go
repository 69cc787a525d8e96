// Package testnet runs a network of validator processes on this machine, for
// people who want to see one and for tests that need a real one.
//
// A network lives in a folder of its own:
//
//	testnet.json     Record: the members, their ports and their processes
//	passphrase       of every keyring below; for tests only, mode 0600
//	validator-0/     home of the first member's node, see package node/config
//	  node.log       what the node writes
//	  keyring/       the member's keys: admin-1, admin-2, registrar
//	receipts/        what the demonstration proved
//	.lock            held while testnet.json is read and changed
//	.making          there while the folder is being made
//
// A process is known by its id and the time at which it was started, so that one
// that took the id of another is never signalled.
package testnet
