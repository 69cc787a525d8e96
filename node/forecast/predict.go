package forecast

import (
	"math"
	"slices"
)

// MaxHorizon is the most buckets that a forecast looks ahead.
const MaxHorizon = 48

// The names of models.
const (
	// ModelMean expects what there was on average: the history is short.
	ModelMean = "mean"
	// ModelTrend is exponential smoothing with a damped trend, ETS(A,Ad,N).
	ModelTrend = "damped-trend"
	// ModelProfile is ModelTrend about a profile of the day, of hours on weekdays and
	// hours on weekends.
	ModelProfile = "daily-profile"
	// ModelSeason is Holt and Winters' additive method with a damped trend and a
	// season of a day, ETS(A,Ad,A).
	ModelSeason = "holt-winters"
)

const (
	// leastHistory is the number of buckets, for a risk of scored ones, below which
	// nothing but their mean is used.
	leastHistory = 24
	// leastHours is the number of whole hours below which there is no profile.
	leastHours = 48
)

// Band is a forecast with its prediction intervals: with a probability of 80 % and
// of 95 % the value will not lie outside of them. Bounds of a rate are whole numbers;
// where events are rare, the expected rate may lie above them.
type Band struct {
	Expected                     float64
	Low80, High80, Low95, High95 float64
}

// Point is the forecast of one bucket.
type Point struct {
	// Time is when the bucket begins, Unix milliseconds.
	Time int64
	// Rate is events in the bucket, never below 0.
	Rate Band
	// Risk is their mean score, 0 to MaxScore. Nil: nothing was scored yet.
	Risk *Band
}

// Fit is how a model was fitted, and how it fits: over its one-step forecasts of the
// history it was fitted to, in units of the series.
type Fit struct {
	Model                   string
	Alpha, Beta, Gamma, Phi float64
	// MeanError is the mean of observed − forecast.
	MeanError float64
	// RMSE is the root of the mean squared error.
	RMSE float64
	// Dispersion is the sum of the squared errors over the sum of the forecasts: 1 for
	// Poisson counts. Of rates alone.
	Dispersion float64
	// Residuals is how many errors there were.
	Residuals int
}

// Forecast is what to expect.
type Forecast struct {
	Points []Point
	Rate   Fit
	// Risk is the zero Fit when nothing was scored yet.
	Risk Fit
}

// Predict forecasts the buckets after a history, horizon of them, 1 to MaxHorizon.
// The history may be empty.
func Predict(h History, horizon int) Forecast {
	horizon = min(max(horizon, 1), MaxHorizon)
	rate, risk := fitRate(h, horizon), fitRisk(h.Risks)
	f := Forecast{Points: make([]Point, horizon), Rate: rate.fit}
	if risk != nil {
		f.Risk = risk.fit
	}
	for i := range f.Points {
		f.Points[i] = Point{Time: h.time(i), Rate: rate.band(i + 1)}
		if risk != nil {
			b := risk.band(i + 1)
			f.Points[i].Risk = &b
		}
	}
	return f
}

// rateModel forecasts counts.
type rateModel struct {
	fit     Fit
	history History
	p       smoothing
	x       states
	profile *profile // nil: none
	floor   float64  // of an expected count
	spread  spread
}

// fitRate chooses a model by how it does on the last quarter of the history when it
// is fitted to the rest, and fits it to all. Its bands are good up to a horizon.
func fitRate(h History, horizon int) *rateModel {
	if len(h.Counts) < leastHistory {
		return fitMean(h)
	}
	names := candidates(h)
	chosen := names[0]
	if tail := len(h.Counts) / 4; len(names) > 1 {
		least := math.Inf(1)
		head := h.before(tail)
		for _, name := range candidates(head) {
			m := smoothRate(head, name)
			if loss := m.loss(h.Counts[len(head.Counts):]); loss < least {
				chosen, least = name, loss
			}
		}
	}
	m := smoothRate(h, chosen)
	m.measure(horizon)
	return m
}

// candidates are the models for which a history is long enough, simple ones first.
func candidates(h History) []string {
	names := []string{ModelTrend}
	if len(h.Hours) >= leastHours && h.Bucket < day {
		names = append(names, ModelProfile)
	}
	if m := h.season(); m > 1 && len(h.Counts) >= 2*m+leastHistory {
		names = append(names, ModelSeason)
	}
	return names
}

// fitMean is the model of a short history: a constant rate of which nothing was known
// before (Jeffreys' prior of a Poisson rate), or what varies more if the counts do.
func fitMean(h History) *rateModel {
	n, sum := float64(len(h.Counts)), 0.0
	for _, v := range h.Counts {
		sum += v
	}
	seen := max(n, 1)
	m := &rateModel{history: h, fit: Fit{Model: ModelMean, Residuals: len(h.Counts)}, floor: 0.5 / seen}
	m.x.level = (sum + 0.5) / seen
	squares := 0.0
	for _, v := range h.Counts {
		e := v - m.x.level
		squares += e * e
		m.fit.MeanError += e / seen
	}
	m.fit.RMSE = math.Sqrt(squares / seen)
	dispersion := 1.0
	if n > 1 {
		dispersion = max(1, squares/(n-1)/m.x.level)
		m.fit.Dispersion = squares / seen / m.x.level
	}
	// Of the next count and of the rate itself.
	m.spread = quasiPoisson(dispersion * (1 + 1/seen))
	return m
}

