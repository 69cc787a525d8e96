package identity

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity/did"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

const (
	mercy = "did:chancery:mercy" // two of three administrators
	acme  = "did:chancery:acme"  // its own key
	quay  = "did:chancery:quay"  // one administrator, a service
	hold  = "did:chancery:hold"  // its own key

	authentication       = identityv1.Purpose_PURPOSE_AUTHENTICATION
	assertion            = identityv1.Purpose_PURPOSE_ASSERTION
	keyAgreement         = identityv1.Purpose_PURPOSE_KEY_AGREEMENT
	capabilityInvocation = identityv1.Purpose_PURPOSE_CAPABILITY_INVOCATION
	recoveryPurpose      = identityv1.Purpose_PURPOSE_RECOVERY

	person  = identityv1.Kind_KIND_PERSON
	device  = identityv1.Kind_KIND_DEVICE
	program = identityv1.Kind_KIND_SERVICE
)

var (
	ann    = personOf("mercy", "a") // administrators of mercy, one key type each
	ben    = personOf("mercy", "b")
	cyd    = did.Member("mercy", "desk")
	dot    = personOf("mercy", "d") // registrar of mercy
	robot  = did.Member("quay", "robot")
	keyFor = map[string]keys.Type{ann: keys.Ed25519, ben: keys.P256, cyd: keys.MLDSA65}
)

func personOf(slug, letter string) string {
	return did.Member(slug, strings.Repeat(letter, did.PersonIDSize))
}

// key is key-1 of a DID: its only one in the genesis state.
func key(name string) chaintest.Key { return keyOfID(name, "key-1") }

// keyOfID is a key of a DID, derived from DID and id.
func keyOfID(name, id string) chaintest.Key {
	t := keyFor[name]
	if t == 0 {
		t = keys.Ed25519
	}
	return chaintest.Named(did.URL(name, id), t, did.URL(name, id))
}

func signers(names ...string) []tx.Signer {
	out := make([]tx.Signer, len(names))
	for i, name := range names {
		out[i] = key(name)
	}
	return out
}

