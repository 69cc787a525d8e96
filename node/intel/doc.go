// Package intel is a node's own judgement of others, made ready for its vote
// extensions (docs/intelligence.md). Nothing here is part of consensus: validators
// may believe different things, and the chain adds their opinions up.
//
//	Book        what this node believes at present, and which of it is sent next
//	Adaptive    a detector that learns from committed blocks
//	Indicators  a file of indicators of compromise, or of what the operator says, watched
//	            for changes
//	Feed        the organisation's own service, asked over gRPC
//	Observer    reads committed blocks for them
//
// Sources write into the book at their own pace. What consensus reads of it (Next) is
// in memory: it waits for no disk and for no other machine.
package intel
