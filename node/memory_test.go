package node

import (
	"bytes"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/node/config"
)

// measured are the values of a collector, by name.
func measured(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		out[f.GetName()] = valueOf(f.Metric[0])
	}
	return out
}

// The limit is the largest of what is configured, twice the live heap and, up to half of the most,
// three times it, and never more than the most; each change is made once, and each state told at its beginning.
func TestMemoryLimitFollowsTheLiveHeap(t *testing.T) {
	const mib = 1 << 20
	var live int64
	var set []int64
	var said bytes.Buffer
	m := &memoryLimit{
		configured: 1000 * mib, most: 3000 * mib, log: slog.New(slog.NewTextHandler(&said, nil)),
		heap: func() int64 { return live }, set: func(limit int64) { set = append(set, limit) },
	}
	at := time.Unix(1, 0)
	for _, x := range []struct {
		what        string
		after       time.Duration
		live, limit int64
		level       int
		said        string
	}{
		{"begins", 0, 10, 1000, memoryConfigured, ""},
		{"a third", time.Second, 333, 1000, memoryConfigured, ""},
		{"more than a third", time.Second, 334, 1002, memoryRaised, "is raised"},
		{"half of the most", time.Second, 501, 1500, memoryRaised, ""},
		{"not more for a while", time.Second, 700, 1500, memoryRaised, ""},
		{"grows", time.Second, 1400, 2800, memoryRaised, ""},
		{"as high as it may be", time.Second, 1500, 3000, memoryRaised, ""},
		{"beyond", time.Second, 1600, 3000, memoryExhausted, "any further"},
		{"still", time.Second, 2900, 3000, memoryExhausted, ""},
		{"below and beyond again at once", time.Second, 1400, 2800, memoryRaised, ""},
		{"and back", time.Second, 1600, 3000, memoryExhausted, ""},
		{"still after ten minutes", 10 * time.Minute, 1600, 3000, memoryExhausted, "any further"},
		{"falls", time.Second, 100, 1000, memoryConfigured, ""},
		{"rises once more", time.Second, 400, 1200, memoryRaised, "is raised"},
		{"stays", 20 * time.Minute, 400, 1200, memoryRaised, ""},
	} {
		at, live = at.Add(x.after), x.live*mib
		said.Reset()
		m.look(at)
		values := measured(t, newMemoryCollector(m))
		if set[len(set)-1] != x.limit*mib || values["chancery_memory_limit_bytes"] != float64(x.limit*mib) || values["chancery_memory_live_bytes"] != float64(live) || values["chancery_memory_limit_level"] != float64(x.level) {
			t.Errorf("%s: set to %d MiB, measured as %v; want %d MiB, level %d", x.what, set[len(set)-1]/mib, values, x.limit, x.level)
		}
		if got := said.String(); (x.said == "") != (got == "") || !strings.Contains(got, x.said) || got != "" && !strings.Contains(got, "level=WARN") {
			t.Errorf("%s: the log says %q, want %q", x.what, got, x.said)
		}
	}
	if slices.ContainsFunc(set, func(limit int64) bool { return limit > m.most }) || len(slices.Compact(slices.Clone(set))) != len(set) {
		t.Errorf("set to %v: want none twice in a row, and none beyond %d", set, m.most)
	}
}

// What is configured beyond the most is cut to it, and the log says so at the beginning.
func TestMemoryLimitIsNeverMoreThanTheMachineAllows(t *testing.T) {
	var limit int64
	var said bytes.Buffer
	m := &memoryLimit{
		configured: 4000, most: 3000, log: slog.New(slog.NewTextHandler(&said, nil)),
		heap: func() int64 { return 10 }, set: func(l int64) { limit = l },
	}
	for range 2 {
		m.look(time.Unix(1, 0))
	}
	if limit != 3000 || m.level != memoryConfigured || strings.Count(said.String(), "four fifths of what") != 1 {
		t.Errorf("limit %d, level %d, the log says %q", limit, m.level, said.String())
	}
}

