package node

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	rtm "runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/clock"
)

const (
	memoryInterval  = time.Second      // between looks at the heap
	memoryComplaint = 10 * time.Minute // between two lines of one kind in the log
)

// Where the limit of memory is.
const (
	memoryConfigured = iota // as configured
	memoryRaised            // above, with the live heap
	memoryExhausted         // as high as the machine allows, and less than twice the live heap
)

// memoryLimit is the process's soft limit of memory, which follows what lives on the heap
// after the latest collection: what is configured, where that is more; else three times the
// live heap while that is no more than half of what the limit may be, and twice beyond; and
// never more than it may be. Near the limit the collector runs ever more often, so that one
// that stands still costs a growing state all of a processor; each transaction pays for it in
// proportion to one over how many times the live heap the limit is, less one.
type memoryLimit struct {
	configured int64
	most       int64
	heap       func() int64 // bytes that lived at the end of the latest collection
	set        func(int64)
	log        *slog.Logger
	complained [3]time.Time // by level; of look alone

	mu    sync.Mutex // guards what follows
	live  int64
	limit int64 // the one in force; 0: none was set yet
	level int
}

// newMemoryLimit is the limit of a configuration, and sets nothing yet; nil: the
// configuration has none, or the environment sets one.
func newMemoryLimit(c config.Node, log *slog.Logger) *memoryLimit {
	if os.Getenv("GOMEMLIMIT") != "" || c.MemoryLimit == 0 {
		return nil
	}
	m := &memoryLimit{
		configured: int64(c.MemoryLimit), heap: liveHeap, log: log,
		set: func(limit int64) { debug.SetMemoryLimit(limit) },
	}
	allowed, err := allowedMemory()
	if err != nil {
		log.Warn("the limit of memory does not follow the live heap, and stays at node.memory_limit_bytes", "error", err)
		m.most = m.configured
		return m
	}
	m.most = allowed / 5 * 4
	return m
}

// roomyHeap asks for large pages for as much of the heap as the limit lets garbage have room in,
// and tells whether it did.
func roomyHeap() bool {
	allowed, err := allowedMemory()
	return err == nil && largeHeap(allowed/5*2)
}

// liveHeap is how many bytes the latest collection found alive.
func liveHeap() int64 { return readHeap().live }

// allowedMemory is how many bytes the machine or the control group has for the process.
func allowedMemory() (int64, error) {
	allowed, err := memlimit.FromSystem()
	if group, groupErr := memlimit.FromCgroup(); groupErr == nil && (err != nil || group < allowed) {
		allowed, err = group, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find out how much memory there is: %w", err)
	}
	return int64(min(allowed, math.MaxInt64)), nil
}

// look sets the limit by what lives on the heap now. One goroutine at a time may call it.
func (m *memoryLimit) look(at time.Time) {
	live := m.heap()
	twice := 2 * live
	limit, level := min(max(m.configured, twice, min(3*live, m.most/2)), m.most), memoryConfigured
	switch {
	case twice > m.most:
		level = memoryExhausted
	case limit > m.configured:
		level = memoryRaised
	}
	m.mu.Lock()
	before, was := m.limit, m.level
	m.live, m.limit, m.level = live, limit, level
	m.mu.Unlock()
	if limit != before {
		m.set(limit)
	}
	if before == 0 && m.configured > m.most {
		m.log.Warn("node.memory_limit_bytes is more than four fifths of what the machine or the control group allows; the limit is those four fifths",
			"memory_limit_bytes", m.configured, "limit", limit)
	}
	complain := func(again bool) bool {
		last := m.complained[level]
		if !again && level == was || !last.IsZero() && at.Sub(last) < memoryComplaint {
			return false
		}
		m.complained[level] = at
		return true
	}
	switch level {
	case memoryRaised:
		if complain(false) {
			m.log.Warn("the live heap is more than a third of node.memory_limit_bytes: the limit is raised with it, to three times as much while that is at most half of what it may be and to twice as much beyond, so that garbage is not collected all the time; give the node more",
				"live", live, "limit", limit, "memory_limit_bytes", m.configured, "most", m.most)
		}
	case memoryExhausted:
		if complain(true) {
			m.log.Warn("the limit of memory cannot be raised any further: it is four fifths of what the machine or the control group allows, or what is configured where that is not known, and the live heap is more than half of it; garbage is collected ever more often. Allow the node more memory, or keep the state on disk",
				"live", live, "limit", limit, "memory_limit_bytes", m.configured, "most", m.most)
		}
	}
}

