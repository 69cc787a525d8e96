package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Stand-ins for the parts H, M and R.

type otherVerdict struct {
	model   []byte
	score   uint32
	flagged bool
}

func (m *Module) keep(ctx *chain.Ctx, c *chain.Candidate, v *chainv1.Verdict, model []byte, other *otherVerdict, playbook string, approvals uint32) error {
	h := &threatv1.Hold{TxId: c.ID[:], Author: c.Body.Author, Organisation: c.Authority.Organisation, Verdict: v, Model: model, Height: ctx.Height(), Time: ctx.Time()}
	m.holds.Put(ctx, h.TxId, h)
	ctx.Emit(&threatv1.TxHeld{Hold: h})
	return nil
}

func neverHeld(messages []proto.Message) bool {
	for _, m := range messages {
		if f, _ := features.Describe(m); f.Class != features.ClassWithdraw && f.Class != features.ClassAppeal {
			return false
		}
	}
	return true
}
func (m *Module) exempt(c *chain.Candidate) bool {
	return c.Body.Author == m.deps.Identity.Consortium() || neverHeld(c.Messages)
}
func (m *Module) endHolds(*chain.Ctx)       {}
func (m *Module) holdRoutes() []chain.Route { return nil }
func (m *Module) exportHolds(r state.Reader) (out []*threatv1.GenesisHold) {
	for _, h := range m.holds.Walk(r, state.All()) {
		out = append(out, &threatv1.GenesisHold{Hold: h})
	}
	return out
}
func (m *Module) importHolds(ctx *chain.Ctx, holds []*threatv1.GenesisHold) error {
	for _, g := range holds {
		m.holds.Put(ctx, g.Hold.TxId, g.Hold)
	}
	return nil
}

type loaded struct {
	hash     []byte
	detector *detector.Detector
}
type chosen struct {
	active, canary, shadow *loaded
	share                  uint32
	why                    error
}
type detectorCache struct{ active, beside *loaded }

func (m *Module) choose(chain.ReadCtx) *chosen {
	c := &chosen{active: m.detectors.active, shadow: m.detectors.beside}
	if c.active == nil {
		c.why = ErrNotFound
	}
	return c
}
func (c *chosen) deciding(string) (decides, beside *loaded, why error) {
	return c.active, c.shadow, c.why
}

type modelTally struct {
	hash            []byte
	scored, flagged uint64
	bands           [20]uint64
}

func (t *modelTally) add(score uint32, flagged bool) {
	t.scored++
	if flagged {
		t.flagged++
	}
	t.bands[min(score/500, 19)]++
}
func (m *Module) count(ctx *chain.Ctx, tallies []modelTally) {
	for _, t := range tallies {
		rec, ok := m.models.Lookup(ctx, t.hash)
		if !ok {
			rec = &threatv1.ModelRecord{Hash: t.hash, Counts: &threatv1.ModelCounts{Bands: make([]uint64, 20)}}
		}
		rec.Counts.Scored += t.scored
		rec.Counts.Flagged += t.flagged
		for b, n := range t.bands {
			rec.Counts.Bands[b] += n
		}
		m.models.Put(ctx, t.hash, rec)
	}
}
func (m *Module) scheduleIn(r state.Reader) *threatv1.Schedule {
	s := &threatv1.Schedule{}
	if m.detectors.active != nil {
		s.Active = m.detectors.active.hash
	}
	return s
}
func (m *Module) usable(r state.Reader, hash []byte) (*loaded, error) {
	if m.detectors.active == nil {
		return nil, ErrNotFound
	}
	return m.detectors.active, nil
}
func (m *Module) endModels(*chain.Ctx)       {}
func (m *Module) modelRoutes() []chain.Route { return nil }
func (m *Module) exportModels(r state.Reader) (out []*threatv1.GenesisModel, s *threatv1.Schedule) {
	for _, rec := range m.models.Walk(r, state.All()) {
		out = append(out, &threatv1.GenesisModel{Record: rec})
	}
	return out, nil
}
func (m *Module) importModels(ctx *chain.Ctx, models []*threatv1.GenesisModel, s *threatv1.Schedule) error {
	for _, g := range models {
		m.models.Put(ctx, g.Record.Hash, g.Record)
	}
	return nil
}

type situation struct {
	candidate *chain.Candidate
	verdict   *chainv1.Verdict
	facts     []features.Facts
	model     []byte
}

func (m *Module) before(r chain.ReadCtx, s *situation) (hold bool, playbook string, approvals uint32) {
	return false, "", 0
}
func (m *Module) after(*chain.Ctx, *situation)                             {}
func (m *Module) hear(*chain.Ctx, []*chainv1.Vote)                         {}
func (m *Module) endResponses(*chain.Ctx)                                  {}
func (m *Module) responseRoutes() []chain.Route                            { return nil }
func (m *Module) CommonRisk(r chain.ReadCtx, subject string) threatv1.Risk { return 0 }
func (m *Module) exportResponses(state.Reader, *threatv1.Genesis)          {}
func (m *Module) importResponses(*chain.Ctx, *threatv1.Genesis) error      { return nil }
