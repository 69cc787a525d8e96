package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"
)

// numbered makes transactions that are numbers.
type numbered struct {
	n     uint64
	until time.Time
	then  bool // each tenth has another one that follows it
}

func (w *numbered) one() *Tx {
	w.n++
	raw := binary.BigEndian.AppendUint64(nil, w.n)
	return &Tx{Raw: raw, ID: sha256.Sum256(raw), Messages: 1, ValidUntil: w.until}
}

func (w *numbered) Next() (*Tx, error) {
	tx := w.one()
	if w.then && w.n%10 == 0 {
		tx.Then = w.one()
	}
	return tx, nil
}

// fake is a network that the test makes behave.
type fake struct {
	nodes  int
	answer func(*Tx) Answer                 // nil: it takes everything
	commit func(txs []*Tx, tell func(News)) // of each taken batch; nil: at once
	hold   func() time.Duration             // how long Send waits; nil: not at all
	look   func(ID) Outcome                 // nil: Pending
	fail   func(n int) error                // of the nth Send of all; nil: none
	mu     sync.Mutex                       // guards all below
	tell   func(News)
	sends  int
	first  []*Tx // what the first node took
	got    []*Tx // what any node took
	rude   int   // how many entries were opened rudely
}

func (f *fake) Entries() int { return f.nodes }

func (f *fake) Watch(ctx context.Context, ready func(), tell func(News)) error {
	f.mu.Lock()
	f.tell = tell
	f.mu.Unlock()
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) Outcome(_ context.Context, id ID) (Outcome, error) {
	if f.look == nil {
		return Pending, nil
	}
	return f.look(id), nil
}

type fakeEntry struct {
	f       *fake
	i       int
	answers func([]*Tx, []Answer)
}

func (f *fake) Open(_ context.Context, i int, rude bool, answers func([]*Tx, []Answer)) (Entry, error) {
	if rude {
		f.mu.Lock()
		f.rude++
		f.mu.Unlock()
	}
	return &fakeEntry{f, i, answers}, nil
}

func (e *fakeEntry) Close() error { return nil }

func (e *fakeEntry) Send(batch []*Tx) error {
	f := e.f
	if f.hold != nil {
		time.Sleep(f.hold())
	}
	f.mu.Lock()
	n, tell := f.sends, f.tell
	f.sends++
	f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(n); err != nil {
			return err
		}
	}
	answers := make([]Answer, len(batch))
	var taken []*Tx
	for i, tx := range batch {
		if f.answer != nil {
			answers[i] = f.answer(tx)
		}
		if answers[i].Refusal == "" {
			taken = append(taken, tx)
		}
	}
	f.mu.Lock()
	f.got = append(f.got, taken...)
	if e.i == 0 {
		f.first = append(f.first, taken...)
	}
	f.mu.Unlock()
	e.answers(batch, answers)
	if f.commit != nil {
		f.commit(taken, tell)
		return nil
	}
	tell(executed(taken))
	return nil
}

func executed(txs []*Tx) (n News) {
	for _, tx := range txs {
		n.Executed = append(n.Executed, tx.ID)
	}
	return n
}

func later() *numbered { return &numbered{until: time.Now().Add(time.Hour)} }

func loaded(t *testing.T, f *fake, w Workload, o Options) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := Run(ctx, f, w, o)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Counts
	if sum := c.Executed + c.Held + c.Failed + c.Void + c.Unknown + c.Rejected + c.Abandoned + c.Withheld; sum != c.Due {
		t.Errorf("%d were due and %d are accounted for: %+v", c.Due, sum, c)
	}
	return r
}

// A network that stalls for half a second makes everything late that was due meanwhile,
// although nothing of it could be sent.
func TestLatencyIsFromWhenATransactionWasDue(t *testing.T) {
	t.Parallel()
	const stall = 500 * time.Millisecond
	var once sync.Once
	began := time.Now()
	f := &fake{nodes: 1, hold: func() (d time.Duration) {
		if time.Since(began) > 300*time.Millisecond {
			once.Do(func() { d = stall })
		}
		return d
	}}
	r := loaded(t, f, later(), Options{Rate: 200, Duration: time.Second, Drain: 10 * time.Second, Ahead: 200})
	if r.Counts.Due != 200 || r.Counts.Executed != 200 {
		t.Errorf("%d were due and %d executed, want 200", r.Counts.Due, r.Counts.Executed)
	}
	// Half of the second's transactions were due in the stall, and waited for a quarter of
	// a second on average.
	if r.Latency.P90 < 200 || r.Latency.Max < 450 {
		t.Errorf("p90 is %v ms and the most %v ms; a stall of %v is hidden", r.Latency.P90, r.Latency.Max, stall)
	}
}

