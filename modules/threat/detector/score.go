package detector

import (
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	// ExplainFrom is the score from which on drivers of trees and of half-space trees name the feature.
	ExplainFrom = 2000
	// MinEvents is how many events an adaptive profile has absorbed before it says something.
	MinEvents = 32
	// MaxDrivers is the most drivers of a score.
	MaxDrivers = blend.MaxDrivers
)

// Costs in units of work, of which one is a split of a tree.
const (
	costCell      = 4 // a cell read, or written
	costLogarithm = 1
)

// Inputs are what a transaction is scored by. Score reads all of it and writes Context.Senses.
type Inputs struct {
	Facts   []features.Facts  // of the messages, in order
	Context *features.Context // all but its Senses

	Actor    uint64 // number of the author; see fixed.Name
	Resource uint64 // number of the resource that stands for the transaction (Facts.Number of features.Lead); 0: none
	Kin      uint64 // number of the resource's kin (features.Kin); 0: none
	Tick     uint64 // see Detector.Tick
	KinTick  uint64 // see Detector.KinTick
	Cells    cell.Reader

	// Profiles, nil where there is none: of the author, what it was approved to do and what it does of late, and what
	// its peers do.
	Anchor   *profile.Anchor
	Adaptive *profile.Adaptive
	Peers    *profile.Anchor
}

// Scratch is the memory of a score, which tells afterwards what was scored. Its zero value is ready.
type Scratch struct {
	Row   [features.Count]int64
	Event profile.Event

	values        [profile.MaxFeatures]int64
	causes        [profile.MaxFeatures]int64
	gathered      [features.Count]int64
	contributions [features.Count]int64
	inputs        [Parts]blend.Input
}

// Driver is a part with what it contributed.
type Driver struct {
	Part    int
	Feature int    // the part's feature plus one: the row's for trees, 1 edge, 2 actor and 3 resource for midas, the profile's for half-space, own, peers and drift, the rule for rules; 0: none in particular
	Value   int64  // in the unit of the part
	Points  uint16 // what that means, 0 to 10000
}

// Result is what a detector says of a transaction.
type Result struct {
	Score   uint16
	Drivers [MaxDrivers]Driver // the first Count, the strongest first
	Count   int
	Work    uint64
	Held    uint64 // bit i is set where rule i holds

	Present   [Parts]bool
	Values    [Parts]int64 // in the unit of the part, 0 where it is not present
	MIDAS     midas.Reading
	HalfSpace halfspace.Reading
}

// Score is what the detector says. An error is the store's of cells. It allocates nothing and writes no cell.
func (d *Detector) Score(in *Inputs, s *Scratch) (Result, error) {
	var r Result
	if err := d.sense(in, s, &r); err != nil {
		return Result{}, err
	}
	features.Fill(s.Row[:], in.Facts, in.Context)
	r.Work += uint64(features.Count)
	if err := d.grow(s, &r); err != nil {
		return Result{}, err
	}
	d.govern(s, &r)
	if err := d.weigh(in, s, &r); err != nil {
		return Result{}, err
	}
	return r, nil
}

// say lets a part speak.
func (s *Scratch) say(r *Result, part int, value int64, feature int) {
	s.inputs[part] = blend.Input{Present: true, Value: value, Feature: feature}
	r.Present[part], r.Values[part] = true, value
}

// sense asks the streaming parts, and writes what the row needs of them.
func (d *Detector) sense(in *Inputs, s *Scratch, r *Result) error {
	s.inputs = [Parts]blend.Input{}
	c := in.Context
	c.Senses = features.NoSenses()
	if d.sketch != nil && in.Resource != 0 {
		all, err := d.sketch.Readings(in.Cells, midas.Edge{Actor: in.Actor, Resource: in.Resource}, in.Tick)
		if err != nil {
			return err
		}
		r.Work += costCell * d.sketch.Reads()
		c.Edge = use(all[midas.SubjectEdge])
		if all[midas.SubjectResource].Total > 0 {
			c.Resource = use(all[midas.SubjectResource])
			c.Resource.Idle = idle(in.Tick, all[midas.SubjectResource].Last, d.proto.TickMs)
		}
		r.MIDAS = midas.Strongest(all)
		if in.Tick > 1 {
			s.say(r, MIDAS, fixed.Signed(r.MIDAS.Statistic), int(r.MIDAS.Subject))
		}
	}
	if err := d.relate(in, r); err != nil {
		return err
	}
	s.Event = features.Event(in.Facts, c)
	if d.space != nil {
		for i, v := range s.Event {
			s.values[i] = int64(v)
		}
		n := features.Schema.Features()
		reading, err := d.space.Score(in.Cells, s.values[:n])
		if err != nil {
			return err
		}
		r.Work += costCell * d.space.Reads()
		if r.HalfSpace = reading; reading.Ready {
			s.say(r, HalfSpace, reading.Sparsity, -1)
		}
	}
	if d.proto.Profile != nil {
		d.recall(in, s, r)
	}
	return nil
}

