package chain_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	ics23 "github.com/cosmos/ics23/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

func TestEveryRuleHasATest(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests bytes.Buffer
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		tests.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^- \*\*([A-Z]\d+)\*\*`).FindAllSubmatch(spec, -1)
	if len(rules) < 30 {
		t.Fatalf("only %d rules found in SPEC.md", len(rules))
	}
	for _, m := range rules {
		if !regexp.MustCompile(`SPEC [A-Z0-9, ]*\b` + string(m[1]) + `\b`).Match(tests.Bytes()) {
			t.Errorf("rule %s has no test that carries its number", m[1])
		}
	}
}

// scratch is a module for tests: its behaviour is what the test sets. Its message
// is SetParams, which stands in for any message.
type scratch struct {
	schema *state.Schema
	words  state.Map[string, *chainv1.Head]
	end    func(*chain.Ctx)
}

func newScratch(end func(*chain.Ctx)) *scratch {
	s := state.NewSchema("scratch", 0x71)
	return &scratch{schema: s, words: state.NewMap(s, 1, "words", state.String, state.Proto[chainv1.Head]()), end: end}
}

func (s *scratch) Name() string                                      { return "scratch" }
func (s *scratch) Schema() *state.Schema                             { return s.schema }
func (s *scratch) Routes() []chain.Route                             { return nil }
func (s *scratch) InitGenesis(*chain.Ctx, json.RawMessage) error     { return nil }
func (s *scratch) ExportGenesis(state.Reader) (proto.Message, error) { return &chainv1.Genesis{}, nil }
func (s *scratch) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {
}
func (s *scratch) EndBlock(ctx *chain.Ctx) { s.end(ctx) }

func withEnd(t testing.TB, end func(*scratch, *chain.Ctx)) *chaintest.Net {
	return chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		var s *scratch
		s = newScratch(func(ctx *chain.Ctx) { end(s, ctx) })
		return []chain.Module{s}
	}})
}

func params(change func(*chainv1.Params)) *chainv1.SetParams {
	p := chain.DefaultParams()
	change(p)
	return &chainv1.SetParams{Params: p}
}

func same(*chainv1.Params) {}

const (
	consortium = chaintest.Consortium
	mercy      = "did:chancery:mercy"
)

// refused is what the door says of a transaction, in a block and on admission;
// SPEC X3: the same.
func refused(t testing.TB, n *chaintest.Net, raw []byte) *errs.Error {
	t.Helper()
	d, err := n.App().Decode(raw)
	if err != nil {
		return errs.As(err)
	}
	x := n.App().Next()
	_, inBlock := x.Deliver(d)
	atDoor := n.App().Admit(d)[0].Err
	if inBlock == nil {
		if atDoor == nil {
			return nil
		}
		return errs.As(atDoor)
	}
	if atDoor == nil || !errs.As(inBlock).Is(errs.As(atDoor)) {
		t.Fatalf("a block says %v, admission says %v", inBlock, atDoor)
	}
	return errs.As(inBlock)
}

func want(t testing.TB, n *chaintest.Net, raw []byte, e *errs.Error) {
	t.Helper()
	got := refused(t, n, raw)
	if got == nil || !got.Is(e) {
		t.Errorf("refused with %v, want %v", got, e)
	}
}

// draft is a good transaction that tests bend.
func draft(n *chaintest.Net, bend func(*tx.Draft)) []byte {
	d := tx.Draft{
		ChainID: chaintest.ChainID, Author: consortium, ValidUntil: n.Now + 1000,
		Salt: bytes.Repeat([]byte{7}, tx.SaltSize), Messages: []proto.Message{params(same)},
	}
	bend(&d)
	raw, _, err := d.Sign(chaintest.Actor(d.Author))
	if err != nil {
		panic(err)
	}
	return raw
}

func rebuild(raw []byte, bend func(*txv1.Tx, *txv1.Body)) []byte {
	var t txv1.Tx
	var b txv1.Body
	if t.UnmarshalVT(raw) != nil || b.UnmarshalVT(t.Body) != nil {
		panic("not a transaction")
	}
	bend(&t, &b)
	t.Body, _ = b.MarshalVT()
	out, _ := t.MarshalVT()
	return out
}

// SPEC T1, T2, T3, T4, T5, T6, T7, T10, T12
func TestDoor(t *testing.T) {
	n := net(t)
	good := draft(n, func(*tx.Draft) {})
	if e := refused(t, n, good); e != nil {
		t.Fatalf("the good transaction is refused: %v", e)
	}
	pad := func(size int) []byte {
		return rebuild(good, func(tx *txv1.Tx, _ *txv1.Body) { tx.Signatures[0].Signature = make([]byte, size) })
	}
	t.Run("T1", func(t *testing.T) {
		want(t, n, pad(1<<20), tx.ErrTooLarge)
		want(t, n, pad(256<<10), chain.ErrTooLarge)
	})
	t.Run("T2", func(t *testing.T) {
		want(t, n, []byte("not a transaction"), tx.ErrMalformed)
		want(t, n, append(bytes.Clone(good), 0x1a, 0x01, 0x00), tx.ErrUnknownField)
		deep := rebuild(good, func(_ *txv1.Tx, b *txv1.Body) {
			b.Messages[0].GetSetParams().Params.Costs.ProtoReflect().SetUnknown([]byte{0xa0, 0x06, 0x01})
		})
		want(t, n, deep, tx.ErrUnknownField)
		var parts txv1.Tx
		_ = parts.UnmarshalVT(good)
		swapped := append(mustMarshal(&txv1.Tx{Signatures: parts.Signatures}), mustMarshal(&txv1.Tx{Body: parts.Body})...)
		want(t, n, swapped, tx.ErrNotCanonical)
	})
	t.Run("T3", func(t *testing.T) {
		for name, bend := range map[string]func(*txv1.Tx, *txv1.Body){
			"no chain":        func(_ *txv1.Tx, b *txv1.Body) { b.ChainId = "" },
			"no author":       func(_ *txv1.Tx, b *txv1.Body) { b.Author = "" },
			"short salt":      func(_ *txv1.Tx, b *txv1.Body) { b.Salt = b.Salt[1:] },
			"no time":         func(_ *txv1.Tx, b *txv1.Body) { b.ValidUntil = 0 },
			"no message":      func(_ *txv1.Tx, b *txv1.Body) { b.Messages = nil },
			"empty message":   func(_ *txv1.Tx, b *txv1.Body) { b.Messages[0] = &txv1.Message{} },
			"no signature":    func(x *txv1.Tx, _ *txv1.Body) { x.Signatures = nil },
			"a key twice":     func(x *txv1.Tx, _ *txv1.Body) { x.Signatures = append(x.Signatures, x.Signatures[0]) },
			"empty signature": func(x *txv1.Tx, _ *txv1.Body) { x.Signatures[0].Signature = nil },
		} {
			t.Run(name, func(t *testing.T) { want(t, n, rebuild(good, bend), tx.ErrIncomplete) })
		}
	})
	t.Run("T4", func(t *testing.T) {
		want(t, n, draft(n, func(d *tx.Draft) { d.ChainID = "another" }), chain.ErrWrongChain)
	})
	t.Run("T5", func(t *testing.T) {
		want(t, n, draft(n, func(d *tx.Draft) {
			d.Messages = slices.Repeat(d.Messages, 101)
		}), chain.ErrTooManyMessages)
		many := rebuild(good, func(x *txv1.Tx, _ *txv1.Body) {
			for i := range 32 {
				x.Signatures = append(x.Signatures, &txv1.Signature{Key: fmt.Sprintf("did:chancery:o%d#key-1", i), Signature: []byte{1}})
			}
		})
		want(t, n, many, chain.ErrTooManySigners)
	})
	t.Run("T6", func(t *testing.T) {
		want(t, n, draft(n, func(d *tx.Draft) { d.ValidUntil = n.Now - 1 }), chain.ErrVoid)
		if e := refused(t, n, draft(n, func(d *tx.Draft) { d.ValidUntil = n.Now })); e != nil {
			t.Errorf("valid until this very moment: %v", e)
		}
	})
	t.Run("T7", func(t *testing.T) {
		want(t, n, draft(n, func(d *tx.Draft) { d.ValidUntil = n.Now + 600_001 }), chain.ErrTooFarAhead)
		if !chain.ErrTooFarAhead.Retryable() {
			t.Error("too far ahead is not retryable, though time mends it")
		}
	})
	t.Run("T10", func(t *testing.T) {
		want(t, n, draft(n, func(d *tx.Draft) {
			d.Messages = []proto.Message{params(func(p *chainv1.Params) { p.MaxMessages = 0 })}
		}), chain.ErrBadParams)
	})
	t.Run("T12", func(t *testing.T) {
		for i := range 64 {
			want(t, n, rebuild(good, func(x *txv1.Tx, _ *txv1.Body) { x.Signatures[0].Signature[i] ^= 1 }), chain.ErrBadSignature)
		}
		want(t, n, rebuild(good, func(_ *txv1.Tx, b *txv1.Body) { b.Salt[3] ^= 1 }), chain.ErrBadSignature)
	})
}

func mustMarshal(m *txv1.Tx) []byte {
	raw, err := m.MarshalVT()
	if err != nil {
		panic(err)
	}
	return raw
}

// SPEC T11: the authenticator's refusal is the door's.
func TestDoorAsksTheAuthenticator(t *testing.T) {
	n := net(t)
	raw := n.Tx(consortium, []proto.Message{params(same)}, chaintest.Actor(mercy))
	want(t, n, raw, chain.ErrBadSignature)
}

// SPEC T8
func TestExactlyOnce(t *testing.T) {
	n := net(t)
	raw := n.Tx(consortium, []proto.Message{params(same)})
	d, err := n.App().Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	x := n.App().Next()
	if _, err := x.Deliver(d); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Deliver(d); !errors.Is(err, chain.ErrSeen) {
		t.Fatalf("twice in a block: %v", err)
	}
	n.Block(raw)
	want(t, n, raw, chain.ErrSeen)
	again := rebuild(raw, func(x *txv1.Tx, _ *txv1.Body) {
		s, _ := chaintest.Actor(mercy).Sign(d.SignedData)
		x.Signatures = append(x.Signatures, &txv1.Signature{Key: chaintest.Actor(mercy).KeyURL(), Signature: s})
	})
	want(t, n, again, chain.ErrSeen)
	if id := sha256.Sum256(d.SignedData); tx.ID(id) != d.ID {
		t.Fatal("the id is not SHA-256 of the signed bytes")
	}
}

// SPEC T9
func TestSeenIsForgottenWhenVoid(t *testing.T) {
	n := net(t)
	r := n.Block(n.Tx(consortium, []proto.Message{params(same)}))[0]
	id := tx.ID(r.TxId)
	bound := n.Now + chaintest.Validity
	for n.Now < bound {
		if !n.App().Seen(id) {
			t.Fatalf("forgotten %d ms before it is void", bound-n.Now)
		}
		n.Now += 20_000
		n.Block()
	}
	n.Now += 1
	n.Block()
	n.Block()
	if n.App().Seen(id) {
		t.Fatal("still remembered after it became void")
	}
}

// SPEC M1
func TestMetering(t *testing.T) {
	n := net(t)
	small := n.Do(consortium, params(same)).Units
	double := n.Do(consortium, params(func(p *chainv1.Params) { p.Costs.Write *= 2 })).Units
	if double != small {
		t.Fatalf("equal transactions cost %d and %d units", small, double)
	}
	if got := n.Do(consortium, params(same)).Units; got <= small {
		t.Fatalf("after the price of writes doubled the same costs %d units, before %d", got, small)
	}
}

// SPEC M2
func TestOutOfUnits(t *testing.T) {
	n := net(t)
	n.Do(consortium, params(func(p *chainv1.Params) {
		p.MaxTxUnits, p.MaxOrganisationUnits, p.Costs.Write = 900_000, 900_000, 10_000
	}))
	r := n.Block(n.Tx(consortium, slices.Repeat([]proto.Message{params(same)}, 100)))[0]
	if r.Code != chain.ErrOutOfUnits.Code || r.Units != 900_000 {
		t.Fatalf("code %d after %d units: %s", r.Code, r.Units, r.Log)
	}
}

// SPEC M3
func TestQuota(t *testing.T) {
	n := net(t)
	n.Do(consortium, params(func(p *chainv1.Params) { p.MaxTxUnits, p.MaxOrganisationUnits = 900_000, 900_000 }))
	x := n.App().Next()
	deliver := func(author string) error {
		d, err := n.App().Decode(n.Tx(author, []proto.Message{params(same)}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = x.Deliver(d)
		return err
	}
	var err error
	delivered := 0
	for err == nil {
		if err = deliver(mercy); err == nil {
			delivered++
		}
	}
	if !errors.Is(err, chain.ErrOverQuota) || delivered == 0 || !errs.As(err).Retryable() {
		t.Fatalf("after %d transactions: %v", delivered, err)
	}
	if err := deliver("did:chancery:acme"); err != nil {
		t.Fatalf("another organisation: %v", err)
	}
	if got := len(x.End().Record.Txs); got != delivered+1 {
		t.Fatalf("the block holds %d transactions, want %d", got, delivered+1)
	}
}

// SPEC M4
func TestBlockFull(t *testing.T) {
	n := net(t)
	n.Do(consortium, params(func(p *chainv1.Params) {
		p.MaxTxUnits, p.MaxOrganisationUnits, p.MaxBlockUnits = 900_000, 900_000, 1_000_000
	}))
	x := n.App().Next()
	var used uint64
	var refused error
	for i := 0; refused == nil; i++ {
		d, err := n.App().Decode(n.Tx([]string{mercy, "did:chancery:acme"}[i%2], []proto.Message{params(same)}))
		if err != nil {
			t.Fatal(err)
		}
		r, err := x.Deliver(d)
		if refused = err; err == nil {
			used += r.Units
		}
	}
	if !errors.Is(refused, chain.ErrBlockFull) || !errs.As(refused).Retryable() {
		t.Fatalf("after %d units: %v", used, refused)
	}
	var recorded uint64
	for _, r := range x.End().Record.Txs {
		recorded += r.Units
	}
	if recorded != used || used > 1_000_000 || used < 600_000 {
		t.Fatalf("the block's transactions used %d units, %d of them before the refusal", recorded, used)
	}
}

// SPEC X1, X2
func TestFailedTransactionHasNoEffect(t *testing.T) {
	n := net(t)
	raw := n.Tx(mercy, []proto.Message{params(func(p *chainv1.Params) { p.MaxMessages = 9 })})
	r := n.Block(raw)[0]
	if r.Code != chain.ErrNotConsortium.Code || r.Codespace != "chain" || len(r.Events) != 0 || len(r.Responses) != 0 || r.Units == 0 {
		t.Fatalf("result %v", r)
	}
	if got := n.App().Params(n.View()).MaxMessages; got == 9 {
		t.Fatal("the failed transaction wrote")
	}
	want(t, n, raw, chain.ErrSeen)
	r = n.Do(consortium, params(func(p *chainv1.Params) { p.MaxMessages = 5 }), params(func(p *chainv1.Params) { p.MaxMessages = 6 }))
	if got := n.App().Params(n.View()).MaxMessages; got != 6 || len(r.Responses) != 2 {
		t.Fatalf("max_messages %d after two messages, %d responses", got, len(r.Responses))
	}
}

// SPEC X4
func TestAtomicNests(t *testing.T) {
	inner := errors.New("inner")
	n := withEnd(t, func(s *scratch, ctx *chain.Ctx) {
		put := func(word string) { s.words.Put(ctx, word, &chainv1.Head{Height: ctx.Height()}) }
		put("kept")
		put("replaced")
		err := ctx.Atomic(func() error {
			put("outer")
			if err := ctx.Atomic(func() error {
				put("inner")
				s.words.Remove(ctx, "kept")
				ctx.Emit(&chainv1.Head{Height: -1})
				ctx.UpdateValidator(chain.ValidatorUpdate{Key: chaintest.Actor(mercy).Public(), Power: 1})
				return inner
			}); !errors.Is(err, inner) {
				panic("the inner error is lost")
			}
			return nil
		})
		if err != nil || s.words.Has(ctx, "inner") || !s.words.Has(ctx, "kept") || !s.words.Has(ctx, "outer") {
			panic(fmt.Sprintf("after a nested rollback: %v", err))
		}
	})
	n.Block()
}

// SPEC X5
func TestFaultHalts(t *testing.T) {
	defer func() {
		if _, ok := recover().(*state.Fault); !ok {
			t.Fatal("a fault did not pass")
		}
	}()
	n := withEnd(t, func(s *scratch, ctx *chain.Ctx) {
		if ctx.Height() == 2 {
			ctx.Set(s.words.Key("broken"), []byte{9})
		}
		if ctx.Height() == 3 {
			s.words.Lookup(ctx, "broken")
		}
	})
	n.Block()
	n.Block()
}

// SPEC B4
func TestAppHashDoesNotDependOnTheOrderOfWrites(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		words := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,6}`), 1, 30, rapid.ID).Draw(r, "words")
		shuffled := rapid.Permutation(words).Draw(r, "shuffled")
		roots := make([][]byte, 2)
		for i, order := range [][]string{words, shuffled} {
			s := newScratch(nil)
			o := state.NewOverlay(empty{})
			for _, w := range order {
				s.words.Put(o, w, &chainv1.Head{Height: int64(len(w))})
			}
			var err error
			if roots[i], err = state.Root(o.Changes()); err != nil {
				r.Fatal(err)
			}
		}
		if !bytes.Equal(roots[0], roots[1]) {
			r.Fatalf("roots %x and %x", roots[0], roots[1])
		}
	})
}

