package fixed

import "math/bits"

// One63 is 1.0 in Q63.
const One63 = 1 << 63

// Factor is floor(numerator/denominator) in Q63, and One63 where the fraction is 1 or more or the denominator is 0.
func Factor(numerator, denominator uint32) uint64 {
	if numerator >= denominator {
		return One63
	}
	return MulDiv(uint64(numerator), One63, uint64(denominator))
}

// Power is factor to the n-th in Q63, by repeated squaring, each product rounded down; factor is at most One63. The
// result is never above the true power and less than 2n*2^-63 below it.
func Power(factor, n uint64) uint64 {
	if factor > One63 {
		factor = One63
	}
	result := uint64(One63)
	for n > 0 && result > 0 {
		if n&1 == 1 {
			result = Scale(result, factor)
		}
		factor = Scale(factor, factor)
		n >>= 1
	}
	return result
}

// Scale is floor(a*factor) for a factor in Q63 of at most One63.
func Scale(a, factor uint64) uint64 {
	if factor > One63 {
		factor = One63
	}
	hi, lo := bits.Mul64(a, factor)
	return hi<<1 | lo>>63
}
