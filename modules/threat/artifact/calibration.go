package artifact

import (
	"fmt"
	"sort"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// curve maps margins to scores by straight lines between knots.
type curve struct {
	margins []int64
	scores  []uint32
}

func calibration(c *threatv1.Calibration) (curve, error) {
	margins, scores := c.GetMargin(), c.GetScore()
	if n := len(margins); n < 1 || n > MaxKnots || n != len(scores) {
		return curve{}, fmt.Errorf("the calibration has %d margins and %d scores; 1 to %d of both are allowed", len(margins), len(scores), MaxKnots)
	}
	for i, m := range margins {
		switch {
		case m < -MaxKnot || m > MaxKnot || scores[i] > MaxScore:
			return curve{}, fmt.Errorf("knot %d of the calibration is out of bounds", i)
		case i > 0 && (m <= margins[i-1] || scores[i] < scores[i-1]):
			return curve{}, fmt.Errorf("the calibration falls at knot %d", i)
		}
	}
	return curve{margins, scores}, nil
}

// score is the score of a margin. Knots are at most 2^43 apart and scores below 2^14,
// so the product fits.
func (c *curve) score(margin int64) uint32 {
	i := sort.Search(len(c.margins), func(i int) bool { return c.margins[i] > margin })
	if i == 0 {
		return c.scores[0]
	}
	if i == len(c.margins) {
		return c.scores[i-1]
	}
	from, to := c.margins[i-1], c.margins[i]
	low, high := c.scores[i-1], c.scores[i]
	return low + uint32((margin-from)*int64(high-low)/(to-from))
}
