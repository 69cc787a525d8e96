package threat

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	acts      = threatv1.ResponseStatus_RESPONSE_STATUS_ACTIVE
	hasEnded  = threatv1.ResponseStatus_RESPONSE_STATUS_EXPIRED
	lifted    = threatv1.ResponseStatus_RESPONSE_STATUS_LIFTED
	fulfilled = threatv1.ResponseStatus_RESPONSE_STATUS_FULFILLED
)

func responding(s *situation) func(*Module, *chain.Ctx) {
	return func(m *Module, ctx *chain.Ctx) { m.after(ctx, s.seen(m, ctx)) }
}

// responses are those about a subject, by the query.
func (w *town) responsesAbout(subject string) []*threatv1.Response {
	w.t.Helper()
	out, err := w.queries().Responses(context.Background(), &threatv1.ResponsesRequest{Subject: subject})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Responses
}

// only is the one response about a subject.
func (w *town) only(subject string) *threatv1.Response {
	w.t.Helper()
	list := w.responsesAbout(subject)
	if len(list) != 1 {
		w.t.Fatalf("%d responses about %s, want 1", len(list), subject)
	}
	return list[0]
}

func (w *town) wantHeld(s *situation, playbook string, approvals uint32) {
	w.t.Helper()
	hold, by, n := w.m.before(w.View(), s.seen(w.m, w.View()))
	if hold != (playbook != "") || by != playbook || n != approvals {
		w.t.Fatalf("held: %v, by %q, with %d approvals; want %q and %d", hold, by, n, playbook, approvals)
	}
}

func TestPlaybooksHoldWhatIsAlarming(t *testing.T) {
	w := newTown(t)
	w.sets(book("b-step", when("context.score >= 7000"), stepUp))
	s := func(score uint32) *situation { return suspected(amy, score, few(decide("r"))) }
	w.wantHeld(s(6999), "", 0)
	w.wantHeld(s(7000), "b-step", 2)
	more := book("c-step", when("context.score >= 7500"), stepUp)
	more.StepUpApprovals = 3
	w.sets(more)
	w.wantHeld(s(7500), "c-step", 3) // that which asks for most
	w.sets(book("d-hold", when("context.score >= 8000"), holds))
	w.wantHeld(s(8000), "d-hold", 0) // reviewers of several organisations before one's own
	w.wantHeld(suspected(chaintest.Consortium, 9000, few(decide("r"))), "", 0)
	w.wantHeld(suspected(amy, 9000, few(&identityv1.RotateKey{})), "", 0)
	w.wantHeld(suspected(amy, 9000, few(&identityv1.RotateKey{}, decide("r"))), "d-hold", 0)

	// Below the alarm playbooks look only where the common risk is high.
	w.sets(book("a-calm", when("context.commonRisk >= 3 || context.organisationRisk >= 3"), holds))
	w.wantHeld(s(0), "", 0)
	until := w.Now + 100_000
	says := func(subject string, risk threatv1.Risk) {
		w.hears(vote(t, birch, assessment(subject, risk, until)), vote(t, cypres, assessment(subject, risk, until)), vote(t, dogwd, assessment(subject, risk, until)))
	}
	says(amy, guarded)
	w.wantHeld(s(0), "", 0)
	says(amy, high)
	w.wantHeld(s(0), "a-calm", 0)
	w.wantHeld(suspected(ada, 0, few(decide("r"))), "", 0)
	says(alder, severe)
	w.wantHeld(suspected(ada, 0, few(decide("r"))), "a-calm", 0)
}

