package consensus

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
)

// PoolOptions bounds the pool.
type PoolOptions struct {
	// MaxBytes is the most that all waiting transactions may take together.
	MaxBytes int
	// MaxLaneBytes is the most that one organisation's may take.
	MaxLaneBytes int
	// MaxWait bounds what is submitted here by time: of an organisation no more may wait
	// than blocks take in as long, in its share of what they took lately. 0: no bound.
	MaxWait time.Duration
	// Urgent tells which transactions go before the others of their organisation, and
	// find room in a pool that is full for those: an eighth of each bound is theirs
	// besides. nil: none are.
	Urgent func(messages []proto.Message) bool
	// Queue is how many transactions of one organisation may wait for their check.
	Queue int
	// QueueBytes is the most that those of them that came from peers may take.
	QueueBytes int
	// Batch is the most transactions whose signatures are verified together.
	Batch int
	// Gather is how long those that came from peers wait for their check unless this node
	// is about to propose: what comes in a block meanwhile needs none, and the others are
	// checked together. 0: not at all. GatherTxs is how many wait for as long. Those of an
	// organisation of which blocks have plenty without them wait on.
	Gather    time.Duration
	GatherTxs int
	// RelayAfter is how long a transaction that came from a peer waits for a block
	// before this node offers it to its own peers.
	RelayAfter time.Duration
	// OfferAgain is how long a transaction that was offered to the peers waits for
	// a block before it is offered again, for peers that came late.
	OfferAgain time.Duration
	// AgainBytes is the most, in bytes a second, that this node offers of what its
	// peers should have already: without a bound, nodes that fall behind would tell
	// one another of everything that waits, over and over.
	AgainBytes int
	// Full tells whether the node has no room on disk for more: then it takes none but those
	// that are urgent. nil: it always has.
	Full func() bool
	// ListAfter is how long a transaction waits until a validator lists it with its votes.
	ListAfter time.Duration
}

// DefaultPoolOptions are the bounds of a node.
func DefaultPoolOptions() PoolOptions {
	return PoolOptions{
		MaxBytes:     256 << 20,
		MaxLaneBytes: 64 << 20,
		MaxWait:      2 * time.Second,
		Queue:        20_000,
		QueueBytes:   64 << 20,
		Batch:        512,
		Gather:       time.Second,
		GatherTxs:    1024,
		RelayAfter:   2 * time.Second,
		OfferAgain:   5 * time.Second,
		AgainBytes:   256 << 10,
		ListAfter:    2 * time.Second,
	}
}

// Pool holds transactions that wait for a block, in one lane per organisation, so
// that nobody's flood delays another's, nor an organisation's own what is urgent. It is the application-side mempool: the
// engine only carries transactions between the pools of the nodes.
type Pool struct {
	app     *chain.App
	o       PoolOptions
	metrics *Metrics
	now     func() time.Time
	intake  *intake     // submitted here
	offered *intake     // by peers
	turn    bool        // whether offered has it before intake; of Run
	looked  time.Time   // when nothing of offered was lacking the last time; of Run
	about   atomic.Bool // whether this node proposes now
	soon    atomic.Bool // whether it does after the block to come: what peers offered is checked once
	quiet   sync.Mutex  // held while this node executes a block, which goes before checks
	// arrived is sent to, without waiting, whenever a transaction enters.
	arrived chan struct{}

	mu     sync.Mutex // guards all below
	byID   map[tx.ID]*list.Element
	lanes  map[string]*lane
	order  []*lane // lanes in order of creation; a block takes from them in turn
	next   int     // the lane with which the next block begins
	bytes  int
	offers [3]list.List // of *waiting, by offerQueue: to be offered to peers, soonest first
	again  int          // bytes that may be offered again now; below 0 after a large one
	reaped time.Time    // when again was last filled up
	block  int          // bytes of the largest block of late
	full   int          // bytes of the latest that this node proposed; 0: it took all there was
	taken  float64      // bytes a second that blocks took lately, where more waited
	took   time.Time    // when the latest of them did
	// When somebody was last told to come back for want of room.
	refused time.Time
}

type lane struct {
	organisation string
	urgent       list.List // of *waiting, oldest first
	ordinary     list.List
	bytes        int
	// The bytes that were refused and told to come back, less what blocks would have
	// taken of them since awayAt.
	away   float64
	awayAt time.Time
}

