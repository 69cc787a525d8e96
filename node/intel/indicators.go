package intel

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chancery/chancery/node/internal/durable"
)

const (
	// forever is the end of what has none: the last second of the year 9999.
	forever = 253402300799000
	// touchLife is how long whoever touched an indicated resource is held against it,
	// in milliseconds.
	touchLife = 24 * 3600 * 1000
	// resolveEvery is how often keys and nodes are looked up anew.
	resolveEvery = time.Minute
)

// IndicatorsOptions are the configuration of Indicators.
type IndicatorsOptions struct {
	Path string        // of the file; empty: none. See FormatOf
	Poll time.Duration // how often to look for a change
	// Optional tells that there need not be a file: until there is one for the first
	// time, nothing is in force and nothing is said of that.
	Optional bool
	// Origin is whose opinions the lines are: OriginIndicators, or OriginOperator for a
	// file that ParseOpinions reads. Empty: OriginIndicators.
	Origin Origin
}

// Check says what is wrong with o.
func (o IndicatorsOptions) Check() error {
	if o.Path == "" {
		return nil
	}
	_, err := FormatOf(o.Path)
	if o.Origin != "" && o.Origin != OriginIndicators && o.Origin != OriginOperator {
		err = errors.Join(err, fmt.Errorf("origin: %s has no file", o.Origin))
	}
	if o.Poll < 100*time.Millisecond {
		err = errors.Join(err, fmt.Errorf("poll: %s is too short; at least 100ms", o.Poll))
	}
	return err
}

// Resolver is the DIDs that a key or a node belongs to, none where the node knows of
// none. It is called from a goroutine of the source.
type Resolver func(kind Kind, value string) []string

// Indicators holds a file of indicators, or of an operator's opinions, against what the
// node sees. The file is
// watched; it is taken over as a whole or not at all: with any fault in it, or
// without it, the last good one stays in force. An empty file withdraws everything.
type Indicators struct {
	options IndicatorsOptions
	format  Format
	book    *Book
	now     func() int64
	resolve Resolver
	metrics *Metrics
	log     *slog.Logger

	mu        sync.Mutex // guards what follows
	loaded    bool       // a file is in force
	list      []Indicator
	resources map[string]Indicator        // of KindResource, by value
	touched   map[string]map[string]int64 // by resource and subject: until when
	touches   int

	seen  stamp // of Run alone
	fault string
}

// stamp tells one version of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

// NewIndicators makes the source. now is the time of the latest block in Unix
// milliseconds, 0 before the first.
func NewIndicators(o IndicatorsOptions, book *Book, now func() int64, resolve Resolver, metrics *Metrics, log *slog.Logger) (*Indicators, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	format, err := FormatOf(o.Path)
	if err != nil {
		return nil, err
	}
	if o.Origin == "" {
		o.Origin = OriginIndicators
	}
	return &Indicators{
		options: o, format: format, book: book, now: now, resolve: resolve, metrics: metrics, log: log,
		touched: map[string]map[string]int64{},
	}, nil
}

