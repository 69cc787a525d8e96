package chain

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	// leastChunk and mostChunk bound how many transactions are looked at together: few
	// signatures cost more each, and of many, others wait.
	leastChunk, mostChunk = 64, 1024
	// usualBytes is how large transactions may be, on average, in a chunk of full number:
	// larger ones are more work.
	usualBytes = 1 << 10
	// chunksEach is how many chunks there are for each worker, so that none waits long.
	chunksEach = 2
)

// foresight is what is found out of a block's transactions over the state before the block,
// on several processors and ahead of their turn: who acts, whether the signatures are good,
// what the screen needs to know, and how their messages are to be executed. Where
// transactions before them wrote to what that follows from, it is found out anew in their
// turn. So it never changes a result, only when and where the work is done.
type foresight struct {
	app       *App
	env       env
	params    *chainv1.Params
	base      state.Reader
	screening Screening // nil: none
	workers   int
	patience  Patience // nil: endless

	chunks []*chunk
	of     map[*tx.Decoded]place
	//determinism:allow hands out chunks that may be looked at in any order
	next atomic.Int64
}

// chunk is transactions that are looked at together.
type chunk struct {
	ds  []*tx.Decoded
	out []foreseen
	//determinism:allow lets one look and the others wait, whoever comes first
	once  sync.Once // fills out
	asked bool      // whether the block came to one of them
}

type place struct{ chunk, at int }

// Foresight counts what was found out of transactions ahead of their turn: what still held
// then, and what had to be found out anew.
type Foresight struct{ Held, Anew int }

// foreseen is what was found out of one transaction.
type foreseen struct {
	valid     bool // its messages pass the checks that look at them alone
	authority found[Authority]
	signed    bool // its signatures are good, by the keys of that authority
	gathered  found[any]
	plans     []found[any] // by message
}

// found is what a function of the state returned, charged for, and read.
type found[T any] struct {
	ok    bool // false: nothing was found out
	value T
	err   error
	units uint64
	reads state.Reads
	came  came
}

// came is what came of something that was found out ahead, once its turn has come.
type came uint8

const (
	cameNot came = iota
	cameTrue
	cameAnew
)

func (c came) count(f *Foresight) {
	switch c {
	case cameTrue:
		f.Held++
	case cameAnew:
		f.Anew++
	}
}

// tally counts what came of all.
func (f *foresight) tally() (out Foresight) {
	if f == nil {
		return out
	}
	for _, c := range f.chunks {
		if !c.asked {
			continue // it may be looked at now
		}
		for i := range c.out {
			o := &c.out[i]
			o.authority.came.count(&out)
			o.gathered.came.count(&out)
			for k := range o.plans {
				o.plans[k].came.count(&out)
			}
		}
	}
	return out
}

// Patience begins to count when somebody begins with a few transactions, and tells afterwards
// whether they have taken so long that the rest of them should be left to its turn.
type Patience func() (lost func() bool)

// Foresee looks ahead at transactions that will be delivered, probably in this order. It
// comes after Report and before the first Deliver. Those that Deliver is not given cost what
// was found out of them, and those that it is given without having been foreseen do no harm.
// Who has not the time for all of them gives a patience, else nil: without, whoever waits for
// one transaction waits for all that are looked at with it.
func (x *Execution) Foresee(ds []*tx.Decoded, patience Patience) {
	if len(ds) == 0 {
		return
	}
	f := &foresight{
		app: x.app, env: x.view(ds[0]).env, params: x.params, base: x.base, screening: x.screening,
		workers: x.app.workers, patience: patience, of: make(map[*tx.Decoded]place, len(ds)),
	}
	size := min(max((len(ds)-1)/(chunksEach*f.workers)+1, leastChunk), mostChunk)
	if f.workers == 1 {
		size = mostChunk
	}
	for rest := ds; len(rest) > 0; {
		n := portion(rest, size)
		c := &chunk{ds: rest[:n], out: make([]foreseen, n)}
		for i, d := range c.ds {
			f.of[d] = place{len(f.chunks), i}
		}
		f.chunks, rest = append(f.chunks, c), rest[n:]
	}
	for range min(f.workers, len(f.chunks)) - 1 {
		//determinism:allow what it finds out is checked against the state before it counts
		go f.work()
	}
	x.ahead = f
}

// portion is how many of the transactions make a chunk that may have so many.
func portion(ds []*tx.Decoded, most int) int {
	bytes := 0
	for i, d := range ds[:min(most, len(ds))] {
		if bytes += len(d.Raw); i > 0 && bytes > most*usualBytes {
			return i
		}
	}
	return min(most, len(ds))
}

