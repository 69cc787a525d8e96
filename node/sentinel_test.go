package node_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/nodetest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	second = int64(1000)
	minute = 60 * second
)

// watched is a chain of all modules, as Wire has them, over two trees, judged by the
// sentinel. Of its organisations each has an administrator, ORG:admin, and a member,
// ORG:work.
type watched struct {
	*chaintest.Net
	t testing.TB
}

var members = []string{"did:chancery:clinic", "did:chancery:lab", "did:chancery:bank"}

// bulk is a detector that holds transactions of at least three messages and denies those
// of at least five.
func bulk(t testing.TB, name string) []byte {
	return nodetest.Bulk(t, name, nil, 3, 5)
}

func enforcing() *threatv1.Params {
	p := threat.DefaultParams()
	p.Mode, p.HoldMs, p.AppealMs = threatv1.Mode_MODE_ENFORCE, minute, minute
	p.Breaker = &threatv1.Breaker{Window: 10_000, Rate: 10_000, Actor: 10_000, RestMs: minute}
	return p
}

// watchedGenesis is a genesis of the members, each with an administrator and workers, and of
// a model, nil for none.
func watchedGenesis(t testing.TB, model []byte, p *threatv1.Params, workers ...string) []byte {
	t.Helper()
	f := identity.Founding{At: chaintest.GenesisTime, Threshold: 2}
	key := func(of string) []identity.FoundingKey {
		return []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(of).Public()}}
	}
	for _, o := range members {
		founder := identity.Founder{DID: o, Threshold: 1, Validators: []identity.FoundingValidator{{
			PublicKey: chaintest.Actor(o + "/validator").Public().Bytes, Power: 10, Moniker: strings.TrimPrefix(o, "did:chancery:"),
		}}}
		for _, name := range append([]string{"admin"}, workers...) {
			m := person(o, name)
			founder.Members = append(founder.Members, identity.FoundingMember{DID: m, Kind: identityv1.Kind_KIND_PERSON, Keys: key(m), Administrator: name == "admin"})
		}
		f.Organisations = append(f.Organisations, founder)
	}
	g, err := identity.NewGenesis(f)
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]json.RawMessage)
	if sections["identity"], err = chain.WriteGenesis(g); err != nil {
		t.Fatal(err)
	}
	watch := &threatv1.Genesis{Params: p}
	if model != nil {
		watch = threat.NewGenesis(model, 0)
		watch.Params = p
	}
	if sections["threat"], err = chain.WriteGenesis(watch); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(sections)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// newWatched starts the chain with a model, nil for none.
func newWatched(t testing.TB, model []byte, p *threatv1.Params) *watched {
	t.Helper()
	return &watched{t: t, Net: chaintest.New(t, chaintest.Config{
		Genesis: string(watchedGenesis(t, model, p, "work")),
		Modules: func() []chain.Module { return node.Wire().List() },
		Authenticator: func(modules []chain.Module) chain.Authenticator {
			return modules[slices.IndexFunc(modules, named("identity"))].(*identity.Module)
		},
		Screen: func(modules []chain.Module) chain.Screen {
			return modules[slices.IndexFunc(modules, named("threat"))].(*threat.Module)
		},
	})}
}

func named(name string) func(chain.Module) bool {
	return func(m chain.Module) bool { return m.Name() == name }
}

// person is the DID of one of an organisation's persons.
func person(organisation, name string) string {
	return organisation + ":" + name + strings.Repeat("a", 26-len(name))
}

// actingFor are those who sign for an author: organisations and the consortium act by
// administrators.
func actingFor(author string) []tx.Signer {
	switch {
	case author == did.Consortium:
		var signers []tx.Signer
		for _, o := range members {
			signers = append(signers, chaintest.Actor(person(o, "admin")))
		}
		return signers
	case slices.Contains(members, author):
		return []tx.Signer{chaintest.Actor(person(author, "admin"))}
	}
	return []tx.Signer{chaintest.Actor(author)}
}

// does runs one transaction in a block of its own.
func (w *watched) does(author string, messages ...proto.Message) *chainv1.TxResult {
	w.t.Helper()
	return w.Block(w.Tx(author, messages, actingFor(author)...))[0]
}

func (w *watched) must(author string, messages ...proto.Message) *chainv1.TxResult {
	w.t.Helper()
	r := w.does(author, messages...)
	if r.Code != 0 {
		w.t.Fatalf("%T by %s: %s", messages[0], author, r.Log)
	}
	return r
}

