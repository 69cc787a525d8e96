package bench

import (
	"container/heap"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// flight is a transaction between the moment at which it was due and what became of it.
type flight struct {
	tx    *Tx
	due   time.Time
	sent  time.Time // for the last time
	taken bool      // a node answered that it has it
	again time.Time // when it is to be offered again; zero: it is not waiting for that
	tries int
}

// second is what happened in one second of a run.
type second struct {
	due, executed, refused int
	latency                *hdrhistogram.Histogram // of those that were due in it
}

// Histograms hold microseconds up to ten minutes with three digits, and those of a
// second two.
const longest = 10 * time.Minute

func newHistogram(digits int) *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), digits)
}

// ledger accounts for every transaction of a run.
type ledger struct {
	changed chan struct{} // sent to, without waiting, when something left

	mu      sync.Mutex // guards all below
	flights map[ID]*flight
	waiting retries   // flights to be offered again, soonest first
	order   []*flight // taken ones, roughly oldest first; those that are settled are dropped late
	ready   []*Tx     // to be submitted because another one was executed
	from    time.Time // figures are of what was due and done from here
	until   time.Time // to here
	begun   time.Time
	latency *hdrhistogram.Histogram
	seconds []second
	count   Counts
	inSpan  int // executed in the span
	rude    bool
	bytes   int // of executed transactions
	clock   func() time.Time
}

// Counts says what became of every transaction.
type Counts struct {
	// Due were to be submitted, and Withheld of them never were, because too many were
	// under way, or the nodes took in nothing until patience was over.
	Due      int `json:"due"`
	Withheld int `json:"withheld"`
	// Taken were answered by a node that has them.
	Taken int `json:"taken"`
	// Executed, Held and Failed are in blocks.
	Executed int `json:"executed"`
	Held     int `json:"held"`
	Failed   int `json:"failed"`
	// Refused are answers at the door by module/code: one transaction may have several.
	Refused map[string]int `json:"refused"`
	// Unadvised are refusals of what may be taken later that do not say when.
	Unadvised int `json:"unadvised"`
	// Rejected were refused for good, and Abandoned too often.
	Rejected  int `json:"rejected"`
	Abandoned int `json:"abandoned"`
	// LookedUp were found by their id and not by events.
	LookedUp int `json:"looked_up"`
	// Void were taken and came into no block before their time was out, and Unknown
	// are of no known outcome when the run ended.
	Void    int `json:"void"`
	Unknown int `json:"unknown"`
	// Messages were in executed transactions.
	Messages int `json:"messages"`
	// Alarms scored high, and Denials are recorded decisions that deny.
	Alarms  int `json:"alarms"`
	Denials int `json:"denials"`
}

func newLedger(clock func() time.Time) *ledger {
	return &ledger{
		changed: make(chan struct{}, 1), flights: map[ID]*flight{}, latency: newHistogram(3),
		count: Counts{Refused: map[string]int{}}, clock: clock,
	}
}

// begin sets the span of the figures.
func (l *ledger) begin(at time.Time, warmUp, duration time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.from, l.until = at, at.Add(warmUp), at.Add(warmUp+duration)
	l.seconds = make([]second, int((warmUp+duration+time.Second-1)/time.Second))
}

// at is the second of a moment, nil outside of the run. The caller holds mu.
func (l *ledger) at(t time.Time) *second {
	i := int(t.Sub(l.begun) / time.Second)
	if t.Before(l.begun) || i >= len(l.seconds) {
		return nil
	}
	return &l.seconds[i]
}

// enter takes transactions in that are about to be sent. due is when each should have been.
func (l *ledger) enter(txs []*Tx, due []time.Time) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, tx := range txs {
		l.flights[tx.ID] = &flight{tx: tx, due: due[i], sent: now}
		l.count.Due++
		if s := l.at(due[i]); s != nil {
			s.due++
		}
	}
}

// withhold counts what was due and is not submitted.
func (l *ledger) withhold(due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.Due++
	l.count.Withheld++
	if s := l.at(due); s != nil {
		s.due++
	}
}

// firstPause and longestPause bound how long a refused transaction waits when the
// node does not ask for more.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// answered takes what a node said of a batch.
func (l *ledger) answered(batch []*Tx, answers []Answer, patience time.Duration) {
	now := l.clock()
	l.mu.Lock()
	for i, tx := range batch {
		f := l.flights[tx.ID]
		if f == nil { // its block was told of before
			continue
		}
		a := answers[i]
		if a.Refusal == "" {
			if !f.taken {
				f.taken = true
				l.count.Taken++
				l.order = append(l.order, f)
			}
			continue
		}
		l.count.Refused[a.Refusal]++
		if s := l.at(now); s != nil {
			s.refused++
		}
		if !a.Again {
			l.count.Rejected++
			delete(l.flights, tx.ID)
			continue
		}
		if a.After == 0 {
			l.count.Unadvised++
		}
		pause := max(min(firstPause<<min(f.tries, 10), longestPause), a.After)
		if l.rude {
			pause = firstPause
		}
		f.tries++
		if now.Add(pause).After(f.due.Add(patience)) {
			l.count.Abandoned++
			delete(l.flights, tx.ID)
			continue
		}
		f.again = now.Add(pause)
		heap.Push(&l.waiting, f)
	}
	l.mu.Unlock()
	l.signal()
}

