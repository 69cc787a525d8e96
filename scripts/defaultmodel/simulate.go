package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

// lifeOptions is what every seed has in common.
type lifeOptions struct {
	days, campaigns int
	life            float64
}

// sample is what is kept of a transaction.
type sample struct {
	row      []int64
	verdict  *chainv1.Verdict
	code     uint32
	campaign string
	kind     string // of the first message
	attack   scenarios.Kind
	harmful  bool
}

// said is what a part of the streaming ones said of a sample.
func (s *sample) said(part int) (int64, bool) {
	known := func(at int) (int64, bool) { return s.row[at], s.row[at] != trees.Missing }
	switch part {
	case detector.Own:
		own, a := known(features.OwnSurpriseFeature)
		approved, b := known(features.AnchorSurpriseFeature)
		return max(own, approved), a || b // trees.Missing is the least of all
	case detector.Peers:
		return known(features.EstrangementFeature)
	case detector.Drift:
		return known(features.DriftFeature)
	}
	for _, d := range s.verdict.GetDrivers() {
		if int(d.Part) == part {
			return d.Value, true
		}
	}
	return 0, false
}

// rule is the place of the rule that spoke loudest.
func (s *sample) rule() (int, bool) {
	for _, d := range s.verdict.GetDrivers() {
		if int(d.Part) == detector.Rules && d.Feature > 0 {
			return int(d.Feature) - 1, true
		}
	}
	return 0, false
}

// simulate runs seeds, as many at a time as there are processors, and returns their
// samples after the warm-up, in order of seeds and time.
func simulate(ctx context.Context, list seeds, life lifeOptions, raw []byte, enforce bool) ([]sample, error) {
	section, err := scenarios.Sentinel(raw, enforce)
	if err != nil {
		return nil, err
	}
	parts, failures := make([][]sample, len(list)), make([]error, len(list))
	room := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, seed := range list {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			p, err := scenarios.New(scenarios.Options{
				Seed: seed, Days: life.days, Life: life.life, Campaigns: life.campaigns, Attacks: scenarios.Kinds(),
			})
			if err != nil {
				failures[i] = err
				return
			}
			from := p.Options().Start + int64(p.Options().Warmup)*24*3600*1000
			report, err := scenarios.Run(ctx, p, scenarios.RunOptions{Genesis: map[string]json.RawMessage{"threat": section}}, func(o *scenarios.Outcome) error {
				if o.Refused != nil {
					return fmt.Errorf("seed %d: a transaction of %s is refused: %w", seed, o.Author, o.Refused)
				}
				if o.At >= from && len(o.Result.Row) == features.Count {
					parts[i] = append(parts[i], sample{o.Result.Row, o.Result.Verdict, o.Result.Code, campaignOf(seed, o.Campaign), string(o.Messages[0].ProtoReflect().Descriptor().Name()), o.Attack, o.Harmful})
				}
				return nil
			})
			if failures[i] = err; err == nil {
				fmt.Fprintf(os.Stderr, "seed %d: %d transactions, %d failed, app hash %x\n", seed, report.Transactions, report.Failed, report.Root)
			}
		})
	}
	all.Wait()
	var out []sample
	for i := range list {
		if failures[i] != nil {
			return nil, failures[i]
		}
		out = append(out, parts[i]...)
	}
	return out, nil
}

// campaignOf is a campaign's name among those of all seeds.
func campaignOf(seed uint64, name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%d/%s", seed, name)
}
