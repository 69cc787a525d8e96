// Package fixed is the integer arithmetic of the streaming scorers: logarithms, products and quotients that do not
// overflow, decay and seeded mixing. Every function is defined for every input, allocates nothing, takes a bounded
// number of steps and gives the same result on every machine.
//
// Scales are in the names: Q12 is a number times 2^12, Q63 a number times 2^63. Where a result does not fit, the
// function says what it gives instead.
package fixed
