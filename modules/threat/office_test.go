package threat

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/threat/features"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// The people of these tests: four organisations with a validator each, and some of
// them with members.
const (
	alder  = "did:chancery:alder" // acts by its administrators
	birch  = "did:chancery:birch" // acts by its own key
	cypres = "did:chancery:cypress"
	dogwd  = "did:chancery:dogwood"

	amy = alder + ":amy" // a nurse
	abe = alder + ":abe" // administrators
	ada = alder + ":ada"
	bob = birch + ":bob" // administrators of the others
	cat = cypres + ":cat"
	dan = dogwd + ":dan"
)

// census is what the tests' identity knows, shared by both instances and changed
// between blocks alone.
type census struct {
	kinds  map[string]string
	admins []string
	roles  map[string][]string
	powers []Power
	// keys is when the newest key was added, 0 for none.
	keys map[string]int64
	// needed are those without whom too few would be left.
	needed []string
}

func newCensus() *census {
	c := &census{
		kinds: map[string]string{
			chaintest.Consortium: "consortium", alder: "organisation", birch: "organisation", cypres: "organisation", dogwd: "organisation",
			amy: "person", abe: "person", ada: "person", bob: "person", cat: "person", dan: "person",
		},
		admins: []string{abe, ada, bob, cat, dan},
		roles:  map[string][]string{amy: {"nurse"}},
		keys:   map[string]int64{},
	}
	for _, did := range []string{birch, cypres, dogwd, amy, abe, ada, bob, cat, dan} {
		c.keys[did] = chaintest.GenesisTime - 1000
	}
	for _, organisation := range []string{alder, birch, cypres, dogwd} {
		c.powers = append(c.powers, Power{Address: addressOf(organisation), Organisation: organisation, Power: 10})
	}
	c.sort()
	return c
}

func (c *census) sort() {
	slices.SortFunc(c.powers, func(a, b Power) int { return strings.Compare(string(a.Address[:]), string(b.Address[:])) })
}

func addressOf(name string) [20]byte {
	sum := sha256.Sum256([]byte("validator/" + name))
	return [20]byte(sum[:20])
}

// folk is identity and access for the module, and a module of its own: whom the sentinel
// suspended and whose grants it revoked is state.
type folk struct {
	*census
	schema    *state.Schema
	suspended state.Index[string]
	revoked   state.Map[string, uint64]
}

func newFolk(c *census) *folk {
	s := state.NewSchema("folk", 0x7E)
	return &folk{
		census: c, schema: s,
		suspended: state.NewIndex(s, 0x01, "suspended", state.String),
		revoked:   state.NewMap(s, 0x02, "revoked", state.String, state.Uint64Value),
	}
}

func (f *folk) Name() string                                           { return "folk" }
func (f *folk) Schema() *state.Schema                                  { return f.schema }
func (f *folk) Routes() []chain.Route                                  { return nil }
func (f *folk) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}

func (f *folk) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(identityv1.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return err
	}
	for _, id := range g.Identities {
		f.suspended.Add(ctx, id.Did)
	}
	return nil
}

func (f *folk) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := new(identityv1.Genesis)
	for did := range f.suspended.Walk(r, state.All()) {
		g.Identities = append(g.Identities, &identityv1.Identity{Did: did})
	}
	return g, nil
}

func (f *folk) Active(r chain.ReadCtx, did string) bool {
	return f.kinds[did] != "" && !f.suspended.Has(r, did)
}

func (f *folk) Organisation(_ chain.ReadCtx, did string) (string, bool) {
	return chaintest.OrganisationOf(did), f.kinds[did] != ""
}

func (f *folk) Kind(_ chain.ReadCtx, did string) (string, bool) {
	return f.kinds[did], f.kinds[did] != ""
}

func (f *folk) Roles(_ chain.ReadCtx, did string) []string { return f.roles[did] }

func (f *folk) IsAdministrator(r chain.ReadCtx, organisation, did string) bool {
	return slices.Contains(f.admins, did) && chaintest.OrganisationOf(did) == organisation && f.Active(r, did)
}

func (f *folk) Consortium() string { return chaintest.Consortium }

func (f *folk) Powers(chain.ReadCtx) ([]Power, int64) {
	total := int64(0)
	for _, p := range f.powers {
		total += p.Power
	}
	return f.powers, total
}

func (f *folk) Ages(r chain.ReadCtx, did string) (identity, key int64, ok bool) {
	if f.kinds[did] == "" {
		return 0, 0, false
	}
	if f.keys[did] == 0 {
		return 5000, -1, true
	}
	return 5000, r.Time() - f.keys[did], true
}

func (f *folk) SuspendFor(ctx *chain.Ctx, did string) bool {
	if !f.Active(ctx, did) || slices.Contains(f.needed, did) {
		return false
	}
	f.suspended.Add(ctx, did)
	return true
}

func (f *folk) ReinstateFrom(ctx *chain.Ctx, did string) bool {
	if !f.suspended.Has(ctx, did) {
		return false
	}
	f.suspended.Remove(ctx, did)
	return true
}

func (f *folk) GlassOpen(chain.ReadCtx, *accessv1.Request) bool { return false }

func (f *folk) Kin(chain.ReadCtx, string, *accessv1.EntityUid) (*accessv1.EntityUid, bool) {
	return nil, false
}

func (f *folk) RevokeGrants(ctx *chain.Ctx, principal string, limit int) int {
	n, _ := f.revoked.Lookup(ctx, principal)
	f.revoked.Put(ctx, principal, n+1)
	return 3
}

