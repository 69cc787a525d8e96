package threat

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// checks lets a property be checked so many times, where each time takes long.
func checks(t *testing.T, n int, property func(*rapid.T)) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	before := f.Value.String()
	if err := f.Value.Set(fmt.Sprint(n)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Value.Set(before) }()
	rapid.Check(t, property)
}

// Whatever transactions come, in whatever order and at whatever times, and whenever an
// instance is restarted: histories are those that the state alone gives, app hashes are
// equal (a Net compares them in each block), and the genesis survives a round trip.
func TestHistoryFollowsFromTheStateAlone(t *testing.T) {
	raw := testDetector(t, func(d *threatv1.Detector) { d.HalfSpace.Window, d.HalfSpace.SizeLimit = 32, 4 })
	checks(t, 4, func(r *rapid.T) {
		p := testParams()
		p.MaxPending = rapid.SampledFrom([]uint32{5, 60, 100_000}).Draw(r, "max_pending")
		w := newWard(t, genesisOf(raw, p))
		actors := []string{house + ":a", house + ":b", house + ":robot-c", north + ":a", north, south + ":a"}
		kinds := []func(string) proto.Message{good, good, looks, looks, records, held1, denied1, never1}
		names := []string{"x", "y", "bad", "z", "north", "1/a", "1/b", "2/a", "2/b", "3/a"}
		for range rapid.IntRange(60, 140).Draw(r, "blocks") {
			w.Now += rapid.SampledFrom([]int64{0, 0, 0, 500, 30_000, minute, 3 * 60 * minute}).Draw(r, "passes")
			var raws [][]byte
			for range rapid.SampledFrom([]int{0, 0, 1, 2, 9}).Draw(r, "transactions") {
				author := rapid.SampledFrom(actors).Draw(r, "author")
				kind := rapid.SampledFrom(kinds).Draw(r, "kind")
				raws = append(raws, w.Tx(author, []proto.Message{kind(rapid.SampledFrom(names).Draw(r, "name"))}))
			}
			// Blocks that other proposers made of the same are executed, and not committed.
			for range rapid.IntRange(0, 2).Draw(r, "others") {
				x := w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime})
				for _, i := range rapid.Permutation(indices(len(raws))).Draw(r, "order")[:rapid.IntRange(0, len(raws)).Draw(r, "part")] {
					deliver(t, w.App(), x, raws[i])
				}
				x.End()
			}
			for i, result := range w.Block(raws...) {
				if result.Verdict == nil {
					t.Fatalf("transaction %d has no verdict", i)
				}
			}
			if rapid.IntRange(0, 9).Draw(r, "restart") == 0 {
				w.m.history, w.m.settings, w.m.detectors = history{}, settingsCache{}, detectorCache{}
			}
			w.wantSame()
		}
		w.Block() // lets train what is beyond max_pending, as block 1 of the import would
		w.CheckGenesis()
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// TestVersionTakesWhatTheCommittedBlockCounted sees that cells are counted once, and that
// those of a block that was not committed are not taken.
func TestVersionTakesWhatTheCommittedBlockCounted(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	w.does(house+":a", good("w")) // where cells begin
	ours := w.Tx(house+":a", []proto.Message{good("x")})
	theirs := w.Tx(house+":b", []proto.Message{good("y")})
	x := w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime})
	deliver(t, w.App(), x, theirs)
	x.End()
	w.Block(ours)
	drafts := w.m.history.drafts
	if len(drafts) < 2 {
		t.Fatalf("%d drafts of two executed blocks", len(drafts))
	}
	if got := w.m.upTo(w.View(), w.Height()).cells; got != drafts[len(drafts)-1].cells {
		t.Error("the version has not the cells of the block that was committed")
	}
	if n := len(drafts[0].journal.Entries); n != 1 || drafts[0].cells == drafts[1].cells {
		t.Errorf("the drafts are not of two blocks: %d entries", n)
	}
	w.wantSame()
}

