package governance

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

const (
	north = "did:chancery:north"
	south = "did:chancery:south"
	east  = "did:chancery:east"
	west  = "did:chancery:west"
	far   = "did:chancery:far" // no member

	yes     = governancev1.Choice_CHOICE_YES
	no      = governancev1.Choice_CHOICE_NO
	abstain = governancev1.Choice_CHOICE_ABSTAIN
	veto    = governancev1.Choice_CHOICE_VETO
)

var compass = []string{east, north, south, west}

// register is an Identity that a test sets. It is no part of the state.
type register struct {
	members    []string
	threshold  uint32
	suspended  map[string]bool
	validators int
}

func (x *register) Consortium() string { return chaintest.Consortium }
func (x *register) Controllers(chain.ReadCtx, string) ([]string, uint32) {
	return slices.Clone(x.members), x.threshold
}
func (x *register) Active(_ chain.ReadCtx, did string) bool { return !x.suspended[did] }

// Validators are as many as the test set, less those that messages of the test took away.
func (x *register) Validators(r chain.ReadCtx) []*identityv1.Validator {
	gone := 0
	if raw := r.Lookup(goneKey); raw != nil {
		gone = int(raw[0])
	}
	return make([]*identityv1.Validator, x.validators-gone)
}

var goneKey = []byte{0x72, 0x01}

// stand stands in for the modules that proposals are about: BindValidator takes validators
// away. DeleteGroup counts how often it deleted a name; it fails for "fail", for "coin" at
// odd heights, and for "later" once "block" was deleted.
type stand struct{}

func (stand) Name() string                                           { return "stand" }
func (stand) Schema() *state.Schema                                  { return state.NewSchema("stand", 0x72) }
func (stand) InitGenesis(*chain.Ctx, json.RawMessage) error          { return nil }
func (stand) ExportGenesis(state.Reader) (proto.Message, error)      { return &chainv1.Genesis{}, nil }
func (stand) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}

func groupKey(name string) []byte { return append([]byte{0x72, 0x02}, name...) }

func (stand) Routes() []chain.Route {
	return []chain.Route{
		chain.Handle(chain.Handler[*identityv1.UnbindNode]{
			Execute: func(*chain.Ctx, *identityv1.UnbindNode) (proto.Message, error) {
				return &identityv1.UnbindNodeResponse{}, nil
			},
		}).Since(2),
		chain.Handle(chain.Handler[*identityv1.BindValidator]{
			Execute: func(ctx *chain.Ctx, msg *identityv1.BindValidator) (proto.Message, error) {
				if ctx.Author() != chaintest.Consortium {
					return nil, ErrNotConsortium
				}
				ctx.Set(goneKey, []byte{byte(msg.Power)})
				return &identityv1.BindValidatorResponse{}, nil
			},
		}),
		chain.Handle(chain.Handler[*identityv1.DeleteGroup]{
			Execute: func(ctx *chain.Ctx, msg *identityv1.DeleteGroup) (proto.Message, error) {
				count := byte(1)
				if raw := ctx.Lookup(groupKey(msg.Name)); raw != nil {
					count = raw[0] + 1
				}
				ctx.Set(groupKey(msg.Name), []byte{count})
				ctx.Emit(&identityv1.GroupDeleted{Id: msg.Name})
				if msg.Name == "fail" || msg.Name == "coin" && ctx.Height()%2 == 1 || msg.Name == "later" && ctx.Lookup(groupKey("block")) != nil {
					return nil, ErrNotConsortium.With("the test says so")
				}
				return &identityv1.DeleteGroupResponse{}, nil
			},
		}),
	}
}

// hall is a chain with the module, and an Identity that the test sets.
type hall struct {
	*chaintest.Net
	t  testing.TB
	m  *Module
	id *register
}