func TestResponsesAreRecordedOnceAndEndByThemselves(t *testing.T) {
	w := newTown(t)
	w.sets(book("watch", when("context.score >= 7000"), notify, bars, revokes))
	s := suspected(amy, 7000, few(decide("r")))
	s.model = bytes.Repeat([]byte{7}, 32)
	w.step(responding(suspected(amy, 6500, few(decide("r")))))
	if n := len(w.responsesAbout(amy)); n != 0 {
		t.Fatalf("%d responses where no condition was met", n)
	}
	if e := foresee[threatv1.Responded](w, responding(s)); len(e) != 3 {
		t.Fatalf("events: %v", e)
	}
	w.step(responding(s))
	taken := w.Now
	list := w.responsesAbout(amy)
	if len(list) != 3 || w.folk.Active(w.View(), amy) {
		t.Fatalf("%d responses, active: %v", len(list), w.folk.Active(w.View(), amy))
	}
	outcomes := map[threatv1.Action]string{notify: "emitted", bars: "suspended", revokes: "3 granted"}
	for _, rec := range list {
		if rec.Playbook != "watch" || rec.Status != acts || rec.Time != taken || rec.ExpiresAt != taken+minResponseMs || rec.Height != w.Height() ||
			!bytes.Equal(rec.TxId, s.candidate.ID[:]) || rec.Verdict.Score != 7000 || !bytes.Equal(rec.Model, s.model) || rec.PlaybookVersion == 0 ||
			!strings.Contains(rec.Outcome, outcomes[rec.Action]) {
			t.Errorf("record: %v", rec)
		}
		one, err := w.queries().Response(context.Background(), &threatv1.ResponseRequest{Id: rec.Id})
		if err != nil || !one.Response.EqualVT(rec) {
			t.Errorf("the query says %v, %v", one, err)
		}
	}
	// The same again changes nothing.
	w.step(responding(suspected(amy, 9000, few(decide("other")))))
	if n := len(w.responsesAbout(amy)); n != 3 {
		t.Fatalf("%d responses", n)
	}
	if n, _ := w.folk.revoked.Lookup(w.View(), amy); n != 1 {
		t.Errorf("grants were revoked %d times", n)
	}
	w.CheckGenesis()

	w.Now = taken + minResponseMs - chaintest.BlockTime - 1
	w.Block()
	if w.folk.Active(w.View(), amy) {
		t.Fatal("it ended early")
	}
	w.Now = taken + minResponseMs - chaintest.BlockTime
	if e := foresee[threatv1.ResponseEnded](w, nil); len(e) != 3 {
		t.Errorf("events: %v", e)
	}
	w.Block()
	for _, rec := range w.responsesAbout(amy) {
		if rec.Status != hasEnded || rec.EndedTime != w.Now {
			t.Errorf("record: %v", rec)
		}
	}
	if !w.folk.Active(w.View(), amy) || w.m.acting.Has(w.View(), amy) {
		t.Error("something of it still acts")
	}
	// And then it may be done again.
	again := suspected(amy, 9000, few(decide("r")))
	again.candidate.ID[0]++
	w.step(responding(again))
	if n := len(w.responsesAbout(amy)); n != 6 || w.folk.Active(w.View(), amy) {
		t.Errorf("%d responses", n)
	}
	w.CheckGenesis()
}

func TestASuspensionEndsWithItsLastResponse(t *testing.T) {
	w := newTown(t)
	w.sets(book("a", always, bars))
	w.step(responding(suspected(amy, 7000, few(decide("r")))))
	long := book("b", always, bars)
	long.LastsMs = 2 * minResponseMs
	w.sets(long)
	w.step(responding(suspected(amy, 7000, few(decide("r")))))
	w.Now += minResponseMs
	w.Block()
	if w.folk.Active(w.View(), amy) {
		t.Fatal("reinstated while another response suspends")
	}
	w.Now += minResponseMs
	w.Block()
	if !w.folk.Active(w.View(), amy) {
		t.Fatal("not reinstated at last")
	}
}

func TestNobodyIsLockedOut(t *testing.T) {
	w := newTown(t)
	w.needed = []string{abe}
	w.sets(book("all", always, bars, revokes, rotates))
	w.step(responding(suspected(abe, 9000, few(decide("r")))))
	w.step(responding(suspected(chaintest.Consortium, 9000, few(decide("r")), bob)))
	r := w.View()
	if !w.folk.Active(r, abe) || !w.folk.Active(r, chaintest.Consortium) {
		t.Fatal("suspended")
	}
	for _, rec := range w.responsesAbout(abe) {
		if rec.Action == bars && !strings.Contains(rec.Outcome, "not suspended") {
			t.Errorf("outcome: %s", rec.Outcome)
		}
	}
	for _, rec := range w.responsesAbout(chaintest.Consortium) {
		if !strings.Contains(rec.Outcome, "nothing was done") {
			t.Errorf("outcome: %s", rec.Outcome)
		}
	}
	if n, _ := w.folk.revoked.Lookup(r, chaintest.Consortium); n != 0 {
		t.Error("grants of the consortium were revoked")
	}
}

// While verdicts are not carried out, playbooks tell and do nothing.
func TestInLogModePlaybooksOnlyTell(t *testing.T) {
	w := newTown(t, func(g *threatv1.Genesis) { g.Params.Mode = threatv1.Mode_MODE_LOG })
	w.sets(book("all", always, notify, bars, revokes, rotates))
	w.step(responding(suspected(amy, 9000, few(decide("r")))))
	if rec := w.only(amy); rec.Action != notify {
		t.Errorf("record: %v", rec)
	}
}