// GOMEMLIMIT goes before the configuration, and 0 is no limit: nothing is set, and what is in force is measured.
func TestMemoryLimitLeavesTheEnvironmentsAlone(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	if m := newMemoryLimit(config.Node{}, slog.New(slog.DiscardHandler)); m != nil {
		t.Error("there is a limit, and 0 is configured")
	}
	m := newMemoryLimit(config.Node{MemoryLimit: 64 << 20}, slog.New(slog.DiscardHandler))
	if m == nil || m.configured != 64<<20 || m.most <= 0 {
		t.Errorf("64 MiB are configured, and the limit is %+v", m)
	}
	t.Setenv("GOMEMLIMIT", "3GiB")
	m = newMemoryLimit(config.Node{MemoryLimit: 64 << 20}, slog.New(slog.DiscardHandler))
	if m != nil {
		t.Error("there is a limit besides the environment's")
	}
	before := debug.SetMemoryLimit(-1)
	followHeap(m, nil)()
	if now := debug.SetMemoryLimit(-1); now != before {
		t.Errorf("the limit is %d, and was %d", now, before)
	}
	if values := measured(t, newMemoryCollector(m)); values["chancery_memory_limit_bytes"] != float64(before) || values["chancery_memory_live_bytes"] <= 0 || values["chancery_memory_limit_level"] != 0 {
		t.Errorf("measured %v, in force are %d", values, before)
	}
}

// A running process has the limit, until it ends.
func TestMemoryLimitIsSet(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	m := newMemoryLimit(config.Node{MemoryLimit: 1 << 30}, slog.New(slog.DiscardHandler))
	followHeap(m, nil)()
	if now, want := debug.SetMemoryLimit(-1), min(max(1<<30, 2*m.live, min(3*m.live, m.most/2)), m.most); now != want {
		t.Errorf("the limit is %d, want %d", now, want)
	}
}

// After each collection, and not before the next, so much garbage may gather as is configured or the
// limit leaves room for, less up to a fifth of that.
func TestGarbageIsCollectedAtATimeOfItsOwn(t *testing.T) {
	const mib = 1 << 20
	var h heapState
	var set []int
	drawn := int64(0)
	g := newGarbage(400)
	g.set = func(percent int) { set = append(set, percent) }
	g.heap = func() heapState { return h }
	g.draw = func(n int64) int64 {
		if n != 1000-leastRoom {
			t.Fatalf("drawn of %d", n)
		}
		return drawn
	}
	for _, x := range []struct {
		what         string
		collections  uint64
		live, goal   int64
		drawn        int64
		first, after int // 0: nothing is set
	}{
		{"none yet", 0, 0, 4, 0, 400, 400},
		{"least", 1, 100, 500, 0, 400, 320},
		{"same collection", 1, 100, 420, 199, 0, 0},
		{"most", 2, 100, 500, 199, 400, 399},
		{"by the limit", 3, 700, 1890, 100, 400, 153},
		{"the limit is reached", 4, 1000, 1000, 100, 400, 20},
		{"a heap that is too small for it", 5, 1, 16, 100, 400, 400},
	} {
		h, drawn, set = heapState{x.collections, x.live * mib, x.goal * mib}, x.drawn, nil
		g.look()
		var want []int
		if x.after != 0 {
			want = []int{x.first, x.after}
		}
		if !slices.Equal(set, want) {
			t.Errorf("%s: set %v, want %v", x.what, set, want)
		}
	}
}

// The runtime does what was drawn: of twice the live heap, four fifths to all.
func TestTheRuntimeCollectsWhenItWasDrawn(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	keep := make([]byte, 256<<20)
	g := newGarbage(200)
	for _, drawn := range []int64{0, 1000 - leastRoom - 1} {
		g.draw = func(int64) int64 { return drawn }
		runtime.GC()
		g.look()
		h := readHeap()
		want := float64(h.live) * 2 * float64(leastRoom+drawn) / 1000
		if got := float64(h.goal - h.live); got < .97*want || got > 1.03*want {
			t.Errorf("drawn %d: %.0f MiB may gather, want %.0f", drawn, got/(1<<20), want/(1<<20))
		}
	}
	runtime.KeepAlive(keep)
}
