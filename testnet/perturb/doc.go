// Package perturb disturbs networks of real processes by seeded plans, while clients use
// them, and checks from outside what must hold whatever happens:
//
//   - no two blocks, records or app hashes at one height;
//   - every acknowledged transaction is in exactly one block, where its result says;
//   - no consent that was withdrawn permits anything, on any node, from the withdrawal's
//     block on, and none that was given is lost;
//   - a subscriber that resumes at its cursor is told every event once and in order;
//   - receipts verify with the genesis file alone, and a damaged one does not;
//   - the chain goes on while no more than one of four is disturbed, and all nodes are at
//     one height with one app hash when nothing disturbs them any more;
//   - no block in which its proposer lied is committed, and the chain names who lied often or
//     voted twice, and nobody else;
//   - two of four commit nothing without the others, and go on when they are back.
//
// A seed decides the plan: what is done to whom, when and for how long. What the processes
// make of it depends on the machine, so a seed repeats the disturbance, not the outcome.
package perturb
