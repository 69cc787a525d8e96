package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
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
// result is returned with it. ErrTimeout means that the outcome is not known; where
// time runs out and every node refused all along, the error is the last refusal.
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
	ctx, cancel := context.WithDeadline(ctx, c.ends(d))
	defer cancel()
	pace := c.pace()
	var sure refusals
	for {
		r, taker, err := c.offer(ctx, d)
		sure.note(err)
		if err == nil && r == nil {
			// A node that ends may take the transaction along, and then no other node
			// knows of it: the wait ends with the node.
			r, err = c.await(ctx, nodev1.NewTxClient(pinned{c, taker}), d.ID)
			c.saw(taker, r)
		}
		switch {
		case err == nil && r != nil:
			return r, FromResult(r)
		case err != nil && (!retryable(err) || c.hopeless(ctx, d, err)):
			return nil, sure.or(c.unknown(ctx, d.ID, err))
		}
		if err := pace.pause(ctx, retryDelay(err)); err != nil {
			return nil, sure.or(c.unknown(ctx, d.ID, err))
		}
	}
}

// ends is when the outcome of a transaction is no longer waited for. One that is
// void already is offered all the same: it may have been committed in time, and
// the node says what it is otherwise.
func (c *Client) ends(d *tx.Decoded) time.Time {
	at := time.UnixMilli(d.Body.ValidUntil)
	if now := time.Now(); at.Before(now) {
		at = now
	}
	return at.Add(c.options.grace)
}

// refusals tells whether the outcome of a transaction is known although time ran
// out: when every answer so far was the node's refusal.
type refusals struct {
	last  error // the last refusal
	doubt bool  // some node took the transaction, or may have
}

func (r *refusals) note(err error) {
	var e *errs.Error
	if errors.As(err, &e) && e.Module != Errors.Module() && e.Module != "grpc" && !unavailable(err) && !timedOut(err) {
		r.last = err
		return
	}
	r.doubt = true
}

// or is the last refusal in place of ErrTimeout, where that is what is known.
// Where it is not, ErrTimeout tells of it.
func (r *refusals) or(err error) error {
	var e *errs.Error
	if r.last == nil || !errors.As(err, &e) || !errors.Is(err, ErrTimeout) {
		return err
	}
	if !r.doubt {
		return r.last
	}
	told := ErrTimeout.Wrap(context.DeadlineExceeded)
	told.Detail = fmt.Sprintf("%s; an answer was %v", e.Detail, r.last)
	return told
}

// hopeless tells whether a refusal that says that the same bytes may be taken
// later is one that this transaction will not outlive: by this machine's clock it
// is further ahead than the chain allows, however far behind the chain is.
func (c *Client) hopeless(ctx context.Context, d *tx.Decoded, err error) bool {
	return errors.Is(err, chain.ErrTooFarAhead) && beyond(d, c.maxValidity(ctx))
}

// beyond tells whether a transaction is further ahead than most, if that is known.
func beyond(d *tx.Decoded, most time.Duration) bool {
	return most > 0 && time.Until(time.UnixMilli(d.Body.ValidUntil)) > most
}

// maxValidity is how far ahead the chain lets valid_until be, 0 when no node says.
func (c *Client) maxValidity(ctx context.Context) time.Duration {
	p, err := c.node.Params(ctx, &nodev1.ParamsRequest{})
	if err != nil {
		return 0
	}
	return time.Duration(p.GetParams().GetMaxValidityMs()) * time.Millisecond
}

