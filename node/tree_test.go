package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// An image that is written rests for three times as long as its parts take, computing and the disk
// together, and so takes a quarter of one processor at most. A node that stops does not wait.
func TestAnImageRestsAfterEachPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		part := unhurried(ctx)
		took := func(compute, disk time.Duration) time.Duration {
			begun := time.Now()
			time.Sleep(compute)
			if err := part(func() error { time.Sleep(disk); return nil }); err != nil {
				t.Fatal(err)
			}
			return time.Since(begun)
		}
		for range 2 {
			if got := took(20*time.Millisecond, 10*time.Millisecond); got != 120*time.Millisecond {
				t.Errorf("a part of 30 ms and its rest took %v, want 120 ms", got)
			}
		}
		if got := took(time.Millisecond, 5*time.Second); got > 6100*time.Millisecond {
			t.Errorf("a disk that stands still for 5 s is left alone for another %v", got-5*time.Second)
		}
		stop()
		if got := took(time.Second, time.Second); got != 2*time.Second {
			t.Errorf("a node that stops took %v for a part of 2 s", got)
		}
		full := errors.New("the disk is full")
		if err := part(func() error { return full }); err != full {
			t.Errorf("the error of a part is %v", err)
		}
	})
}