// opening is the events of the block that follows, were it empty.
func (w *watched) opening() []*chainv1.Event {
	return w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime}).End().Record.Events
}

func files(names ...string) (out []proto.Message) {
	for _, n := range names {
		out = append(out, &provenancev1.RegisterEntity{Id: n, Entity: &provenancev1.Entity{MediaType: "text/plain"}})
	}
	return out
}

func consentOf(n byte) *consentv1.Give {
	subject := bytes.Repeat([]byte{n}, 32)
	return &consentv1.Give{Terms: &consentv1.Terms{
		Subject: subject, Controller: members[0], Purposes: []string{"https://w3id.org/dpv#ServiceProvision"},
		Categories: []*consentv1.Category{{Iri: "https://w3id.org/dpv/pd#Contact"}},
		LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, Jurisdiction: "NL",
		Notice: &consentv1.Notice{Version: "1", Hash: subject, Language: "en"},
	}}
}

// Where no model can score, each kind does what params.fail_closed says of it, what is
// never held passes all the same, and the block says why: with no model, and with one
// that may need more work than it may. With a model again, it decides.
func TestKindsWithoutAModel(t *testing.T) {
	author := person(members[0], "work")
	model := bulk(t, "bulk")
	closed := enforcing()
	closed.FailClosed = []string{"chancery.consent.v1.Give", "chancery.consent.v1.Withdraw", "chancery.provenance.v1.InvalidateEntity"}
	const noModel = "no model is active"
	dear := closed.CloneVT()
	dear.MaxScoreWork = 1
	for _, c := range []struct {
		name  string
		start func(t *testing.T) *watched
		why   string
	}{
		{"none", func(t *testing.T) *watched { return newWatched(t, nil, closed) }, noModel},
		{"over its work limit", func(t *testing.T) *watched {
			w := newWatched(t, model, closed)
			w.must(did.Consortium, &threatv1.SetParams{Params: dear})
			return w
		}, "the model may need more work than max_score_work"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.start(t)
			limit := closed.MaxScoreWork
			if c.why != noModel {
				limit = dear.MaxScoreWork
			}
			now := closed.CloneVT()
			now.MaxScoreWork, now.FailClosed = limit, nil
			w.must(did.Consortium, &threatv1.SetParams{Params: now})
			given := chaintest.Response[consentv1.GiveResponse](t, w.must(author, consentOf(1)))
			now = closed.CloneVT()
			now.MaxScoreWork = limit
			w.must(did.Consortium, &threatv1.SetParams{Params: now})
			w.must(author, files("a")...)
			for _, k := range []struct {
				name     string
				held     bool
				messages []proto.Message
			}{
				{"open", false, files("b")},
				{"open, though a model would hold it", false, files("c", "d", "e")},
				{"closed", true, []proto.Message{&provenancev1.InvalidateEntity{Id: "a", Reason: provenancev1.InvalidationReason_INVALIDATION_REASON_ERRONEOUS}}},
				{"closed beside open", true, append(files("f"), consentOf(2))},
				{"closed, and never held", false, []proto.Message{&consentv1.Withdraw{Id: given.Id}}},
			} {
				raw := w.Tx(author, k.messages)
				x := w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime})
				d, err := w.App().Decode(raw)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := x.Deliver(d); err != nil {
					t.Fatal(err)
				}
				said := chaintest.Events[threatv1.ModelAbsent](t, &chainv1.TxResult{Events: x.End().Record.Events})
				if len(said) != 1 || said[0].Reason != c.why {
					t.Errorf("%s: the block says %v, want %q", k.name, said, c.why)
				}
				r := w.Block(raw)[0]
				if held := r.Code == chain.ErrHeld.Code && r.Codespace == chain.ErrHeld.Module; held != k.held || !held && r.Code != 0 {
					t.Errorf("%s: held %v, want %v: %s", k.name, held, k.held, r.Log)
				}
				if told := chaintest.Events[threatv1.TxHeld](t, r); len(told) > 0 && len(told[0].Hold.Model) != 0 {
					t.Errorf("%s: held by the model %x", k.name, told[0].Hold.Model)
				}
			}
			hash := detector.Hash(model)
			if c.why == noModel {
				w.must(did.Consortium, &threatv1.RegisterModel{Hash: hash[:], Size: uint32(len(model))})
				wrong := bytes.Clone(model)
				wrong[len(wrong)/3] ^= 1
				r := w.must(author, &threatv1.AddModelChunk{Hash: hash[:], Bytes: wrong})
				if out := chaintest.Response[threatv1.AddModelChunkResponse](t, r); out.Loaded != 0 || out.Stage != threatv1.Stage_STAGE_LOADING {
					t.Fatalf("wrong bytes make the model %v", out)
				}
				w.must(author, &threatv1.AddModelChunk{Hash: hash[:], Bytes: model})
				w.must(did.Consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_SHADOW})
				w.must(did.Consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_ACTIVE})
			} else {
				w.must(did.Consortium, &threatv1.SetParams{Params: enforcing()})
			}
			if r := w.does(author, consentOf(3)); r.Code != 0 {
				t.Errorf("with a model, what fails closed without one: %s", r.Log)
			}
			if r := w.does(author, files("g", "h", "i")...); r.Code != chain.ErrHeld.Code {
				t.Errorf("with a model, what it would hold: code %d", r.Code)
			}
			for _, e := range w.opening() {
				if strings.HasSuffix(e.Type, "ModelAbsent") {
					t.Error("it is said that there is no model, and there is")
				}
			}
		})
	}
}

