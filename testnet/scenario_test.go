//go:build unix

package testnet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

func TestScenarioFlags(t *testing.T) {
	for line, want := range map[string]string{
		"--attack theft":                       "no attack is named",
		"--speed 0.5":                          "--speed is 0.5",
		"--days 1":                             "--days 1",
		"--seed 0":                             "--seed 0",
		"--hour 3":                             "--hour is for a new network",
		"--past 4":                             "--past 4",
		"--past 1 --days 3":                    "--days is for a network that runs",
		"--past 1 --hour 24":                   "--hour is 24",
		"--past 1 --for 10ms":                  "--for is 10ms",
		"--past 1 --least 0":                   "--least is 0",
		"--past 1 --for 24h --speed 1000":      "more than 14 days",
		"--past 1 --attack none --hour -1":     "--hour is -1",
		"--dir " + t.TempDir() + " --speed 50": "there is no network",
	} {
		cmd := Command(Deps{Binary: func() (string, error) { return "unused", nil }})
		cmd.SetArgs(append([]string{"scenario"}, strings.Fields(line)...))
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// The past begins on a Monday, so that the plan's weekdays are the clock's.
func TestThePastBeginsOnAMonday(t *testing.T) {
	for d := range 7 {
		now := time.Date(2026, 3, 2+d, 15, 4, 5, 0, time.UTC)
		o := scenarioOptions{past: 2, hour: -1, speed: 1, lasts: time.Minute}
		midnight := o.settle(now)
		start := now.Add(-time.Duration(o.past)*dayLong - midnight)
		if start.Weekday() != time.Monday || start.Hour() != 0 || o.past < 2 || o.past > 8 || o.plan.Days != o.past+1 {
			t.Errorf("on %s: %d days from %s, %d in all", now.Weekday(), o.past, start, o.plan.Days)
		}
		o = scenarioOptions{past: 2, hour: 22.5, speed: 60, lasts: 3 * time.Minute}
		if midnight := o.settle(now); midnight != 22*time.Hour+30*time.Minute || o.plan.Days != o.past+2 {
			t.Errorf("at half past ten: %s, %d days in all after %d", midnight, o.plan.Days, o.past)
		}
	}
}

func TestShiftMovesEveryMark(t *testing.T) {
	mark := func(at int64) *identityv1.Mark { return &identityv1.Mark{At: at, Version: 1} }
	g := &identityv1.Genesis{
		Identities: []*identityv1.Identity{{Did: "a", Created: mark(5), Updated: mark(6)}},
		Roles:      []*identityv1.RoleGrants{{Did: "a", Grants: []*identityv1.RoleGrant{{Role: "r", Granted: mark(7)}}}},
	}
	shift(g.ProtoReflect(), 10)
	if i, r := g.Identities[0], g.Roles[0].Grants[0]; i.Created.At != 15 || i.Updated.At != 16 || r.Granted.At != 17 || i.Created.Version != 1 {
		t.Errorf("%v", g)
	}
}

// What was executed before the first flagged transaction is counted in the order of the
// blocks, whatever the order of the answers, and each transaction once.
func TestReportCountsInTheOrderOfTheBlocks(t *testing.T) {
	r := &scenarioReport{AlarmScore: 6000, say: func(string, ...any) {}, sim: map[int]*seen{}}
	message := []proto.Message{&provenancev1.RegisterEntity{}}
	action := func(campaign string, kind scenarios.Kind, harmful bool) *scenarios.Action {
		return &scenarios.Action{Campaign: campaign, Attack: kind, Harmful: harmful, Messages: message, Author: "x"}
	}
	result := func(height int64, index, score, code uint32, ruling chainv1.Ruling) *chainv1.TxResult {
		return &chainv1.TxResult{Height: height, Index: index, Code: code, Verdict: &chainv1.Verdict{Score: score, Ruling: ruling}}
	}
	const admit, hold, deny = chainv1.Ruling_RULING_ADMIT, chainv1.Ruling_RULING_HOLD, chainv1.Ruling_RULING_DENY
	add := func(number int, a *scenarios.Action, res *chainv1.TxResult) {
		s := &seen{Action: a, number: number, result: res}
		if s.result == nil {
			s.err = errors.New("refused")
		}
		if s.reason = r.flag(s); s.reason != nil {
			s.reason.Height = res.Height
			r.Flagged = append(r.Flagged, s.reason)
		}
		r.seen = append(r.seen, s)
	}
	burst := func() *scenarios.Action { return action("burst/1", scenarios.Burst, true) }
	add(4, burst(), result(9, 0, 8000, 16, hold)) // answered first
	add(0, action("burst/1", scenarios.Burst, false), result(7, 0, 100, 0, admit))
	add(1, burst(), result(7, 1, 200, 0, admit))
	add(2, burst(), result(8, 0, 6500, 0, admit))
	add(3, burst(), result(8, 1, 300, 0, admit))
	add(5, burst(), result(9, 1, 9900, 17, deny))
	add(6, burst(), nil)
	add(7, action("", scenarios.None, false), result(7, 2, 7000, 0, admit))
	add(8, action("burst/1", scenarios.None, false), result(10, 0, 0, 3, admit))
	r.simulated(&seen{Action: burst(), number: 4, result: result(1, 0, 400, 0, admit)})
	r.end()
	if len(r.Campaigns) != 1 {
		t.Fatalf("%d campaigns", len(r.Campaigns))
	}
	c := r.Campaigns[0]
	if want := (tally{Transactions: 6, Held: 1, Denied: 1, Alarms: 1, Refused: 1}); c.Harmful.Network != want {
		t.Errorf("harmful: %+v, want %+v", c.Harmful.Network, want)
	}
	if want := (tally{Transactions: 2, Alarms: 1, Failed: 1}); r.Normal.Network != want {
		t.Errorf("normal: %+v, want %+v", r.Normal.Network, want)
	}
	if c.Before != 1 || c.First == nil || c.First.Ruling != "alarm" || c.BeforeKept != 3 || c.FirstKept == nil || c.FirstKept.Ruling != "held" {
		t.Errorf("first after %d: %+v; first kept after %d: %+v", c.Before, c.First, c.BeforeKept, c.FirstKept)
	}
	if s := c.FirstKept.Simulated; s == nil || s.Ruling != "admitted" || s.Score != 400 {
		t.Errorf("in the simulation: %+v", s)
	}
}
