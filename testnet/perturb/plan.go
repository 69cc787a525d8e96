//go:build linux

package perturb

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Validators of the network of a run, one of which may be disturbed at a time.
const Validators = 4

// Mode is how much of the network a plan disturbs at a time.
type Mode string

const (
	// Minority disturbs one validator, the same throughout: the chain must go on.
	Minority Mode = "minority"
	// Wandering disturbs one after the other, whether or not the one before has caught
	// up: the chain may pause, and must go on when all is over.
	Wandering Mode = "wandering"
	// Halves takes two validators from the two others: nothing may be committed
	// meanwhile.
	Halves Mode = "halves"
)

// Fault is something that is done to validators or to their connections.
type Fault string

const (
	Kill     Fault = "kill"     // SIGKILL, and started again at the end
	Stop     Fault = "stop"     // SIGTERM, and started again at the end
	Pause    Fault = "pause"    // SIGSTOP, and SIGCONT at the end
	Stutter  Fault = "stutter"  // SIGSTOP and SIGCONT in turns
	Wipe     Fault = "wipe"     // killed, and started again with nothing but keys and what they signed: it fetches all blocks
	Snapshot Fault = "snapshot" // the same, and it begins with a snapshot of the others
	FullDisk Fault = "full-disk"
	Cut      Fault = "cut"      // connections are reset and refused
	Hold     Fault = "hold"     // connections stay open and carry nothing
	Deaf     Fault = "deaf"     // it is heard and hears nothing
	Mute     Fault = "mute"     // it hears and is not heard
	Flap     Fault = "flap"     // its connections are reset again and again
	Delay    Fault = "delay"    // what is sent arrives later
	Loss     Fault = "loss"     // some of what is sent waits as for a retransmission
	Throttle Fault = "throttle" // few bytes a second

	SlowDisk      Fault = "slow-disk"      // writes and syncs take long
	ClockSkew     Fault = "clock-skew"     // the clock is wrong, or runs wrong
	LyingProposer Fault = "lying-proposer" // its blocks break the rules
	LyingVoter    Fault = "lying-voter"    // what it says with its votes is no extension, or not true
	Equivocation  Fault = "equivocation"   // it votes twice
	Swap          Fault = "swap"           // stopped, and started with another build of the program
)

// Step is one fault.
type Step struct {
	Fault Fault `json:"fault"`
	// Victims are the validators that it is done to; what is done to connections is done
	// to those between victims and others.
	Victims []int `json:"victims"`
	// For is how long it lasts, and Rest is the time until the next step.
	For  time.Duration `json:"for_ns"`
	Rest time.Duration `json:"rest_ns"`
	// Delay is of what passes a connection under Delay, Rate its bytes a second under
	// Throttle, Loss the share of its parts that wait under Loss.
	Delay time.Duration `json:"delay_ns,omitempty"`
	Rate  int           `json:"rate,omitempty"`
	Loss  float64       `json:"loss,omitempty"`
	// Sync and Write are the most that each takes under SlowDisk.
	Sync  time.Duration `json:"sync_ns,omitempty"`
	Write time.Duration `json:"write_ns,omitempty"`
	// Ahead is how far the clock is ahead under ClockSkew, in the second half Then, and
	// Drift what is added each second.
	Ahead time.Duration `json:"ahead_ns,omitempty"`
	Then  time.Duration `json:"then_ns,omitempty"`
	Drift time.Duration `json:"drift_ns,omitempty"`
	// Lie is what a lying validator is told to do.
	Lie string `json:"lie,omitempty"`
}

func (s Step) String() string {
	how := ""
	switch s.Fault {
	case SlowDisk:
		how = fmt.Sprintf(" sync %v write %v", s.Sync, s.Write)
	case ClockSkew:
		how = fmt.Sprintf(" %v then %v drift %v/s", s.Ahead, s.Then, s.Drift)
	case LyingProposer, LyingVoter, Equivocation:
		how = " " + s.Lie
	}
	return fmt.Sprintf("%s%v %.1fs%s", s.Fault, s.Victims, s.For.Seconds(), how)
}

// Plan is what is done in a run.
type Plan struct {
	Seed   uint64 `json:"seed"`
	Faults string `json:"faults"` // the name of the set
	Mode   Mode   `json:"mode"`
	Steps  []Step `json:"steps"`
}

// Set is the faults that plans are made of. A seed has another plan with another set.
type Set struct {
	name   string
	single []Fault // of one validator
	halves []Fault // of two
	stream uint64  // of the random numbers
}