// Run watches the file until ctx ends, and then returns nil.
func (x *Indicators) Run(ctx context.Context) error {
	tick := time.NewTicker(x.options.Poll)
	defer tick.Stop()
	resolved := time.Now()
	for {
		if x.load() {
			resolved = time.Now()
		} else if time.Since(resolved) >= resolveEvery {
			x.apply()
			resolved = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// load takes the file over if it changed, and tells whether it did.
func (x *Indicators) load() bool {
	if x.now() == 0 {
		return false // nothing has a time yet
	}
	info, err := os.Stat(x.options.Path)
	if errors.Is(err, fs.ErrNotExist) && x.options.Optional && !x.loaded && len(x.book.from(x.options.Origin)) == 0 {
		return false
	}
	if err != nil {
		x.fail(err)
		x.seen = stamp{}
		return false
	}
	s := stamp{info.ModTime(), info.Size()}
	if s == x.seen {
		return false
	}
	x.seen = s
	raw, err := durable.Read(x.options.Path, MaxIndicatorBytes)
	var list []Indicator
	if err == nil {
		parse := ParseIndicators
		if x.options.Origin == OriginOperator {
			parse = ParseOpinions
		}
		list, err = parse(raw, x.format)
	}
	if err != nil {
		x.fail(err)
		return false
	}
	x.fault = ""
	x.metrics.stale.WithLabelValues(string(x.options.Origin)).Set(0)
	x.mu.Lock()
	x.take(list)
	x.mu.Unlock()
	x.log.Info("a file of opinions is in force", "origin", x.options.Origin, "file", x.options.Path, "lines", len(list), "sha256", digest(raw))
	x.apply()
	return true
}

// fail says once that the file cannot be used.
func (x *Indicators) fail(err error) {
	if x.fault == err.Error() {
		return
	}
	x.fault = err.Error()
	x.metrics.failures.WithLabelValues(string(x.options.Origin)).Inc()
	x.metrics.stale.WithLabelValues(string(x.options.Origin)).Set(1)
	x.log.Warn("a file of opinions cannot be used; the last good one stays in force", "origin", x.options.Origin, "file", x.options.Path, "error", err)
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// take puts a list in force. The caller holds mu.
func (x *Indicators) take(list []Indicator) {
	first := !x.loaded
	x.loaded, x.list = true, list
	x.resources = map[string]Indicator{}
	sources := map[[32]byte]string{}
	for _, i := range list {
		if i.Kind == KindResource {
			x.resources[i.Value] = i
			sources[i.source()] = i.Value
		}
	}
	for value, subjects := range x.touched {
		if _, keep := x.resources[value]; !keep {
			x.touches -= len(subjects)
			delete(x.touched, value)
		}
	}
	if first {
		// Who touched a resource before a restart is in the book alone.
		for _, o := range x.book.from(x.options.Origin) {
			if value, ok := sources[o.Source]; ok {
				x.touch(value, o.Subject, o.Until)
			}
		}
	}
	x.metrics.indicators.WithLabelValues(string(x.options.Origin)).Set(float64(len(list)))
}

// touch notes that a subject touched a resource, where there is room.
func (x *Indicators) touch(value, subject string, until int64) bool {
	m := x.touched[value]
	if m == nil {
		m = map[string]int64{}
		x.touched[value] = m
	}
	if _, known := m[subject]; !known {
		if x.touches >= MaxPerOrigin {
			x.metrics.dropped.WithLabelValues(string(OriginIndicators)).Inc()
			return false
		}
		x.touches++
	}
	m[subject] = until
	return true
}

// Observe implements Sink: whoever touches an indicated resource becomes a subject.
func (x *Indicators) Observe(b Block) {
	x.mu.Lock()
	hit := false
	if len(x.resources) > 0 {
		for _, o := range b.Observations {
			if CheckSubject(o.Actor) != nil {
				continue
			}
			for _, r := range o.Resources {
				value, ok := x.indicated(r)
				if !ok {
					continue
				}
				// Prolonged in steps, so that not every use is written down.
				if until := b.Time + touchLife; x.touched[value][o.Actor] < b.Time+touchLife/2 {
					hit = x.touch(value, o.Actor, until) || hit
				}
			}
		}
	}
	x.mu.Unlock()
	if hit {
		x.apply()
	}
}

// indicated is the indicated hash that a resource has: it is the resource, what follows
// the last colon of its name, or the SHA-256 of its name. The caller holds mu.
func (x *Indicators) indicated(resource string) (value string, ok bool) {
	for _, value := range []string{strings.ToLower(resource[strings.LastIndexByte(resource, ':')+1:]), digest([]byte(resource))} {
		if _, ok := x.resources[value]; ok {
			return value, true
		}
	}
	return "", false
}

// apply makes the indicators in force the opinions of this origin.
func (x *Indicators) apply() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	if !x.loaded || now == 0 {
		return
	}
	best := map[string]Opinion{}
	add := func(i Indicator, subject string, until int64) {
		if i.Until != 0 {
			until = min(until, i.Until)
		}
		if until <= now || CheckSubject(subject) != nil {
			return
		}
		o := Opinion{Subject: subject, Level: i.Level, Reason: ReasonIndicator, Source: i.source(), Until: until}
		if x.options.Origin == OriginOperator {
			o.Reason = ReasonOperator
		}
		have, ok := best[subject]
		if !ok || cmp.Or(cmp.Compare(o.Level, have.Level), cmp.Compare(o.Until, have.Until), bytes.Compare(o.Source[:], have.Source[:])) > 0 {
			best[subject] = o
		}
	}
	unresolved := 0
	for _, i := range x.list {
		switch i.Kind {
		case KindDID, KindOrganisation:
			add(i, i.Value, forever)
		case KindKey, KindNode:
			var subjects []string
			if x.resolve != nil {
				subjects = x.resolve(i.Kind, i.Value)
			}
			if len(subjects) == 0 {
				unresolved++
			}
			for _, s := range subjects {
				add(i, s, forever)
			}
		case KindResource:
			for subject, until := range x.touched[i.Value] {
				if until <= now {
					delete(x.touched[i.Value], subject)
					x.touches--
					continue
				}
				add(i, subject, until)
			}
		}
	}
	if x.options.Origin == OriginIndicators {
		x.metrics.unresolved.Set(float64(unresolved))
	}
	opinions := make([]Opinion, 0, len(best))
	for _, o := range best {
		opinions = append(opinions, o)
	}
	r, err := x.book.Replace(x.options.Origin, now, opinions)
	if err != nil {
		x.metrics.failures.WithLabelValues(string(x.options.Origin)).Inc()
		x.log.Error("a file of opinions was not put into force in full", "origin", x.options.Origin, "error", err)
	}
	if r != (Replaced{}) {
		x.log.Info("a file changed opinions", "origin", x.options.Origin, "set", r.Set, "withdrawn", r.Withdrawn, "left_out", r.Left, "unresolved", unresolved)
	}
}
