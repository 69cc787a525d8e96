package governance

import "github.com/chancery/chancery/chain/errs"

// The errors of this module. Codes are permanent. Why messages cannot be executed is the
// error of the module that refuses them.
var (
	Errors           = errs.Module(moduleName)
	ErrInvalid       = Errors.New(2, "a field is missing or malformed; see docs/modules/governance.md for its form")
	ErrNotFound      = Errors.New(3, "there is no such record; check the number of the proposal")
	ErrNotConsortium = Errors.New(4, "the consortium alone may do this; propose it, or have enough organisations sign for it")
	ErrNoVote        = Errors.New(5, "the author has no vote: an organisation that acts for the consortium, is active and has a weight does")
	ErrNotVoting     = Errors.New(6, "votes are not taken any more; read the proposal")
	ErrTooMany       = Errors.New(7, "the organisation has as many proposals as it may; wait until one has ended, or a day has passed")
	ErrBadMessages   = Errors.New(8, "the messages are not usable: each must be the canonical bytes of a message that can be proposed, and together they must be within the bounds of the parameters")
	ErrPeriod        = Errors.New(9, "the voting period is not within the bounds of the rule; leave it out, or see the parameters")
	ErrNoEmergency   = Errors.New(10, "how governance decides is never changed in an emergency; propose it without")
	ErrNotYours      = Errors.New(11, "the author may not cancel this; its organisation may while votes are taken, and the consortium until it is executed")
	ErrEnded         = Errors.New(12, "the proposal has ended; read its record")
	ErrFewValidators = Errors.New(13, "fewer validators would be left than params.min_validators; bind others first")
	ErrPersonal      = Errors.New(14, "the text looks like data about a person or a way to reach one, which may not be on the chain; say what it is about, and put the rest into the rationale")
	ErrPage          = Errors.New(15, "the limit or the page token is not valid; use at most 500 and the token of the page before")
	ErrNoElectorate  = Errors.New(16, "the weights leave nobody to decide, or too few to act for the consortium; give votes to more organisations")
)