// Sets that have names. What a name stands for never changes.
var (
	V1 = Set{
		name:   "v1",
		single: []Fault{Kill, Kill, Stop, Pause, Stutter, Wipe, Snapshot, FullDisk, Cut, Hold, Deaf, Mute, Flap, Delay, Loss, Throttle},
		halves: []Fault{Kill, Pause, Cut, Hold},
	}
	V2 = Set{
		name: "v2",
		single: append(slices.Clone(V1.single),
			SlowDisk, SlowDisk, ClockSkew, ClockSkew, LyingProposer, LyingProposer, LyingVoter, LyingVoter, Equivocation, Swap, Swap),
		halves: V1.halves,
		stream: 2,
	}
)

// lies are what a validator of the build tag byzantine knows, by fault.
var lies = map[Fault][]string{
	LyingProposer: {"verdict", "verdict-missing", "model", "forged-vote", "no-docket", "twice", "order", "wrong-tx", "censor"},
	LyingVoter:    {"malformed", "too-long", "phantoms", "slander"},
	Equivocation:  {"double-prevote", "double-precommit"},
}

// NewSet is the set of a name, or of the faults of one validator that are named, with commas.
func NewSet(name string) (Set, error) {
	for _, s := range []Set{V1, V2} {
		if s.name == name {
			return s, nil
		}
	}
	s := Set{name: name, stream: 3}
	for f := range strings.SplitSeq(name, ",") {
		if !slices.Contains(V2.single, Fault(f)) {
			return Set{}, fmt.Errorf("there is no fault %q; they are v1, v2, or some of %v", f, slices.Compact(slices.Sorted(slices.Values(V2.single))))
		}
		s.single = append(s.single, Fault(f))
	}
	return s, nil
}

// NewPlan is the plan of a seed whose steps take about so long.
func NewPlan(seed uint64, length time.Duration, of Set) Plan {
	r := rand.New(rand.NewPCG(seed, of.stream))
	p := Plan{Seed: seed, Faults: of.name}
	span := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(r.Int64N(int64(most-least)))).Round(time.Millisecond)
	}
	either := func(most time.Duration) time.Duration { return span(-most, most) }
	switch r.IntN(8) {
	case 0, 1:
		p.Mode = Halves
		if len(of.halves) == 0 {
			p.Mode = Wandering
		}
	case 2, 3:
		p.Mode = Wandering
	default:
		p.Mode = Minority
	}
	victim := r.IntN(Validators)
	for spent := time.Duration(0); spent < length; {
		s := Step{For: span(300*time.Millisecond, 3*time.Second), Rest: span(0, time.Second)}
		switch p.Mode {
		case Halves:
			s.Fault = of.halves[r.IntN(len(of.halves))]
			s.Victims = r.Perm(Validators)[:2]
			slices.Sort(s.Victims)
			// Long enough to tell a chain that stands from one that is slow.
			s.For, s.Rest = span(4*time.Second, 6*time.Second), time.Second
		case Wandering:
			victim = r.IntN(Validators)
			fallthrough
		default:
			s.Fault, s.Victims = of.single[r.IntN(len(of.single))], []int{victim}
		}
		switch s.Fault {
		case Delay:
			s.Delay = span(20*time.Millisecond, 500*time.Millisecond)
		case Loss:
			s.Loss = 0.01 + 0.1*r.Float64()
		case Throttle:
			s.Rate = 2000 + r.IntN(100_000)
		case SlowDisk:
			s.Sync, s.Write = span(20*time.Millisecond, 400*time.Millisecond), span(0, 5*time.Millisecond)
			s.For = span(time.Second, 4*time.Second)
		case ClockSkew:
			s.Ahead, s.Then = either(30*time.Second), either(30*time.Second)
			if r.IntN(2) == 0 {
				s.Drift = either(time.Second)
			}
			s.For = span(time.Second, 5*time.Second)
		case LyingProposer, LyingVoter, Equivocation:
			s.Lie = lies[s.Fault][r.IntN(len(lies[s.Fault]))]
			s.For = span(2*time.Second, 5*time.Second) // so that its turn to propose comes
		}
		p.Steps = append(p.Steps, s)
		spent += s.For + s.Rest
	}
	return p
}

// has tells whether a plan has a fault of a validator.
func (p Plan) has(victim int, faults ...Fault) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		return slices.Contains(faults, s.Fault) && slices.Contains(s.Victims, victim)
	})
}