// A registered model that needs too much work is refused before it can be chosen.
func TestModelsBeyondTheLimitAreRefused(t *testing.T) {
	p := enforcing()
	p.MaxScoreWork = 10
	w := newWatched(t, nil, p)
	model := bulk(t, "bulk")
	hash := detector.Hash(model)
	w.must(did.Consortium, &threatv1.RegisterModel{Hash: hash[:], Size: uint32(len(model))})
	if r := w.does(person(members[1], "work"), &threatv1.AddModelChunk{Hash: hash[:], Bytes: model}); r.Codespace != "threat" || r.Code != threat.ErrTooCostly.Code {
		t.Fatalf("%s/%d %s", r.Codespace, r.Code, r.Log)
	}
}

// What is held and nobody decides expires by itself; one that waits longer than its
// author's rights is released and fails; the whole can be exported and goes on.
func TestHeldTransactionsOverTime(t *testing.T) {
	w := newWatched(t, bulk(t, "bulk"), enforcing())
	author := person(members[0], "work")
	hold := func(names ...string) []byte {
		t.Helper()
		r := w.does(author, files(names...)...)
		if r.Code != chain.ErrHeld.Code {
			t.Fatalf("not held: %d %s", r.Code, r.Log)
		}
		return r.TxId
	}
	review := func(message proto.Message) *chainv1.TxResult {
		t.Helper()
		w.must(person(members[1], "admin"), message)
		return w.must(person(members[2], "admin"), message)
	}

	expires, rejected, failing := hold("a", "b", "c"), hold("d", "e", "f"), hold("g", "h", "i")
	review(&threatv1.Reject{TxId: rejected})
	w.must(members[0], &identityv1.Suspend{Did: author, Reason: identityv1.Reason_REASON_COMPROMISED})
	r := review(&threatv1.Release{TxId: failing})
	if out := chaintest.Response[threatv1.ReleaseResponse](t, r); out.Status != threatv1.HoldStatus_HOLD_STATUS_FAILED || out.Codespace != "identity" || out.Code != identity.ErrSuspended.Code {
		t.Errorf("a suspended author's transaction is released: %v", out)
	}
	w.Now += minute
	w.Block()
	for _, c := range []struct {
		id   []byte
		want threatv1.HoldStatus
	}{
		{expires, threatv1.HoldStatus_HOLD_STATUS_EXPIRED}, {rejected, threatv1.HoldStatus_HOLD_STATUS_REJECTED}, {failing, threatv1.HoldStatus_HOLD_STATUS_FAILED},
	} {
		if got := w.hold(c.id).Status; got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	w.must(members[0], &identityv1.Reinstate{Did: author})
	if r := w.does(person(members[1], "admin"), &threatv1.Release{TxId: expires}); r.Code != threat.ErrWrongStatus.Code {
		t.Errorf("an expired one is released: %d %s", r.Code, r.Log)
	}
	w.Block() // lets end what the import would
	w.CheckGenesis()
}

// hold is the record of a held transaction.
func (w *watched) hold(id []byte) *threatv1.Hold {
	w.t.Helper()
	key := node.Wire().Threat.HoldKey(id)
	collection, ok := w.App().Registry().Of(key)
	if !ok {
		w.t.Fatalf("%x is of no collection", key)
	}
	text, err := collection.DescribeValue(w.View().Lookup(key))
	if err != nil {
		w.t.Fatal(err)
	}
	h := new(threatv1.Hold)
	if err := protojson.Unmarshal([]byte(text), h); err != nil {
		w.t.Fatal(err)
	}
	return h
}
