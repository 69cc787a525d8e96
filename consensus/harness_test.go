package consensus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/records"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// probe is a module without messages. Its genesis binds one validator, and its
// EndBlock counts executions and runs a hook.
type probe struct {
	schema    *state.Schema
	validator keys.Public
	executed  map[int64]int
	hook      func(height int64)
	blobs     state.Map[uint64, string]
	grow      int // bytes that each of the first ten blocks adds to the state
}

func newProbe() *probe {
	schema := state.NewSchema("probe", 0x70)
	return &probe{
		schema: schema, validator: chaintest.Actor("did:chancery:validator").Public(),
		executed: make(map[int64]int), blobs: state.NewMap(schema, 0x01, "blobs", state.Uint64, state.StringValue),
	}
}

func (p *probe) Name() string          { return "probe" }
func (p *probe) Schema() *state.Schema { return p.schema }
func (p *probe) Routes() []chain.Route { return nil }
func (p *probe) InitGenesis(ctx *chain.Ctx, _ json.RawMessage) error {
	ctx.UpdateValidator(chain.ValidatorUpdate{Key: p.validator, Power: 10})
	return nil
}
func (p *probe) ExportGenesis(state.Reader) (proto.Message, error) { return &chainv1.Genesis{}, nil }
func (p *probe) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {
}

// Misbehaved writes down and tells what it is told.
func (p *probe) Misbehaved(ctx *chain.Ctx, of []*chainv1.Misbehaviour) {
	for _, m := range of {
		raw, err := m.MarshalVT()
		if err != nil {
			panic(err)
		}
		ctx.Set(misbehavedKey, raw)
		ctx.Emit(m)
	}
}

// misbehavedKey is where a probe writes what it was told last.
var misbehavedKey = []byte{0x70, 0x01}

func (p *probe) EndBlock(ctx *chain.Ctx) {
	p.executed[ctx.Height()]++
	if p.grow > 0 && ctx.Height() <= 10 {
		p.blobs.Put(ctx, uint64(ctx.Height()), strings.Repeat(string(rune('a'+ctx.Height()%26)), p.grow))
	}
	if p.hook != nil {
		p.hook(ctx.Height())
	}
}

type everybody struct{}

func (everybody) NodeAllowed(_ chain.ReadCtx, id string) bool { return id != "stranger" }

func (everybody) NodeOrganisation(chain.ReadCtx, string) (string, bool) { return "", false }

func (everybody) Validators(chain.ReadCtx) []*identityv1.Validator {
	var out []*identityv1.Validator
	for _, v := range voters {
		out = append(out, &identityv1.Validator{PublicKey: v.PubKey().Bytes()})
	}
	return out
}

// Powers implements chain.Validators: each has 10.
func (e everybody) Powers(r chain.ReadCtx) ([]chain.Power, int64) {
	return powersOf(e.Validators(r), func(i int) int64 { return 10 })
}

// powersOf are validators as the chain sees them.
func powersOf(list []*identityv1.Validator, power func(i int) int64) (out []chain.Power, total int64) {
	for i, v := range list {
		sum := sha256.Sum256(v.PublicKey)
		out = append(out, chain.Power{Address: [20]byte(sum[:20]), Power: power(i)})
		total += power(i)
	}
	slices.SortFunc(out, func(a, b chain.Power) int { return bytes.Compare(a.Address[:], b.Address[:]) })
	return out, total
}

// voters are the validators that everybody knows.
var voters = []ed25519.PrivKey{
	ed25519.GenPrivKeyFromSecret([]byte("one")), ed25519.GenPrivKeyFromSecret([]byte("two")), ed25519.GenPrivKeyFromSecret([]byte("three")),
}

// block is transactions behind the docket of a chain that judges nothing.
func (h *host) block(raws ...[]byte) [][]byte {
	return append([][]byte{h.app.Next().Docket(0, nil)}, raws...)
}

// host is an application with its databases.
type host struct {
	*application
	probe   *probe
	screen  chain.Screen
	stateDB dbm.DB
	logDB   dbm.DB
	now     time.Time
}

