//go:build linux

package testnet_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/rpc"
	"github.com/chancery/chancery/testnet"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// started is a network that runs.
type started struct {
	*e2e
	record *testnet.Record
}

func start(t *testing.T) *started {
	e := newE2E(t)
	e.run("testnet", "start", "--validators", "4", "--dir", e.dir, "--detach")
	s := &started{e2e: e}
	s.reload()
	return s
}

func (s *started) reload() {
	s.t.Helper()
	var err error
	if s.record, err = testnet.Load(testnet.Dir(s.dir)); err != nil {
		s.t.Fatal(err)
	}
}

// dial is a client of some validators.
func (s *started) dial(which ...int) *client.Client {
	s.t.Helper()
	var addresses []string
	for _, i := range which {
		addresses = append(addresses, s.record.Validators[i].RPC)
	}
	c, err := client.Dial(s.t.Context(), strings.Join(addresses, ","), client.ChainID(s.record.ChainID))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// signer is who acts by a key of a validator's keyring: its DID and the signer.
func (s *started) signer(i int, name string) (string, tx.Signer) {
	s.t.Helper()
	d := testnet.Dir(s.dir)
	ring, err := testnet.OpenKeyring(d, d.Home(s.record.Validators[i]))
	if err != nil {
		s.t.Fatal(err)
	}
	entry, err := ring.Lookup(name)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := ring.Signer(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return entry.DID, client.Signer(entry.KeyURL, key)
}

// mostGrowth is by how many MiB no client may make a node grow. Most of it is garbage
// that waits, node.garbage_percent of what is in use.
const mostGrowth = 800

// memory is what a validator's process holds now and held at most, in MiB.
func (s *started) memory(i int) (now, peak int) {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.record.Validators[i].Process.PID))
	if err != nil {
		s.t.Fatal(err)
	}
	mib := func(name string) int {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(raw)
		if m == nil {
			s.t.Fatalf("no %s in %s", name, raw)
		}
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			s.t.Fatal(err)
		}
		return n >> 10
	}
	return mib("VmRSS"), mib("VmHWM")
}

// metric is one of a validator's measurements.
func (s *started) metric(i int, name string) float64 {
	s.t.Helper()
	r, err := http.Get("http://" + s.record.Validators[i].Telemetry + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(raw)
	if m == nil {
		s.t.Fatalf("there is no metric %s", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// honest are clients that go on submitting at their own pace, each at one
// validator over one connection, and insist on an answer.
type honest struct {
	s      *started
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex // guards all below
	ids   []string   // of transactions that were committed
	worst time.Duration
	fault error
}

var entities atomic.Int64

func (s *started) honest(workers int, which ...int) *honest {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	h := &honest{s: s, cancel: cancel}
	who, key := s.signer(0, "registrar")
	for w := range workers {
		c := s.dial(which[w%len(which)])
		h.group.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				r, err := c.Do(context.WithoutCancel(ctx), who, []tx.Signer{key}, &provenancev1.RegisterEntity{
					Id: fmt.Sprintf("honest-%d", entities.Add(1)), Entity: &provenancev1.Entity{MediaType: "text/plain"},
				})
				h.mu.Lock()
				if err != nil {
					h.fault = errors.Join(h.fault, err)
					h.mu.Unlock()
					return
				}
				h.ids = append(h.ids, fmt.Sprintf("%x", r.TxId))
				h.worst = max(h.worst, time.Since(began))
				h.mu.Unlock()
			}
		})
	}
	s.t.Cleanup(func() { cancel(); h.group.Wait() })
	return h
}

// done is how many were committed so far.
func (h *honest) done() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ids)
}

// stop ends the clients and returns the ids of what they committed.
func (h *honest) stop() []string {
	h.s.t.Helper()
	h.cancel()
	h.group.Wait()
	if h.fault != nil {
		h.s.t.Fatalf("an honest client: %v", h.fault)
	}
	return h.ids
}