// broken puts a batch back whose answers will not come, to be offered again: the node
// may have it or not, and the same bytes have no second effect.
func (l *ledger) broken(batch []*Tx) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tx := range batch {
		if f := l.flights[tx.ID]; f != nil && !f.taken && f.again.IsZero() {
			f.again = now.Add(firstPause)
			heap.Push(&l.waiting, f)
		}
	}
}

// again takes up to n transactions whose pause is over.
func (l *ledger) again(n int) []*Tx {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*Tx
	for len(out) < n && len(l.waiting) > 0 && !l.waiting[0].again.After(now) {
		f := heap.Pop(&l.waiting).(*flight)
		f.again = time.Time{}
		if l.flights[f.tx.ID] != f {
			continue
		}
		f.sent = now
		out = append(out, f.tx)
	}
	return out
}

// next takes a transaction that had to wait for another one, nil if there is none.
func (l *ledger) next() *Tx {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ready) == 0 {
		return nil
	}
	tx := l.ready[0]
	l.ready = l.ready[1:]
	return tx
}

// told takes what a block holds.
func (l *ledger) told(n News) {
	l.mu.Lock()
	// Others may be at work on the same chain.
	for _, id := range n.Alarms {
		if l.flights[id] != nil {
			l.count.Alarms++
		}
	}
	for _, id := range n.Denied {
		if l.flights[id] != nil {
			l.count.Denials++
		}
	}
	for _, id := range n.Executed {
		l.settle(id, Executed)
	}
	for _, id := range n.Held {
		l.settle(id, Held)
	}
	l.mu.Unlock()
	l.signal()
}

// settle ends a flight. The caller holds mu.
func (l *ledger) settle(id ID, o Outcome) {
	f := l.flights[id]
	if f == nil {
		return
	}
	delete(l.flights, id)
	if !f.taken {
		f.taken = true // a block is more than an answer
		l.count.Taken++
	}
	switch o {
	case Held:
		l.count.Held++
		return
	case Failed:
		l.count.Failed++
		return
	}
	now := l.clock()
	l.count.Executed++
	l.count.Messages += f.tx.Messages
	l.bytes += len(f.tx.Raw)
	if f.tx.Then != nil {
		f.tx.Then.follows = true
		l.ready = append(l.ready, f.tx.Then)
	}
	if s := l.at(now); s != nil {
		s.executed++
	}
	if !now.Before(l.from) && now.Before(l.until) {
		l.inSpan++
	}
	if f.due.Before(l.from) || !f.due.Before(l.until) {
		return
	}
	took := min(max(now.Sub(f.due).Microseconds(), 1), longest.Microseconds())
	_ = l.latency.RecordValue(took) // it is within the bounds
	if s := l.at(f.due); s != nil {
		if s.latency == nil {
			s.latency = newHistogram(2)
		}
		_ = s.latency.RecordValue(took)
	}
}

// overdue are up to n taken transactions of which nothing is known since long.
func (l *ledger) overdue(n int, age time.Duration) []ID {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []ID
	kept := l.order[:0]
	for _, f := range l.order {
		if l.flights[f.tx.ID] != f {
			continue
		}
		if len(out) < n && now.Sub(f.sent) >= age {
			out = append(out, f.tx.ID)
		}
		kept = append(kept, f)
	}
	clear(l.order[len(kept):])
	l.order = kept
	return out
}

// found takes the outcome of a transaction that was looked up.
func (l *ledger) found(id ID, o Outcome) {
	l.mu.Lock()
	f := l.flights[id]
	switch {
	case f == nil:
	case o != Pending:
		l.count.LookedUp++
		l.settle(id, o)
	case l.clock().After(f.tx.ValidUntil.Add(voidAfter)):
		l.count.Void++
		delete(l.flights, id)
	default:
		f.sent = l.clock() // the next look is later
	}
	l.mu.Unlock()
	l.signal()
}

// voidAfter is how long after its time a transaction may still be in a block that was
// not told of yet.
const voidAfter = 30 * time.Second

// underWay is how many transactions are of no known outcome.
func (l *ledger) underWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.flights)
}

func (l *ledger) executed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count.Executed
}

func (l *ledger) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// retries is a heap by when a flight is to be offered again.
type retries []*flight

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].again.Before(r[j].again) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(x any)        { *r = append(*r, x.(*flight)) }
func (r *retries) Pop() any {
	old := *r
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*r = old[:len(old)-1]
	return f
}