type empty struct{}

func (empty) Lookup([]byte) []byte { return nil }
func (empty) Walk([]byte, []byte, bool) iter.Seq2[[]byte, []byte] {
	return func(func([]byte, []byte) bool) {}
}

// SPEC B5
func TestOutcomeCoversEvents(t *testing.T) {
	n := net(t)
	r := n.Do(consortium, params(same))
	base := chain.Outcome(r)
	var o chainv1.TxOutcome
	if err := o.UnmarshalVT(base); err != nil || !bytes.Equal(o.TxId, r.TxId) || len(o.Responses) != 1 {
		t.Fatalf("outcome %v, %v", &o, err)
	}
	for name, bend := range map[string]func(*chainv1.TxResult){
		"value":    func(r *chainv1.TxResult) { r.Events[0].Value = append(r.Events[0].Value, 0) },
		"type":     func(r *chainv1.TxResult) { r.Events[0].Type += "x" },
		"none":     func(r *chainv1.TxResult) { r.Events = nil },
		"response": func(r *chainv1.TxResult) { r.Responses[0] = []byte{1} },
	} {
		other := r.CloneVT()
		bend(other)
		if bytes.Equal(base, chain.Outcome(other)) {
			t.Errorf("%s: the outcome is the same", name)
		}
	}
}

