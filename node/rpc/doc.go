// Package rpc is a node's door: the gRPC services of proto/chancery/node/v1 and the
// query service of every module, with health and reflection.
//
// # Metadata
//
// A unary call may carry, as gRPC metadata,
//
//	chancery-height  the height of the state to read; default: the latest
//	chancery-prove   "1": prove every record that the query looks up
//
// and gets, in the response header, chancery-height with the height that was read,
// and for a proven query, in the trailer, chancery-receipt-bin with the receipt.
//
// # Errors
//
// An *errs.Error becomes a status with a google.rpc.ErrorInfo (domain: the module;
// reason: "module/code"; metadata: retryable, detail) and, when the same request may
// succeed later, a google.rpc.RetryInfo. Everything else is the node's own fault:
// it is logged under an incident number, and the client learns that number alone.
//
// # Bounds
//
// Connections, streams, calls, subscriptions, message sizes, deadlines and
// handshakes are all bounded (see Limits), so that no client costs the node more
// memory than its share.
package rpc
