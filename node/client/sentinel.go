package client

import (
	"context"
	"errors"
	"io"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

type hintKey struct{}

// OnHint makes Submit, Commit and Do call fn with what the scorer would say of the
// transaction, each time a node takes it and says so. It is a hint: a block decides. fn is
// called before they return, and must not wait.
func OnHint(ctx context.Context, fn func(*chainv1.Verdict)) context.Context {
	return context.WithValue(ctx, hintKey{}, fn)
}

// hinted calls what OnHint named.
func hinted(ctx context.Context, v *chainv1.Verdict) {
	if fn, ok := ctx.Value(hintKey{}).(func(*chainv1.Verdict)); ok && v != nil {
		fn(v)
	}
}

// Explain says why a committed transaction was judged as it was.
func (c *Client) Explain(ctx context.Context, id []byte) (*nodev1.ExplainResponse, error) {
	return nodev1.NewSentinelClient(c).Explain(ctx, &nodev1.ExplainRequest{TxId: id})
}

// Watch calls fn with what the scorer said of each block from a height on, in order and
// each once; 0 is after the latest. With follow it goes on with new blocks until the context
// ends, otherwise to the latest. It returns fn's error where fn returns one. As with
// Subscribe, a broken stream is resumed after the last response that fn has returned from.
// Responses without a block only tell where the stream is.
func (c *Client) Watch(ctx context.Context, from int64, least uint32, follow bool, fn func(*nodev1.WatchResponse) error) error {
	return c.resume(ctx, follow, func(got func()) error {
		return c.watch(ctx, &from, least, follow, func(r *nodev1.WatchResponse) error {
			got()
			return fn(r)
		})
	})
}

// watch follows one stream to its end and moves the height.
func (c *Client) watch(ctx context.Context, at *int64, least uint32, follow bool, fn func(*nodev1.WatchResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := nodev1.NewSentinelClient(c).Watch(ctx, &nodev1.WatchRequest{From: *at, MinScore: least, Follow: follow})
	if err != nil {
		return err
	}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.Block != nil && r.Block.Height < *at {
			continue
		}
		if err := fn(r); err != nil {
			return handlerError{err}
		}
		*at = max(*at, r.Next)
	}
}

// Rows calls fn with the answers to a question for rows to train from, in order.
func (c *Client) Rows(ctx context.Context, req *nodev1.RowsRequest, fn func(*nodev1.RowsResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := nodev1.NewSentinelClient(c).Rows(ctx, req)
	if err != nil {
		return err
	}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
	}
}
