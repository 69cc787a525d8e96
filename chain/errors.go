package chain

import "github.com/chancery/chancery/chain/errs"

// The errors of the core. Codes are permanent; see docs/errors.md.
var (
	Errors = errs.Module("chain")

	ErrInternal        = Errors.New(errs.Internal, "the node failed while it handled this; report it to the operator")
	ErrWrongChain      = Errors.New(2, "the transaction is for another chain; set body.chain_id to this chain's id")
	ErrVoid            = Errors.New(3, "valid_until has passed; build and sign the transaction again")
	ErrSeen            = Errors.New(5, "this transaction was already committed; ask for its result")
	ErrBadSignature    = Errors.New(6, "a signature does not verify; sign these very bytes with the key that is named")
	ErrTooManyMessages = Errors.New(7, "too many messages in one transaction; split it")
	ErrTooManySigners  = Errors.New(8, "too many signatures on one transaction")
	ErrOutOfUnits      = Errors.New(9, "the transaction needs more work than one transaction may; split it or make its policy or range smaller")
	ErrNotConsortium   = Errors.New(10, "only the consortium may do this; author it as the consortium with its members' signatures")
	ErrBadParams       = Errors.New(11, "the parameters are not usable")
	ErrTooLarge        = Errors.New(12, "the transaction is larger than this chain allows; split it, or keep large data off the chain and register its hash")
	ErrBadHeight       = Errors.New(13, "the state of that height is not here; ask for a later one, or ask an archive node")
	ErrNotProvable     = Errors.New(14, "this query walks a range, which a key's proof cannot cover; ask for the single record")
	ErrOtherBytes      = Errors.New(15, "the transaction was committed with other signatures than these bytes hold; submit the bytes that were committed, or ask for its result by its id")
	ErrHeld            = Errors.New(16, "the transaction is held for review and was not executed; reviewers release or reject it, and its author may appeal")
	ErrDenied          = Errors.New(17, "the transaction was denied and not executed; its author may appeal")
	ErrDocket          = Errors.New(18, "the block's docket is not what the rules say")
	ErrOmission        = Errors.New(20, "the block leaves out a transaction that validators with more than a third of all power list and that is due, and holds others")
	ErrKeptWithin      = Errors.New(19, "a transaction that was held cannot release another; submit the release by itself")
	ErrUpgradeNeeded   = Errors.New(21, "the program does not know the version of the state machine that the next block needs; install the release that the consortium decided on and start it in the same home, see docs/upgrades.md")
	ErrTooNew          = Errors.New(22, "the program does not know the version of the state machine that the state is of any more; start the release that the chain runs now, see docs/upgrades.md")
	ErrBadPlan         = Errors.New(23, "the plan of an upgrade is not usable; see docs/upgrades.md for its form")
	ErrPlanned         = Errors.New(24, "an upgrade is planned already; cancel it first, or wait until it is carried out")
	ErrNoPlan          = Errors.New(25, "there is no such plan of an upgrade; see chancery upgrade status")
	ErrBadReport       = Errors.New(26, "the report of a dry run is not usable; let chancery upgrade dry-run --report make it")
	ErrLaterVersion    = Errors.New(27, "the message belongs to a later version of the state machine; submit it when the upgrade to that version is done")
	ErrNoReporter      = Errors.New(28, "only an organisation that has a validator reports its readiness, as author; sign with its administrators' keys")
	ErrNoMigration     = Errors.New(29, "the program knows no way from the version in force to the one asked for")
	ErrNoReport        = Errors.New(30, "there is no such report of a dry run; the organisation has not reported of the plan that is to come")
	ErrBadPage         = Errors.New(31, "the limit is not valid; use at most 500")

	// These mean that the same bytes may be submitted again.
	ErrOverQuota   = Errors.New(errs.RetryFrom, "the organisation's quota for this block is used up; submit the same bytes again")
	ErrBlockFull   = Errors.New(errs.RetryFrom+3, "the work that fits into one block is done; submit the same bytes again")
	ErrTooFarAhead = Errors.New(errs.RetryFrom+2, "valid_until is too far ahead of block time; choose an earlier one or, when the chain has just started or stood still, submit the same bytes again")
	ErrDiskBudget  = Errors.New(errs.RetryFrom+4, "the node's data has reached its budget of disk, so that it takes no new transactions; submit to another node, and have this one's operator see 'Disk' in docs/operating.md")
	ErrBusy        = Errors.New(errs.RetryFrom+1, "the node's pool is full for this organisation; submit the same bytes again shortly")
)
