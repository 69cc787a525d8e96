// Package checkpoint keeps a transparency log of a chain's blocks and publishes its head for
// witnesses outside of the consortium to co-sign.
//
// The log is a Merkle tree (RFC 6962) whose leaf i is about block i+1; see Leaf. Its head is a
// checkpoint (https://c2sp.org/tlog-checkpoint), a note (https://c2sp.org/signed-note) that a
// key of the node's own signs and witnesses co-sign (https://c2sp.org/tlog-cosignature, Ed25519,
// over https://c2sp.org/tlog-witness). The text of a checkpoint depends on the chain and the
// number of blocks alone, so all nodes of a chain give the same. Proofs of inclusion are files
// of https://c2sp.org/tlog-proof, proofs of consistency are bodies of add-checkpoint, and who
// is believed is said by a policy of https://c2sp.org/tlog-policy.
//
// It knows no engine: blocks come through the interface Chain.
package checkpoint
