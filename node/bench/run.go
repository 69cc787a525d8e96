package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxUnderWay bounds the transactions of no known outcome, and with them the memory.
	maxUnderWay = 200_000
	// maxAhead bounds the transactions that are signed before they are due.
	maxAhead = 300_000
	// batchSize is the most transactions in one message to a node.
	batchSize = 50
	// lookAge is how long nothing may be known of a taken transaction before it is
	// looked up, lookAtOnce how many are in one turn, and lookPause what is between two.
	lookAge    = 10 * time.Second
	lookAtOnce = 100
	lookPause  = 500 * time.Millisecond
	// reopenPause is between a broken stream and the next one to the same node.
	reopenPause = 200 * time.Millisecond
	// samplePause is between two looks at the processes' memory.
	samplePause = 250 * time.Millisecond
)

// Options are how a run loads its target.
type Options struct {
	// Rate is transactions a second, submitted whatever the target does: an open loop.
	// 0: Window transactions are kept under way instead, a closed loop.
	Rate   float64
	Window int
	// WarmUp is before Duration, and no figure is of it.
	WarmUp, Duration time.Duration
	// Most ends submitting after so many transactions; 0: Duration alone does.
	Most int
	// Patience is how long a transaction that is refused for now is offered again and, in
	// an open loop, how late one is sent at all; 0: never again, and however late.
	Patience time.Duration
	// Rude makes a client that does not heed when a node asks it to come back: it sends
	// what is due at once, and what was refused again after 100 ms.
	Rude bool
	// Drain is how long the run waits at its end for what is under way.
	Drain time.Duration
	// Ahead is how many transactions are signed before the first is submitted, so that
	// signing takes nothing from the target; at most maxAhead.
	Ahead int
	// Processes are the nodes' processes on this machine, for their memory and
	// processor time; none: not measured.
	Processes []int
	// Began is called when the span of the figures begins. It may be nil.
	Began func()
	// Progress is called about once a second. It may be nil.
	Progress func(executed int, left time.Duration)
}

// run is one Run.
type run struct {
	Options
	target   Target
	ledger   *ledger
	entries  []chan []*Tx
	follow   chan []*Tx // an entry of its own to the node that tells of blocks
	supply   chan *Tx
	fault    error         // of the workload; read after supply is closed
	turn     int           // the entry that is next; of the goroutine that submits
	lateness time.Duration // the most that submitting was behind its schedule
}

