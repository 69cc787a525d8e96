package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/evidence"
)

// BlendOptions say how the weights of evidence are fitted. The zero value of a field stands for its default.
type BlendOptions struct {
	// Stiffness is how much the lines are held to where they begin (see FitBlend), as 1/variance of the change of slope
	// at a knot; each of them is tried on rows that are kept back. 1, 10, 100 and 10000 by default.
	Stiffness []float64
	Folds     int // 5 by default
	Seed      uint64
}

func (o *BlendOptions) check() error {
	if o.Stiffness == nil {
		o.Stiffness = []float64{1, 10, 100, 10000}
	}
	fill(&o.Folds, 5)
	for _, s := range o.Stiffness {
		if !(s > 0) || s > 1e9 {
			return ErrOptions.With("a stiffness is above 0 and at most 10^9, not %g", s)
		}
	}
	if len(o.Stiffness) == 0 || o.Folds < 2 || o.Folds > 100 {
		return ErrOptions.With("a fit tries at least one stiffness by 2 to 100 folds")
	}
	return nil
}

// BlendRows are what parts said of rows. For weights that hold for rows to come, a part that learnt from labels must
// have said it of rows that it did not learn from (out of fold).
type BlendRows struct {
	Parts   []string
	Values  [][]int64 // by row, then part, in the part's own unit; a part says more of what is more suspicious
	Present [][]bool  // by row, then part; nil where all are present
	Labels  []int8    // 1, 0, or -1 for a row that is left out
	// Odds, where not nil, says by part whether its value is the logarithm of odds in Q16, as the margin of boosted trees.
	Odds []bool
}

func (r *BlendRows) check() error {
	if len(r.Parts) == 0 || len(r.Values) == 0 || len(r.Values) != len(r.Labels) || r.Present != nil && len(r.Present) != len(r.Labels) {
		return ErrData.With("there are %d parts, and values of %d rows, presence of %d and labels of %d", len(r.Parts), len(r.Values), len(r.Present), len(r.Labels))
	}
	if r.Odds != nil && len(r.Odds) != len(r.Parts) {
		return ErrData.With("whether a part speaks of odds is said of %d parts of %d", len(r.Odds), len(r.Parts))
	}
	for i, v := range r.Values {
		if len(v) != len(r.Parts) || r.Present != nil && len(r.Present[i]) != len(r.Parts) {
			return ErrData.With("row %d does not have a value of each part", i+1)
		}
	}
	return nil
}

func (r *BlendRows) present(row, part int) bool { return r.Present == nil || r.Present[row][part] }

// BlendFit is what a fit chose, and by what.
type BlendFit struct {
	Stiffness float64   `json:"stiffness"`
	Tried     []float64 `json:"tried"`
	Losses    []float64 `json:"losses"` // mean logistic loss on rows that were kept back, for each that was tried
}

