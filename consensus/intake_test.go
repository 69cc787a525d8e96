package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// A batch takes of the organisations in turn, whatever was first, and has its bounds.
func TestChecksTakeTurns(t *testing.T) {
	q := newIntake()
	for range 1000 {
		if !q.put("loud", admission{raw: []byte("loud")}, 2000, 0) {
			t.Fatal("there is no room")
		}
	}
	for range 3 {
		q.put("quiet", admission{raw: []byte("quiet")}, 2000, 0)
	}
	count := func(batch []admission) (quiet int) {
		for _, a := range batch {
			if string(a.raw) == "quiet" {
				quiet++
			}
		}
		return quiet
	}
	if batch := q.take(nil, 4, 1<<20, nil); len(batch) != 4 || count(batch) != 2 {
		t.Errorf("of %d, %d are of the quiet one, want 2 of 4", len(batch), count(batch))
	}
	if batch := q.take(nil, 100, 9, nil); len(batch) != 2 || count(batch) != 1 {
		t.Errorf("of %d, %d are of the quiet one, want 1 of the 2 that have 9 bytes", len(batch), count(batch))
	}
	if n, _ := q.size(); n != 997 || q.bytes("loud") != 4*997 || q.bytes("quiet") != 0 {
		t.Errorf("%d wait, %d bytes of the loud one", n, q.bytes("loud"))
	}
	if batch := q.take(nil, 2000, 1<<20, nil); len(batch) != 997 {
		t.Errorf("%d were left", len(batch))
	}
	if batch := q.take(nil, 1, 1, nil); len(batch) != 0 {
		t.Errorf("nothing waits, and %d were taken", len(batch))
	}
}

// Authors claim to be of whom they like: peers' offers wait of so many organisations at most, and
// what was taken leaves nothing behind.
func TestClaimsLeaveNothingBehind(t *testing.T) {
	q := newIntake()
	rawOf := func(organisation int) []byte { return fmt.Appendf(nil, "raw %d", organisation) }
	offer := func(organisation int) bool {
		raw := rawOf(organisation)
		return q.put(fmt.Sprint(organisation), admission{raw: raw, hash: xxhash.Sum64(raw), fromPeer: true}, 2, 1<<20)
	}
	for i := range mostQueues {
		if !offer(i) {
			t.Fatalf("there is no room for the organisation %d", i)
		}
	}
	if offer(mostQueues) || !offer(0) {
		t.Error("there is room for another organisation, or none for one that waits")
	}
	if q.forget([][]byte{rawOf(1)}); !offer(mostQueues) {
		t.Error("there is no room though one was in a block")
	}
	if !q.put("submitted here", admission{}, 2, 0) {
		t.Error("what peers offer leaves no room for what is submitted")
	}
	if n := len(q.take(nil, 10_000, 1<<20, nil)); n != mostQueues+2 || len(q.queues)+len(q.turns) != 0 || q.peers != 0 {
		t.Errorf("%d were taken, %d queues are left with %d bytes", n, len(q.queues), q.peers)
	}
}

// What is queued of one organisation is bounded, and leaves room for another's.
func TestQueueOfAnOrganisationIsBounded(t *testing.T) {
	q := newIntake()
	n := 0
	for q.put("loud", admission{}, 50, 0) {
		n++
	}
	if n != 50 || !q.put("quiet", admission{}, 50, 0) {
		t.Errorf("%d are queued, want 50 and room for another organisation", n)
	}
}

