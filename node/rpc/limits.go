package rpc

import (
	"net"
	"sync"
	"time"
)

// Limits bounds what clients can cost. The zero value is not usable; see
// config.RPC for the meaning of each.
type Limits struct {
	Connections int
	Streams     uint32 // per connection
	Calls       int
	Subscribers int
	Message     int // bytes
	Deadline    time.Duration
	MaxDeadline time.Duration
	SlowReader  time.Duration
	Handshake   time.Duration
	Idle        time.Duration
	Keepalive   time.Duration
	Heartbeat   time.Duration
}

const (
	// keepaliveAnswer is how long a client has to answer a keepalive.
	keepaliveAnswer = 10 * time.Second
	// maxBatch is the most transactions in one request of SubmitStream.
	maxBatch = 1000
	// maxTrailerReceipt is the largest receipt that fits a trailer.
	maxTrailerReceipt = 64 << 10
	// partBytes is the size of the parts in which large answers are streamed.
	partBytes = 64 << 10
	// flowWindow is how many bytes a client may send on a stream, and on a
	// connection, before the server has taken them.
	flowWindow = 1 << 20
	// buffer is the size of a connection's read and write buffers, which exist only
	// while they are in use.
	buffer = 16 << 10
)

// slots counts what may be under way at once.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }

// limitListener closes at once what connects beyond its limit, so that a client
// learns that the node is full instead of waiting in a queue.
type limitListener struct {
	net.Listener
	open    slots
	refused func()
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.take() {
			return &limitedConn{Conn: c, give: sync.OnceFunc(l.open.give)}, nil
		}
		l.refused()
		_ = c.Close() // it is being refused; there is nobody to tell
	}
}

type limitedConn struct {
	net.Conn
	give func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.give()
	return err
}
