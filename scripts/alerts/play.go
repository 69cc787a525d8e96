package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	// job is the one that the rules name.
	job = "chancery"
	// interval is between two scrapes, and between two evaluations.
	interval = 15 * time.Second
	// after is how long the last scrapes of a recording are repeated: longer than the
	// widest window of a rule.
	after = 70 * time.Minute
)

// scrape is what an instance served at a time. It stands for every later scrape of the
// instance until the next one of the recording.
type scrape struct {
	instance string
	at       int64 // Unix ms
	text     []byte
}

// change is an alert of an instance that begins or ceases to fire.
type change struct {
	at       time.Duration // from the recording's begin
	alert    string
	instance string
	firing   bool
}

func (c change) String() string {
	what := "clears"
	if c.firing {
		what = "fires"
	}
	return fmt.Sprintf("%8s %s %s at %s", c.at, c.alert, what, c.instance)
}

// read reads a recording, sorted by time.
func read(folder string) (out []scrape, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.prom"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		instance, ms, ok := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".prom"), "@")
		at, err := strconv.ParseInt(ms, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s is not named INSTANCE@UNIXMS.prom", path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, scrape{instance, at, text})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no scrapes", folder)
	}
	slices.SortStableFunc(out, func(a, b scrape) int { return int(a.at - b.at) })
	return out, nil
}

// target is an instance that is scraped.
type target struct {
	text   []byte
	series map[string]labels.Labels // of its latest scrape
}

// play lets the rules see a recording as a Prometheus would that scrapes and evaluates
// every interval: up, and marks of staleness where a series ends, are its own. It returns
// what began and ceased to fire.
func play(ctx context.Context, file string, recording []scrape) (changes []change, err error) {
	dir, err := os.MkdirTemp("", "alerts")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	options := tsdb.DefaultOptions()
	options.MinBlockDuration = (24 * time.Hour).Milliseconds()
	options.MaxBlockDuration = options.MinBlockDuration
	log := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(dir, log, nil, options, tsdb.NewDBStats())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: log, MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{}),
	})
	defer func() { err = errors.Join(err, engine.Close()) }()
	groups, errs := rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation, QueryFunc: rules.EngineQueryFunc(engine, db), Context: ctx,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, Appendable: db, Queryable: db, Logger: log,
	}).LoadGroups(interval, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	begin, end := recording[0].at, recording[len(recording)-1].at+after.Milliseconds()
	targets := map[string]*target{}
	firing := map[change]bool{} // by alert and instance alone
	for now := begin; now <= end; now += interval.Milliseconds() {
		for len(recording) > 0 && recording[0].at <= now {
			s := recording[0]
			if targets[s.instance] == nil {
				targets[s.instance] = &target{}
			}
			targets[s.instance].text, recording = s.text, recording[1:]
		}
		app := db.Appender(ctx)
		for instance, t := range targets {
			if err := t.scrape(app, instance, now); err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", instance, err), app.Rollback())
			}
		}
		if err := app.Commit(); err != nil {
			return nil, err
		}
		seen := map[change]bool{}
		for _, g := range groups {
			g.Eval(ctx, time.UnixMilli(now))
			for _, r := range g.AlertingRules() {
				if err := r.LastError(); err != nil {
					return nil, fmt.Errorf("%s: %w", r.Name(), err)
				}
				for _, a := range r.ActiveAlerts() {
					if a.State == rules.StateFiring {
						seen[change{alert: r.Name(), instance: a.Labels.Get("instance")}] = true
					}
				}
			}
		}
		at := time.Duration(now-begin) * time.Millisecond
		var step []change
		for c := range seen {
			if !firing[c] {
				step = append(step, change{at, c.alert, c.instance, true})
			}
		}
		for c := range firing {
			if !seen[c] {
				step = append(step, change{at, c.alert, c.instance, false})
			}
		}
		slices.SortFunc(step, func(a, b change) int { return strings.Compare(a.alert+a.instance, b.alert+b.instance) })
		changes, firing = append(changes, step...), seen
	}
	return changes, nil
}

// scrape appends what the target serves.
func (t *target) scrape(app storage.Appender, instance string, now int64) error {
	series := map[string]labels.Labels{}
	add := func(l labels.Labels, v float64) error {
		_, err := app.Append(0, l, now, v)
		return err
	}
	up := 0.0
	if len(t.text) > 0 {
		up = 1
		p := textparse.NewPromParser(t.text, labels.NewSymbolTable(), false)
		for {
			entry, err := p.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			if entry != textparse.EntrySeries {
				continue
			}
			_, _, v := p.Series()
			var l labels.Labels
			p.Labels(&l)
			b := labels.NewBuilder(l)
			b.Set("job", job)
			b.Set("instance", instance)
			l = b.Labels()
			series[l.String()] = l
			if err := add(l, v); err != nil {
				return err
			}
		}
	}
	for name, l := range t.series {
		if _, ok := series[name]; !ok {
			if err := add(l, math.Float64frombits(value.StaleNaN)); err != nil {
				return err
			}
		}
	}
	t.series = series
	return add(labels.FromStrings("__name__", "up", "job", job, "instance", instance), up)
}
