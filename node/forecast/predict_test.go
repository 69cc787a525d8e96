package forecast

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"
)

// tourists is the series austourists: millions of visitor nights in Australia, by
// quarter from 1999 (Hyndman and Athanasopoulos, Forecasting: Principles and Practice,
// 2nd ed., 7.3, package fpp2 of R).
var tourists = []float64{
	30.05251300, 19.14849600, 25.31769200, 27.59143700, 32.07645600, 23.48796100, 28.47594000, 35.12375300,
	36.83848500, 25.00701700, 30.72223000, 28.69375900, 36.64098600, 23.82460900, 29.31168300, 31.77030900,
	35.17787700, 19.77524400, 29.60175000, 34.53884200, 41.27359900, 26.65586200, 28.27985900, 35.19115300,
	42.20566386, 24.64917133, 32.66733514, 37.25735401, 45.24246027, 29.35048127, 36.34420728, 41.78208136,
	49.27659843, 31.27540139, 37.85062549, 38.83704413, 51.23690034, 31.83855162, 41.32342126, 42.79900337,
	55.70835836, 33.40714492, 42.31663797, 45.15712257, 59.57607996, 34.83733016, 44.84168072, 46.97124960,
	60.01903094, 38.37117851, 46.97586413, 50.73379646, 61.64687319, 39.29956937, 52.67120908, 54.33231689,
	66.83435838, 40.87118847, 51.82853579, 57.49190993, 65.25146985, 43.06120822, 54.76075713, 59.83447494,
	73.25702747, 47.69662373, 61.09776802, 66.05576122,
}

// What ets of R's package forecast gives for that series and the model (A,Ad,A).
var (
	touristsParameters = smoothing{alpha: 0.35445427, beta: 0.03200749, gamma: 0.39993387, phi: 0.97999997}
	touristsBegin      = states{level: 24.01278357, trend: 0.97770147, season: []float64{5.34956637, -6.61171798, -0.50735902, 1.76951063}}
	touristsEnd        = states{level: 62.00340579, trend: 0.70652496, season: []float64{13.38188051, -11.75693566, -0.07474503, 3.58786407}}
	touristsForecast   = []float64{76.07768073, 51.61741109, 63.96457729, 68.27886241}
	touristsVariance   = 6.0830734 // residual, with n − 9 degrees of freedom
)

