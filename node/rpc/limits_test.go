package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/rpc"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// TestIdleConnections opens far more connections than may be open, of both kinds:
// those that say nothing and those that finish the handshake and make no call.
// CHANCERY_LONG makes them ten thousand.
func TestIdleConnections(t *testing.T) {
	l := limits()
	idle := 600
	if os.Getenv("CHANCERY_LONG") != "" {
		idle = 10_000
	}
	l.Handshake = 2 * time.Second
	d := open(t, l)
	conn := d.dial()
	nodes := nodev1.NewNodeClient(conn)
	if _, err := nodes.Status(t.Context(), &nodev1.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	before := memory()

	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	silent, refusals := 0, 0
	for i := range idle {
		c, err := net.Dial("tcp", d.address)
		if err != nil {
			// The system's queue is full while the server refuses: as good an answer.
			refusals++
			continue
		}
		conns = append(conns, c)
		if i%2 == 0 {
			silent++
			continue
		}
		_, _ = io.WriteString(c, http2.ClientPreface)
		_ = http2.NewFramer(c, nil).WriteSettings()
	}
	// Calls on the connection that was there first are answered all the while.
	for range 20 {
		if _, err := nodes.Status(t.Context(), &nodev1.StatusRequest{}); err != nil {
			t.Fatalf("a call on an open connection among %d idle ones: %v", len(conns), err)
		}
	}
	until(t, "those beyond the limit are refused", func() bool {
		closed := d.measured("chancery_rpc_connections_refused_total") + d.measured("chancery_rpc_connections_replaced_total")
		return closed+float64(refusals) >= float64(idle-l.Connections)
	})
	if open := d.measured("chancery_rpc_connections"); open > float64(l.Connections) {
		t.Errorf("%v connections are open, at most %d may be", open, l.Connections)
	}
	if grown := memory() - before; grown > 64<<20 {
		t.Errorf("%d idle connections cost %d MiB", len(conns), grown>>20)
	}
	// The silent ones give their places back; somebody new gets in.
	until(t, "a new client is let in", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := nodev1.NewNodeClient(d.dial()).Status(ctx, &nodev1.StatusRequest{})
		return err == nil
	})
	if _, err := nodes.Status(t.Context(), &nodev1.StatusRequest{}); err != nil {
		t.Fatalf("the first connection: %v", err)
	}
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestDeadClientIsClosed: a client that stops answering keepalives is closed, and
// what it asked for is ended.
func TestDeadClientIsClosed(t *testing.T) {
	if os.Getenv("CHANCERY_LONG") == "" {
		t.Skip("it takes 20 s, the shortest that the keepalive and its answer may; set CHANCERY_LONG=1 to run it")
	}
	l := limits()
	l.Keepalive = time.Second
	d := open(t, l)
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, http2.ClientPreface)
	_ = http2.NewFramer(c, nil).WriteSettings()
	until(t, "the connection is open", func() bool { return d.measured("chancery_rpc_connections") == 1 })
	until(t, "the connection is closed", func() bool { return d.measured("chancery_rpc_connections") == 0 })
}

