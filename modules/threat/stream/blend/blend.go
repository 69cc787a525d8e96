package blend

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bounds.
const (
	Whole      = 10000 // the largest score, points, weight and peak
	MaxParts   = 16
	MaxKnots   = 64
	MaxDrivers = 4
	MaxBlend   = 1 << 15
)

// ErrBlend is wrapped by every error of this package.
var ErrBlend = errors.New("blend")

// Knot is a corner of a calibration.
type Knot struct {
	Value  int64
	Points uint16
}

// Part is one of the scores that are blended.
type Part struct {
	Name   string // as wire.Named has it; unique
	Weight uint16 // share in the mean, at most Whole; 0 for one that only lifts
	Lifts  bool   // the score is at least the points of this part
	Knots  []Knot // 2 to MaxKnots, ascending in value, never falling in points
}

// Settings are what all validators must agree on.
type Settings struct {
	Parts []Part // 1 to MaxParts
	Peak  uint16 // at most Whole
}

// Check says what is wrong with s.
func (s Settings) Check() error {
	if len(s.Parts) < 1 || len(s.Parts) > MaxParts || s.Peak > Whole {
		return fmt.Errorf("%w: parts are 1 to %d and the peak is at most %d", ErrBlend, MaxParts, Whole)
	}
	for i, p := range s.Parts {
		if !wire.Named(p.Name) || slices.ContainsFunc(s.Parts[:i], func(o Part) bool { return o.Name == p.Name }) {
			return fmt.Errorf("%w: part %d has no name of its own in lower case, of at most %d bytes", ErrBlend, i, wire.MaxName)
		}
		if p.Weight > Whole || p.Weight == 0 && !p.Lifts {
			return fmt.Errorf("%w: the weight of %s is not 1 to %d, and it does not lift", ErrBlend, p.Name, Whole)
		}
		if len(p.Knots) < 2 || len(p.Knots) > MaxKnots {
			return fmt.Errorf("%w: %s has 2 to %d knots", ErrBlend, p.Name, MaxKnots)
		}
		for j, k := range p.Knots {
			if k.Points > Whole || j > 0 && (k.Value <= p.Knots[j-1].Value || k.Points < p.Knots[j-1].Points) {
				return fmt.Errorf("%w: knot %d of %s does not rise, or has more than %d points", ErrBlend, j, p.Name, Whole)
			}
		}
	}
	return nil
}

// Calibrate maps what a part says to points: those of the first knot below it, of the last above it, and between two
// knots on the line from one to the other, rounded down. No knots give 0.
func Calibrate(knots []Knot, value int64) uint16 {
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
		return knots[0].Points
	case len(knots):
		return knots[low-1].Points
	}
	a, b := knots[low-1], knots[low]
	// Differences of int64 in order fit a uint64.
	rise := fixed.MulDiv(uint64(value)-uint64(a.Value), uint64(b.Points-a.Points), uint64(b.Value)-uint64(a.Value))
	return a.Points + uint16(rise)
}

// Blend computes scores. It is safe for concurrent use.
type Blend struct {
	settings Settings
}

// New returns a blend with the settings.
func New(s Settings) (*Blend, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return &Blend{clone(s)}, nil
}

func clone(s Settings) Settings {
	s.Parts = slices.Clone(s.Parts)
	for i := range s.Parts {
		s.Parts[i].Knots = slices.Clone(s.Parts[i].Knots)
	}
	return s
}

// Settings are those that b was made with.
func (b *Blend) Settings() Settings { return clone(b.settings) }

// Work is the number of parts and knots that a score looks at, at most.
func (b *Blend) Work() uint64 {
	var n uint64
	for _, p := range b.settings.Parts {
		n += 1 + uint64(len(p.Knots))
	}
	return n
}

// Input is what a part says.
type Input struct {
	Present bool  // false where the part has no model, or nothing to say yet: it is left out of the mean
	Value   int64 // in the unit of the part
	Feature int   // the part's own index of the feature that drove it, -1 where there is none
}

// Driver is a part with its share in the score.
type Driver struct {
	Part    int    // index in Settings.Parts
	Feature int    // as in the Input
	Value   int64  // as in the Input
	Points  uint16 // calibrated
	Share   uint16 // of the score, rounded down: by weight, as the largest, or as what lifted it
}