// Submit gives a signed transaction to a node, again and again while the refusal
// says that the same bytes may be taken later. The result is nil unless the
// transaction was committed before.
func (c *Client) Submit(ctx context.Context, raw []byte) (tx.ID, *chainv1.TxResult, error) {
	d, err := tx.Decode(raw)
	if err != nil {
		return tx.ID{}, nil, err
	}
	ctx, cancel := context.WithDeadline(ctx, c.ends(d))
	defer cancel()
	pace := c.pace()
	var sure refusals
	for {
		r, _, err := c.offer(ctx, d)
		sure.note(err)
		if err == nil || !retryable(err) || c.hopeless(ctx, d, err) {
			return d.ID, r, sure.or(c.unknown(ctx, d.ID, err))
		}
		if err := pace.pause(ctx, retryDelay(err)); err != nil {
			return d.ID, nil, sure.or(c.unknown(ctx, d.ID, err))
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
// it. The error is nil also for a result of failure. As Submit does, it tries again
// while the refusal says that the same bytes may be taken later, such as before a
// chain's first block; when the context ends, the last refusal is the error.
func (c *Client) Simulate(ctx context.Context, raw []byte) (*chainv1.TxResult, error) {
	d, err := tx.Decode(raw)
	if err != nil {
		return nil, err
	}
	pace := c.pace()
	var sure refusals
	for {
		r, err := c.tx.Simulate(ctx, &nodev1.SimulateRequest{Tx: raw})
		switch {
		case err == nil && r.Result == nil:
			return nil, ErrNoAnswer.With("Tx.Simulate")
		case err == nil:
			return r.Result, nil
		}
		sure.note(err)
		if !retryable(err) || c.hopeless(ctx, d, err) {
			return nil, sure.or(err)
		}
		if late := pace.pause(ctx, retryDelay(err)); late != nil {
			return nil, sure.or(c.unknown(ctx, d.ID, late))
		}
	}
}

// offer submits once, to the first node that takes the transaction, and says which
// that was. A result means that the transaction was committed already.
func (c *Client) offer(ctx context.Context, d *tx.Decoded) (*chainv1.TxResult, *endpoint, error) {
	var taker *endpoint
	r := new(nodev1.SubmitResponse)
	submit := func(e *endpoint) error {
		call, cancel := context.WithTimeout(ctx, c.options.offerSpan)
		defer cancel()
		err := FromStatus(e.conn.Invoke(call, nodev1.Tx_Submit_FullMethodName, &nodev1.SubmitRequest{Tx: d.Raw}, r))
		if errors.Is(err, ErrTimeout) && ctx.Err() == nil {
			return ErrUnreachable.With("the node does not take the transaction within %v", c.options.offerSpan)
		}
		return err
	}
	err := c.try(ctx, func(e *endpoint) error {
		taker = e
		err := submit(e)
		if !refused(err) || e.height.Load() >= c.seen.Load() {
			return err
		}
		if behind := c.behind(ctx, e, err); behind != nil {
			return behind
		}
		// It may have caught up only after it refused.
		return submit(e)
	})
	switch {
	case err == nil:
		hinted(ctx, r.Hint)
		c.saw(taker, r.Result)
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

// refused tells whether a node judged a transaction by its state and refused it for good.
func refused(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Module != Errors.Module() && e.Module != "grpc" && !e.Retryable() &&
		!unavailable(err) && !timedOut(err) && !errors.Is(err, chain.ErrSeen)
}

// behind is why a node's refusal says nothing: its state is of before a result that this
// client has seen, such as that of the record which the transaction is about. nil: it is
// not.
func (c *Client) behind(ctx context.Context, e *endpoint, refusal error) error {
	s, err := nodev1.NewNodeClient(pinned{c, e}).Status(ctx, &nodev1.StatusRequest{})
	if err != nil {
		return err
	}
	raise(&e.height, s.Height)
	if seen := c.seen.Load(); s.Height < seen {
		return ErrUnreachable.With("the node is at height %d and has yet to come to %d; it refused with %v", s.Height, seen, refusal)
	}
	return nil
}

// saw notes how far the chain is by a result, and the node that gave it, if one is named.
func (c *Client) saw(e *endpoint, r *chainv1.TxResult) {
	if r == nil {
		return
	}
	raise(&c.seen, r.Height)
	if e != nil {
		raise(&e.height, r.Height)
	}
}

// raise makes a the larger of itself and n.
func raise(a *atomic.Int64, n int64) {
	for was := a.Load(); n > was && !a.CompareAndSwap(was, n); was = a.Load() {
	}
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
		c.saw(nil, r.Result)
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
