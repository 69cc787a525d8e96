// Package scenarios makes up the life of a consortium, and attacks on it, as
// transactions in order of time: hospitals, a laboratory, an insurer and others with
// shifts, office hours, night jobs, weekends, emergencies, newcomers, key rotations and
// mistakes; and campaigns of ten kinds against them, with a label for each transaction.
//
// A Plan follows from its Options alone: the same options give the same bytes, and
// normal life is the same with and without attacks. Run executes a plan on a chain in
// this process, in virtual time; docs/scenarios.md says who is in it, by which rhythms,
// and what such a generator cannot say about a real consortium.
package scenarios