// quick are parameters with short times.
func quick() *governancev1.Params {
	p := DefaultParams()
	for _, k := range append(slices.Clone(p.Rules), &governancev1.KindRule{Rule: p.Emergency}) {
		k.Rule.VotingMs, k.Rule.MinVotingMs, k.Rule.MaxVotingMs, k.Rule.TimeLockMs = 2*minute, minute, hour, minute
	}
	p.Emergency.VotingMs, p.Emergency.TimeLockMs = minute, 0
	p.GraceMs = 10 * minute
	return p
}

func newHall(t testing.TB, change ...func(*governancev1.Params)) *hall {
	t.Helper()
	p := quick()
	for _, c := range change {
		c(p)
	}
	return openHall(t, &governancev1.Genesis{Params: p})
}

func openHall(t testing.TB, g *governancev1.Genesis) *hall {
	t.Helper()
	section, err := protojson.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{t: t, id: &register{members: slices.Clone(compass), threshold: 2, suspended: map[string]bool{}, validators: 4}}
	h.Net = chaintest.New(t, chaintest.Config{
		Partial: true, Genesis: fmt.Sprintf(`{"governance": %s}`, section),
		Modules: func() []chain.Module {
			return []chain.Module{New(Deps{Identity: h.id}), stand{}}
		},
	})
	h.m = h.App().Modules()[0].(*Module)
	return h
}

func raws(t testing.TB, messages ...proto.Message) [][]byte {
	t.Helper()
	var out [][]byte
	for _, m := range messages {
		raw, err := tx.EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw)
	}
	return out
}

func chainParams(change func(*chainv1.Params)) *chainv1.SetParams {
	p := chain.DefaultParams()
	change(p)
	return &chainv1.SetParams{Params: p}
}

func limit(most uint32) proto.Message {
	return chainParams(func(p *chainv1.Params) { p.MaxMessages = most })
}

func group(name string) proto.Message { return &identityv1.DeleteGroup{Name: name} }

func (h *hall) propose(messages ...proto.Message) *governancev1.Propose {
	h.t.Helper()
	return &governancev1.Propose{
		Title: "A test asks for it", RationaleLink: "https://mercy.example/rationale/7", RationaleHash: make([]byte, 32),
		Messages: raws(h.t, messages...),
	}
}

// made makes a proposal of an organisation and returns its number.
func (h *hall) made(by string, messages ...proto.Message) uint64 {
	h.t.Helper()
	return h.make(by, h.propose(messages...))
}

func (h *hall) make(by string, msg *governancev1.Propose) uint64 {
	h.t.Helper()
	return chaintest.Response[governancev1.ProposeResponse](h.t, h.Do(by, msg)).ProposalId
}

func ballot(id uint64, c governancev1.Choice) *governancev1.Vote {
	return &governancev1.Vote{ProposalId: id, Choice: c}
}

func (h *hall) votes(id uint64, c governancev1.Choice, by ...string) {
	h.t.Helper()
	for _, did := range by {
		h.Do(did, ballot(id, c))
	}
}

func (h *hall) get(id uint64) *governancev1.Proposal {
	h.t.Helper()
	p, ok := h.m.proposals.Lookup(h.View(), id)
	if !ok {
		h.t.Fatalf("there is no proposal %d", id)
	}
	return p
}

func (h *hall) is(id uint64, want governancev1.Status) {
	h.t.Helper()
	if got := h.get(id).Status; got != want {
		h.t.Fatalf("proposal %d is %s, want %s", id, got, want)
	}
}

// wait lets time pass and runs a block.
func (h *hall) wait(ms int64) {
	h.t.Helper()
	h.Now += ms
	h.Block()
}

func (h *hall) outcome(id uint64) *governancev1.Outcome {
	h.t.Helper()
	o, ok := h.m.outcomes.Lookup(h.View(), id)
	if !ok {
		h.t.Fatalf("proposal %d has no outcome", id)
	}
	return o
}

// did tells how often a group was deleted.
func (h *hall) did(name string) int {
	raw := h.View().Lookup(groupKey(name))
	if raw == nil {
		return 0
	}
	return int(raw[0])
}

func msgs(m ...proto.Message) []proto.Message { return m }