func TestKeysAreRotatedBeforeAnythingElse(t *testing.T) {
	w := newTown(t)
	w.sets(book("keys", always, rotates))
	calm := suspected(amy, 0, few(decide("r")))
	w.step(responding(suspected(amy, 7000, few(decide("r")))))
	since := w.Now
	w.wantHeld(calm, "keys", 0)
	w.wantHeld(suspected(amy, 0, few(&identityv1.RotateKey{})), "", 0)
	w.wantHeld(suspected(ada, 0, few(decide("r"))), "", 0)
	w.CheckGenesis()
	// A key of the very moment may be the one that was stolen.
	w.keys[amy] = since
	w.wantHeld(calm, "keys", 0)
	w.Block()
	w.keys[amy] = w.Now
	w.wantHeld(calm, "", 0)
	w.step(responding(calm))
	if rec := w.only(amy); rec.Status != fulfilled || rec.EndedTime != w.Now {
		t.Errorf("record: %v", rec)
	}

	// For an organisation without a key of its own those who signed are asked.
	w.step(responding(suspected(alder, 7000, few(decide("r")), abe, ada)))
	w.only(abe)
	if n := len(w.responsesAbout(alder)); n != 0 {
		t.Errorf("%d responses about one that has no key", n)
	}
	w.wantHeld(suspected(alder, 0, few(decide("r")), ada, bob), "keys", 0)
	w.Block()
	w.keys[ada] = w.Now
	w.wantHeld(suspected(alder, 0, few(decide("r")), ada), "", 0)
	w.wantHeld(suspected(abe, 0, few(decide("r"))), "keys", 0)
	// It ends by itself; rotated in time is fulfilled.
	w.Now += minResponseMs
	w.wantHeld(suspected(abe, 0, few(decide("r"))), "keys", 0) // the latest block is of before
	w.Block()
	w.wantHeld(suspected(abe, 0, few(decide("r"))), "", 0)
	if a, b := w.only(abe).Status, w.only(ada).Status; a != hasEnded || b != fulfilled {
		t.Errorf("%s and %s", a, b)
	}
}

func TestReviewersLiftAResponse(t *testing.T) {
	w := newTown(t)
	w.sets(book("bar", always, bars))
	w.step(responding(suspected(amy, 7000, few(decide("r")))))
	id := w.only(amy).Id
	lift := func(keep bool) *threatv1.Lift { return &threatv1.Lift{ResponseId: id, Keep: keep} }
	w.Fails(ErrInvalid, bob, &threatv1.Lift{ResponseId: []byte("short")})
	w.Fails(ErrInvalid, bob, &threatv1.Lift{ResponseId: id, NoteHash: []byte("short")})
	w.Fails(ErrNotFound, bob, &threatv1.Lift{ResponseId: make([]byte, 32)})
	w.Fails(ErrNotReviewer, amy, lift(false))

	got := func(author string, keep bool) *threatv1.LiftResponse {
		return chaintest.Response[threatv1.LiftResponse](t, w.Do(author, lift(keep)))
	}
	if r := got(abe, false); r.Status != acts || r.Have != 1 || r.Want != 2 {
		t.Errorf("%v", r)
	}
	w.Fails(ErrTwice, ada, lift(false))
	if r := got(dan, true); r.Status != acts || r.Have != 1 || r.Want != 2 {
		t.Errorf("a word for keeping it: %v", r)
	}
	w.Fails(ErrTwice, dan, lift(false))
	w.CheckGenesis()
	r := w.Do(bob, lift(false))
	if e := chaintest.Events[threatv1.ResponseEnded](t, r); len(e) != 1 || e[0].Response.Status != lifted {
		t.Errorf("events: %v", e)
	}
	if e := chaintest.Events[threatv1.Reviewed](t, r); len(e) != 1 || !bytes.Equal(e[0].ResponseId, id) || !e[0].Opinion.Release {
		t.Errorf("events: %v", e)
	}
	if rec := w.only(amy); rec.Status != lifted || len(rec.Reviews) != 3 || !w.folk.Active(w.View(), amy) {
		t.Errorf("record: %v", rec)
	}
	w.Fails(ErrWrongStatus, cat, lift(false))
	w.CheckGenesis()
}

