package model

import (
	"math"
	"strconv"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
)

// decimal is a finite float64 as its shortest decimal form: ±digits·10^exponent.
type decimal struct {
	negative bool
	digits   uint64 // at most 17 of them
	exponent int
}

func decimalOf(x float64) decimal {
	var buffer [32]byte
	text := strconv.AppendFloat(buffer[:0], x, 'e', -1, 64) // -d.ddde±dd
	var d decimal
	i := 0
	if text[0] == '-' {
		d.negative = true
		i = 1
	}
	point := false
	for ; text[i] != 'e'; i++ {
		if text[i] == '.' {
			point = true
			continue
		}
		d.digits = d.digits*10 + uint64(text[i]-'0')
		if point {
			d.exponent--
		}
	}
	for e, sign := 0, 1; i < len(text); i++ {
		switch c := text[i]; c {
		case 'e', '+':
		case '-':
			sign = -1
		default:
			e = e*10 + int(c-'0')
		}
		if i == len(text)-1 {
			d.exponent += sign * e
		}
	}
	for d.digits != 0 && d.digits%10 == 0 {
		d.digits /= 10
		d.exponent++
	}
	if d.digits == 0 {
		d = decimal{}
	}
	return d
}

var tens = func() (t [20]uint64) {
	t[0] = 1
	for i := 1; i < len(t); i++ {
		t[i] = t[i-1] * 10
	}
	return
}()

// fidelity is how a value survives scaling.
type fidelity uint8

const (
	exact     fidelity = iota
	close12            // rounded, and right to 12 significant digits
	rounded            // rounded beyond that
	saturated          // beyond int64, and replaced by the end of it
)

// scale is the value times 10^decimals, rounded to the nearest, halves away from zero;
// what is not zero does not become zero but one unit, since trees often ask whether
// there is anything at all.
func (d decimal) scale(decimals int) (v int64, how fidelity) {
	e := d.exponent + decimals
	var n uint64
	switch {
	case d.digits == 0:
		return 0, exact
	case e >= 0:
		if e >= len(tens) || d.digits > math.MaxInt64/tens[e] {
			n, how = math.MaxInt64, saturated
			break
		}
		n = d.digits * tens[e]
	case -e >= len(tens):
		how = rounded // below one unit: at most 17 digits, cut by 20
	default:
		unit := tens[-e]
		n = d.digits / unit
		if rest := d.digits % unit; rest >= unit-rest {
			n++
		}
		how = rounded
		if n >= tens[12] {
			how = close12
		}
	}
	n = max(n, 1)
	if d.negative {
		return -int64(n), how
	}
	return int64(n), how
}

// Scale is a number as a feature of some decimals holds it: see scale; trees.Missing for NaN.
// Beyond int64 it is the end of int64.
func Scale(x float64, decimals int) int64 {
	if math.IsNaN(x) {
		return trees.Missing
	}
	v, _ := decimalOf(x).scale(decimals)
	return v
}

// Decimals chooses the power of ten for a column's numbers: the one, from 0 to 18, at
// which the most of them keep 12 significant digits; of these, the one at which the
// most are exact; of these, the smallest.
func Decimals(numbers []float64) int {
	best, bestClose, bestExact := 0, -1, -1
	all := make([]decimal, 0, len(numbers))
	least := 0 // exponent below which nothing is gained
	for _, x := range numbers {
		if !math.IsNaN(x) {
			d := decimalOf(x)
			all = append(all, d)
			least = min(least, d.exponent)
		}
	}
	for k := 0; k <= min(artifact.MaxDecimals, -least); k++ {
		near, same := 0, 0
		for _, d := range all {
			switch _, how := d.scale(k); how {
			case exact:
				near++
				same++
			case close12:
				near++
			}
		}
		if near > bestClose || near == bestClose && same > bestExact {
			best, bestClose, bestExact = k, near, same
		}
	}
	return best
}

// unscale is the float64 nearest to n·10^-decimals.
func unscale(n int64, decimals int) float64 {
	var buffer [32]byte
	text := strconv.AppendInt(buffer[:0], n, 10)
	text = append(text, 'e', '-')
	text = strconv.AppendInt(text, int64(decimals), 10)
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		panic("model: an integer with an exponent does not parse: " + err.Error())
	}
	return x
}

// Comparison is how a float model decides at a split.
type Comparison uint8

// The comparisons that send a value left.
const (
	AtMost  Comparison = iota // float64, value <= threshold: ours, LightGBM
	Below32                   // float32, value < threshold: XGBoost
)

func (c Comparison) left(x, threshold float64) bool {
	if c == Below32 {
		return float32(x) < float32(threshold)
	}
	return x <= threshold
}

// Threshold is the largest integer, not trees.Missing, whose value a comparison sends
// left of a float threshold. Where none is, it is the least integer.
func (c Comparison) Threshold(threshold float64, decimals int) int64 {
	const least = trees.Missing + 1
	if math.IsNaN(threshold) || math.IsInf(threshold, -1) {
		return least
	}
	if math.IsInf(threshold, 1) {
		return math.MaxInt64
	}
	left := func(n int64) bool { return c.left(unscale(n, decimals), threshold) }
	// low goes left and high does not, or both are at the end.
	near := Scale(threshold, decimals) // the search needs no more than a neighbour
	low, high := near, near
	for step := int64(1); !left(low); step *= 2 {
		if low < least+step || step > 1<<61 {
			low = least
			break
		}
		low -= step
	}
	for step := int64(1); left(high); step *= 2 {
		if high > math.MaxInt64-step || step > 1<<61 {
			high = math.MaxInt64
			if left(high) {
				return high
			}
			break
		}
		high += step
	}
	if !left(low) {
		return least
	}
	for uint64(high)-uint64(low) > 1 {
		middle := low + int64((uint64(high)-uint64(low))/2)
		if left(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}
