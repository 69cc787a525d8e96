//go:build linux

package perturb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/testnet/tamper"

	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// liesVariable names the file that tells a validator of the build tag byzantine what to do.
const liesVariable = "CHANCERY_BYZANTINE"

// liesToName is how many lies are told before their teller must be named: one may come too
// late for the others to judge.
const liesToName = 3

// lyingPatience is how much longer than planned a validator lies until it has lied so often.
const lyingPatience = 10 * time.Second

// begin starts a validator: another build where the plan says so, and such that it can be
// tampered with where it does.
func (r *run) begin(i int, cmd *exec.Cmd) error {
	switch {
	case r.swapped[i]:
		cmd.Path = r.o.Other
	case r.o.Byzantine != "" && r.plan.has(i, LyingProposer, LyingVoter, Equivocation):
		cmd.Path, cmd.Env = r.o.Byzantine, append(os.Environ(), liesVariable+"="+r.lies(i))
	}
	o := tamper.Options{Clock: r.plan.has(i, ClockSkew)}
	if r.plan.has(i, SlowDisk) {
		o.Disk = r.home(i).Data()
	}
	if o == (tamper.Options{}) || tamper.Supported() != nil {
		return cmd.Start()
	}
	p, err := tamper.Start(cmd, o)
	if errors.Is(err, tamper.ErrFilter) {
		return cmd.Start()
	}
	r.tampered[i] = p
	return err
}

// lies is the file that tells a validator what to do.
func (r *run) lies(i int) string { return filepath.Join(string(r.net.Dir), fmt.Sprintf("lies-%d", i)) }

// impossible says why a step cannot be done here; nil: it can.
func (r *run) impossible(s Step) error {
	switch s.Fault {
	case SlowDisk, ClockSkew:
		if err := tamper.Supported(); err != nil {
			return err
		}
		for _, i := range s.Victims {
			if r.tampered[i] == nil {
				return tamper.ErrFilter
			}
			if err := r.tampered[i].Err(); err != nil {
				return err
			}
		}
	case LyingProposer, LyingVoter, Equivocation:
		if r.o.Byzantine == "" {
			return errors.New("there is no program of the build tag byzantine")
		}
	case Swap:
		if r.o.Other == "" {
			return errors.New("there is no other program")
		}
	}
	return nil
}

// mix has one or two validators begin with the other program, where the plan swaps any.
func (r *run) mix() {
	if r.o.Other == "" || !slices.ContainsFunc(r.plan.Steps, func(s Step) bool { return s.Fault == Swap }) {
		return
	}
	first := int(r.plan.Seed % Validators)
	r.swapped[first] = true
	if r.plan.Seed/Validators%2 == 1 {
		r.swapped[(first+1)%Validators] = true
	}
}

// swap goes over to the other of two programs.
func (r *run) swap(ctx context.Context, i int) error {
	if err := r.net.Signal(ctx, i, syscall.SIGTERM); err != nil {
		return err
	}
	r.swapped[i] = !r.swapped[i]
	return r.net.Restart(ctx, i)
}

// skew sets a clock, and in the middle of the step sets it anew.
func (r *run) skew(i int, s Step) {
	r.tampered[i].SetClock(tamper.Clock{Ahead: s.Ahead, Drift: s.Drift})
	time.Sleep(s.For / 2)
	r.tampered[i].SetClock(tamper.Clock{Ahead: s.Then, Drift: s.Drift})
}

// tell has a validator lie for as long as the step takes, and longer where its turn did not
// come often enough for it to be named, up to lyingPatience.
func (r *run) tell(ctx context.Context, i int, s Step) error {
	before, err := r.told()
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.lies(i), []byte(s.Lie), 0o600); err != nil {
		return err
	}
	time.Sleep(s.For)
	for until := time.Now().Add(lyingPatience); time.Now().Before(until) && ctx.Err() == nil; time.Sleep(pollStatus) {
		now, err := r.told()
		if err != nil || len(now) >= len(before)+liesToName {
			return err
		}
	}
	return nil
}

// lie is what a validator says that it did.
type lie struct {
	validator int
	what      string
	height    int64
}