// queues are the lane's transactions in the order in which blocks take them.
func (l *lane) queues() [2]*list.List { return [2]*list.List{&l.urgent, &l.ordinary} }

type waiting struct {
	d       *tx.Decoded
	lane    *lane
	in      *list.List // of the lane
	since   time.Time  // when it entered
	peer    bool       // whether a peer brought it
	offerAt time.Time
	queue   offerQueue
	offer   *list.Element // in offers[queue]
	// Since a block had no room for it: the time before which no block tries it again,
	// and how long that pause is.
	notBefore time.Time
	pause     time.Duration
}

// offerQueue sorts what is to be offered by how long it waits for that, so that
// each queue is in order of time when entries are appended.
type offerQueue int

const (
	offerNow   offerQueue = iota // submitted here
	offerLater                   // came from a peer
	offerAgain                   // was offered before
)

// NewPool makes an empty pool that measures itself in m; Run must be running for Submit to answer.
func NewPool(app *chain.App, o PoolOptions, m *Metrics) *Pool {
	return &Pool{
		app: app, o: o, metrics: m, now: time.Now,
		intake:  newIntake(),
		offered: newIntake(),
		arrived: make(chan struct{}, 1),
		byID:    make(map[tx.ID]*list.Element),
		lanes:   make(map[string]*lane),
	}
}

