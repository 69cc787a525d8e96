package forecast

import (
	"math"
	"slices"
)

// smoothing is the parameters of additive exponential smoothing with a damped trend
// and an additive season, the model ETS(A,Ad,A) in the innovations form of Hyndman,
// Koehler, Ord and Snyder, Forecasting with Exponential Smoothing (2008), ch. 2. With
// e the error of the one-step forecast,
//
//	forecast = level + phi·trend + season[t−m]
//	level   ← level + phi·trend + alpha·e
//	trend   ← phi·trend + beta·e
//	season  ← season[t−m] + gamma·e
//
// beta 0 and gamma 0 leave trend and season as they began.
type smoothing struct {
	alpha, beta, gamma, phi float64
}

// states is where a smoother is between two buckets.
type states struct {
	level, trend float64
	// season has one entry for each bucket of a season; none: there is no season.
	season []float64
	next   int // entry of the next bucket
}

// clone is a copy with a season of its own.
func (x states) clone() states {
	x.season = append([]float64(nil), x.season...)
	return x
}

// ahead is the forecast h buckets on, h from 1: level + (phi + … + phi^h)·trend +
// season.
func (x *states) ahead(p smoothing, h int) float64 {
	y := x.level + damped(p.phi, h)*x.trend
	if m := len(x.season); m > 0 {
		y += x.season[(x.next+h-1)%m]
	}
	return y
}

// damped is phi + phi² + … + phi^h.
func damped(phi float64, h int) float64 {
	if phi >= 1 {
		return float64(h)
	}
	return phi * (1 - math.Pow(phi, float64(h))) / (1 - phi)
}

// step moves past one bucket and returns the error of its forecast, or NaN where y
// is NaN: then the states go on as forecast.
func (x *states) step(p smoothing, y float64) float64 {
	slope := p.phi * x.trend
	at := x.level + slope
	var seasonal *float64
	if m := len(x.season); m > 0 {
		seasonal = &x.season[x.next]
		if x.next++; x.next == m {
			x.next = 0
		}
	}
	if y != y {
		x.level, x.trend = at, slope
		return y
	}
	e := y - at
	if seasonal != nil {
		e -= *seasonal
		*seasonal += p.gamma * e
	}
	x.level, x.trend = at+p.alpha*e, slope+p.beta*e
	return e
}

// growth is by how much the variance of a forecast h buckets ahead exceeds that of
// one bucket ahead: 1 + Σ_{j<h} c_j², c_j = alpha + beta·(phi + … + phi^j) +
// gamma·[m divides j] (Hyndman et al. 2008, table 6.2).
func (p smoothing) growth(h, m int) float64 {
	sum, slope := 1.0, 0.0
	power := 1.0
	for j := 1; j < h; j++ {
		power *= p.phi
		slope += power
		c := p.alpha + p.beta*slope
		if m > 0 && j%m == 0 {
			c += p.gamma
		}
		sum += c * c
	}
	return sum
}

// begin is the states before the first of some values. A season needs two of them:
// its entries are the mean differences from the moving average over a season
// (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 2nd ed., 6.3),
// made to sum to nothing. Level and trend are those of a straight line through the
// first ten values without their season.
func begin(y []float64, m int) states {
	var x states
	if m > 0 {
		x.season = indices(y, m)
	}
	n, sx, sy, sxx, sxy := 0.0, 0.0, 0.0, 0.0, 0.0
	for i, v := range y {
		if v != v {
			continue
		}
		if m > 0 {
			v -= x.season[i%m]
		}
		t := float64(i)
		n, sx, sy, sxx, sxy = n+1, sx+t, sy+v, sxx+t*t, sxy+t*v
		if n == 10 {
			break
		}
	}
	if n == 0 {
		return x
	}
	if d := n*sxx - sx*sx; n >= 10 && d > 0 {
		x.trend = (n*sxy - sx*sy) / d
	}
	// The level is that of the bucket before the first.
	x.level = (sy-x.trend*sx)/n - x.trend
	return x
}

