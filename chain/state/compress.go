package state

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/s2"
)

// Keys stand in order and values are much alike: compressed, an image takes less than half of
// its size, and a log a third. S2, an extension of Snappy, does nearly as well by it as
// Zstandard, in a fifth of the time.

// s2Start is what a stream of S2 begins with, and an image that is not compressed, as programs
// before wrote them, does not.
const s2Start = 0xFF

// compressor writes an image compressed, as a stream of S2.
type compressor struct {
	*s2.Writer
	n int64 // bytes before they were compressed
}

func compressImage(out io.Writer) *compressor {
	return &compressor{Writer: s2.NewWriter(out, s2.WriterConcurrency(1))}
}

func (c *compressor) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

// expander reads an image that may be compressed.
type expander struct {
	in  *bufio.Reader
	out io.Reader // nil: nothing was read
	n   int64     // bytes that were read, as they were before they were compressed
}

func expandImage(in io.Reader) *expander { return &expander{in: bufio.NewReader(in)} }

func (e *expander) Read(b []byte) (int, error) {
	if e.out == nil {
		start, err := e.in.Peek(1)
		if err != nil {
			return 0, err
		}
		if e.out = e.in; start[0] == s2Start {
			e.out = s2.NewReader(e.in)
		}
	}
	n, err := e.out.Read(b)
	e.n += int64(n)
	return n, err
}
