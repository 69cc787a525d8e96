package threat

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// vote is an extension of an organisation's validator.
func vote(t testing.TB, organisation string, list ...*threatv1.Assessment) *chainv1.Vote {
	a := addressOf(organisation)
	return &chainv1.Vote{Validator: a[:], Extension: extension(t, list...)}
}

// hears has a block take votes.
func (w *town) hears(votes ...*chainv1.Vote) {
	w.t.Helper()
	w.step(hearing(votes...))
}

func hearing(votes ...*chainv1.Vote) func(*Module, *chain.Ctx) {
	return func(m *Module, ctx *chain.Ctx) { m.hear(ctx, votes) }
}

func (w *town) wantRisk(subject string, want threatv1.Risk) {
	w.t.Helper()
	if got := w.m.CommonRisk(w.View(), subject); got != want {
		w.t.Fatalf("the common risk of %s is %s, want %s", subject, got, want)
	}
}

func TestMoreThanHalfOfAllPowerMakesARiskCommon(t *testing.T) {
	w := newTown(t)
	until := w.Now + 100_000
	w.hears(vote(t, alder, assessment(amy, severe, until)), vote(t, birch, assessment(amy, high, until)))
	w.wantRisk(amy, unknown) // half is not more than half
	third := hearing(vote(t, cypres, assessment(amy, guarded, until)))
	if e := foresee[threatv1.RiskChanged](w, third); len(e) != 1 || e[0].Subject != amy || e[0].From != unknown || e[0].To != guarded || e[0].Cause != burst {
		t.Errorf("events: %v", e)
	}
	w.step(third)
	w.wantRisk(amy, guarded)
	w.hears(vote(t, dogwd, assessment(amy, high, until)))
	w.wantRisk(amy, high)
	w.wantRisk(bob, unknown)

	got, err := w.queries().Risk(context.Background(), &threatv1.RiskRequest{Subject: amy})
	if err != nil || got.Common != high || got.TotalPower != 40 || fmt.Sprint(got.Power) != "[40 40 30 10]" || len(got.Standing.Held) != 4 {
		t.Errorf("the query says %v, %v", got, err)
	}
	if _, err := w.queries().Risk(context.Background(), &threatv1.RiskRequest{Subject: "amy"}); err == nil {
		t.Error("no DID is asked about")
	}

	// A validator with more power, or that is none any more, counts as it is now.
	w.powers[0].Power = 1000
	w.wantRisk(w.powers[0].Organisation+":none", unknown)
	first := map[string]threatv1.Risk{alder: severe, birch: high, cypres: guarded, dogwd: high}[w.powers[0].Organisation]
	w.wantRisk(amy, first)
	w.powers = w.powers[1:]
	w.Block()
	w.CheckGenesis()
}

func TestTheLatestOpinionOfAValidatorCountsUntilItsEnd(t *testing.T) {
	w := newTown(t)
	say := func(risk threatv1.Risk, until int64) {
		w.hears(vote(t, alder, assessment(amy, risk, until)), vote(t, birch, assessment(amy, risk, until)), vote(t, cypres, assessment(amy, risk, until)))
	}
	say(severe, w.Now+100_000)
	say(guarded, w.Now+100_000)
	w.wantRisk(amy, guarded)
	// Withdrawn: by no risk, or by an end that has passed.
	say(unknown, w.Now+100_000)
	w.wantRisk(amy, unknown)
	say(high, w.Now+100_000)
	say(low, w.Now)
	w.wantRisk(amy, unknown)
	if w.m.standings.Has(w.View(), amy) {
		t.Error("nothing is left of a standing without opinions")
	}

	// It ends at its end, to the millisecond, whenever the record is cleaned.
	until := w.Now + 10_000
	say(high, until)
	w.Now = until - chaintest.BlockTime - 1
	w.Block()
	w.wantRisk(amy, high)
	w.Now = until - chaintest.BlockTime
	ended := func(*Module, *chain.Ctx) {}
	if e := foresee[threatv1.RiskChanged](w, ended); len(e) != 1 || e[0].From != high || e[0].To != unknown {
		t.Errorf("events: %v", e)
	}
	w.Block()
	w.wantRisk(amy, unknown)
	if w.m.standings.Has(w.View(), amy) {
		t.Error("what has ended stays")
	}

	// And never later than the parameters say.
	say(high, w.Now+1000*opinionMs)
	end := w.Now + opinionMs
	w.Now = end - chaintest.BlockTime - 1
	w.Block()
	w.wantRisk(amy, high)
	w.Block()
	w.wantRisk(amy, unknown)
}

