package halfspace

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
)

// The tables of cells. The row of a node is its tree; its column is 1 for the root, which has no cell, and 2c and 2c+1
// for the children of column c.
const (
	SpaceNode  cell.Space = 16
	SpaceClock cell.Space = 17
)

// Bounds of settings.
const (
	MaxTrees    = 128
	MaxDepth    = 15
	MaxWindow   = 1 << 20
	MaxFeatures = 256
	// MaxNodes bounds trees times nodes of a tree, and so the memory of a Forest.
	MaxNodes = 1 << 20
)

// Range is the interval of a feature's usual values; values outside are allowed.
type Range struct{ Low, High int64 }

// Settings are what all validators must agree on.
type Settings struct {
	Trees     int // 1 to MaxTrees
	Depth     int // 1 to MaxDepth
	Window    int // events per window, 1 to MaxWindow
	SizeLimit int // a score descends no further than to a node of at most this mass, below Window
	Seed      uint64
	Ranges    []Range // one for each feature, 1 to MaxFeatures
}

// ErrSettings is wrapped by every error about settings.
var ErrSettings = errors.New("settings of half-space trees")

// Check says what is wrong with s.
func (s Settings) Check() error {
	switch {
	case s.Trees < 1 || s.Trees > MaxTrees:
		return fmt.Errorf("%w: trees are 1 to %d", ErrSettings, MaxTrees)
	case s.Depth < 1 || s.Depth > MaxDepth:
		return fmt.Errorf("%w: the depth is 1 to %d", ErrSettings, MaxDepth)
	case s.Trees<<(s.Depth+1) > MaxNodes:
		return fmt.Errorf("%w: all trees together have more than %d nodes", ErrSettings, MaxNodes)
	case s.Window < 1 || s.Window > MaxWindow:
		return fmt.Errorf("%w: the window is 1 to %d", ErrSettings, MaxWindow)
	case s.SizeLimit < 0 || s.SizeLimit >= s.Window:
		return fmt.Errorf("%w: the size limit is from 0 to below the window", ErrSettings)
	case len(s.Ranges) < 1 || len(s.Ranges) > MaxFeatures:
		return fmt.Errorf("%w: features are 1 to %d", ErrSettings, MaxFeatures)
	}
	for i, r := range s.Ranges {
		if r.Low >= r.High {
			return fmt.Errorf("%w: the range of feature %d is empty", ErrSettings, i)
		}
	}
	return nil
}

// split sends an event to the left child where its feature is below the threshold.
type split struct {
	threshold int64
	feature   uint16
}

// Forest scores events. It holds the splits and no masses, and is safe for concurrent use.
type Forest struct {
	settings Settings
	splits   []split // tree by tree, each 2^Depth, by column; those at 0 are unused
}

// New makes the trees.
func New(s Settings) (*Forest, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	s.Ranges = slices.Clone(s.Ranges)
	f := &Forest{settings: s, splits: make([]split, s.Trees<<s.Depth)}
	b := builder{ranges: s.Ranges, low: make([]int64, len(s.Ranges)), high: make([]int64, len(s.Ranges)), seed: fixed.Seed(s.Seed)}
	for tree := range s.Trees {
		b.splits = f.splits[tree<<s.Depth : (tree+1)<<s.Depth]
		for i := range s.Ranges {
			// Section 3.1: s is uniform in [0, 1], and the working range is s ± 2 max(s, 1-s).
			at := int64(b.seed.Below(unit))
			spread := 2 * max(at, unit-at)
			b.low[i], b.high[i] = at-spread, at+spread
		}
		b.grow(1)
	}
	return f, nil
}

// unit is the length of a feature's range in the builder's scale, Q32.
const unit = 1 << 32

type builder struct {
	ranges    []Range
	low, high []int64 // working range of the node at hand, Q32 of the feature's range
	splits    []split
	seed      fixed.Seed
}

// grow makes the splits of a node and of all below it; it calls itself at most MaxDepth deep.
func (b *builder) grow(column int) {
	if column >= len(b.splits) {
		return
	}
	q := int(b.seed.Below(uint64(len(b.ranges))))
	low, high := b.low[q], b.high[q]
	middle := (low + high) >> 1
	b.splits[column] = split{threshold: threshold(b.ranges[q], middle), feature: uint16(q)}
	b.high[q] = middle
	b.grow(2 * column)
	b.low[q], b.high[q] = middle, high
	b.grow(2*column + 1)
	b.low[q] = low
}

// threshold is the least integer t for which t - Low is at least middle (Q32) of the range, or the nearest int64.
func threshold(r Range, middle int64) int64 {
	width := uint64(r.High) - uint64(r.Low)
	if middle < 0 {
		d := fixed.MulDiv(uint64(-middle), width, unit)
		if room := uint64(r.Low) - 1<<63; d > room { // wraps: Low - MinInt64
			return -1 << 63
		}
		return int64(uint64(r.Low) - d)
	}
	p := fixed.Product(uint64(middle), width)
	d := p.Hi<<32 | p.Lo>>32
	if p.Lo&(unit-1) != 0 {
		d = fixed.Add(d, 1)
	}
	if room := 1<<63 - 1 - uint64(r.Low); p.Hi>>32 != 0 || d > room {
		return 1<<63 - 1
	}
	return int64(uint64(r.Low) + d)
}

