package threat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// work is a module that does what it is told: a transaction about something whose name
// begins with bad fails.
type work struct{ tap func(*chain.Ctx) }

func (work) Name() string                                           { return "work" }
func (work) Schema() *state.Schema                                  { return state.NewSchema("work", 0x7e) }
func (work) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}
func (work) InitGenesis(*chain.Ctx, json.RawMessage) error          { return nil }
func (work) ExportGenesis(state.Reader) (proto.Message, error)      { return &chainv1.Seen{}, nil }

// EndBlock lets a test do something within a block, which it then drops.
func (x work) EndBlock(ctx *chain.Ctx) {
	if x.tap != nil {
		x.tap(ctx)
	}
}

func (work) Routes() []chain.Route {
	return []chain.Route{
		chain.Handle(chain.Handler[*provenancev1.RegisterEntity]{
			Execute: func(ctx *chain.Ctx, m *provenancev1.RegisterEntity) (proto.Message, error) {
				if strings.HasPrefix(m.Id, "bad") {
					return nil, errors.New("it is bad")
				}
				return &provenancev1.RegisterEntityResponse{}, nil
			},
		}),
		chain.Handle(chain.Handler[*provenancev1.InvalidateEntity]{
			Execute: func(*chain.Ctx, *provenancev1.InvalidateEntity) (proto.Message, error) {
				return &provenancev1.InvalidateEntityResponse{}, nil
			},
		}),
		chain.Handle(chain.Handler[*accessv1.SetPolicies]{
			Execute: func(*chain.Ctx, *accessv1.SetPolicies) (proto.Message, error) {
				return &accessv1.SetPoliciesResponse{}, nil
			},
		}),
		chain.Handle(chain.Handler[*accessv1.Decide]{
			Execute: func(*chain.Ctx, *accessv1.Decide) (proto.Message, error) { return &accessv1.DecideResponse{}, nil },
		}),
		chain.Handle(chain.Handler[*consentv1.Give]{
			Execute: func(*chain.Ctx, *consentv1.Give) (proto.Message, error) { return &consentv1.GiveResponse{}, nil },
		}),
		chain.Handle(chain.Handler[*consentv1.Withdraw]{
			Execute: func(*chain.Ctx, *consentv1.Withdraw) (proto.Message, error) {
				return &consentv1.WithdrawResponse{}, nil
			},
		}),
	}
}

// What transactions of a ward do. By the test's detector the second is held and the
// third denied; the fourth would be held, and never is.
func good(id string) proto.Message    { return &provenancev1.RegisterEntity{Id: id} }
func held1(id string) proto.Message   { return &provenancev1.InvalidateEntity{Id: id} }
func denied1(id string) proto.Message { return &accessv1.SetPolicies{Organisation: id} }
func never1(id string) proto.Message  { return &consentv1.Withdraw{Id: []byte(id)} }

// looks asks for a resource, of which doors tells the kin; records is a consent that is
// recorded with one and the same evidence.
func looks(id string) proto.Message {
	return &accessv1.Decide{Request: &accessv1.Request{Organisation: house, Resource: &accessv1.EntityUid{Type: "Record", Id: id}}}
}

func records(id string) proto.Message {
	return &consentv1.Give{
		Terms: &consentv1.Terms{Subject: []byte(id), Controller: house}, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: []byte("form"),
	}
}

