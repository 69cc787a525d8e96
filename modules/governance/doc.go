// Package governance is how the consortium decides: member organisations propose
// messages, vote, and what passes is executed with the consortium's authority.
//
// # Invariants
//
//   - The electorate is the organisations that act for the consortium, as identity has
//     them. Each has one vote, by its own rule of administrators, and may change it until
//     the voting ends. A vote counts while its organisation is of the electorate, active
//     and of a weight.
//   - Who is suspended still counts among all weight: no suspension makes it easier to
//     pass a proposal.
//   - A proposal passes by its rule, as the parameters said when it was made, and never by
//     fewer organisations than would have to sign for the consortium. A vote is no weaker
//     way than signatures, only a slower one.
//   - It is executed once, not before its time-lock is over, after the last transaction of a
//     block, all of it or nothing; and never later than grace_ms after.
//   - What could not be executed now is not proposed: it is rehearsed first, charged to the
//     proposer. The same checks run again when it is executed.
//   - How governance decides is changed by the strictest of its rules, and never in an
//     emergency.
//   - A validator's misbehaviour, of which a block carries evidence, is recorded, and there is
//     one open proposal to remove it, which the chain makes of itself, where it can be removed.
//   - A block ends the voting of at most 32 proposals, executes at most
//     params.max_executions and lets at most 32 lapse; the rest wait for the next.
//
// # When voting ends
//
// At its time, or as soon as those who have not voted cannot change the outcome. So the
// last vote that matters ends it; until then every vote may be changed. An organisation
// that joins or leaves while votes are taken counts as it is when they are counted.
//
// # State
//
// Under prefix 0x15.
//
//	0x01 params       ()                                -> chancery.governance.v1.Params    genesis, SetParams
//	0x02 next         ()                                -> uint64                           Propose; the number of the next proposal
//	0x03 proposals    uint64 id                         -> chancery.governance.v1.Proposal  Propose, Vote, Cancel, end of block
//	0x04 ballots      uint64 id, string organisation    -> chancery.governance.v1.Ballot    Vote
//	0x05 outcomes     uint64 id                         -> chancery.governance.v1.Outcome   end of block
//	0x06 due          int64 ms, uint64 id               -> unit                             while a proposal is open
//	0x07 by-status    uint32 status, uint64 id          -> unit                             with proposals
//	0x08 made-by      string organisation, uint64 id    -> unit                             Propose
//	0x09 open-of      string organisation, uint64 id    -> unit                             while a proposal is open
//	0x0a offences     bytes validator, int64 height, uint32 kind -> chancery.governance.v1.Offence  evidence in a block
//
// Open is voting or passed.
package governance
