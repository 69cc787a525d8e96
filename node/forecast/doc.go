// Package forecast says what to expect of an actor, an organisation or a resource:
// how many events a bucket of block time will hold and at which risk, with
// prediction intervals, and how well such forecasts did on the past.
//
// It runs in the node and is no part of consensus: floats are allowed, and nothing
// here reaches a block. A Store is fed from the node's own records by Follow and read
// by Service; both are safe for concurrent use. Everything from History down is
// pure: the same history gives the same forecast.
//
// Time is block time in Unix milliseconds, cut into buckets of one fixed width that
// are numbered from the epoch. A rate is a number of events in a bucket. A risk is
// the mean score of the scored events of a bucket, 0 to 10000.
//
// docs/forecast.md has the formulas with their sources, the bounds and the cost.
package forecast
