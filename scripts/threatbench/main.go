// Command threatbench measures the streaming scorers of modules/threat/stream on public data, alone and without a
// chain: how well they rank, what a score costs, and whether it allocates.
//
//	go run ./scripts/threatbench                          everything, about two minutes
//	go run ./scripts/threatbench --only midas,halfspace   some of it
//
// The data sets are in the folder datasets of CHANCERY_SHARED (../shared where that is unset). The report is Markdown;
// docs/threat-streams.md holds one. Floating point is for reading files and measuring: no scorer sees any.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chancery/chancery/modules/threat/stream/cell"
)

// sections are the parts of the report, in order.
var sections = []struct {
	name string
	run  func(options) error
}{
	{"midas", reportMidas},
	{"halfspace", reportHalfSpace},
	{"profile", reportProfile},
	{"frog", reportFrog},
}

type options struct {
	data  string
	seeds int
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "threatbench:", err)
		os.Exit(1)
	}
}

func run() error {
	shared := os.Getenv("CHANCERY_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "shared")
	}
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	o := options{}
	flag.StringVar(&o.data, "data", filepath.Join(shared, "datasets"), "folder of the data sets")
	flag.IntVar(&o.seeds, "seeds", 5, "how many seeds to measure with")
	only := flag.String("only", strings.Join(names, ","), "sections of the report")
	flag.Parse()
	if o.seeds < 1 {
		return fmt.Errorf("--seeds is at least 1")
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no section %q; there are: %s", name, strings.Join(names, ", "))
		}
	}
	for _, s := range sections {
		if slices.Contains(chosen, s.name) {
			if err := s.run(o); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// cost is what a loop over events took.
type cost struct {
	each   time.Duration // of processor time, which other work on the machine does not lengthen much
	allocs float64       // for each event
}

func (c cost) String() string {
	return fmt.Sprintf("%.2f | %.0f", float64(c.each.Nanoseconds())/1000, c.allocs)
}

// block is how many events the report takes for a block when it counts the cells that change in one.
const block = 100

// touched counts the different cells that are written in a block.
type touched struct {
	cell.Writer
	cells  map[cell.Key]bool
	events int
	sum    int // over all blocks
	blocks int
}

// SetCell implements cell.Writer.
func (t *touched) SetCell(k cell.Key, c cell.Cell) error {
	t.cells[k] = true
	return t.Writer.SetCell(k, c)
}

// event ends an event.
func (t *touched) event() {
	if t.events++; t.events%block == 0 {
		t.sum += len(t.cells)
		t.blocks++
		clear(t.cells)
	}
}

// changed is the mean over the blocks.
func (t *touched) changed() int { return t.sum / max(t.blocks, 1) }

// measure runs a loop over so many events.
func measure(events int, loop func() error) (cost, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin, err := processorTime()
	if err != nil {
		return cost{}, err
	}
	if err := loop(); err != nil {
		return cost{}, err
	}
	end, err := processorTime()
	if err != nil {
		return cost{}, err
	}
	runtime.ReadMemStats(&after)
	n := max(events, 1)
	return cost{(end - begin) / time.Duration(n), float64(after.Mallocs-before.Mallocs) / float64(n)}, nil
}

// processorTime is what this process has used so far.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
