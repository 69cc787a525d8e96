package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// maxBatchTxs and maxBatchBytes bound one message of a Stream.
	maxBatchTxs   = 1000
	maxBatchBytes = 900 << 10
	// window is how many batches of SubmitBatch are under way.
	window = 8
	// longestAway is how long a stream keeps away from a node at most, before the span
	// that is drawn to spread clients.
	longestAway = 30 * time.Second
)

// Stream submits batches of transactions over one call, several under way at a
// time. Send belongs to one goroutine.
type Stream struct {
	stream grpc.BidiStreamingClient[nodev1.SubmitStreamRequest, nodev1.SubmitStreamResponse]
	cancel context.CancelFunc
	slots  chan struct{} // one for each batch that is not yet answered
	done   chan struct{} // closed when receiving has ended
	seq    uint64

	mu   sync.Mutex // guards all below
	err  error      // why receiving ended, nil for its end in good order
	away time.Time  // until when the node wants nothing more
}

// Stream opens a stream on which at most window batches wait for an answer; Send
// blocks beyond, and for as long as a node asks that refused all of a batch for now, half
// a minute at most. acks is called for each answered batch, in order, from another
// goroutine, with the number that Send returned. An ack says that the node took a
// transaction, or why not: not what becomes of it in a block. A Stream does not
// resume: after an error, submit what was not answered on another one.
func (c *Client) Stream(ctx context.Context, window int, acks func(seq uint64, acks []*nodev1.Ack)) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	g, err := c.tx.SubmitStream(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Stream{stream: g, cancel: cancel, slots: make(chan struct{}, max(window, 1)), done: make(chan struct{})}
	go s.receive(acks)
	return s, nil
}

func (s *Stream) receive(acks func(uint64, []*nodev1.Ack)) {
	defer close(s.done)
	for {
		r, err := s.stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.mu.Lock()
				s.err = err
				s.mu.Unlock()
			}
			return
		}
		acks(r.Seq, r.Acks)
		s.heed(r.Acks)
		select {
		case <-s.slots:
		default:
			s.mu.Lock()
			s.err = ErrNoAnswer.With("the node answered a batch that was not sent")
			s.mu.Unlock()
			return
		}
	}
}

// heed keeps away from a node that refused all of a batch for now, for the least that it asks
// for and up to half as long again, so that many clients do not come back together.
func (s *Stream) heed(acks []*nodev1.Ack) {
	pause := min(leastPause(acks), longestAway)
	if pause == 0 {
		return
	}
	s.mu.Lock()
	s.away = time.Now().Add(pause + rand.N(pause/2+1))
	s.mu.Unlock()
}

// leastPause is the least of the pauses that the acks of a batch ask for, 0 where one asks for
// none.
func leastPause(acks []*nodev1.Ack) (least time.Duration) {
	for i, a := range acks {
		after := time.Duration(a.RetryAfterMs) * time.Millisecond
		if i == 0 || after < least {
			least = after
		}
	}
	return least
}

// keepAway waits until the node may be sent to again, or receiving has ended.
func (s *Stream) keepAway() {
	for {
		s.mu.Lock()
		left := time.Until(s.away)
		s.mu.Unlock()
		if left <= 0 {
			return
		}
		select {
		case <-time.After(left):
		case <-s.done:
			return
		}
	}
}

// Send submits a batch, at most 1000 transactions and 1 MiB together, and returns
// its number, from 1.
func (s *Stream) Send(txs [][]byte) (uint64, error) {
	select {
	case s.slots <- struct{}{}:
	case <-s.done:
		return 0, s.failure()
	}
	s.keepAway()
	s.seq++
	if err := s.stream.Send(&nodev1.SubmitStreamRequest{Txs: txs, Seq: s.seq}); err != nil {
		if errors.Is(err, io.EOF) { // the reason comes from Recv
			<-s.done
			return 0, s.failure()
		}
		return 0, err
	}
	return s.seq, nil
}

// failure is why a stream that should be open is not.
func (s *Stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return ErrStream
}

// Close ends the stream after all batches are answered, and returns why it ended
// if that was before.
func (s *Stream) Close() error {
	defer s.cancel()
	broken := s.stream.CloseSend()
	if broken != nil {
		s.cancel()
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return FromStatus(broken)
	}
	return s.err
}

