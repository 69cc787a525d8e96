package threat

import (
	"runtime"
	"testing"
	"time"

	"github.com/chancery/chancery/modules/threat/stream/cell"
)

// A book keeps none of the books that it came from in memory: pages are shared, and what
// wrote them is not.
func TestABookKeepsNoneBefore(t *testing.T) {
	const books = 50
	freed := make(chan struct{}, books)
	last := &cellBook{mine: true}
	for height := range int64(books) {
		b := last.copyAt(height)
		// Every book writes a page that no later one writes, and one that all write.
		for _, column := range []uint32{uint32(height) << pageBits, 100 << pageBits} {
			if err := b.SetCell(cell.Key{Column: column}, cell.Cell{Past: uint64(height) + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if height < books-1 {
			runtime.SetFinalizer(b, func(*cellBook) { freed <- struct{}{} })
		}
		last = b
	}
	for n := range books - 1 {
		runtime.GC()
		select {
		case <-freed:
		case <-time.After(2 * time.Second):
			t.Fatalf("%d of %d books before the last are still in memory", books-1-n, books-1)
		}
	}
	for height := range int64(books) {
		if c, _ := last.Cell(cell.Key{Column: uint32(height) << pageBits}); c.Past != uint64(height)+1 {
			t.Fatalf("the cell of height %d holds %d", height, c.Past)
		}
	}
}
