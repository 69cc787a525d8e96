package model

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// parallel calls work for 0 to n-1 on all cores, in no order, until it is done or the
// context ends.
func parallel(ctx context.Context, n int, work func(int)) error {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				work(i)
			}
		})
	}
	group.Wait()
	return ctx.Err()
}