// FitBlend fits an additive logistic model of the parts (a generalised additive model, Hastie and Tibshirani 1986;
// stacked generalisation, Wolpert 1992): the logarithm of the odds that a row is positive is a base and, of each part
// that is present, a line of straight pieces that never falls, between quantiles of either class. The lines begin at
// the mean of the parts that speak of odds, times the one number that fits best (Platt 1999), and at 0 for the others.
// How stiffly they are held there is chosen by the logistic loss on rows that are kept back: the
// stiffest that is within one standard error of the best (the rule of Breiman et al. 1984).
func FitBlend(r BlendRows, o BlendOptions) (evidence.Settings, BlendFit, error) {
	var none evidence.Settings
	if err := o.check(); err != nil {
		return none, BlendFit{}, err
	}
	if err := r.check(); err != nil {
		return none, BlendFit{}, err
	}
	var rows []int
	positives := 0
	for i, l := range r.Labels {
		if l >= 0 {
			rows = append(rows, i)
			positives += int(l)
		}
	}
	if positives == 0 || positives == len(rows) {
		return none, BlendFit{}, ErrLabels.With("%d of %d rows are positive; both classes are needed", positives, len(rows))
	}
	fit := BlendFit{Tried: o.Stiffness, Losses: make([]float64, len(o.Stiffness)), Stiffness: o.Stiffness[0]}
	b := newAdditive(&r, rows)
	if len(o.Stiffness) > 1 {
		n := min(o.Folds, positives, len(rows)-positives)
		if n < 2 {
			return none, fit, ErrLabels.With("one row of a class cannot be kept back; give a single stiffness")
		}
		groups := folds(rand.New(rand.NewPCG(o.Seed, 1<<34)), r.Labels, rows, n)
		each := make([][]float64, len(o.Stiffness)) // loss of each row
		best := 0
		for k, s := range o.Stiffness {
			each[k] = make([]float64, len(r.Labels))
			for _, back := range groups {
				w := b.solve(without(rows, back), s)
				for _, i := range back {
					each[k][i] = logistic(b.margin(w, i), r.Labels[i])
					fit.Losses[k] += each[k][i] / float64(len(rows))
				}
			}
			if fit.Losses[k] < fit.Losses[best] {
				best = k
			}
		}
		fit.Stiffness = o.Stiffness[best]
		for k, s := range o.Stiffness {
			if s > fit.Stiffness && fit.Losses[k]-fit.Losses[best] <= standardError(each[k], each[best], rows) {
				fit.Stiffness = s
			}
		}
	}
	out, err := b.settings(b.solve(rows, fit.Stiffness))
	return out, fit, err
}

// standardError is that of the mean difference of two lists on rows.
func standardError(a, b []float64, rows []int) float64 {
	n := float64(len(rows))
	mean, squares := 0.0, 0.0
	for _, i := range rows {
		mean += (a[i] - b[i]) / n
	}
	for _, i := range rows {
		squares += (a[i] - b[i] - mean) * (a[i] - b[i] - mean)
	}
	return math.Sqrt(squares) / n
}

// without is the ascending rows that are not among others, ascending as well.
func without(rows, others []int) []int {
	out := make([]int, 0, len(rows))
	for _, i := range rows {
		if _, is := slices.BinarySearch(others, i); !is {
			out = append(out, i)
		}
	}
	return out
}

// additive is the problem in the coordinates of knots: a row's value lies between two knots of each part.
type additive struct {
	r     *BlendRows
	knots [][]int64 // by part
	first []int     // index of a part's first knot among those of all parts
	count int       // knots of all parts
	gaps  []bool    // by part: whether any row lacks it
	at    [][]place // by row and part
}

// place is where a value lies: behind knot, by a fraction of the way to the next; -1 where the part is absent.
type place struct {
	knot int32
	part float32
}

func newAdditive(r *BlendRows, rows []int) *additive {
	b := &additive{r: r, at: make([][]place, len(r.Values)), gaps: make([]bool, len(r.Parts))}
	for p := range r.Parts {
		var values [2][]int64
		for _, i := range rows {
			if r.present(i, p) {
				values[r.Labels[i]] = append(values[r.Labels[i]], r.Values[i][p])
			} else {
				b.gaps[p] = true
			}
		}
		b.knots = append(b.knots, knotsOf(values))
		b.first = append(b.first, b.count)
		b.count += len(b.knots[p])
	}
	cells := make([]place, len(r.Values)*len(r.Parts))
	for i := range b.at {
		b.at[i] = cells[i*len(r.Parts) : (i+1)*len(r.Parts)]
		for p, knots := range b.knots {
			if !r.present(i, p) {
				b.at[i][p] = place{-1, 0}
				continue
			}
			v := r.Values[i][p]
			k := sort.Search(len(knots), func(k int) bool { return knots[k] > v })
			switch {
			case k == 0:
				b.at[i][p] = place{int32(b.first[p]), 0}
			case k == len(knots):
				b.at[i][p] = place{int32(b.first[p] + k - 2), 1}
			default:
				way := (float64(v) - float64(knots[k-1])) / (float64(knots[k]) - float64(knots[k-1]))
				b.at[i][p] = place{int32(b.first[p] + k - 1), float32(way)}
			}
		}
	}
	return b
}