// SPEC B6
func TestValidatorUpdates(t *testing.T) {
	a, b := chaintest.Actor("did:chancery:a").Public(), chaintest.Actor("did:chancery:b").Public()
	passing := chaintest.Actor("did:chancery:c").Public()
	n := withEnd(t, func(_ *scratch, ctx *chain.Ctx) {
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: passing, Power: 4})
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: passing, Was: 4})
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: a, Power: 1})
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: b, Power: 2})
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: a, Power: 3})
	})
	x := n.App().Next()
	got := x.End().Updates
	if len(got) != 2 || bytes.Compare(got[0].Key.Bytes, got[1].Key.Bytes) >= 0 {
		t.Fatalf("updates %v", got)
	}
	for _, u := range got {
		if u.Key.Equal(a) && u.Power != 3 || u.Key.Equal(b) && u.Power != 2 {
			t.Fatalf("updates %v", got)
		}
	}
}

// SPEC B7
func TestHead(t *testing.T) {
	n := net(t)
	n.Block()
	if h := n.App().Head(); h.Height != n.Height() || h.Time != n.Now {
		t.Fatalf("head %v at height %d, time %d", h, n.Height(), n.Now)
	}
	if v := n.ViewAt(1); v.Height() != 1 || v.Time() != chaintest.GenesisTime {
		t.Fatalf("view of block 1: height %d, time %d", v.Height(), v.Time())
	}
}

