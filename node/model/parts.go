package model

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/trees"
)

// The parts of a scorer of rows besides PartBoosted and PartForest.
const (
	PartHalfSpace = "half-space"
	PartProfile   = "profile"
	PartStacked   = "stacked"       // boosted trees over the features and what the parts without labels say
	PartBlend     = "blend"         // the sum of evidence of the parts without the stacked trees
	PartCombined  = "combined"      // the sum of evidence of the parts and the stacked trees
	PartTwice     = "boosted-twice" // for comparison: the mean of two ensembles over the features alone
)

// tails is how many powers of one half the bins of a profile have in each tail: the outermost holds one row of 2^11.
const tails = 11

// parts are the parts that learn from a table of rows, as a chain would run them: integers alone. MIDAS reads edges
// and rules read what is forbidden; a table of rows has neither.
type parts struct {
	model   *artifact.Model // boosted trees, from labels, and a forest, without
	half    *halfspace.Forest
	cells   cell.Reader // after all rows, in their order
	cuts    [][]int64   // by feature, ascending: bin b holds what is above cut b-1 and at most cut b
	anchors []profile.Anchor
}

// named are the parts in the order of their values.
var named = [partCount]string{PartBoosted, PartForest, PartHalfSpace, PartProfile}

// trainParts trains the parts on rows: the boosted trees by their labels, the others without. o.Schema is set.
func trainParts(ctx context.Context, t *Table, o Training, seed uint64) (*parts, *fitted, error) {
	o.Kind = KindBoth
	f, err := train(ctx, t, o, seed)
	if err != nil {
		return nil, nil, err
	}
	p := &parts{model: f.model}
	if err := p.stream(f.matrix.Ints, seed); err != nil {
		return nil, nil, err
	}
	return p, f, p.habits(f.matrix.Ints)
}

// stream counts the rows, in their order, with the half-space trees of docs/threat-streams.md.
func (p *parts) stream(rows [][]int64, seed uint64) error {
	s := halfspace.Settings{Trees: 25, Depth: 10, Window: 250, SizeLimit: 25, Seed: seed}
	// Ranges bound the features by number; what is beyond them is left to the other parts.
	for j := range min(len(rows[0]), halfspace.MaxFeatures) {
		var r halfspace.Range
		first := true
		for _, row := range rows {
			if v := row[j]; v == trees.Missing {
				continue
			} else if first {
				r, first = halfspace.Range{Low: v, High: v}, false
			} else {
				r.Low, r.High = min(r.Low, v), max(r.High, v)
			}
		}
		if r.Low == r.High {
			r.Low = min(r.Low, 1<<62)
			r.High = r.Low + 1
		}
		s.Ranges = append(s.Ranges, r)
	}
	// A table shorter than two windows is one window and begins the next.
	s.Window = max(2, min(s.Window, len(rows)/2))
	s.SizeLimit = max(1, s.Window/10)
	var err error
	if p.half, err = halfspace.New(s); err != nil {
		return ErrBounds.Wrap(err)
	}
	cells, err := cell.NewMemory(p.half.Extents()...)
	if err != nil {
		return ErrBounds.Wrap(err)
	}
	for _, row := range rows {
		if err := p.half.Absorb(cells, row); err != nil {
			return err
		}
	}
	p.cells, err = freeze(cells, s)
	return err
}

// frozen is the masses of half-space trees that absorb no more: 2 bytes for each cell, so that they stay in a
// processor's cache.
type frozen struct {
	clock  cell.Cell
	window uint64
	depth  int
	masses []uint16 // tree by tree, by column
}

// freeze keeps what a score reads of cells.
func freeze(cells *cell.Memory, s halfspace.Settings) (*frozen, error) {
	clock, err := cells.Cell(cell.Key{Space: halfspace.SpaceClock})
	if err != nil {
		return nil, err
	}
	f := &frozen{clock: clock, window: clock.Past / uint64(s.Window), depth: s.Depth, masses: make([]uint16, s.Trees<<(s.Depth+1))}
	for tree := range s.Trees {
		for column := range 2 << s.Depth {
			c, err := cells.Cell(cell.Key{Space: halfspace.SpaceNode, Row: uint16(tree), Column: uint32(column)})
			if err != nil {
				return nil, err
			}
			mass := uint64(0)
			switch c.Epoch {
			case f.window:
				mass = c.Past
			case f.window - 1:
				mass = c.Now
			}
			f.masses[tree<<(s.Depth+1)+column] = uint16(min(mass, uint64(s.Window))) // the window is at most 250
		}
	}
	return f, nil
}

