package forecast

import (
	"container/list"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a kind of subject.
type Kind int

// The kinds of subjects.
const (
	Actor Kind = iota
	Organisation
	Resource
	kinds
)

// Bounds that no setting changes.
const (
	// MaxSubject is the longest name of a subject in bytes. Longer ones are not followed.
	MaxSubject = 256
	// MaxResources is how many resources of one observation are counted.
	MaxResources = 16
)

// Observation is one transaction as forecasts see it.
type Observation struct {
	Height int64
	// Time is that of the block, Unix milliseconds. Observations come in order of time.
	Time int64
	// Actor is the author's DID, Organisation the DID of the author's. Empty: not known.
	Actor        string
	Organisation string
	// Resources is what it touches, whatever names them; the first MaxResources count,
	// each once.
	Resources []string
	// Score is the verdict's, 0 to MaxScore, when Scored.
	Score  uint32
	Scored bool
}

// Settings bound a Store.
type Settings struct {
	// Bucket is the width of a bucket: 1 s to 1 h, and a whole part of an hour.
	Bucket time.Duration
	// Buckets is how many of them are kept for each subject, 48 to 20160.
	Buckets int
	// Hours is how many whole hours are kept for each subject, 48 to 2016.
	Hours int
	// Subjects is how many are followed of each kind, 1 to 1000000. One more takes the
	// place of the one that was active the longest ago.
	Subjects int
	// LookBack is how far back a node that starts reads its records, in block time.
	LookBack time.Duration
}

// DefaultSettings are half a day of minutes and two weeks of hours, for 10000
// subjects of each kind.
func DefaultSettings() Settings {
	return Settings{
		Bucket: time.Minute, Buckets: 720, Hours: 336, Subjects: 10_000, LookBack: 7 * 24 * time.Hour,
	}
}

// Check refuses settings that are out of bounds, with a sentence that says which.
func (s Settings) Check() error {
	switch {
	case s.Bucket < time.Second || s.Bucket > time.Hour || time.Hour%s.Bucket != 0 || s.Bucket%time.Millisecond != 0:
		return fmt.Errorf("bucket: %s, want a whole part of an hour, at least 1s", s.Bucket)
	case s.Buckets < 48 || s.Buckets > 20_160:
		return fmt.Errorf("buckets: %d, want 48 to 20160", s.Buckets)
	case s.Hours < 48 || s.Hours > 2016:
		return fmt.Errorf("hours: %d, want 48 to 2016", s.Hours)
	case s.Subjects < 1 || s.Subjects > 1_000_000:
		return fmt.Errorf("subjects: %d, want 1 to 1000000", s.Subjects)
	case s.LookBack < 0:
		return fmt.Errorf("look_back: %s is negative", s.LookBack)
	}
	return nil
}

// BytesPerSubject is the most memory that one subject takes: for each bucket and hour
// six bytes and what the allocator rounds up, the name, and what the maps around it
// take.
func (s Settings) BytesPerSubject() int { return 7*(s.Buckets+s.Hours) + MaxSubject + 768 }

// Bytes is the most memory that a Store takes, but for a query's own.
func (s Settings) Bytes() int { return s.BytesPerSubject() * s.Subjects * int(kinds) }

// Store keeps the history of subjects. It is safe for concurrent use.
type Store struct {
	settings Settings
	width    int64 // of a bucket, milliseconds

	mu      sync.Mutex // guards all below
	shelves [kinds]shelf
	at      Place
}

// Place is how far a Store is.
type Place struct {
	// Height is the latest block that was counted, 0 before the first, and Time its
	// time, Unix milliseconds.
	Height, Time int64
	// Head is the latest block that the node had when that was last looked at.
	Head int64
}

// CatchingUp tells whether there are blocks that were not counted yet.
func (p Place) CatchingUp() bool { return p.Height < p.Head }

type shelf struct {
	named map[string]*list.Element // of *subject
	order list.List                // latest active first
}

type subject struct {
	name   string
	series *series
	active int64 // time of the latest event
}

// NewStore makes an empty store.
func NewStore(s Settings) (*Store, error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	st := &Store{settings: s, width: s.Bucket.Milliseconds()}
	for i := range st.shelves {
		st.shelves[i].named = make(map[string]*list.Element)
	}
	return st, nil
}

// Settings are those that it was made with.
func (s *Store) Settings() Settings { return s.settings }

// Place is how far it is.
func (s *Store) Place() Place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// Observe counts a block's observations. Blocks come in order; one that was counted
// already, or lies before it, is left out.
func (s *Store) Observe(height, time int64, all []Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if height <= s.at.Height {
		return
	}
	s.at.Height, s.at.Time = height, max(time, s.at.Time)
	s.at.Head = max(s.at.Head, height)
	for _, o := range all {
		s.count(Actor, o.Actor, o)
		s.count(Organisation, o.Organisation, o)
		resources := o.Resources[:min(len(o.Resources), MaxResources)]
		for i, r := range resources {
			if !slices.Contains(resources[:i], r) {
				s.count(Resource, r, o)
			}
		}
	}
}

// ahead says which block the node has.
func (s *Store) ahead(head int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at.Head = max(s.at.Head, head)
}

// count is called with mu held.
func (s *Store) count(kind Kind, name string, o Observation) {
	if name == "" || len(name) > MaxSubject {
		return
	}
	h := &s.shelves[kind]
	at := s.at.Time
	e := h.named[name]
	if e == nil {
		if h.order.Len() >= s.settings.Subjects {
			oldest := h.order.Back()
			delete(h.named, oldest.Value.(*subject).name)
			h.order.Remove(oldest)
		}
		// A name of its own: the given one may be part of a whole block's bytes.
		name = strings.Clone(name)
		e = h.order.PushFront(&subject{name: name, series: newSeries(s.settings, at)})
		h.named[name] = e
	}
	h.order.MoveToFront(e)
	x := e.Value.(*subject)
	x.active = at
	x.series.add(at, s.width, o.Score, o.Scored)
}

// Record is what is kept of a subject.
type Record struct {
	Name string
	// Events is how many were counted since it is followed.
	Events uint64
	// First is when the bucket of the first began, Active when the latest happened,
	// Unix milliseconds.
	First, Active int64
	History       History
}

// Find is a copy of what is kept of a subject, up to the latest closed bucket.
func (s *Store) Find(kind Kind, name string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.shelves[kind].named[name]
	if e == nil {
		return Record{}, false
	}
	return s.record(e.Value.(*subject)), true
}

// record is called with mu held.
func (s *Store) record(x *subject) Record {
	return Record{
		Name: x.name, Events: x.series.events, First: x.series.first * s.width, Active: x.active,
		History: x.series.history(s.at.Time, s.width),
	}
}

// Order is by what subjects are ranked.
type Order int

// The orders.
const (
	// ByRate is by the expected number of events in the next buckets.
	ByRate Order = iota
	// ByRisk is by the expected risk.
	ByRisk
	// ByDeviation is by how far the latest closed bucket lies from what was expected
	// of it, upwards or downwards.
	ByDeviation
)

// Leading copies what is kept of the subjects of a kind that a quick measure puts
// first, at most n. The measure is, as an exponentially weighted mean over about 16
// buckets, that of the rate or the risk, or the latest bucket's distance from it in
// standard deviations.
func (s *Store) Leading(kind Kind, by Order, n int) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	type entry struct {
		subject *subject
		measure float64
	}
	h := &s.shelves[kind]
	all := make([]entry, 0, h.order.Len())
	for e := h.order.Front(); e != nil; e = e.Next() {
		x := e.Value.(*subject)
		x.series.close(s.at.Time, s.width)
		all = append(all, entry{x, x.series.measure(by)})
	}
	slices.SortFunc(all, func(a, b entry) int {
		switch {
		case a.measure > b.measure:
			return -1
		case a.measure < b.measure:
			return 1
		default:
			return strings.Compare(a.subject.name, b.subject.name)
		}
	})
	out := make([]Record, 0, min(n, len(all)))
	for _, e := range all[:min(n, len(all))] {
		out = append(out, s.record(e.subject))
	}
	return out
}

func (s *series) measure(by Order) float64 {
	switch by {
	case ByRisk:
		return s.danger
	case ByDeviation:
		return s.odd
	default:
		return s.level
	}
}

// oddity is how far a count lies from the level, in standard deviations.
func (s *series) oddity(count float64) float64 {
	return math.Abs(count-s.level) / math.Sqrt(max(s.spread, s.level, 0.25))
}
