package threat

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	house  = "did:chancery:house" // the organisation of those who are held
	north  = "did:chancery:north"
	south  = "did:chancery:south"
	east   = "did:chancery:east"
	nobody = "did:chancery:nobody" // runs no validator

	suspect = house + ":suspect"
	runner  = house + ":runner" // has the test's own steps executed

	held     = threatv1.HoldStatus_HOLD_STATUS_HELD
	denied   = threatv1.HoldStatus_HOLD_STATUS_DENIED
	released = threatv1.HoldStatus_HOLD_STATUS_RELEASED
	failed   = threatv1.HoldStatus_HOLD_STATUS_FAILED
	rejected = threatv1.HoldStatus_HOLD_STATUS_REJECTED
	expired  = threatv1.HoldStatus_HOLD_STATUS_EXPIRED
)

func adminOf(organisation string) string    { return organisation + ":admin" }
func reviewerOf(organisation string) string { return organisation + ":reviewer" }

// houses is an Identity in which a DID's form says what it is.
type houses struct {
	organisations []string // those that run a validator
	inactive      map[string]bool
}

func (h *houses) Active(_ chain.ReadCtx, did string) bool {
	return !h.inactive[did] && !h.inactive[chaintest.OrganisationOf(did)]
}

func (h *houses) Organisation(_ chain.ReadCtx, did string) (string, bool) {
	return chaintest.OrganisationOf(did), strings.HasPrefix(did, "did:chancery:")
}

func (h *houses) Kind(_ chain.ReadCtx, did string) (string, bool) {
	_, id, member := strings.Cut(strings.TrimPrefix(did, "did:chancery:"), ":")
	switch {
	case did == chaintest.Consortium:
		return "consortium", true
	case !member:
		return "organisation", true
	case strings.HasPrefix(id, "robot"):
		return "service", true
	}
	return "person", true
}

func (h *houses) Roles(_ chain.ReadCtx, did string) []string {
	if strings.Contains(did, "reviewer") {
		return []string{RoleReviewer}
	}
	return nil
}

func (h *houses) IsAdministrator(r chain.ReadCtx, organisation, did string) bool {
	return chaintest.OrganisationOf(did) == organisation && strings.Contains(did, "admin") && h.Active(r, did)
}

func (h *houses) Consortium() string { return chaintest.Consortium }

func (h *houses) Powers(chain.ReadCtx) (out []Power, total int64) {
	for i, o := range h.organisations {
		out = append(out, Power{Address: [20]byte{byte(i)}, Organisation: o, Power: 10})
	}
	return out, int64(10 * len(out))
}

func (h *houses) Ages(chain.ReadCtx, string) (identity, key int64, ok bool) { return 0, 0, true }
func (h *houses) SuspendFor(*chain.Ctx, string) bool                        { return false }
func (h *houses) ReinstateFrom(*chain.Ctx, string) bool                     { return false }

// doors is an Access in which principals whose name begins with medic have a break-glass
// open for resources of type Emergency.
type doors struct{}

func (doors) RevokeGrants(*chain.Ctx, string, int) int { return 0 }

// Kin is what stands before a stroke in a resource's id.
func (doors) Kin(_ chain.ReadCtx, _ string, uid *accessv1.EntityUid) (*accessv1.EntityUid, bool) {
	ward, _, ok := strings.Cut(uid.GetId(), "/")
	return &accessv1.EntityUid{Type: "Ward", Id: ward}, ok
}

func (doors) GlassOpen(_ chain.ReadCtx, q *accessv1.Request) bool {
	return strings.Contains(q.Principal, ":medic") && q.Resource.GetType() == "Emergency"
}

// notary is an Executor that writes how often it executed what, and refuses the
// transactions of those that are not active.
type notary struct {
	m      *Module
	houses *houses
}

