package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"

	"github.com/chancery/chancery/modules/threat/detector"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

// course is what became of one campaign.
type course struct {
	kind                   scenarios.Kind
	harmful, kept, alarmed int
	executed               int    // harmful transactions that were executed before anything of it was kept or alarmed
	caught                 bool   // fewer than three were
	noticed                bool   // anything of it was kept or alarmed
	held                   bool   // anything of it was held or denied
	reason                 string // of the first
}

// measure runs seeds with the detector enforced, and prints the page of results.
func measure(ctx context.Context, file string, list seeds, life lifeOptions) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	d, err := detector.Decode(raw)
	if err != nil {
		return err
	}
	all, err := simulate(ctx, list, life, raw, true)
	if err != nil {
		return err
	}
	courses := map[string]*course{}
	var order []string
	normal, held, denied, alarms, let := 0, 0, 0, 0, 0
	falseReasons, alarmReasons := map[string]int{}, map[string]int{}
	for i := range all {
		s := &all[i]
		kept := s.verdict.GetRuling() == chainv1.Ruling_RULING_HOLD || s.verdict.GetRuling() == chainv1.Ruling_RULING_DENY
		alarm := s.verdict.GetScore() >= alarmPoints
		if s.harmful && !kept && s.verdict.GetScore() >= d.Message().Thresholds.Hold {
			let++
		}
		if s.attack == scenarios.None {
			normal++
			switch {
			case s.verdict.GetRuling() == chainv1.Ruling_RULING_DENY:
				denied++
			case kept:
				held++
			}
			if alarm {
				alarms++
				alarmReasons[reason(s.verdict)+" of "+s.kind]++
			}
			if kept {
				falseReasons[reason(s.verdict)]++
			}
			continue
		}
		c := courses[s.campaign]
		if c == nil {
			c = &course{kind: s.attack}
			courses[s.campaign] = c
			order = append(order, s.campaign)
		}
		if kept {
			c.kept++
			c.held = true
		}
		if alarm {
			c.alarmed++
		}
		if (kept || alarm) && !c.noticed {
			c.noticed, c.reason = true, reason(s.verdict)
			c.caught = c.executed < 3
		}
		if s.harmful {
			c.harmful++
			if !c.noticed && s.code == 0 {
				c.executed++
			}
		}
	}
	hash := d.Hash()
	fmt.Printf("%d seeds (%s) of %d days, %d campaigns of each kind and seed, %d normal transactions. The detector is\n`%x`, and decides from the first block on (`MODE_ENFORCE`). Alarms are scores from %d, holds from %d, denials from %d.\n\n",
		len(list), list.String(), life.days, life.campaigns, normal, hash[:8], alarmPoints, d.Message().Thresholds.Hold, d.Message().Thresholds.Deny)
	fmt.Println("| Attack | Campaigns | Held or alarmed before the third harmful transaction | Held or alarmed at all | Held at all | Harmful transactions held | Most frequent first reason |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, k := range scenarios.Kinds() {
		n, caught, noticed, stopped, harmful, kept := 0, 0, 0, 0, 0, 0
		reasons := map[string]int{}
		for _, name := range order {
			c := courses[name]
			if c.kind != k {
				continue
			}
			n++
			harmful += c.harmful
			kept += c.kept
			if c.caught {
				caught++
			}
			if c.held {
				stopped++
			}
			if c.noticed {
				noticed++
				reasons[c.reason]++
			}
		}
		if n == 0 {
			continue
		}
		fmt.Printf("| %s | %d | %d (%d %%) | %d (%d %%) | %d (%d %%) | %d of %d | %s |\n",
			k, n, caught, 100*caught/n, noticed, 100*noticed/n, stopped, 100*stopped/n, min(kept, harmful), harmful, most(reasons))
	}
	per := func(n int) float64 { return 10000 * float64(n) / float64(max(normal, 1)) }
	fmt.Printf("\nOf 10000 normal transactions %.1f were held and %.1f denied (%d and %d of %d), and %.1f were alarms, those among them.\n",
		per(held), per(denied), held, denied, normal, per(alarms))
	if len(falseReasons) > 0 {
		fmt.Printf("The most frequent reason of a false hold: %s.\n", most(falseReasons))
	}
	if let > 0 {
		fmt.Printf("%d harmful transactions of a score from which is held were let through: their kind is never held, or the breaker was open.\n", let)
	}
	for _, name := range slices.Sorted(maps.Keys(alarmReasons)) {
		fmt.Fprintf(os.Stderr, "of normal life, alarms by %s: %d\n", name, alarmReasons[name])
	}
	for _, name := range order {
		c := courses[name]
		fmt.Fprintf(os.Stderr, "%s: %d harmful, %d executed before anything was noticed, %d kept, %d alarms, %s\n", name, c.harmful, c.executed, c.kept, c.alarmed, c.reason)
	}
	return nil
}

// reason is the part and feature that drove a verdict most.
func reason(v *chainv1.Verdict) string {
	if len(v.GetDrivers()) == 0 {
		return "none"
	}
	d := v.Drivers[0]
	return scenarios.Reason(d)
}

func most(counts map[string]int) string {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	sort.Slice(names, func(i, k int) bool {
		if counts[names[i]] != counts[names[k]] {
			return counts[names[i]] > counts[names[k]]
		}
		return names[i] < names[k]
	})
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%d)", names[0], counts[names[0]])
}