// TestBusy: calls beyond the limit are refused at once, and health is not a call.
func TestBusy(t *testing.T) {
	l := limits()
	l.Calls, l.Streams = 4, 100
	d := open(t, l)
	conn := d.dial()
	c := nodev1.NewTxClient(conn)
	release := make(chan struct{})
	var under sync.WaitGroup
	under.Add(l.Calls)
	d.engine.submit = func(context.Context, []byte) (tx.ID, error) {
		under.Done()
		<-release
		return tx.ID{}, nil
	}
	var all sync.WaitGroup
	for range l.Calls {
		all.Go(func() {
			if _, err := c.Submit(t.Context(), &nodev1.SubmitRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	under.Wait()
	_, err := nodev1.NewNodeClient(conn).Status(t.Context(), &nodev1.StatusRequest{})
	refused(t, err, rpc.ErrBusy, codes.ResourceExhausted)
	stream, err := c.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refused(t, err, rpc.ErrBusy, codes.ResourceExhausted)
	if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	close(release)
	all.Wait()
	if _, err := nodev1.NewNodeClient(conn).Status(t.Context(), &nodev1.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestSubscribersAreBounded(t *testing.T) {
	l := limits()
	l.Subscribers = 3
	d := open(t, l)
	c := nodev1.NewEventsClient(d.dial())
	ctx, cancel := context.WithCancel(t.Context())
	for range l.Subscribers {
		stream, err := c.Subscribe(ctx, &nodev1.SubscribeRequest{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	one := func() error {
		stream, err := c.Subscribe(t.Context(), &nodev1.SubscribeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		return err
	}
	refused(t, one(), rpc.ErrBusy, codes.ResourceExhausted)
	cancel()
	until(t, "the slots are free again", func() bool { return one() == nil })
}

// TestStalledClientCostsABoundedAmount: a client that asks for much and takes
// nothing holds one response, and its calls end with their deadline.
func TestStalledClientCostsABoundedAmount(t *testing.T) {
	d := open(t, limits())
	stream, err := nodev1.NewNodeClient(d.dial()).Genesis(t.Context(), &nodev1.GenesisRequest{})
	if err != nil {
		t.Fatal(err)
	}
	// 4 MB are more than the windows of both sides hold.
	until(t, "the stream is ended", func() bool { return d.measured("chancery_rpc_slow_readers_total") == 1 })
	for {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	refused(t, err, rpc.ErrSlowReader, codes.ResourceExhausted)
}

// TestHalfARequestHoldsASlotAndNoLongerThanTheDeadline: calls whose request does
// not arrive are calls, so that what arrives is bounded.
func TestHalfARequestHoldsASlotAndNoLongerThanTheDeadline(t *testing.T) {
	l := limits()
	l.Calls, l.Deadline = 4, time.Second
	d := open(t, l)
	conn := d.dial()
	unary := &grpc.StreamDesc{StreamName: "Status", ClientStreams: true}
	var streams []grpc.ClientStream
	half := func() {
		s, err := conn.NewStream(t.Context(), unary, nodev1.Node_Status_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	for range l.Calls {
		half()
	}
	status := func() error {
		_, err := nodev1.NewNodeClient(conn).Status(t.Context(), &nodev1.StatusRequest{})
		return err
	}
	until(t, "the slots are taken", func() bool {
		busy := errors.Is(client.FromStatus(status()), rpc.ErrBusy)
		if !busy {
			half() // the question may have had the slot when one of them came, which was refused then
		}
		return busy
	})
	held := 0
	for _, s := range streams {
		err := client.FromStatus(s.RecvMsg(new(nodev1.StatusResponse)))
		switch {
		case errors.Is(err, rpc.ErrTimeout):
			held++
		case !errors.Is(err, rpc.ErrBusy):
			t.Errorf("half a request ends with %v", err)
		}
	}
	if held != l.Calls {
		t.Errorf("%d of %d halves of requests held a slot to the deadline, want %d", held, len(streams), l.Calls)
	}
	until(t, "the slots are free again", func() bool { return status() == nil })
	// The same of a stream, which has its slot from its beginning.
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{StreamName: "Subscribe", ClientStreams: true}, nodev1.Events_Subscribe_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, s.RecvMsg(new(nodev1.SubscribeResponse)), rpc.ErrTimeout, codes.DeadlineExceeded)
}

// TestIdleConnectionsMakeRoom: a new client takes the place of one that does
// nothing, and never of one that has a call under way.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	l := limits()
	l.Connections, l.Handshake = 4, time.Minute
	d := open(t, l)
	subscribe := func() nodev1.Events_SubscribeClient {
		t.Helper()
		stream, err := nodev1.NewEventsClient(d.dial()).Subscribe(t.Context(), &nodev1.SubscribeRequest{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		return stream
	}
	working := []nodev1.Events_SubscribeClient{subscribe()}
	known := d.dial() // had a call, and has none now
	if _, err := nodev1.NewNodeClient(known).Status(t.Context(), &nodev1.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	var silent []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", d.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		silent = append(silent, c)
	}
	until(t, "the latest is at its place", func() bool {
		// All places are taken, and nobody has been idle for long.
		c, err := net.Dial("tcp", d.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return d.measured("chancery_rpc_connections_refused_total") > 0
	})
	time.Sleep(1100 * time.Millisecond)
	for range 3 {
		working = append(working, subscribe())
	}
	// The silent ones went first, then the known one.
	for _, c := range silent {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("a silent connection is open still: %v", err)
		}
	}
	if n := d.measured("chancery_rpc_connections_replaced_total"); n != 3 {
		t.Errorf("%v connections lost their place, want 3", n)
	}
	time.Sleep(1100 * time.Millisecond)
	_, err := nodev1.NewNodeClient(d.dial()).Status(t.Context(), &nodev1.StatusRequest{})
	if !errors.Is(client.FromStatus(err), client.ErrUnreachable) {
		t.Errorf("with all places at work: %v", err)
	}
	for i, s := range working {
		if _, err := s.Recv(); err != nil {
			t.Errorf("subscription %d: %v", i, err)
		}
	}
}

// TestSilentClients: whoever does not finish the handshake in time is closed,
// however it goes about it.
func TestSilentClients(t *testing.T) {
	d := open(t, limits())
	for name, say := range map[string]func(net.Conn){
		"nothing":        func(net.Conn) {},
		"half a preface": func(c net.Conn) { _, _ = io.WriteString(c, http2.ClientPreface[:11]) },
		"TLS":            func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}) },
		"HTTP/1":         func(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") },
		"a byte at times": func(c net.Conn) {
			for i := range len(http2.ClientPreface) {
				if _, err := io.WriteString(c, http2.ClientPreface[i:i+1]); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", d.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			go say(c)
			begun := time.Now()
			_ = c.SetReadDeadline(begun.Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection is still open after 10 s")
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it was open for %v", took)
			}
		})
	}
}

// TestWatchersOfHealthAreCallsAndHoldUpNobody: health checks are free, watching is
// not, and neither it nor reflection delays the end of the node.
func TestWatchersOfHealthAreCallsAndHoldUpNobody(t *testing.T) {
	l := limits()
	l.Calls = 3
	d := open(t, l)
	conn := d.dial()
	var watches []healthv1.Health_WatchClient
	for range 2 {
		w, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Recv(); err != nil {
			t.Fatal(err)
		}
		watches = append(watches, w)
	}
	r, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = nodev1.NewNodeClient(conn).Status(t.Context(), &nodev1.StatusRequest{})
	refused(t, err, rpc.ErrBusy, codes.ResourceExhausted)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d.server.Shutdown(ctx)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the server took %v to stop", took)
	}
	for _, w := range watches {
		for err = error(nil); err == nil; {
			_, err = w.Recv()
		}
		refused(t, err, rpc.ErrStopping, codes.Unavailable)
	}
	_, err = r.Recv()
	refused(t, err, rpc.ErrStopping, codes.Unavailable)
}
