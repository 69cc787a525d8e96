package chain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// later is a module of which version 2 brings a message, an end of block and records.
type later struct {
	*scratch
	fail error  // of the migration's last step
	mark string // what the migration writes
}

func newLater() *later {
	l := &later{mark: "two"}
	l.scratch = newScratch(func(ctx *chain.Ctx) {
		if ctx.Version() >= 2 {
			l.words.Put(ctx, fmt.Sprintf("end %d", ctx.Height()), &chainv1.Head{Height: ctx.Height()})
		}
	})
	return l
}

func (l *later) Routes() []chain.Route {
	put := func(ctx *chain.Ctx, word string) {
		l.words.Put(ctx, word, &chainv1.Head{Height: int64(ctx.Version())})
	}
	return []chain.Route{
		chain.Handle(chain.Handler[*identityv1.UnbindNode]{Execute: func(ctx *chain.Ctx, _ *identityv1.UnbindNode) (proto.Message, error) {
			put(ctx, "unbound")
			return &identityv1.UnbindNodeResponse{}, nil
		}}).Since(2),
		// It stands in for a message that holds others: here the one that version 2 brings.
		chain.Handle(chain.Handler[*identityv1.BindNode]{
			Holds: func(*identityv1.BindNode) []proto.Message { return []proto.Message{&identityv1.UnbindNode{}} },
			Execute: func(ctx *chain.Ctx, _ *identityv1.BindNode) (proto.Message, error) {
				put(ctx, "bound")
				return &identityv1.BindNodeResponse{}, nil
			},
		}),
	}
}

// migrations are those to version 2, of two steps, and to version 3.
func (l *later) migrations() []chain.Migration {
	write := func(word string) func(*chain.Ctx) error {
		return func(ctx *chain.Ctx) error {
			n := 0
			for range l.words.Walk(ctx, state.All()) {
				n++
			}
			l.words.Put(ctx, fmt.Sprintf("%d %s", n, word), &chainv1.Head{Height: ctx.Height(), Time: ctx.Time()})
			ctx.Emit(&chainv1.Head{Height: int64(ctx.Version())})
			return nil
		}
	}
	return []chain.Migration{
		{{Module: "scratch", Run: write("first of " + l.mark)}, {Module: "scratch", Run: func(ctx *chain.Ctx) error {
			if l.fail != nil {
				return l.fail
			}
			return write("second of two")(ctx)
		}}},
		{{Module: "scratch", Run: write("three")}},
	}
}

type powers []chain.Power

func (p powers) Powers(chain.ReadCtx) (out []chain.Power, total int64) {
	for _, x := range p {
		total += x.Power
	}
	return p, total
}

var electorate = powers{
	{Address: [20]byte{1}, Organisation: mercy, Power: 4},
	{Address: [20]byte{2}, Organisation: "did:chancery:acme", Power: 3},
	{Address: [20]byte{3}, Organisation: "did:chancery:quay", Power: 3},
}

// upgradable is a chain whose program knows so many migrations of a later module.
func upgradable(t testing.TB, known int, change func(*later)) *chaintest.Net {
	t.Helper()
	return chaintest.New(t, chaintest.Config{
		Partial: true, Validators: electorate,
		Modules: func() []chain.Module {
			l := newLater()
			change(l)
			return []chain.Module{l}
		},
		Migrations: func(m []chain.Module) []chain.Migration { return m[0].(*later).migrations()[:known] },
	})
}

func asIs(*later) {}

// asked is the core's query service over the latest state.
type asked struct{ chainv1.QueryServer }

func (a *asked) RegisterService(_ *grpc.ServiceDesc, service any) {
	a.QueryServer = service.(chainv1.QueryServer)
}

func ask(n *chaintest.Net) chainv1.QueryServer {
	a := new(asked)
	n.App().RegisterQueries(a, n)
	return a
}

func plan(n *chaintest.Net, change func(*chainv1.ScheduleUpgrade)) *chainv1.ScheduleUpgrade {
	m := &chainv1.ScheduleUpgrade{Name: "autumn-1.2", Height: n.Height() + 31, Version: 2, ChecksumsHash: make([]byte, 32)}
	change(m)
	return m
}

func planned(*chainv1.ScheduleUpgrade) {}

// until makes blocks up to a height.
func until(n *chaintest.Net, height int64) {
	for n.Height() < height {
		n.Block()
	}
}

func words(n *chaintest.Net) (out []string) {
	l := newLater()
	for w := range l.words.Walk(n.View(), state.All()) {
		out = append(out, w)
	}
	return out
}

