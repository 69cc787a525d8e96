package node_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/consensus/alerttest"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// measured is what a node of the chain would measure of the sentinel.
func (w *watched) measured() prometheus.Gatherer {
	w.t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(node.SentinelCollector(func() (threat.Overview, int64) {
		latest := w.App().Latest()
		for _, m := range w.App().Modules() {
			if m, ok := m.(*threat.Module); ok {
				return m.Overview(latest), latest.Time()
			}
		}
		w.t.Fatal("there is no sentinel")
		return threat.Overview{}, 0
	})); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// says holds a measurement against what it must be.
func says(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, "\n"+want+"\n") {
		t.Errorf("%q is not measured:\n%s", want, text)
	}
}

func (w *watched) holds(n int) []byte {
	w.t.Helper()
	r := w.does(person(members[n%len(members)], "work"), files(fmt.Sprintf("a%d", n), fmt.Sprintf("b%d", n), fmt.Sprintf("c%d", n))...)
	if r.Code != chain.ErrHeld.Code {
		w.t.Fatalf("not held: %d %s", r.Code, r.Log)
	}
	return r.TxId
}

// rejected is what reviewers of two organisations do.
func (w *watched) rejected(id []byte) {
	w.t.Helper()
	author := w.hold(id).Author
	for _, o := range members {
		if !strings.HasPrefix(author, o+":") {
			w.must(person(o, "admin"), &threatv1.Reject{TxId: id})
		}
	}
}

// A transaction that nobody reviews for more than an hour.
func TestAlertOfHoldsThatWait(t *testing.T) {
	p := enforcing()
	p.HoldMs = 4 * 60 * minute
	w := newWatched(t, bulk(t, "bulk"), p)
	m, rec := w.measured(), alerttest.Record(t, "ChanceryHoldsWait")
	says(t, rec.Gather(0, "node", m), "chancery_holds_next_wait_seconds 0")
	id := w.holds(1)
	w.Now += 61 * minute
	w.Block()
	says(t, rec.Gather(61, "node", m), "chancery_holds_waiting 1")
	w.rejected(id)
	says(t, rec.Gather(71, "node", m), "chancery_holds_next_wait_seconds 0")
}

// More transactions wait than four fifths of what may. A rejected one takes its room until its
// author may appeal no more.
func TestAlertOfTooManyHolds(t *testing.T) {
	p := enforcing()
	p.HoldMs, p.AppealMs, p.MaxHeld, p.MaxHeldOrganisation = 60*minute, 60*minute, 5, 5
	w := newWatched(t, bulk(t, "bulk"), p)
	m, rec := w.measured(), alerttest.Record(t, "ChanceryHoldsFull")
	says(t, rec.Gather(0, "node", m), "chancery_holds_capacity 5")
	var ids [][]byte
	for n := range 5 {
		ids = append(ids, w.holds(n))
	}
	says(t, rec.Gather(5, "node", m), "chancery_holds_waiting 5")
	for _, id := range ids {
		w.rejected(id)
	}
	says(t, rec.Gather(8, "node", m), "chancery_holds_waiting 5")
	w.Now += p.AppealMs
	w.Block()
	says(t, rec.Gather(15, "node", m), "chancery_holds_waiting 0")
}

// Verdicts count and there is no model, until the consortium sets the mode to off.
func TestAlertOfAMissingModel(t *testing.T) {
	w := newWatched(t, bulk(t, "bulk"), enforcing())
	m, rec := w.measured(), alerttest.Record(t, "ChanceryNoModel")
	says(t, rec.Gather(0, "node", m), "chancery_scorer_model_active 1")
	dear := enforcing()
	dear.MaxScoreWork = 1
	w.must(did.Consortium, &threatv1.SetParams{Params: dear})
	says(t, rec.Gather(5, "node", m), "chancery_scorer_model_active 0")
	dear.Mode = threatv1.Mode_MODE_OFF
	w.must(did.Consortium, &threatv1.SetParams{Params: dear})
	says(t, rec.Gather(15, "node", m), "chancery_scorer_mode_set 1")
}

// More is held than may be, until the consortium closes the breaker.
func TestAlertOfTheBreaker(t *testing.T) {
	p := enforcing()
	p.Breaker = &threatv1.Breaker{Window: 20, Rate: 2500, Actor: 10, RestMs: 60 * minute}
	w := newWatched(t, bulk(t, "bulk"), p)
	m, rec := w.measured(), alerttest.Record(t, "ChanceryBreakerOpen")
	says(t, rec.Gather(0, "node", m), "chancery_scorer_breaker_open 0")
	for n := range 6 { // two of each organisation
		w.holds(n)
	}
	says(t, rec.Gather(5, "node", m), "chancery_scorer_breaker_open 1")
	w.must(did.Consortium, &threatv1.ResetBreaker{})
	says(t, rec.Gather(10, "node", m), "chancery_scorer_breaker_open 0")
}
