package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// Exploration is what was found by trying everything within a scope.
type Exploration struct {
	States, Steps int
	Deepest       int            // how many actions the state that is farthest from the first is away
	Outcomes      map[string]int // how often each kind of action came to each code
	Broken        *Broken        // nil: every sentence holds
	states        []reached
}

// Broken is a sentence that does not hold, and the shortest way to where it does not.
type Broken struct {
	Says string
	Way  []Action
}

func (b *Broken) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%q does not hold after %d actions:", b.Says, len(b.Way))
	for i, a := range b.Way {
		fmt.Fprintf(&out, "\n%3d. %s", i+1, a)
	}
	return out.String()
}

// reached is how a state was come to first: by an action from another.
type reached struct {
	from   int32
	action Action
}

// key stands for a state. Two states have the same one with a likelihood of 2^-128.
type key [2]uint64

// Explore tries every action in every state that can be come to, nearest first, until a
// sentence is broken, there is nothing more to try, or there are more than so many states,
// which is an error.
func (x *Scope) Explore(most int) (*Exploration, error) {
	seeds := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	keyOf := func(s State) key {
		return key{maphash.Comparable(seeds[0], s), maphash.Comparable(seeds[1], s)}
	}
	e := &Exploration{States: 1, Outcomes: map[string]int{}, states: []reached{{from: -1}}}
	sentences := Sentences()
	first := x.First()
	for _, v := range sentences {
		if v.State != nil && !v.State(x.Model, &first) {
			e.Broken = &Broken{Says: v.Says}
			return e, nil
		}
	}
	type place struct {
		state State
		at    int32
	}
	seen := map[key]struct{}{keyOf(first): {}}
	here := []place{{state: first}}
	for depth := 1; len(here) > 0; depth++ {
		var next []place
		for _, p := range here {
			for _, a := range x.Actions(&p.state) {
				after, out := x.Step(p.state, a)
				e.Steps++
				e.Outcomes[a.Kind.String()+" "+out.Code]++
				for _, v := range sentences {
					if v.Step != nil && !v.Step(x.Model, &p.state, a, out, &after) {
						e.Broken = &Broken{Says: v.Says, Way: append(e.Way(int(p.at)), a)}
						return e, nil
					}
				}
				k := keyOf(after)
				if _, known := seen[k]; known {
					continue
				}
				seen[k] = struct{}{}
				e.states = append(e.states, reached{from: p.at, action: a})
				e.States, e.Deepest = len(e.states), depth
				at := int32(e.States - 1)
				for _, v := range sentences {
					if v.State != nil && !v.State(x.Model, &after) {
						e.Broken = &Broken{Says: v.Says, Way: e.Way(int(at))}
						return e, nil
					}
				}
				if e.States > most {
					return e, fmt.Errorf("scope %s has more than %d states", x.Name, most)
				}
				next = append(next, place{after, at})
			}
		}
		here = next
	}
	return e, nil
}

// Way is the shortest way to a state, from 0 to States-1.
func (e *Exploration) Way(to int) []Action {
	var out []Action
	for ; to > 0; to = int(e.states[to].from) {
		out = append(out, e.states[to].action)
	}
	slices.Reverse(out)
	return out
}

var kinds = [...]string{
	End: "the block ends", Give: "gives", Narrow: "narrows", Withdraw: "withdraws", Expire: "records the expiry of", Delegate: "delegates",
	Revoke: "revokes a delegation", Restrict: "restricts", Lift: "lifts a restriction", Decide: "asks", Note: "registers something",
	Rotate: "rotates its key", Vote: "votes", Release: "releases", Reject: "rejects", Appeal: "appeals", Bind: "sets the power of a validator", Replace: "replaces a validator",
}

func (k Kind) String() string { return kinds[k] }

func (a Actor) String() string {
	switch {
	case a < MaxSubjects:
		return fmt.Sprintf("subject %d", int8(a))
	case a == Consortium:
		return "the consortium"
	}
	return fmt.Sprintf("administrator %d of organisation %d", (int8(a)-MaxSubjects)%2, a.organisation())
}

func (a Action) String() string {
	if a.Kind == End {
		return a.Kind.String()
	}
	out := a.Actor.String()
	if a.Paper {
		out += ", on paper,"
	}
	out += " " + a.Kind.String()
	until := func() {
		if a.Until != 0 {
			out += fmt.Sprintf(" until block %d", a.Until)
		}
	}
	switch a.Kind {
	case Give, Decide, Restrict:
		out += fmt.Sprintf(" purposes %d of subject %d", a.Purposes, a.Subject)
		until()
	case Narrow:
		out += fmt.Sprintf(" consent %d by purposes %d", a.Record, a.Purposes)
		until()
	case Withdraw, Expire:
		out += fmt.Sprintf(" consent %d", a.Record)
	case Delegate, Revoke:
		out += fmt.Sprintf(" of subject %d to %s with scopes %d", a.Subject, a.Delegate, a.Scopes)
		until()
	case Lift:
		out += fmt.Sprintf(" %d of subject %d", a.Record, a.Subject)
	case Release, Reject, Appeal:
		out += fmt.Sprintf(" kept transaction %d", a.Record)
	case Bind:
		out += fmt.Sprintf(" %d to %d", a.Key, a.Power)
	case Replace:
		out += fmt.Sprintf(" %d by %d with power %d", a.Key, a.New, a.Power)
	}
	switch a.Weight {
	case Heavy:
		out += " (heavy)"
	case Monstrous:
		out += " (monstrous)"
	}
	return out
}