// A validator that goes on saying the same does not make the state be written.
func TestAnOpinionThatGoesOnIsWrittenSeldom(t *testing.T) {
	w := newTown(t)
	far := w.Now + 1000*opinionMs
	w.hears(vote(t, alder, assessment(amy, high, far)))
	before, _ := w.m.standings.Lookup(w.View(), amy)
	writes := 0
	for range 40 {
		w.hears(vote(t, alder, assessment(amy, high, far)))
		now, _ := w.m.standings.Lookup(w.View(), amy)
		if !now.EqualVT(before) {
			writes++
		}
		before = now
	}
	if writes < 2 || writes > 5 { // each 10 s of opinionMs/16
		t.Errorf("it was written %d times in 40 blocks", writes)
	}
	if slack := w.Now + opinionMs - before.Held[0].Until; slack > opinionMs/renewal {
		t.Errorf("it ends %d ms before it could", slack)
	}
}

func TestWhatIsNoOpinionOfAValidatorIsIgnored(t *testing.T) {
	w := newTown(t)
	until := w.Now + 100_000
	stranger := addressOf("nobody")
	w.hears(
		&chainv1.Vote{Validator: stranger[:], Extension: extension(t, assessment(amy, severe, until))},
		&chainv1.Vote{Validator: []byte("short"), Extension: extension(t, assessment(amy, severe, until))},
		&chainv1.Vote{Validator: vote(t, alder).Validator, Extension: []byte("opinion")},
		vote(t, birch, assessment("did:chancery:nobody", severe, until)),
		vote(t, cypres, assessment(bob, low, until)),
	)
	r := w.View()
	if w.m.standings.Has(r, amy) || w.m.standings.Has(r, "did:chancery:nobody") || !w.m.standings.Has(r, bob) {
		t.Error("standings are of what was ignored, or not of what was said")
	}
}

func TestProposersAreAccusedOnce(t *testing.T) {
	w := newTown(t)
	until := w.Now + 100_000
	says := func(organisation string, risk threatv1.Risk) *chainv1.Vote {
		a := assessment(dogwd, risk, until)
		a.Cause = lied
		return vote(t, organisation, a)
	}
	w.hears(says(alder, high), says(birch, high), says(dogwd, low))
	last := hearing(says(cypres, high))
	if e := foresee[threatv1.ProposerAccused](w, last); len(e) != 1 || e[0].Organisation != dogwd || e[0].Risk != high {
		t.Errorf("events: %v", e)
	}
	w.step(last)
	if e := foresee[threatv1.ProposerAccused](w, hearing(says(alder, severe), says(birch, severe))); len(e) != 0 {
		t.Errorf("again: %v", e)
	}
	w.CheckGenesis()
}

// No validator takes the room of another: each has its share of subjects.
func TestEachValidatorHasItsShareOfRoom(t *testing.T) {
	w := newTown(t)
	until := w.Now + 150_000
	subject := func(i int) string { return fmt.Sprintf("%s:subject-%05d", alder, i) }
	for i := range maxStandings {
		w.kinds[subject(i)] = "device"
	}
	share := maxStandings / 4
	for i := 0; i < share+maxAssessments; i += 8 * maxAssessments {
		var votes []*chainv1.Vote
		for j := i; j < i+8*maxAssessments; j += maxAssessments {
			var list []*threatv1.Assessment
			for k := range maxAssessments {
				list = append(list, assessment(subject(j+k), severe, until))
			}
			votes = append(votes, vote(t, birch, list...))
		}
		w.step(func(m *Module, ctx *chain.Ctx) {
			for _, v := range votes {
				m.hear(ctx, []*chainv1.Vote{v})
			}
		})
	}
	a := addressOf(birch)
	if n, _ := w.m.voices.Lookup(w.View(), a[:]); n != uint64(share) {
		t.Fatalf("a validator holds %d opinions, want %d", n, share)
	}
	w.hears(vote(t, alder, assessment(amy, high, until)), vote(t, cypres, assessment(amy, high, until)), vote(t, dogwd, assessment(amy, high, until)))
	w.wantRisk(amy, high)
	// What it withdraws makes room; a change takes none.
	w.hears(vote(t, birch, assessment(amy, severe, until)))
	if s, _ := w.m.standings.Lookup(w.View(), amy); len(s.Held) != 3 {
		t.Fatal("it holds more than its share")
	}
	w.hears(vote(t, birch, assessment(subject(0), low, until), assessment(subject(1), unknown, 0)))
	w.hears(vote(t, birch, assessment(amy, severe, until)))
	if s, _ := w.m.standings.Lookup(w.View(), amy); len(s.Held) != 4 {
		t.Fatal("its room is not free again")
	}
	// All of them end together, and are dropped within bounds.
	w.Now = until
	for blocks := 0; ; blocks++ {
		w.Block()
		n, _ := w.m.voices.Lookup(w.View(), a[:])
		if n == 0 {
			if blocks+1 < share/maxStandingsEnded {
				t.Errorf("%d blocks dropped all", blocks+1)
			}
			break
		}
		if blocks > share/maxStandingsEnded+2 {
			t.Fatalf("after %d blocks %d are left", blocks, n)
		}
	}
}