// Result is a score with what drove it.
type Result struct {
	Score   uint16
	Drivers [MaxDrivers]Driver // the first Count: by share, then points, largest first, then by index
	Count   int                // parts that are present and have a share, at most MaxDrivers
}

// Score blends what the parts say, in the order of Settings.Parts. Inputs that are missing at the end are not present,
// and further ones are left out.
func (b *Blend) Score(inputs []Input) Result {
	var (
		points  [MaxParts]uint16
		sum     uint64 // of weight times points
		weights uint64
		largest = -1 // the first part of largest points in the mean
		lift    = -1 // the first part of largest points that lifts
	)
	parts := b.settings.Parts
	inputs = inputs[:min(len(inputs), len(parts))]
	for i, in := range inputs {
		if !in.Present {
			continue
		}
		p := &parts[i]
		points[i] = Calibrate(p.Knots, in.Value)
		if p.Weight > 0 {
			sum += uint64(p.Weight) * uint64(points[i])
			weights += uint64(p.Weight)
			if largest < 0 || points[i] > points[largest] {
				largest = i
			}
		}
		if p.Lifts && (lift < 0 || points[i] > points[lift]) {
			lift = i
		}
	}
	var out Result
	peak := uint64(b.settings.Peak)
	if weights > 0 {
		// At most 10^4 * 16*10^4 * 10^4, rounded half up.
		n := (Whole-peak)*sum + peak*weights*uint64(points[largest])
		out.Score = uint16((n + Whole*weights/2) / (Whole * weights))
	}
	lifted := lift >= 0 && points[lift] > out.Score
	if lifted {
		out.Score = points[lift]
	}
	for i, in := range inputs {
		if !in.Present {
			continue
		}
		d := Driver{Part: i, Feature: in.Feature, Value: in.Value, Points: points[i]}
		if lifted {
			if i == lift {
				d.Share = points[i]
			}
		} else if w := uint64(parts[i].Weight); w > 0 {
			n := (Whole - peak) * w * uint64(points[i])
			if i == largest {
				n += peak * weights * uint64(points[i])
			}
			d.Share = uint16(n / (Whole * weights))
		}
		if d.Share > 0 {
			out.add(d)
		}
	}
	return out
}

// add keeps the drivers of largest share in order.
func (r *Result) add(d Driver) {
	at := r.Count
	for at > 0 && (r.Drivers[at-1].Share < d.Share || r.Drivers[at-1].Share == d.Share && r.Drivers[at-1].Points < d.Points) {
		at--
	}
	if at == MaxDrivers {
		return
	}
	r.Count = min(r.Count+1, MaxDrivers)
	copy(r.Drivers[at+1:r.Count], r.Drivers[at:])
	r.Drivers[at] = d
}

// Marshal is the canonical bytes of a threatv1.Blend.
func (s Settings) Marshal() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	m := &threatv1.Blend{Peak: uint32(s.Peak)}
	for _, p := range s.Parts {
		part := &threatv1.BlendPart{Name: p.Name, Weight: uint32(p.Weight), Lifts: p.Lifts}
		for _, k := range p.Knots {
			part.Knots = append(part.Knots, &threatv1.Knot{Value: k.Value, Points: uint32(k.Points)})
		}
		m.Parts = append(m.Parts, part)
	}
	return m.MarshalVT()
}

// Unmarshal is the inverse of Marshal.
func Unmarshal(raw []byte) (Settings, error) {
	var m threatv1.Blend
	if err := wire.Unmarshal(raw, &m, MaxBlend); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrBlend, err)
	}
	narrow := func(x uint32) uint16 { return uint16(min(x, Whole+1)) } // what is too large is refused by Check
	s := Settings{Peak: narrow(m.Peak)}
	for _, p := range m.Parts {
		part := Part{Name: p.Name, Weight: narrow(p.Weight), Lifts: p.Lifts}
		for _, k := range p.Knots {
			part.Knots = append(part.Knots, Knot{k.Value, narrow(k.Points)})
		}
		s.Parts = append(s.Parts, part)
	}
	return s, s.Check()
}
