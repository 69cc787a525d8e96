package chain_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

var model = bytes.Repeat([]byte{7}, 32)

func screened(t testing.TB, modules func() []chain.Module) *chaintest.Net {
	if modules == nil {
		modules = func() []chain.Module { return nil }
	}
	return chaintest.New(t, chaintest.Config{
		Partial: true, Modules: modules,
		Screen: func([]chain.Module) chain.Screen { return &chaintest.Screen{Hash: model} },
	})
}

func decode(t testing.TB, n *chaintest.Net, raw []byte) *tx.Decoded {
	t.Helper()
	d, err := n.App().Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func kept(n *chaintest.Net, raw []byte) []byte {
	d, err := n.App().Decode(raw)
	if err != nil {
		return nil
	}
	return n.View().Lookup(chaintest.ScreenKey(&chain.Candidate{Decoded: d}))
}

// SPEC J1, J2, J4: each transaction is judged after those before it; a held or denied
// one is in the block, kept, remembered and charged, and not executed.
func TestJudgement(t *testing.T) {
	n := screened(t, nil)
	changed := params(func(p *chainv1.Params) { p.MaxMessages = 7 })
	raws := [][]byte{
		n.Tx("did:chancery:acme:held", []proto.Message{changed}),
		n.Tx("did:chancery:acme:denied", []proto.Message{changed}),
		n.Tx(mercy, []proto.Message{params(same)}), // fails: mercy is not the consortium
		n.Tx(consortium, []proto.Message{params(same)}),
	}
	rs := n.Block(raws...)
	for i, w := range []struct {
		ruling chainv1.Ruling
		code   uint32
		events int
		kept   bool
	}{
		{chainv1.Ruling_RULING_HOLD, chain.ErrHeld.Code, 1, true},
		{chainv1.Ruling_RULING_DENY, chain.ErrDenied.Code, 1, true},
		{chainv1.Ruling_RULING_ADMIT, chain.ErrNotConsortium.Code, 1, false},
		{chainv1.Ruling_RULING_ADMIT, 0, 2, false},
	} {
		r := rs[i]
		if r.Verdict.GetRuling() != w.ruling || r.Code != w.code || len(r.Events) != w.events || r.Verdict.Score != uint32(i) || len(r.Row) != 1 || r.Row[0] != int64(i) {
			t.Errorf("transaction %d: %v", i, r)
		}
		if r.Units == 0 {
			t.Errorf("transaction %d is not charged", i)
		}
		if got := kept(n, raws[i]) != nil; got != w.kept {
			t.Errorf("transaction %d: kept %v", i, got)
		}
		if !n.App().Seen(decode(t, n, raws[i]).ID) {
			t.Errorf("transaction %d is not remembered", i)
		}
		other := r.CloneVT()
		other.Verdict.Score++
		if bytes.Equal(chain.Outcome(r), chain.Outcome(other)) {
			t.Errorf("transaction %d: the result data does not cover the verdict", i)
		}
	}
	if got := n.App().Params(n.View()).MaxMessages; got != chain.DefaultParams().MaxMessages {
		t.Errorf("a held transaction was executed: max_messages is %d", got)
	}
}

// SPEC J3: what would be kept and has no room is refused without a trace.
func TestNoRoomToKeep(t *testing.T) {
	n := screened(t, nil)
	raw := n.Tx("did:chancery:acme:full", []proto.Message{params(same)})
	x := n.App().Next()
	if _, err := x.Deliver(decode(t, n, raw)); !errors.Is(err, chain.ErrBusy) {
		t.Fatalf("refused with %v", err)
	}
	b := x.End()
	if len(b.Record.Txs) != 0 {
		t.Fatal("it left a result")
	}
	for _, c := range b.Changes {
		if c.Key[0] == 0x7f {
			t.Fatal("it left a trace in the state")
		}
	}
}

// SPEC J6: too few units for the judgement are the transaction's failure.
func TestJudgementOutOfUnits(t *testing.T) {
	n := screened(t, nil)
	r := n.Block(n.Tx("did:chancery:acme:dear", []proto.Message{params(same)}))[0]
	if r.Code != chain.ErrOutOfUnits.Code || r.Verdict.GetRuling() != chainv1.Ruling_RULING_ADMIT {
		t.Fatal(r)
	}
}

// A hint costs the pool nothing else, and messages that rest on one another are tried
// without being judged, so that a hold is no refusal.
func TestHints(t *testing.T) {
	n := screened(t, nil)
	held := n.Tx("did:chancery:consortium", []proto.Message{params(same), params(same)})
	ds := []*tx.Decoded{decode(t, n, held), decode(t, n, n.Tx(consortium, []proto.Message{params(same)}))}
	got := n.App().AdmitWithHints(ds, []chain.Ask{chain.AskHint, chain.AskNothing})
	if got[0].Err != nil || got[0].Hint.GetRuling() != chainv1.Ruling_RULING_ADMIT || got[1].Hint != nil {
		t.Fatal(got)
	}
}

// releaser executes the transactions that a test gives it at the end of each block.
type releaser struct {
	*scratch
	executor chain.Executor
}

func (r *releaser) SetExecutor(x chain.Executor) { r.executor = x }

// SPEC J5: authority and signatures are checked anew, the effect is all or nothing.
func TestExecuteKept(t *testing.T) {
	type outcome struct {
		responses int
		err       error
	}
	var queue [][]byte
	var got []outcome
	n := screened(t, func() []chain.Module {
		r := &releaser{}
		r.scratch = newScratch(func(ctx *chain.Ctx) {
			got = nil
			for _, raw := range queue {
				responses, err := r.executor.ExecuteKept(ctx, raw)
				got = append(got, outcome{len(responses), err})
			}
		})
		return []chain.Module{r}
	})
	good := n.Tx(consortium, []proto.Message{params(func(p *chainv1.Params) { p.MaxMessages = 9 })})
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	queue = [][]byte{
		forged,
		n.Tx(mercy, []proto.Message{params(same)}),
		n.Tx(consortium, []proto.Message{params(func(p *chainv1.Params) { p.MaxMessages = 8 }), params(func(p *chainv1.Params) { p.MaxMessages = 0 })}),
		n.Tx(consortium, []proto.Message{params(same)}, chaintest.Actor(mercy)),
		[]byte("garbage"),
		good,
	}
	n.Block()
	for i, w := range []error{chain.ErrBadSignature, chain.ErrNotConsortium, chain.ErrBadParams, chain.ErrBadSignature, tx.ErrMalformed, nil} {
		if !errors.Is(got[i].err, w) || (w == nil) != (got[i].responses == 1) {
			t.Errorf("transaction %d: %v", i, got[i])
		}
	}
	queue = nil
	if p := n.App().Params(n.View()); p.MaxMessages != 9 {
		t.Errorf("max_messages is %d", p.MaxMessages)
	}
}

// deciding is a releaser of which a message executes the transaction that it names.
type deciding struct {
	releaser
	raws map[string][]byte
}

func (d *deciding) Routes() []chain.Route {
	return []chain.Route{chain.Handle(chain.Handler[*threatv1.Release]{
		Execute: func(ctx *chain.Ctx, m *threatv1.Release) (proto.Message, error) {
			if _, err := d.executor.ExecuteKept(ctx, d.raws[string(m.TxId)]); err != nil {
				return nil, err
			}
			return &threatv1.ReleaseResponse{}, nil
		},
	})}
}

// SPEC J5, M3: what a kept transaction needs is charged to whoever releases it, and one
// that fits into a block alone always does; beyond one's limit no more are begun.
func TestUnitsOfKeptTransactions(t *testing.T) {
	raws := map[string][]byte{}
	n := screened(t, func() []chain.Module {
		d := &deciding{raws: raws}
		d.scratch = newScratch(func(*chain.Ctx) {})
		return []chain.Module{d}
	})
	const most = 900_000
	limit := params(func(p *chainv1.Params) { p.MaxTxUnits, p.MaxOrganisationUnits = most, most })
	n.Do(consortium, limit)
	var releases []proto.Message
	for i := range 3 {
		raws[string(rune('a'+i))] = n.Tx(consortium, slices.Repeat([]proto.Message{limit}, 95+i))
		releases = append(releases, &threatv1.Release{TxId: []byte{'a' + byte(i)}})
	}
	r := n.Block(n.Tx(mercy, releases[:2]))[0]
	if r.Code != 0 || r.Units <= most {
		t.Fatalf("two releases give %d after %d units", r.Code, r.Units)
	}
	if r := n.Block(n.Tx(mercy, releases))[0]; r.Code != chain.ErrOutOfUnits.Code || r.Units > 3*most || len(r.Events) != 1 {
		t.Fatalf("three releases at once give %d after %d units", r.Code, r.Units)
	}
	x := n.App().Next()
	for i, want := range []error{nil, chain.ErrOverQuota} {
		if _, err := x.Deliver(decode(t, n, n.Tx(mercy, releases[i:i+2]))); !errors.Is(err, want) {
			t.Fatalf("transaction %d of a block: %v", i, err)
		}
	}
}

// FuzzDocket: whatever is read is canonical.
func FuzzDocket(f *testing.F) {
	n := screened(f, nil)
	x := n.App().Next()
	f.Add(x.Docket(0, nil))
	f.Add(x.Docket(3, []*chainv1.Vote{{Validator: make([]byte, 20), Extension: []byte{1}, Signature: make([]byte, 64)}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := chain.DecodeDocket(raw)
		if err != nil {
			return
		}
		body, err := d.MarshalVT()
		if err != nil || !bytes.HasSuffix(raw, body) {
			t.Fatalf("read %x, which is %x", raw, body)
		}
		if _, err := tx.Decode(raw); err == nil {
			t.Fatal("a docket is a transaction as well")
		}
	})
}
