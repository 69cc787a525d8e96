package forecast

import (
	"math"
	"time"
)

const (
	hour = int64(time.Hour / time.Millisecond)
	day  = 24 * hour
	// noRisk marks a bucket without a scored event.
	noRisk = math.MaxUint16
	// MaxScore is the greatest score of an event.
	MaxScore = 10000
)

// cell is an open bucket.
type cell struct {
	count  uint32 // events; it saturates
	scored uint32
	sum    uint64 // of scores
}

func (c *cell) add(score uint32, scored bool) {
	if c.count < math.MaxUint32 {
		c.count++
	}
	if scored && c.scored < math.MaxUint32 {
		c.scored++
		c.sum += uint64(min(score, MaxScore))
	}
}

// risk is the mean score, rounded to the nearest, or noRisk.
func (c *cell) risk() uint16 {
	if c.scored == 0 {
		return noRisk
	}
	return uint16((c.sum + uint64(c.scored)/2) / uint64(c.scored))
}

// ring is the latest closed buckets of one width, at most limit. Six bytes each.
type ring struct {
	counts []uint32
	risks  []uint16
	start  int   // of the oldest, once it is full
	end    int64 // number of the bucket after the latest
	limit  int
}

func (r *ring) push(count uint32, risk uint16) {
	r.end++
	if len(r.counts) < r.limit {
		if len(r.counts) == cap(r.counts) {
			// Never more than the limit, where append might take a quarter more.
			size := min(max(8, 2*cap(r.counts)), r.limit)
			r.counts = append(make([]uint32, 0, size), r.counts...)
			r.risks = append(make([]uint16, 0, size), r.risks...)
		}
		r.counts, r.risks = append(r.counts, count), append(r.risks, risk)
		return
	}
	r.counts[r.start], r.risks[r.start] = count, risk
	r.start = (r.start + 1) % r.limit
}

// skip closes empty buckets up to end.
func (r *ring) skip(end int64) {
	if end-r.end > int64(r.limit) {
		r.end = end - int64(r.limit)
	}
	for r.end < end {
		r.push(0, noRisk)
	}
}

// read copies the buckets, oldest first. A risk that is not known is NaN.
func (r *ring) read() (counts, risks []float64) {
	n := len(r.counts)
	counts, risks = make([]float64, n, n+1), make([]float64, n, n+1)
	for i := range n {
		k := (r.start + i) % n
		counts[i], risks[i] = float64(r.counts[k]), math.NaN()
		if r.risks[k] != noRisk {
			risks[i] = float64(r.risks[k])
		}
	}
	return counts, risks
}

// series is what is kept of a subject: the latest buckets, and the latest whole
// hours for its daily profile. The zero value is not usable.
type series struct {
	fine, hours         ring
	openFine, openHours cell // of fine.end and hours.end
	first               int64
	events              uint64
	// level and spread are the running mean and variance of the closed buckets,
	// exponentially weighted by quickWeight, and danger is the running mean of their
	// risk. They only choose which subjects are looked at closely.
	level, spread, danger float64
	odd                   float64 // oddity of the latest closed bucket
}

const quickWeight = 1.0 / 16

// newSeries begins with the bucket that holds a time.
func newSeries(s Settings, at int64) *series {
	width := s.Bucket.Milliseconds()
	return &series{
		fine:  ring{limit: s.Buckets, end: at / width},
		hours: ring{limit: s.Hours, end: at / hour},
		first: at / width,
	}
}

// add counts an event. Times never fall; one that does counts as the latest.
func (s *series) add(at, width int64, score uint32, scored bool) {
	s.close(at, width)
	s.openFine.add(score, scored)
	s.openHours.add(score, scored)
	s.events++
}

// close closes all buckets that end by a time.
func (s *series) close(at, width int64) {
	if now := at / width; now > s.fine.end {
		s.quick(s.openFine.count, s.openFine.risk())
		s.fine.push(s.openFine.count, s.openFine.risk())
		s.openFine = cell{}
		if gap := now - s.fine.end; gap > 0 {
			s.silence(gap)
			s.fine.skip(now)
		}
	}
	if now := at / hour; now > s.hours.end {
		s.hours.push(s.openHours.count, s.openHours.risk())
		s.openHours = cell{}
		s.hours.skip(now)
	}
}