// fill submits by place until there is no room.
func (h *host) fill(t *testing.T, author string) {
	t.Helper()
	for {
		d, err := h.app.Decode(setParams(author, h.now.UnixMilli()+60_000))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.pool.place(d, chaintest.OrganisationOf(author), false); errors.Is(err, chain.ErrBusy) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Where an organisation has as much waiting as blocks take in MaxWait, a submission is
// refused before anything of it is checked (nobody checks in this test), but for what
// is urgent or known; other organisations are not concerned.
func TestRefusedBeforeItIsChecked(t *testing.T) {
	h := newHost(t)
	h.pool.o.Urgent = func(messages []proto.Message) bool { return len(messages) > 1 }
	h.fill(t, "did:chancery:loud")
	until := h.now.UnixMilli() + 60_000
	submit := func(raw []byte) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		return h.pool.Submit(ctx, raw)
	}
	queued := func() int { n, _ := h.pool.intake.size(); return n }

	err := submit(setParams("did:chancery:loud:desk", until))
	if e := errs.As(err); !errors.Is(err, chain.ErrBusy) || e.RetryMs < shortestAway.Milliseconds() || queued() != 0 {
		t.Fatalf("%v, to come back in %d ms; %d are queued", err, e.RetryMs, queued())
	}
	if submit(setParams("did:chancery:quiet", until)); queued() != 1 {
		t.Errorf("another organisation's was not queued for its check")
	}
	var waiting []byte
	h.pool.Candidates(room{}, nil, func(d *tx.Decoded) Next { waiting = d.Raw; return Stop })
	if submit(waiting); queued() != 2 {
		t.Error("what waits already was not queued for its check")
	}
	set := &chainv1.SetParams{Params: chain.DefaultParams()}
	urgent, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: "did:chancery:loud", ValidUntil: until, Salt: make([]byte, tx.SaltSize), Messages: []proto.Message{set, set},
	}.Sign(chaintest.Actor("did:chancery:loud"))
	if err != nil {
		t.Fatal(err)
	}
	if submit(urgent); queued() != 3 {
		t.Error("what is urgent was not queued for its check")
	}
}

// A transaction of an organisation of which nothing waits is let in whatever its size and
// however many organisations share the blocks: it would be refused for ever.
func TestOneAloneAlwaysHasRoom(t *testing.T) {
	h := newHost(t)
	until := h.now.UnixMilli() + 60_000
	for i := range 40 {
		h.force(t, setParams(fmt.Sprintf("did:chancery:org%d", i), until))
	}
	large := bytes.Repeat([]byte("x"), 2*leastLaneRoom)
	if err := h.pool.room(large, chain.Claimed{Organisation: "did:chancery:new"}); err != nil {
		t.Errorf("one alone: %v", err)
	}
	if err := h.pool.room(large, chain.Claimed{Organisation: "did:chancery:org1"}); !errors.Is(err, chain.ErrBusy) {
		t.Errorf("one beside another: %v", err)
	}
	d, err := h.app.Decode(setParams("did:chancery:new", until))
	if err != nil {
		t.Fatal(err)
	}
	grown := *d
	grown.Raw = large
	if err := h.pool.place(&grown, "did:chancery:new", false); err != nil {
		t.Errorf("one alone: %v", err)
	}
}

// The room of an organisation is what blocks took lately in MaxWait, shared by those that
// have something waiting, and never less than a little nor more than its bytes.
func TestRoomFollowsWhatBlocksTake(t *testing.T) {
	h := newHost(t)
	clock := time.Unix(1_700_000_000, 0)
	h.pool.now = func() time.Time { return clock }
	h.pool.o.MaxWait = 2 * time.Second
	h.force(t, setParams("did:chancery:a", h.now.UnixMilli()+60_000))
	room := func(organisation string) int {
		h.pool.mu.Lock()
		defer h.pool.mu.Unlock()
		return h.pool.mostOf(h.pool.lanes[organisation])
	}
	if room("did:chancery:a") != leastRoom || room("did:chancery:b") != leastRoom/2 {
		t.Errorf("before any block there is room for %d, and for %d of a second organisation", room("did:chancery:a"), room("did:chancery:b"))
	}
	blocks := func(n, bytes int) {
		for range n {
			clock = clock.Add(200 * time.Millisecond)
			h.pool.Committed(bytes, nil)
		}
	}
	blocks(100, 1<<20) // 5 MiB a second
	if got, want := room("did:chancery:a"), 10<<20; got < want*95/100 || got > want {
		t.Errorf("there is room for %d, want about %d", got, want)
	}
	h.force(t, setParams("did:chancery:b", h.now.UnixMilli()+60_000))
	if got, want := room("did:chancery:a"), 5<<20; got < want*95/100 || got > want {
		t.Errorf("beside another there is room for %d, want about %d", got, want)
	}
	blocks(100, 100<<20)
	if got := room("did:chancery:a"); got != h.pool.o.MaxLaneBytes {
		t.Errorf("there is room for %d, want all %d", got, h.pool.o.MaxLaneBytes)
	}
	blocks(200, 0)
	if got := room("did:chancery:a"); got != leastRoom/2 {
		t.Errorf("after empty blocks there is room for %d, want %d", got, leastRoom/2)
	}
	h.pool.o.MaxWait = 0
	if got := room("did:chancery:a"); got != h.pool.o.MaxLaneBytes {
		t.Errorf("without a bound in time there is room for %d", got)
	}
}