// Fewer than a third of the voting power, whatever it says, neither brands nor clears a
// subject of which the others think the same, or nothing. Whoever proposes blocks and
// leaves votes out only delays: once they are in, the common risk is what it is where
// none was left out. (Issue: accepted when 6.)
func TestAThirdNeitherBrandsNorClears(t *testing.T) {
	w := newTown(t)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		n := rapid.IntRange(1, 7).Draw(rt, "validators")
		w.powers = nil
		total := int64(0)
		names := make([]string, n)
		for i := range n {
			names[i] = fmt.Sprintf("did:chancery:org-%d-%d", round, i)
			p := rapid.Int64Range(1, 1_000_000).Draw(rt, "power")
			total += p
			w.powers = append(w.powers, Power{Address: addressOf(names[i]), Organisation: names[i], Power: p})
		}
		lies := make(map[string]bool)
		lying := int64(0)
		for i := range n {
			if p := w.powers[i].Power; 3*(lying+p) < total && rapid.Bool().Draw(rt, "lies") {
				lies[names[i]], lying = true, lying+p
			}
		}
		w.sort()
		delayed, prompt := fmt.Sprintf("%s:delayed-%d", alder, round), fmt.Sprintf("%s:prompt-%d", alder, round)
		w.kinds[delayed], w.kinds[prompt] = "device", "device"
		truth := threatv1.Risk(rapid.IntRange(0, 4).Draw(rt, "truth"))
		cause := threatv1.Cause(rapid.IntRange(0, 7).Draw(rt, "cause"))
		until := w.Now + 100_000

		lie := func() *threatv1.Assessment {
			return &threatv1.Assessment{
				Risk: threatv1.Risk(rapid.IntRange(0, 4).Draw(rt, "lie")), Cause: threatv1.Cause(rapid.IntRange(0, 7).Draw(rt, "lie's cause")),
				Until: w.Now + rapid.Int64Range(-5000, 200_000).Draw(rt, "lie's end"),
			}
		}
		// about are a round's votes on one subject, of all or of those kept.
		about := func(subject string, keep func() bool) (votes []*chainv1.Vote) {
			for _, name := range names {
				a := &threatv1.Assessment{Risk: truth, Cause: cause, Until: until}
				if lies[name] {
					a = lie()
				} else if truth == unknown {
					continue // the honest say nothing
				}
				a.Subject = subject
				if keep() {
					votes = append(votes, vote(t, name, a))
				}
			}
			return votes
		}
		all := func() bool { return true }
		for range rapid.IntRange(0, 2).Draw(rt, "rounds with omissions") {
			w.hears(append(about(delayed, func() bool { return rapid.Bool().Draw(rt, "kept") }), about(prompt, all)...)...)
			w.wantRisk(prompt, truth)
			if got := w.m.CommonRisk(w.View(), delayed); got > truth {
				t.Fatalf("branded as %s where the truth is %s", got, truth)
			}
		}
		w.hears(append(about(delayed, all), about(prompt, all)...)...)
		w.wantRisk(prompt, truth)
		w.wantRisk(delayed, truth)
		s, _ := w.m.standings.Lookup(w.View(), delayed)
		if want := truth >= guarded && cause == lied; s.GetAccused() != want {
			t.Fatalf("accused: %v, where the truth is %s by %s", s.GetAccused(), truth, cause)
		}
	})
}
