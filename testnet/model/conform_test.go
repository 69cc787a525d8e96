package model

import (
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// wide is a scope with everything in it, for random ways.
func wide(m Model) *Scope {
	x := &Scope{
		Name: "wide", Model: m, Blocks: 100, Sent: 6, Subjects: MaxSubjects,
		Kinds: []Kind{
			Give, Narrow, Withdraw, Expire, Delegate, Revoke, Restrict, Lift, Decide, Note, Rotate, Vote, Release, Reject, Appeal, Bind, Replace,
		},
		Actors:   []Actor{0, 1},
		Purposes: []Purposes{Care, Research, Care | Research}, Lasting: []int8{0, 1, 2}, Paper: []bool{false, true},
		Delegates: []Actor{0, 1, Administrator(1, 0)}, Scopes: []Scopes{MayGive, MayWithdraw, MayNarrow, MayWithdraw | MayNarrow},
		Weights:  []Weight{Light, Heavy, Monstrous},
		Powers:   []int8{0, 4, 5, 10, 12},
		Consents: MaxConsents, Restrictions: MaxRestrictions, Grants: MaxGrants, Holds: MaxHolds, Rotations: 3,
	}
	for o := range m.Organisations {
		x.Actors = append(x.Actors, Administrator(o, 0), Administrator(o, 1))
		x.Keys = append(x.Keys, 2*o, 2*o+1)
	}
	return x
}

// perKind sorts actions by kind, so that each kind is drawn as often as others.
func perKind(actions []Action) (out [][]Action) {
	for _, a := range actions {
		i := slices.IndexFunc(out, func(l []Action) bool { return l[0].Kind == a.Kind })
		if i < 0 {
			out, i = append(out, nil), len(out)
		}
		out[i] = append(out[i], a)
	}
	return out
}

// The system does what the model says, whatever is done in whatever order; and what is
// recorded of it, read again, is what the model says.
func TestTheSystemDoesWhatTheModelSays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		organisations := rapid.Int8Range(3, MaxOrganisations).Draw(r, "organisations")
		m := rules(organisations, rapid.Int8Range(3, organisations).Draw(r, "with validators"))
		m.Reviewers = rapid.Int8Range(1, 3).Draw(r, "reviewers")
		m.HoldBlocks, m.AppealBlocks = rapid.Int8Range(2, 3).Draw(r, "hold"), rapid.Int8Range(2, 3).Draw(r, "appeal")
		x := wide(m)
		s := newSystem(t, m)
		s.fail = r.Fatalf
		for range rapid.IntRange(5, 40).Draw(r, "steps") {
			groups := perKind(x.Actions(&s.state))
			group := groups[rapid.IntRange(0, len(groups)-1).Draw(r, "kind")]
			a := group[rapid.IntRange(0, len(group)-1).Draw(r, "which")]
			s.does(a)
		}
		s.does(Action{Kind: End})
		s.reads()
	})
}

// Where a flawed model goes wrong, the system goes with the sound one.
func TestTheSystemHasNoneOfTheFlaws(t *testing.T) {
	for i, c := range flaws {
		t.Run(c.name, func(t *testing.T) {
			x, e := flawed(t, i)
			x.Flaw = Sound
			s := newSystem(t, x.Model)
			for _, a := range e.Broken.Way {
				s.does(a)
			}
			for range 4 {
				s.does(Action{Kind: End})
			}
		})
	}
}

// Ways to states that are far from the first, of each scope, lead the system to the same.
func TestTheSystemFollowsTheModelsWays(t *testing.T) {
	ways := 12
	if os.Getenv("CHANCERY_LONG") != "" {
		ways = 500
	}
	for _, x := range scopes(false) {
		t.Run(x.Name, func(t *testing.T) {
			e, err := x.Explore(most)
			if err != nil || e.Broken != nil {
				t.Fatal(err, e.Broken)
			}
			for i := range ways {
				s := newSystem(t, x.Model)
				for _, a := range e.Way(e.States - 1 - i*(e.States/ways)) {
					s.does(a)
				}
				s.does(Action{Kind: End})
			}
		})
	}
}
