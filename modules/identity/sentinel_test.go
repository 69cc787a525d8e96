package identity

import (
	"encoding/hex"
	"encoding/json"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// hand is a module that acts at the end of blocks, as the sentinel would.
type hand struct {
	m    *Module
	does map[int64]func(*Module, *chain.Ctx)
}

func (*hand) Name() string                                           { return "hand" }
func (*hand) Schema() *state.Schema                                  { return state.NewSchema("hand", 0x7F) }
func (*hand) Routes() []chain.Route                                  { return nil }
func (*hand) InitGenesis(*chain.Ctx, json.RawMessage) error          { return nil }
func (*hand) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}
func (*hand) ExportGenesis(state.Reader) (proto.Message, error)      { return &identityv1.Genesis{}, nil }

func (h *hand) EndBlock(ctx *chain.Ctx) {
	if do := h.does[ctx.Height()]; do != nil {
		do(h.m, ctx)
	}
}

// handled is a world in which the sentinel acts by the function returned, at the end of
// a block of its own.
func handled(t *testing.T, f Founding) (*world, func(func(*Module, *chain.Ctx))) {
	t.Helper()
	g, err := NewGenesis(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	does := map[int64]func(*Module, *chain.Ctx){}
	w := &world{t: t, m: New(), Net: chaintest.New(t, chaintest.Config{
		Modules: func() []chain.Module {
			m := New()
			return []chain.Module{m, &hand{m: m, does: does}}
		},
		Genesis:       `{"identity":` + string(raw) + `}`,
		Authenticator: func(modules []chain.Module) chain.Authenticator { return modules[0].(*Module) },
		Partial:       true,
	})}
	return w, func(do func(*Module, *chain.Ctx)) {
		does[w.Height()+1] = do
		w.Block()
	}
}

func suspends(t *testing.T, name string, want bool) func(*Module, *chain.Ctx) {
	return func(m *Module, ctx *chain.Ctx) {
		if got := m.SuspendFor(ctx, name); got != want {
			t.Errorf("SuspendFor(%s) is %v", name, got)
		}
	}
}

func reinstates(t *testing.T, name string, want bool) func(*Module, *chain.Ctx) {
	return func(m *Module, ctx *chain.Ctx) {
		if got := m.ReinstateFrom(ctx, name); got != want {
			t.Errorf("ReinstateFrom(%s) is %v", name, got)
		}
	}
}

func TestTheSentinelSuspendsForATime(t *testing.T) {
	w, sentinel := handled(t, consortium())
	sentinel(suspends(t, dot, true))
	w.mayNotAct(ErrSuspended, dot, key(dot))
	id := w.identity(dot)
	if id.Reason != identityv1.Reason_REASON_INVESTIGATION || !id.Provisional || id.Version != 2 {
		t.Errorf("record: %v", id)
	}
	sentinel(suspends(t, dot, false))
	w.CheckGenesis()
	sentinel(reinstates(t, dot, true))
	w.mayAct(dot, key(dot))
	if id := w.identity(dot); id.Version != 3 || id.Provisional || id.Reason != identityv1.Reason_REASON_UNSPECIFIED {
		t.Errorf("record: %v", id)
	}
	sentinel(reinstates(t, dot, false))
}

func TestTheSuperiorsWordOutlastsTheSentinels(t *testing.T) {
	w, sentinel := handled(t, consortium())
	// A suspension by the organisation, before or after, is not ended by the sentinel.
	w.do(mercy, suspend(dot))
	sentinel(suspends(t, dot, false))
	sentinel(reinstates(t, dot, false))
	w.mayNotAct(ErrSuspended, dot, key(dot))
	w.do(mercy, &identityv1.Reinstate{Did: dot})
	sentinel(suspends(t, dot, true))
	w.do(mercy, suspend(dot))
	if id := w.identity(dot); id.Provisional || id.Version != 5 {
		t.Errorf("record: %v", id)
	}
	w.fails(ErrStatus, mercy, suspend(dot))
	sentinel(reinstates(t, dot, false))
	w.mayNotAct(ErrSuspended, dot, key(dot))
	// The organisation ends a suspension by the sentinel early.
	w.do(mercy, &identityv1.Reinstate{Did: dot})
	sentinel(suspends(t, dot, true))
	w.do(mercy, &identityv1.Reinstate{Did: dot})
	w.mayAct(dot, key(dot))
	sentinel(suspends(t, dot, true))
	w.do(mercy, deactivate(dot))
	sentinel(reinstates(t, dot, false))
	w.CheckGenesis()
}

func TestTheSentinelLocksNobody(t *testing.T) {
	w, sentinel := handled(t, consortium())
	sentinel(suspends(t, did.Consortium, false))
	sentinel(suspends(t, personOf("mercy", "u"), false))
	sentinel(suspends(t, ann, true)) // of three administrators two are needed
	sentinel(suspends(t, ben, false))
	sentinel(suspends(t, robot, false)) // the only one of quay
	w.mayAct(mercy, key(ben), key(cyd))
}

// An organisation's nodes are shut out with it, so a third of the power stays in.
func TestTheSentinelDoesNotStopTheChain(t *testing.T) {
	f := consortium() // three with equal powers
	f.Threshold = 1
	_, sentinel := handled(t, f)
	sentinel(suspends(t, mercy, false))

	f.Organisations = append(f.Organisations, Founder{DID: hold, Keys: []FoundingKey{{ID: "key-1", Public: key(hold).Public()}},
		Validators: []FoundingValidator{{PublicKey: consensus(hold), Power: 10, Moniker: "hold"}}})
	w, sentinel := handled(t, f)
	sentinel(suspends(t, mercy, true))
	sentinel(suspends(t, acme, false)) // half the power would be out
	w.mayNotAct(ErrSuspended, dot, key(dot))
	w.mayAct(acme, key(acme))
	sentinel(reinstates(t, mercy, true))
	w.mayAct(dot, key(dot))
}

func TestPowers(t *testing.T) {
	w := start(t)
	powers, total := w.m.Powers(w.View())
	if total != 30 || len(powers) != 3 {
		t.Fatalf("%d validators of %d", len(powers), total)
	}
	for i, p := range powers {
		if i > 0 && string(powers[i-1].Address[:]) >= string(p.Address[:]) {
			t.Error("not sorted by address")
		}
		if p.Address != Address(consensus(p.Organisation)) || p.Power != 10 {
			t.Errorf("%v", p)
		}
	}
	// The first 20 bytes of SHA-256 of 32 zero bytes.
	if got := Address(make([]byte, 32)); hex.EncodeToString(got[:]) != "66687aadf862bd776c8fc18b8e9f8e2008971485" {
		t.Errorf("address %x", got)
	}
}

func TestAges(t *testing.T) {
	w := start(t)
	ages := func(name string) [2]int64 {
		identity, key, ok := w.m.Ages(w.View(), name)
		if !ok {
			t.Fatalf("%s is unknown", name)
		}
		return [2]int64{identity, key}
	}
	since := w.Now - chaintest.GenesisTime
	if got := ages(dot); got != [2]int64{since, since} {
		t.Errorf("of the genesis state: %v, want %d", got, since)
	}
	if got := ages(mercy); got != [2]int64{since, -1} {
		t.Errorf("without a key: %v", got)
	}
	w.do(dot, w.rotation(dot, "key-1", "key-2", 0))
	if got := ages(dot)[1]; got != 0 {
		t.Errorf("a new key is %d old", got)
	}
	w.Block()
	if got := ages(dot); got != [2]int64{since + 2*chaintest.BlockTime, chaintest.BlockTime} {
		t.Errorf("a block later: %v", got)
	}
	if _, _, ok := w.m.Ages(w.View(), personOf("mercy", "u")); ok {
		t.Error("an unknown DID has an age")
	}
}

// Laws 6, 11 and 15: whom the sentinel suspends may still say no, and ask for people.
// The superior's suspension is a human's word, and stops that as well.
func TestASuspensionByTheSentinelSilencesNoNo(t *testing.T) {
	w, sentinel := handled(t, consortium())
	may := func(want bool, author string, messages ...proto.Message) {
		t.Helper()
		_, err := w.m.Authenticate(w.View(), chain.Claim{Author: author, Messages: messages, Keys: []string{key(author).KeyURL()}})
		if (err == nil) != want || err != nil && !errs.As(err).Is(ErrSuspended) {
			t.Errorf("%s says %T: %v", author, messages[0], err)
		}
	}
	noes := []proto.Message{
		&consentv1.Withdraw{}, &consentv1.Refuse{}, &consentv1.Narrow{}, &consentv1.RevokeDelegation{}, &consentv1.Restrict{}, &threatv1.Appeal{},
	}
	sentinel(suspends(t, dot, true))
	may(true, dot, noes...)
	for _, no := range noes {
		may(true, dot, no)
		may(false, dot, no, harmless())
	}
	for _, other := range []proto.Message{
		harmless(), &consentv1.Give{}, &consentv1.LiftRestriction{}, &identityv1.RotateKey{}, &identityv1.AddKey{}, &threatv1.Release{}, &threatv1.Lift{},
	} {
		may(false, dot, other)
	}
	w.do(mercy, suspend(dot))
	may(false, dot, noes[0])

	// So may the members of an organisation that the sentinel suspends.
	f := consortium()
	f.Threshold = 1
	f.Organisations = append(f.Organisations, Founder{DID: hold, Keys: []FoundingKey{{ID: "key-1", Public: key(hold).Public()}},
		Validators: []FoundingValidator{{PublicKey: consensus(hold), Power: 10, Moniker: "hold"}}})
	w, sentinel = handled(t, f)
	sentinel(suspends(t, mercy, true))
	may(true, dot, noes...)
	may(false, dot, harmless())
}