// knotsOf are at most evidence.MaxKnots values, at least two.
func knotsOf(values [2][]int64) []int64 {
	var out []int64
	for _, v := range values {
		n := len(v)
		if n == 0 {
			continue
		}
		slices.Sort(v)
		// The upper tail is an eighth each time, until fewer than four rows are beyond.
		out = append(out, v[0], v[n/2], v[n-1])
		for k := 3; n>>k >= 4 && k <= 12; k += 3 {
			out = append(out, v[n-1-n>>k])
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	switch len(out) {
	case 0:
		return []int64{0, 1}
	case 1:
		if out[0] == math.MaxInt64 {
			return []int64{out[0] - 1, out[0]}
		}
		return []int64{out[0], out[0] + 1}
	}
	return out
}

// weights are a base and the weight of evidence at each knot.
type weights struct {
	base  float64
	knots []float64
}

func (b *additive) margin(w weights, row int) float64 {
	m := w.base
	for _, at := range b.at[row] {
		if at.knot >= 0 {
			x := float64(at.part)
			m += (1-x)*w.knots[at.knot] + x*w.knots[at.knot+1]
		}
	}
	return m
}

// solve minimises the logistic loss plus stiffness times the squared changes of slopes from where they began, by Newton's
// method whose steps are found by coordinate descent within the bounds. The coordinates are the base, for each part its
// weight at the first knot (0 where no row lacks the part) and its rise to each further knot (at least 0).
func (b *additive) solve(rows []int, stiffness float64) weights {
	n := 1 + b.count
	start := b.start(rows)
	x := slices.Clone(start)
	penalty := b.penalty(stiffness)
	g, h := make([]float64, n), square(n)
	loss := b.loss(rows, x, start, penalty)
	for range 25 {
		b.derivatives(rows, x, g, h)
		for i := range n {
			for j := range n {
				h[i][j] += penalty[i][j]
				g[i] += penalty[i][j] * (x[j] - start[j])
			}
		}
		step := b.descend(x, g, h)
		scale, now := 1.0, 0.0
		next := make([]float64, n)
		for ; scale > 1e-6; scale /= 2 {
			for i := range next {
				next[i] = x[i] + scale*step[i]
			}
			if now = b.loss(rows, next, start, penalty); now < loss {
				break
			}
		}
		if scale <= 1e-6 {
			break
		}
		gain := loss - now
		x, loss = next, now
		if gain < 1e-5 {
			break
		}
	}
	return b.weights(x)
}

// start is where the lines begin, as coordinates.
func (b *additive) start(rows []int) []float64 {
	x := make([]float64, 1+b.count)
	speak := 0.0
	for p := range b.first {
		if b.r.Odds != nil && b.r.Odds[p] {
			speak++
		}
	}
	for p, first := range b.first {
		if b.r.Odds == nil || !b.r.Odds[p] {
			continue
		}
		knots := b.knots[p]
		x[0] += float64(knots[0]) / q16 / speak
		for k := 1; k < len(knots); k++ {
			x[1+first+k] = (float64(knots[k]) - float64(knots[k-1])) / q16 / speak
		}
	}
	// The base and the factor of the whole, by Newton's method on two numbers.
	w := b.weights(x)
	base, factor := 0.0, 0.0
	positive, all := 0.5, 1.0
	for _, i := range rows {
		positive += float64(b.r.Labels[i])
		all++
	}
	base = math.Log(positive / (all - positive))
	if speak > 0 {
		base, factor = 0, 1
		const ridge = 1.0 // holds the factor to 1 where classes do not overlap
		for range 30 {
			var g0, g1, h00, h01, h11 float64
			g1, h11 = ridge*(factor-1), ridge
			for _, i := range rows {
				m := b.margin(w, i)
				p := 1 / (1 + math.Exp(-base-factor*m))
				d, h := p-float64(b.r.Labels[i]), max(p*(1-p), 1e-9)
				g0, g1 = g0+d, g1+d*m
				h00, h01, h11 = h00+h, h01+h*m, h11+h*m*m
			}
			det := h00*h11 - h01*h01
			if det <= 0 {
				break
			}
			d0, d1 := (h11*g0-h01*g1)/det, (h00*g1-h01*g0)/det
			d0, d1 = min(max(d0, -1), 1), min(max(d1, -0.5), 0.5)
			base, factor = base-d0, max(factor-d1, 0)
			if math.Abs(d0)+math.Abs(d1) < 1e-6 {
				break
			}
		}
	}
	for i := range x {
		x[i] *= factor
	}
	x[0] += base
	return x
}

func square(n int) [][]float64 {
	cells := make([]float64, n*n)
	out := make([][]float64, n)
	for i := range out {
		out[i] = cells[i*n : (i+1)*n]
	}
	return out
}

// weights turns coordinates into weights at knots.
func (b *additive) weights(x []float64) weights {
	w := weights{x[0], make([]float64, b.count)}
	for p, first := range b.first {
		sum := 0.0
		for k := range b.knots[p] {
			sum += x[1+first+k]
			w.knots[first+k] = sum
		}
	}
	return w
}

// length is how long the step to knot k of a part is, in units of the part's own: half by value and half by count, the
// whole line being as long as it has steps.
func (b *additive) length(p, k int) float64 {
	knots := b.knots[p]
	steps := float64(len(knots) - 1)
	// Values over orders of magnitude would leave all but the last step without length.
	squash := func(v int64) float64 { return math.Asinh(float64(v) / b.scale(p)) }
	whole := squash(knots[len(knots)-1]) - squash(knots[0])
	return 0.1 + 0.9*steps*(squash(knots[k])-squash(knots[k-1]))/whole
}

// scale is the distance of a part's middle knots: within it values count as they are, beyond it by their logarithm.
func (b *additive) scale(p int) float64 {
	knots := b.knots[p]
	n := len(knots)
	return max(1, 10*(float64(knots[n-1-n/4])-float64(knots[n/4])), math.Abs(float64(knots[n/2])))
}

func (b *additive) penalty(stiffness float64) [][]float64 {
	q := square(1 + b.count)
	ridge := stiffness / 10
	for p, first := range b.first {
		q[1+first][1+first] += ridge
		for k := 1; k < len(b.knots[p]); k++ {
			i := 1 + first + k
			q[i][i] += ridge
			if k == 1 {
				continue
			}
			a, c := 1/b.length(p, k-1), 1/b.length(p, k)
			q[i-1][i-1] += stiffness * a * a
			q[i][i] += stiffness * c * c
			q[i-1][i] -= stiffness * a * c
			q[i][i-1] -= stiffness * a * c
		}
	}
	return q
}

func (b *additive) loss(rows []int, x, start []float64, penalty [][]float64) float64 {
	w := b.weights(x)
	sum := 0.0
	for _, i := range rows {
		sum += logistic(b.margin(w, i), b.r.Labels[i])
	}
	for i := range x {
		for j := range x {
			sum += (x[i] - start[i]) * penalty[i][j] * (x[j] - start[j]) / 2
		}
	}
	return sum
}

// derivatives are the first and second ones of the logistic loss: gathered at the knots, of which a row touches two for
// each part, and then summed from behind, since a rise moves all knots from its own on.
func (b *additive) derivatives(rows []int, x []float64, g []float64, h [][]float64) {
	w := b.weights(x)
	clear(g)
	for i := range h {
		clear(h[i])
	}
	touched := make([]int, 0, 1+2*len(b.first))
	by := make([]float64, 0, 1+2*len(b.first))
	for _, i := range rows {
		p := 1 / (1 + math.Exp(-b.margin(w, i)))
		first, second := p-float64(b.r.Labels[i]), max(p*(1-p), 1e-9)
		touched, by = append(touched[:0], 0), append(by[:0], 1)
		for _, at := range b.at[i] {
			if at.knot >= 0 {
				touched = append(touched, 1+int(at.knot), 2+int(at.knot))
				by = append(by, 1-float64(at.part), float64(at.part))
			}
		}
		for a, j := range touched {
			g[j] += first * by[a]
			row, s := h[j], second*by[a]
			for c, k := range touched {
				row[k] += s * by[c]
			}
		}
	}
	for p, first := range b.first {
		for k := first + len(b.knots[p]) - 1; k > first; k-- {
			g[k] += g[k+1]
			for j := range h {
				h[j][k] += h[j][k+1]
			}
		}
	}
	for p, first := range b.first {
		for k := first + len(b.knots[p]) - 1; k > first; k-- {
			for j := range h {
				h[k][j] += h[k+1][j]
			}
		}
	}
}

// descend is the step that lowers the second-order loss most within the bounds.
func (b *additive) descend(x, g []float64, h [][]float64) []float64 {
	n := len(x)
	low := make([]float64, n)
	fixed := make([]bool, n)
	low[0] = math.Inf(-1)
	for p, first := range b.first {
		low[1+first] = math.Inf(-1)
		fixed[1+first] = !b.gaps[p]
	}
	step, slope := make([]float64, n), slices.Clone(g)
	for range 200 {
		moved := 0.0
		for i := range n {
			if fixed[i] || h[i][i] <= 0 {
				continue
			}
			d := max(-slope[i]/h[i][i], low[i]-x[i]-step[i])
			if d == 0 {
				continue
			}
			step[i] += d
			for j := range n {
				slope[j] += h[j][i] * d
			}
			moved = max(moved, math.Abs(d)*math.Sqrt(h[i][i]))
		}
		if moved < 1e-5 {
			break
		}
	}
	return step
}

// settings are weights as integers. The weight of a part that no row lacked is 0 for the mean row, so that where it
// is absent later it speaks neither way. Beyond the last knot a line goes on as far again as its last step is long.
func (b *additive) settings(w weights) (evidence.Settings, error) {
	s := evidence.Settings{}
	base := w.base
	for p, first := range b.first {
		list := slices.Clone(w.knots[first : first+len(b.knots[p])])
		if !b.gaps[p] {
			mean, n := 0.0, 0.0
			for i, l := range b.r.Labels {
				if at := b.at[i][p]; l >= 0 {
					mean += (1-float64(at.part))*w.knots[at.knot] + float64(at.part)*w.knots[at.knot+1]
					n++
				}
			}
			mean /= n
			base += mean
			for k := range list {
				list[k] -= mean
			}
		}
		part := evidence.Part{Name: b.r.Parts[p]}
		for k, v := range b.knots[p] {
			part.Knots = append(part.Knots, evidence.Knot{Value: v, Weight: rounded16(list[k])})
		}
		k := len(list) - 1
		last, before := b.knots[p][k], b.knots[p][k-1]
		if d := last - before; d > 0 && last < math.MaxInt64-d {
			part.Knots = append(part.Knots, evidence.Knot{Value: last + d, Weight: rounded16(2*list[k] - list[k-1])})
		}
		s.Parts = append(s.Parts, part)
	}
	s.Base = rounded16(base)
	const end = 754511 // 5·ln 10 in Q16, as for boosted trees
	s.Scores = []blend.Knot{{Value: -end, Points: 0}, {Value: end, Points: artifact.MaxScore}}
	if err := s.Check(); err != nil {
		return evidence.Settings{}, ErrBounds.Wrap(fmt.Errorf("the fit: %w", err))
	}
	return s, nil
}

func rounded16(x float64) int64 {
	return int64(math.Round(min(max(x*q16, -evidence.MaxWeight), evidence.MaxWeight)))
}
