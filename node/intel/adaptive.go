package intel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	"github.com/chancery/chancery/modules/threat/stream/profile"
)

// AdaptiveOptions are the configuration of Adaptive.
type AdaptiveOptions struct {
	Actors   int           // actors that are remembered; of more, the one longest unseen is forgotten. About 5 KiB each
	Warmup   int           // transactions that are learnt from before any is out of the ordinary
	Repeats  int           // how many beyond the ten thousandth make an actor's level high
	HalfLife time.Duration // in which what an actor did counts half
	Budget   int           // actors that may newly be suspected in an hour
}

// DefaultAdaptiveOptions are those that a configuration begins with.
func DefaultAdaptiveOptions() AdaptiveOptions {
	return AdaptiveOptions{Actors: 2048, Warmup: 5000, Repeats: 3, HalfLife: 30 * time.Minute, Budget: 20}
}

// Check says what is wrong with o.
func (o AdaptiveOptions) Check() error {
	var faults []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	want(o.Actors >= 16 && o.Actors <= 1<<18, "actors: %d, want 16 to %d", o.Actors, 1<<18)
	want(o.Warmup >= 1000 && o.Warmup <= 1<<18, "warmup: %d, want 1000 to %d", o.Warmup, 1<<18)
	want(o.Repeats >= 1 && o.Repeats <= 1000, "repeats: %d, want 1 to 1000", o.Repeats)
	want(o.HalfLife >= time.Minute && o.HalfLife <= 24*time.Hour, "half_life: %s, want 1m to 24h", o.HalfLife)
	want(o.Budget >= 1 && o.Budget <= MaxPerOrigin, "budget: %d, want 1 to %d", o.Budget, MaxPerOrigin)
	return errors.Join(faults...)
}

const (
	// The detectors.
	partBurst    = 0 // MIDAS-R: an edge, actor or resource far more often than before
	partSparse   = 1 // half-space trees: rates, shares and hour where few events are
	partSurprise = 2 // profile: a kind, hour, outcome or novelty that the actor is not known for
	parts        = 3

	maxEdges    = 8       // resources of one transaction that are looked at
	edgeMemory  = 1 << 18 // edges that are remembered as used, 4 bytes each
	kindBuckets = 64
	ownEvents   = 50 // transactions after which an actor has a profile of its own
	reviewEvery = 60_000
	windowLife  = 600_000 // half-life of an actor's rates, in milliseconds
)

// floors are values below which a detector's is ordinary however rare it is: a
// chi-squared of 50, 2 bits of each tree, 12 bits.
var floors = [parts]uint64{50, 25 * 2 * fixed.LogScale, 12 * fixed.LogScale}

// Adaptive is a detector that learns from committed transactions, without labels. It
// suspects actors whose transactions lie far out in the running distribution of what
// its detectors say, as often as they do, and forgets with a half-life. It raises no
// more than a budget of actors in an hour, half of which is kept for those that are
// high at once. It uses floats, keeps nothing on disk, and is not reproducible.
//
// It runs in the Observer's goroutine, and is not safe for concurrent use.
type Adaptive struct {
	options AdaptiveOptions
	book    *Book
	metrics *Metrics
	log     *slog.Logger
	source  [32]byte

	sketch   *midas.Sketch
	counters *cell.Memory
	forest   *halfspace.Forest
	masses   *cell.Memory
	schema   profile.Schema
	everyone profile.Adaptive
	tails    [parts]*tail
	joint    *tail
	used     []uint32 // fingerprints of edges, each in the place that its hash names
	actors   *simplelru.LRU[string, *actor]
	spare    *actor // one that was forgotten, to be used again; nil: none
	events   int
	started  int64 // seconds

	suspected map[string]*actor
	raised    []int64 // when actors came under suspicion, in the last hour
	reviewed  int64
	restored  bool
}

// actor is what is remembered of one.
type actor struct {
	own                   profile.Adaptive
	events, failed, fresh float64 // with half-life windowLife
	at                    int64   // when they were last moved
	heat
	level Level // as the book has it
	until int64
}

// heat is an actor's transactions of late, with the half-life of the options.
type heat struct {
	all           float64
	beyond        float64 // beyond the thousandth
	farBeyond     float64 // beyond the ten thousandth
	farBeyondPart [parts]float64
	heatAt        int64
}