func ended(t testing.TB, n *chaintest.Net, name string) *chainv1.Upgrade {
	t.Helper()
	r, err := ask(n).Upgrade(context.Background(), &chainv1.UpgradeRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r.Upgrade
}

// SPEC U1, U3: old rules up to the height, migrations in order at its beginning, new rules
// from its first transaction on.
func TestUpgrade(t *testing.T) {
	n := upgradable(t, 2, asIs)
	if v := n.View().Version(); v != chain.FirstVersion {
		t.Fatalf("a new chain is of version %d", v)
	}
	m := plan(n, func(m *chainv1.ScheduleUpgrade) { m.Version = 3 })
	n.Do(consortium, m)
	until(n, m.Height-1)
	if v := n.View().Version(); v != 1 || len(words(n)) != 0 {
		t.Fatalf("before the height the version is %d, and %v was written", v, words(n))
	}
	before := n.Now
	r := n.Block(n.Tx(mercy, []proto.Message{&identityv1.UnbindNode{}}))[0]
	if r.Code != 0 {
		t.Fatalf("the new version's message in its first block: %s", r.Log)
	}
	want := []string{"0 first of two", "1 second of two", "2 three", fmt.Sprintf("end %d", m.Height), "unbound"}
	if got := words(n); !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	l := newLater()
	if w, _ := l.words.Lookup(n.View(), "2 three"); w.Height != m.Height || w.Time != before {
		t.Fatalf("the migration saw %v, want height %d and the time %d of the block before", w, m.Height, before)
	}
	if w, _ := l.words.Lookup(n.View(), "unbound"); w.Height != 3 {
		t.Fatalf("the transaction was executed by version %d", w.Height)
	}
	if v := n.View().Version(); v != 3 {
		t.Fatalf("version %d is in force", v)
	}
	v, err := ask(n).Version(context.Background(), nil)
	if err != nil || v.Version.Height != m.Height {
		t.Fatalf("%v, %v", v, err)
	}
	if u := ended(t, n, m.Name); u.Outcome != chainv1.UpgradeOutcome_UPGRADE_OUTCOME_DONE || u.FromVersion != 1 || u.Height != m.Height || u.Time != n.Now {
		t.Fatalf("%v", u)
	}
	if n.App().Plan(n.View()) != nil {
		t.Fatal("the plan is still to come")
	}
	if old := n.ViewAt(m.Height - 1).Version(); old != 1 {
		t.Fatalf("the state before is of version %d", old)
	}
	n.Do(mercy, &identityv1.UnbindNode{})
}

// SPEC U1, S3: a genesis names its version, and an exported one begins with it.
func TestGenesisOfALaterVersion(t *testing.T) {
	n := chaintest.New(t, chaintest.Config{
		Partial: true, Genesis: `{"chain":{"version":2}}`,
		Modules:    func() []chain.Module { return []chain.Module{newLater()} },
		Migrations: func(m []chain.Module) []chain.Migration { return m[0].(*later).migrations() },
	})
	if v := n.View().Version(); v != 2 {
		t.Fatalf("version %d", v)
	}
	n.Do(mercy, &identityv1.UnbindNode{})
	if raw, err := n.App().ExportGenesis(n.View()); err != nil || !bytes.Contains(raw, []byte(`"version":2`)) {
		t.Fatalf("%v: %s", err, raw)
	}
	for _, genesis := range []string{`{"chain":{"version":4}}`, `{}`} {
		tree, err := state.OpenIAVL(memDB(), state.IAVLOptions{NoSync: true, NodeCache: 1000, ValueCache: 100})
		if err != nil {
			t.Fatal(err)
		}
		l := newLater()
		app, err := chain.New(chain.Options{
			ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Modules: []chain.Module{l}, Rand: zeros{}, Partial: true,
			Oldest: 2, Migrations: l.migrations()[1:],
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = app.InitGenesis(chain.Header{Height: 1}, json.RawMessage(genesis))
		if want := map[bool]*errs.Error{true: chain.ErrTooNew, false: chain.ErrUpgradeNeeded}[genesis == `{}`]; !errors.Is(err, want) {
			t.Errorf("%s for a program of the versions 2 and 3: %v", genesis, err)
		}
	}
}

// SPEC U2
func TestPlansAreRefused(t *testing.T) {
	n := upgradable(t, 1, asIs)
	for name, bend := range map[string]func(*chainv1.ScheduleUpgrade){
		"no name":         func(m *chainv1.ScheduleUpgrade) { m.Name = "" },
		"a long name":     func(m *chainv1.ScheduleUpgrade) { m.Name = strings.Repeat("a", 41) },
		"a sentence":      func(m *chainv1.ScheduleUpgrade) { m.Name = "call me" },
		"a leading dot":   func(m *chainv1.ScheduleUpgrade) { m.Name = ".a" },
		"a near height":   func(m *chainv1.ScheduleUpgrade) { m.Height = n.Height() + 30 },
		"no height":       func(m *chainv1.ScheduleUpgrade) { m.Height = 0 },
		"this version":    func(m *chainv1.ScheduleUpgrade) { m.Version = 1 },
		"a far version":   func(m *chainv1.ScheduleUpgrade) { m.Version = 12 },
		"no checksums":    func(m *chainv1.ScheduleUpgrade) { m.ChecksumsHash = nil },
		"half a checksum": func(m *chainv1.ScheduleUpgrade) { m.NotesHash = make([]byte, 16) },
	} {
		t.Run(name, func(t *testing.T) { n.Fails(chain.ErrBadPlan, consortium, plan(n, bend)) })
	}
	n.Fails(chain.ErrNotConsortium, mercy, plan(n, planned))
	m := plan(n, planned)
	n.Do(consortium, m)
	n.Fails(chain.ErrPlanned, consortium, plan(n, func(m *chainv1.ScheduleUpgrade) { m.Name = "another" }))
	n.Do(consortium, &chainv1.CancelUpgrade{Name: m.Name})
	n.Fails(chain.ErrBadPlan, consortium, plan(n, planned)) // of a name that a plan had
}

// SPEC U4: what fails has no effect, and the chain goes on by the version before.
func TestAFailedMigrationHasNoEffect(t *testing.T) {
	for name, fail := range map[string]error{
		"an error": chain.ErrBadParams.With("not these"),
		"a panic":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			n := upgradable(t, 2, func(l *later) { l.fail = fail })
			if fail == nil {
				n = chaintest.New(t, chaintest.Config{
					Partial: true, Modules: func() []chain.Module { return []chain.Module{newLater()} },
					Migrations: func(m []chain.Module) []chain.Migration {
						first := m[0].(*later).migrations()[0]
						return []chain.Migration{{first[0], {Module: "scratch", Run: func(*chain.Ctx) error {
							var none []int
							_ = none[len(first)]
							return nil
						}}}}
					},
				})
			}
			m := plan(n, planned)
			n.Do(consortium, m)
			until(n, m.Height)
			if v := n.View().Version(); v != 1 || len(words(n)) != 0 || n.App().Plan(n.View()) != nil {
				t.Fatalf("version %d, %v written, plan %v", v, words(n), n.App().Plan(n.View()))
			}
			u := ended(t, n, m.Name)
			want := uint32(errs.Internal)
			if fail != nil {
				want = chain.ErrBadParams.Code
			}
			if u.Outcome != chainv1.UpgradeOutcome_UPGRADE_OUTCOME_FAILED || u.Codespace != "chain" || u.Code != want {
				t.Fatalf("%v", u)
			}
			n.Fails(chain.ErrLaterVersion, mercy, &identityv1.UnbindNode{})
			n.Do(consortium, plan(n, func(m *chainv1.ScheduleUpgrade) { m.Name = "again" }))
		})
	}
}

// SPEC U5: a program goes as far as it knows, and no further.
func TestAProgramKnowsItsVersions(t *testing.T) {
	n := upgradable(t, 1, asIs)
	m := plan(n, func(m *chainv1.ScheduleUpgrade) { m.Version = 3 })
	n.Do(consortium, m)
	for n.Height() < m.Height-1 {
		if err := n.App().Executable(); err != nil {
			t.Fatalf("block %d: %v", n.Height()+1, err)
		}
		n.Block()
	}
	err := n.App().Executable()
	if !errors.Is(err, chain.ErrUpgradeNeeded) || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), m.Name) {
		t.Fatalf("before the upgrade to a version that is not known: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the block was executed all the same")
			}
		}()
		n.App().Next().End()
	}()
	// Admission and queries go on meanwhile.
	if e := refused(t, n, n.Tx(consortium, []proto.Message{params(same)})); e != nil {
		t.Errorf("admission: %v", e)
	}
}