// followHeap sets the limit and the garbage that may gather, either of which may be nil, and lets
// them follow the heap until the function that it returns is called.
func followHeap(m *memoryLimit, g *garbage) (end func()) {
	look := func() {
		if m != nil {
			m.look(time.Now())
		}
		if g != nil {
			g.look() // within the limit
		}
	}
	look()
	ctx, cancel := context.WithCancel(context.Background())
	var follows sync.WaitGroup
	follows.Go(func() {
		for clock.Wait(ctx, memoryInterval) {
			look()
		}
	})
	return func() {
		cancel()
		follows.Wait()
	}
}

// garbage is how much of it may gather before it is collected: what is configured or the limit
// leaves room for, or less by chance, but never less than leastRoom of it, drawn anew after each collection.
// Validators that execute the same blocks would fill their heaps at the same rate, and collect at
// the same time: a block waits for none that is slow alone, and for all when all are.
type garbage struct {
	percent int                 // of the live heap, as configured
	set     func(percent int)   // replaces what is in force
	heap    func() heapState    // as the runtime has it
	draw    func(n int64) int64 // a number from 0 to n-1, by chance
	seen    uint64              // the latest collection that was looked at; noCollection: none
}

// heapState is what the runtime says of the heap.
type heapState struct {
	collections uint64
	live        int64 // bytes that the latest collection found alive
	goal        int64 // bytes at the end of the next one
}

const (
	// leastRoom is the part of the room for garbage, in thousandths, that is always left.
	leastRoom    = 800
	noCollection = math.MaxUint64
)

func newGarbage(percent int) *garbage {
	return &garbage{
		percent: percent, heap: readHeap, draw: rand.Int64N, seen: noCollection,
		set: func(percent int) { debug.SetGCPercent(percent) },
	}
}

func readHeap() heapState {
	samples := []rtm.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/goal:bytes"}}
	rtm.Read(samples)
	return heapState{samples[0].Value.Uint64(), int64(samples[1].Value.Uint64()), int64(samples[2].Value.Uint64())}
}

// look draws after a collection. One goroutine at a time may call it.
func (g *garbage) look() {
	before := g.heap()
	if before.collections == g.seen {
		return
	}
	g.set(g.percent)
	now := g.heap()
	// One that ended meanwhile is looked at next time.
	g.seen = before.collections
	room := max(0, now.goal-now.live)
	room = room * (leastRoom + g.draw(1000-leastRoom)) / 1000
	g.set(int(min(int64(g.percent), max(config.LeastGarbagePercent, room*100/max(1, now.live)))))
}

// memoryCollector measures the limit; where none is followed, the one that is in force.
type memoryCollector struct {
	m                  *memoryLimit // nil: none
	limit, live, level *prometheus.Desc
}

func newMemoryCollector(m *memoryLimit) memoryCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("chancery_memory_"+name, help, nil, nil)
	}
	return memoryCollector{
		m:     m,
		limit: desc("limit_bytes", "The process's soft limit of memory now: near it garbage is collected more often."),
		live:  desc("live_bytes", "What lived on the heap at the end of the latest collection; the limit follows three times, or twice, as much."),
		level: desc("limit_level", "0 the limit is the configured one, or does not follow; 1 it was raised with the live heap; 2 it is as high as the machine allows, and less than twice the live heap."),
	}
}

// Describe implements prometheus.Collector.
func (c memoryCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.limit
	out <- c.live
	out <- c.level
}

// Collect implements prometheus.Collector.
func (c memoryCollector) Collect(out chan<- prometheus.Metric) {
	live, limit, level := liveHeap(), debug.SetMemoryLimit(-1), memoryConfigured
	if c.m != nil {
		c.m.mu.Lock()
		if c.m.limit != 0 {
			live, limit, level = c.m.live, c.m.limit, c.m.level
		}
		c.m.mu.Unlock()
	}
	out <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(limit))
	out <- prometheus.MustNewConstMetric(c.live, prometheus.GaugeValue, float64(live))
	out <- prometheus.MustNewConstMetric(c.level, prometheus.GaugeValue, float64(level))
}
