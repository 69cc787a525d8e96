package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// DefaultValidity is how long a transaction may wait for its block.
	DefaultValidity = time.Minute
	// maxMessage is the largest answer that is taken.
	maxMessage = 32 << 20
	// statusPatience bounds the question which chain a node is of.
	statusPatience = 5 * time.Second
)

// Option changes how a Client is made.
type Option func(*options)

type options struct {
	tls      *tls.Config
	chainID  string
	validity time.Duration
	agent    string
	first    time.Duration
	limit    time.Duration
	dial     []grpc.DialOption

	waitSpan, offerSpan, grace time.Duration
}

// TLS secures every connection, also to loopback. Without it, addresses of this
// machine are reached in the clear and all others by TLS with the system's
// authorities and no client certificate.
func TLS(c *tls.Config) Option { return func(o *options) { o.tls = c } }

// ChainID refuses nodes of any other chain. Without it, the first node that
// answers says which chain it is.
func ChainID(id string) Option { return func(o *options) { o.chainID = id } }

// Validity is how long transactions may wait for their block; the default is
// DefaultValidity and chains allow at most 10 minutes.
func Validity(d time.Duration) Option { return func(o *options) { o.validity = d } }

// UserAgent is what the node's log calls this program.
func UserAgent(s string) Option { return func(o *options) { o.agent = s } }

// Backoff sets the first and the longest pause between attempts; the defaults are
// 100 ms and 5 s.
func Backoff(first, longest time.Duration) Option {
	return func(o *options) { o.first, o.limit = first, longest }
}

// DialOptions are handed to gRPC as they are.
func DialOptions(d ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, d...) }
}

// Client talks to the nodes of one chain. It is safe for concurrent use.
type Client struct {
	options   options
	chainID   string
	endpoints []*endpoint
	current   atomic.Int64 // index of the endpoint to try first
	seen      atomic.Int64 // greatest height of a result

	tx     nodev1.TxClient
	node   nodev1.NodeClient
	events nodev1.EventsClient
}

type endpoint struct {
	address string
	conn    *grpc.ClientConn
	height  atomic.Int64 // that its node is known to have come to

	mu      sync.Mutex // held while the node's chain is asked for; guards checked
	checked bool
}

// Dial connects to the first of the addresses that answers and learns the chain's
// id from it. The addresses are HOST:PORT with commas between them. The error
// wraps ErrAddress, ErrUnreachable or ErrWrongChain.
func Dial(ctx context.Context, addresses string, opts ...Option) (*Client, error) {
	o := options{validity: DefaultValidity, first: 100 * time.Millisecond, limit: 5 * time.Second, agent: "chancery-client", waitSpan: waitSpan, offerSpan: offerSpan, grace: grace}
	for _, opt := range opts {
		opt(&o)
	}
	c := &Client{options: o, chainID: o.chainID}
	for _, a := range strings.Split(addresses, ",") {
		a = strings.TrimSpace(a)
		host, _, err := net.SplitHostPort(a)
		if err != nil || host == "" {
			_ = c.Close()
			return nil, ErrAddress.With("%q", a)
		}
		conn, err := grpc.NewClient("passthrough:///"+a, o.dialOptions(host)...)
		if err != nil {
			_ = c.Close()
			return nil, ErrAddress.Wrap(err)
		}
		c.endpoints = append(c.endpoints, &endpoint{address: a, conn: conn})
	}
	c.tx, c.node, c.events = nodev1.NewTxClient(c), nodev1.NewNodeClient(c), nodev1.NewEventsClient(c)
	if err := c.learn(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (o *options) dialOptions(host string) []grpc.DialOption {
	secure := insecure.NewCredentials()
	switch {
	case o.tls != nil:
		secure = credentials.NewTLS(o.tls.Clone())
	case !loopback(host):
		secure = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13})
	}
	return append([]grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithUserAgent(o.agent),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: o.first, Multiplier: 1.6, Jitter: 0.2, MaxDelay: o.limit},
			MinConnectTimeout: statusPatience,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	}, o.dial...)
}

// learn asks endpoints in turn until one tells its chain.
func (c *Client) learn(ctx context.Context) error {
	if c.chainID != "" {
		_, err := c.node.Status(ctx, &nodev1.StatusRequest{})
		return err
	}
	var failures []error
	for i, e := range c.endpoints {
		id, err := e.chain(ctx)
		if err == nil {
			c.chainID, e.checked = id, true
			c.current.Store(int64(i))
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", e.address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return join(failures)
}

// join is the failure of every endpoint as one error.
func join(failures []error) error {
	if len(failures) == 1 {
		return failures[0]
	}
	for _, f := range failures {
		if !unavailable(f) {
			return f
		}
	}
	return ErrUnreachable.Wrap(errors.Join(failures...))
}

// chain is the id of the node's chain.
func (e *endpoint) chain(ctx context.Context) (string, error) {
	patience, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	s, err := nodev1.NewNodeClient(e.conn).Status(patience, &nodev1.StatusRequest{})
	if err != nil {
		err = FromStatus(err)
		if errors.Is(err, ErrTimeout) && ctx.Err() == nil {
			return "", ErrUnreachable.With("the node does not say within %v which chain it is of", statusPatience)
		}
		return "", err
	}
	return s.ChainId, nil
}

// check refuses a node of another chain, once.
func (e *endpoint) check(ctx context.Context, want string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.checked {
		return nil
	}
	id, err := e.chain(ctx)
	if err != nil {
		return err
	}
	if id != want {
		return ErrWrongChain.With("%s is of %q, not of %q", e.address, id, want)
	}
	e.checked = true
	return nil
}

// ChainID is the chain that all nodes are of.
func (c *Client) ChainID() string { return c.chainID }

// Addresses are the nodes, in the order in which they are tried.
func (c *Client) Addresses() []string {
	out := make([]string, len(c.endpoints))
	for i := range out {
		out[i] = c.endpoints[i].address
	}
	return out
}

// Address is the node that the next call goes to first.
func (c *Client) Address() string { return c.endpoints[c.current.Load()].address }

// Status is how the node is now.
func (c *Client) Status(ctx context.Context) (*nodev1.StatusResponse, error) {
	return c.node.Status(ctx, &nodev1.StatusRequest{})
}

// Close closes the connections.
func (c *Client) Close() error {
	var failures []error
	for _, e := range c.endpoints {
		failures = append(failures, e.conn.Close())
	}
	return errors.Join(failures...)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// TLSFiles is a TLS configuration from PEM files: the authorities that sign the
// nodes' certificates, and the client's own certificate with its key. The first
// may be empty for the system's authorities, the other two for no client
// certificate.
func TLSFiles(authorities, certificate, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		if err != nil {
			return nil, ErrTLS.Wrap(err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, ErrTLS.With("%s holds no certificate in PEM", authorities)
		}
	}
	if (certificate == "") != (key == "") {
		return nil, ErrTLS.With("a client certificate needs its key, and a key its certificate")
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, ErrTLS.Wrap(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