// relate asks how often the author used the kin of the resource.
func (d *Detector) relate(in *Inputs, r *Result) error {
	if d.kin == nil || in.Kin == 0 {
		return nil
	}
	all, err := d.kin.Readings(in.Cells, midas.Edge{Actor: in.Actor, Resource: in.Kin}, in.KinTick)
	if err != nil {
		return err
	}
	r.Work += costCell * d.kin.Reads()
	in.Context.Kin, in.Context.Kins = use(all[midas.SubjectEdge]), use(all[midas.SubjectActor])
	return nil
}

// use is a reading without the event that it is of.
func use(r midas.Reading) features.Use {
	return features.Use{Known: true, Past: fixed.Sub(r.Total, 1), Now: fixed.Sub(r.Current, midas.One)}
}

// idle is the milliseconds from a tick to a later one.
func idle(tick, last uint64, ms int64) int64 {
	return fixed.Signed(fixed.Mul(fixed.Sub(min(tick, midas.MaxTick), last), uint64(ms)))
}

// recall asks the profiles.
func (d *Detector) recall(in *Inputs, s *Scratch, r *Result) {
	c := in.Context
	unit := features.Schema.SurpriseWork() * costLogarithm
	var own profile.Surprise
	known := false
	if in.Adaptive != nil && in.Adaptive.Events() >= MinEvents {
		own, known = in.Adaptive.Surprise(s.Event), true
		c.OwnSurprise = own.Total
		r.Work += unit
	}
	if in.Anchor != nil {
		approved := in.Anchor.Surprise(s.Event)
		c.AnchorSurprise = approved.Total
		if !known || approved.Total > own.Total {
			own = approved
		}
		known = true
		r.Work += unit
	}
	if known {
		s.say(r, Own, own.Total, own.Feature)
	}
	if in.Peers != nil {
		peers := in.Peers.Surprise(s.Event)
		c.PeerSurprise = peers.Total
		r.Work += unit
		if known {
			c.Estrangement = profile.Estrangement(own, peers)
			s.say(r, Peers, c.Estrangement, own.Feature)
		}
	}
	if in.Adaptive != nil && in.Adaptive.Events() >= MinEvents && in.Anchor != nil {
		moved := in.Adaptive.Distance(in.Anchor)
		c.Distance = moved.Total
		s.say(r, Drift, moved.Total, moved.Feature)
		r.Work += features.Schema.DistanceWork() * costLogarithm
	}
}

// grow asks the trees.
func (d *Detector) grow(s *Scratch, r *Result) error {
	if d.model == nil {
		return nil
	}
	row := d.gather(s)
	for part, e := range [...]*trees.Ensemble{Boosted: d.model.Boosted(), Forest: d.model.Forest()} {
		if e == nil {
			continue
		}
		margin, work, err := e.Score(row)
		if err != nil {
			return err
		}
		r.Work += uint64(work)
		s.say(r, part, margin, -1)
	}
	return nil
}

// gather is the row as the model orders it.
func (d *Detector) gather(s *Scratch) []int64 {
	row := s.gathered[:len(d.bound)]
	for i, at := range d.bound {
		row[i] = s.Row[at]
	}
	return row
}

// govern asks the rules.
func (d *Detector) govern(s *Scratch, r *Result) {
	if d.rules == nil {
		return
	}
	v := d.rules.Judge(s.Row[:])
	r.Work += d.rules.Work()
	r.Held = v.Held
	if v.Rule >= 0 {
		s.say(r, Rules, int64(v.Score), v.Rule)
	}
}

