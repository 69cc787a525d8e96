//go:build unix

package testnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

const (
	dayLong = 24 * time.Hour
	// maxPast is how many days may be asked for: the genesis file holds them, and up to six
	// more.
	maxPast = 3
	// maxSeeds is how many seeds are tried where none is given.
	maxSeeds = 3_000
	// maxLive is how many days of the plan the part that is submitted may have.
	maxLive = 14
	// saidEvery is how often the replay says how far it is.
	saidEvery = 30 * time.Second
)

// scenarioOptions are the flags of 'scenario'.
type scenarioOptions struct {
	plan     scenarios.Options
	attack   string
	speed    float64
	past     int
	hour     float64 // negative: that of the clock
	least    int
	lasts    time.Duration
	basePort int
}

func (c *commands) scenario() *cobra.Command {
	o := scenarioOptions{plan: scenarios.Options{Campaigns: 1}}
	cmd := &cobra.Command{
		Use:   "scenario",
		Short: "Show an attack on a living consortium, and report what was held",
		Long: `Submit the made-up life of a consortium with attacks in it to a network of four
validators, and report which transactions were held, denied or an alarm, when, with
which reasons in plain words, and what a simulation of the same plan makes of them.
At the end all validators are asked for every block and for every held transaction:
they must say the same.

With --past the command makes a network of its own in --dir, whose members have days
behind them, from a Monday on: the past is simulated, and is the network's genesis
state. Then the plan goes on at its own pace, at the hour that it is, and all attacks
begin within five minutes, or as soon as their nature allows: what comes at night does
not come by day. With --hour the plan's clock shows another hour than the network's, and
what the sentinel makes of the hour is wrong by as much. The network runs on afterwards;
'testnet stop' ends it.

Without --past the plan, with --days of life, is submitted to the network that runs in
--dir, in compressed time. Its clock is not compressed: everybody has a key of the same
hour and acts faster than any person, so what the sentinel makes of that says little.`,
		Example: `  chancery testnet scenario --dir T --past 3 --seed 0 --attack burst,policy-tampering --for 5m
  chancery testnet scenario --dir T --past 3 --seed 0 --attack credential-theft --hour 22
  chancery testnet scenario --dir T --past 3 --attack mimicry --speed 60 --output json
  chancery testnet start --dir T --enforce --detach
  chancery testnet scenario --dir T --attack bulk-exfiltration --speed 2000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags().Changed); err != nil {
				return err
			}
			return c.play(cmd, &o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.attack, "attack", scenarios.BulkExfiltration.String(), "kind of attack; several with commas between them, all, or none")
	f.Uint64Var(&o.plan.Seed, "seed", 1, "what the plan follows from; another seed has other people, so a network can have several; with --past, 0 is the first by which every attack does harm in time")
	f.IntVar(&o.past, "past", 0, "make a new network whose members have so many days behind them, 1 to 3, and those since the Monday before")
	f.Float64Var(&o.hour, "hour", -1, "with --past: hour of the plan's day at which the network goes on; by default what the clock shows, in UTC")
	f.DurationVar(&o.lasts, "for", 10*time.Minute, "with --past: how long the network goes on")
	f.IntVar(&o.least, "least", 3, "with --past and --seed 0: harmful transactions of each attack that are to come in time")
	f.IntVar(&o.basePort, "base-port", 0, "with --past: first of three ports for each validator; any free ones by default")
	f.IntVar(&o.plan.Days, "days", 3, "without --past: days of life, 2 to 7; the attack comes after the first quarter")
	f.Float64Var(&o.speed, "speed", 1, "how many seconds of the plan pass in one second; 1000 without --past")
	f.Float64Var(&o.plan.Life, "life", 1, "how much everybody does")
	f.Float64Var(&o.plan.Force, "force", 1, "how much the attack does")
	return cmd
}

// check refuses what no scenario follows from, and fills in what depends on it.
func (o *scenarioOptions) check(given func(string) bool) (err error) {
	if o.plan.Attacks, err = scenarios.ParseKinds(o.attack); err != nil {
		return usagef("--attack: %v", err)
	}
	if !given("speed") && o.past == 0 {
		o.speed = 1000
	}
	if !(o.speed >= 1) {
		return usagef("--speed is %v, want at least 1", o.speed)
	}
	if o.past == 0 {
		for _, name := range []string{"past", "hour", "for", "least", "base-port"} {
			if given(name) {
				return usagef("--%s is for a new network with --past of at least one day", name)
			}
		}
		if o.plan.Seed == 0 {
			return usagef("--seed 0 is for a new network with --past; want at least 1")
		}
		if o.plan.Days < 2 || o.plan.Days > 7 {
			return usagef("--days %d: want 2 to 7", o.plan.Days)
		}
		return nil
	}
	if given("days") {
		return usagef("--days is for a network that runs; with --past, --for and --speed say how much is submitted")
	}
	switch {
	case o.past < 1 || o.past > maxPast:
		return usagef("--past %d: want 1 to %d", o.past, maxPast)
	case given("hour") && !(o.hour >= 0 && o.hour < 24):
		return usagef("--hour is %v, want 0 to less than 24", o.hour)
	case o.least < 1:
		return usagef("--least is %d, want at least 1", o.least)
	case o.lasts < time.Second || o.lasts > dayLong:
		return usagef("--for is %v, want 1s to 24h", o.lasts)
	case float64(o.lasts)*o.speed > float64(maxLive*dayLong):
		return usagef("--for %v at --speed %v is more than %d days of the plan", o.lasts, o.speed, maxLive)
	}
	return nil
}

// settle says how long of the plan lies before what is submitted, which begins now: whole
// days since a Monday, and the hours of the plan's clock.
func (o *scenarioOptions) settle(now time.Time) (midnight time.Duration) {
	for now.AddDate(0, 0, -o.past).Weekday() != time.Monday {
		o.past++
	}
	midnight = now.Sub(now.Truncate(dayLong))
	if o.hour >= 0 {
		midnight = time.Duration(o.hour * float64(time.Hour)).Truncate(time.Second)
	}
	live := time.Duration(float64(o.lasts) * o.speed)
	o.plan.Days = o.past + int(math.Ceil(float64(midnight+live)/float64(dayLong)))
	return midnight
}

// stage is a network, and a plan that is to go on there.
type stage struct {
	*Network
	record  *Record
	signers map[string]tx.Signer
	plan    *scenarios.Plan
	options *scenarioOptions
	// founding is the genesis state in which the plan begins, by module, and founded its
	// time; nil where nobody knows it any more.
	founding map[string]json.RawMessage
	founded  time.Time
	midnight time.Duration // since the plan's, when what is submitted begins
	replay   scenarios.ReplayOptions
	report   *scenarioReport
	say      func(string, ...any)
}

func (c *commands) play(cmd *cobra.Command, o *scenarioOptions) (err error) {
	ctx := cmd.Context()
	n, err := c.network()
	if err != nil {
		return err
	}
	s := &stage{Network: n, options: o, signers: map[string]tx.Signer{}, say: talker(cmd, jsonWanted(cmd))}
	s.report = &scenarioReport{Seed: o.plan.Seed, Speed: o.speed, say: s.say}
	s.replay = scenarios.ReplayOptions{
		Speed: o.speed, Signer: func(url string) (tx.Signer, bool) { signer, ok := s.signers[url]; return signer, ok },
	}
	if o.past > 0 {
		err = s.raise(ctx)
	} else {
		err = s.enter()
	}
	if err != nil {
		return err
	}
	err = s.run(ctx)
	if o.past > 0 {
		s.say("The network runs on; stop it with: %s testnet stop --dir %s", quote(program(s.Binary)), quote(string(s.Dir)))
	}
	if jsonWanted(cmd) {
		return errors.Join(err, writeJSON(cmd.OutOrStdout(), s.report))
	}
	s.report.tell()
	return err
}

// enter takes the network that runs in the folder.
func (s *stage) enter() (err error) {
	if s.record, err = Load(s.Dir); err != nil {
		return err
	}
	o := s.options.plan
	if o.Sites, err = s.sites(s.record, s.signers); err != nil {
		return err
	}
	doc, _, err := config.ReadGenesis(s.Dir.Home(s.record.Validators[0]).GenesisFile())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(doc.AppState, &s.founding); err != nil {
		return fmt.Errorf("read the network's genesis state: %w", err)
	}
	s.founded = doc.GenesisTime
	if len(s.founding) > 2 {
		s.founding = nil // it has a past of its own
	}
	// Everything that the plan says of the past is past by the network's clock too.
	o.ChainID, o.Start = s.record.ChainID, time.Now().Add(-time.Duration(o.Days)*dayLong).UnixMilli()
	if s.plan, err = scenarios.New(o); err != nil {
		return err
	}
	s.say("%d days of %d organisations at %.0f seconds a second, about %s.", o.Days, len(o.Sites), s.options.speed,
		time.Duration(float64(o.Days)*float64(dayLong)/s.options.speed).Round(time.Second))
	return nil
}

// raise makes a network whose past is the plan's and starts it.
func (s *stage) raise(ctx context.Context) error {
	if _, err := Load(s.Dir); !errors.Is(err, errNoNetwork) {
		if err != nil {
			return err
		}
		return usagef("--past is for a new network; %s holds one already: name another folder with --dir", s.Dir)
	}
	by := Shipped(true)
	if by.Detector == nil {
		return errors.New("this program has no detector: nothing would be held")
	}
	now := time.Now().UTC().Truncate(time.Second)
	s.midnight = s.options.settle(now)
	s.founded = now.Add(-time.Duration(s.options.past)*dayLong - s.midnight)
	p := &past{founded: s.founded, now: now, live: s.live}
	began := time.Now()
	if _, err := s.Dir.make(ctx, Design{BasePort: s.options.basePort, By: by, past: p}); err != nil {
		return err
	}
	s.say("It took %.0f s. %d transactions of the past; of normal life %d were held and %d alarms.", time.Since(began).Seconds(),
		s.report.Past.Transactions, s.report.Past.Normal.Held+s.report.Past.Normal.Denied, s.report.Past.Normal.Alarms)
	_, err := s.Start(ctx)
	if err == nil {
		err = s.ready(ctx, pastPatience)
	}
	if err != nil {
		return errors.Join(err, s.end(s.say))
	}
	if s.record, err = Load(s.Dir); err != nil {
		return err
	}
	s.report.Past.Pause = time.Since(now)
	s.say("Network %s in %s: %s, all taking part. It goes on for %v.", s.record.ChainID, s.Dir, counted(len(s.record.Validators)), s.options.lasts)
	return nil
}

// live executes the plan's past in this process and returns the state in which it ends.
func (s *stage) live(ctx context.Context, r *Record, sections map[string]json.RawMessage) (json.RawMessage, error) {
	o := s.options.plan
	var err error
	if o.Sites, err = s.sites(r, s.signers); err != nil {
		return nil, err
	}
	now := s.founded.Add(time.Duration(s.options.past)*dayLong + s.midnight)
	o.ChainID, o.Start, o.AttackAt = r.ChainID, s.founded.UnixMilli(), now.UnixMilli()
	s.replay.From = now.UnixMilli()
	s.replay.Until = s.replay.From + int64(float64(s.options.lasts.Milliseconds())*s.options.speed)
	if o.Seed == 0 {
		s.say("Looking for a seed by which every attack does harm in time.")
		if o.Seed, err = s.timely(ctx, o, s.replay.From, s.replay.Until, s.options.least); err != nil {
			return nil, err
		}
		s.say("Seed %d is the first by which every attack does harm %d times within %v.", o.Seed, s.options.least, s.options.lasts)
	}
	s.report.Seed = o.Seed
	if s.plan, err = scenarios.New(o); err != nil {
		return nil, err
	}
	s.founding = sections
	past := &pastReport{Days: s.options.past, Clock: clockOf(s.midnight), Midnight: s.founded.Format("15:04") + " UTC"}
	s.report.Past = past
	s.say("Simulating %d days of %d organisations, until %s of the day after.", past.Days, len(o.Sites), past.Clock)
	alarm, err := alarmScore(sections)
	if err != nil {
		return nil, err
	}
	course, err := scenarios.Begin(ctx, s.plan, scenarios.RunOptions{
		Genesis: sections, Signer: s.replay.Signer,
		Progress: func(done int, at int64) {
			if done%5000 == 0 {
				s.say("  %d transactions, day %d", done, 1+(at-o.Start)/dayLong.Milliseconds())
			}
		},
	}, func(out *scenarios.Outcome) error {
		past.Normal.add(ofOutcome(out), alarm)
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer course.Close()
	if err := course.Until(now.UnixMilli()); err != nil {
		return nil, err
	}
	past.Transactions = course.Report().Transactions
	s.replay.Past = course.Known()
	return course.Genesis()
}

// timely is the first seed by which each attack has so many harmful transactions in a
// span of time. It looks at when something happens, and at nothing else.
func (s *stage) timely(ctx context.Context, o scenarios.Options, from, until int64, least int) (uint64, error) {
	for o.Seed = 1; o.Seed <= maxSeeds; o.Seed++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if o.Seed%500 == 0 {
			s.say("  none up to %d", o.Seed)
		}
		p, err := scenarios.New(o)
		if err != nil {
			return 0, err
		}
		harmful := map[scenarios.Kind]int{}
		for a := range p.Actions() {
			if a.At >= until {
				break
			}
			if a.Harmful && a.At >= from {
				harmful[a.Attack]++
			}
		}
		if !slices.ContainsFunc(o.Attacks, func(k scenarios.Kind) bool { return harmful[k] < least }) {
			return o.Seed, nil
		}
	}
	return 0, usagef("there are no %d harmful transactions of each of these attacks within that time by any of the seeds to %d; let it take longer with --for, or name other attacks or another --hour", least, maxSeeds)
}

func clockOf(sinceMidnight time.Duration) string {
	return time.Time{}.Add(sinceMidnight).Format("15:04")
}

func alarmScore(sections map[string]json.RawMessage) (uint32, error) {
	g := new(threatv1.Genesis)
	if err := chain.ReadGenesis(sections["threat"], g); err != nil {
		return 0, err
	}
	return g.GetParams().GetAlarmScore(), nil
}

// run goes on with the plan, compares it with its simulation, and the validators with one
// another.
func (s *stage) run(ctx context.Context) error {
	options, err := s.Dir.Credentials(s.record, s.record.Validators[0]).Options()
	if err != nil {
		return err
	}
	api, err := client.Dial(ctx, s.record.Addresses(), append(options, client.ChainID(s.record.ChainID), client.UserAgent("chancery-testnet"))...)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := s.report.begin(ctx, api); err != nil {
		return err
	}
	live, stop := context.WithCancel(ctx)
	defer stop()
	go s.report.progress(live)
	s.replay.Done = func(reply *scenarios.Reply) { s.report.add(ctx, reply) }
	err = scenarios.Replay(ctx, api, s.plan, s.replay)
	stop()
	s.report.end()
	if err != nil {
		return err
	}
	s.report.explainFirst(ctx)
	s.say("Asking all validators for every block and every held transaction.")
	if err := s.compare(ctx); err != nil {
		return err
	}
	if s.founding == nil {
		s.say("The plan is not simulated: the network began with a past.")
		return nil
	}
	s.say("Simulating the same plan at its own pace and clock.")
	if err := s.simulate(ctx); err != nil {
		return err
	}
	s.report.sum()
	return nil
}

// simulate executes the plan from its founding on in this process, in virtual time, with
// its midnight at midnight UTC of a Monday, and adds what came of what was submitted.
func (s *stage) simulate(ctx context.Context) error {
	o := s.plan.Options()
	monday := s.founded.UTC().Truncate(dayLong)
	for monday.Weekday() != time.Monday {
		monday = monday.Add(-dayLong)
	}
	by := Shipped(true)
	if by.Detector == nil {
		return nil
	}
	g := new(identityv1.Genesis)
	if err := chain.ReadGenesis(s.founding["identity"], g); err != nil {
		return err
	}
	shift(g.ProtoReflect(), monday.Sub(s.founded).Milliseconds())
	sections := map[string]json.RawMessage{}
	var err error
	if sections["identity"], err = chain.WriteGenesis(g); err != nil {
		return err
	}
	if sections["threat"], err = chain.WriteGenesis(by.genesis(monday)); err != nil {
		return err
	}
	moved := monday.UnixMilli() - o.Start
	if o.Start += moved; o.AttackAt != 0 {
		o.AttackAt += moved
	}
	p, err := scenarios.New(o)
	if err != nil {
		return err
	}
	course, err := scenarios.Begin(ctx, p, scenarios.RunOptions{Genesis: sections, Signer: s.replay.Signer}, func(out *scenarios.Outcome) error {
		if out.At >= s.replay.From+moved {
			s.report.simulated(ofOutcome(out))
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer course.Close()
	until := int64(math.MaxInt64)
	if s.replay.Until != 0 {
		until = s.replay.Until + moved
	}
	return course.Until(until)
}

// shift moves every mark of a message by so many milliseconds.
func shift(m protoreflect.Message, by int64) {
	if mark, ok := m.Interface().(*identityv1.Mark); ok {
		mark.At += by
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				shift(v.List().Get(i).Message(), by)
			}
		default:
			shift(v.Message(), by)
		}
		return true
	})
}

// sites are the members with their keys, and puts those keys' signers by DID URL.
func (n *Network) sites(r *Record, signers map[string]tx.Signer) ([]scenarios.Site, error) {
	if len(r.Validators) < 4 || len(r.Validators) > 7 {
		return nil, usagef("a scenario is for networks of 4 to 7 validators; this one has %d", len(r.Validators))
	}
	var out []scenarios.Site
	for i, v := range r.Validators {
		ring, err := OpenKeyring(n.Dir, n.Dir.Home(v))
		if err != nil {
			return nil, err
		}
		holder := func(name string) (scenarios.Holder, error) {
			entry, err := ring.Lookup(name)
			if err != nil {
				return scenarios.Holder{}, err
			}
			signer, err := ring.Signer(name)
			if err != nil {
				return scenarios.Holder{}, err
			}
			signers[entry.KeyURL] = client.Signer(entry.KeyURL, signer)
			return scenarios.Holder{DID: entry.DID, Key: entry.KeyURL}, nil
		}
		s := scenarios.Site{Organisation: v.Organisation, Needed: int(administratorsNeeded(i))}
		for k := range s.Needed {
			h, err := holder(fmt.Sprintf("admin-%d", k+1))
			if err != nil {
				return nil, err
			}
			s.Administrators = append(s.Administrators, h)
		}
		if s.Registrar, err = holder("registrar"); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
