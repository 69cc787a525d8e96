// Package chaintest runs blocks on two independent instances of a chain and
// compares them, so that every block test is also a test of determinism: the
// second instance starts from a genesis with shuffled lists, holds its state in
// memory with a log where the first has it on disk, looks ahead at a block's
// transactions on several processors where the first takes one after the other, and
// is restarted between applying and committing each block.
package chaintest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	// ChainID is the chain of every test.
	ChainID = "chancery-test"
	// GenesisTime is 2026-01-05 08:00:00 UTC, a Monday, in Unix milliseconds.
	GenesisTime int64 = 1767600000000
	// BlockTime is what passes between two blocks, in milliseconds.
	BlockTime int64 = 1000
	// Validity is how long test transactions are valid, in milliseconds.
	Validity int64 = 60_000
	// Consortium is the DID that stands for all members.
	Consortium = "did:chancery:consortium"
)

// Config is what a Net is made of.
type Config struct {
	// Modules builds the modules anew for each instance.
	Modules func() []chain.Module
	// Genesis is the genesis state, a JSON object with a section per module.
	Genesis string
	// Authenticator builds the authenticator from the modules. nil: Actors.
	Authenticator func(modules []chain.Module) chain.Authenticator
	// Screen picks the screen from the modules. nil: nothing is judged.
	Screen func(modules []chain.Module) chain.Screen
	// Oldest and Migrations are the versions of the state machine that both instances know;
	// see chain.Options.
	Oldest     uint32
	Migrations func(modules []chain.Module) []chain.Migration
	// Validators say who has a validator. nil: nobody is asked.
	Validators chain.Validators
	// Partial lets arms have no route. Set it in tests of single modules.
	Partial bool
}

// Net is a chain of two instances that must agree.
type Net struct {
	t      testing.TB
	config Config
	a, b   *instance
	// Now is the time of the latest block; add to it to let time pass.
	Now int64
	// Misbehaviour is what the next block carries evidence of.
	Misbehaviour []*chainv1.Misbehaviour
	salt         uint64
}

type instance struct {
	store   store
	workers int // 0: it does not look ahead
	app     *chain.App
}

// store is what a tree is opened on, again after each restart.
type store func() (state.Tree, error)

// onDatabase is the tree in a database.
func onDatabase() store {
	db := keepOpen{dbm.NewMemDB()}
	return func() (state.Tree, error) {
		return state.OpenIAVL(db, state.IAVLOptions{NoSync: true, NodeCache: 10_000, ValueCache: 1_000})
	}
}

// inMemory is the tree in memory with a log. Images are due after a few blocks.
func inMemory() store {
	disk := statetest.NewDisk()
	return func() (state.Tree, error) {
		tree, err := state.OpenMemory(disk, state.MemoryOptions{NoSync: true, ImageVersions: 5})
		if err == nil && tree.ImageDue() {
			err = tree.WriteImage()
		}
		return tree, err
	}
}

// New starts both instances at genesis.
func New(t testing.TB, c Config) *Net {
	t.Helper()
	if c.Genesis == "" {
		c.Genesis = "{}"
	}
	n := &Net{t: t, config: c, Now: GenesisTime}
	n.a, n.b = n.start(onDatabase(), 0), n.start(inMemory(), 3)
	rootA := n.genesis(n.a, c.Genesis)
	rootB := n.genesis(n.b, shuffled(t, c.Genesis))
	if !bytes.Equal(rootA, rootB) {
		t.Fatalf("genesis roots differ when lists are shuffled: %x and %x", rootA, rootB)
	}
	n.Block()
	return n
}

func (n *Net) start(on store, workers int) *instance {
	n.t.Helper()
	tree, err := on()
	if err != nil {
		n.t.Fatal(err)
	}
	modules := n.config.Modules()
	var auth chain.Authenticator = Actors{}
	if n.config.Authenticator != nil {
		auth = n.config.Authenticator(modules)
	}
	var screen chain.Screen
	if n.config.Screen != nil {
		screen = n.config.Screen(modules)
	}
	var migrations []chain.Migration
	if n.config.Migrations != nil {
		migrations = n.config.Migrations(modules)
	}
	app, err := chain.New(chain.Options{
		ChainID: ChainID, Tree: tree, Authenticator: auth, Screen: screen, Modules: modules,
		Oldest: n.config.Oldest, Migrations: migrations, Validators: n.config.Validators,
		Rand: rand.New(rand.NewSource(1)), Workers: workers, Partial: n.config.Partial,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return &instance{store: on, workers: workers, app: app}
}

// keepOpen is a database that survives the restart of an instance.
type keepOpen struct{ *dbm.MemDB }

func (keepOpen) Close() error { return nil }

func (n *Net) genesis(i *instance, raw string) []byte {
	n.t.Helper()
	root, _, err := i.app.InitGenesis(chain.Header{Height: 1, Time: GenesisTime}, json.RawMessage(raw))
	if err != nil {
		n.t.Fatal(err)
	}
	return root
}

// shuffled reorders the lists directly in each section.
func shuffled(t testing.TB, raw string) string {
	t.Helper()
	var sections map[string]map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &sections); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewSource(2))
	for _, section := range sections {
		for name, field := range section {
			var list []json.RawMessage
			if json.Unmarshal(field, &list) != nil {
				continue
			}
			r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			section[name], _ = json.Marshal(list)
		}
	}
	out, _ := json.Marshal(sections)
	return string(out)
}

