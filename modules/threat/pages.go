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
	chunkCells = 16

	// pageEvery is after how many blocks changed pages are written.
	pageEvery = 64

	// spaces bounds cell.Space; rowBits and the rest of a page's number, rows and
	// pages of a row.
	spaces  = 32
	rowBits = 12
)

// page is cells that lie side by side, in chunks of which nil has only zeros.
type page struct {
	chunks  [pageCells / chunkCells]*chunk
	changed int64  // height
	owner   *token // of the book which alone may change it
}

type chunk struct {
	cells [chunkCells]cell.Cell
	owner *token // as a page's
}

func (p *page) cell(i uint32) cell.Cell {
	if c := p.chunks[i/chunkCells]; c != nil {
		return c.cells[i%chunkCells]
	}
	return cell.Cell{}
}

// set writes a cell of a page that is its owner's.
func (p *page) set(i uint32, v cell.Cell) {
	c := p.chunks[i/chunkCells]
	if c == nil || c.owner != p.owner {
		own := &chunk{owner: p.owner}
		if c != nil {
			own.cells = c.cells
		}
		c, p.chunks[i/chunkCells] = own, own
	}
	c.cells[i%chunkCells] = v
}

// token stands for a book. Pages are shared by books that come later: if they led to the
// book that wrote them, they would keep it in memory, with the pages of its time.
type token struct{ _ byte }

// cellBook holds cells in pages. It shares pages and chunks with the book that it was
// copied from, which must not change any more, and copies them when it first writes to
// them. The zero one is empty.
type cellBook struct {
	tables [spaces][][]*page // by space, row and page of the row
	height int64             // of what is written
	mine   bool              // whether tables below the first level are its own
	token  *token            // nil: it wrote no page
}

var _ cell.Writer = (*cellBook)(nil)

// copyAt is a book with the cells of b, to be written at a height.
func (b *cellBook) copyAt(height int64) *cellBook {
	return &cellBook{tables: b.tables, height: height}
}

func (b *cellBook) page(space cell.Space, row uint16, at uint32) *page {
	if int(space) >= spaces {
		return nil
	}
	if rows := b.tables[space]; int(row) < len(rows) && int(at) < len(rows[row]) {
		return rows[row][at]
	}
	return nil
}

// Cell implements cell.Reader.
func (b *cellBook) Cell(k cell.Key) (cell.Cell, error) {
	if p := b.page(k.Space, k.Row, k.Column>>pageBits); p != nil {
		return p.cell(k.Column % pageCells), nil
	}
	return cell.Cell{}, nil
}

// SetCell implements cell.Writer. An error is cell.ErrOutside.
func (b *cellBook) SetCell(k cell.Key, c cell.Cell) error {
	p, err := b.writable(k.Space, k.Row, k.Column>>pageBits)
	if err != nil {
		return err
	}
	p.set(k.Column%pageCells, c)
	p.changed = b.height
	return nil
}

func (b *cellBook) writable(space cell.Space, row uint16, at uint32) (*page, error) {
	if int(space) >= spaces || row >= 1<<rowBits || at >= 1<<rowBits {
		return nil, cell.ErrOutside
	}
	if !b.mine {
		for s, rows := range b.tables {
			rows = slices.Clone(rows)
			for i := range rows {
				rows[i] = slices.Clone(rows[i])
			}
			b.tables[s] = rows
		}
		b.mine = true
	}
	rows := &b.tables[space]
	if grow := int(row) + 1 - len(*rows); grow > 0 {
		*rows = append(*rows, make([][]*page, grow)...)
	}
	pages := &(*rows)[row]
	if grow := int(at) + 1 - len(*pages); grow > 0 {
		*pages = append(*pages, make([]*page, grow)...)
	}
	p := (*pages)[at]
	if b.token == nil {
		b.token = new(token)
	}
	if p == nil || p.owner != b.token {
		own := &page{owner: b.token}
		if p != nil {
			own.chunks, own.changed = p.chunks, p.changed
		}
		p, (*pages)[at] = own, own
	}
	return p, nil
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
		p, err := b.writable(cell.Space(number>>(2*rowBits)), uint16(number>>rowBits%(1<<rowBits)), number%(1<<rowBits))
		if err == nil {
			err = p.fill(stored)
		}
		if err != nil {
			panic(&state.Fault{Where: "read a page of cells", Err: err})
		}
		p.changed = height
	}
	return b
}

// fill is the inverse of message.
func (p *page) fill(m *threatv1.Page) error {
	if max(len(m.Past), len(m.Now), len(m.Epoch)) > pageCells {
		return cell.ErrOutside
	}
	for i := range max(len(m.Past), len(m.Now), len(m.Epoch)) {
		p.set(uint32(i), cell.Cell{Past: nth(m.Past, i), Now: nth(m.Now, i), Epoch: nth(m.Epoch, i)})
	}
	return nil
}

// message is a page as it is stored: three lists, each without the zeros at its end.
func (p *page) message() *threatv1.Page {
	m := &threatv1.Page{}
	for i := range pageCells {
		c := p.cell(uint32(i))
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
		for row, pages := range rows {
			for at, p := range pages {
				if p != nil && p.changed > after {
					m.pages.Put(w, pageNumber(cell.Space(space), uint16(row), uint32(at)), p.message())
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