func near(t *testing.T, what string, got, want, by float64) {
	t.Helper()
	if !(math.Abs(got-want) <= by) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestSmoothingIsHoltWintersOfTheTextbook(t *testing.T) {
	x := touristsBegin.clone()
	squares := 0.0
	for i, y := range tourists {
		e := x.step(touristsParameters, y)
		squares += e * e
		if i == 0 {
			near(t, "first error", e, -0.26798435, 1e-6)
		}
	}
	near(t, "level", x.level, touristsEnd.level, 1e-5)
	near(t, "trend", x.trend, touristsEnd.trend, 1e-5)
	for i, want := range touristsEnd.season {
		near(t, "season", x.season[i], want, 1e-5)
	}
	near(t, "residual variance", squares/float64(len(tourists)-9), touristsVariance, 1e-5)
	for i, want := range touristsForecast {
		near(t, "forecast", x.ahead(touristsParameters, i+1), want, 1e-5)
	}
}

// R's ets also estimates the first states, which begin only guesses.
func TestFitIsNotFarFromTheLeastSquares(t *testing.T) {
	p, x := fit(tourists, 4)
	squares := 0.0
	y := begin(tourists, 4)
	for _, v := range tourists {
		e := y.step(p, v)
		squares += e * e
	}
	if least := touristsVariance * float64(len(tourists)-9); squares > 1.2*least {
		t.Errorf("sum of squares %v with %+v, R reaches %v", squares, p, least)
	}
	for i, want := range touristsForecast {
		near(t, "forecast", x.ahead(p, i+1), want, 1.5)
	}
}

// growth is checked against what it is a formula of: simulated futures.
func TestGrowthIsTheVarianceOfSimulatedFutures(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p, m := smoothing{alpha: 0.3, beta: 0.1, gamma: 0.2, phi: 0.9}, 4
	const runs, ahead = 40_000, 12
	var squares [ahead]float64
	for range runs {
		x := states{season: make([]float64, m)}
		for h := range ahead {
			// The forecast from the beginning is 0 throughout.
			y := x.ahead(p, 1) + r.NormFloat64()
			squares[h] += y * y / runs
			x.step(p, y)
		}
	}
	for h := range ahead {
		if want := p.growth(h+1, m); math.Abs(squares[h]/want-1) > 0.05 {
			t.Errorf("%d buckets ahead: variance %v, formula %v", h+1, squares[h], want)
		}
	}
}

func TestQuantilesOfCounts(t *testing.T) {
	for _, c := range []struct{ mean, variance float64 }{
		{0.001, 0.001}, {0.3, 0.3}, {4, 4}, {60, 60}, {5000, 5000}, {0.3, 2}, {4, 40}, {60, 61}, {5000, 1e6},
	} {
		d := newCounts(c.mean, c.variance)
		// Probabilities summed one by one.
		sum, k := 0.0, 0.0
		for _, p := range []float64{0.025, 0.1, 0.9, 0.975} {
			for {
				var log float64
				if d.r == 0 {
					log = distuv.Poisson{Lambda: c.mean}.LogProb(k)
				} else {
					a, _ := math.Lgamma(k + d.r)
					b, _ := math.Lgamma(d.r)
					e, _ := math.Lgamma(k + 1)
					log = a - b - e + d.r*math.Log(d.p) + k*math.Log1p(-d.p)
				}
				if sum+math.Exp(log) >= p {
					break
				}
				sum += math.Exp(log)
				k++
			}
			if got := d.quantile(p); math.Abs(got-k) > 1e-9*k {
				t.Errorf("mean %v, variance %v: quantile %v is %v, want %v", c.mean, c.variance, p, got, k)
			}
		}
	}
	big := newCounts(1e8, 1e10)
	near(t, "quantile of a great mean", big.quantile(0.975), 1e8+1.96*1e5, 1e3)
}

// historyOf is a history that ends at a full hour, with its hours.
func historyOf(counts []float64, bucket time.Duration, risks []float64) History {
	h := History{Bucket: bucket.Milliseconds(), Counts: counts, Risks: risks}
	end := 20_000*day + 13*hour
	h.End, h.HoursEnd = end/h.Bucket, end/hour
	if risks == nil {
		h.Risks = make([]float64, len(counts))
		for i := range h.Risks {
			h.Risks[i] = math.NaN()
		}
	}
	per := int(h.perHour())
	for i := len(counts) % per; i+per <= len(counts); i += per {
		sum := 0.0
		for _, v := range counts[i : i+per] {
			sum += v
		}
		h.Hours = append(h.Hours, sum)
	}
	return h
}

func checkBand(t interface {
	Helper()
	Fatalf(string, ...any)
}, what string, b Band, most float64) {
	t.Helper()
	all := []float64{0, b.Low95, b.Low80, b.High80, b.High95, most}
	for i := range all {
		if math.IsNaN(all[i]) || math.IsInf(all[i], 0) || i > 0 && all[i] < all[i-1] {
			t.Fatalf("%s: %+v", what, b)
		}
	}
	if !(b.Expected >= 0 && b.Expected <= most) {
		t.Fatalf("%s: %+v", what, b)
	}
}

// Whatever the history: no NaN, nothing infinite, bounds in order, none below 0, no
// risk above the greatest score, and the same again.
func TestForecastsAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 400).Draw(t, "buckets")
		top := rapid.SampledFrom([]float64{0, 1, 3, 200, 70_000, math.MaxUint32}).Draw(t, "top")
		quiet := rapid.Float64Range(0, 1).Draw(t, "quiet")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		counts, risks := make([]float64, n), make([]float64, n)
		burst := rapid.Bool().Draw(t, "burst")
		for i := range counts {
			risks[i] = math.NaN()
			if r.Float64() >= quiet {
				counts[i] = math.Floor(r.Float64() * (top + 1))
				if burst && i%97 != 0 {
					counts[i] = 0
				}
				if r.Float64() < 0.7 {
					risks[i] = math.Round(r.Float64() * MaxScore)
				}
			}
		}
		bucket := rapid.SampledFrom([]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}).Draw(t, "bucket")
		h := historyOf(counts, bucket, risks)
		f := Predict(h, rapid.IntRange(1, MaxHorizon).Draw(t, "horizon"))
		for i, p := range f.Points {
			if p.Time != h.End*h.Bucket+int64(i)*h.Bucket {
				t.Fatalf("point %d is at %d", i, p.Time)
			}
			checkBand(t, "rate", p.Rate, math.MaxFloat64)
			if p.Risk != nil {
				checkBand(t, "risk", *p.Risk, MaxScore)
			}
		}
		for _, v := range []float64{f.Rate.MeanError, f.Rate.RMSE, f.Rate.Dispersion, f.Risk.MeanError, f.Risk.RMSE} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%+v %+v", f.Rate, f.Risk)
			}
		}
		if d, ok := Deviate(h); ok != (n > 0) || math.IsNaN(d.Distance) {
			t.Fatalf("%+v", d)
		}
	})
}

