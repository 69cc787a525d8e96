package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const testChain = "fake-1"

// fake is a node whose answers the test chooses. Nil functions have a plain answer:
// every transaction is taken and committed at once.
type fake struct {
	nodev1.UnimplementedTxServer
	nodev1.UnimplementedNodeServer
	nodev1.UnimplementedEventsServer
	nodev1.UnimplementedReceiptsServer

	chain     string
	height    int64 // 0: 7
	submit    func(n int, raw []byte) (*nodev1.SubmitResponse, error)
	wait      func(n int, id []byte) (*chainv1.TxResult, error)
	result    func(id []byte) (*chainv1.TxResult, error)
	ack       func(n int, raw []byte) error
	subscribe func(n int, r *nodev1.SubscribeRequest, send func(*nodev1.SubscribeResponse) error) error
	prove     func(*nodev1.ProveRequest) (*nodev1.ProveResponse, error)
	simulate  func(n int) (*chainv1.TxResult, error)
	batch     func(n int) error // nil or why the stream breaks at its n-th batch

	address string
	server  *grpc.Server

	mu          sync.Mutex // guards all below
	submitted   [][]byte
	waits       int
	simulations int
	streams     int
	batches     int
	acked       int
}

// serve starts a fake on loopback.
func serve(t testing.TB, f *fake, options ...grpc.ServerOption) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.on(l, options...)
	t.Cleanup(f.server.Stop)
	return f
}

func (f *fake) on(l net.Listener, options ...grpc.ServerOption) {
	if f.chain == "" {
		f.chain = testChain
	}
	f.address = l.Addr().String()
	f.server = grpc.NewServer(options...)
	nodev1.RegisterTxServer(f.server, f)
	nodev1.RegisterNodeServer(f.server, f)
	nodev1.RegisterEventsServer(f.server, f)
	nodev1.RegisterReceiptsServer(f.server, f)
	go func() { _ = f.server.Serve(l) }() // it ends with Stop
}

func (f *fake) Status(context.Context, *nodev1.StatusRequest) (*nodev1.StatusResponse, error) {
	return &nodev1.StatusResponse{ChainId: f.chain, Height: cmp.Or(f.height, 7), Healthy: true}, nil
}

func (f *fake) Params(context.Context, *nodev1.ParamsRequest) (*nodev1.ParamsResponse, error) {
	return &nodev1.ParamsResponse{Params: &chainv1.Params{MaxValidityMs: 600_000}}, nil
}

func (f *fake) Simulate(context.Context, *nodev1.SimulateRequest) (*nodev1.SimulateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.simulations++
	r, err := f.simulate(f.simulations)
	if err != nil {
		return nil, err
	}
	return &nodev1.SimulateResponse{Result: r}, nil
}

func (f *fake) Submit(_ context.Context, r *nodev1.SubmitRequest) (*nodev1.SubmitResponse, error) {
	f.mu.Lock()
	f.submitted = append(f.submitted, r.Tx)
	n := len(f.submitted)
	f.mu.Unlock()
	if f.submit != nil {
		return f.submit(n, r.Tx)
	}
	return &nodev1.SubmitResponse{}, nil
}

// got is what was submitted so far.
func (f *fake) got() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.submitted)
}

// forget begins to count anew.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.submitted = nil
}

func (f *fake) Wait(_ context.Context, r *nodev1.WaitRequest) (*nodev1.WaitResponse, error) {
	f.mu.Lock()
	f.waits++
	n := f.waits
	f.mu.Unlock()
	if f.wait == nil {
		return &nodev1.WaitResponse{Result: &chainv1.TxResult{TxId: r.TxId, Height: 8}}, nil
	}
	result, err := f.wait(n, r.TxId)
	if err != nil {
		return nil, err
	}
	return &nodev1.WaitResponse{Result: result}, nil
}

func (f *fake) Result(_ context.Context, r *nodev1.ResultRequest) (*nodev1.ResultResponse, error) {
	if f.result == nil {
		return nil, refuse(&errs.Error{Module: "node", Code: 3, Text: "no result"}, codes.NotFound)
	}
	result, err := f.result(r.TxId)
	if err != nil {
		return nil, err
	}
	return &nodev1.ResultResponse{Result: result}, nil
}

func (f *fake) SubmitStream(s nodev1.Tx_SubmitStreamServer) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.batches++
		n := f.batches
		f.mu.Unlock()
		if f.batch != nil {
			if err := f.batch(n); err != nil {
				return err
			}
		}
		out := &nodev1.SubmitStreamResponse{Seq: r.Seq}
		for _, raw := range r.Txs {
			f.mu.Lock()
			f.acked++
			n := f.acked
			f.mu.Unlock()
			ack := new(nodev1.Ack)
			if f.ack != nil {
				if err := f.ack(n, raw); err != nil {
					e := errs.As(err)
					ack.Code, ack.Codespace, ack.Log, ack.RetryAfterMs = e.Code, e.Module, e.Error(), uint32(e.RetryMs)
				}
			}
			out.Acks = append(out.Acks, ack)
		}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

func (f *fake) Subscribe(r *nodev1.SubscribeRequest, s nodev1.Events_SubscribeServer) error {
	f.mu.Lock()
	f.streams++
	n := f.streams
	f.mu.Unlock()
	return f.subscribe(n, r, s.Send)
}

func (f *fake) Prove(_ context.Context, r *nodev1.ProveRequest) (*nodev1.ProveResponse, error) {
	return f.prove(r)
}

// refuse is an error as a node's door sends it.
func refuse(e *errs.Error, code codes.Code) error {
	info := &errdetails.ErrorInfo{
		Domain: e.Module, Reason: fmt.Sprintf("%s/%d", e.Module, e.Code),
		Metadata: map[string]string{"retryable": fmt.Sprint(e.Retryable())},
	}
	if e.Detail != "" {
		info.Metadata["detail"] = e.Detail
	}
	s, err := status.New(code, e.Error()).WithDetails(info)
	if err != nil {
		return err
	}
	return s.Err()
}

// dialFake connects to fakes with short pauses.
func dialFake(t testing.TB, addresses string, opts ...Option) *Client {
	t.Helper()
	opts = append([]Option{Backoff(time.Millisecond, 10*time.Millisecond), func(o *options) { o.waitSpan = 50 * time.Millisecond }}, opts...)
	c, err := Dial(t.Context(), addresses, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func signer(t testing.TB, url string) tx.Signer {
	t.Helper()
	k, err := keys.NewSigner(keys.Ed25519, make([]byte, keys.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	return Signer(url, k)
}

// setParams is a message that every chain knows.
func setParams() *chainv1.SetParams {
	return &chainv1.SetParams{Params: &chainv1.Params{MaxTxBytes: 1}}
}
