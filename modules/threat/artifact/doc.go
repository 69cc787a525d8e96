// Package artifact is the form in which a model is shipped, hashed and chosen: one
// chancery.threat.v1.Model in canonical bytes, and the scorer that those bytes hold.
//
// Decode takes bytes from anybody. It refuses those that are not what they marshal to
// again, have unknown fields, or hold trees, features, calibrations or thresholds that
// are beyond the bounds or contradict themselves; see Decode for the rules. What it
// returns scores any row without failing, in bounded time and without allocating.
//
// The package reads no state and holds integers alone. Training and conversion are in
// node/model.
package artifact
