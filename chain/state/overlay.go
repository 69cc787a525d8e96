package state

import (
	"bytes"
	"iter"
	"slices"

	"github.com/tidwall/btree"
)

// Overlay gathers writes over a Reader, in key order, with nested rollback. What it
// read of a key it remembers, so the Reader may not change while the overlay lives. It
// is not safe for concurrent use.
type Overlay struct {
	base    Reader
	known   map[string]fact // of keys that were read or written
	touched collectionSet   // where something was written, if only to be undone
	entries *btree.BTreeG[entry]
	hint    btree.PathHint
	journal []undo
}

// fact is what is known of a key.
type fact struct {
	value   []byte // nil: there is nothing under it
	written bool
}

type entry struct {
	key   []byte // the value may lie behind it
	value []byte // nil: removed
}

type undo struct {
	entry   entry
	existed bool
}

// NewOverlay starts an empty overlay over base.
func NewOverlay(base Reader) *Overlay {
	return &Overlay{
		base:  base,
		known: make(map[string]fact),
		entries: btree.NewBTreeGOptions(func(a, b entry) bool {
			return bytes.Compare(a.key, b.key) < 0
		}, btree.Options{NoLocks: true}),
	}
}

// Lookup implements Reader.
func (o *Overlay) Lookup(key []byte) []byte {
	f, ok := o.known[string(key)]
	if !ok {
		f.value = o.base.Lookup(key)
		o.known[string(key)] = f
	}
	return f.value
}

// Set implements Writer.
func (o *Overlay) Set(key, value []byte) {
	if len(value) == 0 {
		panic("state: an empty value was set; absence is expressed by Remove")
	}
	o.write(entry{key: key, value: value})
}

// Remove implements Writer.
func (o *Overlay) Remove(key []byte) { o.write(entry{key: key}) }

func (o *Overlay) write(e entry) {
	o.touched.add(e.key)
	o.known[string(e.key)] = fact{e.value, true}
	old, existed := o.entries.SetHint(e, &o.hint)
	if !existed {
		old = entry{key: e.key}
	}
	o.journal = append(o.journal, undo{old, existed})
}

// Mark is a point to which the overlay can be rolled back.
func (o *Overlay) Mark() int { return len(o.journal) }

// Rollback undoes every write since the mark, the latest first.
func (o *Overlay) Rollback(mark int) {
	for i := len(o.journal) - 1; i >= mark; i-- {
		u := o.journal[i]
		if u.existed {
			o.entries.Set(u.entry)
			o.known[string(u.entry.key)] = fact{u.entry.value, true}
		} else {
			o.entries.Delete(u.entry)
			delete(o.known, string(u.entry.key))
		}
	}
	o.journal = o.journal[:mark]
}

// Changes lists the writes in ascending order of key, one per key.
func (o *Overlay) Changes() []Change {
	out := make([]Change, 0, o.entries.Len())
	o.entries.Scan(func(e entry) bool {
		out = append(out, Change{Key: e.key, Value: e.value})
		return true
	})
	return out
}

// Walk implements Reader: the overlay's entries hide those of the base.
func (o *Overlay) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		// The overlay's part of the range is copied, so that the caller may
		// write while it walks.
		mine := o.slice(start, end, reverse)
		for k, v := range o.base.Walk(start, end, reverse) {
			for len(mine) > 0 && before(mine[0].key, k, reverse) {
				if mine[0].value != nil && !yield(slices.Clip(mine[0].key), mine[0].value) {
					return
				}
				mine = mine[1:]
			}
			if len(mine) > 0 && bytes.Equal(mine[0].key, k) {
				v = mine[0].value
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
			if e.value != nil && !yield(slices.Clip(e.key), e.value) {
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

func (o *Overlay) slice(start, end []byte, reverse bool) []entry {
	var out []entry
	if reverse {
		step := func(e entry) bool {
			if end != nil && bytes.Compare(e.key, end) >= 0 {
				return true
			}
			if bytes.Compare(e.key, start) < 0 {
				return false
			}
			out = append(out, e)
			return true
		}
		if end == nil {
			o.entries.Reverse(step)
		} else {
			o.entries.Descend(entry{key: end}, step)
		}
		return out
	}
	o.entries.Ascend(entry{key: start}, func(e entry) bool {
		if end != nil && bytes.Compare(e.key, end) >= 0 {
			return false
		}
		out = append(out, e)
		return true
	})
	return out
}
