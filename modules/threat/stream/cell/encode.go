package cell

import (
	"errors"
	"fmt"
	"math"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// MaxRecord is the most bytes that a cell's record has.
	MaxRecord = 33
	// MaxSnapshot is the most bytes that a snapshot has: an entry has at most 50.
	MaxSnapshot = 50 * MaxCells
)

// ErrRecord is wrapped by every error about the bytes of cells.
var ErrRecord = errors.New("record of cells")

// Append appends the record of c to dst: the canonical bytes of a threatv1.Cell, which are none for the zero cell.
func (c Cell) Append(dst []byte) []byte {
	for i, v := range [...]uint64{c.Past, c.Now, c.Epoch} {
		if v == 0 {
			continue
		}
		dst = append(dst, byte(i+1)<<3)
		for ; v >= 0x80; v >>= 7 {
			dst = append(dst, byte(v)|0x80)
		}
		dst = append(dst, byte(v))
	}
	return dst
}

// Parse is the inverse of Append.
func Parse(raw []byte) (Cell, error) {
	var m threatv1.Cell
	if err := wire.Unmarshal(raw, &m, MaxRecord); err != nil {
		return Cell{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return Cell{m.Past, m.Now, m.Epoch}, nil
}

// Snapshot is the canonical bytes of a threatv1.CellSnapshot of all cells of m that are not zero.
func (m *Memory) Snapshot() ([]byte, error) {
	s := &threatv1.CellSnapshot{}
	for _, t := range m.tables {
		for i, c := range t.cells {
			if c == (Cell{}) {
				continue
			}
			s.Entries = append(s.Entries, &threatv1.CellEntry{
				Space: uint32(t.Space), Row: uint32(uint64(i) / uint64(t.Columns)), Column: uint32(uint64(i) % uint64(t.Columns)),
				Cell: &threatv1.Cell{Past: c.Past, Now: c.Now, Epoch: c.Epoch},
			})
		}
	}
	return s.MarshalVT()
}

// Restore returns a Memory of the extents with the cells of a snapshot.
func Restore(raw []byte, extents ...Extent) (*Memory, error) {
	m, err := NewMemory(extents...)
	if err != nil {
		return nil, err
	}
	var s threatv1.CellSnapshot
	if err := wire.Unmarshal(raw, &s, MaxSnapshot); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	var last []byte
	for i, e := range s.Entries {
		if e.Space > math.MaxUint8 || e.Row > math.MaxUint16 || e.Cell == nil {
			return nil, fmt.Errorf("%w: entry %d is no cell", ErrRecord, i)
		}
		k, c := Key{Space(e.Space), uint16(e.Row), e.Column}, Cell{e.Cell.Past, e.Cell.Now, e.Cell.Epoch}
		key := k.Append(nil)
		switch {
		case c == (Cell{}):
			return nil, fmt.Errorf("%w: entry %d is zero", ErrRecord, i)
		case i > 0 && string(key) <= string(last):
			return nil, fmt.Errorf("%w: entry %d is not above the one before it", ErrRecord, i)
		}
		if err := m.SetCell(k, c); err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrRecord, i, err)
		}
		last = key
	}
	return m, nil
}
