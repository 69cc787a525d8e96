package forecast

import (
	"context"
	"math"
)

// Bounds of a backtest.
const (
	MaxFolds = 100
	// MaxBacktested is how many subjects one backtest of all takes: the most active.
	MaxBacktested = 64
)

// Report is how well forecasts did from several origins in the past, each made from
// what was known there. Errors are mean absolute ones over all buckets that were
// forecast.
type Report struct {
	// Subjects and Folds (origins, of all subjects together) that were measured.
	Subjects, Folds int
	// Points is how many buckets were forecast.
	Points int
	// MAE is the error of the forecasts and NaiveMAE that of the seasonal naive one, in
	// events per bucket.
	MAE, NaiveMAE float64
	// MASE and NaiveMASE are the same with each error divided by the seasonal naive
	// method's error on the history before the origin (Hyndman and Koehler, Another
	// look at measures of forecast accuracy, 2006). Scaled is over how many buckets:
	// those of a history on which that method made no error cannot be scaled.
	MASE, NaiveMASE float64
	Scaled          int
	// Coverage80 and Coverage95 are the shares of buckets within the intervals.
	Coverage80, Coverage95 float64
	// RiskPoints is how many buckets had a scored event and a forecast of its risk,
	// RiskMAE the error in points of a score, RiskCoverage95 the share within the
	// interval.
	RiskPoints              int
	RiskMAE, RiskCoverage95 float64
	// Models counts the folds by the model that was chosen.
	Models map[string]int
}

// Backtest forecasts a history from within itself: from folds origins (1 to MaxFolds),
// evenly spread over its second half, up to horizon buckets each.
func Backtest(h History, folds, horizon int) Report {
	var t tally
	_ = t.add(context.Background(), h, folds, horizon) // fails with its context alone
	return t.report()
}

// tally sums what a Report averages.
type tally struct {
	subjects, folds, points, scaled, riskPoints int
	abs, naive, scaledAbs, scaledNaive          float64
	within80, within95, riskAbs, riskWithin     float64
	models                                      map[string]int
}

// add backtests one history. It ends early, with the context's error, when that ends.
func (t *tally) add(ctx context.Context, h History, folds, horizon int) error {
	n := len(h.Counts)
	first := max(n/2, leastHistory)
	if n <= first {
		return nil
	}
	folds, horizon = min(max(folds, 1), MaxFolds), min(max(horizon, 1), MaxHorizon)
	folds = min(folds, n-first)
	t.subjects++
	for fold := range folds {
		// The last origin leaves as much of the horizon as the rest of the history has.
		origin := first + fold*max(n-first-horizon, folds-1)/max(folds-1, 1)
		if origin >= n {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		t.fold(h, origin, horizon)
	}
	return nil
}

func (t *tally) fold(h History, origin, horizon int) {
	known := h.before(len(h.Counts) - origin)
	f := Predict(known, horizon)
	if t.models == nil {
		t.models = make(map[string]int)
	}
	t.folds++
	t.models[f.Rate.Model]++
	scale := naiveError(known)
	for i, p := range f.Points[:min(horizon, len(h.Counts)-origin)] {
		y := h.Counts[origin+i]
		e, naive := math.Abs(y-p.Rate.Expected), math.Abs(y-naiveForecast(known, i))
		t.points++
		t.abs += e
		t.naive += naive
		t.within80 += within(y, p.Rate.Low80, p.Rate.High80)
		t.within95 += within(y, p.Rate.Low95, p.Rate.High95)
		if scale > 0 {
			t.scaled++
			t.scaledAbs += e / scale
			t.scaledNaive += naive / scale
		}
		if r := h.Risks[origin+i]; p.Risk != nil && r == r {
			t.riskPoints++
			t.riskAbs += math.Abs(r - p.Risk.Expected)
			t.riskWithin += within(r, p.Risk.Low95, p.Risk.High95)
		}
	}
}

func within(y, low, high float64) float64 {
	if y >= low && y <= high {
		return 1
	}
	return 0
}

func (t *tally) report() Report {
	mean := func(sum float64, n int) float64 { return sum / float64(max(n, 1)) }
	return Report{
		Subjects: t.subjects, Folds: t.folds, Points: t.points, Models: t.models,
		MAE: mean(t.abs, t.points), NaiveMAE: mean(t.naive, t.points),
		MASE: mean(t.scaledAbs, t.scaled), NaiveMASE: mean(t.scaledNaive, t.scaled), Scaled: t.scaled,
		Coverage80: mean(t.within80, t.points), Coverage95: mean(t.within95, t.points),
		RiskPoints: t.riskPoints, RiskMAE: mean(t.riskAbs, t.riskPoints), RiskCoverage95: mean(t.riskWithin, t.riskPoints),
	}
}

// naiveForecast is the seasonal naive forecast of the bucket i after a history: the
// count of the same time of day on the latest day that is known, where only whole
// hours reach so far the mean of that hour's buckets, and else the latest count.
func naiveForecast(h History, i int) float64 {
	n, m := len(h.Counts), h.season()
	days := i/m + 1
	if at := n + i - days*m; at >= 0 && n > 0 {
		return h.Counts[at]
	}
	at := h.time(i)/hour - 24*int64(days) - (h.HoursEnd - int64(len(h.Hours)))
	if at >= 0 && at < int64(len(h.Hours)) {
		return h.Hours[at] / h.perHour()
	}
	if n > 0 {
		return h.Counts[n-1]
	}
	return 0
}

// naiveError is the mean absolute error of naiveForecast one bucket ahead, over a
// history after its first bucket.
func naiveError(h History) float64 {
	sum, n := 0.0, 0
	for back := len(h.Counts) - 1; back > 0; back-- {
		sum += math.Abs(h.Counts[len(h.Counts)-back] - naiveForecast(h.before(back), 0))
		n++
	}
	return sum / float64(max(n, 1))
}

// Deviation is the latest closed bucket beside what was expected of it.
type Deviation struct {
	// Time is when the bucket begins, Unix milliseconds.
	Time     int64
	Observed float64
	Rate     Band
	// Distance is observed − expected in standard deviations of the forecast.
	Distance float64
}

// Deviate compares the latest bucket of a history with its forecast from those before
// it; false when the history is empty.
func Deviate(h History) (Deviation, bool) {
	n := len(h.Counts)
	if n == 0 {
		return Deviation{}, false
	}
	m := fitRate(h.before(1), 1)
	d := Deviation{Time: h.time(-1), Observed: h.Counts[n-1], Rate: m.band(1)}
	d.Distance = (d.Observed - d.Rate.Expected) / math.Sqrt(m.spread[0].variance(d.Rate.Expected))
	return d, true
}
