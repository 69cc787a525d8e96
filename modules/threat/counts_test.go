package threat

import (
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestCount(t *testing.T) {
	d := newDesk(t)
	one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
	a, b := modelTally{hash: one}, modelTally{hash: two}
	for _, score := range []uint32{0, 499, 500, 9999, 10_000} {
		a.add(score, score > 9000)
	}
	for range 2 {
		d.step(func(ctx *chain.Ctx, m *Module) error {
			m.count(ctx, []modelTally{a, b, {hash: hashOf(nil), scored: 1}})
			return nil
		})
	}
	c := d.model(one).Counts
	if c.Scored != 10 || c.Flagged != 4 || len(c.Bands) != 20 || c.Bands[0] != 4 || c.Bands[1] != 2 || c.Bands[19] != 4 {
		t.Fatalf("counts %v", c)
	}
	if d.model(two).Counts != nil {
		t.Fatal("a model that scored nothing was written")
	}
	d.CheckGenesis()
}

// One write for a model and block, however much it scored.
func TestCountWritesOnce(t *testing.T) {
	d := newDesk(t)
	one := d.registers(rawDetector(t, "one"))
	writes := 0
	d.step(func(ctx *chain.Ctx, m *Module) error {
		w := &writing{Ctx: ctx}
		m.recount(w, one, func(c *threatv1.ModelCounts) { c.Scored += 1000 })
		writes = w.n
		return nil
	})
	if writes != 1 {
		t.Fatalf("%d writes", writes)
	}
}

// writing counts writes.
type writing struct {
	*chain.Ctx
	n int
}

func (w *writing) Set(key, value []byte) { w.n++; w.Ctx.Set(key, value) }

var _ state.Writer = (*writing)(nil)

// What reviewers decide is counted for the champion and the challenger.
func TestJudged(t *testing.T) {
	const none, hit, falseAlarm, miss = "", "hit", "false alarm", "miss"
	for _, c := range []struct {
		name                   string
		flagged                bool
		playbook               string
		approvals              uint32
		reject                 bool
		champion, challenger   string
		afterAppealAndReleased [2]string
	}{
		{"rejected, both flag", true, "", 0, true, hit, hit, [2]string{falseAlarm, falseAlarm}},
		{"rejected, one flags", false, "", 0, true, hit, miss, [2]string{falseAlarm, none}},
		{"released, both flag", true, "", 0, false, falseAlarm, falseAlarm, [2]string{}},
		{"released, one flags", false, "", 0, false, falseAlarm, none, [2]string{}},
		{"a playbook's, rejected", true, "p", 0, true, none, hit, [2]string{none, falseAlarm}},
		{"a playbook's, rejected, unseen", false, "p", 0, true, none, miss, [2]string{none, none}},
		{"approvals", true, "p", 1, true, none, none, [2]string{none, none}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
			wants := func(hash []byte, want string) {
				t.Helper()
				n := d.model(hash).Counts
				got := map[string]uint64{hit: n.GetHits(), falseAlarm: n.GetFalseAlarms(), miss: n.GetMisses()}
				for what, n := range got {
					if is := what == want; n > 1 || (n == 1) != is {
						t.Fatalf("%s: %v, want %q", d.model(hash).Name, got, want)
					}
				}
			}
			id := d.keeps(suspect, keeping{model: one, other: &otherVerdict{model: two, flagged: c.flagged}, playbook: c.playbook, approvals: c.approvals})
			say := func(reject bool) {
				t.Helper()
				who := []string{north, south}
				if c.approvals > 0 {
					who = []string{adminOf(house)}
				}
				for _, w := range who {
					if reject {
						d.Do(w, rejectOf(id))
					} else {
						d.Do(w, releaseOf(id))
					}
				}
			}
			wants(one, none)
			say(c.reject)
			wants(one, c.champion)
			wants(two, c.challenger)
			if !c.reject {
				return
			}
			// An appeal takes the decision back, and the next one counts.
			d.Do(suspect, appealOf(id))
			wants(one, none)
			wants(two, none)
			say(true)
			wants(one, c.champion)
			wants(two, c.challenger)
			d.Do(suspect, appealOf(id))
			say(false)
			wants(one, c.afterAppealAndReleased[0])
			wants(two, c.afterAppealAndReleased[1])
		})
	}
}

// Without a model, or with one that this chain does not know, nothing is counted.
func TestJudgedWithoutAModel(t *testing.T) {
	d := newDesk(t)
	for _, model := range [][]byte{nil, hashOf(nil)} {
		id := d.keeps(suspect, keeping{model: model, other: &otherVerdict{model: hashOf([]byte{1})}})
		d.Do(north, releaseOf(id))
		d.Do(south, releaseOf(id))
		d.wantStatus(id, released)
	}
	for hash := range d.m.models.Walk(d.View(), state.All()) {
		t.Fatalf("a record of %x", hash)
	}
}