func (h *heat) cool(now, halfLife int64) {
	if now <= h.heatAt {
		return
	}
	f := math.Exp2(-float64(now-h.heatAt) / float64(halfLife))
	h.heatAt = now
	h.all, h.beyond, h.farBeyond = h.all*f, h.beyond*f, h.farBeyond*f
	for i := range h.farBeyondPart {
		h.farBeyondPart[i] *= f
	}
}

// level is how high a level is that the heat justifies. An actor of many transactions
// has some beyond the tails by chance, so three times that is left out. A level that
// is reached is kept until half of what it took is forgotten.
func (h *heat) level(present Level, repeats int) Level {
	k := float64(repeats)
	beyond := h.beyond - 3e-3*h.all
	far := h.farBeyond - 3e-4*h.all
	several := 0
	for _, x := range h.farBeyondPart {
		if x >= min(1, k)/2 {
			several++
		}
	}
	reached := func(l Level, have, need float64) bool {
		return have >= need || present >= l && have >= need/2
	}
	switch {
	case several > 1 && reached(LevelSevere, far, 3*k-.5):
		return LevelSevere
	case reached(LevelHigh, far, k-.5):
		return LevelHigh
	case beyond >= .75:
		return LevelGuarded
	case present >= LevelLow && beyond >= .35:
		return LevelLow
	}
	return LevelNone
}

// NewAdaptive makes the detector, which knows nothing yet.
func NewAdaptive(o AdaptiveOptions, book *Book, metrics *Metrics, log *slog.Logger) (*Adaptive, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	a := &Adaptive{
		options: o, book: book, metrics: metrics, log: log, used: make([]uint32, edgeMemory), suspected: map[string]*actor{},
		joint: newTail(), source: sha256.Sum256(fmt.Appendf(nil, "chancery.intel.adaptive\x001\x00%+v", o)),
	}
	for i := range a.tails {
		a.tails[i] = newTail()
	}
	var err error
	fail := func(e error) { err = errors.Join(err, e) }
	var e error
	a.sketch, e = midas.New(midas.Settings{Rows: 2, Columns: 4096, Relational: true, DecayNumerator: 9, DecayDenominator: 10, Seed: 1})
	fail(e)
	a.forest, e = halfspace.New(halfspace.Settings{Trees: 25, Depth: 8, Window: 4096, SizeLimit: 40, Seed: 1, Ranges: []halfspace.Range{
		{Low: 0, High: 16 * 16}, // sixteenths of log2 of the rate
		{Low: 0, High: 1000},    // share that failed, in thousandths
		{Low: 0, High: 1000},    // share with a new resource
		{Low: 0, High: 16 * 8},  // resources, as the rate
		{Low: 0, High: 23},      // hour
	}})
	fail(e)
	a.schema, e = profile.NewSchema(profile.Feature{Name: "kind", Values: kindBuckets}, profile.Feature{Name: "hour", Values: 24}, profile.Feature{Name: "failed", Values: 2}, profile.Feature{Name: "fresh", Values: 2})
	fail(e)
	if err != nil {
		return nil, err
	}
	anchor := profile.NewAnchor(a.schema)
	a.everyone = anchor.Adapt()
	a.counters, e = cell.NewMemory(a.sketch.Extents()...)
	fail(e)
	a.masses, e = cell.NewMemory(a.forest.Extents()...)
	fail(e)
	a.actors, e = simplelru.NewLRU(o.Actors, func(did string, x *actor) {
		if a.suspected[did] != x {
			a.spare = x
		}
	})
	fail(e)
	return a, err
}

// Observe implements Sink.
func (a *Adaptive) Observe(b Block) {
	if a.started == 0 {
		a.started = b.Time / 1000
	}
	if !b.Past && !a.restored {
		a.restore(b.Time)
	}
	for _, o := range b.Observations {
		if CheckSubject(o.Actor) != nil {
			continue
		}
		if err := a.learn(o, b.Past); err != nil {
			a.metrics.failures.WithLabelValues(string(OriginAdaptive)).Inc()
			a.log.Error("a transaction was not learnt from", "height", b.Height, "error", err)
		}
	}
	if !b.Past && b.Time >= a.reviewed+reviewEvery {
		a.reviewed = b.Time
		a.review(b.Time)
	}
}

