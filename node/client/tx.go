package client

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// waitSpan is how long one call waits for a commit before the transaction is
	// submitted again, in case the node lost it.
	waitSpan = 10 * time.Second
	// offerSpan is how long a node has to take a transaction before another node is
	// asked.
	offerSpan = 10 * time.Second
	// grace is how much longer than valid_until an outcome is waited for.
	grace = 30 * time.Second
)

// Signer signs transactions with a key under the DID URL by which the author's
// document names it.
func Signer(keyURL string, key keys.Signer) tx.Signer { return named{key, keyURL} }

type named struct {
	keys.Signer
	url string
}

func (n named) KeyURL() string { return n.url }

// Draft starts a transaction of the client's chain, valid from now on for the
// client's Validity, with a new salt.
func (c *Client) Draft(author string, messages ...proto.Message) tx.Draft {
	return tx.Draft{
		ChainID: c.chainID, Author: author, Messages: messages,
		ValidUntil: time.Now().Add(c.options.validity).UnixMilli(),
		Salt:       NewSalt(),
	}
}

// NewSalt is a salt for a transaction.
func NewSalt() []byte {
	salt := make([]byte, tx.SaltSize)
	rand.Read(salt) // never fails: it ends the process instead
	return salt
}

// Do builds a transaction of the messages, which are executed in order and all or
// none, signs it, submits it and waits for its block. The error is the refusal of
// whoever refused it, an *errs.Error; where the transaction failed in a block, the
// result is returned with it. ErrTimeout means that the outcome is not known.
func (c *Client) Do(ctx context.Context, author string, signers []tx.Signer, messages ...proto.Message) (*chainv1.TxResult, error) {
	raw, _, err := c.Draft(author, messages...).Sign(signers...)
	if err != nil {
		return nil, err
	}
	return c.Commit(ctx, raw)
}

// Commit submits a signed transaction and waits for its block, like Do.
func (c *Client) Commit(ctx context.Context, raw []byte) (*chainv1.TxResult, error) {
	d, err := tx.Decode(raw)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, time.UnixMilli(d.Body.ValidUntil).Add(grace))
	defer cancel()
	pace := c.pace()
	for {
		r, taker, err := c.offer(ctx, d)
		if err == nil && r == nil {
			// A node that ends may take the transaction along, and then no other node
			// knows of it: the wait ends with the node.
			r, err = c.await(ctx, nodev1.NewTxClient(pinned{c, taker}), d.ID)
		}
		switch {
		case err == nil && r != nil:
			return r, FromResult(r)
		case err != nil && !retryable(err):
			return nil, c.unknown(ctx, d.ID, err)
		}
		if err := pace.pause(ctx, retryDelay(err)); err != nil {
			return nil, c.unknown(ctx, d.ID, err)
		}
	}
}

// Submit gives a signed transaction to a node, again and again while the refusal
// says that the same bytes may be taken later. The result is nil unless the
// transaction was committed before.
func (c *Client) Submit(ctx context.Context, raw []byte) (tx.ID, *chainv1.TxResult, error) {
	d, err := tx.Decode(raw)
	if err != nil {
		return tx.ID{}, nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, time.UnixMilli(d.Body.ValidUntil).Add(grace))
	defer cancel()
	pace := c.pace()
	for {
		r, _, err := c.offer(ctx, d)
		if err == nil || !retryable(err) {
			return d.ID, r, c.unknown(ctx, d.ID, err)
		}
		if err := pace.pause(ctx, retryDelay(err)); err != nil {
			return d.ID, nil, c.unknown(ctx, d.ID, err)
		}
	}
}

