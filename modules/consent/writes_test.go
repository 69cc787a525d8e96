package consent

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// writes is how many keys of this module a transaction changes.
func (n *net) writes(author string, msg proto.Message) (count int) {
	n.t.Helper()
	x := n.App().Begin(chain.Header{Height: n.Height() + 1, Time: n.Now + chaintest.BlockTime})
	d, err := n.App().Decode(n.Tx(author, []proto.Message{msg}))
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := x.Deliver(d)
	if err != nil || r.Code != 0 {
		n.t.Fatalf("%v, %v", err, r)
	}
	for _, c := range x.End().Changes {
		if c.Key[0] == prefix {
			count++
		}
	}
	return count
}

// What doc.go says of the writes of each message.
func TestWritesPerMessage(t *testing.T) {
	n := newNet(t)
	asked := n.requests(terms(to(lakeside)), anna)
	short := n.gives(until(n.Now + 5*chaintest.BlockTime))
	id := n.gives(purposes(treatment, research), to(lakeside))
	n.Do(anna, &consentv1.Restrict{Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION})
	restriction := n.m.dossier(n.View(), subjectOf("anna"), mercy).Restrictions[0].Id
	delegate := &consentv1.Delegate{
		Subject: subjectOf("anna"), Controller: mercy, Delegate: bert,
		Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE, Scopes: []consentv1.Scope{consentv1.Scope_SCOPE_GIVE},
	}
	n.Do(anna, delegate)
	for _, x := range []struct {
		name   string
		author string
		msg    proto.Message
		want   int
	}{
		{"Give", anna, &consentv1.Give{Terms: terms()}, 3},
		{"Give with two recipients", anna, &consentv1.Give{Terms: terms(to(lakeside, visitor))}, 5},
		{"Give into a new dossier", anna, &consentv1.Give{Terms: terms(about("new"))}, 3},
		{"Give in answer", anna, &consentv1.Give{RequestId: asked}, 5},
		{"Request", officer, &consentv1.Request{Terms: terms(), AnswerUntil: n.Now + 10_000}, 4},
		{"Refuse", anna, &consentv1.Refuse{Terms: terms()}, 3},
		{"Refuse in answer", anna, &consentv1.Refuse{RequestId: asked}, 4},
		{"Narrow", anna, &consentv1.Narrow{Id: id, RemovePurposes: []string{research}}, 2},
		{"Narrow by a recipient", anna, &consentv1.Narrow{Id: id, RemoveRecipients: []string{lakeside}}, 3},
		{"Rectify", anna, &consentv1.Rectify{Id: id, Terms: terms(to(lakeside))}, 2},
		{"Withdraw", anna, &consentv1.Withdraw{Id: id}, 3},
		{"Supersede", anna, &consentv1.Supersede{Id: id, Terms: terms()}, 5},
		{"Delegate", anna, delegate, 1},
		{"RevokeDelegation", anna, &consentv1.RevokeDelegation{Subject: subjectOf("anna"), Controller: mercy, Delegate: bert}, 1},
		{"Restrict", anna, &consentv1.Restrict{Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_ACCURACY}, 1},
		{"LiftRestriction", anna, &consentv1.LiftRestriction{Subject: subjectOf("anna"), Controller: mercy, Id: restriction}, 1},
	} {
		if got := n.writes(x.author, x.msg); got != x.want {
			t.Errorf("%s writes %d keys, want %d", x.name, got, x.want)
		}
	}
	n.Now += 30 * chaintest.BlockTime
	if got := n.writes(visitor, &consentv1.Expire{Id: short}); got != 3 {
		t.Errorf("Expire writes %d keys, want 3", got)
	}
	if got := n.writes(visitor, &consentv1.Expire{Id: asked}); got != 4 {
		t.Errorf("Expire of a request writes %d keys, want 4", got)
	}
}

// smallGive is the transaction that the chain's throughput is measured with.
func smallGive(i int) *consentv1.Give {
	t := terms(about(fmt.Sprint("subject ", i)), of(contact))
	t.SpecialCondition = 0
	return &consentv1.Give{Terms: t}
}

func TestGiveIsSmall(t *testing.T) {
	n := newNet(t)
	raw := n.Tx(anna, []proto.Message{smallGive(1)})
	if len(raw) > 480 {
		t.Fatalf("%d bytes", len(raw))
	}
	rec, err := (&consentv1.Give{Terms: smallGive(1).Terms}).MarshalVT()
	if err != nil || len(rec) > 220 {
		t.Fatalf("the message alone has %d bytes, %v", len(rec), err)
	}
}

// BenchmarkGive executes transactions that give consent, each of another subject,
// in blocks of 1000, without signature checks and without writing the tree.
func BenchmarkGive(b *testing.B) { benchmarkGive(b, false) }

// BenchmarkGiveBlock is BenchmarkGive with the blocks applied to the tree and
// committed.
func BenchmarkGiveBlock(b *testing.B) { benchmarkGive(b, true) }

// justAnna is an Authenticator that costs nothing.
type justAnna struct {
	chaintest.Actors
	key keys.Public
}

func (a justAnna) Authenticate(chain.ReadCtx, chain.Claim) (chain.Authority, error) {
	return chain.Authority{Keys: []keys.Public{a.key}, Signers: []string{anna}, Organisation: mercy}, nil
}

func benchmarkGive(b *testing.B, commit bool) {
	const blockSize = 1000
	n := &net{t: b, m: New(Deps{Identity: people{}})}
	key := chaintest.Actor(anna)
	n.Net = chaintest.New(b, chaintest.Config{
		Partial:       true,
		Modules:       func() []chain.Module { return []chain.Module{New(Deps{Identity: people{}})} },
		Authenticator: func([]chain.Module) chain.Authenticator { return justAnna{key: key.Public()} },
	})
	app := n.App()
	b.ReportAllocs()
	for done := 0; done < b.N; done += blockSize {
		b.StopTimer()
		size := min(blockSize, b.N-done)
		batch := make([]*tx.Decoded, size)
		for i := range batch {
			d, err := app.Decode(n.Tx(anna, []proto.Message{smallGive(done + i)}, key))
			if err != nil {
				b.Fatal(err)
			}
			batch[i] = d
		}
		app.Admit(batch...)
		head := app.Head()
		b.StartTimer()
		x := app.Begin(chain.Header{Height: head.Height + 1, Time: head.Time})
		for _, d := range batch {
			if r, err := x.Deliver(d); err != nil || r.Code != 0 {
				b.Fatalf("%v, %v", r, err)
			}
		}
		if !commit {
			continue
		}
		if _, err := app.Apply(x.End()); err != nil {
			b.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPermits asks a dossier of 64 consents of which the last covers.
func BenchmarkPermits(b *testing.B) {
	n := newNet(b)
	other := &consentv1.Give{Terms: terms(purposes(research))}
	for range maxConsents - 1 {
		n.Do(anna, other)
	}
	id := n.gives()
	r := n.View()
	b.ReportAllocs()
	for b.Loop() {
		got, _, err := n.m.Permits(r, subjectOf("anna"), mercy, doctor, treatment, []string{record})
		if err != nil || !bytes.Equal(got, id) {
			b.Fatal(err)
		}
	}
}
