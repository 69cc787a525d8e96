// Package detector is the consensus scorer as it is shipped, hashed and chosen: one chancery.threat.v1.Detector in
// canonical bytes, and what it says of a transaction.
//
// A detector has up to eight parts, which blend into one score from 0 to 10000. Their order is permanent:
//
//	boosted     boosted trees over the row of package features; margin, Q16
//	forest      isolation forest over the same row; margin, Q16
//	midas       bursts on the edge from actor to resource; chi-squared, Q16
//	half-space  thinly populated regions of the features of profiles; sparsity in bits, Q12
//	own         surprise against what the actor was approved to do or does of late, the larger; bits, Q12
//	peers       how much more it surprises for the actor than for its peers; bits, Q12
//	drift       how far the actor's habits have moved from the approved ones; bits, Q12
//	rules       conditions over the row that must never pass unseen; score
//
// A part that the detector lacks, or that has nothing to say yet, is not present and does not count.
//
// Decode takes bytes from anybody; what it returns scores in bounded work, without allocating, and fails only where
// the store of cells does. It is never written after Decode and may be shared; a Scratch may not.
package detector