// Run loads a target with a workload and returns what came of it. It holds at most
// 200 000 transactions under way.
func Run(ctx context.Context, target Target, w Workload, o Options) (*Result, error) {
	if o.Rate <= 0 && o.Window <= 0 {
		return nil, errors.New("bench: neither a rate nor a window")
	}
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	r := &run{Options: o, target: target, ledger: newLedger(time.Now)}
	r.ledger.rude = o.Rude

	ready := make(chan struct{})
	watching := make(chan error, 1)
	background.Go(func() {
		watching <- target.Watch(ctx, sync.OnceFunc(func() { close(ready) }), r.ledger.told)
	})
	select {
	case <-ready:
	case err := <-watching:
		return nil, fmt.Errorf("watch blocks: %w", err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	r.supply = make(chan *Tx, max(min(o.Ahead, maxAhead), batchSize))
	filled := make(chan struct{})
	background.Go(func() { r.sign(ctx, w, sync.OnceFunc(func() { close(filled) })) })
	select {
	case <-filled:
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	broken := make(chan error, target.Entries()+1)
	enter := func(i int) chan []*Tx {
		batches := make(chan []*Tx, 2)
		background.Go(func() { r.enter(ctx, i, batches, broken) })
		return batches
	}
	for i := range target.Entries() {
		r.entries = append(r.entries, enter(i))
	}
	r.follow = enter(0)
	background.Go(func() { r.lookUp(ctx) })

	began := time.Now()
	r.ledger.begin(began, o.WarmUp, o.Duration)
	use := watchUsage(ctx, &background, o.Processes, began.Add(o.WarmUp), began.Add(o.WarmUp+o.Duration))
	if o.Began != nil {
		t := time.AfterFunc(o.WarmUp, o.Began)
		defer t.Stop()
	}
	// A closed loop ends with the span. An open one catches up with what was due in it.
	ends := began.Add(o.WarmUp + o.Duration)
	if o.Rate > 0 {
		ends = ends.Add(o.Drain)
	}
	offering, stop := context.WithDeadline(ctx, ends)
	defer stop()
	faults := make(chan error, 1)
	background.Go(func() {
		select {
		case err := <-watching:
			if err == nil {
				err = errors.New("the stream of events ended")
			}
			faults <- fmt.Errorf("watch blocks: %w", err)
			cancel()
		case err := <-broken:
			faults <- err
			cancel()
		case <-ctx.Done():
		}
	})
	if o.Progress != nil {
		background.Go(func() { r.progress(ctx, began.Add(o.WarmUp+o.Duration)) })
	}
	var err error
	if o.Rate > 0 {
		err = r.open(offering, began)
	} else {
		err = r.closed(offering)
	}
	if err == nil {
		err = r.drain(ctx)
	}
	if err != nil {
		select {
		case fault := <-faults:
			err = fault
		default:
		}
		return nil, err
	}
	return r.result(use()), nil
}

// sign makes transactions until ctx ends or the workload fails, and calls filled when
// the first so many are there, or none will come. It goes on only when they are nearly used
// up: signing takes processors that the target may need.
func (r *run) sign(ctx context.Context, w Workload, filled func()) {
	defer filled()
	defer close(r.supply)
	for {
		tx, err := w.Next()
		if err != nil {
			r.fault = err
			return
		}
		if len(r.supply) == cap(r.supply) {
			filled()
			for len(r.supply) > batchSize {
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
					return
				}
			}
		}
		select {
		case r.supply <- tx:
		case <-ctx.Done():
			return
		}
	}
}

// fresh is the next transaction of the workload, one that waited for another first.
func (r *run) fresh() (*Tx, error) {
	if tx := r.ledger.next(); tx != nil {
		return tx, nil
	}
	tx, ok := <-r.supply
	if !ok {
		return nil, fmt.Errorf("make transactions: %w", r.fault)
	}
	return tx, nil
}

// open submits at the rate whatever was due until the end, also what it is late with by
// then, until ctx ends.
func (r *run) open(ctx context.Context, began time.Time) error {
	dueAt := func(n int) time.Time { return began.Add(time.Duration(float64(n) / r.Rate * float64(time.Second))) }
	end := began.Add(r.WarmUp + r.Duration)
	n := 0
	// Whatever is not submitted in the end was due all the same.
	defer func() {
		for ; (r.Most == 0 || n < r.Most) && dueAt(n).Before(end); n++ {
			r.ledger.withhold(dueAt(n))
		}
	}()
	for r.Most == 0 || n < r.Most {
		now := time.Now()
		due := dueAt(n)
		if !due.Before(end) {
			return nil
		}
		if err := r.offerAgain(ctx); err != nil {
			return r.ended(ctx)
		}
		if wait := due.Sub(now); wait > 0 {
			select {
			case <-time.After(max(min(wait, 10*time.Millisecond), time.Millisecond)):
			case <-ctx.Done():
				return r.ended(ctx)
			}
			continue
		}
		r.lateness = max(r.lateness, now.Sub(due))
		var txs []*Tx
		var dues []time.Time
		for ; len(txs) < batchSize && !due.After(now) && due.Before(end) && (r.Most == 0 || n < r.Most); n, due = n+1, dueAt(n+1) {
			if r.ledger.underWay()+len(txs) >= maxUnderWay || r.Patience > 0 && now.Sub(due) > r.Patience {
				r.ledger.withhold(due)
				continue
			}
			tx, err := r.fresh()
			if err != nil {
				return err
			}
			txs, dues = append(txs, tx), append(dues, due)
		}
		if len(txs) == 0 {
			continue
		}
		r.ledger.enter(txs, dues)
		if err := r.submit(ctx, txs); err != nil {
			return r.ended(ctx)
		}
	}
	return r.ended(ctx)
}

// ended is why an offering ended: nil in good order.
func (r *run) ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return nil
}

// closed keeps the window full until ctx ends.
func (r *run) closed(ctx context.Context) error {
	for n := 0; ctx.Err() == nil && (r.Most == 0 || n < r.Most); {
		if err := r.offerAgain(ctx); err != nil {
			break
		}
		free := min(r.Window, maxUnderWay) - r.ledger.underWay()
		if free < min(batchSize, r.Window) {
			select {
			case <-r.ledger.changed:
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		txs := make([]*Tx, min(batchSize, free))
		if r.Most > 0 {
			txs = txs[:min(len(txs), r.Most-n)]
		}
		dues := make([]time.Time, len(txs))
		for i := range txs {
			var err error
			if txs[i], err = r.fresh(); err != nil {
				return err
			}
			dues[i] = time.Now()
		}
		n += len(txs)
		r.ledger.enter(txs, dues)
		if err := r.submit(ctx, txs); err != nil {
			break
		}
	}
	return r.ended(ctx)
}

// offerAgain submits what was refused and whose pause is over.
func (r *run) offerAgain(ctx context.Context) error {
	if txs := r.ledger.again(batchSize); len(txs) > 0 {
		return r.submit(ctx, txs)
	}
	return nil
}

// submit hands a batch to the first entry in turn that has room, and waits where none
// has. Those that follow others go to the node that tells of blocks, on an entry of their own.
func (r *run) submit(ctx context.Context, txs []*Tx) error {
	var any, first []*Tx
	for _, tx := range txs {
		if tx.follows {
			first = append(first, tx)
		} else {
			any = append(any, tx)
		}
	}
	err := r.hand(ctx, r.follow, first)
	for range r.entries {
		if len(any) == 0 {
			return err
		}
		r.turn = (r.turn + 1) % len(r.entries)
		select {
		case r.entries[r.turn] <- any:
			return err
		default:
		}
	}
	return errors.Join(err, r.hand(ctx, r.entries[r.turn], any))
}

// hand waits until an entry takes a batch. What it has not taken when ctx ends is offered
// in the drain: it was due.
func (r *run) hand(ctx context.Context, entry chan<- []*Tx, txs []*Tx) error {
	if len(txs) == 0 {
		return nil
	}
	select {
	case entry <- txs:
		return nil
	case <-ctx.Done():
		r.ledger.broken(txs)
		return ctx.Err()
	}
}

// maxReopen is how often in a row a node's stream may break.
const maxReopen = 20

// enter submits what comes to one node, over one stream after the other.
func (r *run) enter(ctx context.Context, i int, batches <-chan []*Tx, broken chan<- error) {
	var last error
	for range maxReopen {
		var mu sync.Mutex // guards open
		var open [][]*Tx  // sent, and not yet answered
		entry, err := r.target.Open(ctx, i, r.Rude, func(batch []*Tx, answers []Answer) {
			mu.Lock()
			if len(open) > 0 {
				open = open[1:]
			}
			mu.Unlock()
			r.ledger.answered(batch, answers, r.Patience)
		})
		for err == nil {
			select {
			case txs := <-batches:
				mu.Lock()
				open = append(open, txs)
				mu.Unlock()
				err = entry.Send(txs)
			case <-ctx.Done():
				_ = entry.Close()
				return
			}
		}
		if entry != nil {
			_ = entry.Close()
		}
		mu.Lock()
		for _, txs := range open {
			r.ledger.broken(txs)
		}
		mu.Unlock()
		last = err
		select {
		case <-time.After(reopenPause):
		case <-ctx.Done():
			return
		}
	}
	broken <- fmt.Errorf("node %d: its stream broke %d times: %w", i, maxReopen, last)
}

// lookUp asks after taken transactions of which nothing was told.
func (r *run) lookUp(ctx context.Context) {
	for {
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return
		}
		for _, id := range r.ledger.overdue(lookAtOnce, lookAge) {
			if o, err := r.target.Outcome(ctx, id); err == nil {
				r.ledger.found(id, o)
			} else if ctx.Err() != nil {
				return
			}
		}
	}
}

// drain offers again what is to be, and waits until every outcome is known or time is
// out.
func (r *run) drain(ctx context.Context) error {
	end := time.Now().Add(r.Drain)
	for r.ledger.underWay() > 0 && time.Now().Before(end) {
		if err := r.offerAgain(ctx); err != nil {
			return err
		}
		select {
		case <-r.ledger.changed:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) progress(ctx context.Context, end time.Time) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.Progress(r.ledger.executed(), max(time.Until(end), 0))
		case <-ctx.Done():
			return
		}
	}
}

// usage is what the processes used in the span.
type usage struct {
	cpu      []time.Duration
	resident []int64 // the most
}

// watchUsage measures processes between two moments. The returned function waits for
// the second one. A process that ends meanwhile ends the measurement.
func watchUsage(ctx context.Context, background *sync.WaitGroup, pids []int, from, until time.Time) func() *usage {
	if len(pids) == 0 {
		return func() *usage { return nil }
	}
	done := make(chan *usage, 1)
	background.Go(func() { done <- measureUsage(ctx, pids, from, until) })
	return func() *usage { return <-done }
}

func measureUsage(ctx context.Context, pids []int, from, until time.Time) *usage {
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	if !wait(time.Until(from)) {
		return nil
	}
	u := &usage{make([]time.Duration, len(pids)), make([]int64, len(pids))}
	begin := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if begin[i], err = CPU(pid); err != nil {
			return nil
		}
	}
	for {
		for i, pid := range pids {
			n, err := Resident(pid)
			if err != nil {
				return nil
			}
			u.resident[i] = max(u.resident[i], n)
		}
		left := time.Until(until)
		if left <= 0 {
			break
		}
		if !wait(min(left, samplePause)) {
			return nil
		}
	}
	for i, pid := range pids {
		end, err := CPU(pid)
		if err != nil {
			return nil
		}
		u.cpu[i] = end - begin[i]
	}
	return u
}
