package node_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/governance"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// council is a consortium of four organisations, of which three act for it, with all
// modules as Wire has them and a sentinel that holds transactions of three messages. Two
// administrators of the first act for it, one for each other.
type council struct {
	*chaintest.Net
	t *testing.T
}

var seats = []string{"did:chancery:bank", "did:chancery:clinic", "did:chancery:court", "did:chancery:lab"}

func validatorOf(o string) []byte { return chaintest.Actor(o + "/validator").Public().Bytes }

func newCouncil(t *testing.T) *council {
	t.Helper()
	f := identity.Founding{At: chaintest.GenesisTime, Threshold: 3}
	for i, o := range seats {
		founder := identity.Founder{DID: o, Threshold: 1, Validators: []identity.FoundingValidator{{PublicKey: validatorOf(o), Power: 10, Moniker: o[len("did:chancery:"):]}}}
		names := []string{"admin"}
		if i == 0 {
			founder.Threshold, names = 2, []string{"admin", "deputy"}
		}
		for _, name := range names {
			who := person(o, name)
			founder.Members = append(founder.Members, identity.FoundingMember{
				DID: who, Kind: identityv1.Kind_KIND_PERSON, Administrator: true,
				Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(who).Public()}},
			})
		}
		f.Organisations = append(f.Organisations, founder)
	}
	sections := make(map[string]json.RawMessage)
	write := func(name string, g proto.Message, err error) {
		t.Helper()
		if err == nil {
			sections[name], err = chain.WriteGenesis(g)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := identity.NewGenesis(f)
	write("identity", g, err)
	watch := threat.NewGenesis(bulk(t, "bulk"), 0)
	watch.Params = enforcing()
	write("threat", watch, nil)
	raw, err := json.Marshal(sections)
	if err != nil {
		t.Fatal(err)
	}
	return &council{t: t, Net: chaintest.New(t, chaintest.Config{
		Genesis: string(raw),
		Modules: func() []chain.Module { return node.Wire().List() },
		Authenticator: func(modules []chain.Module) chain.Authenticator {
			return modules[slices.IndexFunc(modules, named("identity"))].(*identity.Module)
		},
		Screen: func(modules []chain.Module) chain.Screen {
			return modules[slices.IndexFunc(modules, named("threat"))].(*threat.Module)
		},
	})}
}

// signed is a transaction of an organisation, or of the consortium, by its administrators.
func (c *council) signed(author string, messages ...proto.Message) []byte {
	var signers []tx.Signer
	for i, o := range seats {
		if o != author && author != did.Consortium {
			continue
		}
		signers = append(signers, chaintest.Actor(person(o, "admin")))
		if i == 0 {
			signers = append(signers, chaintest.Actor(person(o, "deputy")))
		}
	}
	return c.Tx(author, messages, signers...)
}

func (c *council) must(author string, messages ...proto.Message) *chainv1.TxResult {
	c.t.Helper()
	r := c.Block(c.signed(author, messages...))[0]
	if r.Code != 0 {
		c.t.Fatalf("%s: %s", author, r.Log)
	}
	return r
}

func proposal(t *testing.T, messages ...proto.Message) *governancev1.Propose {
	t.Helper()
	p := &governancev1.Propose{Title: "The consortium decides", RationaleHash: make([]byte, 32)}
	for _, m := range messages {
		raw, err := tx.EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		p.Messages = append(p.Messages, raw)
	}
	return p
}

// refuses checks that messages cannot be proposed, and why.
func (c *council) refuses(want *errs.Error, messages ...proto.Message) {
	c.t.Helper()
	c.FailsRaw(want, c.signed(seats[1], proposal(c.t, messages...)))
}

// passes makes a proposal and has all vote yes.
func (c *council) passes(messages ...proto.Message) uint64 {
	c.t.Helper()
	id := chaintest.Response[governancev1.ProposeResponse](c.t, c.must(seats[1], proposal(c.t, messages...))).ProposalId
	for _, o := range seats {
		r := c.must(o, &governancev1.Vote{ProposalId: id, Choice: governancev1.Choice_CHOICE_YES})
		if chaintest.Response[governancev1.VoteResponse](c.t, r).Status == governancev1.Status_STATUS_PASSED {
			return id
		}
	}
	c.t.Fatal("it did not pass")
	return 0
}

// executed lets the time-lock pass and returns what came of the latest execution.
func (c *council) executed() *governancev1.Executed {
	c.t.Helper()
	c.Now += 24 * 60 * minute
	x := c.App().Begin(chain.Header{Height: c.Height() + 1, Time: c.Now + chaintest.BlockTime}).End()
	c.Block()
	for _, e := range slices.Backward(x.Record.Events) {
		if m := new(governancev1.Executed); e.Type == "chancery.governance.v1.Executed" {
			if err := proto.Unmarshal(e.Value, m); err != nil {
				c.t.Fatal(err)
			}
			return m
		}
	}
	c.t.Fatal("nothing was executed")
	return nil
}

func power(o string, n int64) *identityv1.BindValidator {
	b := &identityv1.BindValidator{PublicKey: validatorOf(o), Power: n, Organisation: o}
	if n > 0 {
		b.Moniker = o[len("did:chancery:"):]
	}
	return b
}

// The modules refuse, when it is proposed, what would endanger the chain or lock the
// consortium out.
func TestWhatTheConsortiumCannotDecide(t *testing.T) {
	c := newCouncil(t)
	c.refuses(identity.ErrTooMuchPower, power(seats[0], 15))                       // 15 of 45
	c.refuses(identity.ErrTooMuchTurnover, power(seats[0], 0), power(seats[3], 0)) // half of the power
	c.refuses(governance.ErrFewValidators, power(seats[0], 0))                     // three of four
	c.refuses(identity.ErrBadThreshold, &identityv1.SetAdministrators{Did: did.Consortium, Administrators: seats[:2], Threshold: 3})
	suspend := func(o string) *identityv1.Suspend {
		return &identityv1.Suspend{Did: o, Reason: identityv1.Reason_REASON_INVESTIGATION}
	}
	c.refuses(identity.ErrWouldLock, suspend(seats[2]), suspend(seats[3]))
	c.refuses(chain.ErrBadParams, &chainv1.SetParams{Params: new(chainv1.Params)})
	c.refuses(threat.ErrNotFound, &threatv1.SetModelStage{Hash: make([]byte, 32), Stage: threatv1.Stage_STAGE_SHADOW})
	// What is not the consortium's to do.
	c.refuses(threat.ErrNotFound, &threatv1.Release{TxId: make([]byte, 32)})
	c.refuses(governance.ErrBadMessages, &identityv1.RequestRecovery{})
	if p := c.App().Params(c.View()); p.MaxMessages != chain.DefaultParams().MaxMessages {
		t.Error("a proposal that was refused had an effect")
	}
}

// A vote moves voting power: proposed, voted on by each organisation's own rule, executed
// with the update that the engine is given, and refused at execution where it would be
// dangerous by then.
func TestTheConsortiumMovesVotingPower(t *testing.T) {
	c := newCouncil(t)
	one := c.Tx(seats[0], []proto.Message{proposal(t, power(seats[1], 12))}, chaintest.Actor(person(seats[0], "admin")))
	c.FailsRaw(identity.ErrNotAuthorised, one) // two administrators act for it
	c.passes(power(seats[1], 12))
	if x := c.executed(); x.Status != governancev1.Status_STATUS_EXECUTED || !strings.HasSuffix(x.Outcome.Events[0].Type, "ValidatorBound") {
		t.Fatalf("%v", x)
	}
	bound := func(o string) int64 {
		m := node.Wire().Identity
		for _, v := range m.Validators(c.View()) {
			if v.Organisation == o {
				return v.Power
			}
		}
		return 0
	}
	if got := bound(seats[1]); got != 12 {
		t.Errorf("its power is %d", got)
	}
	c.passes(power(seats[1], 14))              // 14 of 44
	c.must(did.Consortium, power(seats[3], 8)) // by signatures: then it would be 14 of 42, a third
	x := c.executed()
	if x.Status != governancev1.Status_STATUS_FAILED || x.Outcome.Codespace != "identity" || x.Outcome.Code != identity.ErrTooMuchPower.Code {
		t.Errorf("%v", x)
	}
	if got := bound(seats[1]); got != 12 {
		t.Errorf("a proposal that failed left the power %d", got)
	}
	c.CheckGenesis()
}

// Votes are executed whatever a score says, and so is what was voted for, of every module.
func TestVotesAreNotHeld(t *testing.T) {
	c := newCouncil(t)
	first, second, third := 0, 1, 2
	var ids []uint64
	for range third + 1 {
		r := c.must(seats[1], proposal(t, &accessv1.SetGuardRails{}))
		ids = append(ids, chaintest.Response[governancev1.ProposeResponse](t, r).ProposalId)
	}
	say := func(choice governancev1.Choice) []proto.Message {
		var out []proto.Message
		for _, id := range ids {
			out = append(out, &governancev1.Vote{ProposalId: id, Choice: choice})
		}
		return out
	}
	// Three messages are held of everybody else.
	r := c.Block(c.Tx(person(seats[1], "admin"), files("a", "b", "c"), chaintest.Actor(person(seats[1], "admin"))))[0]
	if r.Code != chain.ErrHeld.Code {
		t.Fatalf("the sentinel sleeps: %s", r.Log)
	}
	if r := c.must(seats[2], say(governancev1.Choice_CHOICE_YES)...); r.Verdict.GetScore() < 7500 {
		t.Errorf("a score of %d would not be held", r.Verdict.GetScore())
	}
	c.must(seats[1], &governancev1.Cancel{ProposalId: ids[first]}, &governancev1.Cancel{ProposalId: ids[second]}, &governancev1.Cancel{ProposalId: ids[third]})
}

// What is voted for of the sentinel acts from the next block, as by a transaction.
func TestAVoteTurnsTheSentinelOff(t *testing.T) {
	c := newCouncil(t)
	off := enforcing()
	off.Mode = threatv1.Mode_MODE_OFF
	c.passes(&threatv1.SetParams{Params: off})
	bulky := func(names ...string) *chainv1.TxResult {
		who := person(seats[1], "admin")
		return c.Block(c.Tx(who, files(names...), chaintest.Actor(who)))[0]
	}
	if r := bulky("a", "b", "c"); r.Code != chain.ErrHeld.Code {
		t.Fatalf("before the time-lock is over it is on: %s", r.Log)
	}
	if x := c.executed(); x.Status != governancev1.Status_STATUS_EXECUTED {
		t.Fatalf("%v", x)
	}
	if r := bulky("d", "e", "f"); r.Code != 0 || r.Verdict != nil {
		t.Errorf("it is still on: %s", r.Log)
	}
	c.CheckGenesis()
}

// SPEC E2: a validator's misbehaviour is recorded once, told, and one proposal is made to
// remove it, which the members vote on as on any; what cannot be proposed says why.
func TestMisbehaviourIsPutToTheVote(t *testing.T) {
	c := newCouncil(t)
	of := func(o string, height int64, kind chainv1.MisbehaviourKind) *chainv1.Misbehaviour {
		address := identity.Address(validatorOf(o))
		return &chainv1.Misbehaviour{Kind: kind, Validator: address[:], Height: height, Time: 7, Power: 10, Total: 40}
	}
	twice, light := chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_DUPLICATE_VOTE, chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_LIGHT_CLIENT_ATTACK
	governed := c.App().Modules()[slices.IndexFunc(c.App().Modules(), named("governance"))].(*governance.Module)
	offences := func() []*governancev1.Offence {
		t.Helper()
		g, err := governed.ExportGenesis(c.View())
		if err != nil {
			t.Fatal(err)
		}
		return g.(*governancev1.Genesis).Offences
	}
	// No fewer than four validators may be left.
	c.Misbehaviour = []*chainv1.Misbehaviour{of(seats[3], 1, twice)}
	c.Block()
	if got := offences(); len(got) != 1 || got[0].ProposalId != 0 || got[0].NoProposal == "" || got[0].Organisation != seats[3] {
		t.Fatalf("with four validators, of which four must be left: %v", got)
	}
	second := chaintest.Actor("a second validator of the clinic").Public().Bytes
	c.must(did.Consortium, &identityv1.BindValidator{Organisation: seats[1], PublicKey: second, Power: 1, Moniker: "clinic-2"})
	for range 4 {
		c.Block()
	}
	c.Misbehaviour = []*chainv1.Misbehaviour{of(seats[3], 2, twice), of(seats[3], 2, twice), of(seats[3], 3, light), {Kind: twice, Validator: make([]byte, 20), Height: 2}}
	c.Block()
	got := offences()
	if len(got) != 4 {
		t.Fatalf("%d are recorded: %v", len(got), got)
	}
	var id uint64
	for _, o := range got {
		switch {
		case o.Organisation == "":
			if o.ProposalId != 0 || o.NoProposal == "" {
				t.Errorf("of a stranger: %v", o)
			}
		case o.Misbehaviour.Height > 1 && id == 0:
			id = o.ProposalId
		case o.Misbehaviour.Height > 1 && o.ProposalId != id:
			t.Errorf("another proposal for the same validator: %v", o)
		}
	}
	if id == 0 {
		t.Fatalf("no proposal: %v", got)
	}
	c.CheckGenesis()
	for _, o := range seats[:3] {
		c.must(o, &governancev1.Vote{ProposalId: id, Choice: governancev1.Choice_CHOICE_YES})
	}
	if r := c.executed(); r.Status != governancev1.Status_STATUS_EXECUTED || r.Outcome.ProposalId != id {
		t.Fatalf("executed %v", r)
	}
	for _, v := range c.App().Modules()[0].(*identity.Module).Validators(c.View()) {
		if v.Organisation == seats[3] {
			t.Error("the validator is still there")
		}
	}
}
