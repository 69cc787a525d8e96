package threat

import "github.com/chancery/chancery/chain/errs"

// The errors of this module. Codes are permanent. The results of transactions that are
// held or denied are the chain's: chain.ErrHeld and chain.ErrDenied.
var (
	Errors           = errs.Module("threat")
	ErrInvalid       = Errors.New(2, "a field is missing or malformed; see docs/modules/threat.md for its form")
	ErrNotFound      = Errors.New(3, "there is no such record; check the id")
	ErrNotConsortium = Errors.New(4, "the consortium alone may do this; have enough organisations sign for it")
	ErrNotReviewer   = Errors.New(5, "the author may not review this; an administrator of a member organisation, or a member with the role threat-reviewer, may, but not in their own case")
	ErrNotAppellant  = Errors.New(6, "the author may not appeal this; the one that it is about, its organisation or an administrator of it may")
	ErrWrongStatus   = Errors.New(7, "it does not wait for this any more, or not yet; read its record")
	ErrTwice         = Errors.New(8, "this organisation has said its word on this already")
	ErrTooLate       = Errors.New(9, "the time for this has passed")
	ErrTooMany       = Errors.New(10, "there are more than allowed; remove some first")
	ErrBadModel      = Errors.New(11, "these bytes are no usable detector; see docs/threat.md for its form")
	ErrModelStage    = Errors.New(12, "the model cannot get there from the stage that it has; read its record")
	ErrModelKnown    = Errors.New(13, "a model with this hash is registered already")
	ErrBadChunk      = Errors.New(14, "this is not the chunk that comes next; send 64 KiB at a time, in order")
	ErrTooCostly     = Errors.New(15, "the model may need more work for one score than max_score_work; make it smaller")
	ErrNoPrevious    = Errors.New(16, "no model was active before this one, or it was retired")
	ErrBadPlaybook   = Errors.New(17, "the playbook is not usable; see docs/threat.md for its form")
	ErrPage          = Errors.New(18, "the limit or the page token is not valid; use at most 500 and the token of the page before")
	ErrNoProfile     = Errors.New(19, "nothing is known yet of what this actor does")
	ErrUnanchored    = Errors.New(20, "only actors of the author's own organisation can be rebased by it")

	ErrHoldsFull = Errors.New(32_000, "the transaction would be held, and as many are held as may be; have reviewers decide some, or try again later")
)