// weigh blends what was said, and finds what drove it.
func (d *Detector) weigh(in *Inputs, s *Scratch, r *Result) error {
	var inputs [Parts]blend.Input
	for i, part := range d.parts {
		inputs[i] = s.inputs[part]
	}
	b := d.blend.Score(inputs[:len(d.parts)])
	r.Work += d.blend.Work()
	r.Score, r.Count = b.Score, b.Count
	for i, from := range b.Drivers[:b.Count] {
		part := d.parts[from.Part]
		r.Drivers[i] = Driver{Part: part, Feature: from.Feature + 1, Value: from.Value, Points: from.Points}
		if r.Score < ExplainFrom {
			continue
		}
		var err error
		switch part {
		case Boosted, Forest:
			r.Drivers[i].Feature, err = d.treesDriver(part, s, r)
		case HalfSpace:
			r.Drivers[i].Feature, err = d.spaceDriver(in, s, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// treesDriver is the place in the row, plus one, of the feature that raised a part's margin most, 0 where none did.
func (d *Detector) treesDriver(part int, s *Scratch, r *Result) (int, error) {
	e := d.model.Boosted()
	if part == Forest {
		e = d.model.Forest()
	}
	contributions := s.contributions[:len(d.bound)]
	clear(contributions)
	_, work, err := e.Explain(s.gathered[:len(d.bound)], contributions)
	if err != nil {
		return 0, err
	}
	r.Work += uint64(work)
	if at := largest(contributions); at >= 0 {
		return d.bound[at] + 1, nil
	}
	return 0, nil
}

// spaceDriver is the feature of profiles, plus one, that made the region rarest, 0 where none did.
func (d *Detector) spaceDriver(in *Inputs, s *Scratch, r *Result) (int, error) {
	n := features.Schema.Features()
	if _, err := d.space.Explain(in.Cells, s.values[:n], s.causes[:n]); err != nil {
		return 0, err
	}
	r.Work += costCell * d.space.Reads()
	return largest(s.causes[:n]) + 1, nil
}

// largest is the index of the largest value above 0, the first of equals, and -1 where there is none.
func largest(values []int64) int {
	at := -1
	for i, v := range values {
		if v > 0 && (at < 0 || v > values[at]) {
			at = i
		}
	}
	return at
}

// Absorb counts an admitted event in the cells. Never call it for what is held or denied: that must not train. Of the
// inputs it reads the numbers and the ticks, and writes to w instead of Cells.
func (d *Detector) Absorb(w cell.Writer, in *Inputs, e profile.Event) error {
	if d.sketch != nil && in.Resource != 0 {
		if err := d.sketch.Absorb(w, midas.Edge{Actor: in.Actor, Resource: in.Resource}, in.Tick); err != nil {
			return err
		}
	}
	if d.kin != nil && in.Kin != 0 {
		if err := d.kin.Absorb(w, midas.Edge{Actor: in.Actor, Resource: in.Kin}, in.KinTick); err != nil {
			return err
		}
	}
	if d.space == nil {
		return nil
	}
	var values [profile.MaxFeatures]int64
	for i, v := range e {
		values[i] = int64(v)
	}
	return d.space.Absorb(w, values[:features.Schema.Features()])
}

// MaxWork is the most units of work that a score costs.
func (d *Detector) MaxWork() uint64 { return d.work }

func (d *Detector) most() uint64 {
	work := uint64(features.Count) + d.blend.Work()
	if d.model != nil {
		work += 2 * uint64(d.model.MaxWork())
	}
	if d.sketch != nil {
		work += costCell * d.sketch.Reads()
	}
	if d.kin != nil {
		work += costCell * d.kin.Reads()
	}
	if d.space != nil {
		work += 2 * costCell * d.space.Reads()
	}
	if d.proto.Profile != nil {
		work += costLogarithm * (3*features.Schema.SurpriseWork() + features.Schema.DistanceWork())
	}
	if d.rules != nil {
		work += d.rules.Work()
	}
	return work
}

// Ruling is what the thresholds say of a score.
func (d *Detector) Ruling(score uint16) chainv1.Ruling {
	t := d.proto.Thresholds
	switch {
	case t.GetDeny() != 0 && uint32(score) >= t.GetDeny():
		return chainv1.Ruling_RULING_DENY
	case t.GetHold() != 0 && uint32(score) >= t.GetHold():
		return chainv1.Ruling_RULING_HOLD
	}
	return chainv1.Ruling_RULING_ADMIT
}

// Verdict is the result as a docket carries it.
func (r *Result) Verdict(ruling chainv1.Ruling) *chainv1.Verdict {
	v := &chainv1.Verdict{Ruling: ruling, Score: uint32(r.Score)}
	for _, d := range r.Drivers[:r.Count] {
		v.Drivers = append(v.Drivers, &chainv1.Driver{Part: uint32(d.Part), Feature: uint32(d.Feature), Value: d.Value, Points: uint32(d.Points)})
	}
	return v
}

// Band is the band of a score in a baseline and in a model's counts, from 0 to Bands-1.
func Band(score uint16) int { return min(int(score)/(MaxScore/Bands), Bands-1) }
