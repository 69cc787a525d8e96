package intel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultPerExtension is how many opinions an extension carries where the caller
// does not say.
const DefaultPerExtension = 32

// Origin is which part of the node an opinion comes from. Each has its own room in
// the book, so that none can crowd out another.
type Origin string

// The origins, in the order in which one goes before another at the same level. What
// an operator says goes before all others at any level, LevelNone among them.
const (
	OriginOperator   Origin = "operator"
	OriginNode       Origin = "node" // the node itself: proposers that lie, connections
	OriginIndicators Origin = "indicators"
	OriginFeed       Origin = "feed"
	OriginAdaptive   Origin = "adaptive"
)

var origins = [...]Origin{OriginOperator, OriginNode, OriginIndicators, OriginFeed, OriginAdaptive}

// Bounds of a book.
const (
	// MaxPerOrigin is the most subjects that one origin has opinions of.
	MaxPerOrigin = 4096
	// maxBook is the most subjects in a book, those among them of whom nothing is
	// left to say but that it was taken back.
	maxBook = len(origins) * MaxPerOrigin
	// minResend is the least time between two sendings of one opinion, in milliseconds.
	minResend = 60_000
	// saveEvery is how often what was sent is written down.
	saveEvery = time.Second
)

// The errors of a book.
var (
	ErrFull  = errors.New("the book has no room for another subject of this origin")
	ErrVoid  = errors.New("the opinion is over already")
	ErrSave  = errors.New("the opinions are in force, but could not be written down")
	errOwner = errors.New("no such origin")
)

// BookOptions are what a book is made with.
type BookOptions struct {
	// MaxLife is how far ahead an opinion that is sent may end: whatever an origin
	// says, others forget it after that time unless it is sent again.
	MaxLife time.Duration
	Metrics *Metrics
}

// Book is what this node believes at present. It is kept in a file. All methods are
// safe for concurrent use; times are Unix milliseconds of block time.
type Book struct {
	path    string
	write   func(path string, raw []byte) error // durable.ReplaceSealed but in tests
	maxLife int64
	metrics *Metrics

	mu       sync.Mutex // guards what follows
	subjects map[string]*entry
	counts   map[Origin]int
	unsaved  bool

	saving sync.Mutex // held while the file is written; taken before mu
}

// entry is one subject's.
type entry struct {
	said  [len(origins)]said
	since int64 // when an origin last said something else
	sent  *sent // what others know, nil: nothing
}

// said is what one origin says; Until 0: nothing.
type said struct {
	level  Level
	reason Reason
	source [32]byte
	until  int64
}

// sent is an opinion as it went into an extension.
type sent struct {
	Opinion
	at     int64
	height int64
	order  int  // place in the extension
	again  bool // it did not arrive
	// reach is the latest end of what others may hold: its own, or that of one before it,
	// which this one has not replaced where it did not arrive.
	reach int64
}

// Set makes o what an origin says of a subject, in place of what it said before. It
// returns when the opinion is on disk. LevelNone from any other than the operator is
// Withdraw. When the origin's room is full the least of its opinions makes way if o
// is higher; otherwise the error is ErrFull.
func (b *Book) Set(origin Origin, now int64, o Opinion) error {
	if o.Level == LevelNone && origin != OriginOperator {
		_, err := b.Withdraw(origin, now, o.Subject)
		return err
	}
	return b.change(origin, func(i int) (bool, error) { return b.set(i, now, o) })
}

// Withdraw takes back what an origin says of a subject, and tells whether it said
// anything. Others are told when the subject's opinion was sent before.
func (b *Book) Withdraw(origin Origin, now int64, subject string) (bool, error) {
	done := false
	err := b.change(origin, func(i int) (bool, error) {
		done = b.withdraw(i, now, subject)
		return done, nil
	})
	return done, err
}

// Replaced is what Replace did.
type Replaced struct {
	Set       int // new or different
	Withdrawn int // said before and no more
	Left      int // had no room
}

// Replace makes opinions all that an origin says, at once. Of opinions that have no
// room the lowest are left out. When one is not usable nothing is changed.
func (b *Book) Replace(origin Origin, now int64, opinions []Opinion) (Replaced, error) {
	var r Replaced
	wanted := make(map[string]Opinion, len(opinions))
	for _, o := range opinions {
		if err := usable(o, now); err != nil {
			return r, err
		}
		if _, twice := wanted[o.Subject]; twice {
			return r, fmt.Errorf("%w: two of %s", errOpinion, o.Subject)
		}
		wanted[o.Subject] = o
	}
	list := slices.SortedFunc(func(yield func(Opinion) bool) {
		for _, o := range wanted {
			if !yield(o) {
				return
			}
		}
	}, func(x, y Opinion) int {
		return cmp.Or(cmp.Compare(y.Level, x.Level), cmp.Compare(y.Until, x.Until), cmp.Compare(x.Subject, y.Subject))
	})
	if len(list) > MaxPerOrigin {
		r.Left = len(list) - MaxPerOrigin
		for _, o := range list[MaxPerOrigin:] {
			delete(wanted, o.Subject)
		}
		list = list[:MaxPerOrigin]
	}
	err := b.change(origin, func(i int) (bool, error) {
		for subject, e := range b.subjects {
			if _, keep := wanted[subject]; !keep && e.said[i].until != 0 {
				b.withdraw(i, now, subject)
				r.Withdrawn++
			}
		}
		for _, o := range list {
			changed, err := b.set(i, now, o)
			if err != nil {
				return r.Set+r.Withdrawn > 0, err
			}
			if changed {
				r.Set++
			}
		}
		return r.Set+r.Withdrawn > 0, nil
	})
	if r.Left > 0 {
		b.metrics.dropped.WithLabelValues(string(origin)).Add(float64(r.Left))
	}
	return r, err
}

