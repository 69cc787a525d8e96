package profile

import (
	"fmt"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// MaxRecord is the most bytes that an anchor or adaptive profile has.
	MaxRecord = 32 + MaxFeatures*(8+3*MaxValues)
	// MaxTally is the most bytes that a tally has.
	MaxTally = 32 + MaxFeatures*(8+6*MaxValues)
)

// Marshal is the canonical bytes of a threatv1.ProfileAnchor.
func (a *Anchor) Marshal() ([]byte, error) {
	return (&threatv1.ProfileAnchor{Features: a.masses.message(&a.schema), Events: a.events}).MarshalVT()
}

// UnmarshalAnchor is the inverse of Marshal for an anchor of the schema.
func UnmarshalAnchor(raw []byte, s Schema) (Anchor, error) {
	var m threatv1.ProfileAnchor
	if err := wire.Unmarshal(raw, &m, MaxRecord); err != nil {
		return Anchor{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	parsed, err := parse(m.Features, &s)
	if err != nil {
		return Anchor{}, err
	}
	return Anchor{schema: s, masses: parsed, events: m.Events}, nil
}

// Marshal is the canonical bytes of a threatv1.ProfileAdaptive.
func (p *Adaptive) Marshal() ([]byte, error) {
	return (&threatv1.ProfileAdaptive{
		Features: p.masses.message(&p.schema), Events: p.events, Epoch: p.epoch, Steps: p.steps,
	}).MarshalVT()
}

// UnmarshalAdaptive is the inverse of Marshal for a profile of the schema.
func UnmarshalAdaptive(raw []byte, s Schema) (Adaptive, error) {
	var m threatv1.ProfileAdaptive
	if err := wire.Unmarshal(raw, &m, MaxRecord); err != nil {
		return Adaptive{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	parsed, err := parse(m.Features, &s)
	if err != nil {
		return Adaptive{}, err
	}
	return Adaptive{schema: s, masses: parsed, events: m.Events, epoch: m.Epoch, steps: m.Steps}, nil
}

// Marshal is the canonical bytes of a threatv1.ProfileTally.
func (t *Tally) Marshal() ([]byte, error) {
	m := &threatv1.ProfileTally{Events: t.events}
	for f := range t.schema.count {
		m.Features = append(m.Features, &threatv1.ProfileCounts{Counts: append([]uint64(nil), t.counts[f][:t.schema.features[f].Values]...)})
	}
	return m.MarshalVT()
}

// UnmarshalTally is the inverse of Marshal for a tally of the schema.
func UnmarshalTally(raw []byte, s Schema) (Tally, error) {
	var m threatv1.ProfileTally
	if err := wire.Unmarshal(raw, &m, MaxTally); err != nil {
		return Tally{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if len(m.Features) != s.count || m.Events > MaxEvents {
		return Tally{}, fmt.Errorf("%w: %d features, the schema has %d; at most %d events", ErrRecord, len(m.Features), s.count, uint64(MaxEvents))
	}
	t := Tally{schema: s, events: m.Events}
	for f, c := range m.Features {
		var sum uint64
		for v, count := range c.Counts {
			if v >= s.features[f].Values || count > MaxEvents {
				return Tally{}, fmt.Errorf("%w: the counts of %s do not fit", ErrRecord, s.features[f].Name)
			}
			t.counts[f][v] = count
			sum += count
		}
		if len(c.Counts) != s.features[f].Values || sum != m.Events {
			return Tally{}, fmt.Errorf("%w: the counts of %s do not sum to the events", ErrRecord, s.features[f].Name)
		}
	}
	return t, nil
}

func (m *masses) message(s *Schema) []*threatv1.ProfileMasses {
	out := make([]*threatv1.ProfileMasses, 0, s.count)
	for f := range s.count {
		out = append(out, &threatv1.ProfileMasses{Masses: append([]uint32(nil), m[f][:s.features[f].Values]...)})
	}
	return out
}

func parse(features []*threatv1.ProfileMasses, s *Schema) (m masses, err error) {
	if len(features) != s.count {
		return m, fmt.Errorf("%w: %d features, the schema has %d", ErrRecord, len(features), s.count)
	}
	for f, d := range features {
		var sum uint64
		for v, mass := range d.Masses {
			if v >= s.features[f].Values || mass > Mass {
				return m, fmt.Errorf("%w: the masses of %s do not fit", ErrRecord, s.features[f].Name)
			}
			m[f][v] = mass
			sum += uint64(mass)
		}
		if len(d.Masses) != s.features[f].Values || sum != Mass {
			return m, fmt.Errorf("%w: the masses of %s do not sum to 2^%d", ErrRecord, s.features[f].Name, massBits)
		}
	}
	return m, nil
}