func (n notary) ExecuteKept(ctx *chain.Ctx, raw []byte) ([][]byte, error) {
	d, err := tx.Decode(raw)
	if err != nil {
		return nil, err
	}
	if !n.houses.Active(ctx, d.Body.Author) {
		return nil, chain.ErrBadSignature.With("%s is suspended", d.Body.Author)
	}
	t, ok := n.m.traces.Lookup(ctx, ranKey(d.ID[:]))
	if !ok {
		t = new(trace)
	}
	t.history.Count++
	n.m.traces.Put(ctx, ranKey(d.ID[:]), t)
	ctx.Emit(&threatv1.BreakerClosed{})
	return [][]byte{{1, 2, 3}}, nil
}

func ranKey(id []byte) string { return "ran:" + hex.EncodeToString(id) }

// desk is a chain on which the parts of the module that are about holds and models run,
// with steps of the test between them.
type desk struct {
	*chaintest.Net
	t      testing.TB
	m      *Module
	houses *houses
	steps  []func(*chain.Ctx, *Module) error
}

func deskParams() *threatv1.Params {
	return &threatv1.Params{
		Mode: threatv1.Mode_MODE_ENFORCE, Reviewers: 2, HoldMs: 10_000, AppealMs: 20_000,
		MaxHeld: 8, MaxHeldOrganisation: 4, MaxHeldBytes: 100_000, MaxScoreWork: 1 << 40,
	}
}

func newDesk(t testing.TB, change ...func(*threatv1.Params)) *desk {
	t.Helper()
	p := deskParams()
	for _, c := range change {
		c(p)
	}
	return openDesk(t, &threatv1.Genesis{Params: p})
}

func openDesk(t testing.TB, g *threatv1.Genesis) *desk {
	t.Helper()
	d := &desk{t: t, houses: &houses{organisations: []string{house, north, south, east}, inactive: map[string]bool{}}}
	section, err := protojson.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	d.Net = chaintest.New(t, chaintest.Config{
		Partial: true, Genesis: fmt.Sprintf(`{"threat": %s}`, section),
		Modules: func() []chain.Module {
			m := New(Deps{Identity: d.houses, Access: doors{}})
			m.executor = notary{m: m, houses: d.houses}
			d.m = m
			return []chain.Module{deskModule{d: d, m: m}}
		},
	})
	return d
}

// deskModule is the parts of a Module that a desk is about.
type deskModule struct {
	d *desk
	m *Module
}

func (x deskModule) Name() string                                           { return "threat" }
func (x deskModule) Schema() *state.Schema                                  { return x.m.schema }
func (x deskModule) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}

func (x deskModule) Routes() []chain.Route {
	step := chain.Handle(chain.Handler[*threatv1.RebaseAnchors]{
		Execute: func(ctx *chain.Ctx, msg *threatv1.RebaseAnchors) (proto.Message, error) {
			var i int
			if _, err := fmt.Sscan(msg.Actors[0], &i); err != nil {
				return nil, err
			}
			return &threatv1.RebaseAnchorsResponse{}, x.d.steps[i](ctx, x.m)
		},
	})
	return append(append(x.m.holdRoutes(), x.m.modelRoutes()...), step)
}

func (x deskModule) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(threatv1.Genesis)
	if err := protojson.Unmarshal(raw, g); err != nil {
		return err
	}
	x.m.params.Put(ctx, g.Params)
	for _, t := range g.Traces {
		own, err := readTrace(t.Trace)
		if err != nil {
			return err
		}
		x.m.traces.Put(ctx, t.Subject, own)
	}
	if err := x.m.importModels(ctx, g.Models, g.Schedule); err != nil {
		return err
	}
	return x.m.importHolds(ctx, g.Holds)
}

func (x deskModule) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := &threatv1.Genesis{Holds: x.m.exportHolds(r)}
	g.Params, _ = x.m.params.Lookup(r)
	g.Models, g.Schedule = x.m.exportModels(r)
	for k, t := range x.m.traces.Walk(r, state.All()) {
		g.Traces = append(g.Traces, &threatv1.GenesisTrace{Subject: k, Trace: t.message()})
	}
	return g, nil
}