// Of those whose word lifts a response, one is not of the subject's organisation; and an
// organisation does not speak in its own case.
func TestAnOrganisationDoesNotLiftItsOwn(t *testing.T) {
	w := newTown(t, func(g *threatv1.Genesis) { g.Params.Reviewers = 1 })
	w.sets(book("bar", always, bars))
	w.step(responding(suspected(amy, 7000, few(decide("r")))))
	r := chaintest.Response[threatv1.LiftResponse](t, w.Do(abe, &threatv1.Lift{ResponseId: w.only(amy).Id}))
	if r.Status != acts || r.Have != 1 || r.Want != 2 {
		t.Errorf("%v", r)
	}
	w.sets(book("tell", always, notify))
	w.Do(chaintest.Consortium, &threatv1.RemovePlaybook{Name: "bar"})
	w.step(responding(suspected(birch, 7000, few(decide("r")))))
	w.Fails(ErrNotReviewer, bob, &threatv1.Lift{ResponseId: w.only(birch).Id})
	w.Fails(ErrNotReviewer, birch, &threatv1.Lift{ResponseId: w.only(birch).Id})
	w.Do(cat, &threatv1.Lift{ResponseId: w.only(birch).Id})
	if s := w.only(birch).Status; s != lifted {
		t.Errorf("%s", s)
	}
}

func TestAResponseIsAppealed(t *testing.T) {
	w := newTown(t)
	w.sets(book("tell", always, notify))
	w.step(responding(suspected(amy, 7000, few(decide("r")))))
	id := w.only(amy).Id
	appeal := &threatv1.Appeal{Against: &threatv1.Appeal_ResponseId{ResponseId: id}, TextHash: bytes.Repeat([]byte{1}, 32)}
	w.Fails(ErrNotAppellant, bob, appeal)
	if e := chaintest.Events[threatv1.Appealed](t, w.Do(amy, appeal)); len(e) != 1 || e[0].Appeal.Author != amy {
		t.Errorf("events: %v", e)
	}
	w.Do(abe, appeal)
	w.Fails(ErrTooMany, alder, appeal)
	if rec := w.only(amy); len(rec.Appeals) != 2 || rec.Status != acts {
		t.Errorf("record: %v", rec)
	}
	w.Now += minResponseMs
	w.Block()
	w.Fails(ErrWrongStatus, amy, appeal)
}

func TestResponsesAreListedPageByPage(t *testing.T) {
	w := newTown(t)
	w.sets(book("tell", always, notify, revokes))
	for _, did := range []string{amy, bob, cat} {
		w.step(responding(suspected(did, 7000, few(decide("r")))))
	}
	pages := func(subject string) (n int) {
		var token []byte
		for {
			out, err := w.queries().Responses(context.Background(), &threatv1.ResponsesRequest{Subject: subject, Limit: 1, PageToken: token})
			if err != nil || len(out.Responses) > 1 {
				t.Fatalf("%v, %v", out, err)
			}
			n += len(out.Responses)
			if token = out.NextPageToken; len(token) == 0 {
				return n
			}
		}
	}
	if all, one := pages(""), pages(bob); all != 6 || one != 2 {
		t.Errorf("%d of all, %d of one", all, one)
	}
	for _, bad := range []*threatv1.ResponsesRequest{{Limit: 501}, {Subject: "bob"}, {PageToken: make([]byte, 600)}} {
		if _, err := w.queries().Responses(context.Background(), bad); err == nil {
			t.Errorf("%v is answered", bad)
		}
	}
	if _, err := w.queries().Response(context.Background(), &threatv1.ResponseRequest{Id: make([]byte, 32)}); err == nil {
		t.Error("a response that is not there is answered")
	}
}

// No more than a bounded number expire in one block, and those that wait act no more.
func TestResponsesExpireWithinBounds(t *testing.T) {
	w := newTown(t)
	w.sets(book("keys", always, rotates))
	n := 2*maxResponsesEnded + 10
	names := make([]string, n)
	for i := range names {
		names[i] = alder + ":many-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		w.kinds[names[i]], w.keys[names[i]] = "device", 1
	}
	w.step(func(m *Module, ctx *chain.Ctx) {
		for _, did := range names {
			m.after(ctx, suspected(did, 7000, few(decide("r"))).seen(m, ctx))
		}
	})
	w.Now += minResponseMs
	for blocks := 1; ; blocks++ {
		w.Block()
		left := 0
		for range w.m.responsesDue.Walk(w.View(), state.All()) {
			left++
		}
		if want := max(0, n-blocks*maxResponsesEnded); left != want {
			t.Fatalf("after %d blocks %d are left, want %d", blocks, left, want)
		}
		for _, did := range names {
			w.wantHeld(suspected(did, 0, few(decide("r"))), "", 0)
		}
		if left == 0 {
			break
		}
	}
}

