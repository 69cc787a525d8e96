package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/rpc"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// record is a block whose transactions have the given numbers of events, the last
// being the block's own.
func record(height int64, counts ...int) *chainv1.BlockRecord {
	b := &chainv1.BlockRecord{Height: height, Time: 1000 * height}
	n := 0
	events := func(count int) (out []*chainv1.Event) {
		for range count {
			out = append(out, &chainv1.Event{Type: fmt.Sprintf("test.v1.Kind%d", n%3), Value: fmt.Appendf(nil, "%d/%d", height, n)})
			n++
		}
		return out
	}
	for i, count := range counts {
		if i == len(counts)-1 {
			b.Events = events(count)
			break
		}
		id := make([]byte, 32)
		copy(id, fmt.Sprintf("tx %d of %d", i, height))
		b.Txs = append(b.Txs, &chainv1.TxResult{TxId: id, Height: height, Index: uint32(i), Events: events(count)})
	}
	return b
}

// told is an event as a subscriber learns of it.
func told(e *nodev1.BlockEvent) string {
	return fmt.Sprintf("%d/%d %s %s %x %d", e.Height, e.Index, e.Event.Type, e.Event.Value, e.TxId, e.Time)
}

// all lists what a subscriber must learn of blocks, of some types.
func all(blocks []*chainv1.BlockRecord, types []string) (out []string) {
	for _, b := range blocks {
		index := uint32(0)
		add := func(id []byte, events []*chainv1.Event) {
			for _, e := range events {
				if len(types) == 0 || slices.Contains(types, e.Type) {
					out = append(out, told(&nodev1.BlockEvent{Height: b.Height, Index: index, Time: b.Time, TxId: id, Event: e}))
				}
				index++
			}
		}
		for _, t := range b.Txs {
			add(t.TxId, t.Events)
		}
		add(nil, b.Events)
	}
	return out
}

func appendBlock(t testing.TB, log *records.Log, b *chainv1.BlockRecord) {
	t.Helper()
	if err := log.Append(b); err != nil {
		t.Fatal(err)
	}
	log.Publish(b.Height)
}

// withRecords is a door over records of the test's own.
func withRecords(t testing.TB, l rpc.Limits) *door {
	t.Helper()
	c := nodetest.New(t, nodetest.Config{})
	log, err := records.Open(dbm.NewMemDB(), true)
	if err != nil {
		t.Fatal(err)
	}
	c.Records = log
	return serve(t, c, l)
}

// TestEventsExactlyOnce breaks off and resumes subscriptions at arbitrary points,
// while blocks are still being made, and compares what came with what was.
func TestEventsExactlyOnce(t *testing.T) {
	d := withRecords(t, limits())
	conn := d.dial()
	c := nodev1.NewEventsClient(conn)
	var blocks []*chainv1.BlockRecord
	rapid.Check(t, func(rt *rapid.T) {
		begin := int64(len(blocks))
		var fresh []*chainv1.BlockRecord
		for range rapid.IntRange(1, 6).Draw(rt, "blocks") {
			counts := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 1, 2, 5, 700}), 1, 4).Draw(rt, "events")
			fresh = append(fresh, record(int64(len(blocks))+1, counts...))
			blocks = append(blocks, fresh[len(fresh)-1])
		}
		early := rapid.IntRange(0, len(fresh)).Draw(rt, "blocks that are there at first")
		for _, b := range fresh[:early] {
			appendBlock(t, d.chain.Records, b)
		}
		types := rapid.SampledFrom([][]string{nil, {"test.v1.Kind1"}, {"test.v1.Kind0", "test.v1.Kind2"}, {"test.v1.None"}}).Draw(rt, "types")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 4), 0, 6).Draw(rt, "responses until the connection breaks")
		skip := rapid.Bool().Draw(rt, "whether the last response is lost")

		late := make(chan struct{})
		go func() {
			defer close(late)
			for _, b := range fresh[early:] {
				appendBlock(t, d.chain.Records, b)
			}
		}()
		var got []string
		cursor := &nodev1.Cursor{Height: begin + 1}
		for cut := 0; cursor.Height <= int64(len(blocks)); cut++ {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			stream, err := c.Subscribe(ctx, &nodev1.SubscribeRequest{From: cursor, Types: types, Follow: true})
			if err != nil {
				rt.Fatal(err)
			}
			for n := 1; cursor.Height <= int64(len(blocks)); n++ {
				r, err := stream.Recv()
				if err != nil {
					rt.Fatal(err)
				}
				if cut < len(cuts) && n == cuts[cut] {
					if skip {
						break // it never reached the client
					}
					n = cuts[cut]
				}
				for _, e := range r.Events {
					got = append(got, told(e))
				}
				cursor = r.Cursor
				if cut < len(cuts) && n == cuts[cut] {
					break
				}
			}
			cancel()
		}
		<-late
		if want := all(fresh, types); !slices.Equal(got, want) {
			rt.Fatalf("got %d events, want %d:\n%v\n%v", len(got), len(want), got, want)
		}
	})
}

