package parallel_test

import (
	"sync/atomic"
	"testing"

	"github.com/chancery/chancery/chain/parallel"
)

func TestEachCallsAllOnce(t *testing.T) {
	for _, workers := range []int{-1, 0, 1, 2, 3, 100} {
		for _, n := range []int{0, 1, 2, 50} {
			calls := make([]atomic.Int32, n)
			parallel.Each(workers, n, func(i int) { calls[i].Add(1) })
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Errorf("%d workers called %d of %d %d times", workers, i, n, got)
				}
			}
		}
	}
}

// TestEachRunsAtOnce has two calls wait for each other.
func TestEachRunsAtOnce(t *testing.T) {
	met := make(chan struct{})
	parallel.Each(2, 2, func(i int) {
		if i == 0 {
			met <- struct{}{}
		} else {
			<-met
		}
	})
}

func TestEachPanicsForTheLeast(t *testing.T) {
	for _, workers := range []int{1, 4} {
		var done atomic.Int32
		func() {
			defer func() {
				if p := recover(); p != 3 {
					t.Errorf("%d workers panic with %v, want 3", workers, p)
				}
			}()
			parallel.Each(workers, 100, func(i int) {
				if i == 3 || i == 60 {
					panic(i)
				}
				done.Add(1)
			})
		}()
		if got := done.Load(); workers > 1 && got != 98 {
			t.Errorf("%d of the others were called, want all 98", got)
		}
	}
}
