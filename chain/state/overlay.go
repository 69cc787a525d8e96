package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"slices"

	"github.com/tidwall/btree"
)

// Overlay gathers writes over a Reader, with nested rollback. What it read of a key it
// remembers, so the Reader may not change while the overlay lives. It is not safe for
// concurrent use.
type Overlay struct {
	base    Reader
	facts   []fact         // of keys that were read or written, in the order in which they first were
	at      map[string]int // where in facts a key is
	written int            // how many facts are writes
	touched collectionSet  // where something was written, if only to be undone
	orders  []*order       // of the collections that are walked
	journal []undo
}

// fact is what is known of a key.
type fact struct {
	key    []byte // of a write, whose value may lie behind it; nil before there is one
	value  []byte // nil: there is nothing under it
	status status
}

type status uint8

const (
	unknown status = iota // what was written was undone
	read
	written
)

// undo is a write to take back: what was known of its key before.
type undo struct {
	fact  int
	value []byte
	was   status
}

// order has the facts of a collection in the order of their keys, those of undone writes with them.
type order struct {
	collection uint16
	facts      *btree.BTreeG[ordered]
}

// ordered is a fact in an order, or a key alone to look for it.
type ordered struct {
	key  []byte
	fact int
}

// NewOverlay starts an empty overlay over base.
func NewOverlay(base Reader) *Overlay { return &Overlay{base: base, at: make(map[string]int)} }

// place is where in facts a key is, from now on if it was not.
func (o *Overlay) place(key []byte) int {
	i, there := o.at[string(key)]
	if !there {
		i = len(o.facts)
		o.at[string(key)] = i
		o.facts = append(o.facts, fact{})
	}
	return i
}

// Lookup implements Reader.
func (o *Overlay) Lookup(key []byte) []byte {
	f := &o.facts[o.place(key)]
	if f.status == unknown {
		f.value, f.status = o.base.Lookup(key), read
	}
	return f.value
}

// Set implements Writer.
func (o *Overlay) Set(key, value []byte) {
	if len(value) == 0 {
		panic("state: an empty value was set; absence is expressed by Remove")
	}
	o.write(key, value)
}

// Remove implements Writer.
func (o *Overlay) Remove(key []byte) { o.write(key, nil) }

func (o *Overlay) write(key, value []byte) {
	o.touched.add(key)
	i := o.place(key)
	f := &o.facts[i]
	o.journal = append(o.journal, undo{i, f.value, f.status})
	if f.status != written {
		o.written++
	}
	ranked := f.key != nil
	f.key, f.value, f.status = key, value, written
	if !ranked {
		if in := o.orderOf(collectionOf(key)); in != nil {
			in.facts.Set(ordered{key, i})
		}
	}
}

// Mark is a point to which the overlay can be rolled back.
func (o *Overlay) Mark() int { return len(o.journal) }

// Rollback undoes every write since the mark, the latest first.
func (o *Overlay) Rollback(mark int) {
	for i := len(o.journal) - 1; i >= mark; i-- {
		u := o.journal[i]
		f := &o.facts[u.fact]
		if f.value, f.status = u.value, u.was; u.was != written {
			o.written--
		}
	}
	clear(o.journal[mark:])
	o.journal = o.journal[:mark]
}

// Changes lists the writes in ascending order of key, one per key.
func (o *Overlay) Changes() []Change {
	// Nearly all keys differ in what they begin with, which is compared at once.
	type headed struct {
		head uint64
		fact int
	}
	writes := make([]headed, 0, o.written)
	for i := range o.facts {
		if f := &o.facts[i]; f.status == written {
			var head [8]byte
			copy(head[:], f.key)
			writes = append(writes, headed{binary.BigEndian.Uint64(head[:]), i})
		}
	}
	slices.SortFunc(writes, func(a, b headed) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return bytes.Compare(o.facts[a.fact].key, o.facts[b.fact].key)
	})
	out := make([]Change, len(writes))
	for i, w := range writes {
		out[i] = Change{Key: o.facts[w.fact].key, Value: o.facts[w.fact].value}
	}
	return out
}

// orderOf is the order of a collection, nil where nothing of it was walked.
func (o *Overlay) orderOf(collection uint16) *order {
	for _, in := range o.orders {
		if in.collection == collection {
			return in
		}
	}
	return nil
}

// walked is the order of a collection in which something was written.
func (o *Overlay) walked(collection uint16) *order {
	if in := o.orderOf(collection); in != nil {
		return in
	}
	in := &order{collection, btree.NewBTreeGOptions(func(a, b ordered) bool {
		return bytes.Compare(a.key, b.key) < 0
	}, btree.Options{NoLocks: true})}
	for i := range o.facts {
		if key := o.facts[i].key; key != nil && collectionOf(key) == collection {
			in.facts.Set(ordered{key, i})
		}
	}
	o.orders = append(o.orders, in)
	return in
}

// Walk implements Reader: the overlay's entries hide those of the base.
func (o *Overlay) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		// The overlay's part of the range is copied, so that the caller may
		// write while it walks.
		mine := o.slice(start, end, reverse)
		for k, v := range o.base.Walk(start, end, reverse) {
			for len(mine) > 0 && before(mine[0].Key, k, reverse) {
				if mine[0].Value != nil && !yield(slices.Clip(mine[0].Key), mine[0].Value) {
					return
				}
				mine = mine[1:]
			}
			if len(mine) > 0 && bytes.Equal(mine[0].Key, k) {
				v = mine[0].Value
				mine = mine[1:]
				if v == nil {
					continue
				}
			}
			if !yield(k, v) {
				return
			}
		}
		for _, e := range mine {
			if e.Value != nil && !yield(slices.Clip(e.Key), e.Value) {
				return
			}
		}
	}
}

func before(a, b []byte, reverse bool) bool {
	c := bytes.Compare(a, b)
	if reverse {
		return c > 0
	}
	return c < 0
}

// slice has the writes of a span.
func (o *Overlay) slice(start, end []byte, reverse bool) []Change {
	var out []Change
	for k, v := range o.writes(start, end) {
		out = append(out, Change{k, v})
	}
	if reverse {
		slices.Reverse(out)
	}
	return out
}

// writes are those of a span in ascending order of key, during which nothing may be written.
func (o *Overlay) writes(start, end []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		last := math.MaxUint16
		if end != nil {
			last = int(collectionOf(end))
			if len(end) < 2 || len(end) == 2 && end[1] > 0 {
				last-- // all keys of that one are behind the end
			}
		}
		more := true
		for c := int(collectionOf(start)); more && c <= last; c++ {
			if !o.touched.holds(uint16(c)) {
				continue
			}
			o.walked(uint16(c)).facts.Ascend(ordered{key: start}, func(e ordered) bool {
				if end != nil && bytes.Compare(e.key, end) >= 0 {
					return false
				}
				if f := &o.facts[e.fact]; f.status == written {
					more = yield(e.key, f.value)
				}
				return more
			})
		}
	}
}