// poisson is events at a rate that follows the hour and falls on weekends.
func poisson(r *rand.Rand, days int, bucket time.Duration, mean float64) []float64 {
	n := days * int(24*time.Hour/bucket)
	out := make([]float64, n)
	end := 20_000*day + 13*hour
	for i := range out {
		at := end - int64(n-i)*bucket.Milliseconds()
		rate := mean * (1 + 0.8*math.Sin(2*math.Pi*float64(at%day)/float64(day)))
		if kindOf(at/hour) == 1 {
			rate *= 0.5
		}
		out[i] = distuv.Poisson{Lambda: rate, Src: source{r}}.Rand()
	}
	return out
}

type source struct{ *rand.Rand }

func (s source) Seed(uint64) {}

// With rates that follow the day, intervals hold what they promise. Those of counts are
// made of whole numbers, so they may hold more.
func TestIntervalsCoverSeasonalPoissonCounts(t *testing.T) {
	for _, c := range []struct {
		name   string
		days   int
		bucket time.Duration
		mean   float64
	}{
		{"minutes, 2 an hour", 14, time.Minute, 2.0 / 60}, {"minutes", 14, time.Minute, 12}, {"five minutes", 14, 5 * time.Minute, 20}, {"hours", 28, time.Hour, 40},
	} {
		var all tally
		for seed := range uint64(4) {
			h := historyOf(poisson(rand.New(rand.NewPCG(seed, 7)), c.days, c.bucket, c.mean), c.bucket, nil)
			// As a store keeps it, from origins over the whole second week.
			n := len(h.Counts)
			for fold := range 25 {
				origin := n/2 + fold*(n/2-MaxHorizon)/25
				known := h.before(n-origin-MaxHorizon).kept(DefaultSettings(), MaxHorizon)
				all.fold(known, len(known.Counts)-MaxHorizon, MaxHorizon)
			}
		}
		r := all.report()
		t.Logf("%s: %+v", c.name, r)
		if r.Points != 4*25*MaxHorizon {
			t.Errorf("%s: %d points", c.name, r.Points)
		}
		if c.mean >= 1 && (r.Coverage95 < 0.90 || r.Coverage95 > 0.99) {
			t.Errorf("%s: the 95 %% interval holds %.1f %%", c.name, 100*r.Coverage95)
		}
		if c.mean >= 1 && (r.Coverage80 < 0.74 || r.Coverage80 > 0.92) {
			t.Errorf("%s: the 80 %% interval holds %.1f %%", c.name, 100*r.Coverage80)
		}
		if r.MASE >= r.NaiveMASE {
			t.Errorf("%s: MASE %.3f, of the seasonal naive forecast %.3f", c.name, r.MASE, r.NaiveMASE)
		}
	}
}

// A job that runs every night at half past two is a matter of Holt and Winters: a
// profile of hours would smear it.
func TestANightlyJobIsExpected(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	bucket := 30 * time.Minute
	counts := make([]float64, 14*48+13)
	h := historyOf(counts, bucket, nil)
	for i := range counts {
		counts[i] = distuv.Poisson{Lambda: 3, Src: source{r}}.Rand()
		if h.time(i-len(counts))%day == 2*hour+hour/2 {
			counts[i] += 300
		}
	}
	f := Predict(historyOf(counts, bucket, nil), MaxHorizon)
	if f.Rate.Model != ModelSeason {
		t.Errorf("the model is %s", f.Rate.Model)
	}
	for _, p := range f.Points {
		if job := p.Time%day == 2*hour+hour/2; job && math.Abs(p.Rate.Expected-303) > 20 || !job && p.Rate.Expected > 30 {
			t.Errorf("%v: %+v", time.UnixMilli(p.Time).UTC(), p.Rate)
		}
	}
}

func TestTooLittleIsSaidWithCare(t *testing.T) {
	none := Predict(History{Bucket: 60_000, End: 1000}, 3)
	if len(none.Points) != 3 || none.Rate.Model != ModelMean || none.Points[0].Rate.High95 < 1 || none.Points[0].Risk != nil {
		t.Errorf("of nothing: %+v", none)
	}
	one := Predict(historyOf([]float64{4}, time.Minute, []float64{700}), 1)
	p := one.Points[0]
	if p.Rate.Low95 > 1 || p.Rate.High95 < 8 || p.Risk == nil || p.Risk.Low95 != 0 || p.Risk.High95 != MaxScore {
		t.Errorf("of one bucket: %+v, risk %+v", p, p.Risk)
	}
}
