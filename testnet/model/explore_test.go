package model

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// most is how many states a scope may have: in long runs about 3 GB of memory.
const most = 5_000_000

func TestEverySentenceHoldsInEveryState(t *testing.T) {
	for _, x := range scopes(os.Getenv("CHANCERY_LONG") != "") {
		t.Run(x.Name, func(t *testing.T) {
			e, err := x.Explore(most)
			if err != nil {
				t.Fatal(err)
			}
			if e.Broken != nil {
				t.Fatal(e.Broken)
			}
			for _, kind := range x.Kinds {
				if e.Outcomes[kind.String()+" "]+e.Outcomes[kind.String()+" chain/16"] == 0 {
					t.Errorf("%q never came about: too little is in scope", kind)
				}
			}
			t.Logf("%d states, %d steps, %d actions deep, %d kinds of outcomes", e.States, e.Steps, e.Deepest, len(e.Outcomes))
		})
	}
}

// flaws are a model's, each with the sentence that it breaks and within how many actions.
var flaws = []struct {
	name   string
	flaw   Flaw
	scope  string
	says   string
	within int
	change func(*Scope)
}{
	{"grants outlive", GrantsOutlive, "consent", WithdrawnIsNotHonoured, 5, nil},
	{"narrowing adds", NarrowingAdds, "consent", EndingPermitsNoMore, 2, nil},
	{"one word releases", OneWordReleases, "holds", ReleasedByQuorum, 2, nil},
	{"organisations twice", OrganisationsTwice, "holds", ReleasedByQuorum, 4, nil},
	{"home releases", HomeReleases, "holds", ReleasedByQuorum, 2, func(x *Scope) { x.Reviewers = 1 }},
	{"releases again", ReleasesAgain, "holds", ReleasedByQuorum, 4, nil},
	{"holds withdrawals", HoldsWithdrawals, "together", NeverHeldIsNotHeld, 2, nil},
	{"forgets what was rejected", ForgetsRejected, "holds", NothingVanishes, 4, nil},
	{"never expires", NeverExpires, "holds", EverythingEnds, 1, nil},
	{"acts at once", ActsAtOnce, "validators", ActsTwoBlocksLater, 2, nil},
	{"ignores thirds", IgnoresThirds, "validators", NoneReachesAThird, 2, func(x *Scope) { x.Keys = []int8{0, 1, 11}; x.Powers = []int8{5, 10, 15} }},
	{"measures from now", MeasuresFromNow, "validators", TurnoverIsBounded, 5, nil},
	{"counts newcomers only", CountsNewcomersOnly, "validators", TurnoverIsBounded, 5, nil},
}

// flawed explores a model with a flaw.
func flawed(t *testing.T, i int) (*Scope, *Exploration) {
	t.Helper()
	c := flaws[i]
	all := scopes(false)
	x := all[slices.IndexFunc(all, func(x *Scope) bool { return x.Name == c.scope })]
	x.Flaw = c.flaw
	if c.change != nil {
		c.change(x)
	}
	e, err := x.Explore(most)
	if err != nil {
		t.Fatal(err)
	}
	if e.Broken == nil {
		t.Fatalf("nothing is found in %d states", e.States)
	}
	return x, e
}

// Each flaw breaks the sentence that it is about, and the shortest way there is short.
func TestEachFlawIsFound(t *testing.T) {
	for i, c := range flaws {
		t.Run(c.name, func(t *testing.T) {
			_, e := flawed(t, i)
			if e.Broken.Says != c.says || len(e.Broken.Way) > c.within || !strings.Contains(e.Broken.String(), c.says) {
				t.Errorf("want %q broken within %d actions", c.says, c.within)
			}
			t.Log(e.Broken)
		})
	}
}