// SPEC S1
func TestClashingSchemasAreRefused(t *testing.T) {
	clash := func(name string, prefix byte) *state.Schema { return state.NewSchema(name, prefix) }
	for name, pair := range map[string][2]*state.Schema{
		"prefix": {clash("a", 1), clash("b", 1)},
		"name":   {clash("a", 1), clash("a", 2)},
	} {
		if _, err := state.NewRegistry(pair[0], pair[1]); err == nil {
			t.Errorf("%s: two modules share it and boot", name)
		}
	}
	for name, second := range map[string]func(*state.Schema){
		"prefix": func(s *state.Schema) { state.NewIndex(s, 1, "other", state.String) },
		"name":   func(s *state.Schema) { state.NewIndex(s, 2, "one", state.String) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: two collections share it and boot", name)
				}
			}()
			s := state.NewSchema("m", 9)
			state.NewIndex(s, 1, "one", state.String)
			second(s)
		}()
	}
}

// SPEC S2
func TestBootNeedsEveryRoute(t *testing.T) {
	tree, err := state.OpenIAVL(memDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = chain.New(chain.Options{ChainID: "x", Tree: tree, Authenticator: chaintest.Actors{}, Rand: zeros{}})
	if err == nil || !strings.Contains(err.Error(), "has no route") {
		t.Fatalf("a chain without modules boots: %v", err)
	}
}

// SPEC S3, S4: chaintest shuffles the lists of the second instance's genesis.
func TestGenesis(t *testing.T) {
	n := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module { return nil },
		Genesis: `{"chain":{"params":{"max_tx_bytes":"8192","max_tx_units":"5000000","max_organisation_units":"9000000","max_block_units":"20000000","max_validity_ms":"60000","max_messages":4,"max_signatures":4,"costs":{"byte":"1","read":"2","write":"3","write_byte":"4","signature":"5","policy_step":"6","model_step":"7"}}}}`})
	n.CheckGenesis()
	for name, raw := range map[string]string{
		"no object":       `[]`,
		"unknown section": `{"nobody":{}}`,
		"unknown field":   `{"chain":{"parms":{}}}`,
		"bad params":      `{"chain":{"params":{"max_tx_bytes":"1"}}}`,
	} {
		tree, _ := state.OpenIAVL(memDB(), state.IAVLOptions{NoSync: true})
		app, err := chain.New(chain.Options{ChainID: "x", Tree: tree, Authenticator: chaintest.Actors{}, Rand: zeros{}, Partial: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := app.InitGenesis(chain.Header{Height: 1, Time: 1}, json.RawMessage(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// SPEC S5
func TestProofs(t *testing.T) {
	n := withEnd(t, func(s *scratch, ctx *chain.Ctx) {
		for i := range 50 {
			s.words.Put(ctx, fmt.Sprint("word", i*2), &chainv1.Head{Height: ctx.Height()})
		}
	})
	s := newScratch(nil)
	snap := n.App().Tree().Latest()
	for i := range 100 {
		key := s.words.Key(fmt.Sprint("word", i))
		value := snap.Lookup(key)
		proof, err := snap.Prove(key)
		if err != nil {
			t.Fatal(err)
		}
		present := ics23.VerifyMembership(state.ProofSpec, snap.Root(), proof, key, append([]byte{1}, value...))
		if value != nil {
			present = ics23.VerifyMembership(state.ProofSpec, snap.Root(), proof, key, value)
		}
		absent := ics23.VerifyNonMembership(state.ProofSpec, snap.Root(), proof, key)
		if present != (i%2 == 0) || absent != (i%2 == 1) {
			t.Fatalf("word%d: proof of presence %v, of absence %v", i, present, absent)
		}
		wrong := bytes.Clone(snap.Root())
		wrong[0] ^= 1
		if ics23.VerifyMembership(state.ProofSpec, wrong, proof, key, value) || ics23.VerifyNonMembership(state.ProofSpec, wrong, proof, key) {
			t.Fatalf("word%d: a proof verifies against another root", i)
		}
	}
}

// SPEC P1
func TestCheckParams(t *testing.T) {
	if err := chain.CheckParams(chain.DefaultParams()); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for name, bend := range map[string]func(*chainv1.Params){
		"tiny transactions":        func(p *chainv1.Params) { p.MaxTxBytes = 4095 },
		"huge transactions":        func(p *chainv1.Params) { p.MaxTxBytes = tx.MaxBytes + 1 },
		"no units":                 func(p *chainv1.Params) { p.MaxTxUnits = 0 },
		"quota below one":          func(p *chainv1.Params) { p.MaxOrganisationUnits = p.MaxTxUnits - 1 },
		"validity over 10 minutes": func(p *chainv1.Params) { p.MaxValidityMs = 600_001 },
		"no messages":              func(p *chainv1.Params) { p.MaxMessages = 0 },
		"no signatures":            func(p *chainv1.Params) { p.MaxSignatures = 0 },
		"no costs":                 func(p *chainv1.Params) { p.Costs = nil },
		"block below one quota":    func(p *chainv1.Params) { p.MaxBlockUnits = p.MaxOrganisationUnits - 1 },
		"units that do not add up": func(p *chainv1.Params) { p.MaxOrganisationUnits, p.MaxBlockUnits = 1<<62, 1<<63 },
		"too few units":            func(p *chainv1.Params) { p.MaxTxUnits = 100_000 },
		"bytes too dear":           func(p *chainv1.Params) { p.Costs.Byte = 1 << 60 },
		"reads too dear":           func(p *chainv1.Params) { p.Costs.Read = 1_000_000 },
		"signatures too dear":      func(p *chainv1.Params) { p.Costs.Signature = 1_000_000 },
		"free reads":               func(p *chainv1.Params) { p.Costs.Read = 0 },
		"free policy steps":        func(p *chainv1.Params) { p.Costs.PolicyStep = 0 },
	} {
		p := chain.DefaultParams()
		bend(p)
		if err := chain.CheckParams(p); !errors.Is(err, chain.ErrBadParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who could change them back must be able to sign.
	n := net(t)
	raw := n.Tx(consortium, []proto.Message{params(func(p *chainv1.Params) { p.MaxSignatures = 1 })},
		chaintest.Actor(consortium), chaintest.Actor(mercy))
	if r := n.Block(raw)[0]; r.Code != chain.ErrBadParams.Code {
		t.Errorf("two signed for one signature a transaction: code %d", r.Code)
	}
}

// SPEC P2
func TestParamsActFromTheNextBlock(t *testing.T) {
	n := net(t)
	change := n.Tx(consortium, []proto.Message{params(func(p *chainv1.Params) { p.MaxMessages = 1 })})
	two := n.Tx(consortium, []proto.Message{params(func(p *chainv1.Params) { p.MaxMessages = 1 }), params(func(p *chainv1.Params) { p.MaxMessages = 1 })})
	three := n.Tx(consortium, []proto.Message{params(same), params(same)})
	for i, r := range n.Block(change, two) {
		if r.Code != 0 {
			t.Fatalf("transaction %d: %s", i, r.Log)
		}
	}
	want(t, n, three, chain.ErrTooManyMessages)
}

// Every error code of the core is permanent: this list only grows.
func TestErrorCodes(t *testing.T) {
	var got strings.Builder
	for _, set := range []*errs.Set{tx.Errors, chain.Errors} {
		for _, e := range set.All() {
			fmt.Fprintf(&got, "%s/%d ", e.Module, e.Code)
		}
	}
	want := "tx/2 tx/3 tx/4 tx/5 tx/6 chain/1 chain/2 chain/3 chain/5 chain/6 chain/7 chain/8 chain/9 chain/10 chain/11 chain/12 chain/13 chain/14 chain/15 chain/16 chain/17 chain/18 chain/19 chain/20 " +
		"chain/21 chain/22 chain/23 chain/24 chain/25 chain/26 chain/27 chain/28 chain/29 chain/30 chain/31 chain/32000 chain/32001 chain/32002 chain/32003 chain/32004 "
	if got.String() != want {
		t.Fatalf("codes are\n%s\nwant\n%s", got.String(), want)
	}
}

// FuzzDecode: whatever decodes is canonical and has the id of its signed bytes, and what
// Peek says of it is so.
func FuzzDecode(f *testing.F) {
	good, _, _ := tx.Draft{
		ChainID: chaintest.ChainID, Author: consortium, ValidUntil: 1, Salt: binary.BigEndian.AppendUint64(make([]byte, 8), 1),
		Messages: []proto.Message{params(same)},
	}.Sign(chaintest.Actor(consortium), chaintest.Named("did:chancery:x#key-2", keys.P256, "x"))
	f.Add(good)
	f.Add(append(bytes.Clone(good), 0x1a, 0))
	f.Fuzz(func(t *testing.T, raw []byte) {
		claim := tx.Peek(raw)
		if none := claim.Author == ""; none != (claim.ID() == tx.ID{}) {
			t.Fatalf("Peek says %s of nobody's %v", claim.ID(), none)
		}
		d, err := tx.Decode(raw)
		if err != nil {
			if e := errs.As(err); e.Module != "tx" {
				t.Fatalf("refused with %v", e)
			}
			return
		}
		again, err := d.Tx.MarshalVT()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("decoded, but marshals to %x (%v)", again, err)
		}
		if d.ID != tx.IDOf(d.Body.ChainId, d.Tx.Body) || len(d.Messages) != len(d.Body.Messages) {
			t.Fatal("id or messages are wrong")
		}
		if claim.ID() != d.ID || claim.Author != d.Body.Author {
			t.Fatalf("Peek says %s of %q", claim.ID(), claim.Author)
		}
	})
}
