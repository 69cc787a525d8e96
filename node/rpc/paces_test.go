package rpc_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/rpc"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	refusalRate  = 250 // a second, of one caller
	refusalBurst = 250
	retryAfterMs = 700
)

// full is a door whose pool has room for nothing but "urgent". It counts what it refused.
func full(t *testing.T, l rpc.Limits) (*door, *atomic.Int64) {
	t.Helper()
	l.SlowReader = 10 * time.Second // however slow the test itself is
	d, refused := open(t, l), new(atomic.Int64)
	d.engine.submit = func(_ context.Context, raw []byte) (tx.ID, error) {
		if string(raw) == "urgent" {
			return tx.ID{1}, nil
		}
		refused.Add(1)
		return tx.ID{2}, chain.ErrBusy.RetryIn(retryAfterMs)
	}
	return d, refused
}

// submission is a stream that a test submits on.
type submission struct {
	t testing.TB
	nodev1.Tx_SubmitStreamClient
}

func submissionOn(t testing.TB, ctx context.Context, c nodev1.TxClient) submission {
	t.Helper()
	s, err := c.SubmitStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return submission{t, s}
}

// send submits n times the same without waiting for an answer.
func (s submission) send(n int, what string) {
	s.t.Helper()
	txs := make([][]byte, n)
	for i := range txs {
		txs[i] = []byte(what)
	}
	if err := s.Send(&nodev1.SubmitStreamRequest{Txs: txs}); err != nil {
		s.t.Fatal(err)
	}
}

// acks are the answers to the oldest batch.
func (s submission) acks() []*nodev1.Ack {
	s.t.Helper()
	r, err := s.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Acks
}

func (s submission) wantBusy(n int) {
	s.t.Helper()
	acks := s.acks()
	if len(acks) != n {
		s.t.Fatalf("%d answers, want %d", len(acks), n)
	}
	for _, a := range acks {
		if a.Code != chain.ErrBusy.Code || a.Codespace != "chain" || a.RetryAfterMs != retryAfterMs {
			s.t.Fatalf("a refusal is answered with %v", a)
		}
	}
}

// A client that sends whatever it is told is read as slowly as its refusals allow, each of
// which says when to come back, while all that the node has room for gets through at once:
// of others and, on another stream, of the same caller.
func TestARudeStreamIsReadSlowly(t *testing.T) {
	d, refused := full(t, limits())
	conn := d.dial()
	rude := submissionOn(t, t.Context(), nodev1.NewTxClient(conn))
	const batch, batches = 125, 11
	begun := time.Now()
	for range batches {
		rude.send(batch, "ordinary")
	}
	until(t, "the first burst is refused", func() bool { return refused.Load() >= refusalBurst+batch })

	for name, c := range map[string]nodev1.TxClient{"the same caller": nodev1.NewTxClient(conn), "another caller": nodev1.NewTxClient(d.dial())} {
		s := submissionOn(t, t.Context(), c)
		for range 20 {
			s.send(1, "urgent")
			if a := s.acks(); a[0].Code != 0 {
				t.Fatalf("%s: %v", name, a)
			}
		}
	}
	if refused.Load() == batch*batches {
		t.Error("others waited until all that was to be refused was refused")
	}
	for range batches {
		rude.wantBusy(batch)
	}
	// A batch is refused in one go, and its refusals count when it is answered.
	least := time.Duration(batch*(batches-1)-refusalBurst) * time.Second / refusalRate
	if took := time.Since(begun); took < least {
		t.Errorf("%d refusals took %v, want %v at least", batch*batches, took, least)
	}
	if d.measured("chancery_rpc_streams_paced_seconds_total") == 0 {
		t.Error("no pause was measured")
	}
}

// Many streams are no way around: their refusals are counted together, and where they have
// to wait for too long for their turns the next one is ended and no other opened. What needs
// no stream is served all the while, and other callers' streams are.
func TestManyStreamsOfACallerWaitTogether(t *testing.T) {
	l := limits()
	l.Streams, l.Calls = 64, 64
	d, count := full(t, l)
	c := nodev1.NewTxClient(d.dial())
	const streams = 40
	rude := make([]submission, streams)
	for i := range rude {
		rude[i] = submissionOn(t, t.Context(), c)
	}
	// Each has a call at the door before the first is refused.
	for _, s := range rude {
		s.send(1, "urgent")
		s.acks()
	}
	for _, s := range rude {
		s.send(500, "ordinary")
		s.wantBusy(500)
	}
	_, err := rude[streams-1].Recv()
	refusedFor(t, err)
	var s nodev1.Tx_SubmitStreamClient
	if s, err = c.SubmitStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	refusedFor(t, err)
	if count.Load() != 500*streams {
		t.Errorf("%d were refused, want %d", count.Load(), 500*streams)
	}
	if _, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: []byte("urgent")}); err != nil {
		t.Errorf("a submission without a stream: %v", err)
	}
	other := submissionOn(t, t.Context(), nodev1.NewTxClient(d.dial()))
	other.send(1, "urgent")
	if a := other.acks(); a[0].Code != 0 {
		t.Errorf("another caller: %v", a)
	}
}

// refusedFor checks that a stream is refused because its caller's wait, and says for how long.
func refusedFor(t *testing.T, err error) {
	t.Helper()
	refused(t, err, rpc.ErrShare, codes.ResourceExhausted)
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok && retry.RetryDelay.AsDuration() <= 0 {
			t.Errorf("come back after %v", retry.RetryDelay.AsDuration())
		}
	}
}

// What a stream waits for its turn is no idleness of the client's, and a client that has
// more to say then is answered.
func TestAPacedStreamIsNotIdle(t *testing.T) {
	l := limits()
	l.Idle = 300 * time.Millisecond
	d, _ := full(t, l)
	s := submissionOn(t, t.Context(), nodev1.NewTxClient(d.dial()))
	for range 3 {
		s.send(refusalBurst, "ordinary") // from the second on, a second of waiting each
	}
	s.send(1, "urgent")
	for range 3 {
		s.wantBusy(refusalBurst)
	}
	if a := s.acks(); a[0].Code != 0 {
		t.Errorf("after the pauses: %v", a)
	}
}

// The end of the node, and that of the client, end a pause.
func TestAPauseEndsWithItsStream(t *testing.T) {
	l := limits()
	l.Calls = 1
	d, _ := full(t, l)
	c := nodev1.NewTxClient(d.dial())
	paced := func(ctx context.Context) submission {
		t.Helper()
		s := submissionOn(t, ctx, c)
		for range 4 {
			s.send(refusalBurst, "ordinary")
		}
		s.wantBusy(refusalBurst)
		s.wantBusy(refusalBurst)
		return s
	}
	ctx, cancel := context.WithCancel(t.Context())
	paced(ctx)
	cancel()
	until(t, "the call of a client that went away is free", func() bool {
		_, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: []byte("urgent")})
		return err == nil
	})
	s := paced(t.Context())
	begun := time.Now()
	d.shutdown()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the server took %s to stop", took)
	}
	for {
		_, err := s.Recv()
		if err == nil {
			continue // an answer from before
		}
		if errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		refused(t, err, rpc.ErrStopping, codes.Unavailable)
		return
	}
}
