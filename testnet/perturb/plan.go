//go:build linux

package perturb

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
}

func (s Step) String() string {
	return fmt.Sprintf("%s%v %.1fs", s.Fault, s.Victims, s.For.Seconds())
}

// Plan is what is done in a run.
type Plan struct {
	Seed  uint64 `json:"seed"`
	Mode  Mode   `json:"mode"`
	Steps []Step `json:"steps"`
}

// single are the faults of one validator.
var single = []Fault{Kill, Kill, Stop, Pause, Stutter, Wipe, Snapshot, FullDisk, Cut, Hold, Deaf, Mute, Flap, Delay, Loss, Throttle}

// NewPlan is the plan of a seed whose steps take about so long.
func NewPlan(seed uint64, length time.Duration) Plan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := Plan{Seed: seed}
	span := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(r.Int64N(int64(most-least)))).Round(time.Millisecond)
	}
	switch r.IntN(8) {
	case 0, 1:
		p.Mode = Halves
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
			s.Fault = []Fault{Kill, Pause, Cut, Hold}[r.IntN(4)]
			s.Victims = r.Perm(Validators)[:2]
			slices.Sort(s.Victims)
			// Long enough to tell a chain that stands from one that is slow.
			s.For, s.Rest = span(4*time.Second, 6*time.Second), time.Second
		case Wandering:
			victim = r.IntN(Validators)
			fallthrough
		default:
			s.Fault, s.Victims = single[r.IntN(len(single))], []int{victim}
		}
		switch s.Fault {
		case Delay:
			s.Delay = span(20*time.Millisecond, 500*time.Millisecond)
		case Loss:
			s.Loss = 0.01 + 0.1*r.Float64()
		case Throttle:
			s.Rate = 2000 + r.IntN(100_000)
		}
		p.Steps = append(p.Steps, s)
		spent += s.For + s.Rest
	}
	return p
}