// Expire forgets what is over at now, and returns how many subjects nothing is left
// of. Next does it too.
func (b *Book) Expire(now int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.expire(now)
}

// Opinions is what the node believes at now, in order of subjects.
func (b *Book) Opinions(now int64) []Opinion {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Opinion
	for subject, e := range b.subjects {
		if o := b.belief(subject, e, now); o.Level != LevelNone {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(x, y Opinion) int { return cmp.Compare(x.Subject, y.Subject) })
	return out
}

// Next is what the extension of a height carries, at most so many opinions (0:
// DefaultPerExtension) each of another subject: those first that differ from what
// was last sent, the higher and then the older before others, and among them, with
// LevelNone, those that were taken back; then, those that wait longest first, what
// was sent longer ago than half of its remaining life and more than a minute. It is a
// function of the book, and asked again for the same height it answers the same, for
// an engine asks once in each round. It calls nobody and touches no disk.
func (b *Book) Next(height, now int64, most int) []Opinion {
	if most <= 0 {
		most = DefaultPerExtension
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if out := b.of(height); len(out) > 0 {
		return out[:min(len(out), most)]
	}
	b.expire(now)

	type candidate struct {
		Opinion
		changed bool
		weight  Level
		since   int64
	}
	var list []candidate
	for subject, e := range b.subjects {
		o := b.belief(subject, e, now)
		s := e.sent
		c := candidate{Opinion: o, changed: true, weight: o.Level, since: e.since}
		switch {
		case o.Level == LevelNone && s == nil:
			continue
		case o.Level == LevelNone:
			c.Opinion = s.Opinion
			c.Level, c.Until = LevelNone, s.reach
			c.weight = s.Level
			c.changed = s.Level != LevelNone || s.again
		case s != nil:
			c.weight = max(o.Level, s.Level)
			c.changed = s.again || s.Until <= now || o.Level != s.Level || o.Reason != s.Reason || o.Source != s.Source || o.Until < s.Until
		}
		if !c.changed {
			c.since = s.at + max((s.Until-s.at)/2, minResend)
			if now < c.since {
				continue
			}
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y candidate) int {
		if x.changed != y.changed {
			if x.changed {
				return -1
			}
			return 1
		}
		if x.changed {
			if d := cmp.Compare(y.weight, x.weight); d != 0 {
				return d
			}
		}
		return cmp.Or(cmp.Compare(x.since, y.since), cmp.Compare(x.Subject, y.Subject))
	})
	var out []Opinion
	for i, c := range list[:min(len(list), most)] {
		e := b.subjects[c.Subject]
		next := &sent{Opinion: c.Opinion, at: now, height: height, order: i, reach: c.Until}
		if e.sent != nil {
			next.reach = max(next.reach, e.sent.reach)
		}
		e.sent = next
		out = append(out, c.Opinion)
	}
	if len(out) > 0 {
		b.unsaved = true
		b.metrics.sent.Add(float64(len(out)))
	}
	return out
}

// Missed says that the extension of a height did not get into the next block: what it
// carried is sent again with the changed ones.
func (b *Book) Missed(height int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.subjects {
		if e.sent != nil && e.sent.height == height {
			e.sent.again = true
			b.unsaved = true
		}
	}
}

// Run writes down every second what was sent, until ctx ends, and then all.
func (b *Book) Run(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return b.Save()
		case <-tick.C:
			if err := b.Save(); err != nil {
				b.metrics.failures.WithLabelValues("book").Inc()
			}
		}
	}
}

// from is what one origin says, in no order.
func (b *Book) from(origin Origin) []Opinion {
	i := slices.Index(origins[:], origin)
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Opinion
	for subject, e := range b.subjects {
		if s := e.said[i]; s.until != 0 {
			out = append(out, Opinion{subject, s.level, s.reason, s.source, s.until})
		}
	}
	return out
}

// of is what was sent at a height, in its order.
func (b *Book) of(height int64) []Opinion {
	var list []*sent
	for _, e := range b.subjects {
		if e.sent != nil && e.sent.height == height {
			list = append(list, e.sent)
		}
	}
	slices.SortFunc(list, func(x, y *sent) int { return cmp.Compare(x.order, y.order) })
	out := make([]Opinion, len(list))
	for i, s := range list {
		out[i] = s.Opinion
	}
	return out
}

