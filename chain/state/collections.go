package state

import (
	"bytes"
	"iter"
	"sync"
)

// Map holds values by key.
type Map[K, V any] struct {
	name   string
	prefix []byte
	kc     KeyCodec[K]
	vc     ValueCodec[V]
	memo   *memo[V]
}

// NewMap declares a map in a schema. It panics when the prefix or the name is
// taken: a mistake of the module's author, found at boot.
func NewMap[K, V any](s *Schema, prefix byte, name string, kc KeyCodec[K], vc ValueCodec[V]) Map[K, V] {
	return Map[K, V]{name: s.module + "/" + name, prefix: declare(s, prefix, name, kc, vc), kc: kc, vc: vc, memo: new(memo[V])}
}

// Key is the full tree key of k, which proofs are about.
func (m Map[K, V]) Key(k K) []byte {
	key := m.borrow(k)
	defer giveBack(key)
	return bytes.Clone(*key)
}

// Prefix is what the full tree keys of all entries begin with, two bytes.
func (m Map[K, V]) Prefix() []byte { return bytes.Clone(m.prefix) }

// scratch are buffers for keys that are only looked up, and for what is copied.
//
//determinism:allow memory that is written before it is read
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// largeScratch is how large a buffer may have become to be used again.
const largeScratch = 64 << 10

func giveBack(buffer *[]byte) {
	if cap(*buffer) <= largeScratch {
		scratch.Put(buffer)
	}
}

// borrow is the full tree key of k in a buffer of scratch, which is to be given back.
func (m Map[K, V]) borrow(k K) *[]byte {
	buffer := scratch.Get().(*[]byte)
	*buffer = m.kc.Encode(append((*buffer)[:0], m.prefix...), k)
	return buffer
}

// raw is the value under k as it is stored, or nil.
func (m Map[K, V]) raw(r Reader, k K) []byte {
	key := m.borrow(k)
	defer giveBack(key)
	return r.Lookup(*key)
}

// Lookup returns the value under k and whether there is one.
func (m Map[K, V]) Lookup(r Reader, k K) (V, bool) {
	raw := m.raw(r, k)
	if raw == nil {
		var zero V
		return zero, false
	}
	return m.decode(raw), true
}

// Peek is Lookup for callers that only look: the value is shared with every other
// caller and must not be changed. It suits small records that many transactions
// read.
func (m Map[K, V]) Peek(r Reader, k K) (V, bool) {
	raw := m.raw(r, k)
	if raw == nil {
		var zero V
		return zero, false
	}
	return m.memo.of(raw, m.decode), true
}

// Has tells whether there is a value under k.
func (m Map[K, V]) Has(r Reader, k K) bool { return m.raw(r, k) != nil }

// Put writes the value under k.
func (m Map[K, V]) Put(w Writer, k K, v V) {
	buffer := m.borrow(k)
	defer giveBack(buffer)
	at := len(*buffer)
	both, err := m.vc.Encode(*buffer, v)
	if err != nil {
		fault("encode "+m.name, err)
	}
	*buffer = both
	// In one piece, as a tree in memory holds them.
	both = bytes.Clone(both)
	w.Set(both[:at], both[at:])
}

// PutShared is Put of a value that is not changed any more: Peek need not decode it.
func (m Map[K, V]) PutShared(w Writer, k K, v V) {
	m.Put(w, k, v)
	m.memo.keep(m.raw(w, k), v)
}

// Remove deletes the value under k, if any.
func (m Map[K, V]) Remove(w Writer, k K) { w.Remove(m.Key(k)) }

// Span bounds a walk.
type Span struct {
	prefix  []byte // encoded, without the collection's prefix
	from    []byte // encoded; nil: from the start of the prefix
	reverse bool
}

// All is every entry in ascending order of key.
func All() Span { return Span{} }

// Under is the entries of which the key's first part is a.
func Under[A any](c KeyCodec[A], a A) Span { return Span{prefix: c.Encode(nil, a)} }

// Under2 is the entries of which the key's first two parts are a and b.
func Under2[A, B any](ca KeyCodec[A], cb KeyCodec[B], a A, b B) Span {
	return Span{prefix: cb.Encode(ca.Encode(nil, a), b)}
}

// Down is the span in descending order.
func (s Span) Down() Span { s.reverse = true; return s }

// After is the span beyond an encoded key, exclusively: the token that Page
// returned. An empty token changes nothing, and none makes the span wider: tokens
// come from clients.
func (s Span) After(token []byte) Span {
	if len(token) > 0 {
		s.from = bytes.Clone(token)
	}
	return s
}