// indices are the additive seasonal indices of at least two seasons.
func indices(y []float64, m int) []float64 {
	sums, counts := make([]float64, m), make([]float64, m)
	window := 0.0
	for i, v := range y {
		window += v
		if i >= m {
			window -= y[i-m]
		}
		// The average over one whole season, centred as well as it can be.
		if centre := i - m/2; i >= m-1 && centre >= 0 {
			sums[centre%m] += y[centre] - window/float64(m)
			counts[centre%m]++
		}
	}
	mean := 0.0
	for i := range sums {
		if counts[i] > 0 {
			sums[i] /= counts[i]
		}
		mean += sums[i] / float64(m)
	}
	for i := range sums {
		sums[i] -= mean
	}
	return sums
}

// fit chooses parameters that make the sum of Huber's loss of the one-step forecasts
// small, so that bursts do not teach it to follow every one: first on a grid, then by
// compass search within the bounds. It returns what it chose and the states after the
// values. The work is at most 135 passes over the values, 63 for the grid and 72 for
// the search: three lengths of step, maxRounds, two trials along each of four axes.
func fit(y []float64, m int) (smoothing, states) {
	first := begin(y, m)
	scratch := first.clone()
	usual := usualError(y, m)
	loss := func(p smoothing) float64 {
		x := scratch
		x.level, x.trend, x.next = first.level, first.trend, first.next
		copy(x.season, first.season)
		sum := 0.0
		for _, v := range y {
			if e := math.Abs(x.step(p, v)); e <= usual {
				sum += e * e
			} else {
				sum += usual * (2*e - usual)
			}
		}
		return sum
	}
	best, least := smoothing{}, math.Inf(1)
	try := func(p smoothing) bool {
		if l := loss(p); l < least {
			best, least = p, l
			return true
		}
		return false
	}
	gammas := []float64{0}
	if m > 0 {
		gammas = []float64{0.02, 0.1, 0.3}
	}
	for _, a := range []float64{0.002, 0.02, 0.06, 0.15, 0.3, 0.6, 0.9} {
		for _, b := range []float64{0, 0.03, 0.2} {
			for _, g := range gammas {
				try(smoothing{alpha: a, beta: a * b, gamma: g * (1 - a), phi: 0.9})
			}
		}
	}
	// One coordinate at a time; alpha, beta over alpha, gamma over 1 − alpha and phi
	// are free of one another.
	for step := 0.5; step > 0.1; step /= 2 {
		for moved, rounds := true, 0; moved && rounds < maxRounds; rounds++ {
			moved = false
			for axis := range 4 {
				if axis == 2 && m == 0 {
					continue
				}
				if try(best.moved(axis, 1+step)) || try(best.moved(axis, 1/(1+step))) {
					moved = true
				}
			}
		}
	}
	x := first
	for _, v := range y {
		x.step(best, v)
	}
	return best, x
}

// usualError is the error up to which Huber's loss is a square: three standard
// deviations of the noise, by the median difference of neighbours or of seasons, and
// at least 2.
func usualError(y []float64, m int) float64 {
	lag := max(m, 1)
	var d []float64
	for i := lag; i < len(y); i++ {
		d = append(d, math.Abs(y[i]-y[i-lag]))
	}
	if len(d) == 0 {
		return 2
	}
	slices.Sort(d)
	// A difference has twice the variance; 0.6745 is the median of |N(0, 1)|.
	return max(3*d[len(d)/2]/(0.6745*math.Sqrt2), 2)
}

// maxRounds is how often the search goes along all axes with one length of step.
const maxRounds = 3

// moved is the parameters with one of them stretched, within their bounds: alpha
// 0.0005 to 0.99, beta up to alpha/2, gamma up to 1 − alpha, and phi 0.8 to 0.98.
func (p smoothing) moved(axis int, by float64) smoothing {
	b, g := p.beta/p.alpha, p.gamma/(1-p.alpha)
	switch axis {
	case 0:
		p.alpha = min(max(p.alpha*by, 0.0005), 0.99)
	case 1:
		b = min(max(b*by, 0.001), 0.5)
	case 2:
		g = min(max(g*by, 0.001), 0.99)
	default:
		p.phi = min(max(1-(1-p.phi)/by, 0.8), 0.98)
	}
	p.beta = p.alpha * b
	p.gamma = 0
	if g > 0 {
		p.gamma = g * (1 - p.alpha)
	}
	return p
}