// Block executes the transactions on both instances, BlockTime after the last
// one, and returns their results. A transaction refused at the door fails the test.
func (n *Net) Block(raws ...[]byte) []*chainv1.TxResult {
	n.t.Helper()
	if n.Height() > 0 {
		n.Now += BlockTime
	}
	header := chain.Header{Height: n.Height() + 1, Time: n.Now}
	blockA, rootA := n.execute(n.a, header, raws)
	blockB, rootB := n.execute(n.b, header, raws)
	n.compare("first execution", blockA, rootA, blockB, rootB)
	n.b = n.restart(n.b)
	blockB, rootB = n.execute(n.b, header, raws)
	n.compare("execution after a restart between Apply and Commit", blockA, rootA, blockB, rootB)
	for _, i := range []*instance{n.a, n.b} {
		if err := i.app.Commit(); err != nil {
			n.t.Fatal(err)
		}
		if !bytes.Equal(i.app.Tree().Root(), rootA) {
			n.t.Fatalf("block %d: the committed root is not the applied one", header.Height)
		}
	}
	n.Misbehaviour = nil
	return blockA.Record.Txs
}

func (n *Net) restart(i *instance) *instance {
	n.t.Helper()
	fresh := n.start(i.store, i.workers)
	if fresh.app.Tree().Version() == 0 {
		n.genesis(fresh, n.config.Genesis)
	}
	return fresh
}

func (n *Net) execute(i *instance, h chain.Header, raws [][]byte) (*chain.Block, []byte) {
	n.t.Helper()
	x := i.app.Begin(h)
	x.Report(n.Misbehaviour)
	ds := make([]*tx.Decoded, len(raws))
	for k, raw := range raws {
		var err error
		if ds[k], err = i.app.Decode(raw); err != nil {
			n.t.Fatalf("block %d, transaction %d: %v", h.Height, k, err)
		}
	}
	if i.workers > 0 {
		x.Foresee(ds, nil)
	}
	for k, d := range ds {
		if _, err := x.Deliver(d); err != nil {
			n.t.Fatalf("block %d, transaction %d: %v", h.Height, k, err)
		}
	}
	block := x.End()
	root, err := i.app.Apply(block)
	if err != nil {
		n.t.Fatal(err)
	}
	return block, root
}

func (n *Net) compare(when string, a *chain.Block, rootA []byte, b *chain.Block, rootB []byte) {
	n.t.Helper()
	if !a.Record.EqualVT(b.Record) {
		n.t.Fatalf("block %d: results differ at %s:\n%v\n%v", a.Header.Height, when, a.Record, b.Record)
	}
	if !bytes.Equal(rootA, rootB) {
		n.t.Fatalf("block %d: roots differ at %s: %x and %x", a.Header.Height, when, rootA, rootB)
	}
}

// Height is the latest block.
func (n *Net) Height() int64 { return n.a.app.Tree().Version() }

// App is the first instance.
func (n *Net) App() *chain.App { return n.a.app }

// Root is the latest root hash.
func (n *Net) Root() []byte { return n.a.app.Tree().Root() }

// View is the latest state.
func (n *Net) View() chain.ReadCtx { return n.ViewAt(0) }

// ViewAt is the state at a height.
func (n *Net) ViewAt(height int64) chain.ReadCtx {
	n.t.Helper()
	v, _, err := n.a.app.View(height)
	if err != nil {
		n.t.Fatal(err)
	}
	return v
}

// At implements chain.Snapshots over the latest state.
func (n *Net) At(context.Context) (chain.ReadCtx, error) { return n.View(), nil }

// Tx builds a transaction of the author signed with the given actors' keys, by
// default the author's own.
func (n *Net) Tx(author string, messages []proto.Message, signers ...tx.Signer) []byte {
	n.t.Helper()
	if len(signers) == 0 {
		signers = []tx.Signer{Actor(author)}
	}
	n.salt++
	salt := make([]byte, tx.SaltSize)
	binary.BigEndian.PutUint64(salt, n.salt)
	raw, _, err := tx.Draft{
		ChainID: ChainID, Author: author, ValidUntil: n.Now + Validity, Salt: salt, Messages: messages,
	}.Sign(signers...)
	if err != nil {
		n.t.Fatal(err)
	}
	return raw
}