// restore takes over what the book has of an earlier process.
func (a *Adaptive) restore(now int64) {
	a.restored = true
	a.reviewed = now
	k := float64(a.options.Repeats)
	for _, o := range a.book.from(OriginAdaptive) {
		x := a.actor(o.Subject, now)
		x.level, x.until = o.Level, o.Until
		x.heat = heat{beyond: 1, heatAt: now}
		switch o.Level {
		case LevelHigh:
			x.farBeyond = k
		case LevelSevere:
			x.farBeyond, x.farBeyondPart = 3*k, [parts]float64{k, k, k}
		}
		a.suspected[o.Subject] = x
	}
}

func (a *Adaptive) actor(did string, now int64) *actor {
	if x, ok := a.actors.Get(did); ok {
		return x
	}
	x := a.suspected[did] // it may have been forgotten while under suspicion
	if x == nil {
		if x, a.spare = a.spare, nil; x == nil {
			x = new(actor)
		}
		anchor := a.everyone.Rebase()
		*x = actor{own: anchor.Adapt(), at: now, heat: heat{heatAt: now}}
	}
	a.actors.Add(did, x)
	return x
}

// learn scores a transaction against what came before it, and learns from it unless
// it is beyond the tails.
func (a *Adaptive) learn(o Observation, past bool) error {
	x := a.actor(o.Actor, o.Time)
	values, event, fresh, edges := a.features(x, o)

	tick := midas.TickOfTime(o.Time/1000, a.started, 60)
	var said [parts]uint64
	for _, e := range edges {
		r, err := a.sketch.Score(a.counters, e, tick)
		if err != nil {
			return err
		}
		said[partBurst] = max(said[partBurst], r.Statistic/midas.One)
	}
	r, err := a.forest.Score(a.masses, values)
	if err != nil {
		return err
	}
	if r.Ready && r.Sparsity > 0 {
		said[partSparse] = uint64(r.Sparsity)
	}
	own := &x.own
	if own.Events() < ownEvents {
		own = &a.everyone
	}
	said[partSurprise] = uint64(own.Surprise(event).Total)

	// What is rarest of the three is itself calibrated, or three tails of a thousandth
	// would be three thousandths. An actor beyond the tails again and again does not
	// move them, or it would make itself ordinary.
	x.cool(o.Time, a.options.HalfLife.Milliseconds())
	best, rarest := 0, 0.0
	for i, v := range said {
		if v >= floors[i] {
			if n := a.tails[i].bits(v); n > rarest {
				best, rarest = i, n
			}
		}
	}
	combined := uint64(64 * rarest)
	rank := a.joint.rank(combined)
	if x.beyond < float64(a.options.Repeats) {
		for i, v := range said {
			a.tails[i].add(v, 0)
		}
		a.joint.add(combined, float64(a.options.Warmup))
	}
	a.events++

	// Bursts are counted whatever they look like, or they would never be seen.
	for _, e := range edges {
		if err := a.sketch.Absorb(a.counters, e, tick); err != nil {
			return err
		}
	}
	if rank == 0 {
		if err := a.forest.Absorb(a.masses, values); err != nil {
			return err
		}
		if s, ok := profile.Settle(event, profile.FateAdmitted, 0, 0, 0); ok {
			hour := uint64(max(0, o.Time)) / 3_600_000
			x.own.Absorb(s, profile.Settings{StepNumerator: 1, StepDenominator: 64, StepsPerEpoch: 256}, hour)
			a.everyone.Absorb(s, profile.Settings{StepNumerator: 1, StepDenominator: 1024, StepsPerEpoch: 1 << 20}, hour)
		}
	}
	if fresh {
		for _, e := range edges {
			a.used[place(e)] = fingerprint(e)
		}
	}
	x.all++
	if rank > 0 {
		x.beyond++
	}
	if rank > 1 {
		x.farBeyond++
		x.farBeyondPart[best]++
	}
	if rank > 0 && !past {
		a.judge(o.Actor, x, o.Time)
	}
	return nil
}

func place(e midas.Edge) uint64 { return fixed.Mix(e.Actor^fixed.Mix(e.Resource)) % edgeMemory }
func fingerprint(e midas.Edge) uint32 {
	return uint32(fixed.Mix(e.Resource^fixed.Mix(e.Actor)))>>1 + 1
}

