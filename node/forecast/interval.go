package forecast

import (
	"math"
	"sort"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// outcome is what was expected of a bucket and what came.
type outcome struct{ expected, observed float64 }

func (o outcome) square() float64 { e := o.observed - o.expected; return e * e }

// spread is the variance of a count about its forecast: scale · mean^power, where the
// scale depends on the horizon, but at least that of a Poisson count.
type spread struct {
	power float64
	scale [len(horizons)]float64
}

// constantSpread is the same for every horizon.
func constantSpread(power, scale float64) spread {
	s := spread{power: power}
	for i := range s.scale {
		s.scale[i] = scale
	}
	return s
}

// leastErrors is how many errors at a horizon are enough to go by.
const leastErrors = 30

// newSpread finds the power, 0 to 2 (a constant variance, quasi-Poisson, constant
// relative error), by the Gaussian pseudo-likelihood of the one-step errors (Davidian
// and Carroll, Variance Function Estimation, JASA 1987), and the scale by the sums
// of the squared errors at each horizon. Where there are too few errors, the variance
// grows as the smoothing's formula says. It never falls with the horizon.
func newSpread(errors [len(horizons)][]outcome, growth func(h int) float64) spread {
	var s spread
	best := math.Inf(1)
	for _, power := range [...]float64{0, 1, 2} {
		scale := scaleOf(errors[0], power)
		loss := 0.0
		for _, o := range errors[0] {
			v := max(scale*math.Pow(o.expected, power), o.expected)
			loss += math.Log(v) + o.square()/v
		}
		if loss < best {
			best, s.power, s.scale[0] = loss, power, scale
		}
	}
	for k := 1; k < len(horizons); k++ {
		s.scale[k] = s.scale[0] * growth(horizons[k])
		if len(errors[k]) >= leastErrors {
			s.scale[k] = scaleOf(errors[k], s.power)
		}
		s.scale[k] = max(s.scale[k], s.scale[k-1])
	}
	return s
}

// scaleOf is the scale of a spread, with a correction for the parameters that were
// fitted.
func scaleOf(errors []outcome, power float64) float64 {
	squares, means := 0.0, 0.0
	for _, o := range errors {
		squares += o.square()
		means += math.Pow(o.expected, power)
	}
	n := float64(len(errors))
	return squares / means * n / max(n-4, 1)
}

func (s *spread) variance(mean float64, h int) float64 {
	k := sort.SearchInts(horizons[:], h)
	scale := s.scale[k]
	if horizons[k] != h {
		share := float64(h-horizons[k-1]) / float64(horizons[k]-horizons[k-1])
		scale = s.scale[k-1] + share*(s.scale[k]-s.scale[k-1])
	}
	return max(scale*math.Pow(mean, s.power), mean)
}

// counts is the distribution of a count with a mean and a variance: negative binomial,
// or Poisson where the variance is not above the mean.
type counts struct {
	mean, variance float64
	r, p           float64 // of the negative binomial; r is 0 for Poisson
}

func newCounts(mean, variance float64) counts {
	c := counts{mean: mean, variance: max(variance, mean)}
	if over := variance - mean; over > 1e-6*mean {
		c.r, c.p = mean*mean/over, mean/variance
	}
	return c
}

// atMost is the probability of k or less.
func (c counts) atMost(k float64) float64 {
	if c.r > 0 {
		return mathext.RegIncBeta(c.r, k+1, c.p)
	}
	return mathext.GammaIncRegComp(k+1, c.mean)
}

// normalFrom is the mean from which a count is near enough to normal, or to a gamma
// distributed one where it varies much.
const normalFrom = 1e6

// quantile is the least whole number k with a probability of at least p of k or less.
func (c counts) quantile(p float64) float64 {
	if c.mean > normalFrom {
		shape := c.mean * c.mean / c.variance
		return math.Round(distuv.Gamma{Alpha: shape, Beta: shape / c.mean}.Quantile(p))
	}
	// Between low, which is too little, and high, which is enough.
	low, high := -1.0, math.Ceil(c.mean+2*math.Sqrt(c.variance))+1
	for c.atMost(high) < p {
		low, high = high, 2*high
	}
	for high-low > 1 {
		if middle := math.Floor((low + high) / 2); c.atMost(middle) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// tails gives the quantiles of errors, which are sorted: empirical ones of enough
// errors, and Student's of few. With one error there is nothing to go by, and the
// tails are as long as a score.
func tails(errors []float64) func(p float64) float64 {
	n := len(errors)
	if n < 2 {
		return func(p float64) float64 { return math.Copysign(MaxScore, p-0.5) }
	}
	if n >= 40 {
		return func(p float64) float64 {
			// The place among n + 1 gaps, on a straight line between two errors.
			at := min(max(p*float64(n+1)-1, 0), float64(n-1))
			k := int(at)
			next := min(k+1, n-1)
			return errors[k] + (at-float64(k))*(errors[next]-errors[k])
		}
	}
	squares := 0.0
	for _, e := range errors {
		squares += e * e
	}
	s := math.Sqrt(squares / float64(n-1) * (1 + 1/float64(n)))
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}
	return func(p float64) float64 { return s * t.Quantile(p) }
}