// Run checks and admits what is submitted and offered, in batches, until ctx ends.
func (p *Pool) Run(ctx context.Context) {
	batch := make([]admission, 0, p.o.Batch)
	for {
		clear(batch) // not to hold their bytes
		var due time.Duration
		p.awaitQuiet()
		if batch, due = p.fetch(batch[:0]); len(batch) > 0 {
			p.admit(batch)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		timer := time.NewTimer(due)
		select {
		case <-p.intake.ready:
		case <-p.offered.ready:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// fetch takes a batch to admit, of what is submitted and what is offered in turn. Where
// there is none it says when the next is due, unless something comes before.
func (p *Pool) fetch(batch []admission) ([]admission, time.Duration) {
	p.turn = !p.turn
	if !p.turn {
		if batch = p.intake.take(batch, p.o.Batch, maxBatchBytes, nil); len(batch) > 0 {
			return batch, 0
		}
	}
	due := time.Hour // nothing waits
	now := p.now()
	n, bytes := p.offered.size()
	switch {
	case n == 0:
		p.soon.Store(false)
	case n >= p.o.GatherTxs || bytes >= gatherBytes || p.about.Load() || p.soon.Load():
		due = 0
	default:
		due = p.o.Gather - now.Sub(p.offered.oldest())
	}
	if due = max(due, inVain-now.Sub(p.looked)); due <= 0 {
		if batch = p.offered.take(batch, p.o.Batch, maxBatchBytes, p.lack()); len(batch) == 0 {
			p.soon.Store(false)
			p.looked, due = now, inVain
		}
	}
	if len(batch) == 0 {
		batch = p.intake.take(batch, p.o.Batch, maxBatchBytes, nil)
	}
	return batch, due
}

// inVain is the pause after a look at what peers offered of which nothing was lacking.
const inVain = 20 * time.Millisecond

// Hush has checks wait until Speak is called, for this node executes a block, and others wait
// for that.
func (p *Pool) Hush() { p.quiet.Lock() }

// Speak ends what Hush began.
func (p *Pool) Speak() { p.quiet.Unlock() }

// awaitQuiet returns when no block is executed.
func (p *Pool) awaitQuiet() {
	p.quiet.Lock()
	defer p.quiet.Unlock()
}

// Soon has what peers offered until now checked, for this node is going to propose.
func (p *Pool) Soon() {
	p.soon.Store(true)
	p.offered.poke()
}

// Proposing says whether this node proposes now: then what peers offer is checked at once.
func (p *Pool) Proposing(now bool) {
	p.about.Store(now)
	if now {
		p.offered.poke()
	}
}

// Gather checks what peers offered until now, for a proposal, as far as it is lacking, and
// stops after a while. Where nothing is lacking, a little more of it is checked: what is submitted
// to nodes that do not propose has its turn as well.
func (p *Pool) Gather(most time.Duration) {
	for begun := time.Now(); time.Since(begun) < most; {
		batch := p.offered.take(nil, p.o.Batch, maxBatchBytes, p.lack())
		if len(batch) == 0 {
			if batch = p.offered.take(nil, p.o.Batch/8, maxBatchBytes/8, nil); len(batch) > 0 {
				p.admit(batch)
			}
			return
		}
		p.admit(batch)
	}
}

// leastTarget is for how many bytes at least a pool is filled with what peers offered.
const leastTarget = 256 << 10

// lack is how many bytes of what peers offered should be checked, by organisation, for the next
// block to have enough to choose from, of the organisations evenly: a quarter more than the
// largest block of late, so that blocks can grow, or as much as the latest that this node
// proposed, where that was full. What is behind that comes in the blocks of others first, mostly.
func (p *Pool) lack() map[string]int {
	lack := p.offered.each()
	p.mu.Lock()
	defer p.mu.Unlock()
	amounts := make([]int, 0, len(lack)+len(p.order))
	for _, l := range p.order {
		amounts = append(amounts, l.bytes+lack[l.organisation])
	}
	for organisation, bytes := range lack {
		if p.lanes[organisation] == nil {
			amounts = append(amounts, bytes)
		}
	}
	enough := p.block + p.block/4
	if p.full > 0 {
		enough = p.full
	}
	level := evenLevel(amounts, max(enough, leastTarget))
	for organisation := range lack {
		lack[organisation] = level
		if l := p.lanes[organisation]; l != nil {
			lack[organisation] -= l.bytes
		}
	}
	return lack
}

// evenLevel is the most that each of several may have for all to have a sum together, where none
// has more than its amount (max-min fairness); math.MaxInt where all amounts come to no more.
func evenLevel(amounts []int, sum int) int {
	slices.Sort(amounts)
	for i, a := range amounts {
		if left := len(amounts) - i; a > sum/left {
			return sum / left
		}
		sum -= a
	}
	return math.MaxInt
}

// maxBatchBytes is with how many bytes a batch is full: decoded, they can take a
// hundred times as much until they are judged.
const maxBatchBytes = 512 << 10

// gatherBytes are as many that what peers offered waits no longer.
const gatherBytes = 4 * maxBatchBytes

// admit judges a batch together, puts what is good into the pool, and answers.
func (p *Pool) admit(batch []admission) {
	begun := time.Now()
	answers := make([]answer, len(batch))
	var judged []*tx.Decoded
	var places []int // in batch, of what is judged
	var asks []chain.Ask
	for i, a := range batch {
		d, err := p.app.Decode(a.raw)
		if err != nil {
			answers[i].err = err
			continue
		}
		if answers[i].id = d.ID; !p.holds(d) {
			// Other bytes of a known id have other signatures, which must verify
			// all the same.
			judged, places, asks = append(judged, d), append(places, i), append(asks, a.asks())
		}
	}
	for j, admitted := range p.app.AdmitWithHints(judged, asks) {
		i := places[j]
		answers[i].hint = admitted.Hint
		if answers[i].err = admitted.Err; admitted.Err == nil {
			answers[i].err = p.place(judged[j], admitted.Authority.Organisation, batch[i].fromPeer)
		}
	}
	p.metrics.batches.Observe(time.Since(begun).Seconds())
	p.metrics.batchSize.Observe(float64(len(batch)))
	for i, a := range batch {
		if err := answers[i].err; err != nil {
			p.metrics.refused.WithLabelValues(source(a.fromPeer), code(err)).Inc()
		}
		p.metrics.span(answers[i].id, "admit", begun, false)
		if a.done != nil {
			a.done <- answers[i]
		}
	}
}

// holds tells whether these very bytes wait in the pool.
func (p *Pool) holds(d *tx.Decoded) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.byID[d.ID]
	return ok && bytes.Equal(e.Value.(*waiting).d.Raw, d.Raw)
}

// place puts an admitted transaction into its lane, once.
func (p *Pool) place(d *tx.Decoded, organisation string, fromPeer bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.byID[d.ID]; known {
		return nil
	}
	l := p.lanes[organisation]
	if l == nil {
		l = &lane{organisation: organisation}
		p.lanes[organisation] = l
		p.order = append(p.order, l)
	}
	w := &waiting{d: d, lane: l, in: &l.ordinary, since: p.now(), peer: fromPeer, queue: offerNow}
	w.offerAt = w.since
	most, mostOfLane := p.o.MaxBytes, p.o.MaxLaneBytes
	if !fromPeer && l.bytes > 0 {
		mostOfLane = p.mostOf(l)
	}
	if p.o.Urgent != nil && p.o.Urgent(d.Messages) {
		w.in, most, mostOfLane = &l.urgent, urgentRoom(most), urgentRoom(mostOfLane)
	}
	if w.in != &l.urgent && p.o.Full != nil && p.o.Full() {
		return chain.ErrDiskBudget
	}
	if p.bytes+len(d.Raw) > most || l.bytes+len(d.Raw) > mostOfLane {
		return p.busy(l, len(d.Raw))
	}
	p.metrics.admitted.WithLabelValues(source(fromPeer)).Inc()
	if fromPeer {
		w.offerAt, w.queue = w.offerAt.Add(p.o.RelayAfter), offerLater
	}
	p.byID[d.ID] = w.in.PushBack(w)
	l.bytes += len(d.Raw)
	p.bytes += len(d.Raw)
	w.offer = p.offers[w.queue].PushBack(w)
	select {
	case p.arrived <- struct{}{}:
	default:
	}
	return nil
}

// urgentRoom is the room for what is urgent where others have so much.
func urgentRoom(most int) int { return most + most/8 }

const (
	// leastRoom is the bytes of all organisations together that may wait however little
	// blocks took lately, and leastLaneRoom those of one.
	leastRoom     = 1 << 20
	leastLaneRoom = 64 << 10
	// leastCapacity is the bytes a second that blocks are thought to take until they leave
	// something: what takes leastRoom in the default MaxWait.
	leastCapacity = leastRoom / 2
	// takenOver is the time over which the bytes that blocks take are averaged.
	takenOver = 3 * time.Second
)

// mostOf is how many bytes submitted here may wait of an organisation, of which nothing
// waits where l is nil. It needs mu held.
func (p *Pool) mostOf(l *lane) int {
	if p.o.MaxWait == 0 {
		return p.o.MaxLaneBytes
	}
	return min(max(int(p.share(l)*max(p.taken*p.o.MaxWait.Seconds(), leastRoom)), leastLaneRoom), p.o.MaxLaneBytes)
}

// share is the part of a block that is an organisation's, which take turns. It needs mu
// held.
func (p *Pool) share(l *lane) float64 {
	others := 0
	for _, o := range p.order {
		if o != l && o.bytes > 0 {
			others++
		}
	}
	return 1 / float64(1+others)
}

// The shortest and the longest pause that a refusal for want of room asks for.
const (
	shortestAway = 500 * time.Millisecond
	longestAway  = 30 * time.Second
)

// busy refuses n bytes of an organisation for want of room, and says when there will be
// some for them: those that were told to come back before go first. It needs mu held.
func (p *Pool) busy(l *lane, n int) error {
	p.refused = p.now()
	if l == nil {
		return chain.ErrBusy.RetryIn(shortestAway.Milliseconds())
	}
	now, rate := p.now(), p.share(l)*p.capacity()
	l.away = min(max(l.away-rate*now.Sub(l.awayAt).Seconds(), 0)+float64(n), rate*longestAway.Seconds())
	l.awayAt = now
	pause := min(max(time.Duration(l.away/rate*float64(time.Second)), shortestAway), longestAway)
	return chain.ErrBusy.With("%d bytes of %s are waiting", l.bytes, l.organisation).RetryIn(pause.Milliseconds())
}

// Await returns as soon as a transaction waits that is not postponed, and after d at the
// latest.
func (p *Pool) Await(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		if p.ready() {
			return
		}
		select {
		case <-p.arrived:
		case <-timer.C:
			return
		}
	}
}

// ready tells whether a transaction waits that is not postponed.
func (p *Pool) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for _, l := range p.order {
		for _, q := range l.queues() {
			for e := q.Front(); e != nil; e = e.Next() {
				if !e.Value.(*waiting).notBefore.After(now) {
					return true
				}
			}
		}
	}
	return false
}

// Reap returns the transactions to offer to peers now, at most maxBytes of them
// (0: no limit).
func (p *Pool) Reap(maxBytes uint64) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.again = min(p.o.AgainBytes, p.again+int(min(now.Sub(p.reaped), time.Second).Milliseconds())*p.o.AgainBytes/1000)
	p.reaped = now
	var out [][]byte
	var size uint64
	for q := range p.offers {
		// What is offered now goes to the back of offerAgain, so a queue is read
		// to its present end at most.
		for n := p.offers[q].Len(); n > 0; n-- {
			e := p.offers[q].Front()
			w := e.Value.(*waiting)
			size += uint64(len(w.d.Raw))
			if w.offerAt.After(now) || offerQueue(q) != offerNow && p.again <= 0 {
				break
			}
			if maxBytes > 0 && size > maxBytes {
				return out
			}
			if offerQueue(q) != offerNow {
				p.again -= len(w.d.Raw)
			}
			p.offers[q].Remove(e)
			out = append(out, w.d.Raw)
			w.offerAt, w.queue = now.Add(p.o.OfferAgain), offerAgain
			w.offer = p.offers[offerAgain].PushBack(w)
		}
	}
	return out
}

