package floats

import (
	"math"
	"strconv"
)

type rate float64 // want `floating point is refused`

type record struct {
	weight float32   // want `floating point`
	points []float64 // want `floating point`
	count  int64
}

const ratio = 0.5 // want `floating point`

const million int64 = 1e6 // want `floating point`

const grouped int64 = 1_000_000

const largest = math.MaxInt64

var turn complex128 // want `floating point`

var unit = 1i // want `floating point`

func sum(xs []float64) (total float64) { // want `floating point`
	for _, x := range xs { // want `floating point`
		total += x // want `floating point`
	}
	return total // want `floating point`
}

func half(n int64) int64 {
	return int64(float64(n) / 2) // want `floating point`
}

func root(n int64) int64 {
	return int64(math.Sqrt(4)) // want `floating point`
}

func parse(s string) error {
	_, err := strconv.ParseFloat(s, 64) // want `floating point`
	return err
}

func stored(f func(n float64)) { // want `floating point`
	write := math.Floor // want `floating point`
	_ = write           // want `floating point`
	_ = f               // want `floating point`
}

func field(r record) any {
	return r.weight // want `floating point`
}

func scaled(n int64) int64 { return n * 1000 / 3 }

func integers(r record) int64 { return r.count + grouped + largest%7 }
