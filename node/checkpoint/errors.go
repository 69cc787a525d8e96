package checkpoint

import "github.com/chancery/chancery/chain/errs"

// What is wrong with checkpoints, proofs and what they are verified with. Codes are permanent.
var (
	Errors = errs.Module("checkpoint")

	ErrNotCheckpoint = Errors.New(2, "the text is no checkpoint (https://c2sp.org/tlog-checkpoint); get it again, whole and unchanged")
	ErrNotProof      = Errors.New(3, "the text is no proof of inclusion (https://c2sp.org/tlog-proof); get it again, whole and unchanged")
	ErrNotRequest    = Errors.New(4, "the text is no proof of consistency, which is the body of add-checkpoint (https://c2sp.org/tlog-witness); get it again, whole and unchanged")
	ErrKey           = Errors.New(5, "the text is no Ed25519 key of a log or a witness; a verifier key is NAME+8 HEX DIGITS+BASE64, as 'chancery checkpoint key' and 'chancery witness show' print it")
	ErrPolicy        = Errors.New(6, "the policy cannot be used; it has lines as https://c2sp.org/tlog-policy says, see docs/checkpoints.md")
	ErrSignatures    = Errors.New(7, "no log that is known signed the checkpoint; compare its first line and its signatures with the keys that you trust")
	ErrQuorum        = Errors.New(8, "too few of the witnesses that are known co-signed the checkpoint; get a newer one, or ask the node's operator which witnesses are away")
	ErrMismatch      = Errors.New(9, "the proof does not lead to the root of the checkpoint: it was altered, or is of another checkpoint")
	ErrFork          = Errors.New(10, "the two checkpoints are of no one log: somebody was shown another chain; keep both and show them to all members")
	ErrOtherLog      = Errors.New(11, "the checkpoint is of another log; use the one of this chain")
	ErrOtherBlock    = Errors.New(12, "the proof is about another block; ask for one of the block that the receipt was signed in")
	ErrDamaged       = Errors.New(13, "the hashes of the log are damaged on this node; stop it, remove data/checkpoints/head, and start it: it computes them again")
	ErrNoHistory     = Errors.New(14, "this node lacks headers of old blocks, so that it can compute no checkpoint; name a node that keeps all blocks among the servers of [sync] and restart, or ask another node")
	ErrNoBlock       = Errors.New(15, "no such block in a checkpoint; heights and sizes begin at 1")
	ErrOldLog        = Errors.New(16, "the checkpoint that was signed last is of a log that does not lead to this one; the node signs nothing more: find out whether its chain or the one before was forked, then move data/checkpoints away")
	ErrPruned        = Errors.New(17, "this node has no header of that block any more, and so cannot say what it would prove; ask a node that keeps all blocks")
	ErrOff           = Errors.New(18, "this node makes no checkpoints; set checkpoint.interval in its configuration and restart it, or ask another node")

	ErrNotYet = Errors.New(32000, "no checkpoint of this node covers that many blocks yet; ask again when the next one is made")
)
