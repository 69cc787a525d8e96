// Package scenario takes a network through a demonstration: members register
// people and rules, import real documents, decide, change their minds, break the
// glass, ask what would be otherwise, and prove all of it to somebody who has
// nothing but the genesis file. Every step checks what it says.
//
// It reaches the network as any client does: by gRPC, by the program's command
// line, and by the members' keyrings.
package scenario