// change runs a change of what an origin says and writes the book down.
func (b *Book) change(origin Origin, fn func(i int) (bool, error)) error {
	i := slices.Index(origins[:], origin)
	if i < 0 {
		return fmt.Errorf("%w: %q", errOwner, origin)
	}
	b.mu.Lock()
	changed, err := fn(i)
	if changed {
		b.unsaved = true
		b.trim()
		b.metrics.subjects.Set(float64(len(b.subjects)))
	}
	b.mu.Unlock()
	if !changed {
		return err
	}
	return errors.Join(err, b.Save())
}

func usable(o Opinion, now int64) error {
	if err := o.Check(); err != nil {
		return err
	}
	if o.Until <= now {
		return fmt.Errorf("%w: %s until %d, and it is %d", ErrVoid, o.Subject, o.Until, now)
	}
	return nil
}

func (b *Book) set(i int, now int64, o Opinion) (bool, error) {
	if err := usable(o, now); err != nil {
		return false, err
	}
	origin := origins[i]
	e := b.subjects[o.Subject]
	if e == nil || e.said[i].until == 0 {
		if b.counts[origin] >= MaxPerOrigin && !b.evict(i, now, o.Level) {
			b.metrics.dropped.WithLabelValues(string(origin)).Inc()
			return false, fmt.Errorf("%w: %s", ErrFull, origin)
		}
		b.counts[origin]++
		// The one that made way may have been all that the book knew of.
		if e = b.subjects[o.Subject]; e == nil {
			e = new(entry)
			b.subjects[o.Subject] = e
		}
	}
	now2 := said{o.Level, o.Reason, o.Source, o.Until}
	before := e.said[i]
	if before == now2 {
		return false, nil
	}
	e.said[i] = now2
	before.until = now2.until
	if before != now2 {
		e.since = now
		b.metrics.set.WithLabelValues(string(origin), o.Level.String()).Inc()
	}
	return true, nil
}

func (b *Book) withdraw(i int, now int64, subject string) bool {
	e := b.subjects[subject]
	if e == nil || e.said[i].until == 0 {
		return false
	}
	e.said[i] = said{}
	e.since = now
	b.counts[origins[i]]--
	if e.empty() && e.sent == nil {
		delete(b.subjects, subject)
	}
	return true
}

// evict takes back the least opinion of an origin that is below a level, and tells
// whether there was one.
func (b *Book) evict(i int, now int64, below Level) bool {
	least := ""
	var at said
	for subject, e := range b.subjects {
		s := e.said[i]
		if s.until == 0 || s.level >= below {
			continue
		}
		if least == "" || cmp.Or(cmp.Compare(s.level, at.level), cmp.Compare(s.until, at.until), cmp.Compare(subject, least)) < 0 {
			least, at = subject, s
		}
	}
	if least == "" {
		return false
	}
	b.metrics.dropped.WithLabelValues(string(origins[i])).Inc()
	return b.withdraw(i, now, least)
}

// trim keeps the book within its bound by forgetting what is only left to be taken
// back, that first which others forget first.
func (b *Book) trim() {
	if len(b.subjects) <= maxBook {
		return
	}
	var gone []string
	for subject, e := range b.subjects {
		if e.empty() {
			gone = append(gone, subject)
		}
	}
	slices.SortFunc(gone, func(x, y string) int {
		return cmp.Or(cmp.Compare(b.subjects[x].sent.Until, b.subjects[y].sent.Until), cmp.Compare(x, y))
	})
	for _, subject := range gone[:min(len(gone), len(b.subjects)-maxBook)] {
		delete(b.subjects, subject)
	}
}

func (b *Book) expire(now int64) int {
	gone := 0
	for subject, e := range b.subjects {
		for i := range e.said {
			if e.said[i].until != 0 && e.said[i].until <= now {
				e.said[i] = said{}
				e.since = now
				b.counts[origins[i]]--
				b.unsaved = true
			}
		}
		if e.sent != nil && e.sent.reach <= now {
			e.sent = nil
			b.unsaved = true
		}
		if e.sent == nil && e.empty() {
			delete(b.subjects, subject)
			gone++
		}
	}
	if gone > 0 {
		b.metrics.subjects.Set(float64(len(b.subjects)))
	}
	return gone
}

func (e *entry) empty() bool {
	for _, s := range e.said {
		if s.until != 0 {
			return false
		}
	}
	return true
}

// belief is what the node believes of a subject: what the operator says, or the
// highest of what the others say.
func (b *Book) belief(subject string, e *entry, now int64) Opinion {
	best := said{}
	for i, s := range e.said {
		if s.until <= now {
			continue
		}
		if origins[i] == OriginOperator {
			best = s
			break
		}
		if s.level > best.level {
			best = s
		}
	}
	return Opinion{Subject: subject, Level: best.level, Reason: best.reason, Source: best.source, Until: min(best.until, now+b.maxLife)}
}
