package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/client"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// unanswered is how many batches may wait for an answer on one stream of a client that is
// not rude.
const unanswered = 64

// The events that tell what became of a transaction, by full name.
const (
	heldEvent    = "chancery.threat.v1.TxHeld"
	deniedEvent  = "chancery.threat.v1.TxDenied"
	alarmEvent   = "chancery.threat.v1.Alarm"
	decidedEvent = "chancery.access.v1.Decided"
)

// Chain is nodes of a chain as a target. The first of them tells of blocks.
type Chain struct {
	nodes  []*client.Client
	events []string
}

// Dial connects to nodes of one chain, to each by itself.
func Dial(ctx context.Context, addresses []string, opts ...client.Option) (*Chain, error) {
	c := &Chain{events: append([]string{heldEvent, deniedEvent, alarmEvent}, workEvents...)}
	for _, a := range addresses {
		cl, err := client.Dial(ctx, a, opts...)
		if err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		c.nodes = append(c.nodes, cl)
		if cl.ChainID() != c.ChainID() {
			_ = c.Close()
			return nil, client.ErrWrongChain.With("%s is of %q, %s of %q", addresses[0], c.ChainID(), a, cl.ChainID())
		}
	}
	if len(c.nodes) == 0 {
		return nil, client.ErrAddress.With("none is given")
	}
	return c, nil
}

// ChainID is the chain that all nodes are of.
func (c *Chain) ChainID() string { return c.nodes[0].ChainID() }

// First is the client of the first node.
func (c *Chain) First() *client.Client { return c.nodes[0] }

// Close closes the connections.
func (c *Chain) Close() error {
	var faults []error
	for _, n := range c.nodes {
		faults = append(faults, n.Close())
	}
	return errors.Join(faults...)
}

// Entries implements Target.
func (c *Chain) Entries() int { return len(c.nodes) }

// stream is an Entry over one call.
type stream struct {
	s sender

	mu   sync.Mutex // guards sent
	sent [][]*Tx    // batches without an answer, oldest first
}

// sender submits batches over one call.
type sender interface {
	Send(txs [][]byte) (uint64, error)
	Close() error
}

// Open implements Target. A rude stream has any number of batches under way, and never keeps
// away from a node that asks for it.
func (c *Chain) Open(ctx context.Context, i int, rude bool, answers func([]*Tx, []Answer)) (Entry, error) {
	e := new(stream)
	heard := func(_ uint64, acks []*nodev1.Ack) {
		e.mu.Lock()
		if len(e.sent) == 0 || len(e.sent[0]) != len(acks) {
			e.mu.Unlock()
			return // the stream itself refuses an answer to nothing
		}
		batch := e.sent[0]
		e.sent = e.sent[1:]
		e.mu.Unlock()
		out := make([]Answer, len(acks))
		for k, a := range acks {
			if a.Code != 0 {
				e := &errs.Error{Module: a.Codespace, Code: a.Code}
				out[k] = Answer{Refusal: fmt.Sprintf("%s/%d", a.Codespace, a.Code), Again: e.Retryable(), After: time.Duration(a.RetryAfterMs) * time.Millisecond}
			}
		}
		answers(batch, out)
	}
	var err error
	if rude {
		e.s, err = openRude(ctx, nodev1.NewTxClient(c.nodes[i].Conn()), heard)
	} else {
		e.s, err = c.nodes[i].Stream(ctx, unanswered, heard)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *stream) Send(batch []*Tx) error {
	for len(batch) > 0 {
		n := client.Fit(len(batch), func(i int) int { return len(batch[i].Raw) })
		raws := make([][]byte, n)
		for i, tx := range batch[:n] {
			raws[i] = tx.Raw
		}
		e.mu.Lock()
		e.sent = append(e.sent, batch[:n])
		e.mu.Unlock()
		if _, err := e.s.Send(raws); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

func (e *stream) Close() error { return e.s.Close() }

// Watch implements Target.
func (c *Chain) Watch(ctx context.Context, ready func(), tell func(News)) error {
	now, err := c.nodes[0].Now(ctx)
	if err != nil {
		return err
	}
	ready() // the stream begins at a place, not at a time
	return c.nodes[0].Subscribe(ctx, now, c.events, func(b client.Batch) error {
		var n News
		for _, e := range b.Events {
			if len(e.TxId) != len(ID{}) {
				continue
			}
			switch e.Event.GetType() {
			case alarmEvent:
				n.Alarms = append(n.Alarms, ID(e.TxId))
			case heldEvent, deniedEvent:
				n.Held = append(n.Held, ID(e.TxId))
			case decidedEvent:
				var d accessv1.Decided
				if err := d.UnmarshalVT(e.Event.GetValue()); err != nil {
					return fmt.Errorf("%s: %w", decidedEvent, err)
				}
				if d.Outcome != accessv1.Outcome_OUTCOME_ALLOW {
					n.Denied = append(n.Denied, ID(e.TxId))
				}
				n.Executed = append(n.Executed, ID(e.TxId))
			default:
				n.Executed = append(n.Executed, ID(e.TxId))
			}
		}
		tell(n)
		return nil
	})
}

// Outcome implements Target.
func (c *Chain) Outcome(ctx context.Context, id ID) (Outcome, error) {
	r, err := c.nodes[0].Result(ctx, id)
	if s, ok := status.FromError(err); ok && s.Code() == codes.NotFound {
		return Pending, nil
	}
	if err != nil {
		return Pending, err
	}
	switch err := client.FromResult(r); {
	case err == nil:
		return Executed, nil
	case errors.Is(err, chain.ErrHeld), errors.Is(err, chain.ErrDenied):
		return Held, nil
	}
	return Failed, nil
}
