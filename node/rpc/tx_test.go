package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/rpc"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func TestSubmitOnceWaitAndResult(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewTxClient(d.dial())
	ctx := t.Context()
	raw := d.chain.SetParams()
	first, err := c.Submit(ctx, &nodev1.SubmitRequest{Tx: raw})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Submit(ctx, &nodev1.SubmitRequest{Tx: raw})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.TxId, again.TxId) || again.Result != nil {
		t.Fatalf("the second submission answers %v", again)
	}
	_, err = c.Result(ctx, &nodev1.ResultRequest{TxId: first.TxId})
	refused(t, err, rpc.ErrNoResult, codes.NotFound)

	waited := make(chan *chainv1.TxResult, 1)
	go func() {
		r, err := c.Wait(ctx, &nodev1.WaitRequest{TxId: first.TxId})
		if err != nil {
			t.Error(err)
		}
		waited <- r.GetResult()
	}()
	time.Sleep(50 * time.Millisecond)
	d.chain.Block()
	d.chain.Block()
	result := <-waited
	if result.GetCode() != 0 || result.GetHeight() != 2 || !bytes.Equal(result.GetTxId(), first.TxId) {
		t.Fatalf("Wait answers %v", result)
	}
	have, err := c.Result(ctx, &nodev1.ResultRequest{TxId: first.TxId})
	if err != nil || !have.Result.EqualVT(result) {
		t.Fatalf("Result answers %v, %v", have, err)
	}
	// Submitted again after it was committed: the first result.
	third, err := c.Submit(ctx, &nodev1.SubmitRequest{Tx: raw})
	if err != nil || !third.Result.EqualVT(result) {
		t.Fatalf("a submission after the commit answers %v, %v", third, err)
	}
}

func TestSubmitRefuses(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewTxClient(d.dial())
	submit := func(raw []byte) error {
		_, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: raw})
		return err
	}
	refused(t, submit(nil), tx.ErrIncomplete, codes.InvalidArgument)
	refused(t, submit([]byte("no transaction")), tx.ErrMalformed, codes.InvalidArgument)
	raw := d.chain.SetParams()
	bad := bytes.Clone(raw)
	bad[len(bad)-1] ^= 1
	refused(t, submit(bad), chain.ErrBadSignature, codes.PermissionDenied)
	refused(t, submit(d.chain.Tx(organisation, &chainv1.SetParams{Params: chain.DefaultParams()})), chain.ErrNotConsortium, codes.PermissionDenied)
	d.engine.submit = func(context.Context, []byte) (tx.ID, error) { return tx.ID{}, chain.ErrBusy.With("full") }
	refused(t, submit(raw), chain.ErrBusy, codes.ResourceExhausted)
}

func TestWaitRefuses(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewTxClient(d.dial())
	_, err := c.Wait(t.Context(), &nodev1.WaitRequest{TxId: []byte{1}})
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
	begun := time.Now()
	_, err = c.Wait(t.Context(), &nodev1.WaitRequest{TxId: make([]byte, 32), TimeoutMs: 50})
	refused(t, err, rpc.ErrTimeout, codes.DeadlineExceeded)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("a wait of 50 ms took %s", took)
	}
	// A client that names no deadline gets the node's.
	begun = time.Now()
	_, err = c.Wait(context.Background(), &nodev1.WaitRequest{TxId: make([]byte, 32)})
	refused(t, err, rpc.ErrTimeout, codes.DeadlineExceeded)
	if took := time.Since(begun); took < limits().Deadline/2 || took > 3*limits().Deadline {
		t.Errorf("the node's deadline of %s came after %s", limits().Deadline, took)
	}
}

func TestSimulateKeepsNothing(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewTxClient(d.dial())
	raw := d.chain.SetParams()
	for range 2 {
		r, err := c.Simulate(t.Context(), &nodev1.SimulateRequest{Tx: raw})
		if err != nil {
			t.Fatal(err)
		}
		if r.Result.Code != 0 || len(r.Result.Events) != 1 || r.Result.Height != 2 || r.Result.Units == 0 {
			t.Fatalf("simulated: %v", r.Result)
		}
	}
	d.chain.Block()
	if d.chain.App.Seen(tx.ID(idOf(t, raw))) {
		t.Fatal("the simulated transaction was committed")
	}
	_, err := c.Simulate(t.Context(), &nodev1.SimulateRequest{Tx: []byte("x")})
	refused(t, err, tx.ErrMalformed, codes.InvalidArgument)
}

func idOf(t *testing.T, raw []byte) []byte {
	t.Helper()
	d, err := tx.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d.ID[:]
}