// Cell implements cell.Reader.
func (f *frozen) Cell(k cell.Key) (cell.Cell, error) {
	if k.Space == halfspace.SpaceClock {
		return f.clock, nil
	}
	return cell.Cell{Past: uint64(f.masses[int(k.Row)<<(f.depth+1)+int(k.Column)]), Epoch: f.window}, nil
}

// habits makes anchors of the rows: each feature is put into bins that halve towards both of its tails, so that a
// value is the more surprising the fewer rows lie beyond it. Profiles have at most profile.MaxFeatures features each,
// and their surprises add up.
func (p *parts) habits(rows [][]int64) error {
	features := len(rows[0])
	p.cuts = make([][]int64, features)
	sorted := make([]int64, 0, len(rows))
	for j := range features {
		sorted = sorted[:0]
		for _, row := range rows {
			if row[j] != trees.Missing {
				sorted = append(sorted, row[j])
			}
		}
		slices.Sort(sorted)
		n := len(sorted)
		if n == 0 {
			continue
		}
		var cuts []int64
		for k := tails; k >= 1; k-- {
			cuts = append(cuts, sorted[n>>k]-1)
		}
		for k := 1; k <= tails; k++ {
			cuts = append(cuts, sorted[n-1-n>>k])
		}
		slices.Sort(cuts)
		p.cuts[j] = slices.Compact(cuts)
	}
	for from := 0; from < features; from += profile.MaxFeatures {
		var list []profile.Feature
		for j := from; j < min(from+profile.MaxFeatures, features); j++ {
			list = append(list, profile.Feature{Name: fmt.Sprintf("f%d", j), Values: len(p.cuts[j]) + 2})
		}
		schema, err := profile.NewSchema(list...)
		if err != nil {
			return ErrBounds.Wrap(err)
		}
		tally := profile.NewTally(schema)
		for _, row := range rows {
			if e, ok := profile.Settle(p.event(row, from), profile.FateAdmitted, 0, 0, 0); ok {
				tally.Count(e)
			}
		}
		p.anchors = append(p.anchors, tally.Freeze())
	}
	return nil
}

// event is the bins of the features from one on; missing values have the last.
func (p *parts) event(row []int64, from int) profile.Event {
	var e profile.Event
	for j := from; j < min(from+profile.MaxFeatures, len(row)); j++ {
		cuts, v := p.cuts[j], row[j]
		if v == trees.Missing {
			e[j-from] = uint8(len(cuts) + 1)
			continue
		}
		low := 0
		for n := len(cuts); n > 0; {
			half := n >> 1
			_, above := bits.Sub64(uint64(cuts[low+half])^1<<63, uint64(v)^1<<63, 0)
			if above == 1 {
				low += half + 1
				n -= half + 1
			} else {
				n = half
			}
		}
		e[j-from] = uint8(low)
	}
	return e
}

// values writes what each part says of a row, in the order of named, and returns the units of work of the trees. It
// allocates nothing.
func (p *parts) values(row []int64, into *[partCount]int64) (uint32, error) {
	r, err := p.model.Score(row)
	if err != nil {
		return 0, ErrInvalid.Wrap(err)
	}
	h, err := p.half.Score(p.cells, row)
	if err != nil {
		return 0, err
	}
	into[0], into[1], into[2], into[3] = r.Boosted.Margin, r.Forest.Margin, h.Sparsity, 0
	for i := range p.anchors {
		into[3] += p.anchors[i].Surprise(p.event(row, i*profile.MaxFeatures)).Total
	}
	return r.Work, nil
}

// partCount is the number of parts in named.
const partCount = 4
