//go:build linux

package perturb

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// One run of each mode, of seeds that change: a violation names its seed, which repeats its
// plan with 'go run ./scripts/perturb --seed'.
func TestNetworksWithstandPerturbations(t *testing.T) {
	if os.Getenv("CHANCERY_E2E") != "1" {
		t.Skip("runs whole networks of the built binary; 'make e2e' does")
	}
	binary, err := filepath.Abs(os.Getenv("CHANCERY_BIN"))
	if err != nil || os.Getenv("CHANCERY_BIN") == "" {
		t.Fatal("CHANCERY_BIN must name the built binary; 'make e2e' sets it")
	}
	const length = 6 * time.Second
	seed := uint64(time.Now().UnixNano() % 1_000_000)
	for _, mode := range []Mode{Minority, Wandering, Halves} {
		for NewPlan(seed, length).Mode != mode {
			seed++
		}
		t.Run(fmt.Sprintf("%s, seed %d", mode, seed), func(t *testing.T) {
			r := Run(t.Context(), NewPlan(seed, length), Options{Binary: binary, Dir: filepath.Join(t.TempDir(), "run")})
			t.Log(r)
			if r.Error != "" {
				t.Fatal(r.Error)
			}
			for _, v := range r.Violations {
				t.Errorf("%s", v)
			}
			if r.Acknowledged == 0 || r.Withdrawn == 0 || r.Receipts == 0 || r.Events == 0 {
				t.Error("something was not checked at all")
			}
		})
	}
}
