// Package trees scores a row of integers with an ensemble of decision trees: boosted
// trees that were trained elsewhere and quantised, or a frozen isolation forest. It
// holds integers alone, so that every machine finds the same score.
//
// # Rows
//
// A row is one int64 per feature. Missing stands for a value that is not known.
//
// # Trees
//
// A split sends a row to its left child when the value of its feature is at most its
// threshold, else to its right child; a missing value goes where the split's default
// says. Leaves are Q16 (a value times 65536). A margin is a base and the sum of one
// leaf per tree, in int64: it is compared as it stands, without a sigmoid.
//
// In an isolation forest (Liu, Ting, Zhou, ICDM 2008, section 4) a leaf is the path
// that leads there, negated: its depth and the mean path c(n) of what the tree left
// undivided. The margin is positive for a row that was isolated sooner than the mean
// row, and grows with the anomaly.
//
// # Reasons
//
// Every split knows the mean of what is below it. The step from a split to its child
// changes that mean, and the change is put down to the split's feature (Saabas 2014).
// So the contributions and the ensemble's bias add up to the margin, to the bit.
//
// # Work
//
// A score costs one unit per tree and one per split that it passes. The units follow
// from ensemble and row alone; Ensemble.MaxWork bounds them before the row is known.
//
// # Bounds
//
// New and NewForest refuse whatever is beyond the constants Max…: after them nothing
// can overflow, loop or index out of range.
package trees
