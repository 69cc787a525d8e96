// Package cell is the state of the streaming scorers as they see it: many small counters, each under a key of its own,
// read and written one at a time. A scorer names every cell that an event touches, so that a chain can keep each as a
// small record in its tree, charge for it, and cache it within a block; Memory keeps them in arrays, for measuring.
//
// A cell that was never written is the zero Cell. Nothing enumerates cells but Snapshot, so no scorer depends on
// which of them exist.
package cell

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Space tells apart the tables of cells that one scorer has.
type Space uint8

// Key addresses a cell: a table, a row and a column in it.
type Key struct {
	Space  Space
	Row    uint16
	Column uint32
}

// KeySize is the number of bytes of a key.
const KeySize = 7

// Append appends the bytes of k to dst: space, row and column, big endian, so that bytes sort as keys do.
func (k Key) Append(dst []byte) []byte {
	dst = append(dst, byte(k.Space))
	dst = binary.BigEndian.AppendUint16(dst, k.Row)
	return binary.BigEndian.AppendUint32(dst, k.Column)
}

// ParseKey is the inverse of Append.
func ParseKey(raw []byte) (Key, error) {
	if len(raw) != KeySize {
		return Key{}, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(raw))
	}
	return Key{Space(raw[0]), binary.BigEndian.Uint16(raw[1:]), binary.BigEndian.Uint32(raw[3:])}, nil
}

// Cell is a counter with a past and a present. What the two count, their scale and what an epoch is, the scorer says.
type Cell struct {
	Past  uint64
	Now   uint64
	Epoch uint64 // in which Now was last moved
}

// Reader reads cells. An error is the store's own and ends whatever was being computed.
type Reader interface {
	Cell(Key) (Cell, error)
}

// Writer reads and writes cells.
type Writer interface {
	Reader
	SetCell(Key, Cell) error
}

// Extent is the size of one table.
type Extent struct {
	Space   Space
	Rows    uint16
	Columns uint32
}

// Cells is the number of cells of the table.
func (e Extent) Cells() uint64 { return uint64(e.Rows) * uint64(e.Columns) }

// MaxCells is the most cells that a Memory or a snapshot may hold.
const MaxCells = 1 << 22

// ErrOutside is the error for a key that lies in none of a Memory's tables.
var ErrOutside = errors.New("the cell lies outside of the tables")

// Memory is a Writer in arrays. It is not safe for concurrent use.
type Memory struct {
	tables []table
}

type table struct {
	Extent
	cells []Cell
}

// NewMemory returns tables of zero cells. Extents are in ascending order of their spaces.
func NewMemory(extents ...Extent) (*Memory, error) {
	m := &Memory{}
	var total uint64
	for i, e := range extents {
		if i > 0 && e.Space <= extents[i-1].Space {
			return nil, fmt.Errorf("space %d is not above the one before it", e.Space)
		}
		if total += e.Cells(); total > MaxCells {
			return nil, fmt.Errorf("the tables have more than %d cells", MaxCells)
		}
		m.tables = append(m.tables, table{Extent: e, cells: make([]Cell, e.Cells())})
	}
	return m, nil
}

func (m *Memory) at(k Key) *Cell {
	for i := range m.tables {
		if t := &m.tables[i]; t.Space == k.Space {
			if k.Row >= t.Rows || k.Column >= t.Columns {
				return nil
			}
			return &t.cells[uint64(k.Row)*uint64(t.Columns)+uint64(k.Column)]
		}
	}
	return nil
}

// Cell implements Reader.
func (m *Memory) Cell(k Key) (Cell, error) {
	if c := m.at(k); c != nil {
		return *c, nil
	}
	return Cell{}, ErrOutside
}

// SetCell implements Writer.
func (m *Memory) SetCell(k Key, c Cell) error {
	at := m.at(k)
	if at == nil {
		return ErrOutside
	}
	*at = c
	return nil
}