// features moves the actor's rates and returns what the detectors look at.
func (a *Adaptive) features(x *actor, o Observation) (values []int64, event profile.Event, fresh bool, edges []midas.Edge) {
	if o.Time > x.at {
		f := math.Exp2(-float64(o.Time-x.at) / windowLife)
		x.events, x.failed, x.fresh = x.events*f, x.failed*f, x.fresh*f
		x.at = o.Time
	}
	me := fixed.Name([]byte(o.Actor))
	edges = append(edges, midas.Edge{Actor: me, Resource: fixed.Name([]byte("kind " + o.Kind))})
	for _, r := range o.Resources[:min(len(o.Resources), maxEdges)] {
		edges = append(edges, midas.Edge{Actor: me, Resource: fixed.Name([]byte(r))})
	}
	for _, e := range edges {
		fresh = fresh || a.used[place(e)] != fingerprint(e)
	}
	x.events++
	hour := profile.Hour(o.Time / 1000)
	event = profile.Event{uint8(fixed.Name([]byte(o.Kind)) % kindBuckets), hour, 0, 0}
	if o.Failed {
		x.failed++
		event[2] = 1
	}
	if fresh {
		x.fresh++
		event[3] = 1
	}
	values = []int64{
		fixed.Log2(uint64(1+x.events)) * 16 / fixed.LogScale,
		int64(1000 * x.failed / x.events),
		int64(1000 * x.fresh / x.events),
		fixed.Log2(uint64(1+len(o.Resources))) * 16 / fixed.LogScale,
		int64(hour),
	}
	return values, event, fresh, edges
}

// judge makes what the heat justifies the opinion of an actor.
func (a *Adaptive) judge(did string, x *actor, now int64) {
	x.cool(now, a.options.HalfLife.Milliseconds())
	l := x.heat.level(x.level, a.options.Repeats)
	life := 4 * a.options.HalfLife.Milliseconds()
	switch {
	case l == LevelNone && x.level == LevelNone:
		return
	case l == LevelNone:
		delete(a.suspected, did)
		x.level = LevelNone
		if _, err := a.book.Withdraw(OriginAdaptive, now, did); err != nil {
			a.failed(err)
		}
		a.log.Info("an actor is no longer suspected", "actor", did)
		return
	case l == x.level && x.until-now > life/2:
		return
	}
	if x.level == LevelNone && !a.spend(l, now) {
		a.metrics.dropped.WithLabelValues(string(OriginAdaptive)).Inc()
		return
	}
	reason := ReasonUnusual
	if x.farBeyondPart[partBurst] > x.farBeyondPart[partSparse]+x.farBeyondPart[partSurprise] {
		reason = ReasonBurst
	}
	if err := a.book.Set(OriginAdaptive, now, Opinion{did, l, reason, a.source, now + life}); err != nil {
		a.failed(err)
		if !errors.Is(err, ErrSave) {
			return
		}
	}
	if l != x.level {
		a.log.Info("an actor is suspected", "actor", did, "level", l.String(), "before", x.level.String(), "reason", reason.String())
	}
	x.level, x.until = l, now+life
	a.suspected[did] = x
}

func (a *Adaptive) failed(err error) {
	a.metrics.failures.WithLabelValues(string(OriginAdaptive)).Inc()
	a.log.Error("an opinion was not taken in full", "error", err)
}

// spend takes one from the budget of the hour before now, where there is one for the
// level.
func (a *Adaptive) spend(l Level, now int64) bool {
	a.raised = slices.DeleteFunc(a.raised, func(at int64) bool { return at <= now-3_600_000 })
	budget := a.options.Budget
	if l < LevelHigh {
		budget = (budget + 1) / 2
	}
	if len(a.raised) >= budget {
		return false
	}
	a.raised = append(a.raised, now)
	return true
}

// review lets the suspected cool.
func (a *Adaptive) review(now int64) {
	list := make([]string, 0, len(a.suspected))
	for did := range a.suspected {
		list = append(list, did)
	}
	slices.Sort(list)
	for _, did := range list {
		a.judge(did, a.suspected[did], now)
	}
}
