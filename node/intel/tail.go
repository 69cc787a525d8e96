package intel

import (
	"math"
	"math/bits"
)

const (
	subBuckets  = 16
	tailBuckets = 64 * subBuckets
	// recount is how often a tail's thresholds are counted anew, in values.
	recount = 256
	// tailMemory is the most values that a tail remembers with their full weight; then
	// all weights are halved.
	tailMemory = 1 << 20
)

// tail is the distribution of what a detector said of late, in buckets that are a
// sixteenth of a power of two wide, and where its tails begin.
type tail struct {
	weight [tailBuckets]float64
	rarity [tailBuckets]float64 // as of the last count
	total  float64
	since  int
	// The first bucket of the values that fewer than one in a thousand, or in ten
	// thousand, reach; tailBuckets while too few were seen to say.
	thousandth, tenThousandth int
}

func newTail() *tail { return &tail{thousandth: tailBuckets, tenThousandth: tailBuckets} }

func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	n := bits.Len64(v) // at least 5
	return (n-4)*subBuckets + int(v>>(n-5))&(subBuckets-1)
}

// add counts a value. The thousandth begins when least values were counted, and the
// ten thousandth when there were four times as many.
func (t *tail) add(v uint64, least float64) {
	t.weight[bucket(v)]++
	t.total++
	if t.total > tailMemory {
		t.total = 0
		for i := range t.weight {
			t.weight[i] /= 2
			t.total += t.weight[i]
		}
	}
	if t.since++; t.since < recount {
		return
	}
	t.since = 0
	t.thousandth, t.tenThousandth = tailBuckets, tailBuckets
	sum := 0.0
	for i := tailBuckets - 1; i >= 0; i-- {
		sum += t.weight[i]
		t.rarity[i] = -math.Log2((sum + 1) / (t.total + 1))
		if t.total >= least && sum < 1e-3*t.total {
			t.thousandth = i
		}
		if t.total >= 4*least && sum < 1e-4*t.total {
			t.tenThousandth = i
		}
	}
}

// rank is how far out a value is: 0 not, 1 beyond the thousandth, 2 beyond the ten
// thousandth.
func (t *tail) rank(v uint64) int {
	switch i := bucket(v); {
	case i >= t.tenThousandth:
		return 2
	case i >= t.thousandth:
		return 1
	}
	return 0
}

// bits is how rare values as large as v are: minus the logarithm to base 2 of their
// share.
func (t *tail) bits(v uint64) float64 { return t.rarity[bucket(v)] }
