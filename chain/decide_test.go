package chain_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// governor is a module that hands over what a test gives it.
type governor struct {
	*scratch
	mandate chain.Mandate
}

func (g *governor) SetMandate(m chain.Mandate) { g.mandate = m }
func (g *governor) Decide(ctx *chain.Ctx)      { g.end(ctx) }
func (g *governor) EndBlock(*chain.Ctx)        {}

func decision(name string, messages ...proto.Message) chain.Decision {
	return chain.Decision{ID: sha256.Sum256([]byte(name)), Signers: []string{mercy, "did:chancery:acme"}, Messages: messages}
}

// SPEC G1: a decision is executed as the consortium without a signature, all or nothing,
// under its own limit, and what fails leaves no trace.
func TestDecisions(t *testing.T) {
	var queue []chain.Decision
	var got []chain.Decided
	saw := map[string]string{}
	n := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		g := &governor{}
		g.scratch = newScratch(func(ctx *chain.Ctx) {
			got = nil
			for _, d := range queue {
				d.After = func(r chain.ReadCtx) error {
					id := r.TxID()
					saw[r.Author()+" "+r.Organisation()] = strings.Join(r.Signers(), ",") + string(id[:])
					return nil
				}
				got = append(got, g.mandate.Execute(ctx, d))
			}
		})
		return []chain.Module{g}
	}})
	limited := func(most uint32) proto.Message { return params(func(p *chainv1.Params) { p.MaxMessages = most }) }
	dear := make([]proto.Message, 0, 400)
	for range 400 {
		dear = append(dear, limited(5))
	}
	queue = []chain.Decision{
		decision("two", limited(8), limited(9)),
		decision("half", limited(7), limited(0)), // the second is not valid: the first has no effect
		decision("dear", dear...),
		decision("nothing"),
	}
	before := n.Height()
	n.Block()
	if n.Height() != before+1 || len(got) != 4 {
		t.Fatalf("%d outcomes", len(got))
	}
	if o := got[0]; o.Err != nil || len(o.Responses) != 2 || len(o.Events) != 2 || o.Units == 0 {
		t.Errorf("two messages: %+v", o)
	}
	if o := got[1]; !errors.Is(o.Err, chain.ErrBadParams) || len(o.Responses)+len(o.Events) != 0 || !strings.Contains(o.Err.Error(), "message 1") {
		t.Errorf("the second is not valid: %+v", o)
	}
	if o := got[3]; o.Err != nil || len(o.Responses) != 0 {
		t.Errorf("no messages: %+v", o)
	}
	if id := sha256.Sum256([]byte("nothing")); len(saw) != 1 || saw[consortium+" "+consortium] != mercy+",did:chancery:acme"+string(id[:]) {
		t.Errorf("the messages saw %q", saw)
	}
	if o := got[2]; o.Err != nil || len(o.Responses) != len(dear) {
		t.Errorf("many messages: %v", o.Err)
	}
	if p := n.App().Params(n.View()); p.MaxMessages != 5 {
		t.Errorf("max_messages is %d", p.MaxMessages)
	}
	queue = nil
	// Under a limit that is too small for many messages, none has an effect.
	n.Do(consortium, params(func(p *chainv1.Params) { p.MaxTxUnits, p.MaxMessages = 900_000, 9 }))
	queue = []chain.Decision{decision("dear", dear...)}
	n.Block()
	if o := got[0]; !errors.Is(o.Err, chain.ErrOutOfUnits) || o.Units != 900_000 || len(o.Events) != 0 {
		t.Errorf("beyond the limit: %v after %d units", o.Err, o.Units)
	}
	if p := n.App().Params(n.View()); p.MaxMessages != 9 {
		t.Errorf("a decision that failed left max_messages %d", p.MaxMessages)
	}
}

// SPEC G1: what After refuses leaves no trace either.
func TestDecisionsAreLookedAtAfterwards(t *testing.T) {
	var out chain.Decided
	run := false
	n := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		g := &governor{}
		g.scratch = newScratch(func(ctx *chain.Ctx) {
			if !run {
				return
			}
			d := decision("late", params(func(p *chainv1.Params) { p.MaxMessages = 8 }))
			d.After = func(r chain.ReadCtx) error {
				if r.Author() != consortium {
					t.Errorf("author %s", r.Author())
				}
				return chain.ErrBusy
			}
			out = g.mandate.Execute(ctx, d)
		})
		return []chain.Module{g}
	}})
	run = true
	n.Block()
	if !errors.Is(out.Err, chain.ErrBusy) || len(out.Events)+len(out.Responses) != 0 {
		t.Errorf("%+v", out)
	}
	if p := n.App().Params(n.View()); p.MaxMessages == 8 {
		t.Error("it had an effect")
	}
}

