package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func raws(n, size int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(make([]byte, size), "%d", i)
	}
	return out
}

func TestSubmitBatchAnswersForEachInOrder(t *testing.T) {
	busy := map[string]int{}
	f := serve(t, &fake{ack: func(_ int, raw []byte) error {
		switch string(raw) {
		case "7":
			return chain.ErrBadSignature
		case "9":
			return chain.ErrSeen
		case "11", "2400":
			if busy[string(raw)]++; busy[string(raw)] < 3 {
				return chain.ErrBusy
			}
		}
		return nil
	}})
	txs := raws(2500, 0)
	txs = append(txs, make([]byte, tx.MaxBytes+1))
	got, err := dialFake(t, f.address).SubmitBatch(t.Context(), txs)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range got {
		switch i {
		case 7:
			if !errors.Is(err, chain.ErrBadSignature) {
				t.Errorf("7: %v", err)
			}
		case 2500:
			if !errors.Is(err, tx.ErrTooLarge) {
				t.Errorf("2500: %v", err)
			}
		default:
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	if f.acked != 2500+2*2 {
		t.Errorf("%d were submitted: only those that may be taken later are submitted again", f.acked)
	}
}

func TestSubmitBatchGoesOnAfterTheStreamBreaks(t *testing.T) {
	f := serve(t, &fake{batch: func(n int) error {
		if n == 2 || n == 5 {
			return status.Error(codes.Unavailable, "broken off")
		}
		return nil
	}})
	got, err := dialFake(t, f.address).SubmitBatch(t.Context(), raws(30, 400<<10)) // two a batch
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range got {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestSubmitBatchSaysWhatWasNotAnswered(t *testing.T) {
	f := serve(t, &fake{
		batch: func(n int) error {
			if n > 1 {
				return status.Error(codes.Internal, "fault")
			}
			return nil
		},
	})
	got, err := dialFake(t, f.address).SubmitBatch(t.Context(), raws(1500, 0))
	if err == nil || got[1499] == nil || errors.Is(got[1499], ErrStream) {
		t.Errorf("%v, %v", err, got[1499])
	}
	f = serve(t, &fake{ack: func(int, []byte) error { return chain.ErrBusy }})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got, err = dialFake(t, f.address).SubmitBatch(ctx, raws(3, 0))
	if !errors.Is(err, ErrTimeout) || !errors.Is(got[2], chain.ErrBusy) {
		t.Errorf("%v, %v", err, got[2])
	}
}

func TestAStreamKeepsToItsWindow(t *testing.T) {
	hold := make(chan struct{})
	f := serve(t, &fake{batch: func(int) error { <-hold; return nil }})
	acked := make(chan uint64, 10)
	s, err := dialFake(t, f.address).Stream(t.Context(), 2, func(seq uint64, acks []*nodev1.Ack) { acked <- seq })
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan uint64, 10)
	go func() {
		for range 3 {
			seq, err := s.Send(raws(1, 0))
			if err != nil {
				t.Error(err)
			}
			sent <- seq
		}
		close(sent)
	}()
	<-sent
	<-sent
	select {
	case <-sent:
		t.Error("the third batch went out although none was answered")
	case <-time.After(50 * time.Millisecond):
	}
	close(hold)
	<-sent
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for want := uint64(1); want <= 3; want++ {
		if got := <-acked; got != want {
			t.Errorf("batch %d was answered, want %d", got, want)
		}
	}
	if _, err := s.Send(raws(1, 0)); err == nil {
		t.Error("a closed stream takes a batch")
	}
}

func TestABatchDoesNotWaitForWhatIsTooFarAhead(t *testing.T) {
	f := serve(t, &fake{ack: func(n int, _ []byte) error {
		if n <= 2 {
			return chain.ErrTooFarAhead.With("of %d", n)
		}
		return nil
	}})
	c := dialFake(t, f.address)
	sign := func(validity time.Duration) []byte {
		t.Helper()
		d := c.Draft(author, setParams())
		d.ValidUntil = time.Now().Add(validity).UnixMilli()
		raw, _, err := d.Sign(signer(t, author+"#key-1"))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	got, err := c.SubmitBatch(t.Context(), [][]byte{sign(time.Minute), sign(time.Hour)})
	if err != nil || got[0] != nil || !errors.Is(got[1], chain.ErrTooFarAhead) {
		t.Errorf("%v, %v", got, err)
	}
}

// A node that has no room for anything of a batch is left alone for the least that it asks
// for, and one that took something is not.
func TestAStreamKeepsAwayWhileTheNodeAsksForIt(t *testing.T) {
	const least = 300 * time.Millisecond
	f := serve(t, &fake{ack: func(n int, _ []byte) error {
		switch n {
		case 1:
			return chain.ErrBusy.RetryIn(10_000)
		case 2:
			return chain.ErrBusy.RetryIn(least.Milliseconds())
		case 3:
			return nil
		}
		return chain.ErrBusy.RetryIn(10_000)
	}})
	acked := make(chan int, 10)
	s, err := dialFake(t, f.address).Stream(t.Context(), 1, func(_ uint64, acks []*nodev1.Ack) { acked <- len(acks) })
	if err != nil {
		t.Fatal(err)
	}
	send := func() time.Duration {
		t.Helper()
		begun := time.Now()
		if _, err := s.Send(raws(2, 0)); err != nil {
			t.Fatal(err)
		}
		<-acked
		return time.Since(begun)
	}
	send()
	if took := send(); took < least {
		t.Errorf("the next batch was sent and answered after %v, and the node asked for %v", took, least)
	}
	if took := send(); took > 5*time.Second {
		t.Errorf("a batch of which the node took a part was followed by a pause of %v", took)
	}
	// The third was refused for ten seconds: the end of the stream ends that pause, too.
	go s.cancel()
	if _, err := s.Send(raws(2, 0)); err == nil {
		t.Error("a batch was sent on a stream that has ended")
	}
}

func TestSubmitBatchComesBackWhenTheNodeSays(t *testing.T) {
	const after = 400 * time.Millisecond
	f := serve(t, &fake{ack: func(n int, _ []byte) error {
		if n <= 2 {
			return chain.ErrBusy.RetryIn(after.Milliseconds())
		}
		return nil
	}})
	begun := time.Now()
	got, err := dialFake(t, f.address).SubmitBatch(t.Context(), raws(2, 0))
	if err != nil || got[0] != nil || got[1] != nil {
		t.Fatal(got, err)
	}
	if took := time.Since(begun); took < after {
		t.Errorf("the batch was submitted again within %v, and the node asked for %v", took, after)
	}
}
