// Package state is Chancery's typed state: collections declared over a schema,
// an ordered overlay that gathers a block's writes, and one authenticated tree
// that commits them.
//
// A key in the tree is
//
//	module prefix (1 byte) || collection prefix (1 byte) || encoded key
//
// and a value is the canonical protobuf encoding of one message (or a raw
// big-endian integer, or a byte string, as the collection's codec says). Every
// single key therefore has one ICS23 proof, of presence or of absence, against
// the root hash that validators sign.
//
// # Trees
//
// A Tree is on disk (OpenIAVL) or in memory (OpenMemory). Both have the same roots
// and proofs after the same changes, so that nodes with different ones agree. A tree
// in memory writes each version to a log and from time to time an image of all, and
// keeps the latest versions alone. Its nodes lie in slabs, where the collector of garbage
// does not look at each; those of a version are used for others once nobody has a Snapshot
// of it any more.
//
// # Faults
//
// Reads and writes do not return errors. A disk that fails or bytes that do not
// decode are not a user's mistake but corrupt state; they panic with a *Fault,
// which nothing between the collection and the process recovers while a block is
// executed, so that the node halts loudly instead of voting on a guess. Query
// servers recover a *Fault at their boundary and answer with an internal error.
package state