// Candidates yields waiting transactions for a block, one organisation after the
// other in turn and each organisation's urgent ones first, then in order of arrival, but
// for those that were postponed. take says whether to go on, and whether this
// organisation is done for this block. foresee, unless it is nil, is told before which are to
// come, no more of them than there is room for.
func (p *Pool) Candidates(r room, foresee func([]*tx.Decoded), take func(d *tx.Decoded) (next Next)) {
	p.mu.Lock()
	now := p.now()
	lanes := make([][]*tx.Decoded, 0, len(p.order))
	for i := range p.order {
		l := p.order[(p.next+i)%len(p.order)]
		ds := make([]*tx.Decoded, 0, min(l.urgent.Len()+l.ordinary.Len(), maxPerLane))
		for _, q := range l.queues() {
			for e := q.Front(); e != nil && len(ds) < maxPerLane; e = e.Next() {
				if w := e.Value.(*waiting); !w.notBefore.After(now) {
					ds = append(ds, w.d)
				}
			}
		}
		if len(ds) > 0 {
			lanes = append(lanes, ds)
		}
	}
	if len(p.order) > 0 {
		p.next = (p.next + 1) % len(p.order)
	}
	p.mu.Unlock()
	if foresee != nil {
		foresee(inTurn(lanes, r))
	}
	for len(lanes) > 0 {
		left := lanes[:0]
		for _, l := range lanes {
			switch take(l[0]) {
			case Stop:
				return
			case SkipLane:
				continue
			}
			if len(l) > 1 {
				left = append(left, l[1:])
			}
		}
		lanes = left
	}
}

