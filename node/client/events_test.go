package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/errs"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// perBlock is how many events each of the fake chain's blocks has.
const perBlock = 3

// feed serves blocks 1 to head from a cursor, with breaks where stop says so.
func feed(head int64, stop func(stream int, height int64, index uint32) bool) func(int, *nodev1.SubscribeRequest, func(*nodev1.SubscribeResponse) error) error {
	return func(n int, r *nodev1.SubscribeRequest, send func(*nodev1.SubscribeResponse) error) error {
		h, i := r.From.Height, r.From.Index
		for ; h <= head; h, i = h+1, 0 {
			for ; i < perBlock; i++ {
				if stop(n, h, i) {
					return status.Error(codes.Unavailable, "broken off")
				}
				next := &nodev1.Cursor{Height: h, Index: i + 1}
				if i+1 == perBlock {
					next = &nodev1.Cursor{Height: h + 1}
				}
				if err := send(&nodev1.SubscribeResponse{
					Cursor: next, Head: head, Events: []*nodev1.BlockEvent{{Height: h, Index: i}},
				}); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func TestEveryEventComesOnceHoweverOftenTheStreamBreaks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		head := rapid.Int64Range(1, 6).Draw(rt, "head")
		breaks := rapid.SliceOfN(rapid.IntRange(1, 5), 0, 8).Draw(rt, "events before each break")
		from := Cursor{rapid.Int64Range(1, head).Draw(rt, "height"), uint32(rapid.IntRange(0, perBlock-1).Draw(rt, "index"))}
		sent := 0
		f := &fake{}
		f.subscribe = feed(head, func(n int, _ int64, _ uint32) bool {
			sent++
			if n <= len(breaks) && sent > breaks[n-1] {
				sent = 0
				return true
			}
			return false
		})
		serve(t, f)
		defer f.server.Stop()
		c := dialFake(t, f.address)
		var got []string
		last := from
		err := c.Replay(t.Context(), from, nil, func(b Batch) error {
			for _, e := range b.Events {
				got = append(got, fmt.Sprintf("%d/%d", e.Height, e.Index))
			}
			if last.passed(b.Cursor.Height, b.Cursor.Index) {
				rt.Fatalf("the cursor went back from %v to %v", last, b.Cursor)
			}
			last = b.Cursor
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
		var want []string
		for h, i := from.Height, from.Index; h <= head; h, i = h+1, 0 {
			for ; i < perBlock; i++ {
				want = append(want, fmt.Sprintf("%d/%d", h, i))
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestANodeThatRepeatsItselfIsNotBelieved(t *testing.T) {
	f := serve(t, &fake{subscribe: func(_ int, _ *nodev1.SubscribeRequest, send func(*nodev1.SubscribeResponse) error) error {
		for range 2 {
			if err := send(&nodev1.SubscribeResponse{Cursor: &nodev1.Cursor{Height: 3}, Events: []*nodev1.BlockEvent{{Height: 2, Index: 0}}}); err != nil {
				return err
			}
		}
		return nil
	}})
	n := 0
	err := dialFake(t, f.address).Replay(t.Context(), Cursor{Height: 2}, nil, func(b Batch) error { n += len(b.Events); return nil })
	if err != nil || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
}

func TestTheHandlersErrorEndsTheSubscription(t *testing.T) {
	f := serve(t, &fake{subscribe: feed(5, func(int, int64, uint32) bool { return false })})
	stop := errors.New("enough")
	n := 0
	err := dialFake(t, f.address).Subscribe(t.Context(), Cursor{Height: 1}, []string{"a.B"}, func(Batch) error {
		if n++; n == 4 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 4 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestARefusedCursorEndsTheSubscriptionButALaggingNodeDoesNot(t *testing.T) {
	ahead := refuse(&errs.Error{Module: "node", Code: 5, Text: "the cursor is ahead"}, codes.OutOfRange)
	f := serve(t, &fake{subscribe: func(int, *nodev1.SubscribeRequest, func(*nodev1.SubscribeResponse) error) error { return ahead }})
	err := dialFake(t, f.address).Subscribe(t.Context(), Cursor{Height: 99}, nil, func(Batch) error { return nil })
	if !errors.Is(err, errCursorAhead) {
		t.Errorf("%v", err)
	}
	plain := feed(2, func(n int, h int64, _ uint32) bool { return n == 1 && h == 2 })
	f = serve(t, &fake{subscribe: func(n int, r *nodev1.SubscribeRequest, send func(*nodev1.SubscribeResponse) error) error {
		if n == 2 {
			return ahead
		}
		return plain(n, r, send)
	}})
	n := 0
	err = dialFake(t, f.address).Replay(t.Context(), Cursor{Height: 1}, nil, func(b Batch) error { n += len(b.Events); return nil })
	if err != nil || n != 2*perBlock {
		t.Errorf("%d events, %v", n, err)
	}
}

func TestTheContextEndsASubscription(t *testing.T) {
	f := serve(t, &fake{subscribe: feed(2, func(int, int64, uint32) bool { return false })})
	ctx, cancel := context.WithCancel(t.Context())
	err := dialFake(t, f.address).Subscribe(ctx, Cursor{Height: 1}, nil, func(Batch) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if at, err := dialFake(t, f.address).Now(t.Context()); err != nil || at != (Cursor{Height: 8}) {
		t.Errorf("%v, %v", at, err)
	}
}

func TestCursorsComeBackFromTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Cursor{rapid.Int64Range(0, 1<<62).Draw(t, "height"), rapid.Uint32().Draw(t, "index")}
		if back, err := ParseCursor(c.String() + "\n"); err != nil || back != c {
			t.Fatalf("%v: %v, %v", c, back, err)
		}
	})
	if c, err := ParseCursor("12"); err != nil || c != (Cursor{Height: 12}) {
		t.Errorf("%v, %v", c, err)
	}
	for _, s := range []string{"", "x", "1/x", "-1/0", "1/-1", "1/2/3", "1/4294967296"} {
		if _, err := ParseCursor(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
