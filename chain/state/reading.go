package state

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// Reading is a Reader that notes what it reads of another one. It is not safe for
// concurrent use.
type Reading struct {
	base  Reader
	notes []byte // the keys that were read, each after its length; the last reads from from on
	from  int
	spans []span
}

// Reads is what was read of a state: keys, whether or not there was something under them,
// and spans.
type Reads struct {
	keys  []byte // each after its length
	spans []span
}

type span struct{ start, end []byte }

// noteBytes is how much room for keys is made at a time.
const noteBytes = 16 << 10

// NewReading reads base.
func NewReading(base Reader) *Reading { return &Reading{base: base} }

// Take is what was read since it was asked last.
func (r *Reading) Take() Reads {
	out := Reads{keys: r.notes[r.from:len(r.notes):len(r.notes)], spans: r.spans}
	r.from, r.spans = len(r.notes), nil
	return out
}

// Lookup implements Reader.
func (r *Reading) Lookup(key []byte) []byte {
	if need := binary.MaxVarintLen64 + len(key); cap(r.notes)-len(r.notes) < need {
		// What was taken stays where it is.
		latest := r.notes[r.from:]
		r.notes, r.from = append(make([]byte, 0, max(noteBytes, 2*(len(latest)+need))), latest...), 0
	}
	r.notes = append(binary.AppendUvarint(r.notes, uint64(len(key))), key...)
	return r.base.Lookup(key)
}

// Walk implements Reader. The whole span counts as read, however early the walk ends.
func (r *Reading) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	r.spans = append(r.spans, span{bytes.Clone(start), bytes.Clone(end)})
	return r.base.Walk(start, end, reverse)
}

// Untouched tells whether nothing was written, and not undone, of what was read of the
// overlay's base: the overlay has it as it was read.
func (o *Overlay) Untouched(r *Reads) bool {
	for rest := r.keys; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		key := rest[size : size+int(n)]
		if o.touched.holds(collectionOf(key)) {
			if i, there := o.at[string(key)]; there && o.facts[i].status == written {
				return false
			}
		}
		rest = rest[size+int(n):]
	}
	for _, s := range r.spans {
		if o.wrote(s) {
			return false
		}
	}
	return true
}

// wrote tells whether something was written in a span.
func (o *Overlay) wrote(s span) bool {
	for range o.writes(s.start, s.end) {
		return true
	}
	return false
}

// collectionSet is a set of collections, by the two bytes that keys of one begin with.
type collectionSet [1 << 16 / 64]uint64

func collectionOf(key []byte) uint16 {
	switch len(key) {
	case 0:
		return 0
	case 1:
		return uint16(key[0]) << 8
	}
	return binary.BigEndian.Uint16(key)
}

func (s *collectionSet) add(key []byte) { at := collectionOf(key); s[at/64] |= 1 << (at % 64) }

func (s *collectionSet) holds(collection uint16) bool {
	return s[collection/64]&(1<<(collection%64)) != 0
}