// room is how much a block has room for.
type room struct {
	txs   int
	bytes int64
}

// inTurn are the first of lanes, one of each in turn, that there is room for.
func inTurn(lanes [][]*tx.Decoded, r room) (out []*tx.Decoded) {
	for turn, any := 0, true; any; turn++ {
		any = false
		for _, l := range lanes {
			if turn >= len(l) {
				continue
			}
			r.txs--
			if r.bytes -= int64(len(l[turn].Raw)); r.txs < 0 || r.bytes < 0 {
				return out
			}
			out, any = append(out, l[turn]), true
		}
	}
	return out
}

// maxPerLane bounds what one block looks at of one organisation.
const maxPerLane = 50_000

// Next is an answer to Candidates.
type Next int

// The answers to Candidates.
const (
	Continue Next = iota
	SkipLane
	Stop
)

// The first and the longest pause of a transaction that a block had no room for.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// Postpone lets transactions wait for which a block had no room, each time twice as
// long: what is tried and refused costs a proposer as much as what is executed, and
// nobody is charged for it.
func (p *Pool) Postpone(ids ...tx.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for _, id := range ids {
		if e, ok := p.byID[id]; ok {
			w := e.Value.(*waiting)
			w.pause = min(max(2*w.pause, firstPause), longestPause)
			w.notBefore = now.Add(w.pause)
		}
	}
}

// Overdue are transactions that wait for longer than ListAfter: of each organisation the
// one that waits the longest of those that are not postponed and that good takes, and of
// these at most most, the oldest first. good must not call the pool.
func (p *Pool) Overdue(most int, good func(d *tx.Decoded) bool) []*tx.Decoded {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	var out []*waiting
	for _, l := range p.order {
		var longest *waiting
		for _, q := range l.queues() {
			for e := q.Front(); e != nil; e = e.Next() {
				w := e.Value.(*waiting)
				if now.Sub(w.since) < p.o.ListAfter || longest != nil && !w.since.Before(longest.since) {
					break // those behind it are younger
				}
				if !w.notBefore.After(now) && good(w.d) {
					longest = w
					break
				}
			}
		}
		if longest != nil {
			out = append(out, longest)
		}
	}
	slices.SortStableFunc(out, func(a, b *waiting) int { return a.since.Compare(b.since) })
	ds := make([]*tx.Decoded, min(len(out), most))
	for i := range ds {
		ds[i] = out[i].d
	}
	return ds
}

