package state

import (
	"bytes"
	"iter"
)

// Reading is a Reader that notes what it reads of another one. It is not safe for
// concurrent use.
type Reading struct {
	base  Reader
	reads Reads
}

// Reads is what was read of a state: keys, whether or not there was something under them,
// and spans.
type Reads struct {
	keys  []string
	spans []span
}

type span struct{ start, end []byte }

// NewReading reads base.
func NewReading(base Reader) *Reading { return &Reading{base: base} }

// Take is what was read since it was asked last.
func (r *Reading) Take() Reads {
	out := r.reads
	r.reads = Reads{}
	return out
}

// Lookup implements Reader.
func (r *Reading) Lookup(key []byte) []byte {
	r.reads.keys = append(r.reads.keys, string(key))
	return r.base.Lookup(key)
}

// Walk implements Reader. The whole span counts as read, however early the walk ends.
func (r *Reading) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	r.reads.spans = append(r.reads.spans, span{bytes.Clone(start), bytes.Clone(end)})
	return r.base.Walk(start, end, reverse)
}

// Untouched tells whether nothing was written, and not undone, of what was read of the
// overlay's base: the overlay has it as it was read.
func (o *Overlay) Untouched(r *Reads) bool {
	for _, key := range r.keys {
		if o.known[key].written {
			return false
		}
	}
	for _, s := range r.spans {
		if o.wrote(s) {
			return false
		}
	}
	return true
}

// wrote tells whether something was written in a span.
func (o *Overlay) wrote(s span) (any bool) {
	o.entries.Ascend(entry{key: s.start}, func(e entry) bool {
		any = s.end == nil || bytes.Compare(e.key, s.end) < 0
		return false
	})
	return any
}
