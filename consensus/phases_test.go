package consensus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/recent"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// SPEC B2: ProcessProposal accepts whatever PrepareProposal builds, on a node that
// never saw the transactions, whatever is in the pool: transactions that became
// void, that are committed already, that fail, that are over quota.
func TestProcessAcceptsWhatPrepareBuilds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		proposer, validator := newHost(t), newHost(t)
		var old [][]byte
		for range rapid.IntRange(1, 4).Draw(r, "blocks") {
			for i := range rapid.IntRange(0, 30).Draw(r, "txs") {
				author := rapid.SampledFrom([]string{chaintest.Consortium, "did:chancery:mercy", "did:chancery:acme:x"}).Draw(r, fmt.Sprint("author", i))
				ahead := rapid.Int64Range(-5_000, 700_000).Draw(r, fmt.Sprint("ahead", i))
				raw := setParams(author, proposer.now.UnixMilli()+ahead)
				if len(old) > 0 && rapid.IntRange(0, 3).Draw(r, fmt.Sprint("old", i)) == 0 {
					raw = rapid.SampledFrom(old).Draw(r, fmt.Sprint("which", i))
				}
				old = append(old, raw)
				proposer.force(t, raw)
			}
			txs := proposer.prepare(t)
			if !validator.accepts(t, txs) {
				r.Fatalf("block %d with %d transactions was rejected", validator.height()+1, len(txs))
			}
			a, b := proposer.decide(t, txs), validator.decide(t, txs)
			if !bytes.Equal(a.AppHash, b.AppHash) {
				r.Fatalf("app hashes differ: %x and %x", a.AppHash, b.AppHash)
			}
			proposer.commit(t, a)
			validator.commit(t, b)
		}
	})
}

// A proposer stops when its time is up, at whatever number of transactions: a few
// dear ones, or many that the door refuses, may take all of it.
func TestProposingStopsInTime(t *testing.T) {
	h := newHost(t)
	h.build = time.Nanosecond
	for range 40 {
		h.force(t, setParams(chaintest.Consortium, h.now.UnixMilli()+1000))
	}
	if txs := h.prepare(t); len(txs) != 2 {
		t.Errorf("%d transactions were put into a block whose time was up after the first", len(txs))
	}
	h = newHost(t)
	h.build = time.Nanosecond
	h.force(t, setParams(chaintest.Consortium, h.now.UnixMilli()+1000))
	for range 40 {
		h.force(t, setParams(chaintest.Consortium, h.now.UnixMilli()-1))
	}
	h.prepare(t)
	if left, _ := h.pool.Size(); left < 40 {
		t.Errorf("%d are left in the pool: the proposer went on looking", left)
	}
}

// SPEC B1: a block is rejected for one transaction that the door refuses.
func TestProcessRejects(t *testing.T) {
	h := newHost(t)
	good := setParams(chaintest.Consortium, h.now.UnixMilli()+1000)
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	for name, txs := range map[string][][]byte{
		"garbage":        {[]byte("garbage")},
		"bad signature":  {bad},
		"void":           {setParams(chaintest.Consortium, h.now.UnixMilli()-1)},
		"too far ahead":  {setParams(chaintest.Consortium, h.now.UnixMilli()+10*60*1000+1)},
		"twice in block": {good, good},
	} {
		if h.accepts(t, h.block(txs...)) {
			t.Errorf("%s: accepted", name)
		}
	}
	if !h.accepts(t, h.block(good)) {
		t.Fatal("the good transaction alone was rejected")
	}
	h.commit(t, h.decide(t, h.block(good)))
	if h.accepts(t, h.block(good)) {
		t.Error("a committed transaction was accepted again")
	}
}

// SPEC B3: a candidate is executed once, by the proposer and by a validator.
func TestCandidateIsExecutedOnce(t *testing.T) {
	proposer, validator := newHost(t), newHost(t)
	proposer.force(t, setParams(chaintest.Consortium, proposer.now.UnixMilli()+1000))
	height := proposer.height() + 1
	txs := proposer.prepare(t)
	for name, h := range map[string]*host{"proposer": proposer, "validator": validator} {
		if !h.accepts(t, txs) {
			t.Fatalf("%s rejects", name)
		}
		h.commit(t, h.decide(t, txs))
		if got := h.probe.executed[height]; got != 1 {
			t.Errorf("%s executed the block %d times", name, got)
		}
	}
}