// kept is a database that outlives its owner's Close.
type kept struct{ dbm.DB }

func (kept) Close() error { return nil }

func newHost(t testing.TB) *host { return newScreenedHost(t, nil) }

func newScreenedHost(t testing.TB, screen chain.Screen) *host {
	h := &host{screen: screen, stateDB: dbm.NewMemDB(), logDB: dbm.NewMemDB(), now: time.UnixMilli(chaintest.GenesisTime)}
	h.open(t)
	if _, err := h.InitChain(context.Background(), initChain()); err != nil {
		t.Fatal(err)
	}
	h.commit(t, h.decide(t, h.block()))
	return h
}

func initChain() *abci.RequestInitChain {
	return &abci.RequestInitChain{
		ChainId: chaintest.ChainID, InitialHeight: 1, Time: time.UnixMilli(chaintest.GenesisTime), AppStateBytes: []byte("{}"),
		ConsensusParams: &cmtproto.ConsensusParams{Abci: &cmtproto.ABCIParams{VoteExtensionsEnableHeight: 1}},
	}
}

// open builds the application over the databases, as a start of the node does.
func (h *host) open(t testing.TB) {
	t.Helper()
	tree, err := state.OpenIAVL(kept{h.stateDB}, state.IAVLOptions{NoSync: true, NodeCache: 1000, ValueCache: 100})
	if err != nil {
		t.Fatal(err)
	}
	h.probe = newProbe()
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Screen: h.screen, Validators: everybody{},
		Modules: []chain.Module{h.probe}, Rand: rand.New(rand.NewSource(1)), Workers: 3, Partial: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := records.Open(kept{h.logDB}, true)
	if err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(nil)
	h.application = &application{
		app: app, pool: NewPool(app, DefaultPoolOptions(), metrics), metrics: metrics, records: log,
		membership: everybody{}, most: 1 << 20, log: slog.New(slog.DiscardHandler), build: time.Second,
		self: func() types.Address { return nil },
	}
}

func (h *host) height() int64 { return h.app.Tree().Version() }

// prepare proposes the next block from the pool.
func (h *host) prepare(t testing.TB) [][]byte {
	t.Helper()
	res, err := h.PrepareProposal(context.Background(), &abci.RequestPrepareProposal{
		Height: h.height() + 1, Time: h.now, MaxTxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return res.Txs
}

// accepts runs ProcessProposal.
func (h *host) accepts(t testing.TB, txs [][]byte) bool {
	t.Helper()
	res, err := h.ProcessProposal(context.Background(), &abci.RequestProcessProposal{
		Height: h.height() + 1, Time: h.now, Txs: txs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return res.Status == abci.ResponseProcessProposal_ACCEPT
}

// decide runs FinalizeBlock.
func (h *host) decide(t testing.TB, txs [][]byte) *abci.ResponseFinalizeBlock {
	t.Helper()
	res, err := h.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{
		Height: h.height() + 1, Time: h.now, Txs: txs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (h *host) commit(t testing.TB, _ *abci.ResponseFinalizeBlock) {
	t.Helper()
	if _, err := h.Commit(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(time.Second)
}

var salt uint64

// setParams is a transaction of about 150 bytes that any actor may submit and the
// consortium's alone succeeds.
func setParams(author string, validUntil int64) []byte {
	salt++
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: author, ValidUntil: validUntil,
		Salt:     binary.BigEndian.AppendUint64(make([]byte, 8), salt),
		Messages: []proto.Message{&chainv1.SetParams{Params: chain.DefaultParams()}},
	}.Sign(chaintest.Actor(author))
	if err != nil {
		panic(err)
	}
	return raw
}

// admit puts transactions into the pool without the checks of admission, as if the
// state had moved since.
func (h *host) force(t testing.TB, raws ...[]byte) {
	t.Helper()
	for _, raw := range raws {
		d, err := h.app.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		_ = h.pool.place(d, chaintest.OrganisationOf(d.Body.Author), false) // a full lane is no fault here
	}
}

func queryPeer(id string) *abci.RequestQuery { return &abci.RequestQuery{Path: filterID + id} }
