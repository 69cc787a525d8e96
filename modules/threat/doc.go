// Package threat is the sentinel: it judges every transaction before it is executed,
// keeps those that are held or denied until people decide, makes what validators think
// of a subject common, and responds to risk by playbooks.
//
// Invariants:
//
//   - A verdict follows from the transaction, the state before the block and the
//     transactions before it in the block. Every validator finds the same.
//   - Nothing is dropped: what is not executed is in the block, kept, and can be appealed.
//   - What is never held is executed whatever its score: see never.go.
//   - The kin of what a decision is asked about is looked up and charged for whatever the
//     model, and counted where the model has settings for it.
//   - What was held or denied trains nothing. What was admitted trains profiles when its
//     time to appeal is over, or earlier while more than params.max_pending wait; it is
//     counted in cells at once.
//   - An anchor moves by RebaseAnchors alone. It is made, once, from the first 50
//     transactions of an actor that trained; of a group of peers, from the first 50 of
//     each member when there are 200.
//   - An adaptive profile moves by the active model's step for a transaction, and by its
//     steps in an epoch. A group's steps are a sixteenth as long and sixteen times as many;
//     no member takes more of them than of its own.
//   - Where no model can score, kinds of params.fail_closed are held and all others are
//     executed, and each block in which that happened says so.
//   - While the breaker is open nothing is held or denied for its score.
//
// # The past
//
// A block writes one record of what its transactions did: the journal. Traces are the
// fold of all journals up to progress.settled; pages hold the cells as of
// progress.paged. What happened since is in the journals that are left, and in memory
// as the fold of them (history.go), which is the same whether a node went on or was
// restarted. Memory is bounded by max_pending and the transactions of the latest block:
// of each pending transaction at most two histories, of its author and its organisation,
// of about 400 bytes with their names; so 160 MB at most at the default of 200 000, where
// no two have an author in common. Cells are at most 2^18 (detector.MaxCells), 6 MB, and
// decoded traces about as much as the 64 MiB of stored ones that a map remembers. Three
// versions of a history share what did not change between them.
//
// Settling takes journals whose time has come, the oldest first, of 2000 transactions
// in a block or of one block where that has more. Pages that changed are written each
// 64 blocks. Journals at or below both marks are removed.
//
// # State
//
// Under prefix 0x14. Subjects of traces are an actor's DID, "org:" and an
// organisation's, and "peers:", an organisation's, ":" and a kind of actor.
//
//	0x01 params        item                              -> chancery.threat.v1.Params        genesis, SetParams
//	0x02 models        bytes hash                        -> chancery.threat.v1.ModelRecord   RegisterModel, AddModelChunk, SetModelStage, RollBack, reviews, each block
//	0x03 chunks        bytes hash, uint32 index          -> chancery.threat.v1.Chunk         AddModelChunk; removed when a model is retired
//	0x04 schedule      item                              -> chancery.threat.v1.Schedule      SetModelStage, RollBack, end of block
//	0x05 holds         bytes id                          -> chancery.threat.v1.Hold          held and denied transactions, reviews, appeals, end of block
//	0x06 kept          bytes id                          -> chancery.threat.v1.HeldBytes     with holds; removed when decided or over
//	0x07 holds-due     int64 expires_at, bytes id        -> unit                             with kept
//	0x08 holds-at      int64 height, bytes id            -> unit                             with holds
//	0x09 holds-of      string organisation, int64 height, bytes id -> unit                   with holds
//	0x0a totals        string organisation, "" for all   -> chancery.threat.v1.HoldTotals    with kept
//	0x0b playbooks     string name                       -> chancery.threat.v1.Playbook      SetPlaybook, RemovePlaybook
//	0x0c responses     bytes id                          -> chancery.threat.v1.Response      playbooks, Lift, Appeal, end of block
//	0x0d responses-of  string subject, bytes id          -> unit                             with responses
//	0x0e responses-due int64 expires_at, bytes id        -> unit                             while a response acts
//	0x0f standings     string subject                    -> chancery.threat.v1.Standing      extensions of votes, end of block
//	0x10 traces        string subject                    -> chancery.threat.v1.Trace         settling, RebaseAnchors
//	0x11 journals      int64 height                      -> chancery.threat.v1.Journal       each block with transactions; removed when settled and paged
//	0x12 pages         uint32 space<<24 | row<<12 | page -> chancery.threat.v1.Page          each 64 blocks; 128 cells of a row
//	0x13 progress      item                              -> chancery.threat.v1.Progress      each block in which it moves
//	0x14 breaker       item                              -> chancery.threat.v1.BreakerState  each block with transactions, ResetBreaker
//	0x15 acting        string subject                    -> chancery.threat.v1.Acting        while responses act on a subject
//	0x16 standings-due int64 until, string subject       -> unit                             with standings
//	0x17 voices        bytes validator                   -> uint64                           how many standings hold its opinion
package threat