// Settings are those that f was made with.
func (f *Forest) Settings() Settings {
	s := f.settings
	s.Ranges = slices.Clone(s.Ranges)
	return s
}

// Extents are the tables that f touches.
func (f *Forest) Extents() []cell.Extent {
	return []cell.Extent{
		{Space: SpaceNode, Rows: uint16(f.settings.Trees), Columns: 2 << f.settings.Depth},
		{Space: SpaceClock, Rows: 1, Columns: 1},
	}
}

// Reading is the score of an event.
type Reading struct {
	// Ready is false until a first window is full; then nothing else is told.
	Ready bool
	// Mass is the sum over the trees of mass times 2^depth where the descent ended: the score of section 3.3 of the
	// paper, low where events are rare. Events spread evenly would have Trees*Window.
	Mass uint64
	// Sparsity is the sum over the trees of log2(Window + 1) - log2(mass * 2^depth + 1), in Q12: by how many bits
	// the region is emptier than if events were spread evenly. It is negative in dense regions. One tree in which the
	// region is dense outweighs all others in Mass and not here, which ranks rare events better.
	Sparsity int64
}

// Score is the reading of an event with the given values of features. It writes nothing. A value that is missing at
// the end counts as 0, and further ones are left out.
func (f *Forest) Score(r cell.Reader, values []int64) (Reading, error) {
	return f.score(r, values, nil)
}

// Explain is Score, and writes into causes, for each feature, how many bits (Q12) its splits made the event rarer than
// an even spread would have, over all trees. It leaves out features beyond the length of causes.
func (f *Forest) Explain(r cell.Reader, values []int64, causes []int64) (Reading, error) {
	clear(causes)
	return f.score(r, values, causes)
}

func (f *Forest) score(r cell.Reader, values []int64, causes []int64) (Reading, error) {
	window, err := f.window(r)
	if err != nil || window == 0 {
		return Reading{}, err
	}
	s := &f.settings
	even := fixed.Log2(uint64(s.Window) + 1)
	reading := Reading{Ready: true}
	for tree := range s.Trees {
		splits := f.splits[tree<<s.Depth : (tree+1)<<s.Depth]
		column, mass, depth := 1, uint64(s.Window), 0
		for depth < s.Depth && mass > uint64(s.SizeLimit) {
			at := splits[column]
			column = child(column, at, values)
			c, err := r.Cell(key(tree, column))
			if err != nil {
				return Reading{}, err
			}
			before := mass
			mass = min(caught(c, window).Past, uint64(s.Window))
			depth++
			if int(at.feature) < len(causes) {
				if bits := fixed.Log2(before+1) - fixed.Log2(mass+1) - fixed.LogScale; bits > 0 {
					causes[at.feature] += bits
				}
			}
		}
		reading.Mass += mass << depth // at most 2^7 * 2^20 * 2^15
		reading.Sparsity += even - fixed.Log2(mass<<depth+1)
	}
	return reading, nil
}

// Absorb counts an event in the present window. Within a window the order of events does not matter. Call it for
// admitted events alone: what is held must not train.
func (f *Forest) Absorb(w cell.Writer, values []int64) error {
	clock, err := w.Cell(key(clockRow, 0))
	if err != nil {
		return err
	}
	s := &f.settings
	window := clock.Past / uint64(s.Window)
	for tree := range s.Trees {
		splits := f.splits[tree<<s.Depth : (tree+1)<<s.Depth]
		column := 1
		for range s.Depth {
			column = child(column, splits[column], values)
			k := key(tree, column)
			c, err := w.Cell(k)
			if err != nil {
				return err
			}
			c = caught(c, window)
			c.Now = min(c.Now+1, uint64(s.Window))
			if err := w.SetCell(k, c); err != nil {
				return err
			}
		}
	}
	clock.Past = fixed.Add(clock.Past, 1)
	return w.SetCell(key(clockRow, 0), clock)
}

// Reads is the most cells that Score reads, and exactly how many Absorb reads and writes. It is the work of either.
func (f *Forest) Reads() uint64 { return uint64(f.settings.Trees*f.settings.Depth) + 1 }

func (f *Forest) window(r cell.Reader) (uint64, error) {
	clock, err := r.Cell(key(clockRow, 0))
	return clock.Past / uint64(f.settings.Window), err
}

func child(column int, at split, values []int64) int {
	var v int64
	if int(at.feature) < len(values) {
		v = values[at.feature]
	}
	if v < at.threshold {
		return 2 * column
	}
	return 2*column + 1
}

const clockRow = -1

func key(tree, column int) cell.Key {
	if tree == clockRow {
		return cell.Key{Space: SpaceClock}
	}
	return cell.Key{Space: SpaceNode, Row: uint16(tree), Column: uint32(column)}
}

// caught is c as it is at the beginning of a window, if nothing came since it was last moved.
func caught(c cell.Cell, window uint64) cell.Cell {
	switch {
	case c.Epoch >= window: // a later one is no cell of ours; it is taken as the present
		return cell.Cell{Past: c.Past, Now: c.Now, Epoch: window}
	case c.Epoch == window-1:
		return cell.Cell{Past: c.Now, Epoch: window}
	}
	return cell.Cell{Epoch: window}
}
