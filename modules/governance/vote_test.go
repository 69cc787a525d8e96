package governance

import (
	"slices"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

func TestVotes(t *testing.T) {
	h := newHall(t)
	id := h.made(north, group("a"))
	h.Fails(ErrNotFound, north, ballot(9, yes))
	h.Fails(ErrInvalid, north, ballot(0, yes))
	h.Fails(ErrInvalid, north, ballot(id, 0))
	h.Fails(ErrInvalid, north, ballot(id, 5))
	h.Fails(ErrInvalid, north, &governancev1.Vote{ProposalId: id, Choice: yes, NoteHash: make([]byte, 31)})
	r := h.Do(north, &governancev1.Vote{ProposalId: id, Choice: no, NoteHash: make([]byte, 32)})
	if got := chaintest.Events[governancev1.Voted](t, r); len(got) != 1 || got[0].Ballot.Choice != no || got[0].Ballot.Changes != 0 {
		t.Errorf("%v", got)
	}
	h.votes(id, abstain, north)
	h.votes(id, yes, north)
	b, ok := h.m.ballots.Lookup(h.View(), state.Join(id, north))
	if !ok || b.Choice != yes || b.Changes != 2 {
		t.Errorf("%v", b)
	}
	h.Now += 3 * minute
	h.Fails(ErrNotVoting, north, ballot(id, no)) // its time is over before its block ends it
	h.wait(0)
	h.is(id, expired) // one of four is no quorum
	h.Fails(ErrNotVoting, north, ballot(id, no))
	h.CheckGenesis()
}

// How votes come out, at the end or before.
func TestOutcomes(t *testing.T) {
	type words map[string]governancev1.Choice
	for name, c := range map[string]struct {
		votes words
		early governancev1.Status // right after the votes
		late  governancev1.Status // when the voting has ended
	}{
		"three yes":               {words{north: yes, south: yes, east: yes}, passed, executed},
		"two yes":                 {words{north: yes, south: yes}, voting, expired},
		"two yes, one no":         {words{north: yes, south: yes, east: no}, voting, rejected},
		"two yes, one abstains":   {words{north: yes, south: yes, east: abstain}, voting, rejected}, // 2 of 3 is not more than two thirds
		"two yes, two abstain":    {words{north: yes, south: yes, east: abstain, west: abstain}, passed, executed},
		"one yes, three abstain":  {words{north: yes, south: abstain, east: abstain, west: abstain}, rejected, rejected}, // it takes two to act for the consortium
		"two no":                  {words{north: no, south: no}, rejected, rejected},
		"two veto":                {words{north: veto, south: veto}, vetoed, vetoed},
		"one veto, three yes":     {words{north: veto, south: yes, east: yes, west: yes}, passed, executed},
		"one veto":                {words{north: veto}, voting, expired},
		"four abstain":            {words{north: abstain, south: abstain, east: abstain, west: abstain}, rejected, rejected},
		"nobody votes":            {nil, voting, expired},
		"three abstain, one veto": {words{north: abstain, south: abstain, east: abstain, west: veto}, rejected, rejected},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t)
			id := h.made(north, group("a")) // membership: more than two thirds
			for _, did := range compass {
				if choice, ok := c.votes[did]; ok && h.get(id).Status == voting {
					h.votes(id, choice, did)
				}
			}
			h.is(id, c.early)
			h.wait(4 * minute)
			h.wait(minute)
			h.is(id, c.late)
			if got := h.did("a"); got != map[bool]int{true: 1}[c.late == executed] {
				t.Errorf("it was executed %d times", got)
			}
			h.CheckGenesis()
		})
	}
}

// Weights, members and suspensions count as they are when votes are counted.
func TestTheElectorate(t *testing.T) {
	h := newHall(t, func(p *governancev1.Params) {
		p.Weights = []*governancev1.Weight{{Organisation: east, Weight: 3}, {Organisation: west, Weight: 0}}
	})
	id := h.made(north, limit(9)) // more than half
	h.votes(id, yes, east)        // 3 of 5, and it takes two organisations
	h.is(id, voting)
	h.votes(id, yes, south)
	h.is(id, passed)

	// Who is suspended counts among all, and its vote does not.
	h = newHall(t)
	id = h.made(north, limit(9))
	h.votes(id, yes, north, south)
	h.id.suspended[north] = true
	h.votes(id, yes, east)
	p := h.get(id)
	if p.Status != voting {
		t.Fatalf("%s, with two of four active", p.Status)
	}
	tally := h.m.count(h.View(), p)
	if tally.Total != 4 || tally.Yes != 2 || tally.YesMissing != 1 || slices.Contains(tally.Waiting, north) {
		t.Errorf("%v", tally)
	}
	delete(h.id.suspended, north)
	h.votes(id, no, west)
	h.is(id, passed) // three of four

	// Who leaves takes its vote along, who joins has one.
	h = newHall(t)
	id = h.made(north, limit(9))
	h.votes(id, no, north)
	h.id.members = []string{east, far, south, west}
	h.Fails(ErrNoVote, north, ballot(id, yes))
	h.votes(id, yes, far, south, east)
	h.is(id, passed)

	// As many as have to sign for the consortium.
	h = newHall(t)
	h.id.threshold = 4
	id = h.made(north, limit(9))
	h.votes(id, yes, north, south, east)
	h.is(id, voting)
	h.votes(id, abstain, west)
	h.is(id, rejected)
}

