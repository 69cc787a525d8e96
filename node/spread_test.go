package node

import (
	"testing"

	"github.com/chancery/chancery/chain/state"
)

// Validators do not write their images after the same block, and none waits for longer than half as
// much more.
func TestImagesAreSpread(t *testing.T) {
	seen := map[int64]bool{}
	for range 100 {
		n := spread(state.DefaultImageBytes)
		if n < state.DefaultImageBytes || n > state.DefaultImageBytes*3/2 {
			t.Fatalf("%d of %d", n, state.DefaultImageBytes)
		}
		seen[n] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different ones of 100", len(seen))
	}
}
