package cell

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

var extents = []Extent{{Space: 1, Rows: 2, Columns: 5}, {Space: 7, Rows: 1, Columns: 3}}

func TestKeysSortAsTheirBytes(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) Key {
		return Key{Space(rapid.Byte().Draw(t, "space")), rapid.Uint16().Draw(t, "row"), rapid.Uint32().Draw(t, "column")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		less := a.Space < b.Space || a.Space == b.Space && (a.Row < b.Row || a.Row == b.Row && a.Column < b.Column)
		if (bytes.Compare(a.Append(nil), b.Append(nil)) < 0) != less {
			t.Fatalf("%v and %v", a, b)
		}
		if back, err := ParseKey(a.Append(nil)); err != nil || back != a {
			t.Fatalf("%v, %v", back, err)
		}
	})
	if _, err := ParseKey(make([]byte, 6)); err == nil {
		t.Fatal("six bytes are a key")
	}
}

func TestARecordIsTheCanonicalMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shift := rapid.IntRange(0, 63)
		c := Cell{
			rapid.Uint64().Draw(t, "past") >> shift.Draw(t, "s"), rapid.Uint64().Draw(t, "now") >> shift.Draw(t, "s"),
			rapid.Uint64().Draw(t, "epoch") >> shift.Draw(t, "s"),
		}
		raw := c.Append(nil)
		want, err := (&threatv1.Cell{Past: c.Past, Now: c.Now, Epoch: c.Epoch}).MarshalVT()
		if err != nil || !bytes.Equal(raw, want) {
			t.Fatalf("%x, want %x", raw, want)
		}
		if back, err := Parse(raw); err != nil || back != c {
			t.Fatalf("%v, %v", back, err)
		}
	})
	if raw := (Cell{math.MaxUint64, math.MaxUint64, math.MaxUint64}).Append(nil); len(raw) != MaxRecord {
		t.Fatalf("the longest record has %d bytes", len(raw))
	}
	for _, raw := range [][]byte{{0x08, 0x00}, {0x10, 0x01, 0x08, 0x01}, {0x08}, {0x08, 0x81, 0x00}, {0x20, 0x01}, make([]byte, 34)} {
		if _, err := Parse(raw); !errors.Is(err, ErrRecord) {
			t.Errorf("%x is taken", raw)
		}
	}
}

func TestTheLargestSnapshotFitsItsBound(t *testing.T) {
	all := &threatv1.Cell{Past: math.MaxUint64, Now: math.MaxUint64, Epoch: math.MaxUint64}
	s := &threatv1.CellSnapshot{Entries: []*threatv1.CellEntry{{Space: math.MaxUint8, Row: math.MaxUint16, Column: math.MaxUint32, Cell: all}}}
	if n := s.SizeVT(); n*MaxCells != MaxSnapshot {
		t.Fatalf("an entry has %d bytes", n)
	}
}

func TestMemoryHoldsWhatLiesInItsTablesAlone(t *testing.T) {
	m, err := NewMemory(extents...)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Key{{1, 0, 5}, {1, 2, 0}, {2, 0, 0}, {7, 0, 3}} {
		if _, err := m.Cell(k); !errors.Is(err, ErrOutside) {
			t.Errorf("%v is read", k)
		}
		if err := m.SetCell(k, Cell{1, 1, 1}); !errors.Is(err, ErrOutside) {
			t.Errorf("%v is written", k)
		}
	}
	if _, err := NewMemory(extents[1], extents[0]); err == nil {
		t.Error("spaces may descend")
	}
	if _, err := NewMemory(Extent{1, 1 << 15, 1 << 20}); err == nil {
		t.Error("2^35 cells are not too many")
	}
}

func TestASnapshotRestoresEveryCellAndHasOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, _ := NewMemory(extents...)
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			e := rapid.SampledFrom(extents).Draw(t, "table")
			k := Key{e.Space, rapid.Uint16Range(0, e.Rows-1).Draw(t, "row"), rapid.Uint32Range(0, e.Columns-1).Draw(t, "column")}
			if err := m.SetCell(k, Cell{rapid.Uint64Range(0, 2).Draw(t, "v"), 0, 0}); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Restore(raw, extents...)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := back.Snapshot()
		if !bytes.Equal(raw, again) {
			t.Fatal("the snapshot of what was restored differs")
		}
	})
}

func TestSnapshotsThatAreNotCanonicalAreRefused(t *testing.T) {
	one := &threatv1.Cell{Past: 1}
	for name, s := range map[string]*threatv1.CellSnapshot{
		"descending": {Entries: []*threatv1.CellEntry{{Space: 7, Cell: one}, {Space: 1, Cell: one}}},
		"twice":      {Entries: []*threatv1.CellEntry{{Space: 1, Cell: one}, {Space: 1, Cell: one}}},
		"zero":       {Entries: []*threatv1.CellEntry{{Space: 1, Cell: &threatv1.Cell{}}}},
		"no cell":    {Entries: []*threatv1.CellEntry{{Space: 1}}},
		"outside":    {Entries: []*threatv1.CellEntry{{Space: 1, Column: 5, Cell: one}}},
		"wide space": {Entries: []*threatv1.CellEntry{{Space: 257, Cell: one}}},
		"wide row":   {Entries: []*threatv1.CellEntry{{Space: 1, Row: 1 << 16, Cell: one}}},
	} {
		raw, err := s.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(raw, extents...); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRestore takes the bytes that it writes itself and no others.
func FuzzRestore(f *testing.F) {
	m, _ := NewMemory(extents...)
	_ = m.SetCell(Key{1, 1, 4}, Cell{1, 2, 3})
	_ = m.SetCell(Key{7, 0, 0}, Cell{0, 0, 1 << 63})
	raw, _ := m.Snapshot()
	f.Add(raw)
	f.Add([]byte{})
	f.Add([]byte{0x08, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := Restore(raw, extents...); err == nil {
			if again, err := m.Snapshot(); err != nil || !bytes.Equal(raw, again) {
				t.Fatalf("%x comes back as %x (%v)", raw, again, err)
			}
		}
		if c, err := Parse(raw); err == nil && !bytes.Equal(c.Append(nil), raw) {
			t.Fatalf("%x comes back as %x", raw, c.Append(nil))
		}
		if k, err := ParseKey(raw); err == nil && !bytes.Equal(k.Append(nil), raw) {
			t.Fatalf("%x comes back as %v", raw, k)
		}
	})
}
