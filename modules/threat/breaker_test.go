package threat

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func breakerWard(t *testing.T) *ward {
	p := testParams()
	p.Breaker = &threatv1.Breaker{Window: 20, Rate: 2500, Actor: 2, RestMs: minute}
	return newWard(t, genesisOf(testDetector(t), p))
}

// alarms is a block in which so many actors, of two organisations in turn, are held, each
// so often.
func (w *ward) alarms(actors, times int) []*chainv1.TxResult {
	w.t.Helper()
	return w.alarmsOf(actors, times, 2)
}

func (w *ward) alarmsOf(actors, times, organisations int) []*chainv1.TxResult {
	w.t.Helper()
	var raws [][]byte
	for i := range actors * times {
		of := []string{house, house + "-too"}[i%actors%organisations]
		raws = append(raws, w.Tx(fmt.Sprint(of, ":a", i%actors), []proto.Message{held1("x")}))
	}
	return w.Block(raws...)
}

func (w *ward) breakerNow() *threatv1.BreakerResponse {
	w.t.Helper()
	out, err := w.queries().Breaker(context.Background(), &threatv1.BreakerRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestBreakerOpensAndCloses(t *testing.T) {
	w := breakerWard(t)
	w.alarms(5, 1) // a quarter of the window: not more
	if b := w.breakerNow(); b.Mode != threatv1.Mode_MODE_ENFORCE || b.Breaker.Flagged != 5 || b.Breaker.Seen != 5 {
		t.Fatalf("%v", b)
	}
	w.alarms(6, 1)
	if b := w.breakerNow(); b.Mode != threatv1.Mode_MODE_LOG || b.Breaker.OpenUntil != w.Now+minute {
		t.Fatalf("%v at %d", b, w.Now)
	}
	if r := w.does(house+":b", held1("x")); r.Code != 0 || r.Verdict.Ruling != chainv1.Ruling_RULING_ADMIT || r.Verdict.Score != 8000 {
		t.Fatalf("while the breaker is open: %v", r)
	}
	w.pass(minute)
	w.Block()
	if b := w.breakerNow(); b.Mode != threatv1.Mode_MODE_ENFORCE || b.Breaker.OpenUntil != 0 {
		t.Fatalf("%v", b)
	}
	if r := w.does(house+":b", held1("x")); r.Code == 0 {
		t.Fatal("after the breaker closed nothing is held")
	}
	w.CheckGenesis()
}

// Few actors cannot open it however often they are flagged.
func TestBreakerCountsAnActorSoOften(t *testing.T) {
	w := breakerWard(t)
	for range 10 {
		w.alarms(2, 5)
	}
	if b := w.breakerNow(); b.Mode != threatv1.Mode_MODE_ENFORCE {
		t.Fatalf("two actors opened the breaker: %v", b)
	}
}

// One organisation cannot open it, however many of its actors are flagged.
func TestBreakerIsNotForOneOrganisation(t *testing.T) {
	w := breakerWard(t)
	for range 6 {
		w.alarmsOf(9, 1, 1)
	}
	if b := w.breakerNow(); b.Mode != threatv1.Mode_MODE_ENFORCE || b.Breaker.Flagged > 3 {
		t.Fatalf("one organisation opened the breaker: %v", b)
	}
}

func TestResetBreaker(t *testing.T) {
	w := breakerWard(t)
	w.alarms(6, 1)
	w.Fails(ErrNotConsortium, house, &threatv1.ResetBreaker{})
	r := w.does(chaintest.Consortium, &threatv1.ResetBreaker{})
	if r.Code != 0 || len(chaintest.Events[threatv1.BreakerClosed](t, r)) != 1 {
		t.Fatalf("%v", r)
	}
	if b := w.breakerNow(); b.Mode != threatv1.Mode_MODE_ENFORCE {
		t.Fatalf("%v", b)
	}
}

func TestSetParams(t *testing.T) {
	w := newWard(t, &threatv1.Genesis{})
	out, err := w.queries().Params(context.Background(), &threatv1.ParamsRequest{})
	if err != nil || out.Params.Mode != threatv1.Mode_MODE_OFF {
		t.Fatalf("an empty genesis: %v, %v", out, err)
	}
	next := DefaultParams()
	next.Mode = threatv1.Mode_MODE_ENFORCE
	w.Fails(ErrNotConsortium, house, &threatv1.SetParams{Params: next})
	w.Do(chaintest.Consortium, &threatv1.SetParams{Params: next})
	if got := w.m.mode(w.View()); got != threatv1.Mode_MODE_ENFORCE {
		t.Fatalf("mode %s", got)
	}
	for name, change := range map[string]func(*threatv1.Params){
		"mode":        func(p *threatv1.Params) { p.Mode = 0 },
		"reviewers":   func(p *threatv1.Params) { p.Reviewers = 33 },
		"hold_ms":     func(p *threatv1.Params) { p.HoldMs = 1 },
		"appeal_ms":   func(p *threatv1.Params) { p.AppealMs = 0 },
		"max_held":    func(p *threatv1.Params) { p.MaxHeld = 0 },
		"of one":      func(p *threatv1.Params) { p.MaxHeldOrganisation = p.MaxHeld + 1 },
		"bytes":       func(p *threatv1.Params) { p.MaxHeldBytes = 1000 },
		"alarm_score": func(p *threatv1.Params) { p.AlarmScore = 10_001 },
		"kinds":       func(p *threatv1.Params) { p.FailClosed = []string{"chancery.none.v1.Such"} },
		"order":       func(p *threatv1.Params) { p.FailClosed = []string{messageNames()[1], messageNames()[0]} },
		"work":        func(p *threatv1.Params) { p.MaxScoreWork = 0 },
		"breaker":     func(p *threatv1.Params) { p.Breaker = nil },
		"window":      func(p *threatv1.Params) { p.Breaker.Window = 1 },
		"rate":        func(p *threatv1.Params) { p.Breaker.Rate = 10_001 },
		"actors":      func(p *threatv1.Params) { p.Breaker.Window, p.Breaker.Rate = 1_000_000, 10_000 },
		"rest":        func(p *threatv1.Params) { p.Breaker.RestMs = 0 },
		"opinions":    func(p *threatv1.Params) { p.MaxOpinionMs = 0 },
		"pending":     func(p *threatv1.Params) { p.MaxPending = 0 },
	} {
		p := DefaultParams()
		change(p)
		if err := CheckParams(p); err == nil {
			t.Errorf("%s: such parameters pass", name)
		}
	}
	if err := CheckParams(DefaultParams()); err != nil {
		t.Error(err)
	}
}

// With the parameters that a chain begins with, forty actors who are flagged without end
// do not open the breaker: it is for floods of false alarms, which are about many.
func TestFewActorsOpenNoBreaker(t *testing.T) {
	rules := DefaultParams().Breaker
	b := new(threatv1.BreakerState)
	for range 25 {
		for actor := range 40 {
			countFlagged(b, fmt.Sprint(house, ":a", actor), rules.Actor, 1<<40)
		}
	}
	if most := rules.Window * rules.Rate / 10_000; b.Flagged > most {
		t.Fatalf("40 actors count %d times, and the breaker opens above %d", b.Flagged, most)
	}
	for actor := range 100 {
		countFlagged(b, fmt.Sprint(house, ":b", actor), rules.Actor, 1<<40)
	}
	if most := rules.Window * rules.Rate / 10_000; b.Flagged <= most {
		t.Fatalf("140 actors count %d times, and the breaker opens above %d", b.Flagged, most)
	}
}
