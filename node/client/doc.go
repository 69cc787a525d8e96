// Package client talks to nodes of a chain: it signs and submits transactions
// exactly once, waits for their results, asks queries with proofs and follows
// events without a gap.
//
// A Client is made by Dial and is safe for concurrent use. It holds a list of
// addresses; a call that finds its node unreachable goes to the next one, which is
// then used until it fails too. Every node must be of the same chain.
//
// # Transactions
//
// Do builds, signs, submits and waits. The same bytes are submitted again as often
// as it takes: a transaction has one effect, however often it arrives. What Do
// returns is certain, with one exception: ErrTimeout says that the outcome is not
// known, and names the transaction.
//
// A transaction that failed in its block is an *errs.Error of the module that
// refused it, so errors.Is tells which refusal it was.
//
// # Queries
//
// Conn serves the generated clients of every module:
//
//	consent := consentv1.NewQueryClient(c.Conn())
//	var proof client.Receipt
//	answer, err := consent.Consent(client.Prove(ctx, &proof), &consentv1.ConsentRequest{Id: id})
//
// AtHeight reads an earlier state. Prove asks for a receipt with the answer, also
// when the answer is that there is no such record.
//
// # Events
//
// Subscribe calls a function for each batch of events, in order. The batch carries
// a cursor; a caller that stores the cursor together with what it made of the
// events sees every event exactly once, whatever is restarted in between.
package client
