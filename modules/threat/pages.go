package threat

import (
	"slices"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// pageCells is how many cells of a row are one page, and pageBits their logarithm.
	pageCells = 1 << pageBits
	pageBits  = 7

	// chunkCells is how many cells are copied when one of them is first written in a block.
	// Cells that are written together lie apart.
	chunkCells = 1 << chunkBits
	chunkBits  = 3

	// pageEvery is after how many blocks changed pages are written.
	pageEvery = 64

	// spaces bounds cell.Space; rowBits and the rest of a page's number, rows and
	// pages of a row.
	spaces  = 32
	rowBits = 12
)

// chunk is cells that lie side by side.
type chunk struct {
	cells [chunkCells]cell.Cell
	owner *token // of the book which alone may change it
}

// row is a row of cells.
type row struct {
	chunks  []*chunk // nil: only zeros
	changed []int64  // by page, the height at which one of its cells was written last; 0: never
}

// token stands for a book. Chunks are shared by books that come later: if they led to the
// book that wrote them, they would keep it in memory, with the chunks of its time.
type token struct{ _ byte }

// cellBook holds cells. It shares chunks with the book that it was copied from, which
// must not change any more, and copies one when it first writes to it. The zero one is
// empty.
type cellBook struct {
	tables [spaces][]row
	height int64  // of what is written
	mine   bool   // whether the rows are its own
	token  *token // nil: it wrote nothing
}

var _ cell.Writer = (*cellBook)(nil)

// copyAt is a book with the cells of b, to be written at a height.
func (b *cellBook) copyAt(height int64) *cellBook {
	return &cellBook{tables: b.tables, height: height}
}

// Cell implements cell.Reader.
func (b *cellBook) Cell(k cell.Key) (cell.Cell, error) {
	if int(k.Space) >= spaces {
		return cell.Cell{}, nil
	}
	if rows := b.tables[k.Space]; int(k.Row) < len(rows) {
		return rows[k.Row].cell(k.Column), nil
	}
	return cell.Cell{}, nil
}

func (r *row) cell(column uint32) cell.Cell {
	if at := int(column >> chunkBits); at < len(r.chunks) && r.chunks[at] != nil {
		return r.chunks[at].cells[column%chunkCells]
	}
	return cell.Cell{}
}

// SetCell implements cell.Writer. An error is cell.ErrOutside.
func (b *cellBook) SetCell(k cell.Key, c cell.Cell) error {
	if int(k.Space) >= spaces || k.Row >= 1<<rowBits || k.Column>>pageBits >= 1<<rowBits {
		return cell.ErrOutside
	}
	b.own()
	r := grown(&b.tables[k.Space], int(k.Row))
	at := grown(&r.chunks, int(k.Column>>chunkBits))
	if *at == nil || (*at).owner != b.token {
		own := &chunk{owner: b.token}
		if *at != nil {
			own.cells = (*at).cells
		}
		*at = own
	}
	(*at).cells[k.Column%chunkCells] = c
	*grown(&r.changed, int(k.Column>>pageBits)) = b.height
	return nil
}

// own makes the rows its own.
func (b *cellBook) own() {
	if b.token == nil {
		b.token = new(token)
	}
	if b.mine {
		return
	}
	for space, rows := range b.tables {
		rows = slices.Clone(rows)
		for i := range rows {
			rows[i] = row{chunks: slices.Clone(rows[i].chunks), changed: slices.Clone(rows[i].changed)}
		}
		b.tables[space] = rows
	}
	b.mine = true
}

// grown is the place of an element in a list, which is made so long that it has one.
func grown[T any](list *[]T, at int) *T {
	if more := at + 1 - len(*list); more > 0 {
		*list = append(*list, make([]T, more)...)
	}
	return &(*list)[at]
}

// pageNumber is the key of a page in state: space, row and page of the row, so that
// numbers sort as cells do.
func pageNumber(space cell.Space, row uint16, at uint32) uint32 {
	return uint32(space)<<(2*rowBits) | uint32(row)<<rowBits | at
}

// readPages is the book that is in state, of pages written at a height.
func (m *Module) readPages(r state.Reader, height int64) *cellBook {
	b := &cellBook{height: height, mine: true}
	for number, stored := range m.pages.Walk(r, state.All()) {
		if err := b.fill(number, stored); err != nil {
			panic(&state.Fault{Where: "read a page of cells", Err: err})
		}
	}
	return b
}

// fill writes the cells of a stored page.
func (b *cellBook) fill(number uint32, m *threatv1.Page) error {
	n := max(len(m.Past), len(m.Now), len(m.Epoch))
	if n > pageCells {
		return cell.ErrOutside
	}
	k := cell.Key{Space: cell.Space(number >> (2 * rowBits)), Row: uint16(number >> rowBits % (1 << rowBits)), Column: number % (1 << rowBits) << pageBits}
	for i := range n {
		if err := b.SetCell(k, cell.Cell{Past: nth(m.Past, i), Now: nth(m.Now, i), Epoch: nth(m.Epoch, i)}); err != nil {
			return err
		}
		k.Column++
	}
	return nil
}

// page is a page of a row as it is stored: three lists, each without the zeros at its end.
func (r *row) page(at int) *threatv1.Page {
	m := &threatv1.Page{}
	for i := range pageCells {
		c := r.cell(uint32(at<<pageBits + i))
		put(&m.Past, i, c.Past)
		put(&m.Now, i, c.Now)
		put(&m.Epoch, i, c.Epoch)
	}
	return m
}

func nth(list []uint64, i int) uint64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}

func put(list *[]uint64, i int, v uint64) {
	if v == 0 {
		return
	}
	for len(*list) < i {
		*list = append(*list, 0)
	}
	*list = append(*list, v)
}

// writePages writes the pages of b that changed after a height.
func (m *Module) writePages(w state.Writer, b *cellBook, after int64) {
	for space, rows := range b.tables {
		for i := range rows {
			for at, changed := range rows[i].changed {
				if changed > max(after, 0) {
					m.pages.Put(w, pageNumber(cell.Space(space), uint16(i), uint32(at)), rows[i].page(at))
				}
			}
		}
	}
}

// removePages removes all pages.
func (m *Module) removePages(w state.Writer) {
	var numbers []uint32
	for number := range m.pages.Walk(w, state.All()) {
		numbers = append(numbers, number)
	}
	for _, number := range numbers {
		m.pages.Remove(w, number)
	}
}