// TestEveryCursorResumes subscribes from each event of a block in turn.
func TestEveryCursorResumes(t *testing.T) {
	d := withRecords(t, limits())
	c := nodev1.NewEventsClient(d.dial())
	blocks := []*chainv1.BlockRecord{record(1, 2, 0), record(2, 0), record(3, 1, 3, 2), record(4, 1)}
	for _, b := range blocks {
		appendBlock(t, d.chain.Records, b)
	}
	whole := all(blocks, nil)
	read := func(from *nodev1.Cursor) (got []string, last *nodev1.Cursor) {
		t.Helper()
		stream, err := c.Subscribe(t.Context(), &nodev1.SubscribeRequest{From: from})
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return got, last
			}
			if err != nil {
				t.Fatal(err)
			}
			last = r.Cursor
			for _, e := range r.Events {
				got = append(got, told(e))
			}
		}
	}
	passed := 0
	for _, b := range blocks {
		n := len(all([]*chainv1.BlockRecord{b}, nil))
		for index := 0; index <= n; index++ {
			got, last := read(&nodev1.Cursor{Height: b.Height, Index: uint32(index)})
			if want := whole[passed+index:]; !slices.Equal(got, want) {
				t.Fatalf("from %d/%d: got %v, want %v", b.Height, index, got, want)
			}
			if last.Height != 5 || last.Index != 0 {
				t.Fatalf("the stream ends at %v, want the beginning of block 5", last)
			}
		}
		passed += n
	}
	if got, _ := read(&nodev1.Cursor{}); !slices.Equal(got, whole) {
		t.Fatalf("from the beginning: %v", got)
	}
	if got, last := read(nil); got != nil || last.Height != 5 {
		t.Fatalf("from now: %v, %v", got, last)
	}
}

func TestSubscribeRefuses(t *testing.T) {
	d := withRecords(t, limits())
	c := nodev1.NewEventsClient(d.dial())
	for h := int64(5); h <= 7; h++ {
		appendBlock(t, d.chain.Records, record(h, 1))
	}
	refuses := func(req *nodev1.SubscribeRequest) error {
		t.Helper()
		stream, err := c.Subscribe(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := stream.Recv(); err != nil {
				return err
			}
		}
	}
	at := func(height int64, index uint32) *nodev1.SubscribeRequest {
		return &nodev1.SubscribeRequest{From: &nodev1.Cursor{Height: height, Index: index}}
	}
	refused(t, refuses(at(0, 0)), rpc.ErrCursorTooOld, codes.OutOfRange)
	refused(t, refuses(at(4, 0)), rpc.ErrCursorTooOld, codes.OutOfRange)
	refused(t, refuses(at(9, 0)), rpc.ErrCursorAhead, codes.OutOfRange)
	refused(t, refuses(at(8, 1)), rpc.ErrCursorAhead, codes.OutOfRange)
	refused(t, refuses(at(6, 2)), rpc.ErrBadRequest, codes.InvalidArgument)
	refused(t, refuses(at(-1, 0)), rpc.ErrBadRequest, codes.InvalidArgument)
	refused(t, refuses(at(0, 1)), rpc.ErrBadRequest, codes.InvalidArgument)
	refused(t, refuses(&nodev1.SubscribeRequest{Types: make([]string, 101)}), rpc.ErrBadRequest, codes.InvalidArgument)
	refused(t, refuses(&nodev1.SubscribeRequest{Types: []string{""}}), rpc.ErrBadRequest, codes.InvalidArgument)
	if err := refuses(at(8, 0)); !errors.Is(err, io.EOF) {
		t.Fatalf("the cursor after the latest block: %v", err)
	}
}

