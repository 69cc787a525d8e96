package rpc

import "time"

// Limits bounds what clients can cost. The zero value is not usable; see
// config.RPC for the meaning of each.
type Limits struct {
	Connections int
	Streams     uint32 // per connection
	Calls       int
	Subscribers int
	// Of one identity: calls under way at once, subscriptions among them, and calls a
	// second; 0: no bound.
	IdentityCalls int
	IdentityRate  int
	Message       int // bytes
	Deadline      time.Duration
	MaxDeadline   time.Duration
	SlowReader    time.Duration
	Handshake     time.Duration
	Idle          time.Duration
	Keepalive     time.Duration
	Heartbeat     time.Duration
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
	// maxHeader is the most bytes of a request's headers.
	maxHeader = 16 << 10
	// jsonFactor is how many times larger than the request itself its JSON may be: bytes
	// are base64 there.
	jsonFactor = 2
	// flowWindow is how many bytes a client may send on a stream before the server
	// has taken them.
	flowWindow = 256 << 10
	// connectionWindow is how many bytes may be under way on a connection.
	connectionWindow = 1 << 20
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
