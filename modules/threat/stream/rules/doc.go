// Package rules holds what must never pass unseen: named conditions over integer features, each with a score and a
// reason for a person to read.
//
// A condition is a test of one feature against a number (<, <=, =, !=, >=, >), or a count of conditions of which at
// least so many must hold: one for "or", all for "and". There is nothing else: no arithmetic, no negation but by the
// opposite comparison, no text. Sets, conditions and their depth are bounded, and the work of a set is the number of
// its conditions, whatever the features are.
//
// Rules name features, and Bind finds them in the list that a model works with. A set has one encoding.
package rules