// A look into other wards is known by the kin of what is read, a forger by the evidence
// that it uses again; both are counted as the block goes on, and by whoever reads the
// state later.
func TestKinAndEvidenceOfTransactions(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a, b := house+":a", house+":b"
	for i := range 40 {
		w.does(a, looks(fmt.Sprint("1/", i)))
	}
	row := w.does(a, looks("1/new")).Row
	if row[features.KinLatelyFeature] < 4*4096 || row[features.StrayFeature] != 0 || row[features.KinSurpriseFeature] != 0 {
		t.Errorf("the own ward: used 2^%d/4096 times, surprise %d", row[features.KinLatelyFeature], row[features.KinSurpriseFeature])
	}
	if row := w.does(a, looks("nowhere")).Row; row[features.KinLatelyFeature] != trees.Missing || row[features.StrayFeature] != 0 {
		t.Errorf("what has no ward is in one: %d", row[features.KinLatelyFeature])
	}
	var raws [][]byte
	for i := range 3 {
		raws = append(raws, w.Tx(a, []proto.Message{looks(fmt.Sprint("2/", i))}))
	}
	raws = append(raws, w.Tx(b, []proto.Message{looks("2/0")}))
	results := w.Block(raws...)
	for i, r := range results[:3] {
		// A day's count has lost next to nothing within the block.
		if got, want := r.Row[features.StraysDayFeature], fixed.Log2(uint64(i)+1); r.Row[features.StrayFeature] != 1 || got != want || r.Row[features.StraysHourFeature] != want {
			t.Errorf("look %d into another ward: stray %d, strays of the day 2^%d/4096, want %d", i, r.Row[features.StrayFeature], got, want)
		}
	}
	if got := results[3].Row; got[features.StrayFeature] != 0 || got[features.KinLatelyFeature] != 0 {
		t.Errorf("another's uses of a kin count: %d", got[features.KinLatelyFeature])
	}
	if row := w.does(a, looks("2/0")).Row; row[features.StrayFeature] != 0 {
		t.Error("who looks again strays again")
	}
	w.wantSame()

	for i, want := range []int64{0, 4096, fixed.Log2(3)} {
		if got := w.does(b, records(fmt.Sprint("subject", i))).Row[features.EvidencePastFeature]; got != want {
			t.Errorf("record %d with the same evidence: 2^%d/4096, want %d", i, got, want)
		}
	}
	if got := w.does(a, records("subject9")).Row[features.EvidencePastFeature]; got != 0 {
		t.Errorf("another's evidence counts: %d", got)
	}
	w.wantSame()
	before := w.actor(a).Trace
	if before.StrayDay < 3*features.One-100 || before.StrayDay > 3*features.One || before.StrayWeek == 0 || before.Wander <= 9*features.One || before.FreshDay == 0 || before.Moment == 0 {
		t.Errorf("the history says %v", before)
	}
	for w.Height()%pageEvery != 0 {
		w.Block()
	}
	w.pass(2 * minute)
	w.wantSame()
	if after := w.trace(a); !after.EqualVT(w.actor(a).Trace) || after.StrayDay != before.StrayDay || after.StrayWeek != before.StrayWeek || after.Wander != before.Wander {
		t.Errorf("what settled says %v, before it said %v", after, before)
	}
	w.CheckGenesis()
}

// What was held or denied is no use of a kin.
func TestHeldIsNoUseOfKin(t *testing.T) {
	holdsAll := testDetector(t, func(d *threatv1.Detector) {
		d.Rules.Rules[0].When.GetTest().Feature = features.Table[features.DecisionsFeature].Name
	})
	w := newWard(t, genesisOf(holdsAll, testParams()))
	for range 3 {
		r := w.does(house+":a", looks("1/a"))
		if r.Verdict.Ruling != chainv1.Ruling_RULING_HOLD || r.Row[features.KinLatelyFeature] != 0 {
			t.Fatalf("%v with a kin that was used 2^%d/4096 times", r.Verdict.Ruling, r.Row[features.KinLatelyFeature])
		}
	}
	w.wantSame()
}

