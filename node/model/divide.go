package model

import (
	"math/rand/v2"
	"slices"
)

// divide splits rows at random into those that stay and a share that is taken out; of
// each class the same share.
func divide(rng *rand.Rand, labels []int8, rows []int, share float64) (stay, out []int) {
	for _, class := range classes(labels, rows) {
		rng.Shuffle(len(class), func(i, j int) { class[i], class[j] = class[j], class[i] })
		n := int(share*float64(len(class)) + 0.5)
		out = append(out, class[:n]...)
		stay = append(stay, class[n:]...)
	}
	slices.Sort(stay)
	slices.Sort(out)
	return stay, out
}

// folds splits rows at random into n parts with the same share of each class.
func folds(rng *rand.Rand, labels []int8, rows []int, n int) [][]int {
	out := make([][]int, n)
	k := 0
	for _, class := range classes(labels, rows) {
		rng.Shuffle(len(class), func(i, j int) { class[i], class[j] = class[j], class[i] })
		for _, r := range class {
			out[k%n] = append(out[k%n], r)
			k++
		}
	}
	for _, f := range out {
		slices.Sort(f)
	}
	return out
}

// classes groups rows by label: negative, positive, none.
func classes(labels []int8, rows []int) [3][]int {
	var out [3][]int
	for _, r := range rows {
		l := int8(-1)
		if labels != nil {
			l = labels[r]
		}
		k := 2
		if l >= 0 {
			k = int(l)
		}
		out[k] = append(out[k], r)
	}
	return out
}

// all is the rows 0 to n-1.
func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