// Wait returns the result of a submitted transaction when it is committed, of
// success or of failure. It waits until the context ends.
func (c *Client) Wait(ctx context.Context, id tx.ID) (*chainv1.TxResult, error) {
	pace := c.pace()
	for {
		r, err := c.await(ctx, c.tx, id)
		switch {
		case err == nil && r != nil:
			return r, nil
		case err != nil && !retryable(err):
			return nil, c.unknown(ctx, id, err)
		}
		if err == nil {
			pace.reset()
		}
		if err := pace.pause(ctx, retryDelay(err)); err != nil {
			return nil, c.unknown(ctx, id, err)
		}
	}
}

// Result is the result of a committed transaction. The error has the gRPC code
// NOT_FOUND when it is not committed, or no longer on record.
func (c *Client) Result(ctx context.Context, id tx.ID) (*chainv1.TxResult, error) {
	r, err := c.tx.Result(ctx, &nodev1.ResultRequest{TxId: id[:]})
	if err != nil {
		return nil, err
	}
	if r.Result == nil {
		return nil, ErrNoAnswer.With("Tx.Result")
	}
	return r.Result, nil
}

// Simulate executes a signed transaction on the latest state and keeps nothing of
// it. The error is nil also for a result of failure.
func (c *Client) Simulate(ctx context.Context, raw []byte) (*chainv1.TxResult, error) {
	r, err := c.tx.Simulate(ctx, &nodev1.SimulateRequest{Tx: raw})
	if err != nil {
		return nil, err
	}
	if r.Result == nil {
		return nil, ErrNoAnswer.With("Tx.Simulate")
	}
	return r.Result, nil
}

// offer submits once, to the first node that takes the transaction, and says which
// that was. A result means that the transaction was committed already.
func (c *Client) offer(ctx context.Context, d *tx.Decoded) (*chainv1.TxResult, *endpoint, error) {
	var taker *endpoint
	r := new(nodev1.SubmitResponse)
	err := c.try(ctx, func(e *endpoint) error {
		taker = e
		call, cancel := context.WithTimeout(ctx, c.options.offerSpan)
		defer cancel()
		err := FromStatus(e.conn.Invoke(call, nodev1.Tx_Submit_FullMethodName, &nodev1.SubmitRequest{Tx: d.Raw}, r))
		if errors.Is(err, ErrTimeout) && ctx.Err() == nil {
			return ErrUnreachable.With("the node does not take the transaction within %v", c.options.offerSpan)
		}
		return err
	})
	switch {
	case err == nil:
		return r.Result, taker, nil
	case errors.Is(err, chain.ErrSeen):
		r, err := c.Result(ctx, d.ID)
		return r, taker, err
	case errors.Is(err, chain.ErrVoid):
		// It may have been committed before it became void.
		if r, err := c.Result(ctx, d.ID); err == nil {
			return r, taker, nil
		}
	}
	return nil, taker, err
}

// await waits for a commit for a while. No result and no error: not yet.
func (c *Client) await(ctx context.Context, from nodev1.TxClient, id tx.ID) (*chainv1.TxResult, error) {
	span := c.options.waitSpan
	if at, ok := ctx.Deadline(); ok {
		span = max(min(span, time.Until(at)), time.Millisecond)
	}
	call, cancel := context.WithTimeout(ctx, span+time.Second)
	defer cancel()
	r, err := from.Wait(call, &nodev1.WaitRequest{TxId: id[:], TimeoutMs: uint32(span.Milliseconds())})
	switch {
	case err == nil && r.Result != nil:
		return r.Result, nil
	case err == nil:
		return nil, ErrNoAnswer.With("Tx.Wait")
	case timedOut(err) && ctx.Err() == nil:
		return nil, nil
	}
	return nil, err
}

// unknown makes ErrTimeout, with the transaction's id, of the end of a context.
func (c *Client) unknown(ctx context.Context, id tx.ID, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		e := ErrTimeout.Wrap(context.DeadlineExceeded)
		e.Detail = "transaction " + id.String()
		return e
	}
	return err
}

func (c *Client) pace() *backoff { return &backoff{first: c.options.first, limit: c.options.limit} }