// What blocks can take is not thought to be less because they emptied the pool; and where
// somebody was turned away meanwhile, it is thought to be more, until something is left. So
// a flood that was sent away at first does not find a node that takes ever less.
func TestAnEmptiedPoolMakesNoRoomSmaller(t *testing.T) {
	h := newHost(t)
	clock := time.Unix(1_700_000_000, 0)
	h.pool.now = func() time.Time { return clock }
	blocks := func(n, bytes int) {
		for range n {
			clock = clock.Add(200 * time.Millisecond)
			h.pool.Committed(bytes, nil)
		}
	}
	const thought = 1 << 20 // bytes a second
	blocks(2, 0)
	h.pool.taken = thought
	blocks(50, 1000)
	if h.pool.taken != thought {
		t.Errorf("after small blocks that left nothing, blocks are thought to take %.0f, want %d", h.pool.taken, thought)
	}
	h.force(t, setParams("did:chancery:loud", h.now.UnixMilli()+60_000))
	l := h.pool.lanes["did:chancery:loud"]
	waiting := h.pool.bytes
	_ = h.pool.busy(l, 1000)
	blocks(5, 2*waiting) // leave less than they took
	grown := h.pool.taken
	if grown < 1.3*thought || grown > 1.5*thought {
		t.Errorf("where one was turned away and a second's blocks left less than they took, blocks are thought to take %.0f", grown)
	}
	blocks(15, waiting/2) // leave more
	if want := float64(waiting/2) / 0.2; h.pool.taken > grown/2 || h.pool.taken < want {
		t.Errorf("after three seconds of blocks that left more, blocks are thought to take %.0f, between %.0f and %.0f", h.pool.taken, want, grown/2)
	}
	before := h.pool.taken
	clock = clock.Add(longestAway)
	blocks(2, 2*waiting)
	blocks(1, 2*waiting)
	if h.pool.taken < before {
		t.Errorf("it fell to %.0f", h.pool.taken)
	}
}

// Those that are turned away are told to come back one after the other, at the pace of the
// blocks, and within half a minute.
func TestTurnedAwayComeBackInOrder(t *testing.T) {
	h := newHost(t)
	clock := time.Unix(1_700_000_000, 0)
	h.pool.now = func() time.Time { return clock }
	h.fill(t, "did:chancery:loud")
	h.pool.taken = 1 << 20 // bytes a second
	l := h.pool.lanes["did:chancery:loud"]
	pause := func() time.Duration { return time.Duration(errs.As(h.pool.busy(l, 1<<18)).RetryMs) * time.Millisecond }
	if first, second, third := pause(), pause(), pause(); first != shortestAway || second != shortestAway || third != 750*time.Millisecond {
		t.Errorf("a quarter of a second's bytes each are to come back in %v, %v and %v", first, second, third)
	}
	for range 1000 {
		pause()
	}
	if got := pause(); got != longestAway {
		t.Errorf("the last one is to come back in %v, want %v", got, longestAway)
	}
	clock = clock.Add(longestAway)
	if got := pause(); got != shortestAway {
		t.Errorf("half a minute later one is to come back in %v, want %v", got, shortestAway)
	}
}