// smoothRate fits one of candidates.
func smoothRate(h History, name string) *rateModel {
	m := &rateModel{history: h, fit: Fit{Model: name}, floor: 0.5 / float64(len(h.Counts))}
	y, season := h.Counts, 0
	switch name {
	case ModelProfile:
		m.profile = newProfile(h)
		y = make([]float64, len(h.Counts))
		for i, v := range h.Counts {
			y[i] = v - m.offset(i-len(y)+1)
		}
	case ModelSeason:
		season = h.season()
	}
	m.p, m.x = fit(y, season)
	m.fit.Alpha, m.fit.Beta, m.fit.Gamma, m.fit.Phi = m.p.alpha, m.p.beta, m.p.gamma, m.p.phi
	return m
}

// offset is the profile's share of the rate h buckets after the history, 0 for its
// last bucket less one and so forth.
func (m *rateModel) offset(h int) float64 {
	if m.profile == nil {
		return 0
	}
	return m.profile.at(m.history.time(h-1) + m.history.Bucket/2)
}

// expected is the forecast from states that are back buckets before the end.
func (m *rateModel) expected(x *states, h, back int) float64 {
	return max(x.ahead(m.p, h)+m.offset(h-back), m.floor)
}

// loss is how well the model, which was fitted before a tail, forecasts it from within
// it: the mean absolute error over three horizons.
func (m *rateModel) loss(tail []float64) float64 {
	x := m.x.clone()
	sum, n := 0.0, 0
	for i := range tail {
		for _, h := range [...]int{1, MaxHorizon / 4, MaxHorizon} {
			if i+h <= len(tail) {
				sum += math.Abs(tail[i+h-1] - m.expected(&x, h, -i))
				n++
			}
		}
		x.step(m.p, tail[i]-m.offset(i+1))
	}
	return sum / float64(max(n, 1))
}

// horizons are those at which errors are measured; between them they are taken from
// a straight line.
var horizons = [...]int{1, 2, 4, 8, 16, 32, MaxHorizon}

// measure goes through the history once more and compares, from every bucket after
// a first eighth, what was expected with what came, as far ahead as is needed.
func (m *rateModel) measure(horizon int) {
	y := m.history.Counts
	season := len(m.x.season)
	adjusted := y
	if m.profile != nil {
		adjusted = make([]float64, len(y))
		for i, v := range y {
			adjusted[i] = v - m.offset(i-len(y)+1)
		}
	}
	x := begin(adjusted, season)
	warm := max(leastHistory/2, len(y)/8, season)
	var errors [len(horizons)][]outcome
	sum := 0.0
	for i, v := range adjusted {
		if i >= warm {
			for k, h := range horizons {
				if k > 0 && horizons[k-1] >= horizon {
					break
				}
				if i+h <= len(y) {
					errors[k] = append(errors[k], outcome{m.expected(&x, h, len(y)-i), y[i+h-1]})
				}
			}
			sum += y[i] - m.expected(&x, 1, len(y)-i)
		}
		x.step(m.p, v)
	}
	one := errors[0]
	m.fit.Residuals = len(one)
	m.fit.MeanError = sum / float64(len(one))
	squares, means := 0.0, 0.0
	for _, o := range one {
		squares += o.square()
		means += o.expected
	}
	m.fit.RMSE = math.Sqrt(squares / float64(len(one)))
	m.fit.Dispersion = squares / means
	m.spread = newSpread(errors, func(h int) float64 { return m.p.growth(h, season) })
}

// band is the forecast h buckets on.
func (m *rateModel) band(h int) Band {
	mean := m.expected(&m.x, h, 0)
	b := m.spread.bounds(mean, h)
	return Band{Expected: mean, Low95: b[0], Low80: b[1], High80: b[2], High95: b[3]}
}

// riskModel forecasts mean scores.
type riskModel struct {
	fit  Fit
	p    smoothing
	x    states
	tail func(p float64) float64 // quantile of the one-step errors
}

// fitRisk is the model of the scores, nil when there are none.
func fitRisk(y []float64) *riskModel {
	scored := make([]float64, 0, len(y))
	for _, v := range y {
		if v == v {
			scored = append(scored, v)
		}
	}
	n := float64(len(scored))
	if n == 0 {
		return nil
	}
	m := &riskModel{fit: Fit{Model: ModelTrend}}
	var errors []float64
	if len(scored) < leastHistory {
		m.fit.Model = ModelMean
		m.p.phi = 0.9
		for _, v := range scored {
			m.x.level += v / n
		}
		for _, v := range scored {
			errors = append(errors, v-m.x.level)
		}
	} else {
		// Buckets without a score say nothing: the model moves from one score to the next.
		m.p, m.x = fit(scored, 0)
		m.fit.Alpha, m.fit.Beta, m.fit.Phi = m.p.alpha, m.p.beta, m.p.phi
		x := begin(scored, 0)
		for _, v := range scored {
			errors = append(errors, x.step(m.p, v))
		}
		errors = errors[len(errors)/8:]
	}
	squares := 0.0
	for _, e := range errors {
		squares += e * e
		m.fit.MeanError += e / float64(len(errors))
	}
	m.fit.Residuals = len(errors)
	m.fit.RMSE = math.Sqrt(squares / float64(len(errors)))
	slices.Sort(errors)
	m.tail = tails(errors)
	return m
}

// band is the forecast h buckets on.
func (m *riskModel) band(h int) Band {
	mean := m.x.ahead(m.p, h)
	wider := math.Sqrt(m.p.growth(h, 0))
	at := func(p float64) float64 { return min(max(mean+wider*m.tail(p), 0), MaxScore) }
	return Band{
		Expected: min(max(mean, 0), MaxScore),
		Low80:    at(0.10), High80: at(0.90), Low95: at(0.025), High95: at(0.975),
	}
}