// SubmitBatch submits any number of signed transactions over a Stream, and again
// those whose refusal says that they may be taken later. It returns, for each, nil
// when a node took it, or its refusal. The second error is that of the connection
// or the context; then transactions without an answer have that as their error.
func (c *Client) SubmitBatch(ctx context.Context, txs [][]byte) ([]error, error) {
	out := make([]error, len(txs))
	open := make([]int, 0, len(txs)) // indices of those without a final answer
	for i, raw := range txs {
		if len(raw) > tx.MaxBytes {
			out[i] = tx.ErrTooLarge.With("%d bytes, at most %d", len(raw), tx.MaxBytes)
			continue
		}
		out[i] = ErrStream
		open = append(open, i)
	}
	pace := c.pace()
	most := sync.OnceValue(func() time.Duration { return c.maxValidity(ctx) })
	hopeless := func(i int) bool {
		if !errors.Is(out[i], chain.ErrTooFarAhead) {
			return false
		}
		d, err := tx.Decode(txs[i])
		return err == nil && beyond(d, most())
	}
	for len(open) > 0 {
		before := len(open)
		err := c.submitOnce(ctx, txs, open, out)
		var again []int
		for _, i := range open {
			if errors.Is(out[i], ErrStream) || retryable(out[i]) && !hopeless(i) {
				again = append(again, i)
			}
		}
		open = again
		if len(open) == 0 {
			break
		}
		if err != nil && !retryable(err) {
			return settle(out, open, err), err
		}
		if len(open) < before {
			pace.reset()
		}
		if waiting := pace.pause(ctx, max(retryDelay(err), soonest(out, open))); waiting != nil {
			waiting = FromStatus(waiting)
			return settle(out, open, waiting), waiting
		}
	}
	return out, nil
}

// soonest is when the first of those at open is best submitted again, 0 where one does not say.
func soonest(out []error, open []int) (least time.Duration) {
	for k, i := range open {
		after := time.Duration(0)
		var e *errs.Error
		if errors.As(out[i], &e) {
			after = time.Duration(e.RetryMs) * time.Millisecond
		}
		if k == 0 || after < least {
			least = after
		}
	}
	return least
}

// fromAck is the refusal that an ack stands for, nil where the node took the transaction.
func fromAck(a *nodev1.Ack) error {
	if a.Code == 0 {
		return nil
	}
	return refusal(a.Codespace, a.Code, a.Log).RetryIn(int64(a.RetryAfterMs))
}

// settle gives those that were never answered the error that ended it all.
func settle(out []error, open []int, err error) []error {
	for _, i := range open {
		if errors.Is(out[i], ErrStream) {
			out[i] = err
		}
	}
	return out
}

// Fit is how many of n transactions, the first ones, go into one Send; bytes is how many the
// i-th has.
func Fit(n int, bytes func(i int) int) (fit int) {
	for size := 0; fit < n && fit < maxBatchTxs; fit++ {
		if size += bytes(fit); fit > 0 && size > maxBatchBytes {
			break
		}
	}
	return fit
}

// submitOnce submits those at open over one stream and writes their answers.
func (c *Client) submitOnce(ctx context.Context, txs [][]byte, open []int, out []error) error {
	var (
		mu      sync.Mutex // guards batches and out
		batches = make(map[uint64][]int)
		next    uint64
	)
	s, err := c.Stream(ctx, window, func(seq uint64, acks []*nodev1.Ack) {
		mu.Lock()
		defer mu.Unlock()
		for k, i := range batches[seq] {
			if k < len(acks) {
				out[i] = fromAck(acks[k])
				if errors.Is(out[i], chain.ErrSeen) {
					out[i] = nil
				}
			}
		}
	})
	if err != nil {
		return err
	}
	for len(open) > 0 {
		n := Fit(len(open), func(i int) int { return len(txs[open[i]]) })
		batch := make([][]byte, n)
		for k := range batch {
			batch[k] = txs[open[k]]
		}
		next++
		mu.Lock()
		batches[next] = open[:n]
		mu.Unlock()
		open = open[n:]
		if _, err := s.Send(batch); err != nil {
			_ = s.Close()
			return err
		}
	}
	return s.Close()
}
