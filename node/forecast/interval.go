package forecast

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// outcome is what was expected of a bucket and what came.
type outcome struct{ expected, observed float64 }

func (o outcome) square() float64 { e := o.observed - o.expected; return e * e }

// probabilities are those below the bounds of a Band.
var probabilities = [...]float64{0.025, 0.10, 0.90, 0.975}

// bounds are the quantiles of probabilities.
type bounds [len(probabilities)]float64

// spread is how counts lie about their forecast, at each of horizons.
type spread [len(horizons)]scatter

// scatter is the errors of forecasts at one horizon. Their variance is scale ·
// mean^exponent, but at least that of a Poisson count.
type scatter struct {
	exponent int // 0, 1 or 2
	scale    float64
	// tails are quantiles of the errors, in standard deviations. Without measured ones a
	// negative binomial distribution is assumed.
	tails    bounds
	measured bool
}

func (s *scatter) variance(mean float64) float64 {
	return max(s.scale*raise(mean, s.exponent), mean)
}

// raise is x to the power of 0, 1 or 2.
func raise(x float64, exponent int) float64 {
	switch exponent {
	case 0:
		return 1
	case 1:
		return x
	default:
		return x * x
	}
}

// quasiPoisson is the same for every horizon.
func quasiPoisson(dispersion float64) spread {
	var s spread
	for i := range s {
		s[i] = scatter{exponent: 1, scale: dispersion}
	}
	return s
}

// leastErrors is how many errors at a horizon are enough to take quantiles of.
const leastErrors = 40

// newSpread measures the errors at each horizon by themselves. Where there are too few
// of them, the variance of one bucket ahead grows as the smoothing's formula says.
func newSpread(errors [len(horizons)][]outcome, growth func(h int) float64) spread {
	var s spread
	for k, h := range horizons {
		switch {
		case len(errors[k]) >= leastErrors:
			s[k] = scatterOf(errors[k])
			s[k].measure(errors[k])
		case k == 0:
			s[k] = scatterOf(errors[k])
		default:
			s[k] = scatter{exponent: s[0].exponent, scale: s[0].scale * growth(h)}
		}
	}
	return s
}

// medianSquare is the median of the square of a standard normal variable.
const medianSquare = 0.4549364

// scatterOf finds the exponent, of 0 (a constant variance), 1 (quasi-Poisson) and 2 (a
// constant relative error), by the pseudo-likelihood of the errors (Davidian and
// Carroll, Variance Function Estimation, JASA 1987). Bursts must not hide what is
// usual: the likelihood is that of Student's t with 4 degrees of freedom, and the
// scale is by the median of the squares.
func scatterOf(errors []outcome) scatter {
	var chosen scatter
	best := math.Inf(1)
	squares := make([]float64, len(errors))
	for _, exponent := range [...]int{0, 1, 2} {
		for i, o := range errors {
			squares[i] = o.square() / raise(o.expected, exponent)
		}
		slices.Sort(squares)
		s := scatter{exponent: exponent, scale: squares[len(squares)/2] / medianSquare}
		loss := 0.0
		for _, o := range errors {
			v := s.variance(o.expected)
			loss += math.Log(v) + 5*math.Log1p(o.square()/(4*v))
		}
		if loss < best {
			best, chosen = loss, s
		}
	}
	return chosen
}

// measure takes the tails from the errors, a little wider for the parameters that were
// fitted to them.
func (s *scatter) measure(errors []outcome) {
	z := make([]float64, len(errors))
	for i, o := range errors {
		z[i] = (o.observed - o.expected) / math.Sqrt(s.variance(o.expected))
	}
	slices.Sort(z)
	n := float64(len(z))
	for i, p := range probabilities {
		s.tails[i] = quantileOf(z, p) * math.Sqrt(n/(n-4))
	}
	s.measured = true
}

// bounds are never within those of a Poisson count.
func (s *scatter) bounds(mean float64, poisson bounds) bounds {
	variance := s.variance(mean)
	deviation := math.Sqrt(variance)
	c := newCounts(mean, variance)
	var b bounds
	for i, p := range probabilities {
		if s.measured {
			b[i] = max(math.Round(mean+s.tails[i]*deviation), 0)
		} else {
			b[i] = c.quantile(p)
		}
	}
	return b.around(poisson)
}

// around is the wider of two.
func (b bounds) around(o bounds) bounds {
	for i, p := range probabilities {
		if p < 0.5 {
			b[i] = min(b[i], o[i])
		} else {
			b[i] = max(b[i], o[i])
		}
	}
	return b
}

// bounds are on straight lines between two horizons, and never narrower than at a
// nearer one.
func (s *spread) bounds(mean float64, h int) bounds {
	var poisson bounds
	c := newCounts(mean, mean)
	for i, p := range probabilities {
		poisson[i] = c.quantile(p)
	}
	at := s[0].bounds(mean, poisson)
	before := at
	k := 0
	for horizons[k] < h {
		k++
		before, at = at, s[k].bounds(mean, poisson).around(at)
	}
	if k > 0 {
		share := float64(h-horizons[k-1]) / float64(horizons[k]-horizons[k-1])
		for i := range at {
			at[i] = math.Round(before[i] + share*(at[i]-before[i]))
		}
	}
	return at
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
	if n >= leastErrors {
		return func(p float64) float64 { return quantileOf(errors, p) }
	}
	squares := 0.0
	for _, e := range errors {
		squares += e * e
	}
	s := math.Sqrt(squares / float64(n-1) * (1 + 1/float64(n)))
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}
	return func(p float64) float64 { return s * t.Quantile(p) }
}

// quantileOf is a quantile of sorted values: its place among the n + 1 gaps about
// them, on a straight line between two.
func quantileOf(sorted []float64, p float64) float64 {
	n := len(sorted)
	at := min(max(p*float64(n+1)-1, 0), float64(n-1))
	k := int(at)
	next := min(k+1, n-1)
	return sorted[k] + (at-float64(k))*(sorted[next]-sorted[k])
}