// Walk yields the entries of the span.
func (m Map[K, V]) Walk(r Reader, s Span) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for rawKey, raw := range m.span(r, s) {
			k, rest, err := m.kc.Decode(rawKey[len(m.prefix):])
			if err == nil && len(rest) != 0 {
				err = errKey
			}
			if err != nil {
				fault("decode a key of "+m.name, err)
			}
			if !yield(k, m.decode(raw)) {
				return
			}
		}
	}
}

func (m Map[K, V]) span(r Reader, s Span) iter.Seq2[[]byte, []byte] {
	start := append(bytes.Clone(m.prefix), s.prefix...)
	end := After(start)
	if s.from != nil {
		from := append(bytes.Clone(m.prefix), s.from...)
		switch {
		case s.reverse && (end == nil || bytes.Compare(from, end) < 0):
			end = from
		case !s.reverse && bytes.Compare(from, start) >= 0:
			start = append(from, 0)
		}
	}
	if bytes.Compare(start, end) >= 0 && end != nil {
		return func(func([]byte, []byte) bool) {}
	}
	return r.Walk(start, end, s.reverse)
}

// Page returns at most limit values of the span and the token of the next page,
// nil when there is none. limit must be positive.
func (m Map[K, V]) Page(r Reader, s Span, limit int) (page []V, next []byte) {
	var last []byte
	for rawKey, raw := range m.span(r, s) {
		if len(page) == limit {
			return page, last
		}
		page = append(page, m.decode(raw))
		last = bytes.Clone(rawKey[len(m.prefix):])
	}
	return page, nil
}

// PeekPage is Page without the rest, of values that others read too, as Peek's: they must
// not be changed.
func (m Map[K, V]) PeekPage(r Reader, s Span, limit int) (page []V) {
	for _, raw := range m.span(r, s) {
		if len(page) == limit {
			break
		}
		page = append(page, m.memo.of(raw, m.decode))
	}
	return page
}

func (m Map[K, V]) decode(raw []byte) V {
	v, err := m.vc.Decode(raw)
	if err != nil {
		fault("decode a value of "+m.name, err)
	}
	return v
}

// Index is a set of keys, kept beside a map to find its entries another way.
type Index[K any] struct{ m Map[K, Unit] }

// NewIndex declares an index in a schema.
func NewIndex[K any](s *Schema, prefix byte, name string, kc KeyCodec[K]) Index[K] {
	return Index[K]{NewMap[K, Unit](s, prefix, name, kc, unitValue{})}
}

// Key is the full tree key of k.
func (x Index[K]) Key(k K) []byte { return x.m.Key(k) }

// Has tells whether k is in the index.
func (x Index[K]) Has(r Reader, k K) bool { return x.m.Has(r, k) }

// Add puts k into the index.
func (x Index[K]) Add(w Writer, k K) { x.m.Put(w, k, Unit{}) }

// Remove takes k out of the index.
func (x Index[K]) Remove(w Writer, k K) { x.m.Remove(w, k) }

// Walk yields the keys of the span.
func (x Index[K]) Walk(r Reader, s Span) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range x.m.Walk(r, s) {
			if !yield(k) {
				return
			}
		}
	}
}

// Page returns at most limit keys of the span and the token of the next page.
func (x Index[K]) Page(r Reader, s Span, limit int) (page []K, next []byte) {
	var last []byte
	for k := range x.Walk(r, s) {
		if len(page) == limit {
			return page, last
		}
		page = append(page, k)
		last = x.m.kc.Encode(nil, k)
	}
	return page, nil
}

// Item is a single value.
type Item[V any] struct{ m Map[Unit, V] }

// NewItem declares a single value in a schema.
func NewItem[V any](s *Schema, prefix byte, name string, vc ValueCodec[V]) Item[V] {
	return Item[V]{NewMap[Unit, V](s, prefix, name, unitKey{}, vc)}
}

// Key is the full tree key of the item.
func (i Item[V]) Key() []byte { return i.m.Key(Unit{}) }

// Lookup returns the value and whether it was ever put.
func (i Item[V]) Lookup(r Reader) (V, bool) { return i.m.Lookup(r, Unit{}) }

// Peek is Lookup for callers that only look: the value is shared and must not be
// changed.
func (i Item[V]) Peek(r Reader) (V, bool) { return i.m.Peek(r, Unit{}) }

// Put writes the value.
func (i Item[V]) Put(w Writer, v V) { i.m.Put(w, Unit{}, v) }

type unitKey struct{}

func (unitKey) String() string                        { return "" }
func (unitKey) Encode(dst []byte, _ Unit) []byte      { return dst }
func (unitKey) Decode(b []byte) (Unit, []byte, error) { return Unit{}, b, nil }