func TestVerdicts(t *testing.T) {
	admit, hold, deny := chainv1.Ruling_RULING_ADMIT, chainv1.Ruling_RULING_HOLD, chainv1.Ruling_RULING_DENY
	for _, c := range []struct {
		name                      string
		mode                      threatv1.Mode
		closed                    []string
		model                     bool
		good, held, denied, never chainv1.Ruling
		score                     uint32 // of the held one
	}{
		{name: "enforced", mode: threatv1.Mode_MODE_ENFORCE, model: true, good: admit, held: hold, denied: deny, never: admit, score: 8000},
		{name: "logged", mode: threatv1.Mode_MODE_LOG, model: true, good: admit, held: admit, denied: admit, never: admit, score: 8000},
		{name: "no model, open", mode: threatv1.Mode_MODE_ENFORCE, good: admit, held: admit, denied: admit, never: admit},
		{
			name: "no model, one kind closed", mode: threatv1.Mode_MODE_ENFORCE,
			closed: []string{"chancery.consent.v1.Withdraw", "chancery.provenance.v1.InvalidateEntity"},
			good:   admit, held: hold, denied: admit, never: admit,
		},
		{
			name: "no model, logged", mode: threatv1.Mode_MODE_LOG, closed: []string{"chancery.provenance.v1.InvalidateEntity"},
			good: admit, held: admit, denied: admit, never: admit,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testParams()
			p.Mode, p.FailClosed = c.mode, c.closed
			var raw []byte
			if c.model {
				raw = testDetector(t)
			}
			w := newWard(t, genesisOf(raw, p))
			a := house + ":a"
			raws := [][]byte{
				w.Tx(a, []proto.Message{good("x")}), w.Tx(a, []proto.Message{held1("x")}),
				w.Tx(a, []proto.Message{denied1(house)}), w.Tx(a, []proto.Message{never1("x")}),
				w.Tx(a, []proto.Message{never1("x"), held1("y")}),
			}
			x := w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime})
			for _, raw := range raws {
				deliver(t, w.App(), x, raw)
			}
			record := x.End().Record
			results := w.Block(raws...)
			for i, want := range []chainv1.Ruling{c.good, c.held, c.denied, c.never, c.held} {
				if got := results[i].Verdict.GetRuling(); got != want {
					t.Errorf("transaction %d: %s, want %s", i, got, want)
				}
			}
			if got := results[1].Verdict.Score; got != c.score {
				t.Errorf("score %d, want %d", got, c.score)
			}
			wantCode := uint32(0)
			if c.held == hold {
				wantCode = chain.ErrHeld.Code
			}
			if results[1].Code != wantCode {
				t.Errorf("code %d, want %d", results[1].Code, wantCode)
			}
			if alarms := chaintest.Events[threatv1.Alarm](t, results[3]); (len(alarms) == 1) != c.model {
				t.Errorf("%d alarms for one that scores high and is executed", len(alarms))
			}
			absent := 0
			for _, e := range record.Events {
				if e.Type == "chancery.threat.v1.ModelAbsent" {
					absent++
				}
			}
			if want := map[bool]int{true: 0, false: 1}[c.model]; absent != want {
				t.Errorf("%d times was it said that the model is absent, want %d", absent, want)
			}
		})
	}
}

func TestOffJudgesNothingAndWritesNothing(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), nil))
	before := w.Root()
	if r := w.does(house+":a", held1("x")); r.Code != 0 || r.Verdict != nil {
		t.Fatalf("code %d, verdict %v", r.Code, r.Verdict)
	}
	if bytes.Equal(before, w.Root()) {
		t.Fatal("the block changed nothing at all, not even its own height")
	}
	for range w.m.journals.Walk(w.View(), state.All()) {
		t.Fatal("a journal was written")
	}
	if _, ok := w.m.progress.Lookup(w.View()); ok {
		t.Fatal("progress was written")
	}
}

// Candidates for one height, judged beside one another, do not disturb each other, and
// each gives the block that it would have given alone.
func TestCandidatesOfOneHeightDoNotDisturbOneAnother(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a, b := house+":a", north+":b"
	for i := range 5 {
		w.Block(w.Tx(a, []proto.Message{good(fmt.Sprint("x", i))}), w.Tx(b, []proto.Message{good("y")}))
	}
	first := [][]byte{w.Tx(a, []proto.Message{good("x1")}), w.Tx(a, []proto.Message{held1("x1")}), w.Tx(b, []proto.Message{good("z")})}
	second := [][]byte{w.Tx(b, []proto.Message{good("z")}), w.Tx(b, []proto.Message{good("z")}), w.Tx(a, []proto.Message{denied1(house)})}
	header := chain.Header{Height: w.Height() + 1, Time: w.Now + 1000}
	app := w.App()
	alone := func(raws [][]byte) *chain.Block {
		x := app.Begin(header)
		for _, raw := range raws {
			deliver(t, app, x, raw)
		}
		return x.End()
	}
	wantFirst, wantSecond := alone(first), alone(second)
	x, y := app.Begin(header), app.Begin(header)
	for i := range first {
		deliver(t, app, x, first[i])
		deliver(t, app, y, second[i])
	}
	gotSecond, gotFirst := y.End(), x.End()
	for _, c := range []struct{ got, want *chain.Block }{{gotFirst, wantFirst}, {gotSecond, wantSecond}} {
		if !c.got.Record.EqualVT(c.want.Record) {
			t.Fatalf("results differ:\n%v\n%v", c.got.Record, c.want.Record)
		}
		if len(c.got.Changes) != len(c.want.Changes) {
			t.Fatalf("%d changes, want %d", len(c.got.Changes), len(c.want.Changes))
		}
		for i := range c.got.Changes {
			if !bytes.Equal(c.got.Changes[i].Key, c.want.Changes[i].Key) || !bytes.Equal(c.got.Changes[i].Value, c.want.Changes[i].Value) {
				t.Fatalf("the change of key %x differs", c.want.Changes[i].Key)
			}
		}
	}
	w.wantSame()
}

