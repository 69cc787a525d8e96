package receipt

import "github.com/chancery/chancery/chain/errs"

// What is wrong with a receipt. Codes are permanent.
var (
	Errors = errs.Module("receipt")

	ErrNotReceipt  = Errors.New(2, "the file is not a receipt of this version; get the receipt again, or verify it with the program that made it")
	ErrDamaged     = Errors.New(3, "the receipt's checksum does not match its bytes: it was damaged or altered; get it again")
	ErrMalformed   = Errors.New(4, "the receipt's bytes are not in their canonical form: it was altered")
	ErrWrongChain  = Errors.New(5, "the receipt is of another chain than the genesis file; use the genesis file of the consortium that gave the receipt")
	ErrGenesis     = Errors.New(6, "receipts cannot be verified with this genesis file")
	ErrHistory     = Errors.New(7, "the receipt does not lead from the genesis validators to those that signed it")
	ErrHeader      = Errors.New(8, "the receipt's header does not belong to it")
	ErrSignatures  = Errors.New(9, "validators with more than two thirds of the voting power did not sign the receipt's header")
	ErrCollection  = Errors.New(10, "a record's key is not one of the collection that the receipt names")
	ErrProof       = Errors.New(11, "a record's proof does not lead to the root that the validators signed")
	ErrValue       = Errors.New(12, "a record is proven but does not decode; verify it with the program version that the chain runs")
	ErrTooLarge    = Errors.New(13, "the receipt is larger than any that a node makes")
	ErrNoEntries   = Errors.New(14, "a receipt is for 1 to 256 records; name some, each once")
	ErrNotYet      = Errors.New(15, "no validators have signed the state of that height yet; ask again when the next block is committed")
	ErrNoHistory   = Errors.New(17, "this node lacks headers that lead from the genesis validators to today's; it fetches them from the nodes of [sync] when it starts, so see its log, or ask another node")
	ErrUnknownKeys = Errors.New(16, "the key belongs to no collection of this chain; see the collections that the node lists")
)
