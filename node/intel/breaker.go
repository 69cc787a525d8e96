package intel

import (
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// state is where a breaker stands; the numbers are those of its measurement.
type state = gobreaker.State

const open = gobreaker.StateOpen

// errOpen is what a call is refused with while the breaker is open.
var errOpen = gobreaker.ErrOpenState

var errTrip = errors.New("the call after the pause failed")

// breaker keeps a service alone that fails: after so many consecutive failures for a
// while, then one call is tried, and when it fails the next pause is twice as long.
// The library's pauses are all of one length, so each longer one is a circuit breaker
// of its own that begins open.
type breaker struct {
	options FeedOptions
	changed func(from, to state)
	pause   time.Duration // the present or next one; of the caller of call alone

	mu      sync.Mutex // guards current
	current *gobreaker.CircuitBreaker[struct{}]
}

// newBreaker makes a closed breaker. Its methods are called by one goroutine, but for
// state.
func newBreaker(o FeedOptions, changed func(from, to state)) *breaker {
	b := &breaker{options: o, changed: changed, pause: o.OpenFor}
	b.current = b.circuit(uint32(o.Failures), false)
	return b
}

// circuit is a circuit breaker that opens for the present pause.
func (b *breaker) circuit(failures uint32, silent bool) *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "feed", MaxRequests: 1, Timeout: b.pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failures },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if !silent {
				b.changed(from, to)
			}
			silent = false
		},
	})
}

// state is where the breaker stands.
func (b *breaker) state() state {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current.State()
}

// call runs fn, or refuses with errOpen.
func (b *breaker) call(fn func() error) error {
	b.mu.Lock()
	c := b.current
	b.mu.Unlock()
	before := c.State()
	_, err := c.Execute(func() (struct{}, error) { return struct{}{}, fn() })
	switch {
	case before != gobreaker.StateHalfOpen:
		return err
	case err == nil:
		b.pause = b.options.OpenFor
		c = b.circuit(uint32(b.options.Failures), false)
	default:
		b.pause = min(2*b.pause, b.options.MaxOpen)
		c = b.circuit(1, true)
		_, _ = c.Execute(func() (struct{}, error) { return struct{}{}, errTrip }) // opens it
	}
	b.mu.Lock()
	b.current = c
	b.mu.Unlock()
	return err
}