// cutter is a way to a node that breaks at arbitrary places: after some bytes, in
// the middle of whatever they are, or after some time.
type cutter struct {
	t       *testing.T
	l       net.Listener
	targets []string
	cuts    atomic.Int64
}

func newCutter(t *testing.T, targets ...string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{t: t, l: l, targets: targets}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(in)
		}
	}()
	return c
}

func (c *cutter) carry(in net.Conn) {
	out, err := net.Dial("tcp", c.targets[rand.IntN(len(c.targets))])
	if err != nil {
		_ = in.Close()
		return
	}
	end := func() {
		if tcp, ok := in.(*net.TCPConn); ok && rand.IntN(2) == 0 {
			_ = tcp.SetLinger(0) // a reset, which throws away what is under way
		}
		_ = in.Close()
		_ = out.Close()
	}
	most := int64(1) << 40
	if rand.IntN(2) == 0 {
		most = rand.Int64N(20_000)
	} else {
		defer time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, end).Stop()
	}
	go func() { _, _ = io.Copy(out, in) }()
	_, _ = io.CopyN(in, out, most)
	c.cuts.Add(1)
	end()
}

// told is an event as a subscriber learns of it.
func told(e *nodev1.BlockEvent) string {
	return fmt.Sprintf("%d/%d %x %s %x", e.Height, e.Index, e.TxId, e.Event.Type, e.Event.Value)
}

// subscribe makes one connection and follows events until it breaks or fn says
// enough.
func subscribe(ctx context.Context, address string, request *nodev1.SubscribeRequest, fn func(*nodev1.SubscribeResponse) (enough bool)) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := nodev1.NewEventsClient(conn).Subscribe(ctx, request)
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || fn(r) {
			return err
		}
	}
}