// Of the blocks that a validator accepted, each is applied ahead, and the one that is
// decided counts: also when it was not the last, or none of them.
func TestWhatIsAppliedAheadIsWhatIsDecided(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h, plain := newHost(t), newHost(t)
		for range rapid.IntRange(1, 4).Draw(r, "blocks") {
			var blocks [][][]byte
			for range rapid.IntRange(1, 4).Draw(r, "proposals") {
				var raws [][]byte
				for range rapid.IntRange(0, 3).Draw(r, "txs") {
					raws = append(raws, setParams(rapid.SampledFrom([]string{chaintest.Consortium, "did:chancery:mercy"}).Draw(r, "author"), h.now.UnixMilli()+1000))
				}
				blocks = append(blocks, h.block(raws...))
				if !h.accepts(t, blocks[len(blocks)-1]) {
					r.Fatal("a good block is rejected")
				}
			}
			blocks = append(blocks, h.block(setParams(chaintest.Consortium, h.now.UnixMilli()+1000))) // was never proposed here
			decided := rapid.SampledFrom(blocks).Draw(r, "decided")
			a, b := h.decide(t, decided), plain.decide(t, decided)
			if !bytes.Equal(a.AppHash, b.AppHash) {
				r.Fatalf("app hash %x, without blocks applied ahead %x", a.AppHash, b.AppHash)
			}
			h.commit(t, a)
			plain.commit(t, b)
		}
	})
}

// A fault while a block is applied ahead halts the one that needs it.
func TestFaultAheadHaltsTheDecision(t *testing.T) {
	h := newHost(t)
	txs := h.block(setParams(chaintest.Consortium, h.now.UnixMilli()+1000))
	if !h.accepts(t, txs) {
		t.Fatal("a good block is rejected")
	}
	<-h.ahead.root.done
	h.ahead.root = begin(func() ([]byte, error) { panic("the disk is gone") })
	defer func() {
		if recover() != "the disk is gone" {
			t.Error("the decision goes on without the block")
		}
	}()
	h.decide(t, txs)
}

// SPEC B8. Trap: an engine that finds the application ahead of its own store cannot start.
func TestTrapPersistInCommitAlone(t *testing.T) {
	h := newHost(t)
	before := h.height()
	txs := h.block(setParams(chaintest.Consortium, h.now.UnixMilli()+1000))
	first := h.decide(t, txs)
	h.open(t)
	if got := h.height(); got != before {
		t.Fatalf("after a crash between FinalizeBlock and Commit the state is at %d, want %d", got, before)
	}
	if d, _ := h.app.Decode(txs[1]); h.app.Seen(d.ID) {
		t.Fatal("the transaction is remembered although its block was never committed")
	}
	again := h.decide(t, txs)
	if !bytes.Equal(first.AppHash, again.AppHash) {
		t.Fatalf("the replayed block has app hash %x, had %x", again.AppHash, first.AppHash)
	}
	h.commit(t, again)
	if got := h.height(); got != before+1 {
		t.Fatalf("height %d after the replayed commit", got)
	}
}

// Every step of Commit, failed and failed-but-persisted: the node goes on from the
// height before and ends with the same state.
func TestCommitFaults(t *testing.T) {
	for _, which := range []string{"records", "state"} {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persisted=%v", which, persisted), func(t *testing.T) {
				h := newHost(t)
				want := newHost(t)
				txs := h.block(setParams(chaintest.Consortium, h.now.UnixMilli()+1000))
				want.commit(t, want.decide(t, txs))

				stateDB, logDB := h.stateDB, h.logDB
				if which == "records" {
					h.logDB = &faulty{DB: logDB, persisted: persisted}
				} else {
					h.stateDB = &faulty{DB: stateDB, persisted: persisted}
				}
				h.open(t)
				h.decide(t, txs)
				if _, err := h.Commit(context.Background(), nil); !errors.Is(err, errDisk) {
					t.Fatalf("Commit: %v, want the disk's error", err)
				}
				h.stateDB, h.logDB = stateDB, logDB
				h.open(t)
				if h.height() == want.height()-1 {
					h.commit(t, h.decide(t, txs))
				}
				if !bytes.Equal(h.app.Tree().Root(), want.app.Tree().Root()) {
					t.Fatal("the state differs from that of a node without the fault")
				}
				d, _ := h.app.Decode(txs[1])
				h.records.Publish(h.height())
				if r, ok, err := h.records.Tx(d.ID); err != nil || !ok || r.Height != h.height() {
					t.Fatalf("the transaction's record: %v, %v, %v", r, ok, err)
				}
			})
		}
	}
}

