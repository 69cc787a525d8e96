package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// node stands for a node: it commits every transaction in block 12.
type node struct {
	nodev1.UnimplementedTxServer
	nodev1.UnimplementedNodeServer
}

func (node) Status(context.Context, *nodev1.StatusRequest) (*nodev1.StatusResponse, error) {
	return &nodev1.StatusResponse{ChainId: "consortium-1", Height: 11}, nil
}

func (node) Submit(context.Context, *nodev1.SubmitRequest) (*nodev1.SubmitResponse, error) {
	return &nodev1.SubmitResponse{}, nil
}

func (node) Wait(_ context.Context, r *nodev1.WaitRequest) (*nodev1.WaitResponse, error) {
	return &nodev1.WaitResponse{Result: &chainv1.TxResult{TxId: r.TxId, Height: 12}}, nil
}

// start serves the node and returns its address.
func start() (string, func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := grpc.NewServer()
	nodev1.RegisterTxServer(s, node{})
	nodev1.RegisterNodeServer(s, node{})
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), s.Stop
}

func Example() {
	address, stop := start()
	defer stop()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, address)
	if err != nil {
		fmt.Println("no node:", err)
		return
	}
	defer c.Close()

	// A key as the keyring holds it; seeds are random where it matters.
	key, err := keys.NewSigner(keys.Ed25519, make([]byte, keys.SeedSize))
	if err != nil {
		fmt.Println(err)
		return
	}
	me := client.Signer("did:chancery:mercy#key-1", key)

	result, err := c.Do(ctx, "did:chancery:mercy", []tx.Signer{me},
		&consentv1.Withdraw{Id: make([]byte, 32)})
	switch {
	case errors.Is(err, client.ErrTimeout):
		fmt.Println("not known yet:", err)
	case err != nil:
		fmt.Println("refused:", err)
	default:
		fmt.Println("committed on", c.ChainID(), "in block", result.Height)
	}
	// Output: committed on consortium-1 in block 12
}
