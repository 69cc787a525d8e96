package model

import (
	"context"
	"runtime"

	each "github.com/chancery/chancery/chain/parallel"
)

// parallel calls work for 0 to n-1 on all cores, in no order, until it is done or the
// context ends.
func parallel(ctx context.Context, n int, work func(int)) error {
	each.Each(runtime.GOMAXPROCS(0), n, func(i int) {
		if ctx.Err() == nil {
			work(i)
		}
	})
	return ctx.Err()
}