var errDisk = errors.New("disk full")

// faulty is a database of which each batch fails, after or without writing.
type faulty struct {
	dbm.DB
	persisted bool
}

func (f *faulty) NewBatch() dbm.Batch { return &faultyBatch{f.DB.NewBatch(), f.persisted} }
func (f *faulty) NewBatchWithSize(n int) dbm.Batch {
	return &faultyBatch{f.DB.NewBatchWithSize(n), f.persisted}
}

type faultyBatch struct {
	dbm.Batch
	persisted bool
}

func (b *faultyBatch) Write() error {
	if b.persisted {
		if err := b.Batch.Write(); err != nil {
			return err
		}
	}
	return errDisk
}
func (b *faultyBatch) WriteSync() error { return b.Write() }

// SPEC V1. Trap: extensions are on from height 1; they are empty and nothing else passes.
func TestTrapExtensionsFromHeightOne(t *testing.T) {
	h := newHost(t)
	ext, err := h.ExtendVote(context.Background(), &abci.RequestExtendVote{})
	if err != nil || len(ext.VoteExtension) != 0 {
		t.Fatalf("extension %x, %v", ext.GetVoteExtension(), err)
	}
	for _, c := range []struct {
		extension []byte
		want      abci.ResponseVerifyVoteExtension_VerifyStatus
	}{
		{nil, abci.ResponseVerifyVoteExtension_ACCEPT},
		{[]byte{0}, abci.ResponseVerifyVoteExtension_REJECT},
	} {
		res, err := h.VerifyVoteExtension(context.Background(), &abci.RequestVerifyVoteExtension{VoteExtension: c.extension})
		if err != nil || res.Status != c.want {
			t.Errorf("extension %x: %v, %v", c.extension, res, err)
		}
	}
	req := initChain()
	req.ConsensusParams.Abci.VoteExtensionsEnableHeight = 0
	fresh := &host{stateDB: dbm.NewMemDB(), logDB: dbm.NewMemDB()}
	fresh.open(t)
	if _, err := fresh.InitChain(context.Background(), req); err == nil {
		t.Fatal("a genesis without vote extensions was accepted")
	}
}

func TestPeerFilter(t *testing.T) {
	h := newHost(t)
	for id, want := range map[string]bool{"member": true, "stranger": false} {
		res, err := h.Query(context.Background(), &abci.RequestQuery{Path: "/p2p/filter/id/" + id})
		if err != nil || res.IsOK() != want {
			t.Errorf("%s: %v, %v", id, res, err)
		}
	}
	if res, err := h.Query(context.Background(), &abci.RequestQuery{Path: "/store/key"}); err != nil || res.IsOK() {
		t.Errorf("an unknown query path: %v, %v", res, err)
	}
}

// Trap: reaped transactions are broadcast once, and a peer that comes later would
// never see them.
func TestTrapLatePeersAreOffered(t *testing.T) {
	h := newHost(t)
	clock := time.Unix(0, 0)
	h.pool.now = func() time.Time { return clock }
	raw := setParams(chaintest.Consortium, h.now.UnixMilli()+60_000)
	h.force(t, raw)
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {time.Second, 0}, {5 * time.Second, 1}, {time.Second, 0}, {5 * time.Second, 1}} {
		clock = clock.Add(step.after)
		if got := len(h.pool.Reap(0)); got != step.want {
			t.Fatalf("after %v: %d offered, want %d", step.after, got, step.want)
		}
	}
	d, _ := h.app.Decode(raw)
	h.pool.Evict(d.ID)
	clock = clock.Add(time.Minute)
	if got := len(h.pool.Reap(0)); got != 0 {
		t.Fatalf("%d offered after removal", got)
	}
}