// SPEC U6, X3
func TestMessagesOfALaterVersion(t *testing.T) {
	n := upgradable(t, 1, asIs)
	n.Fails(chain.ErrLaterVersion, mercy, &identityv1.UnbindNode{})
	n.Fails(chain.ErrLaterVersion, mercy, &identityv1.BindNode{}) // holds one
	want(t, n, n.Tx(mercy, []proto.Message{&identityv1.UnbindNode{}}), chain.ErrLaterVersion)
	m := plan(n, planned)
	n.Do(consortium, m)
	until(n, m.Height-1)
	// What waits for the next block is admitted by its rules.
	if e := refused(t, n, n.Tx(mercy, []proto.Message{&identityv1.BindNode{}})); e != nil {
		t.Fatalf("for the first block of the version: %v", e)
	}
	n.Do(mercy, &identityv1.BindNode{}, &identityv1.UnbindNode{})
}

// SPEC U7
func TestAPlanIsTakenBack(t *testing.T) {
	n := upgradable(t, 1, asIs)
	n.Fails(chain.ErrNoPlan, consortium, &chainv1.CancelUpgrade{Name: "none"})
	m := plan(n, planned)
	n.Do(consortium, m)
	n.Do(mercy, failed(m.Name))
	n.Fails(chain.ErrNotConsortium, mercy, &chainv1.CancelUpgrade{Name: m.Name})
	n.Fails(chain.ErrNoPlan, consortium, &chainv1.CancelUpgrade{Name: "another"})
	n.Fails(chain.ErrBadPlan, consortium, &chainv1.CancelUpgrade{Name: "An Other"})
	until(n, m.Height-2)
	n.Do(consortium, &chainv1.CancelUpgrade{Name: m.Name}) // in the last block before
	until(n, m.Height+2)
	if v := n.View().Version(); v != 1 || len(words(n)) != 0 {
		t.Fatalf("version %d, %v written", v, words(n))
	}
	if u := ended(t, n, m.Name); u.Outcome != chainv1.UpgradeOutcome_UPGRADE_OUTCOME_CANCELLED || u.Height != m.Height-1 {
		t.Fatalf("%v", u)
	}
	// The reports went with the plan.
	if _, err := ask(n).Readiness(context.Background(), &chainv1.ReadinessRequest{Organisation: mercy}); !errors.Is(err, chain.ErrNoReport) {
		t.Fatalf("%v", err)
	}
	n.Fails(chain.ErrNoPlan, consortium, &chainv1.CancelUpgrade{Name: m.Name})
}

