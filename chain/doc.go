// Package chain is the state machine's core: it routes transactions to modules,
// executes blocks over typed state, meters work, collects events and remembers
// what it has seen. It knows no module and no consensus engine.
//
// One path executes a transaction, whatever the phase:
//
//	Admit    door, then Check of each message        (a node's pool; state is read only)
//	Deliver  door, then Check and Execute of each    (a block; the only writer)
//
// The door is what must hold of a transaction before it may be in a block at all:
// canonical form, chain, time, exactly once, Validate, authority and signatures,
// quota. A transaction that fails there is refused and a block that holds it is
// invalid. A transaction that fails later is in the block, with its code and
// without effect.
//
// The numbered rules are in SPEC.md; each has a test that carries its number.
//
// # State
//
// The core's own collections, under prefix 0x01:
//
//	0x01 params  ()              -> chancery.chain.v1.Params   genesis, SetParams
//	0x02 head    ()              -> chancery.chain.v1.Head     every block
//	0x03 seen    uint64 height   -> chancery.chain.v1.Seen     blocks with transactions
//	0x04 lists   address         -> chancery.chain.v1.Listed   dockets whose votes list
//	0x05 demands id              -> chancery.chain.v1.Demand   what more than a third list
//	0x06 version   ()            -> chancery.chain.v1.Version      genesis of a later version, upgrades
//	0x07 plan      ()            -> chancery.chain.v1.UpgradePlan  ScheduleUpgrade, until it ends
//	0x08 readiness organisation  -> chancery.chain.v1.Readiness    ReportReadiness, until the plan ends
//	0x09 upgrades  name          -> chancery.chain.v1.Upgrade      plans that have ended
package chain