func TestGenesisOfResponsesIsChecked(t *testing.T) {
	id := bytes.Repeat([]byte{1}, 32)
	rec := func(change func(*threatv1.Response)) *threatv1.Genesis {
		r := &threatv1.Response{Id: id, TxId: id, Subject: amy, Playbook: "a", Action: notify, Status: acts, ExpiresAt: 1}
		change(r)
		return &threatv1.Genesis{Responses: []*threatv1.Response{r}}
	}
	a := addressOf(alder)
	standing := func(change func(*threatv1.Standing)) *threatv1.Genesis {
		s := &threatv1.Standing{Subject: amy, Held: []*threatv1.Held{{Validator: a[:], Risk: high, Until: 5}}}
		change(s)
		return &threatv1.Genesis{Standings: []*threatv1.Standing{s}}
	}
	twice := func(g *threatv1.Genesis) *threatv1.Genesis {
		g.Responses = append(g.Responses, g.Responses...)
		g.Standings = append(g.Standings, g.Standings...)
		g.Playbooks = append(g.Playbooks, g.Playbooks...)
		return g
	}
	two := rec(func(*threatv1.Response) {})
	other := two.Responses[0].CloneVT()
	other.Id = bytes.Repeat([]byte{2}, 32)
	two.Responses = append(two.Responses, other)
	for name, g := range map[string]*threatv1.Genesis{
		"a short id":            rec(func(r *threatv1.Response) { r.Id = r.Id[:5] }),
		"no subject":            rec(func(r *threatv1.Response) { r.Subject = "" }),
		"an action of none":     rec(func(r *threatv1.Response) { r.Action = holds }),
		"no status":             rec(func(r *threatv1.Response) { r.Status = 0 }),
		"a response twice":      twice(rec(func(*threatv1.Response) {})),
		"two that are the same": two,
		"no opinion":            standing(func(s *threatv1.Standing) { s.Held = nil }),
		"a subject of none":     standing(func(s *threatv1.Standing) { s.Subject = "amy" }),
		"a short address":       standing(func(s *threatv1.Standing) { s.Held[0].Validator = []byte{1} }),
		"an opinion twice":      standing(func(s *threatv1.Standing) { s.Held = append(s.Held, s.Held[0]) }),
		"a standing twice":      twice(standing(func(*threatv1.Standing) {})),
		"a playbook twice":      twice(&threatv1.Genesis{Playbooks: []*threatv1.Playbook{book("a", always, holds)}}),
		"a bad playbook":        {Playbooks: []*threatv1.Playbook{book("a", "hello", holds)}},
	} {
		raw, err := chain.WriteGenesis(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := startTown(t, raw); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// What is held or denied is responded to as what is executed.
func TestPlaybooksRespondToWhatIsKept(t *testing.T) {
	w := newTown(t)
	w.sets(book("bar", when(`context.ruling == "deny"`), bars))
	s := suspected(amy, 9500, few(decide("r")))
	s.verdict.Ruling = chainv1.Ruling_RULING_DENY
	w.step(func(m *Module, ctx *chain.Ctx) {
		x := &screening{m: m, params: m.paramsIn(ctx), mode: m.mode(ctx), playbooks: m.playbooksIn(ctx), judged: judged{id: s.candidate.ID, begun: true, done: true, organisation: alder, findings: &findings{facts: s.facts}}}
		if err := x.Keep(ctx, s.candidate, s.verdict); err != nil {
			t.Error(err)
		}
	})
	if rec := w.only(amy); rec.Action != bars || w.folk.Active(w.View(), amy) || !w.m.holds.Has(w.View(), rec.TxId) {
		t.Errorf("record: %v", rec)
	}
}

// startTown starts a chain with a section of the module.
func startTown(t *testing.T, section []byte) error {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 100, ValueCache: 100})
	if err != nil {
		t.Fatal(err)
	}
	f := newFolk(newCensus())
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Partial: true, Rand: strings.NewReader(strings.Repeat("x", 64)),
		Modules: []chain.Module{f, &office{m: New(Deps{Identity: f, Access: f})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, json.RawMessage(`{"threat":`+string(section)+`}`))
	return err
}
