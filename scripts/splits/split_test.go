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
