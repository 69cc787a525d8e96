package threat

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bands of scores, as a detector's baseline has them.
const (
	bands    = detector.Bands
	bandSize = detector.MaxScore / bands
)

// modelTally is what a model said in a block.
type modelTally struct {
	hash            []byte
	scored, flagged uint64
	bands           [bands]uint64
}

// add counts a score, 0 to 10000, and whether the model would hold or deny.
func (t *modelTally) add(score uint32, flagged bool) {
	t.scored++
	if flagged {
		t.flagged++
	}
	t.bands[min(score/bandSize, bands-1)]++
}

// count adds tallies, each of another model, to the models' records: one write per
// model. It is called once per block.
func (m *Module) count(ctx *chain.Ctx, tallies []modelTally) {
	for i := range tallies {
		t := &tallies[i]
		if t.scored == 0 {
			continue
		}
		m.recount(ctx, t.hash, func(c *threatv1.ModelCounts) {
			c.Scored += t.scored
			c.Flagged += t.flagged
			for b, n := range t.bands {
				c.Bands[b] += n
			}
		})
	}
}

// judged counts what reviewers made of a held or denied transaction: for the model that
// decided and for the one that scored beside it.
//
// A hold that a playbook brought about says nothing of the model that decides. Where it
// asked for approvals, the author's own organisation decided, whose word counts for no
// model.
func (m *Module) judged(ctx *chain.Ctx, h *threatv1.Hold, released bool) {
	m.weigh(ctx, h, released, func(n *uint64) { *n++ })
}

// reopened takes back what judged counted for a rejection that an appeal reopens.
func (m *Module) reopened(ctx *chain.Ctx, h *threatv1.Hold) {
	m.weigh(ctx, h, false, func(n *uint64) { *n -= min(*n, 1) })
}

// weigh changes the counts that a decision concerns.
func (m *Module) weigh(ctx *chain.Ctx, h *threatv1.Hold, released bool, change func(*uint64)) {
	if h.Approvals > 0 {
		return
	}
	if len(h.Model) > 0 && h.Playbook == "" {
		m.recount(ctx, h.Model, func(c *threatv1.ModelCounts) {
			if released {
				change(&c.FalseAlarms)
			} else {
				change(&c.Hits)
			}
		})
	}
	if len(h.OtherModel) == 0 {
		return
	}
	m.recount(ctx, h.OtherModel, func(c *threatv1.ModelCounts) {
		switch {
		case h.OtherFlagged && released:
			change(&c.FalseAlarms)
		case h.OtherFlagged:
			change(&c.Hits)
		case !released:
			change(&c.Misses)
		}
	})
}

// recount changes a model's counts. A model of which there is no record was the
// other chain's, from which this one was started.
func (m *Module) recount(w state.Writer, hash []byte, change func(*threatv1.ModelCounts)) {
	rec, ok := m.models.Lookup(w, hash)
	if !ok {
		return
	}
	if rec.Counts == nil {
		rec.Counts = &threatv1.ModelCounts{Bands: make([]uint64, bands)}
	}
	change(rec.Counts)
	m.models.Put(w, hash, rec)
}