func TestAClosedLoopKeepsItsWindow(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	under, most := 0, 0
	f := &fake{nodes: 3, commit: func(txs []*Tx, tell func(News)) {
		mu.Lock()
		under += len(txs)
		most = max(most, under)
		mu.Unlock()
		time.AfterFunc(20*time.Millisecond, func() {
			mu.Lock()
			under -= len(txs)
			mu.Unlock()
			tell(executed(txs))
		})
	}}
	r := loaded(t, f, later(), Options{Window: 120, Duration: 500 * time.Millisecond, Drain: 10 * time.Second})
	if most > 120 || most < 60 {
		t.Errorf("at most %d were under way, want 120", most)
	}
	if r.Throughput == 0 || r.Counts.Unknown != 0 {
		t.Errorf("%+v", r)
	}
}

// What is refused for now comes again, after what the node asks for and not before.
func TestRefusalsAreOfferedAgainWhenTheNodeSays(t *testing.T) {
	t.Parallel()
	const after = 300 * time.Millisecond
	var mu sync.Mutex
	at := make(map[ID]time.Time)
	f := &fake{nodes: 2, answer: func(tx *Tx) Answer {
		mu.Lock()
		defer mu.Unlock()
		before, ok := at[tx.ID]
		if !ok {
			at[tx.ID] = time.Now()
			return Answer{Refusal: "pool/32001", Again: true, After: after}
		}
		if d := time.Since(before); d < after {
			t.Errorf("it came again after %v, and %v was asked for", d, after)
		}
		return Answer{}
	}}
	r := loaded(t, f, later(), Options{Rate: 100, Duration: 500 * time.Millisecond, Patience: time.Minute, Drain: 20 * time.Second})
	if r.Counts.Executed != r.Counts.Due || r.Counts.Refused["pool/32001"] != r.Counts.Due || r.Counts.Unadvised != 0 {
		t.Errorf("%+v", r.Counts)
	}
	if r.Latency.Min < 300 {
		t.Errorf("the least latency is %v ms, and all were refused for 300 ms", r.Latency.Min)
	}
}

// A rude client comes again whatever the node asks for, and on streams that do, too.
func TestARudeClientDoesNotHeed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := make(map[ID]bool)
	f := &fake{nodes: 2, answer: func(tx *Tx) Answer {
		mu.Lock()
		defer mu.Unlock()
		if !asked[tx.ID] {
			asked[tx.ID] = true
			return Answer{Refusal: "pool/32001", Again: true, After: time.Hour}
		}
		return Answer{}
	}}
	r := loaded(t, f, later(), Options{Rate: 100, Duration: 300 * time.Millisecond, Patience: time.Minute, Drain: 20 * time.Second, Rude: true})
	if r.Counts.Executed != r.Counts.Due || !r.Rude || f.rude != 3 {
		t.Errorf("%d rude streams, want one to each node and one for what follows; %+v", f.rude, r.Counts)
	}
}

// What nodes do not take in until patience is over is not sent any more: it was due, and is
// counted as such.
func TestWhatIsDueForTooLongIsWithheld(t *testing.T) {
	t.Parallel()
	f := &fake{nodes: 1, hold: func() time.Duration { return 400 * time.Millisecond }}
	r := loaded(t, f, later(), Options{Rate: 1000, Duration: time.Second, Patience: 200 * time.Millisecond, Drain: 20 * time.Second, Ahead: 1000})
	if c := r.Counts; c.Withheld == 0 || c.Executed == 0 || c.Due != 1000 || c.Executed+c.Withheld != c.Due {
		t.Errorf("%+v", c)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	n := 0
	f := &fake{nodes: 1, answer: func(*Tx) Answer {
		n++
		switch n % 3 {
		case 0:
			return Answer{Refusal: "tx/7"}
		case 1:
			return Answer{Refusal: "node/32001", Again: true}
		}
		return Answer{}
	}}
	r := loaded(t, f, later(), Options{Rate: 300, Duration: 300 * time.Millisecond, Drain: time.Second})
	c := r.Counts
	if c.Rejected != 30 || c.Abandoned != 30 || c.Executed != 30 || c.Unadvised != 30 || c.Refused["tx/7"] != 30 || c.Refused["node/32001"] != 30 {
		t.Errorf("%+v", c)
	}
}

// A stream that breaks leaves it open what the node has: all of it is submitted again.
func TestABrokenStreamLosesNothing(t *testing.T) {
	t.Parallel()
	f := &fake{nodes: 1, fail: func(n int) error {
		if n == 3 || n == 7 {
			return errors.New("broken")
		}
		return nil
	}}
	r := loaded(t, f, later(), Options{Rate: 100, Duration: 500 * time.Millisecond, Patience: time.Minute, Drain: 20 * time.Second})
	if r.Counts.Executed != r.Counts.Due || r.Counts.Due != 50 {
		t.Errorf("%+v", r.Counts)
	}
}

func TestANodeThatIsGoneEndsTheRun(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	f := &fake{nodes: 1, fail: func(int) error { return gone }}
	_, err := Run(t.Context(), f, later(), Options{Window: 50, Duration: 10 * time.Second, Drain: time.Minute})
	if !errors.Is(err, gone) {
		t.Errorf("the run ended with %v", err)
	}
}

// A withdrawal goes to the node that told of the consent: others may not know it yet.
func TestWhatFollowsGoesToTheNodeThatTold(t *testing.T) {
	t.Parallel()
	f := &fake{nodes: 4}
	w := later()
	w.then = true
	r := loaded(t, f, w, Options{Rate: 400, Duration: 500 * time.Millisecond, Drain: 10 * time.Second})
	if r.Counts.Executed != r.Counts.Due {
		t.Errorf("%+v", r.Counts)
	}
	follow := 0
	for _, tx := range f.got {
		if tx.follows {
			follow++
		}
	}
	first := 0
	for _, tx := range f.first {
		if tx.follows {
			first++
		}
	}
	if follow == 0 || first != follow {
		t.Errorf("%d of %d that follow went to the first node", first, follow)
	}
}

// What events do not tell of is asked for: executed after all, failed, or void.
func TestWhatIsNotToldOfIsLookedUp(t *testing.T) {
	t.Parallel()
	at := time.Now()
	l := newLedger(func() time.Time { return at })
	l.begin(at, 0, time.Minute)
	w := &numbered{until: at.Add(time.Minute)}
	txs := []*Tx{w.one(), w.one(), w.one(), w.one()}
	l.enter(txs, []time.Time{at, at, at, at})
	l.answered(txs, make([]Answer, 4), time.Minute)
	if got := l.overdue(10, lookAge); len(got) != 0 {
		t.Fatalf("%d are overdue at once", len(got))
	}
	at = at.Add(lookAge)
	if got := l.overdue(10, lookAge); len(got) != 4 {
		t.Fatalf("%d are overdue, want 4", len(got))
	}
	l.found(txs[0].ID, Executed)
	l.found(txs[1].ID, Failed)
	l.found(txs[2].ID, Pending)
	if got := l.overdue(10, lookAge); len(got) != 1 {
		t.Errorf("%d are overdue, want the one that was not asked for", len(got))
	}
	at = w.until.Add(voidAfter + time.Second)
	l.found(txs[2].ID, Pending)
	l.found(txs[3].ID, Executed)
	want := Counts{Due: 4, Taken: 4, Executed: 2, Failed: 1, LookedUp: 3, Void: 1, Messages: 2}
	got := l.count
	got.Refused = nil
	if got.Due != want.Due || got.Taken != want.Taken || got.Executed != want.Executed || got.Failed != want.Failed ||
		got.LookedUp != want.LookedUp || got.Void != want.Void || l.underWay() != 0 {
		t.Errorf("%+v, want %+v; %d under way", got, want, l.underWay())
	}
}

func TestMostEndsARun(t *testing.T) {
	t.Parallel()
	r := loaded(t, &fake{nodes: 2}, later(), Options{Window: 60, Most: 150, Duration: time.Hour, Drain: 5 * time.Second})
	if r.Counts.Executed != 150 {
		t.Errorf("%d were executed, want 150", r.Counts.Executed)
	}
}

func TestAWorkloadThatFailsEndsTheRun(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), &fake{nodes: 1}, failing{}, Options{Rate: 10, Duration: time.Second}); !errors.Is(err, errFailing) {
		t.Error(err)
	}
}

var errFailing = errors.New("no more")

type failing struct{}

func (failing) Next() (*Tx, error) { return nil, errFailing }