// What is offered again is bounded a second, so that a node that falls behind under
// load does not add to it by telling everybody of the same transactions; what is new
// is offered at once whatever waits.
func TestOfferingAgainIsBounded(t *testing.T) {
	h := newHost(t)
	clock := time.Unix(0, 0)
	h.pool.now = func() time.Time { return clock }
	until := h.now.UnixMilli() + 60_000
	const waiting = 100
	for range waiting {
		h.force(t, setParams(chaintest.Consortium, until))
	}
	one := len(setParams(chaintest.Consortium, until))
	h.pool.o.AgainBytes = 10 * one
	if got := len(h.pool.Reap(0)); got != waiting {
		t.Fatalf("%d of %d new transactions were offered", got, waiting)
	}
	clock = clock.Add(h.pool.o.OfferAgain)
	again := 0
	for second := range 4 {
		for range 10 { // many times a second, as the engine asks
			got := len(h.pool.Reap(0))
			again += got
			clock = clock.Add(100 * time.Millisecond)
		}
		if want := 10 * (second + 2); again > want {
			t.Fatalf("%d offered again within %d s, want at most %d", again, second+1, want)
		}
	}
	if again < 30 {
		t.Fatalf("only %d offered again in 4 s", again)
	}
	h.force(t, setParams(chaintest.Consortium, until))
	if got := len(h.pool.Reap(0)); got < 1 {
		t.Fatal("a new transaction waits for those that are offered again")
	}
}

func TestSubmit(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go h.pool.Run(ctx)
	good := setParams(chaintest.Consortium, h.now.UnixMilli()+60_000)
	for range 2 {
		if err := h.pool.Submit(ctx, good); err != nil {
			t.Fatalf("submitting: %v", err)
		}
	}
	if n, _ := h.pool.Size(); n != 1 {
		t.Fatalf("%d in the pool", n)
	}
	if err := h.pool.Submit(ctx, setParams("did:chancery:mercy", h.now.UnixMilli()+60_000)); !errors.Is(err, chain.ErrNotConsortium) {
		t.Fatalf("a transaction whose check fails: %v", err)
	}
	txs := h.prepare(t)
	h.commit(t, h.decide(t, txs))
	if n, bytes := h.pool.Size(); n != 0 || bytes != 0 {
		t.Fatalf("%d transactions of %d bytes are left in the pool", n, bytes)
	}
	if err := h.pool.Submit(ctx, good); !errors.Is(err, chain.ErrSeen) {
		t.Fatalf("submitting a committed transaction: %v", err)
	}
}

// One organisation's flood takes no place from another's transaction.
func TestFloodStarvesNobody(t *testing.T) {
	h := newHost(t)
	h.pool.o.MaxLaneBytes = 20_000
	until := h.now.UnixMilli() + 60_000
	full := false
	for range 500 {
		d, _ := h.app.Decode(setParams("did:chancery:loud", until))
		full = h.pool.place(d, "did:chancery:loud", false) != nil
	}
	if !full {
		t.Fatal("the loud organisation's lane has no bound")
	}
	quiet := setParams("did:chancery:quiet", until)
	h.force(t, quiet)
	want, _ := h.app.Decode(quiet)
	var seen []tx.ID
	h.pool.Candidates(room{}, nil, func(d *tx.Decoded) Next {
		seen = append(seen, d.ID)
		if len(seen) == 2 {
			return Stop
		}
		return Continue
	})
	if seen[0] != want.ID && seen[1] != want.ID {
		t.Fatal("the quiet organisation's transaction is not among the first two")
	}
}

// What a block has no room for is not looked ahead at, or a full pool would cost a proposer more
// than its block.
func TestNoMoreIsForeseenThanThereIsRoomFor(t *testing.T) {
	h := newHost(t)
	until := time.Now().Add(time.Hour).UnixMilli()
	var size int64
	for i := range 6 {
		for _, organisation := range []string{"did:chancery:loud", "did:chancery:quiet"}[:2-i/4] {
			raw := setParams(organisation, until+int64(i))
			size = max(size, int64(len(raw)))
			h.force(t, raw)
		}
	}
	for _, c := range []struct {
		room room
		want int
	}{{room{3, 1 << 20}, 3}, {room{100, 2 * size}, 2}, {room{0, 1 << 20}, 0}, {room{100, 1 << 20}, 10}} {
		var foreseen, taken []tx.ID
		h.pool.Candidates(c.room, func(ds []*tx.Decoded) {
			for _, d := range ds {
				foreseen = append(foreseen, d.ID)
			}
		}, func(d *tx.Decoded) Next {
			taken = append(taken, d.ID)
			return Continue
		})
		if len(foreseen) != c.want || len(taken) != 10 || !slices.Equal(foreseen, taken[:c.want]) {
			t.Errorf("%+v: %d are foreseen of %d that come, want the first %d", c.room, len(foreseen), len(taken), c.want)
		}
	}
}

