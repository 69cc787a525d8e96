package profile

import "github.com/chancery/chancery/modules/threat/stream/fixed"

// Surprise is how unexpected an event is to a profile.
type Surprise struct {
	// Total is the sum over the features of -log2 of the smoothed probability of the event's value, in Q12: the
	// negative log-likelihood of the naive Bayes, from 0 to MaxSurprise for each feature.
	Total int64
	// Feature is the one of largest surprise, the first of equals, and -1 where the schema has none.
	Feature int
	// Largest is that feature's surprise.
	Largest int64
}

// Surprise is how unexpected an event is to a.
func (a *Anchor) Surprise(e Event) Surprise { return surprise(&a.schema, &a.masses, &e) }

// Surprise is how unexpected an event is to p.
func (p *Adaptive) Surprise(e Event) Surprise { return surprise(&p.schema, &p.masses, &e) }

// SurpriseWork is the number of logarithms that a surprise under s takes.
func (s *Schema) SurpriseWork() uint64 { return uint64(s.count) }

func surprise(s *Schema, m *masses, e *Event) Surprise {
	out := Surprise{Feature: -1}
	for f := range s.count {
		v := e.value(f, s.features[f].Values)
		bits := wholeLog - fixed.Log2(uint64(m[f][v])+Smoothing)
		bits = max(bits, 0)
		out.Total += bits
		if out.Feature < 0 || bits > out.Largest {
			out.Feature, out.Largest = f, bits
		}
	}
	return out
}

// wholeLog is the logarithm of all mass with its smoothing.
var wholeLog = fixed.Log2(Mass + Smoothing)

// Estrangement is how many bits (Q12) more an event surprises own than peers: by naive Bayes, the weight of evidence
// that it is one of the peers who acts rather than the subject. It is negative where the event is more the subject's
// own habit than its peers'.
func Estrangement(own, peers Surprise) int64 { return own.Total - peers.Total }

// Distance is how far p has moved from a.
type Distance struct {
	// Total is the sum over the features of the Jensen-Shannon divergence, in Q12: from 0 to 1 bit for each.
	Total int64
	// Feature is the one that moved most, the first of equals, and -1 where the schema has none.
	Feature int
	// Largest is that feature's divergence.
	Largest int64
}

// Distance is how far p is from a. Where the two have different schemas it is the largest that there is, of no feature.
func (p *Adaptive) Distance(a *Anchor) Distance {
	out := Distance{Feature: -1}
	if p.schema != a.schema {
		out.Total, out.Largest = MaxFeatures*fixed.LogScale, fixed.LogScale
		return out
	}
	for f := range p.schema.count {
		n := p.schema.features[f].Values
		d := divergence(p.masses[f][:n], a.masses[f][:n])
		out.Total += d
		if out.Feature < 0 || d > out.Largest {
			out.Feature, out.Largest = f, d
		}
	}
	return out
}

// DistanceWork is the number of logarithms that a distance under s takes.
func (s *Schema) DistanceWork() uint64 {
	return 3 * s.AbsorbWork() // one for each mass of either, and one for their sum
}

// divergence is the Jensen-Shannon divergence of two distributions of whole mass M, in Q12 and rounded down: with
// h(x) = x log2 x it is 1 + sum(h(p) + h(q) - h(p+q)) / 2M. A logarithm is off by less than 1.001 of 2^-12 and the
// weights sum to 2 after the division, so, rounding included, the result is within
// 3.01 of 2^-12 of the true value. Equal distributions
// have 0: h(2p) = 2p(1 + log2 p) holds exactly for our logarithm.
func divergence(p, q []uint32) int64 {
	var sum int64 // at most 64 values * 2^22 * 21*2^12 = 2^45
	for i := range p {
		a, b := uint64(p[i]), uint64(q[i])
		sum += int64(a)*fixed.Log2(a) + int64(b)*fixed.Log2(b) - int64(a+b)*fixed.Log2(a+b)
	}
	const whole = 2 * Mass
	d := (whole*fixed.LogScale + sum) >> (massBits + 1)
	return min(max(d, 0), fixed.LogScale)
}
