package state

import (
	"bytes"
	"iter"
	"slices"
)

// Sorted is a Reader of writes to an empty state, in ascending order of key and one per key, as
// Changes lists them. It is safe for concurrent use.
type Sorted []Change

func (s Sorted) find(key []byte) (at int, there bool) {
	return slices.BinarySearchFunc(s, key, func(c Change, key []byte) int { return bytes.Compare(c.Key, key) })
}

// Lookup implements Reader.
func (s Sorted) Lookup(key []byte) []byte {
	if at, there := s.find(key); there {
		return s[at].Value
	}
	return nil
}

// Walk implements Reader.
func (s Sorted) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		from, _ := s.find(start)
		to := len(s)
		if end != nil {
			to, _ = s.find(end)
		}
		for n := range to - from {
			c := s[from+n]
			if reverse {
				c = s[to-1-n]
			}
			if c.Value != nil && !yield(slices.Clip(c.Key), c.Value) {
				return
			}
		}
	}
}