func deliver(t testing.TB, app *chain.App, x *chain.Execution, raw []byte) *chainv1.TxResult {
	t.Helper()
	d, err := app.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	r, err := x.Deliver(d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Features see the transactions before in the block.
func TestCountsWithinABlock(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a, b := house+":a", house+":b"
	results := w.Block(
		w.Tx(a, []proto.Message{good("x")}), w.Tx(a, []proto.Message{good("x")}), w.Tx(b, []proto.Message{good("x")}),
		w.Tx(a, []proto.Message{held1("x")}), w.Tx(a, []proto.Message{good("x")}), w.Tx(a, []proto.Message{good("y")}),
	)
	for i, want := range [][3]int64{{0, 0, 0}, {1, 1, 1}, {0, 2, 0}, {2, 3, 2}, {3, 4, 3}, {4, 5, 0}} {
		row := results[i].Row
		got := [3]int64{row[features.ActorInBlockFeature], row[features.OrganisationInBlockFeature], row[features.EdgeInBlockFeature]}
		if got != want {
			t.Errorf("transaction %d: actor, organisation and edge came %v times before, want %v", i, got, want)
		}
	}
	if got := results[4].Row[features.HeldFeature]; got != fixed.Log2(features.One+features.One)-fixed.Log2(features.One) {
		t.Errorf("one hold of the block counts as %d", got)
	}
	// The edge was admitted twice when the fifth is judged: what is held is not counted.
	if got, want := results[4].Row[features.EdgePastFeature], fixed.Log2(3); got != want {
		t.Errorf("edge-past is %d, want %d", got, want)
	}
}

// The streams of progress count as the detector that they were taken from.
func TestStreamsCountAsTheirDetector(t *testing.T) {
	d, err := detector.Decode(testDetector(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := streamsOf(settingsOf(d).streams)
	if err != nil {
		t.Fatal(err)
	}
	const began = chaintest.GenesisTime
	var theirs, ours cellBook
	theirs.mine, ours.mine = true, true
	rapid.Check(t, func(r *rapid.T) {
		var e profile.Event
		for i := range e {
			e[i] = rapid.Byte().Draw(r, "value")
		}
		actor, resource := rapid.Uint64Range(0, 5).Draw(r, "actor"), rapid.Uint64Range(0, 3).Draw(r, "resource")
		now := began + rapid.Int64Range(-5, 5*features.Day).Draw(r, "time")
		kin := rapid.Uint64Range(0, 3).Draw(r, "kin")
		in := &detector.Inputs{Actor: actor, Resource: resource, Kin: kin, Tick: d.Tick(now, began), KinTick: d.KinTick(now, began)}
		if err := d.Absorb(&theirs, in, e); err != nil {
			r.Fatal(err)
		}
		s.absorb(&ours, uses{actor, resource, kin}, e, now, began)
		if all(&theirs) != all(&ours) {
			r.Fatal("the cells differ")
		}
	})
}

// Admissions go on while blocks are committed, each on the history that it began with.
func TestAdmissionsBesideBlocks(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	a := house + ":a"
	app := w.App()
	d, err := app.Decode(w.Tx(a, []proto.Message{good("x"), good("y")}))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var done sync.WaitGroup
	for range 3 {
		done.Add(1)
		go func() {
			defer done.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := app.Admit(d); r[0].Err != nil {
					t.Error(r[0].Err)
					return
				}
			}
		}()
	}
	for i := range 12 {
		w.Block(w.Tx(a, []proto.Message{good("x")}), w.Tx(fmt.Sprint(north, ":b", i), []proto.Message{good("y")}))
	}
	close(stop)
	done.Wait()
	w.wantSame()
}

// Who submits learns at the door that no more can be held. Asking takes no room, and a
// peer's transactions, of which nobody asks, are judged in blocks alone.
func TestNoRoomIsSaidAtTheDoor(t *testing.T) {
	p := testParams()
	p.MaxHeldOrganisation = 1
	w := newWard(t, genesisOf(testDetector(t), p))
	a := house + ":a"
	admit := func(ask chain.Ask, author string, messages ...proto.Message) error {
		t.Helper()
		d, err := w.App().Decode(w.Tx(author, messages))
		if err != nil {
			t.Fatal(err)
		}
		return w.App().AdmitWithHints([]*tx.Decoded{d, d}, []chain.Ask{ask, ask})[1].Err
	}
	if err := admit(chain.AskHint, a, held1("x")); err != nil {
		t.Fatalf("with room: %v", err)
	}
	if r := w.does(a, held1("x")); r.Code != chain.ErrHeld.Code {
		t.Fatal(r)
	}
	for name, c := range map[string]struct {
		want error
		err  error
	}{
		"held":                 {ErrHoldsFull, admit(chain.AskHint, a, held1("y"))},
		"held, without a hint": {ErrHoldsFull, admit(chain.AskRoom, a, held1("y"))},
		"good, without a hint": {nil, admit(chain.AskRoom, a, good("y"))},
		"denied":               {ErrHoldsFull, admit(chain.AskHint, a, denied1(house))},
		"good":                 {nil, admit(chain.AskHint, a, good("y"))},
		"never held":           {nil, admit(chain.AskHint, a, never1("y"))},
		"of another":           {nil, admit(chain.AskHint, north+":a", held1("y"))},
		"of which nobody asks": {nil, admit(chain.AskNothing, a, held1("y"))},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	before := w.Root()
	if _, err := w.App().Next().Deliver(mustDecode(t, w, w.Tx(a, []proto.Message{held1("y")}))); !errors.Is(err, ErrHoldsFull) || !bytes.Equal(before, w.Root()) {
		t.Errorf("in a block: %v", err)
	}
}

func mustDecode(t *testing.T, w *ward, raw []byte) *tx.Decoded {
	t.Helper()
	d, err := w.App().Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A model whose bytes in the state are not those that were registered is no model that
// cannot score: the node ends, whichever of its bytes it is, once it reads them.
func TestDamagedModelEndsTheNode(t *testing.T) {
	raw := testDetector(t)
	for name, damage := range map[string]func(ctx *chain.Ctx, m *Module, hash []byte){
		"a byte": func(ctx *chain.Ctx, m *Module, hash []byte) {
			m.chunks.Put(ctx, state.Join(hash, uint32(0)), &threatv1.Chunk{Bytes: flipped(raw)})
		},
		"shorter": func(ctx *chain.Ctx, m *Module, hash []byte) {
			m.chunks.Put(ctx, state.Join(hash, uint32(0)), &threatv1.Chunk{Bytes: raw[:len(raw)-1]})
		},
		"gone": func(ctx *chain.Ctx, m *Module, hash []byte) { m.chunks.Remove(ctx, state.Join(hash, uint32(0))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t, genesisOf(raw, testParams()))
			hash := detector.Hash(raw)
			w.tap = func(ctx *chain.Ctx) { damage(ctx, w.m, hash[:]) }
			x := w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime})
			if _, err := w.App().Apply(x.End()); err != nil {
				t.Fatal(err)
			}
			if err := w.App().Commit(); err != nil {
				t.Fatal(err)
			}
			w.m.detectors = detectorCache{} // as after a restart
			defer func() {
				p := recover()
				fault, ok := p.(*state.Fault)
				if p == nil || !ok && name != "gone" {
					t.Fatalf("the node goes on: %v", p)
				}
				if ok && !strings.Contains(fault.Error(), fmt.Sprintf("%x", hash)) {
					t.Errorf("it does not say which model: %v", fault)
				}
			}()
			w.App().Next()
		})
	}
}

func flipped(raw []byte) []byte {
	raw = bytes.Clone(raw)
	raw[len(raw)/2] ^= 1
	return raw
}
