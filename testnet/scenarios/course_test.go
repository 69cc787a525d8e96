package scenarios

import (
	"bytes"
	"math"
	"testing"
)

// A plan that is stopped on its way and gone on with comes to the same state, and knows
// what its past made.
func TestACourseGoesOnWhereItStopped(t *testing.T) {
	o := Options{Seed: 3, Days: 2, Life: 0.2}
	numbers := 0
	sink := func(out *Outcome) error {
		if out.Number != numbers {
			t.Fatalf("action %d comes as number %d", numbers, out.Number)
		}
		numbers++
		return nil
	}
	c, err := Begin(t.Context(), planOf(t, o), RunOptions{}, sink)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	noon := DefaultStart + 12*hour
	if err := c.Until(noon); err != nil {
		t.Fatal(err)
	}
	half := c.Report().Transactions
	if known := c.Known(); half == 0 || known.number != half || len(known.Names) == 0 || len(known.meant) < len(known.Names) {
		t.Errorf("%d transactions, and what is known is of %d, with %d things of %d", half, known.number, len(known.Names), len(known.meant))
	}
	if raw, err := c.Genesis(); err != nil || !bytes.Contains(raw, []byte(`"consent"`)) {
		t.Errorf("the state at noon: %.80s, %v", raw, err)
	}
	if err := c.Until(math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	whole, err := Run(t.Context(), planOf(t, o), RunOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Report(); got.Transactions != whole.Transactions || got.Blocks != whole.Blocks || !bytes.Equal(got.Root, whole.Root) || got.Transactions == half {
		t.Errorf("in two parts %+v, in one %+v", got, whole)
	}
}

// With AttackAt no campaign begins before it, those that wait for nothing begin within
// five minutes, and normal life is what it is without.
func TestAttacksBeginTogether(t *testing.T) {
	at := DefaultStart + day + 10*hour
	begins := map[Kind]int64{}
	var life, quiet []string
	for a := range planOf(t, Options{Seed: 4, Days: 2, Attacks: Kinds(), AttackAt: at}).Actions() {
		if a.Campaign == "" {
			life = append(life, a.Author)
		} else if _, begun := begins[a.Attack]; !begun {
			begins[a.Attack] = a.At
		}
	}
	soon := 0
	for kind, t0 := range begins {
		if t0 < at {
			t.Errorf("%s begins %d ms too early", kind, at-t0)
		}
		if t0 <= at+6*minute {
			soon++
		}
	}
	if soon < 2 {
		t.Errorf("%d kinds begin at once: %v", soon, begins)
	}
	for a := range planOf(t, Options{Seed: 4, Days: 2}).Actions() {
		quiet = append(quiet, a.Author)
	}
	if len(life) != len(quiet) {
		t.Errorf("%d transactions of normal life with attacks, %d without", len(life), len(quiet))
	}
	for _, bad := range []int64{DefaultStart - 1, DefaultStart + 2*day} {
		if _, err := New(Options{Seed: 4, Days: 2, AttackAt: bad}); err == nil {
			t.Errorf("attacks at %d are accepted", bad)
		}
	}
}
