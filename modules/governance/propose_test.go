package governance

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestAProposalIsMadeVotedOnAndExecuted(t *testing.T) {
	h := newHall(t)
	id := h.made(north, limit(9), group("a"))
	p := h.get(id)
	if p.Organisation != north || p.Status != voting || len(p.TxId) != 32 || p.VotingEndsAt != p.MadeAt+2*minute {
		t.Errorf("%v", p)
	}
	if !slices.Equal(p.Kinds, []governancev1.Kind{kindMembership, kindParameters}) || p.Rule.Threshold != 666_667 {
		t.Errorf("kinds %v, rule %v", p.Kinds, p.Rule)
	}
	h.votes(id, yes, north, south)
	h.is(id, voting)
	r := h.Do(east, ballot(id, yes))
	answer := chaintest.Response[governancev1.VoteResponse](t, r)
	if answer.Status != passed || answer.Tally.Yes != 3 || len(answer.Tally.Waiting) != 1 || answer.Tally.Waiting[0] != west {
		t.Errorf("%v", answer)
	}
	if ended := chaintest.Events[governancev1.VotingEnded](t, r); len(ended) != 1 || ended[0].Status != passed || ended[0].ExecutesAt != h.Now+minute {
		t.Errorf("%v", ended)
	}
	h.is(id, passed)
	h.wait(minute - 2*chaintest.BlockTime)
	h.is(id, passed) // the time-lock has a second left
	h.Block()
	h.is(id, executed)
	o := h.outcome(id)
	if o.Code != 0 || len(o.Responses) != 2 || len(o.Events) != 2 || o.Units == 0 || !bytes.Equal(o.EventsHash, chain.EventsHash(o.Events)) {
		t.Errorf("%v", o)
	}
	if got := h.App().Params(h.View()).MaxMessages; got != 9 || h.did("a") != 1 {
		t.Errorf("max_messages is %d, and a was deleted %d times", got, h.did("a"))
	}
	for range 5 {
		h.wait(hour)
	}
	if h.did("a") != 1 {
		t.Errorf("it was executed %d times", h.did("a"))
	}
	h.CheckGenesis()
}

func TestWhoMayPropose(t *testing.T) {
	h := newHall(t, func(p *governancev1.Params) { p.Weights = []*governancev1.Weight{{Organisation: west, Weight: 0}} })
	h.Fails(ErrNoVote, far, h.propose(group("a")))
	h.Fails(ErrNoVote, west, h.propose(group("a")))
	h.Fails(ErrNoVote, chaintest.Consortium, h.propose(group("a")))
	h.Fails(ErrNoVote, north+":ann", h.propose(group("a"))) // the organisation is the author; its administrators sign
	h.id.suspended[north] = true
	h.Fails(ErrNoVote, north, h.propose(group("a")))
	delete(h.id.suspended, north)
	id := h.made(north, group("a"))
	h.Fails(ErrNoVote, far, ballot(id, yes))
	h.Fails(ErrNoVote, west, ballot(id, yes))
	h.Fails(ErrNoVote, chaintest.Consortium, ballot(id, yes))
}

// What cannot be executed is refused with the reason of the module that refuses it, and
// nothing is left of the attempt.
func TestWhatCannotBeExecutedIsNotProposed(t *testing.T) {
	h := newHall(t)
	h.Fails(chain.ErrBadParams, north, h.propose(chainParams(func(p *chainv1.Params) { p.MaxMessages = 0 })))
	h.Fails(ErrNotConsortium, north, h.propose(group("a"), group("fail")))
	h.Fails(ErrFewValidators, north, h.propose(&identityv1.BindValidator{Power: 1})) // three of four
	h.id.validators = 5
	h.made(north, &identityv1.BindValidator{Power: 1})
	h.Fails(ErrFewValidators, north, h.propose(&identityv1.BindValidator{Power: 2}))
	h.id.validators = 3 // with fewer than the least the rule rests
	h.made(south, &identityv1.BindValidator{Power: 1})
	if h.did("a") != 0 || h.View().Lookup(goneKey) != nil {
		t.Error("a rehearsal left something")
	}
	h = newHall(t, func(p *governancev1.Params) { p.MaxMessages = 100 })
	dear := slices.Repeat([]proto.Message{group(strings.Repeat("g", 200))}, 100)
	h.made(north, dear...)
	h.Do(chaintest.Consortium, chainParams(func(p *chainv1.Params) { p.MaxTxUnits = 900_000 }))
	h.Fails(chain.ErrOutOfUnits, south, h.propose(dear...))
}

