package model

// What a State can hold. A Scope may allow less, never more.
const (
	MaxSubjects      = 2
	MaxOrganisations = 6
	MaxConsents      = 6
	MaxRestrictions  = 3
	MaxGrants        = 6
	MaxHolds         = 4
	maxAppeals       = 2
	maxWords         = MaxOrganisations * (maxAppeals + 1)
	maxActors        = MaxSubjects + 2*MaxOrganisations
	MaxKeys          = 2 * MaxOrganisations
)

// Actor is who signs: a subject, or an administrator of an organisation. Subjects are
// persons of organisation 0 that administer nothing.
type Actor int8

// Consortium is all organisations together.
const Consortium Actor = maxActors

// Administrator is one of the two administrators of an organisation, 0 or 1.
func Administrator(organisation, which int8) Actor {
	return Actor(MaxSubjects + 2*organisation + which)
}

func (a Actor) organisation() int8 {
	if a < MaxSubjects {
		return 0
	}
	return (int8(a) - MaxSubjects) / 2
}

func (a Actor) administers(organisation int8) bool {
	return a >= MaxSubjects && a < Consortium && a.organisation() == organisation
}

// Purposes is a set of purposes, a bit for each of two.
type Purposes uint8

// The purposes.
const (
	Care Purposes = 1 << iota
	Research
)

// Scopes is a set of what a delegate may do, a bit for each.
type Scopes uint8

// What a delegate may do.
const (
	MayGive Scopes = 1 << iota
	MayWithdraw
	MayNarrow
)

// Status is what became of a consent.
type Status int8

// What may become of a consent.
const (
	Given Status = 1 + iota
	Narrowed
	Withdrawn
	Expired
)

func (s Status) open() bool { return s == Given || s == Narrowed }

// Consent is a consent towards organisation 0.
type Consent struct {
	Subject  int8
	Status   Status
	Purposes Purposes
	Until    int8 // it permits in blocks before this; 0: in all
	Version  int8
}

// Dossier is what organisation 0 holds of a subject.
type Dossier struct {
	Known bool   // there is one
	Bound bool   // to Owner
	Owner Actor  // whose commitment it is
	Last  Status // how the consent ended that ended last; 0: none did
}

// Restriction blocks some purposes of a subject, or all.
type Restriction struct {
	Subject  int8
	Purposes Purposes // 0: all
	Lifted   bool
}

// Delegation is what an actor may do for a subject; no scopes: nothing.
type Delegation struct {
	Scopes Scopes
	Until  int8 // 0: for good
}

// Grant is a recorded decision that permitted.
type Grant struct {
	Subject int8
	Purpose Purposes
	On      int8 // the consent
	Until   int8
	Ended   bool // what it rests on ended or became smaller since
}

// HoldStatus is what became of a transaction that was not executed.
type HoldStatus int8

// What may become of a transaction that was not executed.
const (
	Held HoldStatus = 1 + iota
	Denied
	Released
	Failed
	Rejected
	HoldExpired
)

// Word is what a reviewer said.
type Word struct {
	By      Actor
	Release bool
}

// Hold is a transaction that was not executed when it came.
type Hold struct {
	Body     Action
	Key      int8 // of its author's keys, the one that signed it
	Status   HoldStatus
	Kept     bool // its bytes are there, so that it can be executed or appealed
	Until    int8
	Words    [maxWords]Word
	Spoke    int8 // how many words there are
	Reopened int8 // how many of them are of before it was appealed last
	Appeals  [maxAppeals]HoldStatus
	Appealed int8
	Ran      int8 // how often it was executed
}

// Set is the voting power of each validator key; 0: it is no validator. Keys 2o and 2o+1
// are organisation o's.
type Set [MaxKeys]int8

// State is all that the model knows, in the middle of block Height. It has no pointers
// and no gaps: two states are one where they compare equal.
type State struct {
	Height int8
	Sent   int8 // transactions of this block that are in it

	Dossiers     [MaxSubjects]Dossier
	Delegations  [MaxSubjects][maxActors]Delegation
	Consents     [MaxConsents]Consent
	Restrictions [MaxRestrictions]Restriction
	Grants       [MaxGrants]Grant
	Holds        [MaxHolds]Hold
	Keys         [maxActors]int8 // how often each rotated its key

	Consented, Restricted, Granted, Keeping int8 // how many of the lists are used

	Power        Set    // as the chain's state has it
	Acting, Next Set    // of this block and of the next, as the engine has it
	Ends         [2]Set // Power at the end of the last block and of the one before
	Before       Set    // the validators before the first of the changes that are measured together
	Changed      int8   // block of the last of them, 0 for none
	Fewer        bool   // at some time fewer than four organisations had validators
}

// Kind is what an action does.
type Kind int8

// What an action may do.
const (
	End Kind = iota // ends the block
	Give
	Narrow
	Withdraw
	Expire
	Delegate
	Revoke // a delegation
	Restrict
	Lift // a restriction
	Decide
	Note // registers something, which nobody is refused
	Rotate
	Vote // on a proposal that does not exist
	Release
	Reject
	Appeal
	Bind    // gives a key a power, 0 for none
	Replace // puts a key in the place of another
)

// Weight is what a score makes of a transaction: a larger one is held, the largest denied.
type Weight int8

// The weights.
const (
	Light Weight = iota
	Heavy
	Monstrous
)

// Action is a transaction of one actor, or the end of a block.
type Action struct {
	Kind     Kind
	Actor    Actor
	Weight   Weight
	Subject  int8
	Record   int8 // the consent, restriction or held transaction
	Purposes Purposes
	Until    int8
	Paper    bool // recorded on the subject's behalf
	Delegate Actor
	Scopes   Scopes
	Key, New int8
	Power    int8
}

// Outcome is what came of an action.
type Outcome struct {
	Code string // module and code of the refusal; empty: there was none
	Door bool   // it is in no block
	// Of a decision: whether it permits, on which consent, and otherwise why not.
	Allowed bool
	On      int8
	Why     string
	// Of the word that released: what came of the transaction.
	Ran     bool
	RanCode string
}

func refused(code string) Outcome { return Outcome{Code: code} }
