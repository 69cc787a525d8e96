package state

import "math/bits"

// table maps hashes to nodes, none where there is none. It is many tables of their own, each
// with one array that is probed in order (Knuth, The Art of Computer Programming, volume 3,
// section 6.4, algorithms L and R), so that an entry is one line of a cache away, and that only
// one of many is copied when it is full. The zero table is empty.
type table [1 << partBits]part

const (
	partBits = 10
	// leastPart is how many slots a part begins with.
	leastPart = 8
)

// part has the entries whose hashes begin with the same bits.
type part struct {
	// slots hold the node of an entry in the upper half and its hash in the lower one, 0 where
	// there is none. They are a power of two, of which no more than three quarters are used.
	slots []uint64
	n     int
	shift uint8 // of what is left of a hash, which gives its first slot
}

func (t *table) part(hash uint32) *part { return &t[hash>>(32-partBits)] }

// home is the slot that an entry would have if it were alone.
func (p *part) home(hash uint32) int { return int(hash << partBits >> p.shift) }

// find is the slot of an entry, or else the empty one where it would be. There are slots.
func (p *part) find(hash uint32) int {
	last := len(p.slots) - 1
	for i := p.home(hash); ; i = (i + 1) & last {
		if s := p.slots[i]; s == 0 || uint32(s) == hash {
			return i
		}
	}
}

func (t *table) get(hash uint32) ref {
	p := t.part(hash)
	if p.n == 0 {
		return none
	}
	return ref(p.slots[p.find(hash)] >> 32)
}

// set gives a hash a node, which is not none.
func (t *table) set(hash uint32, r ref) {
	p := t.part(hash)
	if 4*(p.n+1) > 3*len(p.slots) {
		p.grow()
	}
	i := p.find(hash)
	if p.slots[i] == 0 {
		p.n++
	}
	p.slots[i] = uint64(r)<<32 | uint64(hash)
}

// drop takes a hash out. What stands behind it moves up, where it could not be found otherwise.
func (t *table) drop(hash uint32) {
	p := t.part(hash)
	if p.n == 0 {
		return
	}
	i := p.find(hash)
	if p.slots[i] == 0 {
		return
	}
	p.n--
	last := len(p.slots) - 1
	for j := (i + 1) & last; p.slots[j] != 0; j = (j + 1) & last {
		if home := p.home(uint32(p.slots[j])); (j-home)&last >= (j-i)&last {
			p.slots[i], i = p.slots[j], j
		}
	}
	p.slots[i] = 0
}

func (p *part) grow() {
	old := p.slots
	p.slots = make([]uint64, max(leastPart, 2*len(old)))
	p.shift = uint8(32 - bits.TrailingZeros(uint(len(p.slots))))
	for _, s := range old {
		if s != 0 {
			p.slots[p.find(uint32(s))] = s
		}
	}
}