func TestMalformedProposals(t *testing.T) {
	h := newHall(t)
	many := make([][]byte, 101)
	for i := range many {
		many[i] = raws(t, group("a"))[0]
	}
	for name, c := range map[string]struct {
		want   *errs.Error
		change func(*governancev1.Propose)
	}{
		"no title":      {ErrInvalid, func(p *governancev1.Propose) { p.Title = "" }},
		"blank":         {ErrInvalid, func(p *governancev1.Propose) { p.Title = "  " }},
		"long title":    {ErrInvalid, func(p *governancev1.Propose) { p.Title = strings.Repeat("a ", 61) }},
		"control":       {ErrInvalid, func(p *governancev1.Propose) { p.Title = "a\nb" }},
		"address":       {ErrPersonal, func(p *governancev1.Propose) { p.Title = "ask ann@mercy.example" }},
		"telephone":     {ErrPersonal, func(p *governancev1.Propose) { p.Title = "call 0151 234-5678" }},
		"token":         {ErrPersonal, func(p *governancev1.Propose) { p.Title = strings.Repeat("x", 41) }},
		"no hash":       {ErrInvalid, func(p *governancev1.Propose) { p.RationaleHash = nil }},
		"short hash":    {ErrInvalid, func(p *governancev1.Propose) { p.RationaleHash = make([]byte, 31) }},
		"http":          {ErrInvalid, func(p *governancev1.Propose) { p.RationaleLink = "http://mercy.example/" }},
		"no host":       {ErrInvalid, func(p *governancev1.Propose) { p.RationaleLink = "https:///x" }},
		"space":         {ErrInvalid, func(p *governancev1.Propose) { p.RationaleLink = "https://mercy.example/a b" }},
		"long link":     {ErrInvalid, func(p *governancev1.Propose) { p.RationaleLink = "https://m/" + strings.Repeat("a", 256) }},
		"token in link": {ErrPersonal, func(p *governancev1.Propose) { p.RationaleLink = "https://mercy.example/?token=1" }},
		"user in link":  {ErrPersonal, func(p *governancev1.Propose) { p.RationaleLink = "https://ann@mercy.example/" }},
		"no messages":   {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = nil }},
		"garbage":       {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = [][]byte{[]byte("garbage")} }},
		"empty message": {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = [][]byte{{}} }},
		"many messages": {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = many[:21] }},
		"too many":      {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = many }},
		"a proposal":    {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = raws(t, h.propose(group("a"))) }},
		"a vote":        {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = raws(t, ballot(1, yes)) }},
		"a recovery":    {ErrBadMessages, func(p *governancev1.Propose) { p.Messages = raws(t, &identityv1.RequestRecovery{}) }},
		"many bytes": {ErrBadMessages, func(p *governancev1.Propose) {
			p.Messages = raws(t, &threatv1.AddModelChunk{Bytes: make([]byte, 64<<10)})
		}},
		"short period": {ErrPeriod, func(p *governancev1.Propose) { p.VotingMs = minute - 1 }},
		"long period":  {ErrPeriod, func(p *governancev1.Propose) { p.VotingMs = hour + 1 }},
		"negative":     {ErrPeriod, func(p *governancev1.Propose) { p.VotingMs = -1 }},
		"rules at once": {ErrNoEmergency, func(p *governancev1.Propose) {
			p.Emergency, p.Messages = true, raws(t, &governancev1.SetParams{Params: quick()})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := h.propose(group("a"))
			c.change(p)
			h.Fails(c.want, north, p)
		})
	}
	for _, title := range []string{"Retire the model of 2026-11-28", "Bind 4 validators of Mercy", "Ärzte für alle"} {
		if err := checkTitle(title); err != nil {
			t.Errorf("%q: %v", title, err)
		}
	}
}

func TestHowMuchAnOrganisationProposes(t *testing.T) {
	h := newHall(t, func(p *governancev1.Params) { p.MaxOpen, p.MaxPerDay = 2, 3 })
	first := h.made(north, group("a"))
	h.made(north, group("b"))
	h.Fails(ErrTooMany, north, h.propose(group("c"))) // two are open
	h.made(south, group("c"))
	h.Do(north, &governancev1.Cancel{ProposalId: first})
	third := h.made(north, group("d"))
	h.Do(north, &governancev1.Cancel{ProposalId: third})
	h.Fails(ErrTooMany, north, h.propose(group("e"))) // three within a day
	h.wait(day)
	h.made(north, group("e"))
	h.CheckGenesis()
}

