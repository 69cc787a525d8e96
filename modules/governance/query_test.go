package governance

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

func TestQueries(t *testing.T) {
	h := newHall(t)
	q := &queries{m: h.m, at: h}
	ctx := t.Context()
	var ids []uint64
	for range 3 {
		ids = append(ids, h.made(north, limit(9)))
	}
	h.votes(ids[1], yes, north, south, east)
	all, err := q.Proposals(ctx, &governancev1.ProposalsRequest{Limit: 2})
	if err != nil || len(all.Proposals) != 2 || all.Proposals[0].Id != ids[2] {
		t.Fatalf("%v, %v", all, err)
	}
	rest, err := q.Proposals(ctx, &governancev1.ProposalsRequest{Limit: 2, PageToken: all.NextPageToken})
	if err != nil || len(rest.Proposals) != 1 || rest.Proposals[0].Id != ids[0] || len(rest.NextPageToken) != 0 {
		t.Fatalf("%v, %v", rest, err)
	}
	open, err := q.Proposals(ctx, &governancev1.ProposalsRequest{Status: voting, Limit: 1})
	if err != nil || len(open.Proposals) != 1 || open.Proposals[0].Id != ids[2] {
		t.Fatalf("%v, %v", open, err)
	}
	open, err = q.Proposals(ctx, &governancev1.ProposalsRequest{Status: voting, Limit: 1, PageToken: open.NextPageToken})
	if err != nil || len(open.Proposals) != 1 || open.Proposals[0].Id != ids[0] {
		t.Fatalf("%v, %v", open, err)
	}
	for name, bad := range map[string]*governancev1.ProposalsRequest{
		"limit": {Limit: 501}, "token": {PageToken: []byte{1}}, "token of a status": {Status: voting, PageToken: all.NextPageToken},
	} {
		if _, err := q.Proposals(ctx, bad); !errors.Is(err, ErrPage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := q.Proposals(ctx, &governancev1.ProposalsRequest{Status: 99}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an unknown status: %v", err)
	}
	tally, err := q.Tally(ctx, &governancev1.TallyRequest{ProposalId: ids[0]})
	if err != nil || tally.Tally.QuorumMissing != 3 || tally.Tally.YesMissing != 3 || tally.Tally.VetoMissing != 2 || len(tally.Tally.Waiting) != 4 {
		t.Errorf("%v, %v", tally, err)
	}
	if closed, err := q.Tally(ctx, &governancev1.TallyRequest{ProposalId: ids[1]}); err != nil || closed.Status != passed || closed.Tally.Yes != 3 {
		t.Errorf("%v, %v", closed, err)
	}
	if b, err := q.Ballots(ctx, &governancev1.BallotsRequest{ProposalId: ids[1]}); err != nil || len(b.Ballots) != 3 || b.Ballots[0].Organisation != east {
		t.Errorf("%v, %v", b, err)
	}
	if b, err := q.Ballot(ctx, &governancev1.BallotRequest{ProposalId: ids[1], Organisation: north}); err != nil || b.Ballot.Choice != yes {
		t.Errorf("%v, %v", b, err)
	}
	_, noProposal := q.Proposal(ctx, &governancev1.ProposalRequest{ProposalId: 99})
	_, noTally := q.Tally(ctx, &governancev1.TallyRequest{ProposalId: 99})
	_, noBallot := q.Ballot(ctx, &governancev1.BallotRequest{ProposalId: ids[1], Organisation: west})
	_, noOutcome := q.Outcome(ctx, &governancev1.OutcomeRequest{ProposalId: ids[1]})
	_, noPreview := q.Preview(ctx, &governancev1.PreviewRequest{ProposalId: 99})
	for i, err := range []error{noProposal, noTally, noBallot, noOutcome, noPreview} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A preview says what a proposal would change, and changes nothing.
func TestPreviews(t *testing.T) {
	h := newHall(t)
	q := &queries{m: h.m, at: h}
	id := h.made(north, limit(9), group("a"))
	root := string(h.Root())
	for name, req := range map[string]*governancev1.PreviewRequest{
		"a proposal": {ProposalId: id}, "messages": {Messages: raws(t, limit(9), group("a"))},
	} {
		r, err := q.Preview(t.Context(), req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Outcome.Code != 0 || len(r.Outcome.Events) != 2 || r.Outcome.Height != h.Height()+1 || r.Rule.Threshold != 666_667 || len(r.Kinds) != 2 {
			t.Errorf("%s: %v", name, r)
		}
		if len(r.Changes) != 2 || r.Changes[0].Collection != "chain/params" || r.Changes[0].Before == r.Changes[0].After || r.Changes[1].BeforeBytes != 0 {
			t.Errorf("%s: %v", name, r.Changes)
		}
	}
	r, err := q.Preview(t.Context(), &governancev1.PreviewRequest{Messages: raws(t, chainParams(func(p *chainv1.Params) { p.MaxMessages = 0 }))})
	if err != nil || r.Outcome.Code != chain.ErrBadParams.Code || r.Outcome.Codespace != "chain" || len(r.Changes) != 0 {
		t.Errorf("%v, %v", r, err)
	}
	for _, bad := range []*governancev1.PreviewRequest{{}, {ProposalId: id, Messages: raws(t, limit(1))}, {Messages: [][]byte{{1}}}} {
		if _, err := q.Preview(t.Context(), bad); err == nil {
			t.Errorf("%v was previewed", bad)
		}
	}
	if string(h.Root()) != root {
		t.Error("a preview changed the state")
	}
}

// A rehearsal is charged to who proposes: SPEC G3.
func TestARehearsalIsCharged(t *testing.T) {
	h := newHall(t)
	one := h.Block(h.Tx(north, msgs(h.propose(group("a")))))[0]
	ten := h.propose()
	for range 10 {
		ten.Messages = append(ten.Messages, raws(t, group("a"))...)
	}
	more := h.Block(h.Tx(north, msgs(ten)))[0]
	// A write each, a read each, and what the proposal itself grows by.
	if costs := h.App().Params(h.View()).Costs; one.Code != 0 || more.Code != 0 || more.Units < one.Units+9*(costs.Write+costs.Read) {
		t.Errorf("one message costs %d units, ten %d", one.Units, more.Units)
	}
}

// A genesis that could not have come about is refused.
func TestBadGenesis(t *testing.T) {
	h := newHall(t)
	id := h.made(north, group("a"))
	h.votes(id, yes, north, south, east)
	h.wait(2 * minute)
	h.is(id, executed)
	h.made(south, group("b"))
	exported, err := h.m.ExportGenesis(h.View())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*governancev1.Genesis){
		"params":            func(g *governancev1.Genesis) { g.Params.MaxOpen = 0 },
		"twice":             func(g *governancev1.Genesis) { g.Proposals = append(g.Proposals, g.Proposals[0]) },
		"no id":             func(g *governancev1.Genesis) { g.Proposals[0].Id = 0 },
		"status":            func(g *governancev1.Genesis) { g.Proposals[0].Status = 99 },
		"times":             func(g *governancev1.Genesis) { g.Proposals[0].VotingEndsAt = 0 },
		"kinds":             func(g *governancev1.Genesis) { g.Proposals[0].Kinds = []governancev1.Kind{kindOther} },
		"messages":          func(g *governancev1.Genesis) { g.Proposals[0].Messages = nil },
		"rule":              func(g *governancev1.Genesis) { g.Proposals[0].Rule.Threshold = 1 },
		"no outcome":        func(g *governancev1.Genesis) { g.Outcomes = nil },
		"outcome failed":    func(g *governancev1.Genesis) { g.Outcomes[0].Code = 1 },
		"outcome of a vote": func(g *governancev1.Genesis) { g.Outcomes[0].ProposalId = 2 },
		"decided":           func(g *governancev1.Genesis) { g.Proposals[1].DecidedAt = 7 },
		"ballot":            func(g *governancev1.Genesis) { g.Ballots[0].ProposalId = 99 },
		"ballot twice":      func(g *governancev1.Genesis) { g.Ballots = append(g.Ballots, g.Ballots[0]) },
		"choice":            func(g *governancev1.Genesis) { g.Ballots[0].Choice = 0 },
	} {
		g := exported.(*governancev1.Genesis).CloneVT()
		change(g)
		raw, err := chain.WriteGenesis(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := tryGenesis(t, raw); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// tryGenesis reads a genesis section into a chain that has none yet.
func tryGenesis(t *testing.T, section []byte) error {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 100, ValueCache: 100})
	if err != nil {
		t.Fatal(err)
	}
	id := &register{members: compass, threshold: 2, validators: 4}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Partial: true, Rand: rand.Reader,
		Modules: []chain.Module{New(Deps{Identity: id}), stand{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, fmt.Appendf(nil, `{"governance": %s}`, section))
	return err
}
