package midas

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
)

// The tables of cells.
const (
	SpaceEdge     cell.Space = 1
	SpaceActor    cell.Space = 2
	SpaceResource cell.Space = 3
	// SpaceKin is the first of three tables of a second sketch, in the same order.
	SpaceKin cell.Space = 4
)

const (
	// One is 1.0 in Q16, the scale of decayed counts and of the statistic.
	One = 1 << countBits
	// MaxCount is where the counts of a cell stop growing.
	MaxCount = 1<<47 - 1
	// MaxTick is the last tick; whatever is later counts as it.
	MaxTick = 1<<40 - 1
	// MaxRows and MaxColumns bound each of the tables.
	MaxRows    = 8
	MaxColumns = 1 << 16

	countBits = 16
)

// Settings are what all validators must agree on.
type Settings struct {
	Rows       int  // hash functions per table, 1 to MaxRows
	Columns    int  // counters per hash function, 2 to MaxColumns
	Relational bool // MIDAS-R: count actors and resources as well, and let counts decay

	// The part of a current count that is left after a tick, below 1 and a fraction. It is 0/1 for MIDAS, where a
	// tick begins at zero.
	DecayNumerator   uint32
	DecayDenominator uint32

	Seed uint64 // of the hash functions
}

// ErrSettings is wrapped by every error about settings.
var ErrSettings = errors.New("settings of MIDAS")

// Check says what is wrong with s.
func (s Settings) Check() error {
	switch {
	case s.Rows < 1 || s.Rows > MaxRows:
		return fmt.Errorf("%w: rows are 1 to %d", ErrSettings, MaxRows)
	case s.Columns < 2 || s.Columns > MaxColumns:
		return fmt.Errorf("%w: columns are 2 to %d", ErrSettings, MaxColumns)
	case s.DecayDenominator == 0 || s.DecayNumerator >= s.DecayDenominator:
		return fmt.Errorf("%w: the decay is a fraction below 1", ErrSettings)
	case !s.Relational && (s.DecayNumerator != 0 || s.DecayDenominator != 1):
		return fmt.Errorf("%w: without relations the decay is 0/1", ErrSettings)
	case s.Relational && s.DecayNumerator == 0 && s.DecayDenominator != 1:
		return fmt.Errorf("%w: no decay is written 0/1", ErrSettings)
	}
	return nil
}

// Sketch scores edges. It holds settings and no counts, and is safe for concurrent use.
type Sketch struct {
	settings Settings
	first    cell.Space // of its tables
	factor   uint64     // decay, Q63
	seeds    [MaxRows]uint64
	turn     uint64 // makes (a, r) and (r, a) different edges
}

// New returns a sketch with the settings.
func New(s Settings) (*Sketch, error) { return NewAt(s, SpaceEdge) }

// NewAt is New with tables from another space on, for a sketch beside the first: SpaceKin.
func NewAt(s Settings, first cell.Space) (*Sketch, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	k := &Sketch{settings: s, first: first, factor: fixed.Factor(s.DecayNumerator, s.DecayDenominator)}
	seed := fixed.Seed(s.Seed)
	for i := range k.seeds {
		k.seeds[i] = seed.Next()
	}
	k.turn = seed.Next() | 1
	return k, nil
}

// Settings are those that k was made with.
func (k *Sketch) Settings() Settings { return k.settings }

// Extents are the tables that k touches.
func (k *Sketch) Extents() []cell.Extent {
	rows, columns := uint16(k.settings.Rows), uint32(k.settings.Columns)
	out := []cell.Extent{{Space: k.first, Rows: rows, Columns: columns}}
	if k.settings.Relational {
		out = append(out,
			cell.Extent{Space: k.first + cell.Space(SubjectActor), Rows: rows, Columns: columns},
			cell.Extent{Space: k.first + cell.Space(SubjectResource), Rows: rows, Columns: columns})
	}
	return out
}

// Edge is one use of a resource by an actor, each as a number (fixed.Name).
type Edge struct {
	Actor    uint64
	Resource uint64
}

// Subject is what a reading is about.
type Subject uint8

// The subjects, in the order in which the first of equals is told.
const (
	SubjectEdge Subject = iota
	SubjectActor
	SubjectResource
)

// Reading is the score of an edge with the counts that it comes from, the scored event among them.
type Reading struct {
	Statistic uint64  // chi-squared, Q16; the largest uint64 stands for all from 2^48 on
	Subject   Subject // whose statistic it is
	Current   uint64  // decayed count of the tick, Q16
	Total     uint64  // count since the first tick
	Last      uint64  // tick of the event before, or a later one where cells are shared; 0: there was none
}

