package consensus

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
)

// waits is how many wait in the pool, and how many for their check.
func (h *host) waits() (checked, offered int) {
	checked, _ = h.pool.Size()
	offered, _ = h.pool.offered.size()
	return checked, offered
}

func (h *host) eventually(t *testing.T, what string, checked, offered int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		a, b := h.waits()
		if a == checked && b == offered {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d are checked and %d wait for it, want %d and %d", what, a, b, checked, offered)
		}
	}
}

// What peers offer waits for its check until this node is going to propose, while what is
// submitted here does not.
func TestWhatPeersOfferIsCheckedWhenItIsNeeded(t *testing.T) {
	h := newHost(t)
	h.pool.o.Gather = time.Hour
	until := h.now.UnixMilli() + 60_000
	offer := func(n int) {
		t.Helper()
		for range n {
			if !h.pool.Offer(setParams(chaintest.Consortium, until)) {
				t.Fatal("there is no room")
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go h.pool.Run(ctx)
	offer(3)
	for range 2 { // whichever of the two queues has its turn
		if err := h.pool.Submit(ctx, setParams(chaintest.Consortium, until)); err != nil {
			t.Fatal(err)
		}
	}
	h.eventually(t, "offered", 2, 3)

	h.pool.Soon()
	h.eventually(t, "soon", 5, 0)
	// It is for once; the queue must have been seen empty before.
	for deadline := time.Now().Add(5 * time.Second); h.pool.soon.Load() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	offer(2)
	if err := h.pool.Submit(ctx, setParams(chaintest.Consortium, until)); err != nil {
		t.Fatal(err)
	}
	h.eventually(t, "after that", 6, 2)

	h.pool.Proposing(true)
	h.eventually(t, "proposing", 8, 0)
	offer(1)
	h.eventually(t, "while proposing", 9, 0)
	h.pool.Proposing(false)
	offer(h.pool.o.GatherTxs)
	h.eventually(t, "many", 9+h.pool.o.Batch, h.pool.o.GatherTxs-h.pool.o.Batch)
}

// Nobody waits for longer than Gather, and much of it is not waited for.
func TestWhatPeersOfferIsCheckedInTime(t *testing.T) {
	h := newHost(t)
	clock := time.Now()
	h.pool.now = func() time.Time { return clock }
	fetched := func() int { batch, _ := h.pool.fetch(nil); return len(batch) }
	h.pool.Offer(setParams("did:chancery:a", 1))
	clock = clock.Add(h.pool.o.Gather - time.Millisecond)
	h.pool.Offer(setParams("did:chancery:b", 1))
	if n := fetched() + fetched(); n != 0 {
		t.Fatalf("%d were taken before their time", n)
	}
	if _, due := h.pool.fetch(nil); due != time.Millisecond {
		t.Errorf("the next is due in %v", due)
	}
	clock = clock.Add(time.Millisecond)
	if n := fetched() + fetched(); n != 2 {
		t.Errorf("%d of 2 were taken", n)
	}
	for range gatherBytes >> 19 {
		h.pool.Offer(make([]byte, 512<<10))
	}
	if n := fetched() + fetched(); n == 0 {
		t.Error("large ones wait, however many bytes they are")
	}
}

// Neither of the two queues is starved by the other.
func TestSubmittedAndOfferedTakeTurns(t *testing.T) {
	h := newHost(t)
	h.pool.o.Batch = 1
	h.pool.Proposing(true)
	for range 4 {
		h.pool.Offer(setParams("did:chancery:a", 1))
		h.pool.intake.put("did:chancery:a", admission{raw: setParams("did:chancery:a", 1)}, 10, 0)
	}
	offered := 0
	for range 4 {
		batch, _ := h.pool.fetch(nil)
		if len(batch) != 1 {
			t.Fatalf("%d were taken", len(batch))
		}
		if batch[0].fromPeer {
			offered++
		}
	}
	if offered != 2 {
		t.Errorf("of 4 taken, %d were offered by peers", offered)
	}
}

// A block spares its transactions the check at the nodes that did not propose it.
func TestABlockSparesTheCheck(t *testing.T) {
	h := newHost(t)
	until := h.now.UnixMilli() + 60_000
	in, left := setParams("did:chancery:a", until), setParams("did:chancery:a", until)
	other := setParams("did:chancery:b", until)
	for _, raw := range [][]byte{in, left, other} {
		h.pool.Offer(raw)
	}
	h.commit(t, h.decide(t, h.block(in, other)))
	n, bytes := h.pool.offered.size()
	if n != 1 || bytes != len(left) || h.pool.offered.bytes("did:chancery:a") != len(left) {
		t.Fatalf("%d wait, %d bytes", n, bytes)
	}
	if batch := h.pool.offered.take(nil, 10, 1<<20, nil); len(batch) != 1 || !slices.Equal(batch[0].raw, left) {
		t.Errorf("not what is left: %d", len(batch))
	}
	h.pool.offered.forget([][]byte{{}}) // of nothing
}

// A proposer has in its block what peers offered until then, though nothing else checks it,
// and knows by whom it is preceded.
func TestAProposerGathersFirst(t *testing.T) {
	h := newHost(t)
	h.pool.o.Gather = time.Hour
	until := h.now.UnixMilli() + 60_000
	raw := setParams(chaintest.Consortium, until)
	h.pool.Offer(raw)
	h.proposer = []byte("before")
	txs := h.prepare(t)
	if len(txs) != 2 || !slices.Equal(txs[1], raw) {
		t.Fatalf("the block has %d transactions", len(txs)-1)
	}
	soon := func(proposer string) bool {
		h.decide(t, h.block())
		h.proposer = []byte(proposer)
		h.commit(t, nil)
		return h.pool.soon.Swap(false)
	}
	if soon("other") || !soon("before") {
		t.Error("it is not told from the others who precedes this node")
	}
}

// Where blocks have plenty of an organisation without it, what peers offer of it waits, also when
// this node is going to propose, but for a little at each proposal; what they offer of others
// does not.
func TestWhatPeersOfferWaitsWhereThereIsPlenty(t *testing.T) {
	h := newHost(t)
	clock := time.Now()
	h.pool.now = func() time.Time { return clock }
	until := h.now.UnixMilli() + 60_000
	h.pool.o.Batch = 8
	fetched := func() int { batch, _ := h.pool.fetch(nil); return len(batch) }

	h.force(t, setParams("did:chancery:flood", until))
	h.pool.mu.Lock()
	for _, l := range h.pool.lanes {
		l.bytes += leastTarget
	}
	h.pool.mu.Unlock()
	for range 4 {
		h.pool.Offer(setParams("did:chancery:flood", until))
	}
	h.pool.Soon()
	h.pool.Proposing(true)
	clock = clock.Add(time.Hour)
	if n := fetched() + fetched(); n != 0 {
		t.Fatalf("%d were taken that nobody needs", n)
	}
	h.pool.Offer(setParams("did:chancery:quiet", until))
	if n := fetched() + fetched(); n != 0 {
		t.Fatalf("%d were taken at once after a look in vain", n)
	}
	clock = clock.Add(inVain)
	if n := fetched() + fetched(); n != 1 || h.pool.offered.bytes("did:chancery:quiet") != 0 {
		t.Fatalf("%d were taken, want that of the quiet one", n)
	}
	h.pool.Offer(setParams("did:chancery:quiet", until))
	h.pool.Gather(time.Hour)
	if n, _ := h.pool.offered.size(); n != 3 || h.pool.offered.bytes("did:chancery:quiet") != 0 {
		t.Fatalf("a proposal left %d, of the quiet one %d bytes", n, h.pool.offered.bytes("did:chancery:quiet"))
	}

	// What blocks take says what is plenty: a larger one, and for a while after it.
	lacking := func() bool { return h.pool.lack()["did:chancery:flood"] > 0 }
	h.pool.Committed(leastTarget, nil)
	if !lacking() {
		t.Error("what one block takes is plenty")
	}
	for range 6 {
		h.pool.Committed(0, nil)
	}
	if lacking() {
		t.Error("a large block of long ago counts")
	}
	h.pool.Committed(2*leastTarget, nil)
	if h.pool.Proposed(leastTarget, true); lacking() {
		t.Error("a block that was full is to grow")
	}
	if h.pool.Proposed(leastTarget, false); !lacking() {
		t.Error("a block that took all is not to grow")
	}
}

// TestEvenLevel: all have what they have, but no more than the level, and that is together what
// there is to be, unless there is less.
func TestEvenLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.SliceOfN(rapid.IntRange(0, 1000), 0, 12).Draw(t, "amounts")
		sum := rapid.IntRange(0, 6000).Draw(t, "sum")
		all := 0
		for _, a := range amounts {
			all += a
		}
		level, got := evenLevel(slices.Clone(amounts), sum), 0
		for _, a := range amounts {
			got += min(a, level)
		}
		if all <= sum && got != all || all > sum && (got > sum || got <= sum-len(amounts)) {
			t.Fatalf("at a level of %d they have %d, want %d of %d", level, got, sum, all)
		}
	})
}

// While the node executes a block, nothing is checked.
func TestABlockGoesBeforeChecks(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go h.pool.Run(ctx)
	until := h.now.UnixMilli() + 60_000
	if err := h.pool.Submit(ctx, setParams(chaintest.Consortium, until)); err != nil {
		t.Fatal(err)
	}
	h.pool.Hush()
	submitted := make(chan error, 1)
	go func() { submitted <- h.pool.Submit(ctx, setParams(chaintest.Consortium, until)) }()
	// One turn of Run may have begun before.
	for range 2 {
		select {
		case err := <-submitted:
			t.Logf("it was checked by a turn that had begun: %v", err)
			go func() { submitted <- h.pool.Submit(ctx, setParams(chaintest.Consortium, until)) }()
		case <-time.After(100 * time.Millisecond):
		}
	}
	select {
	case err := <-submitted:
		t.Fatalf("it was checked: %v", err)
	default:
	}
	h.pool.Speak()
	if err := <-submitted; err != nil {
		t.Fatal(err)
	}
}
