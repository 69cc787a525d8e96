package rpc

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/chancery/chancery/node/internal/clock"
)

const (
	// refusalRate is how many transactions a second may be refused for now on all
	// submission streams of a caller, and refusalBurst the most of one request that count.
	refusalRate, refusalBurst = 250, 250
	// longestDebt is how long a stream waits at most for its turn. One that would have to
	// wait longer is ended, and none is opened while one would have to.
	longestDebt = 8 * time.Second
)

// paces lets submission streams wait whose transactions are refused for now, so that who
// does not heed when to come back costs the node no more than who does: what is not read
// stays with the client, by HTTP/2's flow control. A stream waits after its own refusals alone,
// for its turn among those of the same caller; one without refusals waits for nothing.
type paces struct {
	mu sync.Mutex // guards of
	of map[string]*rate.Limiter
}

// charge counts n refusals of a caller, and says how long the stream that met them is
// to wait.
func (p *paces) charge(caller string, n int) time.Duration {
	p.mu.Lock()
	l, ok := p.of[caller]
	if !ok {
		if len(p.of) >= maxIdentities {
			p.forget()
		}
		l = rate.NewLimiter(refusalRate, refusalBurst)
		p.of[caller] = l
	}
	p.mu.Unlock()
	return l.ReserveN(time.Now(), min(n, refusalBurst)).Delay()
}

// debt is how long a stream of a caller would wait after one more refusal.
func (p *paces) debt(caller string) time.Duration {
	p.mu.Lock()
	l, ok := p.of[caller]
	p.mu.Unlock()
	if !ok {
		return 0
	}
	return max(0, time.Duration(-l.Tokens()/refusalRate*float64(time.Second)))
}

// forget drops those that owe nothing. The caller holds mu.
func (p *paces) forget() {
	for name, l := range p.of {
		if l.Tokens() >= refusalBurst {
			delete(p.of, name)
		}
	}
}

// inDebt refuses another stream of a caller whose streams wait long enough already.
func (s *Server) inDebt(caller string) error {
	return beyondDebt(s.paces.debt(caller))
}

// pace lets a stream wait after n of its transactions were refused for now.
func (s *Server) pace(ctx context.Context, caller string, n int) error {
	if n == 0 {
		return nil
	}
	wait := s.paces.charge(caller, n)
	if err := beyondDebt(wait); err != nil {
		return err
	}
	begun := time.Now()
	defer func() { s.metrics.paced.Add(time.Since(begun).Seconds()) }()
	if !clock.Wait(ctx, wait) {
		return ctx.Err()
	}
	return nil
}

func beyondDebt(wait time.Duration) error {
	if wait <= longestDebt {
		return nil
	}
	return ErrShare.With("too much of what its streams submit is refused for now").RetryIn((wait - longestDebt).Milliseconds())
}

// submitter is by whom the refusals of a stream are counted: by its caller or, where that
// has no DID, by its connection.
func (s *Server) submitter(ctx context.Context) (string, error) {
	st, err := s.identify(ctx)
	if err != nil {
		return "", err
	}
	if st.who.did != "" {
		return st.who.did, nil
	}
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.name, nil
	}
	return st.who.name(), nil
}