// Score is the reading of an edge in a tick as if the event had been absorbed. It writes nothing. Ticks begin at 1; in
// the first there is no past to compare with and the statistic is 0.
func (k *Sketch) Score(r cell.Reader, e Edge, tick uint64) (Reading, error) {
	all, err := k.Readings(r, e, tick)
	if err != nil {
		return Reading{}, err
	}
	return Strongest(all), nil
}

// Readings are those of the edge, of its actor and of its resource, by Subject; without relations the latter two are
// zero.
func (k *Sketch) Readings(r cell.Reader, e Edge, tick uint64) (all [3]Reading, err error) {
	tick = min(tick, MaxTick)
	for i := range k.subjects() {
		id := k.id(Subject(i), e)
		current, total, last := uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64)
		for row := range k.settings.Rows {
			c, err := r.Cell(k.key(Subject(i), id, row))
			if err != nil {
				return all, err
			}
			last = min(last, c.Epoch)
			c = k.moved(c, tick)
			current, total = min(current, c.Now), min(total, c.Past)
		}
		all[i] = Reading{Statistic: Statistic(current, total, tick), Subject: Subject(i), Current: current, Total: total, Last: last}
	}
	return all, nil
}

// Strongest is the reading of largest statistic, the first of equals.
func Strongest(all [3]Reading) Reading {
	best := all[0]
	for _, reading := range all[1:] {
		if reading.Statistic > best.Statistic {
			best = reading
		}
	}
	return best
}

// Absorb counts an edge in a tick. A tick before the one that a cell was last moved in counts as that one. Within a
// tick the order of events does not matter. Call it for admitted events alone: what is held must not train.
func (k *Sketch) Absorb(w cell.Writer, e Edge, tick uint64) error {
	tick = min(tick, MaxTick)
	for i := range k.subjects() {
		id := k.id(Subject(i), e)
		for row := range k.settings.Rows {
			key := k.key(Subject(i), id, row)
			c, err := w.Cell(key)
			if err != nil {
				return err
			}
			if err := w.SetCell(key, k.moved(c, tick)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reads is the number of cells that Score reads; Absorb reads and writes as many. It is the work of either.
func (k *Sketch) Reads() uint64 { return uint64(k.subjects() * k.settings.Rows) }

func (k *Sketch) subjects() int {
	if k.settings.Relational {
		return 3
	}
	return 1
}

func (k *Sketch) id(s Subject, e Edge) uint64 {
	switch s {
	case SubjectActor:
		return e.Actor
	case SubjectResource:
		return e.Resource
	}
	return fixed.Mix(e.Actor*k.turn+1) ^ e.Resource
}

func (k *Sketch) key(s Subject, id uint64, row int) cell.Key {
	column, _ := bits.Mul64(fixed.Mix(id^k.seeds[row]), uint64(k.settings.Columns))
	return cell.Key{Space: k.first + cell.Space(s), Row: uint16(row), Column: uint32(column)}
}

// moved is c with one event more in a tick.
func (k *Sketch) moved(c cell.Cell, tick uint64) cell.Cell {
	const most = MaxCount << countBits
	if tick > c.Epoch {
		if c.Now != 0 {
			c.Now = fixed.Scale(c.Now, fixed.Power(k.factor, tick-c.Epoch))
		}
		c.Epoch = tick
	}
	c.Now = min(fixed.Add(c.Now, One), most)
	c.Past = min(fixed.Add(c.Past, 1), MaxCount)
	return c
}

// Statistic is (a - s/t)² t² / (s(t-1)) in Q16, where a is the count of the present tick (current, Q16), s the count
// of all ticks (total) and t their number: the chi-squared statistic of section 4.2 of the paper. It is
// |a*t - s|² / (s(t-1)), and the whole of the numerator's 256 bits is kept until the last division, which rounds down.
// It is 0 for t < 2 or s = 0.
func Statistic(current, total, t uint64) uint64 {
	if t < 2 || total == 0 {
		return 0
	}
	current, total, t = min(current, MaxCount<<countBits), min(total, MaxCount), min(t, MaxTick)
	d := fixed.AbsDiff(fixed.Product(current, t), fixed.Shifted(total, countBits)) // below 2^103, Q16
	return fixed.SquareDiv(d, total, t-1, countBits)                               // Q32 divided by 2^16
}
