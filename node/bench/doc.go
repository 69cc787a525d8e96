// Package bench loads a running network with transactions from outside and measures
// what its clients see.
//
// A closed loop keeps a number of transactions under way and finds what the network
// can do; its latency says little, since it slows down with the network. An open loop
// submits at a fixed rate whatever the network does, and its latency runs from the
// moment at which a transaction was due, not from when it could be sent: a network that
// stalls makes all that was due meanwhile late (coordinated omission, Tene 2013).
//
// Every transaction is accounted for: refused at the door, by code; executed, held or
// failed in a block; void before it got into one; or, at the end, not known. One that a node
// took and that its events do not tell of is looked up by its id.
package bench
