package scenarios

import (
	"math"
	"math/rand/v2"
)

// Lengths of time in milliseconds.
const (
	second int64 = 1000
	minute       = 60 * second
	hour         = 60 * minute
	day          = 24 * hour
)

// DefaultStart is 2026-01-05 00:00 UTC, a Monday, in Unix milliseconds.
const DefaultStart int64 = 1767571200000

// calendar says what day it is. The clocks of the consortium show UTC.
type calendar struct {
	start    int64 // midnight at the beginning of a Monday
	holidays map[int]bool
}

// newCalendar has a public holiday on one working day in three weeks.
func newCalendar(start int64, days int, r *rand.Rand) calendar {
	c := calendar{start: start, holidays: map[int]bool{}}
	for week := 0; week*7 < days; week += 3 {
		c.holidays[(week+1+r.IntN(2))*7+r.IntN(5)] = true
	}
	return c
}

func (c calendar) dayOf(t int64) int    { return int((t - c.start) / day) }
func (c calendar) midnight(d int) int64 { return c.start + int64(d)*day }

// works tells whether offices are open on a day.
func (c calendar) works(d int) bool { return d%7 < 5 && !c.holidays[d] }

// timeOfDay is the milliseconds since midnight.
func (c calendar) timeOfDay(t int64) int64 { return (t - c.start) % day }

// rota is when somebody works.
type rota uint8

const (
	// office is 9 to 17 on working days, with a start that differs from one person to
	// the next.
	office rota = iota
	// wardShifts are twelve hours from 7 or from 19: two days, two nights, four days off.
	// Shifts of twelve hours are what most nurses in hospitals work: 65 % in A. W.
	// Stimpfel, D. M. Sloane, L. H. Aiken, Health Affairs 31(11), 2012.
	wardShifts
	// physician is 11.4 hours from about 7:30 on working days, the length of the day in
	// B. G. Arndt and others, Annals of Family Medicine 15(5), 2017; every ninth day a
	// night on call instead, on any day of the week.
	physician
	// rotating is eight hours from 6, 14 or 22, changing with the week, on five of
	// seven days.
	rotating
)

// shift is when somebody with a rota works that begins on day d, or not at all.
// phase, from 0 on, sets one person off from the next.
func (c calendar) shift(k rota, phase, d int) (from, to int64, ok bool) {
	at := func(h float64) int64 { return c.midnight(d) + int64(h*float64(hour)) }
	stagger := float64(phase%5)*0.25 - 0.5
	switch k {
	case office:
		return at(9 + stagger), at(17 + stagger), c.works(d)
	case wardShifts:
		switch (d + phase) % 8 {
		case 0, 1:
			return at(7), at(19), true
		case 2, 3:
			return at(19), at(31), true
		}
	case physician:
		if (d+phase)%9 == 0 {
			return at(20), at(32), true
		}
		if (d+phase)%9 != 1 && c.works(d) {
			return at(7.5 + stagger/2), at(18.9 + stagger/2), true
		}
	case rotating:
		begin := []float64{6, 14, 22}[(d/7+phase)%3]
		return at(begin), at(begin + 8), (d+phase)%7 < 5
	}
	return 0, 0, false
}

// onShift tells whether somebody with a rota works at t, and when that shift began and
// ends.
func (c calendar) onShift(k rota, phase int, t int64) (from, to int64, ok bool) {
	for _, d := range []int{c.dayOf(t), c.dayOf(t) - 1} {
		if from, to, ok := c.shift(k, phase, d); ok && from <= t && t < to {
			return from, to, true
		}
	}
	return 0, 0, false
}

// exponential is a span with the given mean.
func exponential(r *rand.Rand, mean int64) int64 {
	return 1 + int64(r.ExpFloat64()*float64(mean))
}

// logNormal is a span with the given median, at most 40 medians.
func logNormal(r *rand.Rand, median int64, sigma float64) int64 {
	return 1 + min(40*median, int64(float64(median)*math.Exp(sigma*r.NormFloat64())))
}

// between is a span from low to high.
func between(r *rand.Rand, low, high int64) int64 { return low + r.Int64N(high-low+1) }

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }
