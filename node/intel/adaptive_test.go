package intel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// office is a consortium of people who work by day, each on resources of their own.
type office struct {
	t      *testing.T
	a      *Adaptive
	rand   *rand.Rand
	now    int64
	height int64
	people int
	raised map[string]Level // the highest that the book had, of everybody
}

func newOffice(t *testing.T, o AdaptiveOptions) *office {
	t.Helper()
	b := newBook(t)
	b.write = func(string, []byte) error { return nil }
	log, _ := newLog()
	a, err := NewAdaptive(o, b, b.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	return &office{t: t, a: a, rand: rand.New(rand.NewPCG(1, 2)), now: 1_800_000_000_000, people: 150, raised: map[string]Level{}}
}

var kindsOfWork = []string{"access.Decide", "access.Decide", "access.Decide", "provenance.Register", "consent.Give", "identity.AddKey"}

// minute passes one minute, in which people work and extra is done as well.
func (o *office) minute(past bool, extra ...Observation) {
	o.now += minute
	o.height++
	var list []Observation
	hour := o.now / 3_600_000 % 24
	for p := range o.people {
		rate := 0.002
		if start := int64(6 + p%4); hour >= start && hour < start+9 {
			rate = 0.05 + 0.1*float64(p%5)/5
		}
		if o.rand.Float64() >= rate {
			continue
		}
		r := fmt.Sprintf("record-%d-%d", p, int(float64(40)*o.rand.Float64()*o.rand.Float64()))
		if o.rand.IntN(20) == 0 {
			r = fmt.Sprintf("shared-%d", o.rand.IntN(2000))
		}
		list = append(list, Observation{Actor: fmt.Sprintf("did:chancery:acme:p-%d", p), Kind: kindsOfWork[o.rand.IntN(len(kindsOfWork))], Resources: []string{r}, Failed: o.rand.IntN(50) == 0})
	}
	list = append(list, extra...)
	for i := range list {
		list[i].Time, list[i].Height = o.now, o.height
	}
	o.a.Observe(Block{Height: o.height, Time: o.now, Past: past, Observations: list})
	for _, x := range o.a.book.Opinions(o.now) {
		o.raised[x.Subject] = max(o.raised[x.Subject], x.Level)
	}
}

func (o *office) level(subject string) Level {
	for _, x := range o.a.book.Opinions(o.now) {
		if x.Subject == subject {
			return x.Level
		}
	}
	return LevelNone
}

func TestTheAdaptiveModelSuspectsTheThiefAndForgets(t *testing.T) {
	o := newOffice(t, DefaultAdaptiveOptions())
	for range 4 * 24 * 60 {
		o.minute(true)
	}
	if len(o.raised) != 0 {
		t.Fatalf("the past raised alarms: %v", o.raised)
	}
	for range 26 * 60 { // to two in the morning and more than a day of quiet life
		o.minute(false)
	}
	normal := len(o.raised)
	high := 0
	for _, l := range o.raised {
		if l >= LevelHigh {
			high++
		}
	}
	t.Logf("a day of normal life: %d of %d people suspected, %d of them high; %d transactions learnt", normal, o.people, high, o.a.events)
	if normal > o.people/5 || high > 1 {
		t.Errorf("a day of normal life raised %d people, %d of them high", normal, high)
	}

	// One who worked by day takes many records that are none of theirs.
	const thief = "did:chancery:acme:p-17"
	took := 0
	for took < 30 && o.level(thief) < LevelHigh {
		var theft []Observation
		for i := range 20 {
			theft = append(theft, Observation{Actor: thief, Kind: "access.Export", Resources: []string{fmt.Sprintf("loot-%d-%d", took, i)}, Failed: i%3 == 0})
		}
		o.minute(false, theft...)
		took++
	}
	if l := o.level(thief); l < LevelHigh {
		t.Fatalf("the thief is %s after %d minutes", l, took)
	}
	t.Logf("the thief is %s after %d minutes", o.level(thief), took)
	if took > 10 {
		t.Errorf("it took %d minutes", took)
	}

	// What is left alone is forgotten step by step.
	last := o.level(thief)
	for range 24 * 60 {
		o.minute(false)
		if l := o.level(thief); l > last {
			t.Fatalf("from %s to %s without a cause", last, l)
		} else {
			last = l
		}
		if last == LevelNone {
			break
		}
	}
	if last != LevelNone {
		t.Errorf("a day later the thief is still %s", last)
	}
}

func TestTheAlarmBudgetHolds(t *testing.T) {
	options := DefaultAdaptiveOptions()
	options.Budget = 4
	o := newOffice(t, options)
	for range 2 * 24 * 60 {
		o.minute(true)
	}
	o.minute(false)
	var first []int64
	seen := map[string]bool{}
	for m := range 90 {
		var storm []Observation
		for p := range 60 {
			for i := range 5 {
				storm = append(storm, Observation{Actor: fmt.Sprintf("did:chancery:acme:p-%d", p), Kind: "access.Export", Resources: []string{fmt.Sprintf("loot-%d-%d-%d", p, m, i)}})
			}
		}
		o.minute(false, storm...)
		for _, x := range o.a.book.Opinions(o.now) {
			if !seen[x.Subject] {
				seen[x.Subject] = true
				first = append(first, o.now)
			}
		}
	}
	slices.Sort(first)
	if len(first) < 2 {
		t.Fatalf("a storm of sixty raised %d", len(first))
	}
	for i := 4; i < len(first); i++ {
		if first[i]-first[i-4] < 3_600_000 {
			t.Errorf("five actors were raised within %d minutes", (first[i]-first[i-4])/minute)
		}
	}
	if reading(o.a.metrics.dropped.WithLabelValues("adaptive")) == 0 {
		t.Error("what the budget kept back is not counted")
	}
}

func TestMemoryOfActorsIsBoundedAndSuspicionOutlivesARestart(t *testing.T) {
	options := DefaultAdaptiveOptions()
	options.Actors = 16
	o := newOffice(t, options)
	for i := range 2000 {
		o.a.Observe(Block{Height: int64(i), Time: o.now + int64(i), Past: true, Observations: []Observation{
			{Time: o.now + int64(i), Actor: fmt.Sprintf("did:chancery:acme:x-%d", i), Kind: "k", Resources: make([]string, 1000)}, {Actor: "no DID"}}})
	}
	if n := o.a.actors.Len(); n != 16 {
		t.Errorf("%d actors are remembered", n)
	}

	set(t, o.a.book, OriginAdaptive, o.now, Opinion{"did:chancery:acme:p-3", LevelHigh, ReasonUnusual, [32]byte{1}, o.now + 100*minute})
	o.minute(false)
	if l := o.level("did:chancery:acme:p-3"); l != LevelHigh {
		t.Errorf("after a restart it is %s", l)
	}
	for range 95 {
		o.minute(false)
	}
	if l := o.level("did:chancery:acme:p-3"); l != LevelNone {
		t.Errorf("an hour and a half later it is %s", l)
	}
}

func TestATailSaysHowFarOutAValueIs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x := newTail()
	draw := func() uint64 { return uint64(1000 * r.ExpFloat64()) }
	for range 9_000 { // 10000 are needed
		x.add(draw(), 10_000)
	}
	if x.rank(1<<40) != 0 {
		t.Error("it speaks before it has seen enough")
	}
	for range 391_000 {
		x.add(draw(), 10_000)
	}
	// 1000 ln 1000 and 1000 ln 10000, within two buckets.
	for _, c := range []struct {
		v    uint64
		want int
	}{{5500, 0}, {6000, 0}, {7900, 1}, {8300, 1}, {10800, 2}, {1 << 63, 2}} {
		if got := x.rank(c.v); got != c.want {
			t.Errorf("%d: rank %d, want %d", c.v, got, c.want)
		}
	}
	one := newTail()
	for range 200_000 {
		one.add(7, 1000)
	}
	if one.rank(7) != 0 || one.rank(8) != 2 {
		t.Errorf("of a constant: %d %d", one.rank(7), one.rank(8))
	}
	for v := uint64(1); v < 1<<62; v += v/8 + 1 {
		if b := bucket(v); b < bucket(v-1) || b >= tailBuckets {
			t.Fatalf("bucket of %d is %d", v, b)
		}
	}
}

func TestOptionsOfTheAdaptiveModelAreChecked(t *testing.T) {
	if err := DefaultAdaptiveOptions().Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*AdaptiveOptions){
		"actors":    func(o *AdaptiveOptions) { o.Actors = 1 },
		"warmup":    func(o *AdaptiveOptions) { o.Warmup = 0 },
		"repeats":   func(o *AdaptiveOptions) { o.Repeats = 0 },
		"half-life": func(o *AdaptiveOptions) { o.HalfLife = time.Second },
		"budget":    func(o *AdaptiveOptions) { o.Budget = 0 },
	} {
		o := DefaultAdaptiveOptions()
		spoil(&o)
		if o.Check() == nil {
			t.Errorf("%s: passed", name)
		}
	}
}
