package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// emptyApp is one without modules or state, by whose authenticator authors are known.
func emptyApp(t *testing.T, by Authenticator) *App {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{ChainID: "c", Tree: tree, Authenticator: by, Rand: bytes.NewReader(make([]byte, 64)), Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func anySigner(t *testing.T) keys.Signer {
	t.Helper()
	signer, err := keys.NewSigner(keys.Ed25519, make([]byte, keys.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestDecodedTransactionsAreBoundedInBytes(t *testing.T) {
	c := newDecodedCache(100, 10_000)
	held := func() (n int64) {
		for _, d := range c.Values() {
			n += int64(len(d.Raw))
		}
		return n
	}
	for i := range 1000 {
		d := &tx.Decoded{Raw: binary.BigEndian.AppendUint64(make([]byte, i%3000), uint64(i))}
		c.keep(d)
		c.keep(d) // as two callers do that decode it at one time
		if have := held(); have > 10_000 || have != c.Bytes() || c.Len() > 100 {
			t.Fatalf("after %d: %d bytes in %d entries, counted as %d", i+1, have, c.Len(), c.Bytes())
		}
		if got, ok := c.find(d.Raw); !ok || got != d {
			t.Fatalf("the latest is not there")
		}
	}
	// One that is larger than all may be leaves nothing behind.
	c.keep(&tx.Decoded{Raw: make([]byte, 10_001)})
	if c.Len() != 0 || c.Bytes() != 0 {
		t.Fatalf("%d bytes in %d entries", c.Bytes(), c.Len())
	}
}

// What the door refuses is not kept: a megabyte of empty records takes a hundred when
// it is decoded.
func TestOnlyAdmittedTransactionsAreKept(t *testing.T) {
	a := emptyApp(t, nobody{})
	list := &txv1.Body{ChainId: "c", Author: "a", ValidUntil: 1, Salt: make([]byte, tx.SaltSize)}
	e, err := tx.Envelope(&provenancev1.Relate{Relations: slices.Repeat([]*provenancev1.Relation{{}}, 100_000)})
	if err != nil {
		t.Fatal(err)
	}
	list.Messages = []*txv1.Message{e}
	pack := func(b *txv1.Body) []byte {
		body, _ := b.MarshalVT()
		raw, _ := (&txv1.Tx{Body: body, Signatures: []*txv1.Signature{{Key: "k", Signature: []byte{1}}}}).MarshalVT()
		return raw
	}
	d, err := a.Decode(pack(list))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Admit(d)[0].Err; got == nil {
		t.Fatal("it was admitted")
	}
	if n := a.decoded.Len(); n != 0 {
		t.Errorf("%d transactions that nobody admitted are kept", n)
	}
	// And what is larger than the chain allows is not even decoded.
	if _, err := a.Apply(a.Begin(Header{Height: 1, Time: 1}).End()); err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	list.Messages = slices.Repeat(list.Messages, 3)
	if _, err := a.Decode(pack(list)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a transaction beyond max_tx_bytes: %v", err)
	}
}

type nobody struct{}

func (nobody) Consortium() string                          { return "" }
func (nobody) Organisation(ReadCtx, string) (string, bool) { return "", false }
func (nobody) Authenticate(ReadCtx, Claim) (Authority, error) {
	return Authority{}, ErrBadSignature
}

// broken is an authenticator with a defect that bytes of an author's reach.
type broken struct{ nobody }

func (broken) Authenticate(_ ReadCtx, c Claim) (Authority, error) {
	return Authority{Organisation: c.Keys[len(c.Keys)]}, nil
}

// A run-time error of a module fails the transaction, wherever the module is asked:
// looking ahead at a block may not halt a node where executing it does not.
func TestForeseeSurvivesWhatTheDoorRefuses(t *testing.T) {
	a := emptyApp(t, broken{})
	e, err := tx.Envelope(&chainv1.SetParams{Params: DefaultParams()})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := (&txv1.Body{ChainId: "c", Author: "a", ValidUntil: 1, Salt: make([]byte, tx.SaltSize), Messages: []*txv1.Message{e}}).MarshalVT()
	raw, _ := (&txv1.Tx{Body: body, Signatures: []*txv1.Signature{{Key: "k", Signature: []byte{1}}}}).MarshalVT()
	d, err := a.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Admit(d)[0].Err; !errors.Is(got, ErrInternal) {
		t.Fatalf("the door says %v", got)
	}
	x := a.next(false)
	x.Foresee([]*tx.Decoded{d, d}, nil)
	if _, err := x.Deliver(d); !errors.Is(err, ErrInternal) {
		t.Fatalf("a block says %v", err)
	}
}

// Large transactions are looked at in small portions, and each at last.
func TestPortionsAreOfTransactionsAndBytes(t *testing.T) {
	of := func(sizes ...int) (out []*tx.Decoded) {
		for _, n := range sizes {
			out = append(out, &tx.Decoded{Raw: make([]byte, n)})
		}
		return out
	}
	for _, c := range []struct {
		ds   []*tx.Decoded
		most int
		want int
	}{
		{of(400, 400, 400), 2, 2},
		{of(400, 400, 400), 9, 3},
		{of(usualBytes, usualBytes, 1, 1), 2, 2},
		{of(usualBytes, 3*usualBytes, usualBytes), 3, 1},
		{of(9 * usualBytes), 3, 1},
	} {
		if got := portion(c.ds, c.most); got != c.want {
			t.Errorf("%d of %d transactions where %d may be in a portion, want %d", got, len(c.ds), c.most, c.want)
		}
	}
}

// everybody accepts any author with its key.
type everybody struct {
	nobody
	key keys.Public
}

func (e everybody) Authenticate(ReadCtx, Claim) (Authority, error) {
	return Authority{Organisation: "o", Keys: []keys.Public{e.key}, Signers: []string{"a"}}, nil
}

// ofA signs with a key of the author a.
type ofA struct{ keys.Signer }

func (ofA) KeyURL() string { return "a#k" }

// ofTheConsortium is everybody, and its author is the consortium.
type ofTheConsortium struct{ everybody }

func (ofTheConsortium) Consortium() string { return "a" }

// signed is a transaction of the author a with so many messages.
func signed(t *testing.T, signer keys.Signer, validUntil int64, messages int) []byte {
	t.Helper()
	raw, _, err := tx.Draft{
		ChainID: "c", Author: "a", ValidUntil: validUntil, Salt: make([]byte, tx.SaltSize),
		Messages: slices.Repeat([]proto.Message{&chainv1.SetParams{Params: DefaultParams()}}, messages),
	}.Sign(ofA{signer})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// admitted is a transaction that was let in.
func admitted(t *testing.T, a *App, raw []byte) *tx.Decoded {
	t.Helper()
	d, err := a.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Admit(d)[0].Err; got != nil {
		t.Fatal(got)
	}
	return d
}

// What was admitted is decoded once on its way into a block, and gone with that.
func TestWhatIsCommittedIsNotKeptDecoded(t *testing.T) {
	signer := anySigner(t)
	a := emptyApp(t, ofTheConsortium{everybody{key: signer.Public()}})
	var ds []*tx.Decoded
	for i := range 2 {
		ds = append(ds, admitted(t, a, signed(t, signer, int64(1000+i), 1)))
	}
	x := a.Begin(Header{Height: 1, Time: 1})
	if _, err := x.Deliver(ds[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(x.End()); err != nil {
		t.Fatal(err)
	}
	again := func(d *tx.Decoded) bool {
		got, err := a.Decode(d.Raw)
		if err != nil {
			t.Fatal(err)
		}
		return got != d
	}
	if again(ds[0]) || again(ds[1]) {
		t.Error("it was decoded again before its block was committed")
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	if !again(ds[0]) || again(ds[1]) {
		t.Error("what is kept is not what waits")
	}
}

// Whoever finds two transactions with the same hash gains nothing: the bytes tell them apart.
func TestNothingIsFoundUnderAnothersBytes(t *testing.T) {
	signer := anySigner(t)
	c := newDecodedCache(10, 1<<20)
	var ds [2]*tx.Decoded
	for i := range ds {
		var err error
		if ds[i], err = tx.Decode(signed(t, signer, int64(1000+i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	c.Add(xxhash.Sum64(ds[1].Raw), ds[0]) // as if both had it
	if d, ok := c.find(ds[1].Raw); ok {
		t.Errorf("found transaction %s for the bytes of another", d.ID)
	}
	c.drop(ds[1])
	c.keep(ds[1])
	if d, ok := c.find(bytes.Clone(ds[1].Raw)); !ok || d != ds[1] {
		t.Error("what was kept is not found")
	}
}

// What it takes to find a transaction of the size of a consent again, by a hash that nobody can
// forge, or by one that is quick and a look at the bytes.
func BenchmarkTellApart(b *testing.B) {
	raw := bytes.Repeat([]byte("0123456"), 59) // 413 bytes
	same := bytes.Clone(raw)
	b.Run("SHA-256", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(raw)
		}
	})
	b.Run("XXH64_and_bytes", func(b *testing.B) {
		for b.Loop() {
			if xxhash.Sum64(raw) == 0 || !bytes.Equal(raw, same) {
				b.Fatal("it is another")
			}
		}
	})
}

// Transactions of several messages are executed when they are admitted, one after the other over
// the same throwaway block, of which they leave nothing.
func TestAdmissionLeavesNoTrace(t *testing.T) {
	signer := anySigner(t)
	a := emptyApp(t, ofTheConsortium{everybody{key: signer.Public()}})
	for i := range 3 {
		d := admitted(t, a, signed(t, signer, int64(1000+i), 2))
		if left := a.admitting.x.overlay.Changes(); len(left) > 0 {
			t.Fatalf("admission wrote %q", left[0].Key)
		}
		v := a.admitting.x.view(d)
		if err := a.admitting.x.rehearse(v, d, Authority{Signers: []string{"a"}}); err != nil || v.meter.used != 0 {
			t.Errorf("a rehearsal uses %d units of what the screen may use: %v", v.meter.used, err)
		}
	}
	// Only the consortium may do that: who sends it is told which message failed.
	raw, _, err := tx.Draft{
		ChainID: "c", Author: "b", ValidUntil: 1000, Salt: make([]byte, tx.SaltSize),
		Messages: slices.Repeat([]proto.Message{&chainv1.SetParams{Params: DefaultParams()}}, 2),
	}.Sign(ofA{signer})
	if err != nil {
		t.Fatal(err)
	}
	d, err := a.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Admit(d)[0].Err; got == nil || !strings.Contains(got.Error(), "message 0") {
		t.Errorf("a transaction that would fail is admitted: %v", got)
	}
	if left := a.admitting.x.overlay.Changes(); len(left) > 0 {
		t.Errorf("a failed admission wrote %q", left[0].Key)
	}
}

// A block's transactions are looked at ahead of the door, which may refuse them: they are not
// kept, however good their signatures are.
func TestForeseeKeepsNothingDecoded(t *testing.T) {
	signer := anySigner(t)
	a := emptyApp(t, everybody{key: signer.Public()})
	d, err := a.Decode(signed(t, signer, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	items := []keys.Item{{Key: signer.Public(), Message: d.SignedData, Signature: d.Tx.Signatures[0].Signature}}
	if !keys.VerifyBatch(bytes.NewReader(make([]byte, 64)), items)[0] {
		t.Fatal("its signature is bad")
	}
	x := a.next(false)
	x.Foresee([]*tx.Decoded{d}, nil)
	if !x.ahead.about(d).signed {
		t.Error("its signature was not verified")
	}
	// Where patience is lost, the rest is left to its turn, but never the first.
	other := *d
	x.Foresee([]*tx.Decoded{d, &other}, func() func() bool { return func() bool { return true } })
	if first, second := x.ahead.about(d), x.ahead.about(&other); !first.signed || second.signed || second.authority.ok {
		t.Errorf("of the first was found out %+v, of the second %+v", first, second)
	}
	if n := a.decoded.Len(); n != 0 {
		t.Errorf("%d transactions that nobody admitted are kept", n)
	}
}
