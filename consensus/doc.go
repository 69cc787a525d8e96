// Package consensus runs a chain.App under CometBFT: the ABCI 2.0 application, one
// file per phase, the application-side mempool, and the node around them.
//
// # Phases
//
//	CheckTx, InsertTx     a transaction enters the Pool (concurrent)
//	ReapTxs               the Pool offers transactions to peers (concurrent)
//	PrepareProposal       builds and executes a block from the Pool
//	ProcessProposal       executes another's block and accepts or rejects it
//	FinalizeBlock         takes the executed block and applies it to the tree
//	Commit                persists records, then state
//
// A candidate block is executed once and kept until a block of its height is
// committed. Nothing is written to disk before Commit, so a crash at any point
// leaves the node at the previous height, from which the engine replays.
//
// # Traps of the engine, each closed here and named by a test
//
//	persisting before Commit bricks the node            commit.go, TestTrapPersistInCommitAlone
//	a consensus panic leaves the process alive          watchdog.go, TestTrapHaltedConsensusExits
//	a log that cannot be written silences a validator   logger.go, TestTrapALogThatCannotBeWrittenExits
//	nobody is told in what an app hash parts            parting.go, TestNetworkNamesTheKeyInWhichAStateParted
//	queries wait for consensus behind one mutex         node.go, TestTrapQueriesDoNotWait
//	the block size defaults to tens of MiB              node/config
//	extensions can't be enabled later without care      extend_vote.go, TestTrapExtensionsFromHeightOne
//	the empty-block interval delays full blocks too     prepare_proposal.go, TestTrapFullBlocksDoNotWait
//	reaped transactions are broadcast once              pool.go, TestTrapLatePeersAreOffered
//	the app hash of height h is in header h+1           node/receipt
//	validator updates act at h+2                        finalize_block.go
//	RetainHeight beyond the last durable height         commit.go: it is never set
package consensus
