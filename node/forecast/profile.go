package forecast

// profile is how the rate differs, over the day, from its mean: one number for each
// hour of the day (UTC) on weekdays and on weekends, in events per bucket.
type profile [2][24]float64

// Pseudo-counts: an hour's mean is drawn to the mean of all hours as by so many days
// like these, and an hour's mean on one kind of day to the hour's on all days.
const (
	dayWeight  = 0.5
	kindWeight = 2
)

func newProfile(h History) *profile {
	var sums, counts [2][24]float64
	total := 0.0
	for i, v := range h.Hours {
		at := h.HoursEnd - int64(len(h.Hours)) + int64(i)
		k := kindOf(at)
		sums[k][at%24] += v
		counts[k][at%24]++
		total += v
	}
	mean := total / float64(len(h.Hours))
	var p profile
	for hour := range 24 {
		all := (sums[0][hour] + sums[1][hour] + dayWeight*mean) / (counts[0][hour] + counts[1][hour] + dayWeight)
		for k := range p {
			of := (sums[k][hour] + kindWeight*all) / (counts[k][hour] + kindWeight)
			p[k][hour] = (of - mean) / h.perHour()
		}
	}
	return &p
}

// kindOf is 1 for an hour, numbered from the epoch, of a Saturday or Sunday.
func kindOf(at int64) int {
	if d := (at/24 + 4) % 7; d == 0 || d == 6 { // the epoch was a Thursday
		return 1
	}
	return 0
}

// at is the profile at a time in Unix milliseconds, on straight lines between the
// middles of the hours.
func (p *profile) at(time int64) float64 {
	time -= hour / 2
	from := time / hour
	share := float64(time%hour) / float64(hour)
	value := func(at int64) float64 { return p[kindOf(at)][at%24] }
	return (1-share)*value(from) + share*value(from+1)
}