// A subscription whose connection is broken off at arbitrary moments under load,
// and resumed at its cursor at any node, tells every event once and in order.
func TestDoorTellsEveryEventOnceHoweverOftenAConnectionBreaks(t *testing.T) {
	s := start(t)
	var ways []string
	for _, v := range s.record.Validators {
		ways = append(ways, v.RPC)
	}
	way := newCutter(t, ways...)
	load := s.honest(8, 0, 1, 2, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	var last atomic.Int64 // the height to read to, once the load has ended
	last.Store(1 << 60)
	var got []string
	cursor := &nodev1.Cursor{Height: 1}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for ctx.Err() == nil && cursor.Height <= last.Load() {
			// Whatever broke it, the cursor says where to go on.
			_ = subscribe(ctx, way.l.Addr().String(), &nodev1.SubscribeRequest{From: cursor, Follow: true}, func(r *nodev1.SubscribeResponse) bool {
				for _, e := range r.Events {
					got = append(got, told(e))
				}
				cursor = r.Cursor
				return cursor.Height > last.Load()
			})
		}
	}()
	time.Sleep(25 * time.Second)
	ids := load.stop()
	height, err := s.dial(2).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last.Store(height.Height)
	<-read
	if ctx.Err() != nil {
		t.Fatalf("the subscription got no further than block %d of %d", cursor.Height, last.Load())
	}

	var want []string
	if err := subscribe(t.Context(), s.record.Validators[3].RPC, &nodev1.SubscribeRequest{From: &nodev1.Cursor{Height: 1}}, func(r *nodev1.SubscribeResponse) bool {
		for _, e := range r.Events {
			want = append(want, told(e))
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	beyond := func(line string) bool {
		h, _, _ := strings.Cut(line, "/")
		n, _ := strconv.ParseInt(h, 10, 64)
		return n > last.Load()
	}
	got, want = slices.DeleteFunc(got, beyond), slices.DeleteFunc(want, beyond)
	if !slices.Equal(got, want) {
		t.Fatalf("told %d events, there are %d", len(got), len(want))
	}
	all := strings.Join(got, "\n")
	for _, id := range ids {
		// An alarm of the sentinel is told beside it.
		if n := strings.Count(all, " "+id+" chancery.provenance.v1.EntityRegistered "); n != 1 {
			t.Errorf("the event of transaction %s was told %d times", id, n)
		}
	}
	if way.cuts.Load() < 20 {
		t.Errorf("the connection was broken off %d times only", way.cuts.Load())
	}
	t.Logf("%d events of %d transactions in %d blocks, over %d connections that were broken off", len(got), len(ids), last.Load(), way.cuts.Load())
}

// nested is a policy with n pairs of parentheses in its condition.
func nested(n int) []*accessv1.Document {
	return []*accessv1.Document{{
		Name: "nested", Text: "permit(principal, action, resource) when { " + strings.Repeat("(", n) + "true" + strings.Repeat(")", n) + " };",
	}}
}

// What is too large or too deep gets an answer that says so, and costs the node
// nothing.
func TestDoorRefusesWhatIsTooMuch(t *testing.T) {
	s := start(t)
	c := s.dial(0)
	_, key := s.signer(0, "admin-1")
	organisation := s.record.Validators[0].Organisation
	set := func(documents []*accessv1.Document) error {
		_, err := c.Do(t.Context(), organisation, []tx.Signer{key}, &accessv1.SetPolicies{Organisation: organisation, Documents: documents})
		return err
	}
	before, _ := s.memory(0)
	load := s.honest(2, 0, 1)

	// By gRPC itself, since no message of the door is so large; it names both sizes.
	tooLarge := func(what string, err error) {
		t.Helper()
		m := status.Convert(err)
		if m.Code() != codes.ResourceExhausted || !strings.Contains(m.Message(), "larger than max (") {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("%s: %v", what, m.Message())
	}
	raw := nodev1.NewTxClient(c.Conn())
	for range 20 {
		_, err := raw.Submit(t.Context(), &nodev1.SubmitRequest{Tx: make([]byte, 5<<20)})
		tooLarge("a transaction of 5 MB", err)
		stream, err := raw.SubmitStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&nodev1.SubmitStreamRequest{Txs: [][]byte{make([]byte, 5<<20)}}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		tooLarge("a transaction of 5 MB in a stream", err)
		// What no node takes is not even sent by the client library, so sign it here.
		policy := &accessv1.SetPolicies{Organisation: organisation, Documents: []*accessv1.Document{{Name: "large", Text: strings.Repeat("permit(principal, action, resource);\n", 10<<20/37)}}}
		large, err := proto.Marshal(policy)
		if err != nil {
			t.Fatal(err)
		}
		_, err = raw.Submit(t.Context(), &nodev1.SubmitRequest{Tx: large})
		tooLarge("a policy of 10 MB", err)
	}
	refused := func(what string, err error, want *errs.Error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("%s: %.200v", what, err)
	}
	// Transactions in due form and without a good signature, which anybody can make:
	// what the node remembers of them is bounded.
	junk := func(i int) []byte {
		raw, _, err := c.Draft(organisation, &provenancev1.RegisterEntity{
			Id: fmt.Sprint("junk-", i), Entity: &provenancev1.Entity{MediaType: strings.Repeat("x", 1_000_000)},
		}).Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for i := range 1000 {
		_, err := raw.Submit(t.Context(), &nodev1.SubmitRequest{Tx: junk(i)})
		if !errors.Is(err, chain.ErrTooLarge) {
			t.Fatalf("a transaction of 1 MB: %v", err)
		}
	}
	now, _ := s.memory(0)
	t.Logf("after 1000 transactions of 1 MB: %d MiB", now)
	_, err := raw.Submit(t.Context(), &nodev1.SubmitRequest{Tx: make([]byte, tx.MaxBytes+1)})
	refused("a byte more than a transaction may have", err, tx.ErrTooLarge)
	refused("a policy of 100 kB", set([]*accessv1.Document{{Name: "large", Text: strings.Repeat("permit(principal, action, resource);\n", 100<<10/37)}}), access.ErrTooLarge)
	for _, n := range []int{199, 200, 1000, 30_000} {
		refused(fmt.Sprintf("%d nested parentheses", n), set(nested(n)), access.ErrTooDeep)
	}
	// The braces of the condition are a level, too.
	if err := set(nested(198)); err != nil {
		t.Errorf("198 nested parentheses: %v", err)
	}
	load.stop()
	after, peak := s.memory(0)
	t.Logf("the node's memory: %d MiB before, %d after, %d at most; %d transactions of honest clients meanwhile, the slowest took %v", before, after, peak, len(load.ids), load.worst)
	if peak-before > mostGrowth {
		t.Errorf("refusals cost %d MiB", peak-before)
	}
}

// silent is a connection on which a client says something, or nothing, and then
// only listens for the end.
func silent(address, say string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(c, say)
	return c, err
}

// preface is what an HTTP/2 client says first, with a window of no byte.
func preface() string {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	_ = http2.NewFramer(&b, nil).WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // into memory
	return b.String()
}

// deaf is a client that subscribes to all events and never takes one.
func deaf() string {
	b := bytes.NewBufferString(preface())
	f := http2.NewFramer(b, nil)
	var headers bytes.Buffer
	h := hpack.NewEncoder(&headers)
	for _, x := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", nodev1.Events_Subscribe_FullMethodName},
		{":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = h.WriteField(hpack.HeaderField{Name: x[0], Value: x[1]}) // into memory
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true})
	raw, err := proto.Marshal(&nodev1.SubscribeRequest{From: &nodev1.Cursor{Height: 1}, Follow: true})
	if err != nil {
		panic(err)
	}
	_ = f.WriteData(1, true, append([]byte{0, 0, 0, 0, byte(len(raw))}, raw...))
	return b.String()
}

const (
	idle = 10_000
	// roomy is max_connections of the validator that lets all idle ones in.
	roomy = 12_000
)

// Clients that stall and ten thousand that do nothing cost little, hold nobody up,
// and are let go. One validator has the places that a node has by default, where
// idle connections make room for others; another has a place for each.
func TestDoorBearsStalledAndIdleClients(t *testing.T) {
	s := start(t)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < roomy+1000 {
		t.Skipf("%d connections take as many open files; this process may have %d (ulimit -n)", idle, files.Cur)
	}
	d := testnet.Dir(s.dir)
	c, err := config.Load(d.Home(s.record.Validators[3]))
	if err != nil {
		t.Fatal(err)
	}
	c.RPC.MaxConnections = roomy
	if err := config.Write(d.Home(s.record.Validators[3]), c); err != nil {
		t.Fatal(err)
	}
	s.run("testnet", "restart", "3", "--dir", s.dir)
	s.reload()
	s.until("all take part", 60*time.Second, oneHash)

	load := s.honest(4, 0, 3)
	settled := func() { time.Sleep(5 * time.Second) }
	settled()
	report := func(what string) {
		t.Helper()
		now0, peak0 := s.memory(0)
		now3, peak3 := s.memory(3)
		t.Logf("%-44s validator 0: %4d MiB (at most %4d), %5.0f connections; validator 3: %4d MiB (at most %4d), %5.0f connections; %d honest transactions",
			what, now0, peak0, s.metric(0, "chancery_rpc_connections"), now3, peak3, s.metric(3, "chancery_rpc_connections"), load.done())
	}
	report("before")
	before0, _ := s.memory(0)
	before3, _ := s.memory(3)
	default0 := s.record.Validators[0].RPC

	// closed waits until the node has closed a connection.
	closed := func(c net.Conn, patience time.Duration) error {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err := io.Copy(io.Discard, c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("it is open after %v", patience)
		}
		return nil // closed, in one way or the other
	}
	t.Run("handshakes that do not end", func(t *testing.T) {
		for name, say := range map[string]string{
			"nothing": "", "half a preface": http2.ClientPreface[:11], "half a TLS handshake": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1": "GET / HTTP/1.1\r\n",
		} {
			c, err := silent(default0, say)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			began := time.Now()
			if err := closed(c, 15*time.Second); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			t.Logf("%s: closed after %v", name, time.Since(began).Round(100*time.Millisecond))
		}
		c, err := silent(default0, "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		for i := range len(http2.ClientPreface) {
			if _, err := io.WriteString(c, http2.ClientPreface[i:i+1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if err := closed(c, 5*time.Second); err != nil || time.Since(began) > 15*time.Second {
			t.Errorf("a byte a second: %v after %v", err, time.Since(began))
		}
	})
	t.Run("subscribers that take nothing", func(t *testing.T) {
		const many = 250
		var conns []net.Conn
		for range many {
			c, err := silent(default0, deaf())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns = append(conns, c)
		}
		s.until("they are subscribed", 30*time.Second, func([]testnet.View) bool { return s.metric(0, "chancery_rpc_subscribers") >= many })
		report(fmt.Sprintf("%d subscribers that take nothing", many))
		began := time.Now()
		for i, c := range conns {
			if err := closed(c, 90*time.Second-time.Since(began)); err != nil {
				t.Fatalf("subscriber %d: %v", i, err)
			}
		}
		t.Logf("they were closed after %v", time.Since(began).Round(time.Second))
		s.until("their places are free", 30*time.Second, func([]testnet.View) bool { return s.metric(0, "chancery_rpc_subscribers") == 0 })
	})
	for _, kind := range []struct{ name, say string }{{"that say nothing", ""}, {"that finished the handshake", preface()}} {
		t.Run("10 000 connections "+kind.name, func(t *testing.T) {
			for i, v := range []int{0, 3} {
				address := s.record.Validators[v].RPC
				var conns []net.Conn
				refusals := 0
				began := time.Now()
				for range idle {
					c, err := silent(address, kind.say)
					if c != nil {
						conns = append(conns, c)
					}
					if err != nil {
						refusals++
					}
				}
				report(fmt.Sprintf("%d to validator %d in %v", len(conns), v, time.Since(began).Round(time.Second)))
				if i == 1 && refusals > 0 {
					t.Errorf("%d were refused although there is a place for each", refusals)
				}
				// Somebody new is served while they are there.
				asked := time.Now()
				for {
					n, err := client.Dial(t.Context(), address)
					if err == nil {
						_ = n.Close()
						t.Logf("a new client of validator %d was let in after %v", v, time.Since(asked).Round(time.Millisecond))
						break
					}
					if time.Since(asked) > 5*time.Second {
						t.Errorf("a new client of validator %d among idle ones: %v", v, err)
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				settled()
				report("five seconds later")
				for _, c := range conns {
					_ = c.Close()
				}
				s.until("they are gone", 60*time.Second, func([]testnet.View) bool { return s.metric(v, "chancery_rpc_connections") < 20 })
			}
		})
	}
	if n := load.done(); n == 0 {
		t.Error("no honest client was served")
	}
	load.stop()
	settled()
	report("after")
	t.Logf("%d transactions of honest clients; the slowest took %v", len(load.ids), load.worst.Round(time.Millisecond))
	if _, peak := s.memory(0); peak-before0 > mostGrowth {
		t.Errorf("validator 0 grew by %d MiB", peak-before0)
	}
	if _, peak := s.memory(3); peak-before3 > 1000 {
		t.Errorf("validator 3 grew by %d MiB", peak-before3)
	}
	if load.worst > 20*time.Second {
		t.Errorf("an honest transaction took %v", load.worst)
	}
}

// A transaction is taken at each node's door and final at all; again it has one
// effect and the same result; what was altered is refused, by the same code at
// each node.
func TestDoorIsTheSameAtEachNode(t *testing.T) {
	s := start(t)
	who, key := s.signer(0, "registrar")
	refuses := func(at int, what string, raw []byte, want *errs.Error) {
		t.Helper()
		_, err := nodev1.NewTxClient(s.dial(at).Conn()).Submit(t.Context(), &nodev1.SubmitRequest{Tx: raw})
		if !errors.Is(err, want) {
			t.Errorf("validator %d, %s: %v; want %v", at, what, err, want)
		}
	}
	for i := range s.record.Validators {
		c := s.dial(i)
		id := fmt.Sprintf("at-%d", i)
		raw, txID, err := c.Draft(who, &provenancev1.RegisterEntity{Id: id, Entity: &provenancev1.Entity{MediaType: "text/plain"}}).Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Result(t.Context(), txID); !errors.Is(err, rpc.ErrNoResult) {
			t.Errorf("before it is submitted: %v", err)
		}
		first, err := c.Commit(t.Context(), raw)
		if err != nil {
			t.Fatalf("validator %d: %v", i, err)
		}
		for j := range s.record.Validators {
			o := s.dial(j)
			// Final there without being submitted there.
			waited, err := o.Wait(t.Context(), txID)
			if err != nil || !proto.Equal(waited, first) {
				t.Errorf("validator %d says of validator %d's transaction: %v, %v; want %v", j, i, waited, err, first)
			}
			answer, err := nodev1.NewTxClient(o.Conn()).Submit(t.Context(), &nodev1.SubmitRequest{Tx: raw})
			if err != nil || !proto.Equal(answer.Result, first) {
				t.Errorf("submitted again to validator %d: %v, %v; want %v", j, answer, err, first)
			}
			// The id covers all but the signatures.
			altered := bytes.Clone(raw)
			altered[len(altered)-3] ^= 1
			refuses(j, "with an altered signature", altered, chain.ErrOtherBytes)
			altered = bytes.Clone(raw)
			altered[bytes.Index(raw, []byte(id))] ^= 2 // an id still
			refuses(j, "with an altered message", altered, chain.ErrBadSignature)
			refuses(j, "with an unknown field", protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 4000, protowire.VarintType), 1), tx.ErrUnknownField)
			refuses(j, "cut short", raw[:len(raw)-1], tx.ErrMalformed)
			node, err := provenancev1.NewQueryClient(o.Conn()).Entity(t.Context(), &provenancev1.NodeRequest{Organisation: s.record.Validators[0].Organisation, Id: id})
			if err != nil || node.Node.GetRef().GetVersion() != 1 || node.Node.GetHeight() != first.Height {
				t.Errorf("validator %d has the entity as %v, %v", j, node, err)
			}
		}
	}

	// A key that was rotated out is refused at each node, and what it signed while it
	// was good is answered as before.
	c := s.dial(0)
	seed := sha256.Sum256([]byte("a new key"))
	fresh, err := keys.NewSigner(keys.P256, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	replacement, err := identity.Possess(s.record.ChainID, who, "key-2", fresh)
	if err != nil {
		t.Fatal(err)
	}
	_, old, _ := strings.Cut(key.KeyURL(), "#")
	rotation, _, err := c.Draft(who, &identityv1.RotateKey{Did: who, KeyId: old, NewKey: replacement}).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Commit(t.Context(), rotation)
	if err != nil {
		t.Fatal(err)
	}
	late, _, err := c.Draft(who, &provenancev1.RegisterEntity{Id: "late", Entity: &provenancev1.Entity{MediaType: "text/plain"}}).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	for j := range s.record.Validators {
		o := s.dial(j)
		if _, err := o.Wait(t.Context(), tx.ID(first.TxId)); err != nil {
			t.Fatal(err)
		}
		refuses(j, "signed by a key that was rotated out", late, identity.ErrKeyRotated)
		if r, err := o.Commit(t.Context(), rotation); err != nil || !proto.Equal(r, first) {
			t.Errorf("the rotation again at validator %d: %v, %v", j, r, err)
		}
	}
	if _, err := c.Do(t.Context(), who, []tx.Signer{client.Signer(who+"#key-2", fresh)}, &provenancev1.RegisterEntity{Id: "new-key", Entity: &provenancev1.Entity{MediaType: "text/plain"}}); err != nil {
		t.Errorf("signed by the key that replaced it: %v", err)
	}
}
