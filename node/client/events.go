package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Cursor is a place between two events: everything of blocks below Height, and
// the first Index events of block Height, are before it. The zero Cursor is the
// beginning of the chain.
type Cursor struct {
	Height int64
	Index  uint32
}

// String is "HEIGHT/INDEX".
func (c Cursor) String() string { return fmt.Sprintf("%d/%d", c.Height, c.Index) }

// ParseCursor reads what String writes, and a height alone.
func ParseCursor(s string) (Cursor, error) {
	height, index, both := strings.Cut(strings.TrimSpace(s), "/")
	var c Cursor
	var err error
	if c.Height, err = strconv.ParseInt(height, 10, 64); err == nil && both {
		var n uint64
		n, err = strconv.ParseUint(index, 10, 32)
		c.Index = uint32(n)
	}
	if err != nil || c.Height < 0 {
		return Cursor{}, fmt.Errorf("%q is no cursor; write HEIGHT/INDEX, such as 12/0", s)
	}
	return c, nil
}

// passed tells whether the event at a place is before the cursor.
func (c Cursor) passed(height int64, index uint32) bool {
	return height < c.Height || height == c.Height && index < c.Index
}

// Batch is some events of one block, or none: then only the cursor moved.
type Batch struct {
	Events []*nodev1.BlockEvent
	// Cursor is where to resume once the events are handled.
	Cursor Cursor
	// Head is the latest block of the node.
	Head int64
}

// Now is the cursor after the latest block.
func (c *Client) Now(ctx context.Context) (Cursor, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return Cursor{}, err
	}
	return Cursor{Height: s.Height + 1}, nil
}

// Subscribe calls fn with the events after a cursor, in order and each once, and
// goes on with new blocks until the context ends or fn returns an error, which is
// then returned. types are full names of event messages; none means all. A broken
// stream is resumed, at another node if need be, after the last batch that fn has
// returned from. Callers who store that batch's Cursor with their own data resume
// there after a restart.
func (c *Client) Subscribe(ctx context.Context, from Cursor, types []string, fn func(Batch) error) error {
	return c.follow(ctx, from, types, true, fn)
}

// Replay is Subscribe up to the latest block.
func (c *Client) Replay(ctx context.Context, from Cursor, types []string, fn func(Batch) error) error {
	return c.follow(ctx, from, types, false, fn)
}

// handlerError tells an error of the caller's function from one of the stream.
type handlerError struct{ error }

func (c *Client) follow(ctx context.Context, from Cursor, types []string, forever bool, fn func(Batch) error) error {
	return c.resume(ctx, forever, func(got func()) error {
		return c.drain(ctx, &from, types, forever, func(b Batch) error {
			got()
			return fn(b)
		})
	})
}

// resume follows a stream, one connection after the other: once makes one, calls got for
// each answer, and ends with it. It returns when the stream is at its end, unless it is
// followed forever; when the caller's function fails; and when trying again is no use.
func (c *Client) resume(ctx context.Context, forever bool, once func(got func()) error) error {
	pace := c.pace()
	begun := false
	for {
		err := once(func() {
			pace.reset()
			begun = true
		})
		var own handlerError
		switch {
		case errors.As(err, &own):
			return own.error
		case err == nil && !forever:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case begun && errors.Is(err, errCursorAhead): // this node will catch up
		case err != nil && !retryable(err):
			return err
		}
		if err := pace.pause(ctx, retryDelay(err)); err != nil {
			return err
		}
	}
}

// drain follows one stream to its end and moves the cursor.
func (c *Client) drain(ctx context.Context, at *Cursor, types []string, forever bool, fn func(Batch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.events.Subscribe(ctx, &nodev1.SubscribeRequest{
		From: &nodev1.Cursor{Height: at.Height, Index: at.Index}, Types: types, Follow: forever,
	})
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
		b := Batch{Head: r.Head, Cursor: Cursor{Height: r.GetCursor().GetHeight(), Index: r.GetCursor().GetIndex()}}
		for _, e := range r.Events {
			if !at.passed(e.Height, e.Index) {
				b.Events = append(b.Events, e)
			}
		}
		if at.passed(b.Cursor.Height, b.Cursor.Index) {
			b.Cursor = *at
		}
		if err := fn(b); err != nil {
			return handlerError{err}
		}
		*at = b.Cursor
	}
}