// testDetector is the default detector with rules that tests can meet.
func testDetector(t testing.TB, change ...func(*threatv1.Detector)) []byte {
	t.Helper()
	d := detector.Build("test", nil)
	atLeast := func(name string, feature int, score uint32) *threatv1.Rule {
		return &threatv1.Rule{Name: name, Reason: name, Score: score, When: &threatv1.Predicate{Kind: &threatv1.Predicate_Test{
			Test: &threatv1.FeatureTest{Feature: features.Table[feature].Name, Comparison: threatv1.Comparison_COMPARISON_AT_LEAST, Number: 1},
		}}}
	}
	d.Rules = &threatv1.RuleSet{Rules: []*threatv1.Rule{
		atLeast("destructive", features.DestructiveFeature, 8000),
		atLeast("policies", features.PoliciesFeature, 9800),
	}}
	d.Thresholds = &threatv1.Thresholds{Hold: 7500, Deny: 9500}
	for i := range detector.Bands {
		d.Baseline = append(d.Baseline, map[bool]uint32{true: 9810, false: 10}[i == 0])
	}
	for _, c := range change {
		c(d)
	}
	raw, err := detector.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func testParams() *threatv1.Params {
	p := DefaultParams()
	p.Mode, p.AppealMs = threatv1.Mode_MODE_ENFORCE, minute
	p.Breaker.Rate = 10_000
	p.Breaker.Window = 10_000
	return p
}

// ward is a chain with the whole module as its screen. Of its two instances one lives
// and the other is restarted within every block, so each block compares histories that
// went on with histories that were rebuilt.
type ward struct {
	*chaintest.Net
	t       testing.TB
	m       *Module // of the instance that lives
	modules []*Module
	tap     func(*chain.Ctx)
}

func genesisOf(raw []byte, p *threatv1.Params) *threatv1.Genesis {
	g := &threatv1.Genesis{Params: p}
	if raw != nil {
		hash := detector.Hash(raw)
		g.Models = []*threatv1.GenesisModel{{Bytes: raw}}
		g.Schedule = &threatv1.Schedule{Active: hash[:]}
	}
	return g
}

func newWard(t testing.TB, g *threatv1.Genesis) *ward {
	t.Helper()
	section, err := protojson.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	w := &ward{t: t}
	w.Net = chaintest.New(t, chaintest.Config{
		Partial: true, Genesis: fmt.Sprintf(`{"threat": %s}`, section),
		Modules: func() []chain.Module {
			m := New(Deps{Identity: &houses{organisations: []string{house, north, south, east}, inactive: map[string]bool{}}, Access: doors{}})
			w.modules = append(w.modules, m)
			return []chain.Module{work{tap: func(ctx *chain.Ctx) {
				if w.tap != nil {
					w.tap(ctx)
				}
			}}, m}
		},
		Screen: func(modules []chain.Module) chain.Screen { return modules[1].(*Module) },
	})
	w.m = w.modules[0]
	return w
}

// does runs one transaction in a block of its own and returns its result.
func (w *ward) does(author string, messages ...proto.Message) *chainv1.TxResult {
	w.t.Helper()
	return w.Block(w.Tx(author, messages))[0]
}

// pass lets time pass, and a block.
func (w *ward) pass(ms int64) {
	w.t.Helper()
	w.Now += ms - chaintest.BlockTime
	w.Block()
}

func (w *ward) trace(subject string) *threatv1.Trace {
	if t, ok := w.m.traces.Lookup(w.View(), subject); ok {
		return t.message()
	}
	return nil
}

func (w *ward) progress() *threatv1.Progress { return w.m.progressIn(w.View()) }

func (w *ward) queries() *queries { return &queries{m: w.m, at: w.Net} }

// encoded is all that a version says, to be compared.
func (v *version) encoded() string {
	var b strings.Builder
	fmt.Fprintf(&b, "height %d, settled %d, paged %d, began %d\n", v.height, v.progress.Settled, v.progress.Paged, v.progress.Began)
	v.lives.Scan(func(subject string, l *live) bool {
		fmt.Fprintf(&b, "%s %+v\n", subject, l)
		return true
	})
	for _, p := range v.pending {
		fmt.Fprintf(&b, "%d %q\n", p.height, p.subjects)
	}
	b.WriteString(all(v.cells))
	for space, rows := range v.cells.tables {
		for i := range rows {
			for at, changed := range rows[i].changed {
				if changed > v.progress.Paged { // and has to be written
					fmt.Fprintf(&b, "page %d changed %v\n", pageNumber(cell.Space(space), uint16(i), uint32(at)), changed)
				}
			}
		}
	}
	return b.String()
}

// all are the cells of a book that are not zero.
func all(book *cellBook) string {
	var b strings.Builder
	for space, rows := range book.tables {
		for i := range rows {
			for column := range uint32(len(rows[i].chunks) * chunkCells) {
				if c := rows[i].cell(column); c != (cell.Cell{}) {
					fmt.Fprintf(&b, "cell %d %d %d: %+v\n", space, i, column, c)
				}
			}
		}
	}
	return b.String()
}

// wantSame compares what the living instance knows with what the state alone says.
func (w *ward) wantSame() {
	w.t.Helper()
	lives, rebuilt := w.m.upTo(w.View(), w.Height()).encoded(), w.m.rebuild(w.View(), w.Height()).encoded()
	if lives == rebuilt {
		return
	}
	one, other := strings.Split(lives, "\n"), strings.Split(rebuilt, "\n")
	for i := range min(len(one), len(other)) {
		if one[i] != other[i] {
			w.t.Fatalf("height %d: the history that went on says %q, the one that was rebuilt %q", w.Height(), one[i], other[i])
		}
	}
	w.t.Fatalf("height %d: one history has %d lines, the other %d", w.Height(), len(one), len(other))
}

func (w *ward) actor(did string) *threatv1.ActorResponse {
	w.t.Helper()
	out, err := w.queries().Actor(context.Background(), &threatv1.ActorRequest{Actor: did})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// inBlock runs fn within a block that is dropped.
func (w *ward) inBlock(fn func(*chain.Ctx)) {
	w.tap = fn
	defer func() { w.tap = nil }()
	w.App().Begin(chain.Header{Height: w.Height() + 1, Time: w.Now + chaintest.BlockTime}).End()
}
