// Package model is a model of consent, of held transactions and of changes of validators:
// their rules once more, as plainly as can be, over a state that is small enough to try
// everything. It knows nothing of the modules that it is a model of.
//
// Step is what one transaction, or the end of a block, does. Explore tries every order of
// every action within a Scope, breadth first, and checks the Sentences in each state and
// at each step; what breaks one is shown with the shortest way to it. The tests also run
// the same actions on the real application and compare the two after every one.
//
// What is left out: requests and their answers, superseding and rectification; categories,
// recipients, exclusions and guardians; suspension; approvals by playbooks; responses.
// Blocks are as far apart as the model's times, so a time is the height of a block.
package model