func (s *series) quick(count uint32, risk uint16) {
	s.odd = s.oddity(float64(count))
	e := float64(count) - s.level
	if len(s.fine.counts) == 0 {
		s.level, s.spread = float64(count), float64(count)
	} else {
		s.level += quickWeight * e
		s.spread = (1 - quickWeight) * (s.spread + quickWeight*e*e)
	}
	if risk != noRisk {
		s.danger += quickWeight * (float64(risk) - s.danger)
	}
}

// silence is quick of so many empty buckets at once.
func (s *series) silence(n int64) {
	// With d the factor by which the level falls in all steps but the last, the variance
	// about it becomes d·spread + d·(1 − d)·level²: sums of geometric series.
	d := math.Pow(1-quickWeight, float64(n-1))
	s.spread = d*s.spread + d*(1-d)*s.level*s.level
	s.level *= d
	s.quick(0, noRisk)
}

// History is what a forecast is made from.
type History struct {
	// Bucket is the width of a bucket in milliseconds. It divides an hour.
	Bucket int64
	// End is the number of the bucket after the latest: its time over Bucket.
	End int64
	// Counts is the events of each bucket before End, oldest first, none left out.
	Counts []float64
	// Risks is the mean score of each of these, NaN where nothing was scored.
	Risks []float64
	// Hours is the events of each whole hour before HoursEnd (a time over an hour),
	// oldest first. It may reach further back than Counts.
	Hours    []float64
	HoursEnd int64
}

// history is the series as of a time: what is closed by then.
func (s *series) history(at, width int64) History {
	h := History{Bucket: width, End: max(at/width, s.fine.end), HoursEnd: max(at/hour, s.hours.end)}
	h.Counts, h.Risks = s.fine.read()
	if silent := h.End - s.fine.end; silent > 0 {
		h.Counts = pad(append(h.Counts, float64(s.openFine.count)), 0, silent-1, s.fine.limit)
		h.Risks = pad(append(h.Risks, riskOf(s.openFine)), math.NaN(), silent-1, s.fine.limit)
	}
	h.Hours, _ = s.hours.read()
	if silent := h.HoursEnd - s.hours.end; silent > 0 {
		h.Hours = pad(append(h.Hours, float64(s.openHours.count)), 0, silent-1, s.hours.limit)
	}
	// The hour in which the subject was first seen is not whole.
	if begin := h.HoursEnd - int64(len(h.Hours)); len(h.Hours) > 0 && s.first*width > begin*hour {
		h.Hours = h.Hours[1:]
	}
	return h
}

// pad appends n times x and keeps the latest.
func pad(to []float64, x float64, n int64, keep int) []float64 {
	for range min(n, int64(keep)) {
		to = append(to, x)
	}
	return to[max(0, len(to)-keep):]
}

func riskOf(c cell) float64 {
	if r := c.risk(); r != noRisk {
		return float64(r)
	}
	return math.NaN()
}

// before is the history as it was n buckets before its end. Hours that were not
// over by then are left out.
func (h History) before(n int) History {
	n = min(n, len(h.Counts))
	keep := len(h.Counts) - n
	h.Counts, h.Risks = h.Counts[:keep:keep], h.Risks[:keep:keep]
	h.End -= int64(n)
	end := min(h.HoursEnd, h.End*h.Bucket/hour)
	kept := max(0, int64(len(h.Hours))-(h.HoursEnd-end))
	h.Hours, h.HoursEnd = h.Hours[:kept:kept], end
	return h
}

// time is the beginning of the bucket i buckets after the end.
func (h History) time(i int) int64 { return (h.End + int64(i)) * h.Bucket }

// perHour is the number of buckets in an hour.
func (h History) perHour() float64 { return float64(hour) / float64(h.Bucket) }

// season is the number of buckets in a day.
func (h History) season() int { return int(day / h.Bucket) }