// office is the module's part that these tests are about, as a module: playbooks,
// responses and opinions, with steps of the test at the end of blocks.
type office struct {
	m    *Module
	does map[int64]func(*Module, *chain.Ctx)
}

func (o *office) Name() string                                           { return "threat" }
func (o *office) Schema() *state.Schema                                  { return o.m.schema }
func (o *office) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}

func (o *office) Routes() []chain.Route {
	return append(o.m.responseRoutes(), chain.Handle(chain.Handler[*threatv1.Appeal]{
		Execute: func(ctx *chain.Ctx, msg *threatv1.Appeal) (proto.Message, error) {
			return &threatv1.AppealResponse{}, o.m.appealResponse(ctx, msg.GetResponseId(), &threatv1.AppealRecord{
				Author: ctx.Author(), TextHash: msg.TextHash, Time: ctx.Time(),
			})
		},
	}))
}

func (o *office) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(threatv1.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return err
	}
	if g.Params != nil {
		o.m.params.Put(ctx, g.Params)
	}
	return o.m.importResponses(ctx, g)
}

func (o *office) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := &threatv1.Genesis{Params: o.m.paramsIn(r)}
	o.m.exportResponses(r, g)
	return g, nil
}

func (o *office) EndBlock(ctx *chain.Ctx) {
	if do := o.does[ctx.Height()]; do != nil {
		do(o.m, ctx)
	}
	o.m.endResponses(ctx)
}

// town is a chain with an office.
type town struct {
	*chaintest.Net
	t testing.TB
	*census
	folk *folk
	m    *Module
	does map[int64]func(*Module, *chain.Ctx)
}

const (
	opinionMs  = int64(160_000)
	alarmScore = 6000
)

func newTown(t testing.TB, change ...func(*threatv1.Genesis)) *town {
	t.Helper()
	g := &threatv1.Genesis{Params: &threatv1.Params{
		Mode: threatv1.Mode_MODE_ENFORCE, Reviewers: 2, HoldMs: 60_000, AppealMs: 60_000, AlarmScore: alarmScore, MaxOpinionMs: opinionMs,
		MaxScoreWork: 1000, MaxHeld: 100, MaxHeldOrganisation: 100, MaxHeldBytes: 1 << 20, MaxPending: 1000,
		Breaker: &threatv1.Breaker{Window: 100, Rate: 5000, Actor: 5, RestMs: 60_000},
	}}
	for _, fn := range change {
		fn(g)
	}
	raw, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, census: newCensus(), does: map[int64]func(*Module, *chain.Ctx){}}
	w.folk = newFolk(w.census)
	w.m = New(Deps{Identity: w.folk, Access: w.folk})
	w.Net = chaintest.New(t, chaintest.Config{
		Partial: true, Genesis: `{"threat":` + string(raw) + `}`,
		Modules: func() []chain.Module {
			f := newFolk(w.census)
			return []chain.Module{f, &office{m: New(Deps{Identity: f, Access: f}), does: w.does}}
		},
	})
	return w
}

// step runs a step at the end of a block of its own. It runs once on each instance and
// once more after the restart of one of them, so it may not count.
func (w *town) step(do func(*Module, *chain.Ctx)) {
	w.t.Helper()
	w.does[w.Height()+1] = do
	w.Block()
}

// foresee is the events of a type that a step and the end of its block would emit.
func foresee[E any, P interface {
	*E
	proto.Message
}](w *town, do func(*Module, *chain.Ctx)) []P {
	w.t.Helper()
	height := w.Height() + 1
	w.does[height] = do
	defer delete(w.does, height)
	block := w.App().Begin(chain.Header{Height: height, Time: w.Now + chaintest.BlockTime}).End()
	return chaintest.Events[E, P](w.t, &chainv1.TxResult{Events: block.Record.Events})
}

// queries answer about the latest state.
func (w *town) queries() *queries { return &queries{m: w.m, at: w.Net} }

// suspected is a transaction of an author with a score, signed by the author or by the
// given signers.
func suspected(author string, score uint32, messages []proto.Message, signers ...string) *situation {
	if len(signers) == 0 {
		signers = []string{author}
	}
	s := &situation{verdict: &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_ADMIT, Score: score}, candidate: &chain.Candidate{
		Decoded: &tx.Decoded{
			ID: sha256.Sum256([]byte(author)), Body: &txv1.Body{Author: author}, Messages: messages, Raw: make([]byte, 300),
		},
		Authority: chain.Authority{Signers: signers, Organisation: chaintest.OrganisationOf(author)},
	}}
	for _, m := range messages {
		f, _ := features.Describe(m)
		s.facts = append(s.facts, f)
	}
	return s
}

// seen is the situation as the screening of a block that begins with r has it.
func (s *situation) seen(m *Module, r chain.ReadCtx) *situation {
	risks := &features.Context{
		Risk: uint8(m.CommonRisk(r, s.author())), OrganisationRisk: uint8(m.CommonRisk(r, s.candidate.Authority.Organisation)),
	}
	s.alarming, s.enforced, s.playbooks = alarming(m.paramsIn(r), s.verdict, risks), m.mode(r) == threatv1.Mode_MODE_ENFORCE, m.playbooksIn(r)
	return s
}

func decide(resource string) proto.Message {
	return &accessv1.Decide{Request: &accessv1.Request{
		Principal: amy, Organisation: birch, Purpose: "https://w3id.org/dpv#MedicalCare",
		Action: &accessv1.EntityUid{Type: "Action", Id: "read"}, Resource: &accessv1.EntityUid{Type: "Record", Id: resource},
	}}
}

func few(messages ...proto.Message) []proto.Message { return messages }
