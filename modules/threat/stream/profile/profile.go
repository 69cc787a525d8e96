package profile

import (
	"errors"
	"fmt"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
)

const (
	// Mass is the sum of a feature's masses.
	Mass = 1 << massBits
	// Smoothing is added to a mass before its logarithm is taken, so that a value that never came has a finite
	// surprise: log2(1 + Mass/Smoothing) = 12.0004 bits at most, for each feature.
	Smoothing = 1 << 8
	// MaxSurprise is the largest surprise of one feature, Q12.
	MaxSurprise = 12*fixed.LogScale + 2

	massBits = 20
)

// masses is a distribution for each feature. Those of features and values that the schema has not are 0.
type masses [MaxFeatures][MaxValues]uint32

// uniform is the distribution of a subject of whom nothing is known.
func uniform(s *Schema) (m masses) {
	for f := range s.count {
		n := s.features[f].Values
		for v := range n {
			m[f][v] = uint32(Mass / n)
		}
		m[f][0] += uint32(Mass % n)
	}
	return m
}

// Anchor is a frozen profile. No method changes it.
type Anchor struct {
	schema Schema
	masses masses
	events uint64
}

// NewAnchor is the anchor of a subject of whom nothing is known: every value is as likely as another.
func NewAnchor(s Schema) Anchor { return Anchor{schema: s, masses: uniform(&s)} }

// Events is the number of events that a was made from.
func (a *Anchor) Events() uint64 { return a.events }

// Mass is the mass of a value of a feature, of 2^20, and 0 for one that the schema has not.
func (a *Anchor) Mass(feature, value int) uint32 { return a.masses.at(feature, value) }

func (m *masses) at(feature, value int) uint32 {
	if feature < 0 || feature >= MaxFeatures || value < 0 || value >= MaxValues {
		return 0
	}
	return m[feature][value]
}

// Settings bound how an adaptive profile moves.
type Settings struct {
	// The step: for every feature, an absorbed event moves that fraction of the whole mass at most. It is above 0 and
	// at most 1/2.
	StepNumerator   uint32
	StepDenominator uint32
	// How many steps are taken in one epoch, at least 1. Events beyond are not absorbed.
	StepsPerEpoch uint32
}

// ErrSettings is wrapped by every error about settings.
var ErrSettings = errors.New("settings of profiles")

// Check says what is wrong with s.
func (s Settings) Check() error {
	switch {
	case s.StepNumerator == 0 || s.StepDenominator == 0 || uint64(s.StepNumerator)*2 > uint64(s.StepDenominator):
		return fmt.Errorf("%w: the step is above 0 and at most 1/2", ErrSettings)
	case s.StepsPerEpoch == 0:
		return fmt.Errorf("%w: an epoch has at least one step", ErrSettings)
	}
	return nil
}

// Adaptive is a profile that follows what its subject does by bounded steps.
type Adaptive struct {
	schema Schema
	masses masses
	events uint64
	epoch  uint64
	steps  uint32
}

// Adapt is an adaptive profile that begins at an anchor: an actor's own, or that of the peers of a new actor.
func (a *Anchor) Adapt() Adaptive { return Adaptive{schema: a.schema, masses: a.masses} }

// Events is the number of events that p absorbed.
func (p *Adaptive) Events() uint64 { return p.events }

// Mass is the mass of a value of a feature, of 2^20, and 0 for one that the schema has not.
func (p *Adaptive) Mass(feature, value int) uint32 { return p.masses.at(feature, value) }

// Absorb moves p one step towards an event and says whether it did. It does not where the event is no Settled one of
// Settle, where the settings do not pass Check, or where the epoch's steps are used up. Epochs do not go back: one
// before the last counts as the last. The order of events matters, for later ones weigh more.
//
// For every feature each value gives up floor(mass*step), and the value of the event receives the sum; so the masses
// go on summing to 2^20, and the total variation distance from before is at most the step.
func (p *Adaptive) Absorb(e Settled, s Settings, epoch uint64) bool {
	if !e.valid || s.Check() != nil {
		return false
	}
	if epoch > p.epoch {
		p.epoch, p.steps = epoch, 0
	}
	if p.steps >= s.StepsPerEpoch {
		return false
	}
	p.steps++
	for f := range p.schema.count {
		n := p.schema.features[f].Values
		m := p.masses[f][:n]
		var taken uint32
		for v, have := range m {
			give := uint32(uint64(have) * uint64(s.StepNumerator) / uint64(s.StepDenominator))
			m[v] -= give
			taken += give
		}
		m[e.event.value(f, n)] += taken
	}
	p.events = fixed.Add(p.events, 1)
	return true
}

// AbsorbWork is the number of masses that a step under s moves.
func (s *Schema) AbsorbWork() uint64 {
	var n uint64
	for _, f := range s.features[:s.count] {
		n += uint64(f.Values)
	}
	return n
}

// Rebase is the anchor at which p stands now: an explicit act of those who govern profiles, never a consequence of
// events.
func (p *Adaptive) Rebase() Anchor {
	return Anchor{schema: p.schema, masses: p.masses, events: p.events}
}

// Tally counts events, from which an anchor is made. The order of events does not matter.
type Tally struct {
	schema Schema
	counts [MaxFeatures][MaxValues]uint64
	events uint64
}

// MaxEvents is where a tally stops counting.
const MaxEvents = 1 << 40

// NewTally is an empty tally.
func NewTally(s Schema) Tally { return Tally{schema: s} }

// Events is the number of events counted.
func (t *Tally) Events() uint64 { return t.events }

// Count counts an event and says whether it did: it does not where the event is no Settled one of Settle, or the
// tally is full.
func (t *Tally) Count(e Settled) bool {
	if !e.valid || t.events >= MaxEvents {
		return false
	}
	for f := range t.schema.count {
		t.counts[f][e.event.value(f, t.schema.features[f].Values)]++
	}
	t.events++
	return true
}

// Freeze makes an anchor of the counts: the mass of a value counted c times among n events, for a feature of k values,
// is 2^20 * (2c+1)/(2n+k) rounded down (the rule of Krichevsky and Trofimov), and what rounding leaves goes to the
// value of the largest count, the first of equals.
func (t *Tally) Freeze() Anchor {
	a := Anchor{schema: t.schema, events: t.events}
	for f := range t.schema.count {
		k := t.schema.features[f].Values
		left, best := uint32(Mass), 0
		for v, c := range t.counts[f][:k] {
			mass := uint32(fixed.MulDiv(2*c+1, Mass, 2*t.events+uint64(k)))
			a.masses[f][v] = mass
			left -= mass
			if c > t.counts[f][best] {
				best = v
			}
		}
		a.masses[f][best] += left
	}
	return a
}
