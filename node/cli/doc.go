// Package cli is the command line: the one program chancery.
//
// The commands tx and query are made from the protocol buffers alone: each arm of
// chancery.tx.v1.Message and each method of a service named Query is a command,
// its scalar fields are flags and the comments of the .proto files are its help. A
// new module needs nothing here.
//
// comments.txt holds those comments, since descriptors have none at run time;
// scripts/protodoc writes it.
//
// # Exit codes
//
//	0  done
//	1  refused: a transaction failed, a query was refused, a receipt does not verify
//	2  the command line is wrong
//	3  no node can be reached
//	4  time ran out
//	5  there is no such thing
//	6  the transaction is held: kept, not executed, until reviewers decide
//	7  another version of the program is needed, before an upgrade or after one
//	8  the node's state has parted from what the others signed, and a restart does not help
package cli
