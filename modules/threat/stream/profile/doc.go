// Package profile knows what an actor, or a group of peers, usually does, and says how surprising an event is to it:
// a naive Bayes over categorical features (kind of message, class of the resource, hour, …) in integers.
//
// A subject, be it an actor or a group, has two profiles of one form, a distribution for each feature with masses that
// sum to 2^20:
//
//   - the Anchor is frozen. Nothing that happens moves it; a new one is made by an explicit act, from counts
//     (Tally.Freeze) or from the adaptive profile (Adaptive.Rebase).
//   - the Adaptive moves towards each event that it absorbs by a fixed fraction, and at most so many times in an epoch.
//
// Either may find an event surprising, and the distance of the two says how far a subject has drifted from what was
// approved. A sequence that shifts the habits of an actor slowly enough to look usual at each step (a boiling frog)
// leaves the anchor where it is, and moves the adaptive profile by no more than Settings.Step for each event and
// Settings.StepsPerEpoch times that in an epoch.
//
// Only a Settled event can train. It is made by Settle from an event that was admitted, whose appeal window is over and
// against which no appeal stands. An event that was ever held, whatever its reviewers decided, is never Settled. So the
// type forbids that what was held trains a profile.
//
// A profile is one record, of at most MaxRecord bytes: scoring an event reads at most four (anchor and adaptive of
// the actor and of its peers), and absorbing writes at most two.
package profile