// told reads the lies that were told.
func (r *run) told() ([]lie, error) {
	var out []lie
	for i := range Validators {
		raw, err := os.ReadFile(r.lies(i) + ".told")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			l := lie{validator: i}
			if _, err := fmt.Sscan(line, &l.what, &l.height); err != nil {
				return nil, fmt.Errorf("%s.told: %w", r.lies(i), err)
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// refusable tells whether every block with a lie breaks the rules, and is refused.
func refusable(what string) bool {
	return what != "censor" && slices.Contains(lies[LyingProposer], what)
}

// accused are the organisations that the chain names as liars and as equivocators.
type accused struct{ liars, equivocators map[string]bool }

// accusations reads them from what subscribers were told.
func accusations(events []told) (accused, error) {
	out := accused{make(map[string]bool), make(map[string]bool)}
	for _, e := range events {
		fields := strings.Fields(e.event)
		if len(fields) < 2 {
			continue // an event without a value
		}
		value, err := hex.DecodeString(fields[len(fields)-1])
		if err != nil {
			continue
		}
		switch fields[len(fields)-2] {
		case "chancery.threat.v1.ProposerAccused":
			m := new(threatv1.ProposerAccused)
			if err := proto.Unmarshal(value, m); err != nil {
				return out, err
			}
			out.liars[m.Organisation] = true
		case "chancery.governance.v1.Misbehaved":
			m := new(governancev1.Misbehaved)
			if err := proto.Unmarshal(value, m); err != nil {
				return out, err
			}
			out.equivocators[m.Offence.GetOrganisation()] = true
		}
	}
	return out, nil
}

// expected are the organisations that must be named after lies, and those that may be.
func (r *run) expected(told []lie) (must, may accused) {
	must = accused{make(map[string]bool), make(map[string]bool)}
	may = accused{make(map[string]bool), make(map[string]bool)}
	var proposals, votes [Validators]int
	for _, l := range told {
		who := r.record.Validators[l.validator].Organisation
		switch {
		case refusable(l.what) || l.what == "censor":
			may.liars[who] = true
			if refusable(l.what) {
				proposals[l.validator]++
			}
		case slices.Contains(lies[Equivocation], l.what):
			may.equivocators[who] = true
			votes[l.validator]++
		}
	}
	for i, v := range r.record.Validators {
		if proposals[i] >= liesToName {
			must.liars[v.Organisation] = true
		}
		if votes[i] >= liesToName {
			must.equivocators[v.Organisation] = true
		}
	}
	return must, may
}

// naming waits until the chain names who lied, and checks that it names nobody else.
func (r *run) naming(ctx context.Context) {
	all, err := r.told()
	if err != nil {
		r.violated("what lies were told cannot be read: %v", err)
		return
	}
	r.result.Lies = len(all)
	must, may := r.expected(all)
	var named accused
	for until := time.Now().Add(answerPatience); ; time.Sleep(pollStatus) {
		r.load.mu.Lock()
		events := slices.Clone(r.load.streams[0])
		r.load.mu.Unlock()
		if named, err = accusations(events); err != nil {
			r.violated("an accusation cannot be read: %v", err)
			return
		}
		if len(unnamed(must, named)) == 0 || time.Now().After(until) || ctx.Err() != nil {
			break
		}
	}
	r.result.Named = unnamed(named, accused{})
	for _, who := range unnamed(must, named) {
		r.violated("%s at least %d times, and %v later nobody is told", who, liesToName, answerPatience)
	}
	for _, who := range unnamed(named, may) {
		r.violated("%s, says the chain, and did not", who)
	}
}

// unnamed are the accusations of some that others have not.
func unnamed(some, others accused) (out []string) {
	for who := range some.liars {
		if !others.liars[who] {
			out = append(out, who+" lied as a proposer")
		}
	}
	for who := range some.equivocators {
		if !others.equivocators[who] {
			out = append(out, who+" voted twice")
		}
	}
	slices.Sort(out)
	return out
}

// refused checks that no block is committed of a proposer that lied in it.
func (r *run) refused(blocks map[int64]block, addresses [Validators]string) {
	all, err := r.told()
	if err != nil {
		return // naming says so
	}
	for _, l := range all {
		if b, ok := blocks[l.height]; ok && refusable(l.what) && b.proposer == addresses[l.validator] {
			r.violated("block %d of validator %d is committed, in which it lied: %s", l.height, l.validator, l.what)
		}
	}
}
