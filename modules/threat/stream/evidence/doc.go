// Package evidence makes one score of several by adding up what each part does to the logarithm of the odds that a row
// is positive: weights of evidence (I. J. Good, "Probability and the Weighing of Evidence", 1950), fitted together, so
// that parts which say the same are not counted twice.
//
// Each part has corners (knots) of a line that never falls, from what the part says, in its own unit, to a weight in
// Q16: a number times 65536, of which ln 10 is ten times the odds. With w the weights of the parts that are present
//
//	margin = base + Σ w
//	score  = max(lift, scores(margin))
//
// where scores is a line of the same kind, from the margin to 0 to 10000, and lift what the loudest part says that
// lifts, as rules do. A part that is absent adds nothing. No part lowers margin or score by rising.
//
// It differs from package blend in that weights are not shares: two parts that are each a little suspicious can be
// more suspicious together than either, and one that is silent does not dilute the others. The lines are fitted off the
// chain (node/model.FitBlend); here they are numbers.
package evidence
