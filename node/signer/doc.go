// Package signer keeps a validator's key out of the node's process. Both sides of CometBFT's
// remote signer protocol are here: Remote, by which a node has its votes signed, and Serve,
// the process that holds the key, in a file or in a PKCS#11 token.
//
// The signer dials the node. Over TCP both sides authenticate: the node names the signer's
// connection key in its configuration, the signer names the node's id, and neither talks to
// anybody else. A Unix socket is guarded by the permissions of its file.
//
// What may be signed is decided where the key is: Guarded writes height, round and step to
// disk before a signature leaves it, and signs nothing that is not beyond them. A node keeps
// such a record of its own of what it had signed; see Recorded.
//
// Both sides are written here, on the engine's messages, its request handler and its
// authenticated connection: the engine's own listener makes consensus wait for seconds while
// no signer is connected, and its dialer does not notice that a connection has ended.
package signer