// Do runs one transaction of the author in a block of its own; it must succeed.
func (n *Net) Do(author string, messages ...proto.Message) *chainv1.TxResult {
	n.t.Helper()
	r := n.Block(n.Tx(author, messages))[0]
	if r.Code != 0 {
		n.t.Fatalf("%s: %s", author, r.Log)
	}
	return r
}

// Fails runs one transaction of the author in a block of its own; it must be
// refused at the door or fail with the error want.
func (n *Net) Fails(want *errs.Error, author string, messages ...proto.Message) {
	n.t.Helper()
	n.FailsRaw(want, n.Tx(author, messages))
}

// FailsRaw is Fails for the bytes of a transaction.
func (n *Net) FailsRaw(want *errs.Error, raw []byte) {
	n.t.Helper()
	d, err := n.a.app.Decode(raw)
	if err == nil {
		_, err = n.a.app.Next().Deliver(d)
	}
	if err != nil {
		if e := errs.As(err); !e.Is(want) {
			n.t.Fatalf("refused with %v, want %v", err, want)
		}
		return
	}
	r := n.Block(raw)[0]
	if r.Codespace != want.Module || r.Code != want.Code {
		n.t.Fatalf("result %s/%d %s, want %v", r.Codespace, r.Code, r.Log, want)
	}
}

// Events unmarshals the events of type E in a result.
func Events[E any, P interface {
	*E
	proto.Message
}](t testing.TB, r *chainv1.TxResult) []P {
	t.Helper()
	name := string(P(new(E)).ProtoReflect().Descriptor().FullName())
	var out []P
	for _, e := range r.Events {
		if e.Type != name {
			continue
		}
		m := P(new(E))
		if err := proto.Unmarshal(e.Value, m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// Response unmarshals the response of the only message of a result.
func Response[R any, P interface {
	*R
	proto.Message
}](t testing.TB, r *chainv1.TxResult) P {
	t.Helper()
	m := P(new(R))
	if err := chain.ResponseOf(r, 0, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// CheckGenesis exports the state, imports it into a fresh chain and exports that:
// both exports must be the same bytes.
func (n *Net) CheckGenesis() json.RawMessage {
	n.t.Helper()
	first, err := n.a.app.ExportGenesis(n.View())
	if err != nil {
		n.t.Fatal(err)
	}
	c := n.config
	c.Genesis = string(first)
	again := New(n.t, c)
	second, err := again.a.app.ExportGenesis(again.View())
	if err != nil {
		n.t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		n.t.Fatalf("genesis export, import, export differs:\n%s\n%s", first, second)
	}
	return first
}

// Actors is an Authenticator for tests of modules other than identity: every DID
// exists, has the one key of Actor, and may act for itself alone, except that the
// consortium's transactions are signed with the consortium's key.
type Actors struct{}

// Consortium implements chain.Authenticator.
func (Actors) Consortium() string { return Consortium }

// Organisation implements chain.Authenticator.
func (Actors) Organisation(_ chain.ReadCtx, name string) (string, bool) {
	return OrganisationOf(name), true
}

// Authenticate implements chain.Authenticator.
func (Actors) Authenticate(_ chain.ReadCtx, c chain.Claim) (chain.Authority, error) {
	var a chain.Authority
	for _, url := range c.Keys {
		did, _, _ := strings.Cut(url, "#")
		a.Signers = append(a.Signers, did)
		a.Keys = append(a.Keys, Actor(did).signer.Public())
	}
	if !slices.Contains(a.Signers, c.Author) {
		return a, chain.ErrBadSignature.With("the author did not sign")
	}
	a.Organisation = OrganisationOf(c.Author)
	return a, nil
}

// OrganisationOf is the organisation in a test DID: did:chancery:ORG or
// did:chancery:ORG:ID.
func OrganisationOf(did string) string {
	parts := strings.SplitN(did, ":", 4)
	if len(parts) < 3 {
		return did
	}
	return strings.Join(parts[:3], ":")
}

// Key is a test signer.
type Key struct {
	url    string
	signer keys.Signer
}

// Actor is the Ed25519 key of a DID in tests, derived from it; its URL is the DID
// with #key-1.
func Actor(did string) Key { return Named(did+"#key-1", keys.Ed25519, did) }

// Named is a key of a type derived from a seed text, with a URL.
func Named(url string, t keys.Type, seed string) Key {
	sum := sha256.Sum256([]byte("chaintest/" + seed))
	s, err := keys.NewSigner(t, sum[:])
	if err != nil {
		panic(fmt.Sprintf("chaintest: %v", err))
	}
	return Key{url: url, signer: s}
}

// KeyURL implements tx.Signer.
func (k Key) KeyURL() string { return k.url }

// Sign implements tx.Signer.
func (k Key) Sign(msg []byte) ([]byte, error) { return k.signer.Sign(msg) }

// Public is the key that verifies.
func (k Key) Public() keys.Public { return k.signer.Public() }
