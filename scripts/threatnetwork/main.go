// Command threatnetwork writes what 'chancery testnet scenario --output json' reported of
// one or more networks as the tables of docs/threat-network.md.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// The fields of a report that the tables have; see testnet/scenario_report.go.
type report struct {
	Seed        uint64     `json:"seed"`
	Detector    string     `json:"detector"`
	AlarmScore  uint32     `json:"alarm_score"`
	Speed       float64    `json:"speed"`
	Took        int64      `json:"took_ns"`
	Past        *past      `json:"past"`
	Normal      compared   `json:"normal"`
	Campaigns   []campaign `json:"campaigns"`
	Flagged     []flagged  `json:"flagged"`
	BreakerOpen bool       `json:"breaker_open"`
	Agreement   *agreement `json:"agreement"`
}

type past struct {
	Days         int    `json:"days"`
	Clock        string `json:"clock"`
	Midnight     string `json:"midnight"`
	Pause        int64  `json:"pause_ns"`
	Transactions int    `json:"transactions"`
	Normal       tally  `json:"normal"`
}

type tally struct {
	Transactions int `json:"transactions"`
	Held         int `json:"held"`
	Denied       int `json:"denied"`
	Alarms       int `json:"alarms"`
}

type compared struct {
	Network   tally  `json:"network"`
	Simulated *tally `json:"simulated"`
}

type campaign struct {
	Name            string   `json:"name"`
	Harmful         compared `json:"harmful"`
	First           *flagged `json:"first"`
	Before          int      `json:"executed_before_first"`
	FirstKept       *flagged `json:"first_kept"`
	BeforeKept      int      `json:"executed_before_first_kept"`
	FirstSimulated  *flagged `json:"first_simulated"`
	BeforeSimulated int      `json:"executed_before_first_simulated"`
}

type flagged struct {
	Height     int64      `json:"height"`
	AfterFirst int64      `json:"after_first_ns"`
	Message    string     `json:"message"`
	Ruling     string     `json:"ruling"`
	Score      uint32     `json:"score"`
	Reasons    []string   `json:"reasons"`
	Why        string     `json:"why"`
	Simulated  *simulated `json:"simulated"`
}

type simulated struct {
	Ruling string `json:"ruling"`
	Score  uint32 `json:"score"`
}

