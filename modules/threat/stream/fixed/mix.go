package fixed

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// golden64 is 2^64 divided by the golden ratio, made odd: the increment of SplitMix64.
const golden64 = 0x9E3779B97F4A7C15

// Mix is a bijection of 64-bit numbers in which every bit of x moves about half of the bits of the result: the
// finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
// It spreads; it is not a cryptographic hash.
func Mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xBF58476D1CE4E5B9
	x ^= x >> 27
	x *= 0x94D049BB133111EB
	return x ^ x>>31
}

// Seed is a sequence of 64-bit numbers that is a function of its start alone (SplitMix64).
type Seed uint64

// Next returns the next number and advances s.
func (s *Seed) Next() uint64 {
	*s += golden64
	return Mix(uint64(*s))
}

// Below returns a number in [0, n) from the high bits of the next one, and 0 where n is 0. For n below 2^32 no number
// is more likely than another by more than 2^-32 of its share.
func (s *Seed) Below(n uint64) uint64 {
	hi, _ := bits.Mul64(s.Next(), n)
	return hi
}

// Name is a number for a name: the first eight bytes of SHA-256, big endian. Two names with the same number cost
// whoever looks for them about 2^32 hashes, and a name for a given number about 2^64.
func Name(name []byte) uint64 {
	sum := sha256.Sum256(name)
	return binary.BigEndian.Uint64(sum[:8])
}