func TestCancels(t *testing.T) {
	h := newHall(t)
	id := h.made(north, group("a"))
	h.Fails(ErrNotFound, north, &governancev1.Cancel{ProposalId: 9})
	h.Fails(ErrInvalid, north, &governancev1.Cancel{})
	h.Fails(ErrNotYours, south, &governancev1.Cancel{ProposalId: id})
	r := h.Do(north, &governancev1.Cancel{ProposalId: id})
	if got := chaintest.Events[governancev1.Cancelled](t, r); len(got) != 1 || got[0].By != north {
		t.Errorf("%v", got)
	}
	h.is(id, cancelled)
	h.Fails(ErrEnded, north, &governancev1.Cancel{ProposalId: id})
	h.Fails(ErrEnded, chaintest.Consortium, &governancev1.Cancel{ProposalId: id})
	h.Fails(ErrNotVoting, south, ballot(id, yes))

	id = h.made(north, group("b"))
	h.votes(id, yes, north, south, east)
	h.Fails(ErrNotYours, north, &governancev1.Cancel{ProposalId: id}) // it passed: the consortium's now
	h.Do(chaintest.Consortium, &governancev1.Cancel{ProposalId: id})
	h.is(id, cancelled)
	h.wait(10 * minute)
	if h.did("b") != 0 {
		t.Error("what was cancelled was executed")
	}

	// A proposal can cancel another, but not itself.
	first := h.made(north, group("c"))
	second := h.made(south, &governancev1.Cancel{ProposalId: first})
	h.votes(first, yes, north, south, east)
	h.votes(second, yes, north, south, east)
	h.wait(2 * minute)
	h.is(first, executed) // it came first, so that there was nothing left to cancel
	h.is(second, failed)
	if o := h.outcome(second); o.Codespace != moduleName || o.Code != ErrEnded.Code || len(o.Events) != 0 {
		t.Errorf("%v", o)
	}
	self := h.get(second).Id + 1
	h.Fails(ErrNotFound, north, h.propose(&governancev1.Cancel{ProposalId: self}))
	h.CheckGenesis()
}

func TestEmergencies(t *testing.T) {
	h := newHall(t)
	msg := h.propose(limit(9))
	msg.Emergency = true
	id := h.make(north, msg)
	if p := h.get(id); p.VotingEndsAt != p.MadeAt+minute || p.Rule.Threshold != 750_000 || p.Rule.TimeLockMs != 0 {
		t.Errorf("%v", p)
	}
	h.votes(id, yes, north, south)
	h.is(id, voting) // half is not enough
	h.Do(east, ballot(id, yes))
	h.is(id, executed) // three quarters, and no time-lock: the end of this very block
	if h.App().Params(h.View()).MaxMessages != 9 {
		t.Error("it had no effect")
	}
	id = h.make(north, msg)
	h.wait(minute)
	h.is(id, expired)
	h.CheckGenesis()
}

// What fails leaves its record and no other trace.
func TestAFailedExecution(t *testing.T) {
	h := newHall(t)
	id := h.made(north, limit(9), group("later"))
	block := h.made(south, group("block"))
	h.votes(block, yes, north, south, east)
	h.Now += 2 * chaintest.BlockTime
	h.votes(id, yes, north, south, east)
	h.wait(2 * minute)
	h.wait(2 * minute)
	h.is(block, executed)
	h.is(id, failed)
	o := h.outcome(id)
	if o.Codespace != moduleName || o.Code != ErrNotConsortium.Code || !strings.Contains(o.Log, "message 1") || len(o.Responses)+len(o.Events) != 0 || o.Units == 0 {
		t.Errorf("%v", o)
	}
	if h.did("later") != 0 || h.App().Params(h.View()).MaxMessages == 9 {
		t.Error("it had an effect")
	}
	h.wait(hour)
	if got := h.outcome(id); !got.EqualVT(o) {
		t.Error("it was executed again")
	}
	h.CheckGenesis()
}

// A block executes a bounded number, in the order of their times, and what waits too long
// lapses.
func TestBoundedWork(t *testing.T) {
	h := newHall(t, func(p *governancev1.Params) { p.MaxExecutions = 2 })
	var ids []uint64
	for _, did := range compass {
		id := h.made(did, group("same"))
		for _, voter := range compass[:3] {
			h.Do(voter, ballot(id, yes))
		}
		ids = append(ids, id)
	}
	h.Now += 3 * minute
	for want := 2; want <= 4; want += 2 {
		h.Block()
		if got := h.did("same"); got != want {
			t.Fatalf("%d were executed, want %d", got, want)
		}
	}
	id := h.made(north, group("late"))
	h.votes(id, yes, north, south, east)
	h.wait(minute + 10*minute + 2*chaintest.BlockTime) // the chain stood still
	h.is(id, expired)
	if h.did("late") != 0 {
		t.Error("what lapsed was executed")
	}
	for _, id := range ids {
		h.is(id, executed)
	}
	h.CheckGenesis()
}

// A proposal keeps the rule that it was made by; those made later have the new one.
func TestRulesChange(t *testing.T) {
	h := newHall(t)
	before := h.made(north, limit(8))
	p := quick()
	for _, k := range p.Rules {
		k.Rule.Threshold, k.Rule.Quorum = million, million
	}
	id := h.made(south, &governancev1.SetParams{Params: p})
	if got := h.get(id); !slices.Equal(got.Kinds, []governancev1.Kind{kindRules}) || got.Rule.Threshold != 666_667 {
		t.Errorf("%v", got)
	}
	h.votes(id, yes, north, south, east)
	h.wait(minute)
	h.is(id, executed)
	h.votes(before, yes, north, south, east)
	h.is(before, passed)
	after := h.made(north, limit(8))
	h.votes(after, yes, north, south, east)
	h.is(after, voting)
	h.CheckGenesis()
}
