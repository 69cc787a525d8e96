package consent

import "github.com/chancery/chancery/chain/errs"

// The errors of this module. Codes are permanent. Codes from 30 say why a use is
// not permitted.
var (
	Errors           = errs.Module("consent")
	ErrInvalid       = Errors.New(2, "a field is missing or malformed; see docs/modules/consent.md for its form")
	ErrNotFound      = Errors.New(3, "there is no such record; check the id, and that its transaction is final")
	ErrNotAuthorised = Errors.New(4, "the author may not do this for this subject and controller; the subject, a delegate with the scope, or an officer of the controller may")
	ErrSubjectBound  = Errors.New(5, "the commitment is bound to another DID; use a commitment with a fresh salt for another subject")
	ErrController    = Errors.New(6, "the controller is not an active organisation; name the organisation's own DID")
	ErrWrongState    = Errors.New(7, "the record's status does not allow this; read its latest version")
	ErrTooMany       = Errors.New(8, "the limit for one subject and controller is reached; let some end first")
	ErrWider         = Errors.New(9, "the terms go beyond what was asked for; give what was asked or less, or supersede")
	ErrNotExpired    = Errors.New(10, "its time has not passed; wait, or withdraw it")
	ErrSpecial       = Errors.New(11, "a special category needs a condition of GDPR Art. 9(2), and this category must be marked special; set special and special_condition")
	ErrEvidence      = Errors.New(12, "recording on a subject's behalf needs a method and the hash of its evidence; set method and evidence_hash")
	ErrTime          = Errors.New(13, "a time lies on the wrong side of block time; correct it")
	ErrNoDelegation  = Errors.New(14, "there is no such delegation; check subject, controller and delegate")
	ErrNoRestriction = Errors.New(15, "there is no such restriction in force; check its id")
	ErrNarrow        = Errors.New(16, "this does not make the consent smaller, or leaves nothing of it; name what it covers, or withdraw it")
	ErrPage          = Errors.New(17, "the limit or the page token is not valid; use at most 500 and the token of the page before")
	ErrMismatch      = Errors.New(18, "subject and controller are not those of the record; they never change")
	ErrGuardian      = Errors.New(19, "the subject has a DID of its own; it appoints its representatives itself")

	ErrNone        = Errors.New(30, "the controller holds no consent of the subject; request one")
	ErrRequested   = Errors.New(31, "consent was requested and not given; wait for the subject's answer")
	ErrRefused     = Errors.New(32, "the subject refused; do not process the data for this")
	ErrWithdrawn   = Errors.New(33, "the consent was withdrawn; stop, and request a new one if need be")
	ErrExpired     = Errors.New(34, "the consent has expired; request a new one")
	ErrNotYetValid = Errors.New(35, "the consent does not hold yet; wait until valid_from")
	ErrPurpose     = Errors.New(36, "no consent names this purpose; request one that does")
	ErrCategory    = Errors.New(37, "no consent covers all of these categories of data; ask for less, or request one that does")
	ErrProcessing  = Errors.New(38, "no consent covers this kind of processing; request one that does")
	ErrRecipient   = Errors.New(39, "no consent names this recipient or its organisation; request one that does")
	ErrExcluded    = Errors.New(40, "the subject has excluded this; do not process the data for this")
	ErrRestricted  = Errors.New(41, "processing is restricted (GDPR Art. 18, 21); wait until the restriction is lifted")
)