// An ack says what a single submission's RetryInfo does.
func TestSubmitStreamSaysWhenToComeBack(t *testing.T) {
	d := open(t, limits())
	d.chain.Block()
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: chaintest.Consortium, ValidUntil: time.Now().Add(1000 * time.Hour).UnixMilli(),
		Salt: make([]byte, tx.SaltSize), Messages: []proto.Message{&chainv1.SetParams{Params: chain.DefaultParams()}},
	}.Sign(chaintest.Actor(chaintest.Consortium))
	if err != nil {
		t.Fatal(err)
	}
	client := nodev1.NewTxClient(d.dial())
	_, err = client.Submit(t.Context(), &nodev1.SubmitRequest{Tx: raw})
	s, _ := status.FromError(err)
	var want time.Duration
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			want = retry.RetryDelay.AsDuration()
		}
	}
	stream, err := client.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&nodev1.SubmitStreamRequest{Txs: [][]byte{raw, []byte("junk")}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(r.Acks[0].RetryAfterMs) * time.Millisecond; want == 0 || got != want || r.Acks[0].Code != chain.ErrTooFarAhead.Code {
		t.Errorf("code %d, come back after %v, want %v", r.Acks[0].Code, got, want)
	}
	if r.Acks[1].RetryAfterMs != 0 {
		t.Errorf("what is refused for good may come back after %d ms", r.Acks[1].RetryAfterMs)
	}
}

func TestSubmitStreamAnswersEachInOrder(t *testing.T) {
	d := open(t, limits())
	stream, err := nodev1.NewTxClient(d.dial()).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	committed := d.chain.SetParams()
	d.chain.Block(committed)
	pooled := d.chain.SetParams()
	var wantIDs [][]byte
	batch := [][]byte{pooled, pooled, []byte("junk"), committed}
	for range 50 {
		batch = append(batch, d.chain.SetParams())
	}
	for i, raw := range batch {
		if i == 2 {
			wantIDs = append(wantIDs, nil)
			continue
		}
		wantIDs = append(wantIDs, idOf(t, raw))
	}
	for seq := uint64(7); seq < 10; seq++ {
		if err := stream.Send(&nodev1.SubmitStreamRequest{Txs: batch, Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	for seq := uint64(7); seq < 10; seq++ {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != seq || len(r.Acks) != len(batch) {
			t.Fatalf("answer %d with %d acks, want %d with %d", r.Seq, len(r.Acks), seq, len(batch))
		}
		for i, a := range r.Acks {
			if !bytes.Equal(a.TxId, wantIDs[i]) {
				t.Fatalf("ack %d is for %x, want %x", i, a.TxId, wantIDs[i])
			}
			if i == 2 {
				if a.Code != tx.ErrMalformed.Code || a.Codespace != "tx" || a.Log == "" {
					t.Fatalf("junk is answered with %v", a)
				}
			} else if a.Code != 0 {
				t.Fatalf("ack %d: %v", i, a)
			}
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the last request: %v", err)
	}
	if n := d.chain.Pooled(); n != 51 {
		t.Fatalf("%d transactions are in the pool, want 51", n)
	}

	many, err := nodev1.NewTxClient(d.dial()).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := many.Send(&nodev1.SubmitStreamRequest{Txs: make([][]byte, 1001)}); err != nil {
		t.Fatal(err)
	}
	_, err = many.Recv()
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
}

func TestStreamAcksHideFaults(t *testing.T) {
	d := open(t, limits())
	d.engine.submit = func(_ context.Context, raw []byte) (tx.ID, error) {
		if len(raw) == 1 {
			panic("a secret detail")
		}
		return tx.ID{}, errors.New("another secret detail")
	}
	stream, err := nodev1.NewTxClient(d.dial()).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&nodev1.SubmitStreamRequest{Txs: [][]byte{{1}, {1, 2}}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range r.Acks {
		if a.Code != chain.ErrInternal.Code || strings.Contains(a.Log, "secret") || !strings.Contains(a.Log, "incident") {
			t.Errorf("a fault is answered with %v", a)
		}
	}
	if !strings.Contains(d.log.String(), "a secret detail") || !strings.Contains(d.log.String(), "another secret detail") {
		t.Error("the log lacks the fault")
	}
}

func TestFiveMegabyteTransaction(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewTxClient(d.dial())
	// gRPC answers by itself, before the door sees the message; it names both sizes.
	tooLarge := func(err error) {
		t.Helper()
		if s := status.Convert(err); s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), "larger than max") || !strings.Contains(s.Message(), "1114112") {
			t.Fatalf("5 MB are answered with %v", err)
		}
	}
	_, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: make([]byte, 5<<20)})
	tooLarge(err)
	stream, err := c.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&nodev1.SubmitStreamRequest{Txs: [][]byte{make([]byte, 5<<20)}}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	tooLarge(err)
	// One that fits the message and not a transaction.
	_, err = c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: make([]byte, tx.MaxBytes+1)})
	refused(t, err, tx.ErrTooLarge, codes.InvalidArgument)
}

// TestStreamsThatSayNothingAreEnded: a submission stream that is idle gives its
// slot back.
func TestStreamsThatSayNothingAreEnded(t *testing.T) {
	l := limits()
	l.Idle = 300 * time.Millisecond
	d := open(t, l)
	stream, err := nodev1.NewTxClient(d.dial()).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&nodev1.SubmitStreamRequest{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refused(t, err, rpc.ErrIdle, codes.Unavailable)
}
