// Command alerts holds Prometheus alert rules against Prometheus' own parser and engine.
// It is a module of its own, since the engine's dependencies are many and none of them is
// the node's.
//
//	go run . RULES                     every rule and expression parses
//	go run . RULES DIR PHASE…          prints, for each phase in turn, the alerts that fire at its end
//
// A phase is a folder of DIR with a file INSTANCE.prom for each node: its /metrics at that
// time. An instance of another phase that has no file there, or an empty one, is down. Each
// phase is held for half an hour, scraped every 15 s.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	scrape = 15 * time.Second
	phase  = 30 * time.Minute
)

func main() {
	if len(os.Args) < 2 || len(os.Args) == 3 {
		fmt.Fprintln(os.Stderr, "alerts: want RULES, or RULES DIR PHASE…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "alerts:", err)
		os.Exit(1)
	}
}

func run(path string, args []string) error {
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.ParseFile(path, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return errs[0]
	}
	var alerts []*rules.AlertingRule
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				return fmt.Errorf("%s: %w", r.Alert, err)
			}
			alerts = append(alerts, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler)))
		}
	}
	if len(args) == 0 {
		fmt.Printf("%d rules parse\n", len(alerts))
		return nil
	}
	return play(alerts, args[0], args[1:])
}

// play scrapes the phases and evaluates the rules as time goes by.
func play(alerts []*rules.AlertingRule, dir string, phases []string) error {
	data, err := os.MkdirTemp("", "alerts")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	db, err := tsdb.Open(data, slog.New(slog.DiscardHandler), nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return err
	}
	defer db.Close()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	query := rules.EngineQueryFunc(engine, db)
	instances := map[string]bool{}
	for _, p := range phases {
		files, err := filepath.Glob(filepath.Join(dir, p, "*.prom"))
		if err != nil {
			return err
		}
		for _, f := range files {
			instances[strings.TrimSuffix(filepath.Base(f), ".prom")] = true
		}
	}
	ctx := context.Background()
	at := time.Unix(1_800_000_000, 0)
	for _, p := range phases {
		texts := map[string][]byte{}
		for name := range instances {
			texts[name], _ = os.ReadFile(filepath.Join(dir, p, name+".prom"))
		}
		for end := at.Add(phase); at.Before(end); at = at.Add(scrape) {
			if err := store(ctx, db, texts, at); err != nil {
				return fmt.Errorf("phase %s: %w", p, err)
			}
			for _, a := range alerts {
				if _, err := a.Eval(ctx, 0, at, query, nil, 0); err != nil {
					return fmt.Errorf("%s: %w", a.Name(), err)
				}
			}
		}
		firing := map[string]bool{}
		for _, a := range alerts {
			if a.State() == rules.StateFiring {
				firing[a.Name()] = true
			}
		}
		fmt.Printf("%s: %s\n", p, strings.Join(slices.Sorted(maps.Keys(firing)), " "))
	}
	return nil
}

// store appends what a scrape of each instance gives. Series that an instance no longer has
// are left to go stale.
func store(ctx context.Context, db *tsdb.DB, texts map[string][]byte, at time.Time) error {
	app := db.Appender(ctx)
	add := func(l labels.Labels, v float64) error {
		_, err := app.Append(0, l, at.UnixMilli(), v)
		return err
	}
	for name, text := range texts {
		up := 1.0
		if len(text) == 0 {
			up = 0
		}
		if err := add(labels.FromStrings(labels.MetricName, "up", "job", "chancery", "instance", name), up); err != nil {
			return err
		}
		if up == 0 {
			continue
		}
		p, err := textparse.New(text, "text/plain", labels.NewSymbolTable(), textparse.ParserOptions{})
		if err != nil {
			return err
		}
		for {
			entry, err := p.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if entry != textparse.EntrySeries {
				continue
			}
			_, _, value := p.Series()
			var l labels.Labels
			p.Labels(&l)
			b := labels.NewBuilder(l)
			b.Set("job", "chancery")
			b.Set("instance", name)
			if err := add(b.Labels(), value); err != nil {
				return err
			}
		}
	}
	return app.Commit()
}
