// Package links carries what validators on one machine send one another through proxies
// that delay it, lose it, hold it back or cut it off.
package links

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	partBytes = 16 << 10
	// inFlight is how many parts a connection holds before its sender has to wait.
	inFlight = 256
	// retransmission is what TCP waits at least before it sends again what was lost (the
	// least that Linux takes, RFC 6298 says a second).
	retransmission = 200 * time.Millisecond
	pollHeld       = 5 * time.Millisecond
)

// Condition is how what one validator sends reaches another. The zero value is a way that
// nothing is done to.
type Condition struct {
	Cut   bool // there is no connection
	Held  bool // nothing arrives
	Delay time.Duration
	Rate  int     // bytes a second; 0: any
	Loss  float64 // share of what is read at a time that waits for a retransmission
}

// Links are the ways between validators, each through a proxy of its own, from the one
// that dials to the one that is dialled.
type Links struct {
	listeners [][]net.Listener // nil on the diagonal
	group     sync.WaitGroup

	mu    sync.Mutex // guards all below
	ways  [][]Condition
	conns map[*carried]struct{}
}

func unconditional(n int) [][]Condition {
	out := make([][]Condition, n)
	for i := range out {
		out[i] = make([]Condition, n)
	}
	return out
}

// carried is a connection between two validators and its two ends.
type carried struct {
	from, to int
	in, out  net.Conn
}

func (c *carried) reset() {
	for _, end := range []net.Conn{c.in, c.out} {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // what is under way is thrown away
		}
		_ = end.Close()
	}
}

// New listens on loopback for every pair; targets are the validators' own addresses.
func New(targets []string) (*Links, error) {
	n := len(targets)
	l := &Links{listeners: make([][]net.Listener, n), ways: unconditional(n), conns: make(map[*carried]struct{})}
	for from := range n {
		l.listeners[from] = make([]net.Listener, n)
		for to := range n {
			if from == to {
				continue
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				l.Close()
				return nil, err
			}
			l.listeners[from][to] = listener
			l.group.Go(func() { l.accept(listener, from, to, targets[to]) })
		}
	}
	return l, nil
}

// Address is where a validator dials another.
func (l *Links) Address(from, to int) string { return l.listeners[from][to].Addr().String() }

// Close breaks every connection and takes no more.
func (l *Links) Close() {
	for _, row := range l.listeners {
		for _, listener := range row {
			if listener != nil {
				_ = listener.Close()
			}
		}
	}
	l.mu.Lock()
	for c := range l.conns {
		c.reset()
	}
	l.mu.Unlock()
	l.group.Wait()
}

// Between sets how what any of some validators sends reaches any of others.
func (l *Links) Between(senders, receivers []int, set func(*Condition)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range senders {
		for _, b := range receivers {
			set(&l.ways[a][b])
		}
	}
	for c := range l.conns {
		if l.isCut(c.from, c.to) {
			c.reset()
		}
	}
}

// Heal takes every condition away.
func (l *Links) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ways = unconditional(len(l.ways))
}

// Reset breaks the connections between two groups, which may be made anew.
func (l *Links) Reset(some, others []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range some {
		for _, b := range others {
			for c := range l.conns {
				if c.from == a && c.to == b || c.from == b && c.to == a {
					c.reset()
				}
			}
		}
	}
}

// isCut tells whether a pair may have no connection. The caller holds mu.
func (l *Links) isCut(a, b int) bool { return l.ways[a][b].Cut || l.ways[b][a].Cut }

func (l *Links) way(from, to int) Condition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ways[from][to]
}

func (l *Links) accept(listener net.Listener, from, to int, target string) {
	for {
		in, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(pollHeld)
			continue
		}
		l.group.Go(func() { l.carry(in, from, to, target) })
	}
}

func (l *Links) carry(in net.Conn, from, to int, target string) {
	out, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		_ = in.Close()
		return
	}
	c := &carried{from, to, in, out}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	cut := l.isCut(from, to)
	l.mu.Unlock()
	if cut {
		c.reset()
	}
	ended := make(chan struct{})
	// One way that ended ends the other.
	end := sync.OnceFunc(func() {
		close(ended)
		_ = in.Close()
		_ = out.Close()
	})
	var both sync.WaitGroup
	both.Go(func() { l.pump(out, in, from, to, ended, end) })
	both.Go(func() { l.pump(in, out, to, from, ended, end) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// part is some bytes and when they are due.
type part struct {
	raw []byte
	due time.Time
}

// pump carries bytes in one direction as its condition says, until an end closes.
func (l *Links) pump(dst io.Writer, src io.Reader, from, to int, ended <-chan struct{}, end func()) {
	parts := make(chan part, inFlight)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer end()
		for p := range parts {
			if !l.await(p.due, from, to, ended) {
				return
			}
			if _, err := dst.Write(p.raw); err != nil {
				return
			}
		}
	})
	defer writer.Wait()
	defer close(parts)
	var free time.Time // when the way has carried what it took before
	for {
		raw := make([]byte, partBytes)
		n, err := src.Read(raw)
		if n > 0 {
			w, now := l.way(from, to), time.Now()
			if free.Before(now) || w == (Condition{}) {
				free = now
			}
			if w.Rate > 0 {
				free = free.Add(time.Duration(n) * time.Second / time.Duration(w.Rate))
			}
			if w.Loss > 0 && rand.Float64() < w.Loss {
				free = free.Add(retransmission)
			}
			select {
			case parts <- part{raw[:n], free.Add(w.Delay)}:
			case <-ended:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// await waits until what is due at a time may arrive, at once on a way without a
// condition, and tells whether the connection lasted.
func (l *Links) await(due time.Time, from, to int, ended <-chan struct{}) bool {
	for {
		w := l.way(from, to)
		if w == (Condition{}) || !w.Held && !time.Now().Before(due) {
			return true
		}
		wait := pollHeld
		if !w.Held {
			wait = min(wait, time.Until(due))
		}
		select {
		case <-ended:
			return false
		case <-time.After(wait):
		}
	}
}