type agreement struct {
	Validators int   `json:"validators"`
	Blocks     int64 `json:"blocks"`
	Results    int   `json:"results"`
	Holds      int   `json:"holds"`
	Receipts   int   `json:"receipts"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "threatnetwork:", err)
		os.Exit(1)
	}
}

func run(files []string, out io.Writer) error {
	if len(files) == 0 {
		return fmt.Errorf("name the reports of 'chancery testnet scenario --output json'")
	}
	var all []report
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if r.Past == nil || r.Agreement == nil || len(r.Campaigns) == 0 || r.Normal.Simulated == nil {
			return fmt.Errorf("%s: not the whole report of a network with a past", file)
		}
		all = append(all, r)
	}
	write(out, all)
	return nil
}

func write(out io.Writer, all []report) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format, args...) }
	p("The detector is `%s`, which decides from the first block on. Alarms are scores from %d.\n\n", all[0].Detector[:min(16, len(all[0].Detector))], all[0].AlarmScore)
	p("| Network | Seed | Days behind it | The plan's clock at the beginning | Nobody acted before it for | Pace | Lasted | Blocks | Results | Held transactions | Receipts that verify |\n")
	p("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, r := range all {
		clock := r.Past.Clock + " UTC"
		if r.Past.Midnight != "00:00 UTC" {
			clock = fmt.Sprintf("%s, its midnight being %s", r.Past.Clock, r.Past.Midnight)
		}
		pace := "its own"
		if r.Speed != 1 {
			pace = fmt.Sprintf("%g times as fast", r.Speed)
		}
		p("| %s | %d | %d | %s | %s | %s | %s | %d | %d | %d | %d |\n", letter(i), r.Seed, r.Past.Days, clock, time.Duration(r.Past.Pause).Round(time.Second), pace,
			time.Duration(r.Took).Round(time.Second), r.Agreement.Blocks, r.Agreement.Results, r.Agreement.Holds, r.Agreement.Receipts)
	}
	p("\nEvery one of these blocks, with its results, verdicts and app hash, and every record of a held transaction is the same on all\n%d validators of its network; the receipts were asked of each validator.\n\n", all[0].Agreement.Validators)

	p("| Attack | On | Harmful transactions | Held | Denied | Executed with an alarm | First noticed | In the simulation |\n")
	p("|---|---|---|---|---|---|---|---|\n")
	for i, r := range all {
		for _, c := range r.Campaigns {
			n, simulation := c.Harmful.Network, "-"
			if s := c.Harmful.Simulated; s != nil {
				simulation = fmt.Sprintf("%d harmful: %d held, %d denied, %d alarms; %s", s.Transactions, s.Held, s.Denied, s.Alarms, noticed(c.FirstSimulated, c.BeforeSimulated))
			}
			p("| %s | %s | %d | %d | %d | %d | %s | %s |\n", kind(c.Name), letter(i), n.Transactions, n.Held, n.Denied, n.Alarms, noticed(c.First, c.Before), simulation)
		}
	}

	p("\n| Attack | | Height | Seconds after its first transaction | Before harmful transaction | What | Score | In the simulation | Why |\n")
	p("|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		for _, c := range r.Campaigns {
			row := func(f *flagged, before int) {
				simulation := "-"
				if f.Simulated != nil {
					simulation = fmt.Sprintf("%s, %d", f.Simulated.Ruling, f.Simulated.Score)
				}
				p("| %s | %s | %d | %.1f | %d | %s | %d | %s | %s |\n", kind(c.Name), f.Ruling, f.Height, time.Duration(f.AfterFirst).Seconds(), before+1, f.Message, f.Score, simulation, why(f))
			}
			switch {
			case c.First == nil:
				p("| %s | nothing | | | | | | | |\n", kind(c.Name))
			default:
				row(c.First, c.Before)
				if c.FirstKept != nil && c.First.Ruling == "alarm" {
					row(c.FirstKept, c.BeforeKept)
				}
			}
		}
	}

	p("\n| Normal life | Transactions | Held or denied | of 10000 | Executed with an alarm | of 10000 | In the simulation |\n")
	p("|---|---|---|---|---|---|---|\n")
	var network, before tally
	for i, r := range all {
		t, s := r.Normal.Network, r.Normal.Simulated
		life(p, "on "+letter(i), t, fmt.Sprintf("%d: %d held or denied, %d alarms", s.Transactions, s.Held+s.Denied, s.Alarms))
		if r.Speed == 1 {
			network = sum(network, t)
		}
		before = sum(before, r.Past.Normal)
	}
	life(p, "on those at their own pace, together", network, "")
	life(p, "before the networks began, simulated, with everybody's first days", before, "")
	for i, r := range all {
		if r.BreakerOpen {
			p("\nThe breaker of %s was open at the end: nothing was held from then on.\n", letter(i))
		}
	}
}

func life(p func(string, ...any), what string, t tally, simulation string) {
	of := func(n int) string {
		if t.Transactions == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f", 10000*float64(n)/float64(t.Transactions))
	}
	p("| %s | %d | %d | %s | %d | %s | %s |\n", what, t.Transactions, t.Held+t.Denied, of(t.Held+t.Denied), t.Alarms, of(t.Alarms), simulation)
}

func sum(a, b tally) tally {
	return tally{a.Transactions + b.Transactions, a.Held + b.Held, a.Denied + b.Denied, a.Alarms + b.Alarms}
}

func letter(i int) string { return string(rune('A' + i)) }

// kind is a campaign's name without its number.
func kind(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return name
}

func noticed(f *flagged, before int) string {
	if f == nil {
		return "never"
	}
	return fmt.Sprintf("%s before harmful transaction %d", f.Ruling, before+1)
}

// why is the reasons in one cell of a table.
func why(f *flagged) string {
	text := f.Why
	if text == "" {
		text = strings.Join(f.Reasons, "; ")
	}
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(text)
}
