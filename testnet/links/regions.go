package links

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Regions are the one-way delays between three regions: 1 and 2, 2 and 3, 1 and 3.
type Regions [3]time.Duration

// DefaultRegions are delays of the size that providers state between regions of which two
// are near each other and one is far from both, as ParseRegions reads them.
const DefaultRegions = "35,45,75"

// ParseRegions reads three numbers of milliseconds with commas between, from 0 to 10000 each.
func ParseRegions(text string) (Regions, error) {
	var r Regions
	parts := strings.Split(text, ",")
	if len(parts) != len(r) {
		return r, errors.New("want three numbers")
	}
	for i, part := range parts {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || !(v >= 0 && v <= 10_000) {
			return r, errors.New("want three numbers from 0 to 10000")
		}
		r[i] = time.Duration(v * float64(time.Millisecond))
	}
	return r, nil
}

// within is the one-way delay inside of a region.
const within = 500 * time.Microsecond

// Delay is that from one region to another, counted from 0.
func (r Regions) Delay(from, to int) time.Duration {
	return [3][3]time.Duration{{within, r[0], r[2]}, {r[0], within, r[1]}, {r[2], r[1], within}}[from][to]
}

// Spread delays what validators send one another who are in the three regions in turn.
func (l *Links) Spread(r Regions) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.ways {
		for k := range l.ways {
			if i != k {
				l.ways[i][k].Delay = r.Delay(i%len(r), k%len(r))
			}
		}
	}
}
