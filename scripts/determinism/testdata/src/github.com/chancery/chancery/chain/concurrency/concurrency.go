package concurrency

import (
	"sync"
	"sync/atomic"
)

type pipe chan int // want `a channel is refused`

type shared struct {
	mu             sync.Mutex    // want `sync.Mutex is refused: execution is one sequence of steps`
	rw             *sync.RWMutex // want `sync.RWMutex is refused`
	once           sync.Once     // want `sync.Once is refused`
	count          atomic.Int64  // want `atomic.Int64 is refused`
	sync.WaitGroup               // want `sync.WaitGroup is refused`
}

func refused(in <-chan int, p pipe) { // want `a channel is refused`
	go func() {}()        // want `a goroutine is refused`
	_ = make(chan int, 1) // want `a channel is refused`
	_ = make(pipe)        // want `a channel is refused`
	p <- 1                // want `a channel is refused`
	<-p                   // want `a channel is refused`
	for range p {         // want `a channel is refused`
	}
	select { // want `select is refused`
	default:
	}
	_ = sync.OnceValue(func() int { return 1 }) // want `sync.OnceValue is refused`
}

// What a mutex guards was judged where the mutex stands.
func (s *shared) lock() { s.mu.Lock() }

func negative(n int) int { return -n }