// work looks at chunks that nobody looks at, until there are no more.
func (f *foresight) work() {
	for i := f.next.Add(1); i <= int64(len(f.chunks)); i = f.next.Add(1) {
		c := f.chunks[i-1]
		c.once.Do(func() { f.look(c) })
	}
}

// nothing was found out of a transaction.
var nothing foreseen

// end has nobody begin with a chunk any more, for the block is complete.
func (f *foresight) end() {
	if f != nil {
		f.next.Store(int64(len(f.chunks)))
	}
}

// about is what was found out of a transaction. Where somebody looks at it, it waits for that.
func (f *foresight) about(d *tx.Decoded) *foreseen {
	if f == nil {
		return &nothing
	}
	at, ok := f.of[d]
	if !ok {
		return &nothing
	}
	c := f.chunks[at.chunk]
	c.once.Do(func() { f.look(c) })
	c.asked = true
	return &c.out[at.at]
}

// look finds out what there is to know of a chunk.
func (f *foresight) look(c *chunk) {
	reading := state.NewReading(f.base)
	items := make([]keys.Item, 0, len(c.ds))
	lost := func() bool { return false }
	if f.patience != nil {
		lost = f.patience()
	}
	for i, d := range c.ds {
		if i > 0 && lost() {
			break
		}
		if uint64(len(d.Tx.Signatures)) > uint64(f.params.MaxSignatures) {
			continue // the door refuses it
		}
		v := f.view(d, reading)
		a := &c.out[i].authority
		*a = ahead(v, reading, func() (Authority, error) { return f.app.authenticate(v, d) })
		if !a.ok || a.err != nil {
			continue
		}
		items = append(items, signatures(d, a.value)...)
		if f.workers > 1 { // else it is found out in its turn, by the same processor
			f.plan(d, reading, &c.out[i])
		}
	}
	mark := f.app.mark()
	good := f.app.verified.Verify(f.app.rand, items)
	f.app.spent(StageVerify, mark, c.ds...)
	for i, d := range c.ds {
		if a := &c.out[i].authority; a.ok && a.err == nil {
			n := len(d.Tx.Signatures)
			c.out[i].signed = !slices.Contains(good[:n], false)
			good = good[n:]
		}
	}
}

// plan finds out what comes after the door.
func (f *foresight) plan(d *tx.Decoded, reading *state.Reading, out *foreseen) {
	v := f.view(d, reading)
	authority := out.authority.value
	if f.screening != nil {
		c := &Candidate{Decoded: d, Authority: authority}
		out.gathered = ahead(v, reading, func() (any, error) { return f.screening.Gather(v, c), nil })
	}
	v.author, v.organisation, v.signers = d.Body.Author, authority.Organisation, authority.Signers
	if out.valid = guard(func() error { return f.app.validate(v.version, d.Messages) }) == nil; !out.valid {
		return // the door refuses it
	}
	out.plans = make([]found[any], len(d.Messages))
	for i, m := range d.Messages {
		out.plans[i] = ahead(v, reading, func() (any, error) { return f.app.router.route(m).plan(v, m) })
	}
}

// view is what a transaction sees of the state before the block.
func (f *foresight) view(d *tx.Decoded, reading *state.Reading) *view {
	v := &view{env: f.env, reader: reading, meter: &meter{costs: f.params.Costs, limit: f.params.MaxTxUnits}}
	v.txID = d.ID
	return v
}

// ahead finds something out. Whatever goes wrong is left to the transaction's turn.
func ahead[T any](v *view, reading *state.Reading, find func() (T, error)) (out found[T]) {
	defer func() {
		out.reads = reading.Take()
		if recover() != nil {
			out.ok = false
		}
	}()
	used := v.meter.used
	out.value, out.err = find()
	out.units, out.ok = v.meter.used-used, true
	return out
}

// holds tells whether what was found out is still so.
func (f *found[T]) holds(overlay *state.Overlay) bool { return f.ok && overlay.Untouched(&f.reads) }

// planOf is what was found out of a message.
func (f *foreseen) planOf(message int) *found[any] {
	if message < len(f.plans) {
		return &f.plans[message]
	}
	return &nothing.gathered
}

// settle is what find returns, and charges what it charges. Where it was found out ahead, and
// what that follows from was not written since, that is it.
func settle[T any](known *found[T], overlay *state.Overlay, m *meter, find func() (T, error)) (T, error) {
	if !known.ok {
		return find()
	}
	if !known.holds(overlay) {
		known.came = cameAnew
		return find()
	}
	known.came = cameTrue
	m.charge(1, known.units)
	return known.value, known.err
}

// sharedRand lets several goroutines read what is random.
type sharedRand struct {
	//determinism:allow coefficients of batches, on which no result depends
	mu sync.Mutex
	r  io.Reader
}

// Read implements io.Reader.
func (s *sharedRand) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}
