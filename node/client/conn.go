package client

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Conn is the connection for generated clients. A call whose node is unreachable
// goes to the next one, once each. Its errors are those of FromStatus.
func (c *Client) Conn() grpc.ClientConnInterface { return c }

// Invoke implements grpc.ClientConnInterface.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if w := wantedProof(ctx); w != nil && method != nodev1.Receipts_Prove_FullMethodName {
		return c.prove(ctx, w, method, args, reply, opts)
	}
	return c.try(ctx, func(e *endpoint) error { return e.conn.Invoke(ctx, method, args, reply, opts...) })
}

// NewStream implements grpc.ClientConnInterface.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	var out grpc.ClientStream
	err := c.try(ctx, func(e *endpoint) error {
		s, err := e.conn.NewStream(ctx, desc, method, opts...)
		out = &stream{ClientStream: s, client: c, endpoint: e}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// try calls fn with the endpoints in turn, beginning with the current one, until
// one is not unavailable.
func (c *Client) try(ctx context.Context, fn func(*endpoint) error) error {
	first := int(c.current.Load())
	var failures []error
	for i := range c.endpoints {
		at := (first + i) % len(c.endpoints)
		e := c.endpoints[at]
		err := e.check(ctx, c.chainID)
		if err == nil {
			err = FromStatus(fn(e))
			if !unavailable(err) {
				c.current.Store(int64(at))
				return err
			}
		}
		failures = append(failures, fmt.Errorf("%s: %w", e.address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return join(failures)
}

// pinned is the connection to one node: a call fails with it.
type pinned struct {
	c *Client
	e *endpoint
}

// Invoke implements grpc.ClientConnInterface.
func (p pinned) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := FromStatus(p.e.conn.Invoke(ctx, method, args, reply, opts...))
	// A node answers in its own words that its time ran out: gRPC's own say that it
	// does not answer at all.
	if unavailable(err) || errors.Is(err, ErrTimeout) {
		p.c.failed(p.e)
	}
	return err
}

// NewStream implements grpc.ClientConnInterface.
func (p pinned) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := p.e.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, FromStatus(err)
	}
	return &stream{ClientStream: s, client: p.c, endpoint: p.e}, nil
}

// failed makes the endpoint after e the one to try first, if e is that now.
func (c *Client) failed(e *endpoint) {
	at := c.current.Load()
	if c.endpoints[at] == e {
		c.current.CompareAndSwap(at, (at+1)%int64(len(c.endpoints)))
	}
}

type stream struct {
	grpc.ClientStream
	client   *Client
	endpoint *endpoint
}

func (s *stream) RecvMsg(m any) error { return s.settle(s.ClientStream.RecvMsg(m)) }
func (s *stream) SendMsg(m any) error { return s.settle(s.ClientStream.SendMsg(m)) }

func (s *stream) settle(err error) error {
	err = FromStatus(err)
	if unavailable(err) {
		s.client.failed(s.endpoint)
	}
	return err
}

// prove runs a query through the service that proves it.
func (c *Client) prove(ctx context.Context, w *wanted, method string, args, reply any, opts []grpc.CallOption) error {
	in, ok := args.(proto.Message)
	out, also := reply.(proto.Message)
	if !ok || !also {
		return fmt.Errorf("client: %s cannot be proven: %T is no protobuf message", method, args)
	}
	raw, err := proto.Marshal(in)
	if err != nil {
		return fmt.Errorf("client: marshal the request of %s: %w", method, err)
	}
	height := w.height
	if height == 0 {
		// A node's own choice is the state before the latest, which it can prove at
		// once. Who has just seen a commit must not be told that its record is absent.
		s, err := c.Status(context.WithValue(ctx, proofKey{}, (*Receipt)(nil)))
		if err != nil {
			return err
		}
		height = s.Height
	}
	r, err := nodev1.NewReceiptsClient(c).Prove(ctx, &nodev1.ProveRequest{Method: method, Request: raw, Height: height}, opts...)
	if err != nil {
		return err
	}
	w.receipt.Bytes, w.receipt.Height = r.Receipt, r.Height
	if err := FromCode(r.Codespace, r.Code, r.Log); err != nil {
		return err
	}
	if err := proto.Unmarshal(r.Response, out); err != nil {
		return ErrNoAnswer.Wrap(err)
	}
	return nil
}