// Urge has transactions that wait here offered to the peers at once: others must hold
// what they are to propose.
func (p *Pool) Urge(ids ...tx.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if e, ok := p.byID[id]; ok {
			w := e.Value.(*waiting)
			p.offers[w.queue].Remove(w.offer)
			w.offerAt, w.queue = p.now(), offerNow
			w.offer = p.offers[offerNow].PushFront(w)
		}
	}
}

// lookup is a transaction that waits here, postponed or not; nil: it does not.
func (p *Pool) lookup(id tx.ID) *tx.Decoded {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.byID[id]; ok {
		return e.Value.(*waiting).d
	}
	return nil
}

// Evict takes transactions out of the pool that no block can hold.
func (p *Pool) Evict(ids ...tx.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if p.remove(id) != nil {
			p.metrics.left.WithLabelValues("refused").Inc()
		}
	}
}

// Proposed takes notice of a block of so many bytes that this node proposed, and whether there was
// more that it had no room for.
func (p *Pool) Proposed(bytes int, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full = 0; full {
		p.full = bytes
	}
}

// Committed takes out of the pool, and of what peers offered, what is in a block of so many bytes:
// its transactions, of which some have these ids.
func (p *Pool) Committed(bytes int, txs [][]byte, ids ...tx.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	defer p.learn(bytes, now)
	p.block = max(bytes, p.block-p.block/8)
	p.offered.forget(txs)
	for _, id := range ids {
		w := p.remove(id)
		if w == nil {
			continue
		}
		p.metrics.left.WithLabelValues("committed").Inc()
		p.metrics.waited.WithLabelValues(source(w.peer)).Observe(now.Sub(w.since).Seconds())
		p.metrics.span(id, "pool", w.since, false)
	}
}

// learn follows what blocks can take, from one of so many bytes after which the pool is as
// it is now. A block that leaves less than it took took all that was there, and might have
// taken more: it says nothing against what was thought before, and where somebody was turned
// away for want of room lately, that was too little. It needs mu held.
func (p *Pool) learn(bytes int, now time.Time) {
	since := now.Sub(p.took).Seconds()
	first := p.took.IsZero()
	p.took = now
	if first || since <= 0 {
		return
	}
	part := 1 - math.Exp(-since/takenOver.Seconds())
	_, offered := p.offered.size()
	left := p.bytes + offered
	switch sample := float64(bytes) / since; {
	case sample > p.taken || left > 0 && left >= bytes:
		p.taken += part * (sample - p.taken)
	case bytes > 0 && now.Sub(p.refused) < longestAway:
		p.taken = min(p.capacity()*(1+part), float64(p.o.MaxBytes))
	}
}

// capacity is how many bytes a second blocks are thought to take. It needs mu held.
func (p *Pool) capacity() float64 { return max(p.taken, leastCapacity) }

// remove takes one out, nil where it is not there.
func (p *Pool) remove(id tx.ID) *waiting {
	e, ok := p.byID[id]
	if !ok {
		return nil
	}
	w := e.Value.(*waiting)
	w.in.Remove(e)
	w.lane.bytes -= len(w.d.Raw)
	p.bytes -= len(w.d.Raw)
	p.offers[w.queue].Remove(w.offer)
	delete(p.byID, id)
	return w
}

// Expire takes out what became void before the given block time.
func (p *Pool) Expire(blockTime int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.order {
		for _, q := range l.queues() {
			for e := q.Front(); e != nil; {
				w := e.Value.(*waiting)
				e = e.Next()
				if w.d.Body.ValidUntil < blockTime {
					p.remove(w.d.ID)
					p.metrics.left.WithLabelValues("expired").Inc()
				}
			}
		}
	}
}

// Size is how many transactions wait, and their bytes.
func (p *Pool) Size() (txs, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID), p.bytes
}

// retryable tells whether a refused transaction may wait for another block.
func retryable(err error) bool {
	var e interface{ Retryable() bool }
	return errors.As(err, &e) && e.Retryable()
}
