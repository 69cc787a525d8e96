package evidence

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bounds.
const (
	MaxParts    = 16
	MaxKnots    = 64 // of a part, and of the scores
	MaxDrivers  = 4
	MaxWeight   = 1 << 30 // of a part and of the base, either way, Q16: no sum overflows
	MaxEvidence = 1 << 15 // bytes
)

// ErrEvidence is wrapped by every error of this package.
var ErrEvidence = errors.New("evidence")

// Knot is a corner of a part's line.
type Knot struct {
	Value  int64 // in the unit of the part
	Weight int64 // Q16, at most MaxWeight either way
}

// Part is one of the scores that are combined.
type Part struct {
	Name  string // as wire.Named has it; unique
	Lifts bool   // it adds nothing, and the score is at least its value, from 0 to blend.Whole
	Knots []Knot // 2 to MaxKnots, ascending in value, never falling in weight; none of a part that lifts
}

// Settings are what all validators must agree on.
type Settings struct {
	Base   int64        // Q16
	Parts  []Part       // 1 to MaxParts
	Scores []blend.Knot // 2 to MaxKnots, from margins in Q16, ascending, to points that never fall
}

// Check says what is wrong with s.
func (s Settings) Check() error {
	if s.Base < -MaxWeight || s.Base > MaxWeight || len(s.Parts) < 1 || len(s.Parts) > MaxParts {
		return fmt.Errorf("%w: parts are 1 to %d, and the base is at most %d either way", ErrEvidence, MaxParts, MaxWeight)
	}
	for i, p := range s.Parts {
		if !wire.Named(p.Name) || slices.ContainsFunc(s.Parts[:i], func(o Part) bool { return o.Name == p.Name }) {
			return fmt.Errorf("%w: part %d has no name of its own in lower case, of at most %d bytes", ErrEvidence, i, wire.MaxName)
		}
		if p.Lifts != (len(p.Knots) == 0) || !p.Lifts && len(p.Knots) < 2 || len(p.Knots) > MaxKnots {
			return fmt.Errorf("%w: %s has 2 to %d knots, and none if it lifts", ErrEvidence, p.Name, MaxKnots)
		}
		for j, k := range p.Knots {
			if k.Weight < -MaxWeight || k.Weight > MaxWeight || j > 0 && (k.Value <= p.Knots[j-1].Value || k.Weight < p.Knots[j-1].Weight) {
				return fmt.Errorf("%w: knot %d of %s does not rise, or weighs more than %d", ErrEvidence, j, p.Name, MaxWeight)
			}
		}
	}
	if len(s.Scores) < 2 || len(s.Scores) > MaxKnots {
		return fmt.Errorf("%w: the scores have 2 to %d knots", ErrEvidence, MaxKnots)
	}
	for j, k := range s.Scores {
		if k.Points > blend.Whole || j > 0 && (k.Value <= s.Scores[j-1].Value || k.Points < s.Scores[j-1].Points) {
			return fmt.Errorf("%w: knot %d of the scores does not rise, or has more than %d points", ErrEvidence, j, blend.Whole)
		}
	}
	return nil
}

// Weigh is the weight of what a part says: that of the first knot below it, of the last above it, and between two knots
// on the line from one to the other, rounded down. No knots give 0.
func Weigh(knots []Knot, value int64) int64 {
	if len(knots) == 0 {
		return 0
	}
	low, high := 0, len(knots) // the first knot above value
	for low < high {
		middle := (low + high) / 2
		if knots[middle].Value > value {
			high = middle
		} else {
			low = middle + 1
		}
	}
	switch low {
	case 0:
		return knots[0].Weight
	case len(knots):
		return knots[low-1].Weight
	}
	a, b := knots[low-1], knots[low]
	// Differences of int64 in order fit a uint64.
	rise := fixed.MulDiv(uint64(value)-uint64(a.Value), uint64(b.Weight-a.Weight), uint64(b.Value)-uint64(a.Value))
	return a.Weight + int64(rise)
}

// Sum combines parts. It is safe for concurrent use.
type Sum struct {
	settings Settings
}

// New returns a sum with the settings.
func New(s Settings) (*Sum, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Sum{clone(s)}, nil
}