// The kind of a proposal is that of its messages, its rule the strictest of them.
func TestKindsAndRules(t *testing.T) {
	p := DefaultParams()
	for _, c := range []struct {
		message   proto.Message
		kind      governancev1.Kind
		threshold uint32
	}{
		{&chainv1.SetParams{}, kindParameters, 500_001},
		{&threatv1.SetParams{}, kindParameters, 500_001},
		{&threatv1.RegisterModel{}, kindModel, 500_001},
		{&identityv1.RegisterOrganisation{}, kindMembership, 666_667},
		{&identityv1.SetAdministrators{}, kindMembership, 666_667},
		{&identityv1.Suspend{}, kindMembership, 666_667},
		{&identityv1.BindValidator{}, kindValidators, 666_667},
		{&governancev1.Cancel{}, kindOther, 500_001},
		{&governancev1.SetParams{}, kindRules, 666_667},
	} {
		got := kindsOf([]proto.Message{c.message, c.message})
		if len(got) != 1 || got[0] != c.kind {
			t.Errorf("%T is %v, want %s", c.message, got, c.kind)
		}
		if r := ruleFor(p, got, false); r.Threshold != c.threshold || r.TimeLockMs == 0 || r.Veto != 333_334 {
			t.Errorf("%T needs %v", c.message, r)
		}
		if r := ruleFor(p, got, true); r.Threshold != 750_000 || r.Quorum != 750_000 || r.TimeLockMs != 0 || r.VotingMs != 4*hour {
			t.Errorf("%T needs %v in an emergency", c.message, r)
		}
	}
	if r := ruleFor(p, []governancev1.Kind{kindRules}, false); r.TimeLockMs != 3*day {
		t.Errorf("a change of the rules needs %v, not the strictest", r)
	}
}

func TestBadParams(t *testing.T) {
	if err := CheckParams(DefaultParams()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*governancev1.Params){
		"no rules":      func(p *governancev1.Params) { p.Rules = nil },
		"unsorted":      func(p *governancev1.Params) { p.Rules[0], p.Rules[1] = p.Rules[1], p.Rules[0] },
		"rule missing":  func(p *governancev1.Params) { p.Rules[0].Rule = nil },
		"half":          func(p *governancev1.Params) { p.Rules[0].Rule.Threshold = 500_000 },
		"more than all": func(p *governancev1.Params) { p.Rules[0].Rule.Threshold = 1_000_001 },
		"no quorum":     func(p *governancev1.Params) { p.Rules[0].Rule.Quorum = 0 },
		"no veto":       func(p *governancev1.Params) { p.Rules[0].Rule.Veto = 0 },
		"no time":       func(p *governancev1.Params) { p.Rules[0].Rule.MinVotingMs = 0 },
		"times":         func(p *governancev1.Params) { p.Rules[0].Rule.VotingMs = p.Rules[0].Rule.MaxVotingMs + 1 },
		"lock":          func(p *governancev1.Params) { p.Rules[0].Rule.TimeLockMs = -1 },
		"no emergency":  func(p *governancev1.Params) { p.Emergency = nil },
		"weight 1":      func(p *governancev1.Params) { p.Weights = []*governancev1.Weight{{Organisation: "a", Weight: 1}} },
		"weight 1001":   func(p *governancev1.Params) { p.Weights = []*governancev1.Weight{{Organisation: "a", Weight: 1001}} },
		"twice": func(p *governancev1.Params) {
			p.Weights = []*governancev1.Weight{{Organisation: "a"}, {Organisation: "a"}}
		},
		"nobody":         func(p *governancev1.Params) { p.Weights = []*governancev1.Weight{{}} },
		"none open":      func(p *governancev1.Params) { p.MaxOpen = 0 },
		"none a day":     func(p *governancev1.Params) { p.MaxPerDay = 0 },
		"no messages":    func(p *governancev1.Params) { p.MaxMessages = 0 },
		"few bytes":      func(p *governancev1.Params) { p.MaxBytes = 1 },
		"no grace":       func(p *governancev1.Params) { p.GraceMs = 0 },
		"no executions":  func(p *governancev1.Params) { p.MaxExecutions = 0 },
		"no validators":  func(p *governancev1.Params) { p.MinValidators = 0 },
		"many executed":  func(p *governancev1.Params) { p.MaxExecutions = 17 },
		"many proposals": func(p *governancev1.Params) { p.MaxOpen = 101 },
	} {
		p := DefaultParams()
		change(p)
		if err := CheckParams(p); err == nil || !errs.As(err).Is(ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := newHall(t)
	h.Fails(ErrNotConsortium, north, &governancev1.SetParams{Params: quick()})
	p := quick()
	for _, did := range compass[:3] {
		p.Weights = append(p.Weights, &governancev1.Weight{Organisation: did})
	}
	h.Fails(ErrNoElectorate, chaintest.Consortium, &governancev1.SetParams{Params: p}) // one vote is left, and it takes two
	p.Weights = p.Weights[:2]
	h.Do(chaintest.Consortium, &governancev1.SetParams{Params: p})
	h.CheckGenesis()
}