// dear is a screen that takes long over each transaction.
type dear struct {
	*chaintest.Screen
	each time.Duration
}

func (d dear) Open(ctx *chain.Ctx, votes []*chainv1.Vote) chain.Screening {
	return dearScreening{d.Screen.Open(ctx, votes), d.each}
}

type dearScreening struct {
	chain.Screening
	each time.Duration
}

func (d dearScreening) Gather(r chain.ReadCtx, c *chain.Candidate) any {
	time.Sleep(d.each)
	return d.Screening.Gather(r, c)
}

func (d dearScreening) Judge(r chain.ReadCtx, c *chain.Candidate, gathered func() any) (*chainv1.Verdict, []int64) {
	found := gathered()
	return d.Screening.Judge(r, c, func() any { return found })
}

// Of transactions that are much work each, a proposer looks at no more than it has the time for:
// it is not late, and its block holds what it had the time for.
func TestAProposerOfDearTransactionsIsInTime(t *testing.T) {
	const each = 20 * time.Millisecond
	h := newScreenedHost(t, dear{judging, each})
	until := h.now.UnixMilli() + 60_000
	for range 200 {
		h.force(t, setParams("did:chancery:loud", until))
	}
	h.build = 400 * time.Millisecond
	begun := time.Now()
	txs := h.prepare(t)
	took := time.Since(begun)
	if took > 2*h.build {
		t.Errorf("it built for %s instead of %s", took, h.build)
	}
	if n := len(txs) - 1; n < int(h.build/each)/4 || n > 3*int(took/each) {
		t.Errorf("its block holds %d transactions of %s after %s", n, each, took)
	}
}

// Whoever follows the chain finds the latest blocks decoded, and others by their bytes.
func TestBlocksAreHadDecoded(t *testing.T) {
	h := newHost(t)
	h.force(t, setParams(chaintest.Consortium, h.now.UnixMilli()+60_000))
	h.commit(t, h.decide(t, h.prepare(t)))
	n := &Node{app: h.application}
	latest, ok := n.Decoded(h.height())
	if !ok || len(latest) != 1 {
		t.Fatalf("the latest block has %d transactions decoded, %t", len(latest), ok)
	}
	if again, _ := n.Decoded(h.height()); again[0] != latest[0] {
		t.Error("it was decoded once more")
	}
	h.lately = recent.Blocks[[]*tx.Decoded]{}
	anew, ok := n.Decoded(h.height())
	if !ok || len(anew) != 1 || anew[0] == latest[0] || anew[0].ID != latest[0].ID {
		t.Errorf("from its bytes there are %v, %t", anew, ok)
	}
	h.recent.Put(h.height(), 3, [][]byte{nil, []byte("???")})
	if unknown, ok := n.Decoded(h.height()); !ok || len(unknown) != 1 || unknown[0] != nil {
		t.Errorf("of what nobody can decode there is %v, %t", unknown, ok)
	}
}

