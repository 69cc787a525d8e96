package fixed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

const (
	// LogScale is 1.0 in Q12, the scale of logarithms.
	LogScale = 1 << logBits
	// LogMax is the largest value of Log2: 64 in Q12.
	LogMax = 64 * LogScale

	logBits = 12
)

// logTable holds round(4096*log2(1 + i/4096)) for i from 0 to 4096.
var logTable = makeLogTable()

// makeLogTable computes each entry bit by bit: where y is in [1, 2), the next bit of log2(y) tells whether y² has
// reached 2. The products are cut at 2^-63, which after the sixteen bits taken here is an error below 2^-45, and no
// entry lies so close to a point where rounding would turn; the test of this file compares with a computation in
// 200 bits.
func makeLogTable() (table [LogScale + 1]uint16) {
	const bitsTaken = logBits + 4
	for i := range uint64(LogScale) {
		y := 1<<63 | i<<(63-logBits)
		var log uint64
		for range bitsTaken {
			hi, lo := bits.Mul64(y, y) // in [2^126, 2^128)
			log <<= 1
			if hi>>63 == 1 {
				log |= 1
				y = hi
			} else {
				y = hi<<1 | lo>>63
			}
		}
		table[i] = uint16((log + 1<<3) >> 4)
	}
	table[LogScale] = LogScale
	return table
}

// Log2 returns the binary logarithm of x in Q12, and 0 for 0. It never falls as x grows.
//
// With n = floor(log2 x) the result is 4096*n plus the table's entry for the twelve bits below the leading one, with a
// straight line to the next entry along the remaining bits, rounded half up. For x < 2^13 nothing remains and the
// error is that of the entry, at most 1/2 of 2^-12. For larger x the line between two true values lies at most
// (2^-12)²/(8 ln 2) = 1.1*10^-8 below the logarithm, the two entries are off by at most 1/2 and so is the rounding:
// the error is below 1.001 of 2^-12, or 2.5*10^-4.
func Log2(x uint64) int64 {
	if x == 0 {
		return 0
	}
	n := uint(bits.Len64(x) - 1)
	m := x << (63 - n) // the leading one at bit 63
	i := m >> (63 - logBits) & (LogScale - 1)
	rest := m << (1 + logBits) >> (1 + logBits) // 51 bits
	low, high := uint64(logTable[i]), uint64(logTable[i+1])
	line := (rest*(high-low) + 1<<50) >> 51 // high-low is at most 2
	return int64(uint64(n)<<logBits + low + line)
}

// TableHash is SHA-256, in hexadecimal, of the table of logarithms: its 4097 entries as big-endian 16-bit numbers.
func TableHash() string {
	raw := make([]byte, 0, 2*len(logTable))
	for _, v := range logTable {
		raw = binary.BigEndian.AppendUint16(raw, v)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
