// Package divergence finds out in what the states of two nodes differ, without sending them:
// it compares hashes of ranges of keys, and narrows these down to the first key that differs.
//
//	Answer   hashes of a state, for whoever may ask
//	Compare  what differs between two states, each of which answers
//	Reactor  questions and answers between nodes that are peers
//	Report   what a node writes into its home when its state has parted from the others'
//
// A hash of a range says whether two states are equal in it. A hash of a value, which is given
// for single keys, can be guessed by whoever knows all but a few bits of the value. The proof
// of the key that is found holds its value.
package divergence
