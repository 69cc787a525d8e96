//go:build linux

package perturb

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// programs are the built binary, one whose validators lie, and another version of it.
func programs(t *testing.T) Options {
	t.Helper()
	if os.Getenv("CHANCERY_E2E") != "1" {
		t.Skip("runs whole networks of the built binary; 'make e2e' does")
	}
	binary, err := filepath.Abs(os.Getenv("CHANCERY_BIN"))
	if err != nil || os.Getenv("CHANCERY_BIN") == "" {
		t.Fatal("CHANCERY_BIN must name the built binary; 'make e2e' sets it")
	}
	build := func(name, tags string) string {
		path := filepath.Join(t.TempDir(), name)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "grpcnotrace "+tags, "-ldflags", "-s -w -X main.version="+name, "-o", path, "./node/cmd/chancery")
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		return path
	}
	return Options{Binary: binary, Byzantine: build("v0.0.0-byzantine", "byzantine"), Other: build("v0.0.0-other", "")}
}

func withstands(t *testing.T, p Plan, o Options) *Result {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "run")
	r := Run(t.Context(), p, o)
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
	return r
}

// One run of each mode, of seeds that change: a violation names its seed, which repeats its
// plan with 'go run ./scripts/perturb --faults v2 --seed'.
func TestNetworksWithstandPerturbations(t *testing.T) {
	o := programs(t)
	const length = 6 * time.Second
	seed := uint64(time.Now().UnixNano() % 1_000_000)
	for _, mode := range []Mode{Minority, Wandering, Halves} {
		for NewPlan(seed, length, V2).Mode != mode {
			seed++
		}
		t.Run(fmt.Sprintf("%s, seed %d", mode, seed), func(t *testing.T) { withstands(t, NewPlan(seed, length, V2), o) })
	}
}

// One run of each fault that takes more than signals and connections, which is not left out.
func TestNetworksWithstandTamperingAndLies(t *testing.T) {
	o := programs(t)
	seed := uint64(time.Now().UnixNano() % 1_000_000)
	for _, name := range []string{"slow-disk", "clock-skew", "lying-proposer", "lying-voter", "equivocation", "swap"} {
		set, err := NewSet(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
			r := withstands(t, NewPlan(seed, 12*time.Second, set), o)
			if len(r.Skipped) > 0 {
				t.Errorf("left out: %v", r.Skipped)
			}
			lied := slices.Contains([]string{"lying-proposer", "lying-voter", "equivocation"}, name)
			if lied != (r.Lies > 0) {
				t.Errorf("%d lies were told", r.Lies)
			}
			if name == "swap" && len(r.Versions) != 2 {
				t.Errorf("the nodes were of versions %v", r.Versions)
			}
		})
	}
}
