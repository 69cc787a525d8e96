package main

import (
	"fmt"
	"testing"
)

// The permutation is what NumPy's RandomState(0).permutation(10) gives.
func TestPermutationIsNumPys(t *testing.T) {
	if got := fmt.Sprint(seeded(0).permutation(10)); got != "[2 8 4 9 1 6 7 3 0 5]" {
		t.Error(got)
	}
}

// The rows are what scikit-learn 1.2.1 gives for train_test_split(arange(23),
// test_size=0.4, stratify=y, random_state=seed) with every seventh row positive.
func TestSplitIsScikitLearns(t *testing.T) {
	var labels []int8
	for i := range 23 {
		l := int8(0)
		if i%7 == 0 {
			l = 1
		}
		labels = append(labels, l)
	}
	for seed, want := range map[uint32]string{
		0: "[7 0 16 10 8 5 12 22 17 3 6 19 2] [1 20 15 4 9 11 18 21 14 13]",
		3: "[7 15 18 17 19 21 5 9 13 2 8 11 3] [16 1 10 14 12 22 4 6 0 20]",
	} {
		train, test := stratified(labels, 0.4, seed)
		if got := fmt.Sprint(train, test); got != want {
			t.Errorf("seed %d: %s, want %s", seed, got, want)
		}
	}
}
