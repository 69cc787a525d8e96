package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/rpc"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// verbatim sends bytes as the request, whatever they are.
type verbatim struct{}

func (verbatim) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (verbatim) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}
func (verbatim) Name() string { return "proto" }

var _ encoding.Codec = verbatim{}

// chained is the engine of a chain of which nothing but its height is known.
type chained struct{ *nodetest.Chain }

func (c chained) Status() *nodev1.StatusResponse {
	return &nodev1.StatusResponse{ChainId: c.App.ChainID(), Height: c.Height()}
}

// Any bytes as the request of any method, with any metadata, get an answer that is no
// fault of the node.
func FuzzDoor(f *testing.F) {
	g, err := identity.NewGenesis(identity.Founding{At: chaintest.GenesisTime, Threshold: 1, Organisations: []identity.Founder{{
		DID: hospital, Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(hospital).Public()}},
		Validators: []identity.FoundingValidator{{PublicKey: chaintest.Actor("validator").Public().Bytes, Power: 1, Moniker: "v"}},
	}}})
	if err != nil {
		f.Fatal(err)
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		f.Fatal(err)
	}
	genesis, err := json.Marshal(map[string]json.RawMessage{"identity": section})
	if err != nil {
		f.Fatal(err)
	}
	c := nodetest.New(f, nodetest.Config{Modules: node.Wire().List(), Genesis: string(genesis)})
	c.Block()
	c.Block()
	server, err := rpc.New(rpc.Options{
		App: c.App, Records: c.Records, Engine: chained{c}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Limits: rpc.Limits{
			Connections: 100, Streams: 16, Calls: 64, Subscribers: 64, Message: 1 << 20, Deadline: 200 * time.Millisecond, MaxDeadline: time.Second,
			SlowReader: time.Second, Handshake: 5 * time.Second, Idle: time.Minute, Keepalive: 10 * time.Second, Heartbeat: time.Second,
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
	})
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })

	methods := server.Methods()
	if len(methods) < 60 {
		f.Fatalf("the door has %d methods", len(methods))
	}
	for i := range methods {
		f.Add(uint16(i), []byte{}, "", "")
		f.Add(uint16(i), []byte{0x0a, 0x03, 'a', '/', 'b', 0x12, 0x02, 0xff, 0xff, 0x18, 0x01}, "1", "1")
	}
	f.Fuzz(func(t *testing.T, which uint16, request []byte, height, prove string) {
		method := methods[int(which)%len(methods)]
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if height != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, rpc.HeightKey, height)
		}
		if prove != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, rpc.ProveKey, prove)
		}
		err := call(ctx, conn, method, request)
		s := status.Convert(err)
		for _, d := range s.Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason == fmt.Sprintf("chain/%d", chain.ErrInternal.Code) {
				t.Fatalf("%s with %x: %v", method, request, err)
			}
		}
		if slices.Contains([]codes.Code{codes.Unknown, codes.DataLoss}, s.Code()) {
			t.Fatalf("%s with %x: %v", method, request, err)
		}
	})
}

// call sends one request and reads a few answers, of streams too.
func call(ctx context.Context, conn *grpc.ClientConn, method string, request []byte) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(within, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(verbatim{}))
	if err != nil {
		return err
	}
	if err := s.SendMsg(&request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for range 3 {
		var answer []byte
		if err := s.RecvMsg(&answer); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