func clone(s Settings) Settings {
	s.Parts, s.Scores = slices.Clone(s.Parts), slices.Clone(s.Scores)
	for i := range s.Parts {
		s.Parts[i].Knots = slices.Clone(s.Parts[i].Knots)
	}
	return s
}

// Settings are those that s was made with.
func (s *Sum) Settings() Settings { return clone(s.settings) }

// Work is the number of parts and knots that a score looks at, at most.
func (s *Sum) Work() uint64 {
	n := uint64(len(s.settings.Scores))
	for _, p := range s.settings.Parts {
		n += 1 + uint64(len(p.Knots))
	}
	return n
}

// Driver is a part that raised the score.
type Driver struct {
	Part   int   // index in Settings.Parts
	Value  int64 // what it said
	Weight int64 // Q16; 0 for the part that lifted the score
}

// Result is a score with what drove it.
type Result struct {
	Score   uint16             // 0 to blend.Whole
	Margin  int64              // logarithm of the odds, Q16, before any lift
	Drivers [MaxDrivers]Driver // the first Count: the part that lifted, then those of weight above 0, heaviest first, then by index
	Count   int
}

// Combine scores what the parts say, in the order of Settings.Parts. A part whose present is false, or that is missing
// at the end of either list, is absent, and further values are left out.
func (s *Sum) Combine(values []int64, present []bool) Result {
	out := Result{Margin: s.settings.Base}
	lift := -1 // the first part of largest value that lifts
	n := min(len(values), len(present), len(s.settings.Parts))
	for i := range n {
		if !present[i] {
			continue
		}
		if p := &s.settings.Parts[i]; !p.Lifts {
			w := Weigh(p.Knots, values[i])
			out.Margin += w // at most 17 of MaxWeight
			if w > 0 {
				out.add(Driver{Part: i, Value: values[i], Weight: w})
			}
		} else if lift < 0 || values[i] > values[lift] {
			lift = i
		}
	}
	out.Score = blend.Calibrate(s.settings.Scores, out.Margin)
	if lift < 0 {
		return out
	}
	if least := min(values[lift], blend.Whole); least > int64(out.Score) {
		out.Score = uint16(least)
		copy(out.Drivers[1:], out.Drivers[:])
		out.Drivers[0] = Driver{Part: lift, Value: values[lift]}
		out.Count = min(out.Count+1, MaxDrivers)
	}
	return out
}

// add keeps the heaviest drivers in order.
func (r *Result) add(d Driver) {
	at := r.Count
	for at > 0 && r.Drivers[at-1].Weight < d.Weight {
		at--
	}
	if at == MaxDrivers {
		return
	}
	r.Count = min(r.Count+1, MaxDrivers)
	copy(r.Drivers[at+1:r.Count], r.Drivers[at:])
	r.Drivers[at] = d
}

// Marshal is the canonical bytes of a threatv1.Evidence.
func (s Settings) Marshal() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	m := &threatv1.Evidence{Base: s.Base}
	for _, p := range s.Parts {
		part := &threatv1.EvidencePart{Name: p.Name, Lifts: p.Lifts}
		for _, k := range p.Knots {
			part.Knots = append(part.Knots, &threatv1.EvidenceKnot{Value: k.Value, Weight: k.Weight})
		}
		m.Parts = append(m.Parts, part)
	}
	for _, k := range s.Scores {
		m.Scores = append(m.Scores, &threatv1.Knot{Value: k.Value, Points: uint32(k.Points)})
	}
	return m.MarshalVT()
}

// Unmarshal is the inverse of Marshal.
func Unmarshal(raw []byte) (Settings, error) {
	var m threatv1.Evidence
	if err := wire.Unmarshal(raw, &m, MaxEvidence); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	s := Settings{Base: m.Base}
	for _, p := range m.Parts {
		part := Part{Name: p.Name, Lifts: p.Lifts}
		for _, k := range p.Knots {
			part.Knots = append(part.Knots, Knot{k.Value, k.Weight})
		}
		s.Parts = append(s.Parts, part)
	}
	for _, k := range m.Scores {
		s.Scores = append(s.Scores, blend.Knot{Value: k.Value, Points: uint16(min(k.Points, blend.Whole+1))}) // what is too large is refused by Check
	}
	return s, s.Check()
}
