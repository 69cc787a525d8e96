// Package parallel runs pure functions on several processors at a time. It decides nothing: what comes
// out is the same for any number of workers, and in any order.
package parallel

import (
	"sync"
	"sync/atomic"
)

// Each calls work for 0 to n-1, on so many goroutines at most, of which the caller's is one, and
// returns when all have returned. What work does for one may not depend on another. A panic, of
// several that of the least number, is the caller's.
func Each(workers, n int, work func(i int)) {
	if workers = min(workers, n); workers <= 1 {
		for i := range n {
			work(i)
		}
		return
	}
	//determinism:allow hands out numbers of work that may be done in any order
	var next atomic.Int64
	panics := make([]any, n)
	one := func(i int) {
		defer func() { panics[i] = recover() }()
		work(i)
	}
	each := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			one(i)
		}
	}
	//determinism:allow waits for all, so that nothing shows who was first
	var group sync.WaitGroup
	for range workers - 1 {
		group.Go(each)
	}
	each()
	group.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
}