// A proposer rests after a block as long as blocks take, within bounds, and what it rests is not
// taken from its time where it need not be.
func TestAProposerRests(t *testing.T) {
	h := newHost(t)
	h.delay, h.pause = 20*time.Millisecond, 100*time.Millisecond
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: 20 * time.Millisecond, 60 * time.Millisecond: 60 * time.Millisecond, time.Second: 100 * time.Millisecond,
	} {
		if h.took = took; h.rest() != want {
			t.Errorf("after a block that took %s it rests for %s, want %s", took, h.rest(), want)
		}
	}
	h.delay, h.build, h.idle = 600*time.Millisecond, 2*time.Second, 2*time.Second
	until := h.now.UnixMilli() + 60_000
	h.force(t, setParams(chaintest.Consortium, until))
	decided := time.Now()
	h.commit(t, h.decide(t, h.prepare(t)))
	late := setParams(chaintest.Consortium, until)
	time.AfterFunc(h.delay/3, func() { h.force(t, late) })
	if txs := h.prepare(t); time.Since(decided) < h.delay || len(txs) != 2 {
		t.Errorf("it proposed %d transactions %s after a block, want the one that came meanwhile after %s", len(txs)-1, time.Since(decided), h.delay)
	}

	// However long it should rest, it proposes within the time that it has.
	h.build, h.idle = 600*time.Millisecond, time.Second
	h.rested = time.Now().Add(time.Hour)
	begun := time.Now()
	h.force(t, setParams(chaintest.Consortium, until))
	h.prepare(t)
	if took := time.Since(begun); took < h.idle || took > 2*(h.idle+h.build) {
		t.Errorf("it proposed after %s, want %s and what building takes", took, h.idle)
	}
}

// A peer may send without end: what waits for its check is bounded in bytes, and there
// is room again once it was taken.
func TestWhatPeersOfferIsBoundedInBytes(t *testing.T) {
	h := newHost(t)
	large := make([]byte, 1<<20)
	taken := 0
	for range 100 {
		if h.pool.Offer(large) {
			taken++
		}
	}
	if taken != h.pool.o.QueueBytes>>20 {
		t.Fatalf("%d MiB wait for their check, want %d", taken, h.pool.o.QueueBytes>>20)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go h.pool.Run(ctx)
	for deadline := time.Now().Add(5 * time.Second); !h.pool.Offer(large); {
		if time.Now().After(deadline) {
			t.Fatal("there is never room again")
		}
		time.Sleep(time.Millisecond)
	}
}

// What is urgent goes before the rest of its organisation, not before that of others, and
// finds room where the rest finds none.
func TestUrgentFirst(t *testing.T) {
	h := newHost(t)
	h.pool.o.Urgent = func(messages []proto.Message) bool { return len(messages) > 1 }
	h.pool.o.MaxLaneBytes = 8000
	place := func(organisation string, messages int) error {
		salt++
		author := organisation + ":desk"
		raw, _, err := tx.Draft{
			ChainID: chaintest.ChainID, Author: author, ValidUntil: h.now.UnixMilli() + 60_000, Salt: binary.BigEndian.AppendUint64(make([]byte, 8), salt),
			Messages: slices.Repeat([]proto.Message{&chainv1.SetParams{Params: chain.DefaultParams()}}, messages),
		}.Sign(chaintest.Actor(author))
		if err != nil {
			t.Fatal(err)
		}
		d, err := h.app.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		return h.pool.place(d, organisation, false)
	}
	for place("did:chancery:loud", 1) == nil {
	}
	if err := place("did:chancery:quiet", 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := place("did:chancery:loud", 2); err != nil {
			t.Fatalf("there is no room for what is urgent: %v", err)
		}
	}
	for range 20 {
		if err := place("did:chancery:loud", 2); errors.Is(err, chain.ErrBusy) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if _, bytes := h.pool.Size(); bytes > 8000+8000/8+2000 {
		t.Errorf("%d bytes wait: what is urgent has no bound", bytes)
	}
	var order []string
	h.pool.Candidates(room{}, nil, func(d *tx.Decoded) Next {
		order = append(order, fmt.Sprint(d.Body.Author[len("did:chancery:"):], len(d.Messages)))
		return Continue
	})
	if want := []string{"loud:desk2", "quiet:desk1", "loud:desk2"}; !slices.Equal(order[:3], want) || order[len(order)-1] != "loud:desk1" {
		t.Errorf("a block takes %v, want %v first and what is not urgent last", order, want)
	}
	h.pool.Evict(func() (ids []tx.ID) {
		h.pool.Candidates(room{}, nil, func(d *tx.Decoded) Next { ids = append(ids, d.ID); return Continue })
		return ids
	}()...)
	if n, bytes := h.pool.Size(); n != 0 || bytes != 0 {
		t.Errorf("%d transactions of %d bytes are left", n, bytes)
	}
}