func (x deskModule) EndBlock(ctx *chain.Ctx) {
	x.m.endHolds(ctx)
	x.m.endModels(ctx)
}

// step runs fn within a transaction in a block of its own. It is run by every
// instance, so it may touch nothing but the state.
func (d *desk) step(fn func(*chain.Ctx, *Module) error) *chainv1.TxResult {
	d.t.Helper()
	return d.Block(d.stepTx(fn))[0]
}

func (d *desk) stepTx(fn func(*chain.Ctx, *Module) error) []byte {
	d.t.Helper()
	d.steps = append(d.steps, fn)
	return d.Tx(runner, []proto.Message{&threatv1.RebaseAnchors{Actors: []string{fmt.Sprint(len(d.steps) - 1)}}})
}

// keeping is how a transaction is kept.
type keeping struct {
	ruling    chainv1.Ruling
	model     []byte
	other     *otherVerdict
	playbook  string
	approvals uint32
	signers   []tx.Signer
}

// candidate is a transaction of an author that passed the door.
func (d *desk) candidate(author string, k keeping, messages ...proto.Message) *chain.Candidate {
	d.t.Helper()
	if len(messages) == 0 {
		messages = []proto.Message{&accessv1.Revoke{DecisionId: make([]byte, 32)}}
	}
	c := &chain.Candidate{Authority: chain.Authority{Organisation: chaintest.OrganisationOf(author), Signers: []string{author}}}
	for _, s := range k.signers {
		did, _, _ := strings.Cut(s.KeyURL(), "#")
		c.Authority.Signers = append(c.Authority.Signers, did)
	}
	var err error
	if c.Decoded, err = d.App().Decode(d.Tx(author, messages, append([]tx.Signer{chaintest.Actor(author)}, k.signers...)...)); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// tryKeep keeps a candidate in a block of its own.
func (d *desk) tryKeep(c *chain.Candidate, k keeping) *chainv1.TxResult {
	d.t.Helper()
	if k.ruling == chainv1.Ruling_RULING_UNSPECIFIED {
		k.ruling = chainv1.Ruling_RULING_HOLD
	}
	return d.step(func(ctx *chain.Ctx, m *Module) error {
		v := &chainv1.Verdict{Ruling: k.ruling, Score: 9000, Drivers: []*chainv1.Driver{{Part: 1, Feature: 3, Value: -7, Points: 9000}}}
		return m.keep(ctx, c, v, k.model, k.other, k.playbook, k.approvals)
	})
}

// keeps keeps a transaction of an author, which must succeed, and returns its id.
func (d *desk) keeps(author string, k keeping, messages ...proto.Message) []byte {
	d.t.Helper()
	c := d.candidate(author, k, messages...)
	if r := d.tryKeep(c, k); r.Code != 0 {
		d.t.Fatalf("not kept: %s", r.Log)
	}
	return c.ID[:]
}

func (d *desk) holdOf(id []byte) *threatv1.Hold {
	d.t.Helper()
	h, ok := d.m.holds.Lookup(d.View(), id)
	if !ok {
		d.t.Fatalf("no record of %x", id)
	}
	return h
}

func (d *desk) wantStatus(id []byte, want threatv1.HoldStatus) {
	d.t.Helper()
	if got := d.holdOf(id).Status; got != want {
		d.t.Fatalf("%x is %s, want %s", id, got, want)
	}
}

// wantKept says whether a transaction's bytes must be there.
func (d *desk) wantKept(id []byte, want bool) {
	d.t.Helper()
	if d.m.kept.Has(d.View(), id) != want {
		d.t.Fatalf("bytes of %x: want them kept %v", id, want)
	}
}

// ran is how often a transaction was executed.
func (d *desk) ran(id []byte) uint64 {
	if t, ok := d.m.traces.Lookup(d.View(), ranKey(id)); ok {
		return t.history.Count
	}
	return 0
}

// pass lets time pass, and a block.
func (d *desk) pass(ms int64) {
	d.t.Helper()
	d.Now += ms - chaintest.BlockTime
	d.Block()
}

func (d *desk) queries() *queries { return &queries{m: d.m, at: d.Net} }

// audit checks what must hold of the state at any time: what is counted is what is
// there, within the budget, and each record is found by its indexes.
func (d *desk) audit() {
	d.t.Helper()
	r := d.View()
	p := d.m.paramsIn(r)
	want := map[string]*threatv1.HoldTotals{}
	due := 0
	for id, k := range d.m.kept.Walk(r, state.All()) {
		h, ok := d.m.holds.Lookup(r, id)
		if !ok || !waits(h.Status) || int(h.Size) != len(k.Raw) {
			d.t.Fatalf("bytes of %x are kept: %v", id, h)
		}
		if !d.m.holdsDue.Has(r, state.Join(h.ExpiresAt, id)) {
			d.t.Fatalf("%x is never due", id)
		}
		due++
		for _, o := range []string{everyone, h.Organisation} {
			if want[o] == nil {
				want[o] = new(threatv1.HoldTotals)
			}
			want[o].Count++
			want[o].Bytes += uint64(len(k.Raw))
		}
	}
	for range d.m.holdsDue.Walk(r, state.All()) {
		due--
	}
	if due != 0 {
		d.t.Fatalf("%d more are due than are kept", -due)
	}
	n := 0
	for o, got := range d.m.totals.Walk(r, state.All()) {
		n++
		if !proto.Equal(got, want[o]) {
			d.t.Fatalf("totals of %q are %v, want %v", o, got, want[o])
		}
		switch most := min(p.MaxHeldOrganisation, p.MaxHeld); {
		case got.Count > p.MaxHeld || got.Bytes > p.MaxHeldBytes, o != everyone && (got.Count > most || got.Bytes > shareOf(p)):
			d.t.Fatalf("totals of %q are beyond the budget: %v", o, got)
		}
	}
	if n != len(want) {
		d.t.Fatalf("%d totals, want %d", n, len(want))
	}
	for id, h := range d.m.holds.Walk(r, state.All()) {
		if !d.m.holdsAt.Has(r, state.Join(h.Height, id)) || !d.m.holdsOf.Has(r, state.Join3(h.Organisation, h.Height, id)) {
			d.t.Fatalf("%x is not in the indexes", id)
		}
		if h.Status == held && !d.m.kept.Has(r, id) {
			d.t.Fatalf("%x is held and its bytes are gone", id)
		}
		ran := d.ran(id)
		if want := h.Status == released; ran > 1 || (ran == 1) != want {
			d.t.Fatalf("%x is %s and was executed %d times", id, h.Status, ran)
		}
	}
}

func soleEvent[E any, P interface {
	*E
	proto.Message
}](t testing.TB, r *chainv1.TxResult) P {
	t.Helper()
	all := chaintest.Events[E, P](t, r)
	if len(all) != 1 {
		t.Fatalf("%d events %T, want 1", len(all), P(new(E)))
	}
	return all[0]
}

func wantError(t testing.TB, err error, want *errs.Error) {
	t.Helper()
	if err == nil || !errs.As(err).Is(want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func releaseOf(id []byte) *threatv1.Release { return &threatv1.Release{TxId: id} }
func rejectOf(id []byte) *threatv1.Reject   { return &threatv1.Reject{TxId: id} }
func appealOf(id []byte) *threatv1.Appeal {
	return &threatv1.Appeal{Against: &threatv1.Appeal_TxId{TxId: id}, TextHash: slices.Repeat([]byte{7}, 32)}
}

func protoList(m ...proto.Message) []proto.Message { return m }
