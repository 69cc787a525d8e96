// Package consent is the module that answers who agreed to what: requests,
// consents, refusals, their narrowing, withdrawal and expiry, delegation, and
// restriction of processing.
//
// A subject is a salted commitment (package commitment) and, where the subject
// has keys, a pseudonymous DID that the commitment is bound to. A commitment is for
// one subject and one controller; what a controller holds of a subject is that
// pair's dossier.
//
// # States
//
//	REQUESTED -> GIVEN | REFUSED | LAPSED
//	GIVEN     -> NARROWED | WITHDRAWN | EXPIRED | SUPERSEDED
//	NARROWED  -> NARROWED | GIVEN (by Rectify) | WITHDRAWN | EXPIRED | SUPERSEDED
//
// Give and Refuse also stand alone. Every change makes a new version of the record
// and keeps the one before. Expiry and lapse are computed from block time on every
// read; Expire only records them.
//
// # Invariants
//
//  1. A consent permits from the transaction that gives it until the transaction
//     that withdraws it: a decision later in the same block already sees a
//     withdrawal, one earlier in it does not (law 6).
//  2. Whoever may give for a subject may withdraw, with nothing but the id (law 6).
//  3. Narrow names only what goes, so a version it makes permits nothing that the
//     one before did not.
//  4. A restriction beats every consent (law 11). An exclusion beats the consent that
//     it is part of, and no other.
//  5. A special category has a condition of GDPR Art. 9(2) (law 8).
//  6. What is recorded on a subject's behalf has a method and evidence (law 7).
//  7. Once a commitment is bound to a DID it stays so.
//  8. In a dossier at most 64 consents are in force, 16 requests wait and 16
//     restrictions hold.
//
// # What a question and terms mean to one another
//
// A question (Question, Permits) is covered when one consent in force passes all of
// these, and no restriction of the subject towards the controller blocks its purpose:
//
//   - purpose: it is among the terms' purposes, byte for byte. No hierarchy of
//     purposes is known, and no purpose stands for all.
//   - categories: each is among the terms' categories, byte for byte, or the terms name
//     AnyData. A question without categories, or with AnyData, asks for any data at all
//     and is covered only by terms that name AnyData.
//   - processing: it is among the terms' processing, or the terms have none. Permits
//     asks about Access.
//   - recipient: it or its organisation is the controller or among the terms'
//     recipients.
//   - period: block time is at or after valid_from (or, without one, given_at) and before
//     valid_until.
//   - exclusions: none matches. An exclusion matches when block time is in its period
//     and each of its lists that is not empty matches: recipients as above, purposes and
//     processing byte for byte, categories when the question names one of them, or
//     AnyData is on either side, or the question names none.
//
// When none covers, the error is that of the consent which passed most tests in the
// order purpose, categories, processing, recipient, start, end, exclusions; when none
// is in force, it says what became of the last.
//
// # Who may do what
//
//   - the subject: the DID that the commitment is bound to. With no dossier yet, a
//     person that gives, refuses, restricts or delegates binds the commitment to
//     itself. A commitment cannot be guessed, but whoever sees it before its first
//     transaction is final could take it; the subject then notices a refusal
//     (ErrSubjectBound) and starts again with a fresh salt.
//   - a delegate, within its scopes. SCOPE_GIVE includes the others.
//   - an officer of the controller: the organisation itself, its administrators, and
//     its members with the role Role. An officer requests, records on the subject's
//     behalf with method and evidence, and may narrow and withdraw.
//
// # Keys
//
//	0x12 0x01 records      bytes id                                   -> chancery.consent.v1.Record      all but delegations
//	0x12 0x02 history      bytes id, uint64 version                   -> chancery.consent.v1.Record      every change of a record
//	0x12 0x03 dossiers     bytes subject, string controller           -> chancery.consent.v1.Dossier     all but Narrow, Rectify, RevokeDelegation
//	0x12 0x04 holdings     string controller, bytes subject, bytes id -> unit                            Request, Give, Refuse, Supersede
//	0x12 0x05 requests     string controller, bytes id                -> unit                            Request, its answer or lapse
//	0x12 0x06 recipients   string recipient, bytes id                 -> unit                            Give, Narrow, Supersede, Rectify
//	0x12 0x07 delegations  bytes subject, string controller, string delegate -> chancery.consent.v1.Delegation  Delegate, RevokeDelegation
//
// The latest version of a record is in records alone. A dossier is never removed, so
// its absence proves that there never was anything.
//
// # Writes per message
//
// R is the number of recipients that the terms name (or that change).
//
//	Give              3 + R   record, dossier, holding
//	Give (answer)     4 + R   record, history, dossier, request
//	Request           4       record, dossier, holding, request
//	Refuse            3       record, dossier, holding
//	Refuse (answer)   4       record, history, dossier, request
//	Narrow, Rectify   2 + R   record, history
//	Withdraw, Expire  3       record, history, dossier (and the request when it lapsed)
//	Supersede         5 + R   two records, history, dossier, holding
//	Delegate          1       delegation (and the dossier when there is none)
//	RevokeDelegation  1       delegation
//	Restrict, Lift    1       dossier
//
// Only a Give or Request into a full dossier does more: it records expiry for those
// whose time has passed, at most 64 times three
// writes.
package consent