// TestHeartbeats: a subscriber without wanted events learns how far it is, also
// while blocks keep coming.
func TestHeartbeats(t *testing.T) {
	d := withRecords(t, limits())
	stream, err := nodev1.NewEventsClient(d.dial()).Subscribe(t.Context(), &nodev1.SubscribeRequest{
		From: &nodev1.Cursor{Height: 1}, Types: []string{"test.v1.None"}, Follow: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for h := int64(1); ; h++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				appendBlock(t, d.chain.Records, record(h, 1))
			}
		}
	}()
	beats, last := 0, int64(0)
	for begun := time.Now(); time.Since(begun) < 800*time.Millisecond; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Events) != 0 || r.Cursor.Height < last || r.Head < r.Cursor.Height-1 {
			t.Fatalf("after %d: %v", last, r)
		}
		beats, last = beats+1, r.Cursor.Height
	}
	close(stop)
	<-done
	if beats < 4 || beats > 20 || last < 10 {
		t.Errorf("%d heartbeats up to %d in 800 ms, want one each 100 ms", beats, last)
	}
	// And while none come.
	for range 3 {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowReaderIsCutOff: a subscriber that takes nothing is ended with a status
// that it finds when it reads again, keeps no slot, and loses nothing.
func TestSlowReaderIsCutOff(t *testing.T) {
	d := withRecords(t, limits())
	var blocks []*chainv1.BlockRecord
	for h := int64(1); h <= 200; h++ {
		b := record(h, 60, 0)
		for _, e := range b.Txs[0].Events {
			e.Value = append(e.Value, make([]byte, 1000)...)
		}
		blocks = append(blocks, b)
		appendBlock(t, d.chain.Records, b)
	}
	c := nodev1.NewEventsClient(d.dial())
	stream, err := c.Subscribe(t.Context(), &nodev1.SubscribeRequest{From: &nodev1.Cursor{Height: 1}, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the reader is cut off", func() bool {
		return d.measured("chancery_rpc_slow_readers_total") == 1 && d.measured("chancery_rpc_subscribers") == 0
	})
	var got []string
	var cursor *nodev1.Cursor
	for {
		r, err := stream.Recv()
		if err != nil {
			refused(t, err, rpc.ErrSlowReader, codes.ResourceExhausted)
			break
		}
		for _, e := range r.Events {
			got = append(got, told(e))
		}
		cursor = r.Cursor
	}
	if len(got) == 0 || cursor.Height > 100 {
		t.Fatalf("the reader was given %d events up to %v before it was cut off", len(got), cursor)
	}
	again, err := c.Subscribe(t.Context(), &nodev1.SubscribeRequest{From: cursor})
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := again.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			got = append(got, told(e))
		}
	}
	if want := all(blocks, nil); !slices.Equal(got, want) {
		t.Fatalf("%d events before and after the cut, want %d", len(got), len(want))
	}
}

// A node may be stopped before its door is open: that is no failure, over neither protocol.
func TestServeAfterShutdown(t *testing.T) {
	d := open(t, limits())
	d.shutdown()
	for name, serve := range map[string]func(net.Listener) error{"gRPC": d.server.Serve, "HTTP": d.server.ServeREST} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := serve(listener); err != nil {
			t.Errorf("over %s: %v", name, err)
		}
		if again, err := net.Listen("tcp", listener.Addr().String()); err != nil {
			t.Errorf("over %s the listener is open still: %v", name, err)
		} else {
			_ = again.Close()
		}
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	d := withRecords(t, limits())
	conn := d.dial()
	events, err := nodev1.NewEventsClient(conn).Subscribe(t.Context(), &nodev1.SubscribeRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Recv(); err != nil {
		t.Fatal(err)
	}
	submit, err := nodev1.NewTxClient(conn).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := submit.Send(&nodev1.SubmitStreamRequest{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := submit.Recv(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := nodev1.NewTxClient(conn).Wait(t.Context(), &nodev1.WaitRequest{TxId: make([]byte, 32)})
		waited <- err
	}()
	time.Sleep(50 * time.Millisecond)
	begun := time.Now()
	d.shutdown()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the server took %s to stop", took)
	}
	for {
		if _, err = events.Recv(); err != nil {
			break
		}
	}
	refused(t, err, rpc.ErrStopping, codes.Unavailable)
	_, err = submit.Recv()
	refused(t, err, rpc.ErrStopping, codes.Unavailable)
	refused(t, <-waited, rpc.ErrStopping, codes.Unavailable)
}
