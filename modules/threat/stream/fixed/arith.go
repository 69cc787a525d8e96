package fixed

import (
	"math"
	"math/bits"
)

// Add is a + b, or the largest uint64 where that overflows.
func Add(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// Sub is a - b, or 0 where b is larger.
func Sub(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// Mul is a * b, or the largest uint64 where that overflows.
func Mul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// MulDiv is floor(a*b/c) with the product in 128 bits, or the largest uint64 where the quotient overflows or c is 0.
func MulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// Signed is x, or the largest int64 where x is larger.
func Signed(x uint64) int64 {
	if x > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(x)
}

// AddSigned is a + b, or the nearest int64.
func AddSigned(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

// U128 is an unsigned number of 128 bits: Hi*2^64 + Lo.
type U128 struct{ Hi, Lo uint64 }

// Product is a*b, exactly.
func Product(a, b uint64) U128 {
	hi, lo := bits.Mul64(a, b)
	return U128{hi, lo}
}

// Shifted is a*2^n for n up to 64, exactly.
func Shifted(a uint64, n uint) U128 {
	if n >= 64 {
		return U128{a, 0}
	}
	return U128{a >> (64 - n), a << n}
}

// AbsDiff is |a - b|, exactly.
func AbsDiff(a, b U128) U128 {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, borrow := bits.Sub64(a.Hi, b.Hi, borrow)
	if borrow == 0 {
		return U128{hi, lo}
	}
	lo, borrow = bits.Sub64(b.Lo, a.Lo, 0)
	hi, _ = bits.Sub64(b.Hi, a.Hi, borrow)
	return U128{hi, lo}
}

// SquareDiv is floor(d*d / (p*q*2^shift)) for a shift below 64, or the largest uint64 where that overflows or p or q
// is 0. Nothing is cut on the way: the square has 256 bits, and a quotient by p of which the quotient by q is taken,
// both rounded down, is the quotient by p*q rounded down.
func SquareDiv(d U128, p, q uint64, shift uint) uint64 {
	if p == 0 || q == 0 {
		return math.MaxUint64
	}
	// (hi*2^64 + lo)² = hi²*2^128 + 2*hi*lo*2^64 + lo²
	var n [4]uint64 // least significant first
	n[1], n[0] = bits.Mul64(d.Lo, d.Lo)
	if d.Hi != 0 {
		n[3], n[2] = bits.Mul64(d.Hi, d.Hi)
		hi, lo := bits.Mul64(d.Hi, d.Lo)
		var carry uint64
		for range 2 {
			n[1], carry = bits.Add64(n[1], lo, 0)
			n[2], carry = bits.Add64(n[2], hi, carry)
			n[3] += carry
		}
	}
	divide(&n, p)
	divide(&n, q)
	shift &= 63
	if shift != 0 {
		for i := range 3 {
			n[i] = n[i]>>shift | n[i+1]<<(64-shift)
		}
		n[3] >>= shift
	}
	if n[1]|n[2]|n[3] != 0 {
		return math.MaxUint64
	}
	return n[0]
}

// divide replaces n by floor(n/by); by is not 0.
func divide(n *[4]uint64, by uint64) {
	var rest uint64
	for i := 3; i >= 0; i-- {
		if rest == 0 && n[i] < by {
			rest, n[i] = n[i], 0
			continue
		}
		n[i], rest = bits.Div64(rest, n[i], by)
	}
}
