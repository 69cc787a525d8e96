package threat

import (
	"runtime"
	"testing"
	"weak"

	"github.com/chancery/chancery/modules/threat/stream/cell"
)

// A book shares pages with those before it, and keeps none of them in memory.
func TestBooksAreForgotten(t *testing.T) {
	b := &cellBook{height: 1, mine: true}
	set := func(column uint32) {
		if err := b.SetCell(cell.Key{Column: column}, cell.Cell{Past: uint64(b.height)}); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	set(pageCells)
	first := weak.Make(b)
	for range 3 {
		// The second page stays as the first book wrote it.
		b = b.copyAt(b.height + 1)
		set(0)
	}
	runtime.GC()
	if first.Value() != nil {
		t.Fatal("the first book is still in memory")
	}
	if c, err := b.Cell(cell.Key{Column: pageCells}); err != nil || c.Past != 1 {
		t.Fatalf("the page that the first book wrote: %v, %v", c, err)
	}
	if c, err := b.Cell(cell.Key{}); err != nil || c.Past != 4 {
		t.Fatalf("the page that all books wrote: %v, %v", c, err)
	}
}

// A copy changes no page of the book that it was copied from.
func TestBooksOwnWhatTheyWrite(t *testing.T) {
	b := &cellBook{height: 1, mine: true}
	key := cell.Key{Column: 3}
	if err := b.SetCell(key, cell.Cell{Past: 1}); err != nil {
		t.Fatal(err)
	}
	next, other := b.copyAt(2), b.copyAt(2)
	for i, x := range []*cellBook{next, other} {
		if err := x.SetCell(key, cell.Cell{Past: uint64(2 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, x := range []*cellBook{b, next, other} {
		if c, err := x.Cell(key); err != nil || c.Past != uint64(1+i) {
			t.Fatalf("book %d: %v, %v", i, c, err)
		}
	}
}