// newKey is a NewKey with its proof.
func newKey(t testing.TB, k chaintest.Key, purposes ...identityv1.Purpose) *identityv1.NewKey {
	t.Helper()
	name, id, _ := strings.Cut(k.KeyURL(), "#")
	out, err := Possess(chaintest.ChainID, name, id, k, purposes...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// member is a NewIdentity with key-1.
func member(t testing.TB, name string, kind identityv1.Kind) *identityv1.NewIdentity {
	t.Helper()
	return &identityv1.NewIdentity{Did: name, Kind: kind, Keys: []*identityv1.NewKey{newKey(t, key(name), authentication)}}
}

func consortium() Founding {
	one := func(name string) []FoundingKey { return []FoundingKey{{ID: "key-1", Public: key(name).Public()}} }
	validator := func(name string, power int64) []FoundingValidator {
		return []FoundingValidator{{PublicKey: consensus(name), Power: power, Moniker: strings.TrimPrefix(name, "did:chancery:")}}
	}
	return Founding{
		At: chaintest.GenesisTime, Threshold: 2,
		Organisations: []Founder{
			{DID: mercy, Threshold: 2, Members: []FoundingMember{
				{DID: ann, Kind: person, Administrator: true, Keys: one(ann)},
				{DID: ben, Kind: person, Administrator: true, Keys: one(ben)},
				{DID: cyd, Kind: program, Administrator: true, Keys: one(cyd)},
				{DID: dot, Kind: person, Keys: one(dot), Roles: []string{RoleRegistrar}},
			}, Validators: validator(mercy, 10), Nodes: []string{nodeID('1')}},
			{DID: acme, Keys: one(acme), Validators: validator(acme, 10), Nodes: []string{nodeID('2')}},
			{DID: quay, Threshold: 1, Members: []FoundingMember{
				{DID: robot, Kind: program, Administrator: true, Keys: one(robot)},
			}, Validators: validator(quay, 10)},
		},
	}
}

// consensus is a consensus key derived from a name.
func consensus(name string) []byte {
	return chaintest.Named("", keys.Ed25519, "consensus/"+name).Public().Bytes
}

func nodeID(c byte) string { return strings.Repeat(string(c), 40) }

// world is a chain with the module as its authenticator.
type world struct {
	*chaintest.Net
	t testing.TB
	m *Module
}

func start(t testing.TB) *world { return startWith(t, consortium()) }

func startWith(t testing.TB, f Founding) *world {
	t.Helper()
	g, err := NewGenesis(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, m: New(), Net: chaintest.New(t, chaintest.Config{
		Modules:       func() []chain.Module { return []chain.Module{New()} },
		Genesis:       `{"identity":` + string(raw) + `}`,
		Authenticator: func(modules []chain.Module) chain.Authenticator { return modules[0].(*Module) },
		Partial:       true,
	})}
}

// by is how a DID signs by default.
func by(author string) []tx.Signer {
	switch author {
	case mercy:
		return signers(ann, ben)
	case quay:
		return signers(robot)
	case did.Consortium:
		return signers(acme, robot)
	default:
		return signers(author)
	}
}

// do runs messages of the author in one transaction, which must succeed.
func (w *world) do(author string, messages ...proto.Message) *chainv1.TxResult {
	w.t.Helper()
	return w.signed(author, by(author), messages...)
}

func (w *world) signed(author string, by []tx.Signer, messages ...proto.Message) *chainv1.TxResult {
	w.t.Helper()
	r := w.Block(w.Tx(author, messages, by...))[0]
	if r.Code != 0 {
		w.t.Fatalf("%s: %s", author, r.Log)
	}
	return r
}

// fails runs messages of the author in one transaction, which must be refused.
func (w *world) fails(want *errs.Error, author string, messages ...proto.Message) {
	w.t.Helper()
	w.FailsRaw(want, w.Tx(author, messages, by(author)...))
}

func (w *world) failsSigned(want *errs.Error, author string, by []tx.Signer, messages ...proto.Message) {
	w.t.Helper()
	w.FailsRaw(want, w.Tx(author, messages, by...))
}

// harmless is a message that any organisation, device or service may send.
func harmless() proto.Message { return &identityv1.SetServices{} }

// act tries a transaction of the author without keeping its effect.
func (w *world) act(author string, by ...tx.Signer) error {
	w.t.Helper()
	d, err := w.App().Decode(w.Tx(author, []proto.Message{harmless()}, by...))
	if err != nil {
		w.t.Fatal(err)
	}
	x := w.App().Next()
	_, err = x.Deliver(d)
	return err
}

func (w *world) mayAct(author string, by ...tx.Signer) {
	w.t.Helper()
	if err := w.act(author, by...); err != nil {
		w.t.Fatalf("%s cannot act: %v", author, err)
	}
}

func (w *world) mayNotAct(want *errs.Error, author string, by ...tx.Signer) {
	w.t.Helper()
	if err := w.act(author, by...); err == nil || !errs.As(err).Is(want) {
		w.t.Fatalf("%s acts: %v, want %v", author, err, want)
	}
}

// query is the module's query service over the latest state.
func (w *world) query() *queries { return &queries{m: w.m, q: w} }

func (w *world) identity(name string) *identityv1.Identity {
	w.t.Helper()
	r, err := w.query().Identity(context.Background(), &identityv1.IdentityRequest{Did: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Identity
}

func (w *world) keyRecord(name, id string) *identityv1.Key {
	w.t.Helper()
	r, err := w.query().Key(context.Background(), &identityv1.KeyRequest{Did: name, Id: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Key
}

// golden compares with a file in testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

func msgs(list ...proto.Message) []proto.Message { return list }