func ready(name string, height int64, hash byte) *chainv1.ReportReadiness {
	return &chainv1.ReportReadiness{
		Name: name, Ready: true, StateHeight: height, AppHash: bytes.Repeat([]byte{hash}, 32), NewestVersion: 2, Program: "v1.2.0-rc.1+abc",
	}
}

func failed(name string) *chainv1.ReportReadiness {
	return &chainv1.ReportReadiness{Name: name, NewestVersion: 1, Program: "v1.1.0", Codespace: "chain", Code: 21}
}

// SPEC U8
func TestReportsOfReadiness(t *testing.T) {
	n := upgradable(t, 1, asIs)
	n.Fails(chain.ErrNoPlan, mercy, failed("autumn-1.2"))
	m := plan(n, planned)
	n.Do(consortium, m)
	h := n.Height()
	for name, bend := range map[string]func(*chainv1.ReportReadiness){
		"no name":                 func(r *chainv1.ReportReadiness) { r.Name = "" },
		"ready without a root":    func(r *chainv1.ReportReadiness) { r.AppHash = nil },
		"ready with an error":     func(r *chainv1.ReportReadiness) { r.Codespace, r.Code = "chain", 1 },
		"ready of no state":       func(r *chainv1.ReportReadiness) { r.StateHeight = 0 },
		"of a state to come":      func(r *chainv1.ReportReadiness) { r.StateHeight = n.Height() + 1 },
		"failed with a root":      func(r *chainv1.ReportReadiness) { r.Ready = false; r.Codespace, r.Code = "chain", 1 },
		"failed without an error": func(r *chainv1.ReportReadiness) { r.Ready, r.AppHash = false, nil },
		"a sentence for a module": func(r *chainv1.ReportReadiness) {
			r.Ready, r.AppHash, r.Codespace, r.Code = false, nil, "ask our clerk", 1
		},
		"a sentence for a program": func(r *chainv1.ReportReadiness) { r.Program = "ask our clerk" },
		"no version":               func(r *chainv1.ReportReadiness) { r.NewestVersion = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := ready(m.Name, h, 1)
			bend(r)
			n.Fails(chain.ErrBadReport, mercy, r)
		})
	}
	n.Fails(chain.ErrNoPlan, mercy, ready("another", h, 1))
	n.Fails(chain.ErrNoReporter, "did:chancery:stranger", ready(m.Name, h, 1))
	n.Fails(chain.ErrNoReporter, mercy+":clerk", ready(m.Name, h, 1))

	status := func() *chainv1.UpgradeStatusResponse {
		s, err := ask(n).UpgradeStatus(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	n.Do(mercy, failed(m.Name))
	if s := status(); s.FailedPower != 4 || s.ReadyPower != 0 || s.TotalPower != 10 || s.Disagreement || len(s.Organisations) != 3 || s.Version != 1 {
		t.Fatalf("%v", s)
	}
	n.Do(mercy, ready(m.Name, h, 1))
	n.Do("did:chancery:acme", ready(m.Name, h, 2))
	n.Do("did:chancery:quay", ready(m.Name, h-1, 3)) // another state has another root
	s := status()
	if s.FailedPower != 0 || s.ReadyPower != 10 || !s.Disagreement || len(s.Hashes) != 3 || s.Hashes[1].Power != 4 || s.Hashes[1].Organisations[0] != mercy {
		t.Fatalf("%v", s)
	}
	n.Do("did:chancery:acme", ready(m.Name, h, 1))
	if s := status(); s.Disagreement || len(s.Hashes) != 2 || s.Hashes[1].Power != 7 {
		t.Fatalf("after the others' root was found: %v", s)
	}
	until(n, m.Height)
	if s := status(); s.Plan != nil || len(s.Organisations) != 0 || s.Version != 2 {
		t.Fatalf("after the upgrade: %v", s)
	}
	if r, err := ask(n).Upgrades(context.Background(), &chainv1.UpgradesRequest{}); err != nil || len(r.Upgrades) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
}

// A dry run finds what the upgrade will do, equal programs find equal roots, and another
// one finds another.
func TestDryRun(t *testing.T) {
	copyOf := func(n *chaintest.Net, l *later, known int) *chain.App {
		t.Helper()
		var image bytes.Buffer
		latest := n.App().Tree().Latest()
		if err := latest.Export(&image); err != nil {
			t.Fatal(err)
		}
		tree, err := state.OpenIAVL(memDB(), state.IAVLOptions{NoSync: true, NodeCache: 1000, ValueCache: 100})
		if err != nil {
			t.Fatal(err)
		}
		app, err := chain.New(chain.Options{
			ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Modules: []chain.Module{l}, Rand: zeros{}, Partial: true,
			Migrations: l.migrations()[:known],
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Restore(&image, latest.Version(), latest.Root()); err != nil {
			t.Fatal(err)
		}
		return app
	}
	n := upgradable(t, 1, asIs)
	m := plan(n, planned)
	n.Do(consortium, m)
	trial, err := copyOf(n, newLater(), 2).DryRun(2)
	if err != nil {
		t.Fatal(err)
	}
	if trial.From != 1 || trial.To != 2 || trial.Height != n.Height() || len(trial.Changes) != 2 || len(trial.Events) != 2 || trial.Changes[0].Collection.Name != "scratch/words" {
		t.Fatalf("%+v", trial)
	}
	again, err := copyOf(n, newLater(), 1).DryRun(2)
	if err != nil || !bytes.Equal(again.Root, trial.Root) {
		t.Fatalf("the same again: %x, %x, %v", again.Root, trial.Root, err)
	}
	other := newLater()
	other.mark = "a tampered program"
	if tampered, err := copyOf(n, other, 1).DryRun(2); err != nil || bytes.Equal(tampered.Root, trial.Root) {
		t.Fatalf("another program: %v, and the same root", err)
	}
	broken := newLater()
	broken.fail = chain.ErrBadParams
	if _, err := copyOf(n, broken, 1).DryRun(2); !errors.Is(err, chain.ErrBadParams) {
		t.Errorf("a migration that fails: %v", err)
	}
	if _, err := copyOf(n, newLater(), 1).DryRun(3); !errors.Is(err, chain.ErrUpgradeNeeded) {
		t.Errorf("a version that is not known: %v", err)
	}
	if _, err := copyOf(n, newLater(), 1).DryRun(1); !errors.Is(err, chain.ErrNoMigration) {
		t.Errorf("the version in force: %v", err)
	}
}
