package rpc

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

const (
	// newGrace is how long a connection has for its first call before it can lose its
	// place to a new one.
	newGrace = 200 * time.Millisecond
	// idleGrace is how long it may be without a call after that.
	idleGrace = time.Second
)

// connections are those that are open. One beyond the limit takes the place of one
// that has no call: first of those that never had any, the one that is there for
// longest; then of the others, the one that has had none for longest. So clients that do
// nothing cannot keep out those that do. When all are at work, it is closed at
// once, so that the client learns that the node is full instead of waiting in a
// queue.
//
// It learns of calls as a grpc stats.Handler.
type connections struct {
	most    int
	metrics *metrics

	mu   sync.Mutex // guards all below, and what connections say of themselves
	open map[string]*connection
}

// connection is an open one.
type connection struct {
	net.Conn
	of    *connections
	name  string    // the node's address and the client's, since one client may call two doors
	calls int       // under way
	used  bool      // whether it ever had a call
	idle  time.Time // since when it has none

	standing atomic.Pointer[standing] // what is known of its caller; nil: nothing yet
}

func newConnections(most int, m *metrics) *connections {
	return &connections{most: most, metrics: m, open: make(map[string]*connection)}
}

// admit gives a connection a place, or returns nil when there is none.
func (c *connections) admit(conn net.Conn) *connection {
	now := time.Now()
	n := &connection{Conn: conn, of: c, name: nameOf(conn.LocalAddr(), conn.RemoteAddr()), idle: now}
	c.mu.Lock()
	var former *connection
	if len(c.open) >= c.most {
		if former = c.idlest(now); former == nil {
			c.mu.Unlock()
			c.metrics.refused.Inc()
			return nil
		}
		delete(c.open, former.name)
		c.metrics.replaced.Inc()
	}
	c.open[n.name] = n
	c.mu.Unlock()
	if former != nil {
		_ = former.Conn.Close() // whoever serves it learns of it and closes it again
	}
	return n
}

// nameOf is what a connection is known by.
func nameOf(local, remote net.Addr) string {
	if local == nil {
		return " " + remote.String()
	}
	return local.String() + " " + remote.String()
}

// idlest is the connection that loses its place first, nil when none may. The
// caller holds mu.
func (c *connections) idlest(now time.Time) (found *connection) {
	for _, x := range c.open {
		grace := newGrace
		if x.used {
			grace = idleGrace
		}
		if x.calls > 0 || now.Sub(x.idle) < grace {
			continue
		}
		if found == nil || found.used && !x.used || found.used == x.used && x.idle.Before(found.idle) {
			found = x
		}
	}
	return found
}

// Close implements net.Conn.
func (n *connection) Close() error {
	err := n.Conn.Close()
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	// Another client may have the address by now.
	if n.of.open[n.name] == n {
		delete(n.of.open, n.name)
	}
	return err
}

// limitListener admits connections.
type limitListener struct {
	net.Listener
	connections *connections
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if n := l.connections.admit(c); n != nil {
			return n, nil
		}
		_ = c.Close() // it is being refused; there is nobody to tell
	}
}

type connectionKey struct{}

// TagConn implements stats.Handler.
func (c *connections) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.open[nameOf(info.LocalAddr, info.RemoteAddr)]; n != nil {
		return context.WithValue(ctx, connectionKey{}, n)
	}
	return ctx
}

// TagRPC implements stats.Handler.
func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (c *connections) HandleRPC(ctx context.Context, s stats.RPCStats) {
	n, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return
	}
	switch s.(type) {
	case *stats.Begin:
		c.mu.Lock()
		n.calls++
		n.used = true
		c.mu.Unlock()
	case *stats.End:
		c.mu.Lock()
		n.calls--
		n.idle = time.Now()
		c.mu.Unlock()
	}
}

// HandleConn implements stats.Handler.
func (c *connections) HandleConn(context.Context, stats.ConnStats) {}
