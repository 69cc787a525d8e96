package state

import "iter"

// Reader reads state at one point in time. Returned slices belong to the state:
// callers must not change them.
type Reader interface {
	// Lookup returns the value under key, or nil when there is none. The key is the
	// caller's again afterwards.
	Lookup(key []byte) []byte
	// Walk yields the pairs with start <= key < end in ascending order, or in
	// descending order when reverse is set. A nil end means "to the last key".
	// The state must not be written while a walk is under way, except that the
	// pair just yielded may be removed or replaced.
	Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte]
}

// Writer reads and writes state. Set takes ownership of both slices. An empty
// value is refused by a panic: absence is expressed by Remove.
type Writer interface {
	Reader
	Set(key, value []byte)
	Remove(key []byte)
}

// Change is one write of a block: Value nil means that the key is removed.
type Change struct {
	Key   []byte
	Value []byte
}

// After returns the first key that is greater than every key that starts with
// prefix, or nil when there is none (prefix is empty or all 0xFF).
func After(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			end := make([]byte, i+1)
			copy(end, prefix)
			end[i]++
			return end
		}
	}
	return nil
}