// SPEC G2: one module decides, and no decision is executed within another or releases
// what was kept.
func TestOnlyOneModuleDecides(t *testing.T) {
	two := func() []chain.Module {
		a, b := &governor{scratch: newScratch(func(*chain.Ctx) {})}, &governor{scratch: newScratch(func(*chain.Ctx) {})}
		return []chain.Module{a, b}
	}
	tree := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module { return nil }}).App().Tree()
	if _, err := chain.New(chain.Options{ChainID: "c", Tree: tree, Authenticator: chaintest.Actors{}, Modules: two(), Rand: zeros{}, Partial: true}); err == nil || !strings.Contains(err.Error(), "both decide") {
		t.Errorf("two modules that decide: %v", err)
	}
	var inner, kept error
	var raw []byte
	n := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		g := &both{}
		g.scratch = newScratch(func(ctx *chain.Ctx) {
			d := decision("outer", params(same))
			d.After = func(r chain.ReadCtx) error {
				ctx := r.(*chain.Ctx)
				inner = g.mandate.Execute(ctx, decision("inner", params(same))).Err
				if o, _ := g.mandate.Rehearse(ctx, decision("inner", params(same))); !errors.Is(o.Err, chain.ErrKeptWithin) {
					t.Errorf("rehearsed within: %v", o.Err)
				}
				_, kept = g.executor.ExecuteKept(ctx, raw)
				return nil
			}
			g.mandate.Execute(ctx, d)
		})
		return []chain.Module{g}
	}})
	raw = n.Tx(consortium, []proto.Message{params(same)})
	n.Block()
	if !errors.Is(inner, chain.ErrKeptWithin) || !errors.Is(kept, chain.ErrKeptWithin) {
		t.Errorf("within a decision: %v, %v", inner, kept)
	}
}

// both decides and executes what was kept.
type both struct {
	governor
	executor chain.Executor
}

func (b *both) SetExecutor(x chain.Executor) { b.executor = x }

// SPEC G3: a rehearsal says what would change and changes nothing.
func TestRehearsals(t *testing.T) {
	n := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		return []chain.Module{&governor{scratch: newScratch(func(*chain.Ctx) {})}}
	}})
	g := n.App().Modules()[0].(*governor)
	o, changes := g.mandate.Rehearse(n.View(), decision("p", params(func(p *chainv1.Params) { p.MaxMessages = 8 })))
	if o.Err != nil || len(o.Responses) != 1 || len(o.Events) != 1 || o.Units == 0 {
		t.Errorf("%+v", o)
	}
	if len(changes) != 1 || changes[0].Collection.Name != "chain/params" || changes[0].Before == nil || changes[0].After == nil || string(changes[0].Before) == string(changes[0].After) {
		t.Errorf("changes %v", changes)
	}
	if o, changes := g.mandate.Rehearse(n.View(), decision("p", params(func(p *chainv1.Params) { p.MaxMessages = 0 }))); !errors.Is(o.Err, chain.ErrBadParams) || len(changes) != 0 {
		t.Errorf("%v, %d changes", o.Err, len(changes))
	}
	n.Block()
	if p := n.App().Params(n.View()); p.MaxMessages == 8 {
		t.Error("a rehearsal changed the state")
	}
}

// A message has one encoding, and only what it says is read.
func TestMessagesBesideTransactions(t *testing.T) {
	raw, err := tx.EncodeMessage(params(same))
	if err != nil {
		t.Fatal(err)
	}
	m, err := tx.DecodeMessage(raw)
	if err != nil || !proto.Equal(m, params(same)) {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := tx.EncodeMessage(&chainv1.Head{}); err == nil {
		t.Error("a record was encoded as a message")
	}
	for name, bad := range map[string]struct {
		raw  []byte
		want error
	}{
		"empty": {nil, tx.ErrIncomplete}, "garbage": {[]byte("garbage"), tx.ErrMalformed}, "unknown": {[]byte{0xf8, 0x7f, 1}, tx.ErrUnknownField},
		"twice": {append(append([]byte{}, raw...), raw...), tx.ErrNotCanonical},
	} {
		if _, err := tx.DecodeMessage(bad.raw); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzMessage: whatever is read is canonical.
func FuzzMessage(f *testing.F) {
	raw, err := tx.EncodeMessage(params(same))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := tx.DecodeMessage(raw)
		if err != nil {
			return
		}
		again, err := tx.EncodeMessage(m)
		if err != nil || string(again) != string(raw) {
			t.Fatalf("read %x, which is %x", raw, again)
		}
	})
}

// SPEC G1: decisions come after the last transaction, and before the screen and the
// modules end the block.
func TestDecisionsComeFirstInTheEndOfABlock(t *testing.T) {
	var order []string
	n := chaintest.New(t, chaintest.Config{
		Partial: true,
		Modules: func() []chain.Module {
			ender := newScratch(func(*chain.Ctx) { order = append(order, "end") })
			g := &governor{scratch: &scratch{schema: state.NewSchema("governor", 0x70), end: func(*chain.Ctx) { order = append(order, "decide") }}}
			return []chain.Module{ender, named{g}}
		},
		Screen: func([]chain.Module) chain.Screen {
			return closing{&chaintest.Screen{Hash: model}, func() { order = append(order, "close") }}
		},
	})
	order = nil
	n.Block()
	if len(order) == 0 || !strings.HasPrefix(strings.Join(order, " "), "decide close end") {
		t.Errorf("%v", order)
	}
}

type named struct{ *governor }

func (named) Name() string { return "governor" }

// closing is a screen that tells when it closes a block.
type closing struct {
	chain.Screen
	told func()
}

func (c closing) Open(ctx *chain.Ctx, votes []*chainv1.Vote) chain.Screening {
	return closingScreening{c.Screen.Open(ctx, votes), c.told}
}

type closingScreening struct {
	chain.Screening
	told func()
}

func (c closingScreening) Close(ctx *chain.Ctx) {
	c.told()
	c.Screening.Close(ctx)
}
